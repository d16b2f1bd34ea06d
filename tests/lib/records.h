/* Requests sent and answers read back, for tests of a running worker. Answers are read with `millrace tail` and looked at as JSON.
 * Everything fails the running cmocka test when it cannot do its work. */
#ifndef TESTS_LIB_RECORDS_H
#define TESTS_LIB_RECORDS_H

#include <jansson.h>

#include "tests/lib/model.h"
#include "worker/codec/record.h"

/* Topics, and LeNet as lenet@1, the champion. */
void stage_begin(struct stage *s);
/* A worker of slot "a" with the role infer that has its partitions. `rest`: sections of the configuration, NULL: none. */
void worker_begin(struct stage *s, struct process *p, const char *rest);

struct request {
    const char *id, *model;
    int rows, channels;
    enum dtype dtype;
    int64_t deadline_at;
    int top_k;
    bool outputs, explain;
    float first; /* the first value of every FP32 row */
};

/* Sends one request of equal rows of channels x 32 x 32 to partition 0. */
void request_send(struct stage *s, const struct request *q);

/* All records of a topic as a JSON array, once there are `count` of them. */
json_t *topic_read(struct stage *s, const char *topic, int count);
/* ... or those that are there now. */
json_t *topic_now(struct stage *s, const char *topic);
/* The record with this key. */
json_t *by_key(json_t *all, const char *key);
const char *header_of(json_t *record, const char *name);
/* Rows of a Prediction. */
json_t *row_of(json_t *record, int i);
size_t rows_of(json_t *record);
void is_status(json_t *record, int row, const char *status);

#endif
