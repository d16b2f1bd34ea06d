/* One role of a slot on Kafka: a group's consumer, a transactional producer, and the three threads between
 * them.
 *
 *   poller     rebalances, liveness, rewinds after an abort; owns the assignment epoch
 *   work       the caller's function: pulls from the source, seals batches, puts them into the sink
 *   committer  produces and commits sealed batches, several to a transaction
 *
 * streaming.md has the order of calls and why. */
#ifndef WORKER_STREAM_SESSION_H
#define WORKER_STREAM_SESSION_H

#include <stdatomic.h>

#include "worker/stream/sink.h"

struct session_role {
    const char *name; /* "infer": group <worker.group>.infer, transactional.id <prefix><slot>.infer */
    enum topic input; /* the one topic that is consumed */
    unsigned outputs; /* the topics it writes to, 1 << enum topic each */
    unsigned reads;   /* those it reads besides, with readers of its own */
    int batches;      /* of the pool */
    struct session_metrics *metrics; /* NULL: nobody counts */
    struct framing *framing;         /* of what is read; the work thread's. NULL: raw */
    bool hands_over; /* a record's work is long: a revoke waits for what source_handing_over lets it commit */
};

/* Runs on the work thread; returns 0 when it has nothing more to do, or what source and sink gave it. */
typedef int session_work(struct source *src, struct sink *sink, void *arg, struct fail *why);

/* The group of a role: "<worker.group>.infer". Returns out. */
const char *session_group(const struct settings *s, const struct session_role *role, char out[300]);

/* Opens the session, runs the three threads until *stop, and opens it again after a REBUILD (at most 5 in 10
 * minutes, then E_RESTART; fenced for the third time in 60 s: E_SLOT_TAKEN). Waits for a broker for ever.
 * What the broker refuses (a password, a certificate, a right) is E_DENIED at the start; once it has run it is tried again for
 * worker.refused_s, then E_RESTART.
 * Returns 0 after a stop: sealed batches got 3 s to commit, everything else is left to the next owner. The
 * caller's thread is the poller. */
int session_run(const struct settings *s, const struct session_role *role, session_work *work, void *arg,
                atomic_bool *stop, struct fail *why);

#endif
