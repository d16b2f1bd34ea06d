/* What the threads of a session share. Internal to worker/stream: session.c opens and runs it, assignment.c
 * is the poller's, kafka_source.c the work thread's, committer.c the committer's; handoff.c is between the
 * last two. */
#ifndef WORKER_STREAM_PARTS_H
#define WORKER_STREAM_PARTS_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "worker/stream/client.h"
#include "worker/stream/message.h"
#include "worker/stream/session.h"
#include "worker/stream/transactor.h"

/* A partition of an assignment, and in the source's own copy how far it has been read. */
struct position {
    int32_t partition;
    int64_t next; /* the first offset not yet handed out; -1: wherever the log begins */
    int64_t last; /* the last one handed out since the last seal; -1: none */
    bool at_end;
};

/* An epoch: what was assigned, from where, the group metadata that fences it, and a queue of its own, so that a
 * record pulled while epochs change belongs to the epoch whose queue it came from. Immutable but for its references. */
struct assignment {
    atomic_int references;
    uint64_t epoch;
    rd_kafka_consumer_group_metadata_t *group;
    rd_kafka_queue_t *queue; /* its partitions are forwarded here */
    int count;
    struct position positions[];
};

void assignment_release(struct assignment **a); /* NULL is allowed */
struct assignment *assignment_hold(struct assignment *a);

/* A bounded list of batches between two threads. */
struct handoff {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct batch *first, *last;
    bool closed;
};

void handoff_open(struct handoff *h);
void handoff_close(struct handoff *h); /* wakes everybody; what is in it can still be taken */
void handoff_free(struct handoff *h);
void handoff_put(struct handoff *h, struct batch **b);
/* Waits until until_us (monotonic; INT64_MAX: for ever); NULL: none came, or closed and empty. */
struct batch *handoff_take(struct handoff *h, int64_t until_us);
bool handoff_is_closed(struct handoff *h);
bool handoff_is_empty(struct handoff *h);

struct kafka_source {
    struct source base;
    struct session *session;
    struct assignment *assignment; /* what positions were copied from */
    struct position *positions;
    int count;
    bool announced;        /* SOURCE_END was returned since the last record */
    struct record current; /* its partition and offset, for SEAL_UNCHANGED */
    struct message_holder held;
};

struct kafka_sink {
    struct sink base;
    struct session *session;
    struct handoff free;
    int64_t waited; /* batches of whose fate sink_wait has told */
};

/* How far behind the group is: what is committed of each partition of the assignment. Guarded by the session's lock but for
 * next_us, which is the poller's. */
struct lag {
    struct partition_lag *committed; /* .lag is the offset that is committed */
    int count;
    int64_t next_us;
};

struct session {
    const struct settings *settings;
    const struct session_role *role;
    atomic_bool *stop;
    struct watchdog *watchdog;
    struct client *consumer;
    struct transactor tx; /* the committer's; the poller's while not `cleared` */
    char input[TOPIC_NAME], group[300], transactional_id[600];
    struct kafka_source source;
    struct kafka_sink sink;
    struct batch *batches;
    struct handoff sealed;
    pthread_t committer_thread;

    /* The source may hand out records of the epoch `building`, the committer may commit batches of `valid`;
     * 0: none. A revoke closes the first, lets the second drain and closes it; an abort closes both and asks
     * for a rewind. */
    atomic_uint_fast64_t building, valid;
    atomic_uint_fast64_t handing_over; /* the epoch that a revoke lets the work thread finish; 0: none */
    atomic_bool record_out;            /* the work thread is at a record: it has not come back for another */
    atomic_bool all_read;              /* the work thread has seen the end of every partition */
    atomic_bool rewind_wanted;
    uint64_t epochs; /* handed out so far; the poller's */
    int64_t poke_us; /* not before then; the poller's */
    atomic_bool
        cleared; /* nothing but commits since session_clear: the producer is the committer's, else the poller's */

    atomic_bool has_run; /* partitions were assigned, so that nothing was refused */

    pthread_mutex_t lock; /* guards the next five */
    pthread_cond_t settled_changed;
    struct assignment *current;
    int64_t put;        /* batches put so far */
    int64_t settled;    /* batches committed or dropped, in the order they were put */
    int64_t dropped;    /* the number of the last one that was dropped; 0: none */
    struct fail broken; /* code 0: it works */
    atomic_bool is_broken;

    struct lag lag;
};

/* Ends the process with E_RESTART's status when an armed time passes: for calls of librdkafka that may hang.
 */
struct watchdog {
    pthread_t thread;
    atomic_int_fast64_t deadline_us; /* 0: not armed */
    _Atomic(const char *) doing;
    atomic_bool closed;
};

int watchdog_open(struct watchdog *w, struct fail *why);
void watchdog_close(struct watchdog *w);
void watchdog_arm(struct watchdog *w, const char *doing, int64_t ms);
void watchdog_disarm(struct watchdog *w);

/* session.c: the first reason stays. */
void session_break(struct session *s, const struct fail *reason);
int session_broken(struct session *s, struct fail *why); /* the code, negative, or 0 */
/* client_fail for the consumer's errors: names the right that is missing. */
int session_fail_consumer(struct session *s, rd_kafka_resp_err_t err, struct fail *why, const char *doing);

/* clear.c: unless the session is cleared; on the poller's thread, once it is a member of the group and before it asks for offsets.
 * E_DENIED, E_FENCED, E_CONFIG or E_REBUILD. */
int session_clear(struct session *s, struct fail *why);

/* assignment.c: the poller. */
void assignment_rebalance(void *session, rd_kafka_resp_err_t event,
                          rd_kafka_topic_partition_list_t *partitions);
void assignment_rewind(struct session *s);
bool session_wait_settled(struct session *s,
                          int64_t until_us); /* every sealed batch is committed or dropped */

/* lag.c: begins anew with an assignment; the committer notes what it committed; the poller tells the metrics now and then. */
void lag_begin(struct session *s, const struct assignment *a);
void lag_note(struct session *s, const struct batch *b);
void lag_tell(struct session *s);
void lag_close(struct session *s);

/* refetch.c: on the poller's thread, again and again. */
void refetch_poke(struct session *s);

/* kafka_source.c */
void kafka_source_open(struct kafka_source *src, struct session *s);
void kafka_source_close(struct kafka_source *src);

/* committer.c */
void *committer_main(void *session);

#endif
