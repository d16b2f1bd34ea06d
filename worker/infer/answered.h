/* Which version answered which request, as the predictions topic says: what `rescore` must know to answer a request again
 * once and no more. Read once, then asked; one thread. */
#ifndef WORKER_INFER_ANSWERED_H
#define WORKER_INFER_ANSWERED_H

#include "worker/stream/reader.h"

struct answered;

/* What is to be answered again: requests of the inference topic that `model` answered, at offsets from `from` to before `to` of
 * every partition. */
struct answered_query {
    const char *model;
    int64_t
        version; /* that is to answer; a request whose newest answer is its own, or that it answered again once already, is
                          left out */
    int64_t served;    /* only requests whose newest answer is of this version; 0: any */
    int32_t partition; /* only of this one; -1: all */
    int64_t from, to;
};

/* Reads the predictions topic to the stable end it has now. What was written by an earlier run must be stable by then: topic_settle. A
 * prediction that cannot be read is an error: nothing could be promised. */
int answered_read(struct answered **out, const struct settings *s, const struct answered_query *q,
                  int timeout_ms, struct fail *why);
void answered_free(struct answered **a); /* NULL inside is fine */

int answered_partitions(const struct answered *a); /* of the inference topic */
int64_t answered_count(const struct answered *a);  /* requests to be answered again */
int64_t answered_done(const struct answered *a);   /* requests left out because the version answered them */
/* The version whose answer of this request is to be replaced; 0: it is not to be answered again. */
int64_t answered_version(const struct answered *a, int32_t partition, int64_t offset);
/* The first request of a partition and the offset behind its last; false: none. */
bool answered_range(const struct answered *a, int32_t partition, int64_t *first, int64_t *end);
/* Forgets what lies before `start`, where the log begins now; returns how many that were. */
int64_t answered_forget(struct answered *a, int32_t partition, int64_t start);

#endif
