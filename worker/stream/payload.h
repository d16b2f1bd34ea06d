/* The one place where records lose their frame: from a record of any source to Avro binary of our newest schema. */
#ifndef WORKER_STREAM_PAYLOAD_H
#define WORKER_STREAM_PAYLOAD_H

#include "worker/codec/framing.h"
#include "worker/stream/source.h"
#include "worker/stream/topics.h"

struct payload_wait {
    struct schema_stop stop; /* asked NULL: never */
    int timeout_ms;          /* -1: for ever */
};

/* RECORD codes are verdicts on the record; E_RETRY: the schema registry does not answer now, ask again later. *payload is valid
 * as long as the record. */
int record_payload(const struct record *r, const struct record_type *t, struct span *payload,
                   struct fail *why);
/* The same, waiting for the schema registry: E_INTERRUPTED when `stop` says so, E_UNREACHABLE after the time. */
int record_payload_wait(const struct record *r, const struct record_type *t, const struct payload_wait *wait,
                        struct span *payload, struct fail *why);

struct frame {
    bool on; /* confluent */
    unsigned char bytes[FRAME_BYTES];
};

/* The frames of what a worker writes into the topics of the set `topics` (1 << enum topic), into frames[topic]; waits for the schema
 * registry as above. Besides, what framing_frame returns. */
int payload_frames(struct framing *f, const struct settings *s, unsigned topics,
                   const struct payload_wait *wait, struct frame frames[TOPICS], struct fail *why);

#endif
