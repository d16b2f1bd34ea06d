/* Where answers go. Three forms: a transaction of the session (session.h), one without a group
 * (lone_sink.h), a file (file_sink.h). */
#ifndef WORKER_STREAM_SINK_H
#define WORKER_STREAM_SINK_H

#include "worker/stream/batch.h"

struct sink;

struct sink_ops {
    int (*take)(struct sink *sink, struct batch **out, struct fail *why);
    int (*put)(struct sink *sink, struct batch **b, struct fail *why);
    int (*wait)(struct sink *sink, struct fail *why);
    size_t (*limit)(struct sink *sink, enum topic topic);
};

struct sink {
    const struct sink_ops *ops;
};

/* A free batch from the pool; blocks until there is one. E_INTERRUPTED, E_REBUILD as source_next. */
static inline int sink_take(struct sink *sink, struct batch **out, struct fail *why)
{
    return sink->ops->take(sink, out, why);
}

/* Hands a sealed batch over; *b becomes NULL, also on failure. Batches are committed in the order of their
 * seals, or dropped when their assignment is over. */
static inline int sink_put(struct sink *sink, struct batch **b, struct fail *why)
{
    return sink->ops->put(sink, b, why);
}

/* Waits until every batch put so far is committed or dropped. 0: all of them are committed. E_ABORT: at least
 * the last was dropped (its assignment is over): what it said never happened. */
static inline int sink_wait(struct sink *sink, struct fail *why)
{
    return sink->ops->wait(sink, why);
}

/* The largest output (key, value and headers, bytes) that the topic is known to take. Learnt downwards when a
 * broker refuses one: its transaction is aborted, the records come again, and the next answer must fit. */
static inline size_t sink_limit(struct sink *sink, enum topic topic)
{
    return sink->ops->limit(sink, topic);
}

#endif
