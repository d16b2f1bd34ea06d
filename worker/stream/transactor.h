/* A transactional producer and the calls of its transaction, each made again while librdkafka says that this helps. The
 * committer of a session, a transaction of nothing (clear.c) and a sink without a group (lone_sink.c) differ in what they put
 * into a transaction and in what they do when it failed; what is between is here. What an error means: client_fail_transaction.
 * Used by one thread at a time. Internal to worker/stream. */
#ifndef WORKER_STREAM_TRANSACTOR_H
#define WORKER_STREAM_TRANSACTOR_H

#include <stdatomic.h>

#include "worker/stream/batch.h"
#include "worker/stream/client.h"

struct watchdog;
struct marks;

struct transactor {
    const struct settings *settings;
    struct client *producer;
    rd_kafka_topic_t *topics[TOPICS];
    int partitions[TOPICS];         /* filled by whoever opens it */
    atomic_size_t limits[TOPICS];   /* the largest record each topic is known to take: learnt downwards */
    char id[600];                   /* transactional.id */
    int64_t timeout_ms;             /* transaction.timeout.ms: no call is repeated for longer */
    atomic_int_fast64_t give_up_us; /* nor beyond this time (monotonic); INT64_MAX: none */
    struct watchdog *watchdog;      /* over each call; NULL: none */
    bool tainted; /* a call was repeated: the answer to the first may come yet and end the next transaction */

    /* Of the transaction under way: */
    int64_t produced, delivered; /* records handed over; reports of them */
    struct fail refused;         /* the first report that failed, or the one that leaves no way on */
    rd_kafka_resp_err_t refused_err;
    bool hopeless;       /* the dead-letter topic refused a record of a size to which they are cut */
    struct marks *marks; /* notes where records went; NULL: nobody asks */
};

/* transaction.timeout.ms as it is set. */
int64_t transaction_timeout_ms(const struct settings *s);

/* The zeroed `t` gets a producer with this transactional.id and a handle for each topic; asks nothing of a broker. Also after a
 * failure transactor_close is due. */
int transactor_open(struct transactor *t, const struct settings *s, const char *id, struct watchdog *watchdog,
                    struct fail *why);
/* Drops what was not sent, without waiting for it. */
void transactor_close(struct transactor *t);

/* Fences earlier holders of the id and ends their transactions. E_RETRY: not within timeout_ms. */
int transactor_init(struct transactor *t, int timeout_ms, struct fail *why);

/* E_ABORT: transactor_abort is due and ends it. E_REBUILD: what became of it is not known, or the producer is of no use any
 * more. E_FENCED, E_DENIED, E_CONFIG as they are. */
int transactor_begin(struct transactor *t, struct fail *why);
/* Copied; waits while the queue is full. */
int transactor_produce(struct transactor *t, const struct output *o, struct fail *why);
int transactor_offsets(struct transactor *t, const rd_kafka_topic_partition_list_t *offsets,
                       const rd_kafka_consumer_group_metadata_t *group, struct fail *why);
int transactor_commit(struct transactor *t, struct fail *why);
/* Waits a while for the first report before: an abort that overtakes the first record is fatal. */
int transactor_abort(struct transactor *t, struct fail *why);

/* Whether the transaction failed, while records are under way, for more than an abort would mend: E_DENIED, E_REBUILD. */
int transactor_failed(struct transactor *t, struct fail *why);

/* clear.c: a transaction of which nothing stays, over every partition of the topics in `outputs` (1 << enum topic each) and,
 * unless NULL, the offsets of `group` at `input`. E_DENIED names the topic that may not be written to. */
int transactor_nothing(struct transactor *t, unsigned outputs, const char *group, const char *input,
                       struct fail *why);
void marks_note(struct marks *marks, enum topic topic, int32_t partition, int64_t offset);

#endif
