/* From librdkafka's message to a record, without copying. Internal to worker/stream. */
#ifndef WORKER_STREAM_MESSAGE_H
#define WORKER_STREAM_MESSAGE_H

#include <librdkafka/rdkafka.h>

#include "worker/stream/source.h"

/* Keeps the message that a record borrows from, and room for its headers, from one record to the next. */
struct message_holder {
    rd_kafka_message_t *message;
    struct header *headers;
    int header_capacity;
};

/* Takes the message over; the one held before is destroyed, and with it what its record borrowed. */
int message_hold(struct message_holder *h, rd_kafka_message_t *m, struct record *out, struct fail *why);
void message_release(struct message_holder *h); /* destroys the message, keeps the room */
void message_free(struct message_holder *h);

#endif
