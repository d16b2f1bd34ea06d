/* Producing without a transaction: for commands (send, train, promote). Idempotent, acks=all, partitioner
 * murmur2_random. One thread. */
#ifndef WORKER_STREAM_WRITER_H
#define WORKER_STREAM_WRITER_H

#include "worker/stream/source.h"
#include "worker/stream/topics.h"

struct writer;

struct written { /* where a record went; partition -1 until acknowledged */
    int32_t partition;
    int64_t offset;
};

int writer_open(struct writer **out, const struct settings *s, int timeout_ms, struct fail *why);
void writer_close(struct writer **w);
/* Queues one record (bytes are copied); blocks while the queue is full. partition -1: by key. A topic with
 * confluent framing gets the schema's id in front (asked of the schema registry once: codes of codec/schema_client.h), others the header
 * millrace.schema = 1 before `headers`. `where` NULL, or filled when acknowledged: it must live until
 * writer_flush. */
int writer_put(struct writer *w, const char *topic, int32_t partition, struct span key, struct span value,
               const struct header *headers, int header_count, struct written *where, struct fail *why);
/* True when writer_put would not block; waits at most timeout_ms for that. For those who must look at a signal
 * meanwhile: an absent broker fills the queue, and records wait five minutes before they are given up. */
bool writer_has_room(struct writer *w, int timeout_ms);
int writer_waiting(const struct writer *w); /* records not acknowledged yet */
/* Waits for all acknowledgements; an error names the first record that was refused. */
int writer_flush(struct writer *w, int timeout_ms, struct fail *why);
/* Returns when a read_committed reader has seen the record (streaming.md, point 19). */
int writer_wait_stable(const struct settings *s, const char *topic, const struct written *at, int timeout_ms,
                       struct fail *why);

#endif
