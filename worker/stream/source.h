/* Where records come from. One interface, three forms: a consumer group's partitions (session.h), offset
 * ranges of a topic without a group (reader.h), a file (file_source.h). */
#ifndef WORKER_STREAM_SOURCE_H
#define WORKER_STREAM_SOURCE_H

#include "worker/codec/record.h"

struct header {
    const char *name;
    struct span value; /* data NULL: null */
};

/* Borrowed: valid until the next source_next. */
struct record {
    const char *topic; /* full name */
    int32_t partition;
    int64_t offset, timestamp_ms;
    struct span key, value; /* data NULL: null */
    const struct header *headers;
    int header_count;
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

struct source_ops {
    int (*next)(struct source *src, struct record *out, int timeout_ms, struct fail *why);
    /* Writes into the batch what commits the records handed out since the last seal. */
    int (*seal)(struct source *src, struct batch *b, struct fail *why);
};

struct source {
    const struct source_ops *ops;
};

/* An enum source_event, or a negative code. */
static inline int source_next(struct source *src, struct record *out, int timeout_ms, struct fail *why)
{
    return src->ops->next(src, out, timeout_ms, why);
}

static inline int source_seal(struct source *src, struct batch *b, struct fail *why)
{
    return src->ops->seal(src, b, why);
}

#endif
