/* From records as a foreign producer's schema writes them to records as ours does. The producer's schema (from the schema
 * registry) and ours are laid beside each other once, which gives a plan; running the plan rewrites a record into a buffer
 * in our schema's binary, and everything behind it (validators, decoders, JSON) knows only that. Where both schemas are the
 * same nothing is rewritten.
 *
 * Fields are found by name, by an alias of ours or by one of the producer's; one that the producer lacks takes its default;
 * one that we lack is passed over. Names of records do not matter. int -> long -> float -> double, string <-> bytes, and
 * array<float> where ours has bytes (a tensor's data). Symbols of an enum go by name, strange ones to our default.
 * Running allocates nothing once the buffer has grown; it checks the binary as wire.h does. */
#ifndef WORKER_CODEC_RESOLVER_H
#define WORKER_CODEC_RESOLVER_H

#include "worker/codec/record.h"

struct resolver;

/* `writer`: the producer's schema; `reader`: a schema of ours, 0-terminated. E_UNKNOWN_SCHEMA says what in the producer's has
 * no place in ours. */
int resolver_open(struct resolver **out, struct span writer, const char *reader, struct fail *why);
void resolver_close(struct resolver **r);
/* What some of its records may hold and ours has no place for: a branch of a union, a symbol; "" when there is nothing. */
const char *resolver_gap(const struct resolver *r);
/* *payload is the record in our schema: `value` itself, or bytes in *to, whose old content is dropped. RECORD codes. */
int resolver_run(const struct resolver *r, struct span value, struct bytes *to, struct span *payload,
                 struct fail *why);

#endif
