/* Reading a topic without a group, read_committed: for tail, jobs, models, data sets and the followers.
 * A reader is used by one thread at a time. */
#ifndef WORKER_STREAM_READER_H
#define WORKER_STREAM_READER_H

#include "worker/stream/source.h"
#include "worker/stream/topics.h"

struct reader;

enum { READER_BEGINNING = -2, READER_END = -1 };
#define READER_UNBOUNDED INT64_MAX

struct reader_range {
    int32_t partition;
    int64_t start; /* an offset, READER_BEGINNING or READER_END */
    int64_t end;   /* half open; READER_UNBOUNDED; READER_END: the stable end at opening */
};

/* ranges NULL: every partition from `start` on, unbounded. topic is a full name. A topic that does not exist
 * is E_FAILED saying how to make it; a start below the log's start is E_FAILED naming both offsets. */
int reader_open(struct reader **out, const struct settings *s, const char *topic,
                const struct reader_range *ranges, int count, int64_t start, int timeout_ms,
                struct fail *why);
void reader_close(struct reader **r);
/* An enum source_event. SOURCE_END comes once whenever all partitions have been read to their end (or their
 * range's end). A bounded reader returns SOURCE_END for ever after its last record. A lost broker is waited
 * for; it is not an error. */
int reader_next(struct reader *r, struct record *out, int timeout_ms, struct fail *why);
/* True when everything is read up to the stable end as the broker gives it now (asks it). */
int reader_caught_up(struct reader *r, int timeout_ms, bool *yes, struct fail *why);
/* The sum of its partitions' stable ends as the broker gives them now: how far others have come, markers included. */
int reader_stable_ends(struct reader *r, int timeout_ms, int64_t *sum, struct fail *why);

/* The log's start and its stable end (read_committed) of one partition. */
int topic_offsets(const struct settings *s, const char *topic, int32_t partition, int timeout_ms,
                  int64_t *start, int64_t *end, struct fail *why);
/* Returns when every transaction that had written to the topic before the call is committed or aborted, so that the
 * stable end is beyond all of them. A dead worker's last transaction is decided then, whoever wrote its marker.
 * E_UNREACHABLE: one is still open after the time; E_INTERRUPTED: `stop` (asked now and then; NULL: never) said so. */
int topic_settle(const struct settings *s, const char *topic, int timeout_ms, bool (*stop)(void *arg),
                 void *arg, struct fail *why);
/* E_FAILED saying how to make it when the topic does not exist. */
int topic_partitions(const struct settings *s, const char *topic, int timeout_ms, int *count,
                     struct fail *why);

#endif
