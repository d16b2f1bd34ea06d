/* A batch: the outputs of some records and what commits those records. Made by the runner or trainer, sealed
 * by the source, handed to the sink. Batches come from the sink's fixed pool: the pool is the back-pressure
 * and bounds memory. Whoever holds the pointer owns it. */
#ifndef WORKER_STREAM_BATCH_H
#define WORKER_STREAM_BATCH_H

#include "worker/service/metrics.h"
#include "worker/stream/source.h"
#include "worker/stream/topics.h"

struct assignment; /* session.c: an epoch's partitions and group metadata */

struct output {
    enum topic topic;
    int32_t partition; /* the input's; goes to partition mod the output topic's count. -1: by key */
    struct span key, value;
    struct header *headers;
    int header_count;
};

struct batch_offset {
    int32_t partition;
    int64_t offset; /* to be committed: the next one to read */
};

/* What a counter gains when the batch is committed. */
struct tally {
    counter *counter;
    uint64_t n;
};

struct batch {
    struct batch *next;     /* for the list it is in */
    struct region mem;      /* holds everything below; reset when the batch goes back to the pool */
    struct output *outputs; /* in the order of the input */
    int output_count, output_capacity;
    int64_t rows, bytes;           /* rows answered; bytes of the outputs */
    struct assignment *assignment; /* set by seal; NULL from a file */
    struct batch_offset *offsets;
    int offset_count;
    struct tally *tallies;
    int tally_count, tally_capacity;
    struct session_metrics *metrics; /* of the session whose pool it is of; NULL: nobody counts */
    int64_t sealed_us;               /* monotonic */
    int64_t wait_us;                 /* how long its transaction may wait for more after it was sealed */
    int64_t committed_us; /* from the last seal to the commit; 0: it was not committed. Stays over a reset */
    bool hurry;           /* nothing is left to read: commit without waiting for more */
};

/* Appends an output with room for `header_count` headers (uninitialised, to be filled); NULL: out of memory.
 * The spans given later must live in b->mem or be static. */
struct output *batch_output(struct batch *b, enum topic topic, int32_t partition, int header_count);
/* What every derived record carries: src.topic, src.partition, src.offset, millrace.schema = 1. A NULL record
 * (a job's record is long gone) gives millrace.schema alone. Key and value must live in b->mem. */
int batch_derived(struct batch *b, enum topic topic, const struct record *from, struct span key,
                  struct span value, struct fail *why);
/* The dead letter of a record: key, value and headers byte for byte and the dlq.* headers, copied into
 * b->mem. `reason` gives dlq.reason (fail_name) and dlq.detail (text, at most 256 bytes); stage "decode",
 * "infer", "train"... */
int batch_dead_letter(struct batch *b, const struct record *r, const char *stage, const struct fail *reason,
                      const char *worker, size_t limit, struct fail *why);
/* Adds n to a counter (NULL: none) when the batch is committed; a batch that is dropped adds nothing. */
int batch_count(struct batch *b, counter *c, uint64_t n, struct fail *why);
/* The sink's: the batch is committed. */
void batch_count_up(const struct batch *b);
void batch_reset(struct batch *b); /* drops outputs and offsets, keeps memory */

#endif
