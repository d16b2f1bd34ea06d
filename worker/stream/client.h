/* A librdkafka handle with this project's settings, logging and errors. Internal to worker/stream. */
#ifndef WORKER_STREAM_CLIENT_H
#define WORKER_STREAM_CLIENT_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "worker/stream/clock.h"
#include "worker/stream/source.h"
#include "worker/stream/topics.h"

/* The first librdkafka that has fetch.queue.backoff.ms. */
#define FETCH_BACKOFF_VERSION 0x020200ff

enum client_kind {
    CLIENT_ADMIN,    /* metadata and topic creation; a producer that produces nothing */
    CLIENT_READER,   /* a consumer without a group */
    CLIENT_MEMBER,   /* a consumer of a group */
    CLIENT_PRODUCER, /* idempotent, or transactional when `extra` has a transactional.id */
};

struct client {
    rd_kafka_t *rk;
    enum client_kind kind;
    pthread_mutex_t lock; /* guards the last error that librdkafka reported on its own account */
    char last_text[256];
    atomic_bool refused; /* the broker would not have this client: password, certificate */
    void *owner;         /* what the callbacks below get */
    void (*rebalance)(void *owner, rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t *partitions);
    void (*delivered)(void *owner, const rd_kafka_message_t *m);
};

/* `template` gives owner and callbacks (NULL: none); extra: key, value, ..., NULL, set last and so not
 * overridden. */
int client_open(struct client **out, const struct settings *s, enum client_kind kind,
                const char *const *extra, const struct client *template, struct fail *why);
/* Destroys the handle without leaving the group or waiting for messages. */
void client_close(struct client **c);

/* The one translation of librdkafka's errors: code by what the error means, text "doing: what it says". */
int client_fail(const struct client *c, rd_kafka_resp_err_t err, struct fail *why, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* E_DENIED: the ACL that is missing, "Read" of the "topic" so-and-so, and where it is written what else is needed. */
int client_fail_right(struct fail *why, const char *kind, const char *name, const char *operation);
/* True for the refusals that an ACL would lift. */
bool client_wants_right(rd_kafka_resp_err_t err);
/* E_DENIED when the broker has refused this client itself, as far as its thread has heard (rd_kafka_poll): librdkafka goes on
 * trying. Any thread. */
int client_refused(struct client *c, struct fail *why);
/* For the transaction calls; destroys the error. Class by streaming.md's table. */
int client_fail_transaction(rd_kafka_error_t *error, const char *call, struct fail *why);

/* True once another producer took over; a call may say "fatal" and no more. */
bool client_is_fenced(const struct client *c);

/* rd_kafka_metadata, of all topics (NULL) or one; ends early when the broker refuses this client. */
rd_kafka_resp_err_t client_metadata(struct client *c, rd_kafka_topic_t *topic,
                                    const struct rd_kafka_metadata **out, int timeout_ms);

/* Hands one record over, copied; partition -1: by key. schema: the value of a header millrace.schema in front of the others;
 * NULL: none. NULL, or the error, which the caller destroys; RD_KAFKA_RESP_ERR__QUEUE_FULL asks for rd_kafka_poll and another
 * try. */
rd_kafka_error_t *client_produce(struct client *c, rd_kafka_topic_t *topic, int32_t partition,
                                 struct span key, struct span value, const char *schema,
                                 const struct header *headers, int count, void *opaque);

/* The log's start and end of a partition; a consumer's end is the last stable offset (read_committed). Asks again while nobody
 * leads the partition. */
int client_offsets(struct client *c, const char *topic, int32_t partition, int timeout_ms, int64_t *start,
                   int64_t *end, struct fail *why);

/* "127.0.0.1:9092", for messages. */
const char *client_servers(const struct settings *s);

#endif
