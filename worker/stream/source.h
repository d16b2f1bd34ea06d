/* Where records come from. One interface, three forms: a consumer group's partitions (session.h), offset
 * ranges of a topic without a group (reader.h), a file (file_source.h). */
#ifndef WORKER_STREAM_SOURCE_H
#define WORKER_STREAM_SOURCE_H

#include "worker/codec/record.h"

struct header {
    const char *name;
    struct span value; /* data NULL: null */
};

struct framing;

/* Borrowed: valid until the next source_next. */
struct record {
    const char *topic; /* full name */
    int32_t partition;
    int64_t offset, timestamp_ms;
    struct span key, value; /* data NULL: null */
    const struct header *headers;
    int header_count;
    struct framing
        *framing; /* the source's, which knows what is around `value` (payload.h); NULL: nothing is */
};

struct span record_header(const struct record *r,
                          const char *name); /* the last of that name; data NULL: absent */

enum source_event {
    SOURCE_NONE,   /* nothing within the timeout */
    SOURCE_RECORD, /* *out is filled */
    SOURCE_END, /* all is read up to the end of what there is; more may come unless the source is bounded */
    SOURCE_CHANGED, /* records handed out since the last seal belong to someone else now: drop what was built
                       of them */
};

struct source;
struct batch;

enum seal {
    SEAL_DONE,      /* everything handed out is answered: offset of the last record + 1 */
    SEAL_UNCHANGED, /* the last record handed out stays unanswered: its own offset (checkpoints of a job) */
};

struct source_ops {
    int (*next)(struct source *src, struct record *out, int timeout_ms, struct fail *why);
    int (*seal)(struct source *src, struct batch *b, enum seal how, struct fail *why);
    bool (*changed)(struct source *src);
    int64_t (*position)(struct source *src, int32_t partition); /* NULL: has none */
    bool (*handing_over)(struct source *src);                   /* NULL: never */
};

struct source {
    const struct source_ops *ops;
};

/* An enum source_event, or a negative code: E_INTERRUPTED when the process is asked to stop, E_REBUILD when
 * the session is broken; the caller drops what it was building and returns. */
static inline int source_next(struct source *src, struct record *out, int timeout_ms, struct fail *why)
{
    return src->ops->next(src, out, timeout_ms, why);
}

/* Writes into the batch what commits the records handed out since the last seal. SOURCE_CHANGED: they are no
 * longer this worker's; the caller drops the batch. */
static inline int source_seal(struct source *src, struct batch *b, enum seal how, struct fail *why)
{
    return src->ops->seal(src, b, how, why);
}

/* True when records handed out belong to someone else now or the process is asked to stop, without reading:
 * for a long computation over one record. */
static inline bool source_changed(struct source *src)
{
    return src->ops->changed(src);
}

/* After source_changed: whether a revoke waits, a few seconds at most, for the state of a long computation to be committed
 * with SEAL_UNCHANGED, so that the partition's next owner goes on from there. */
static inline bool source_handing_over(struct source *src)
{
    return src->ops->handing_over && src->ops->handing_over(src);
}

#define SOURCE_NOT_OURS  INT64_MIN
#define SOURCE_BEGINNING (-2)

/* Where a partition is read on: the first offset that was not handed out yet, SOURCE_BEGINNING: wherever its log
 * begins, SOURCE_NOT_OURS: it is read by someone else. For looking ahead (train/control.h). */
static inline int64_t source_position(struct source *src, int32_t partition)
{
    return src->ops->position ? src->ops->position(src, partition) : SOURCE_NOT_OURS;
}

#endif
