/* The frame around a record's Avro binary, by the framing that the settings give its topic. raw: nothing around it, the version in
 * the header millrace.schema (record_unframe). confluent: 0x00, the schema's id in 4 bytes, big endian, then the binary as the
 * schema of that id writes it, which is resolved into our newest (resolver.h).
 *
 * What an id means is asked of the schema registry once and kept for as long as the framing lives; that there is no such id is
 * kept for FRAMING_NONE_S. One thread. */
#ifndef WORKER_CODEC_FRAMING_H
#define WORKER_CODEC_FRAMING_H

#include "worker/codec/record.h"
#include "worker/codec/schema_client.h"

enum { FRAMING_NONE_S = 30, FRAME_BYTES = 5 };

struct framing;

/* *out is NULL where every topic is raw: the functions below take that. `s` is borrowed. */
int framing_open(struct framing **out, const struct settings *s, struct fail *why);
void framing_close(struct framing **f);
bool framing_is_set(const struct settings *s, const struct record_type *t); /* confluent, in the settings */
bool framing_is_confluent(const struct framing *f, const struct record_type *t);

int framing_ping(struct framing *f, struct fail *why); /* schema_client_ping */

/* *payload is Avro binary of our newest schema: part of `value`, or kept in the framing until the next call. RECORD codes are
 * verdicts on the record. E_RETRY: the schema registry does not answer now; nobody waited, and the next call asks again once a
 * pause that grows to 5 s is over. E_INTERRUPTED: `stop` (NULL: never) ended the asking. */
int framing_unwrap(struct framing *f, const struct record_type *t, struct span value,
                   struct span schema_header, const struct schema_stop *stop, struct span *payload,
                   struct fail *why);

/* The frame for records of a type in a topic ("<prefix>inference", ...): our schema is looked up in the subject "<topic>-value", and
 * put there unless schema_registry.auto_register is false. Codes of schema_client.h. */
int framing_frame(struct framing *f, const struct record_type *t, const char *topic,
                  const struct schema_stop *stop, unsigned char frame[FRAME_BYTES], struct fail *why);
/* The subject of a topic; out holds 300 bytes. */
void framing_subject(const char *topic, char out[300]);

#endif
