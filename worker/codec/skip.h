/* Schemas as data: their parsing canonical form, and where a datum of one ends. Only for schemas that we
 * publish: a schema that came in a file is compared, never obeyed. */
#ifndef WORKER_CODEC_SKIP_H
#define WORKER_CODEC_SKIP_H

#include "worker/codec/record.h"

/* Avro specification, "Parsing Canonical Form": full names, no documentation, defaults, aliases or logical
 * types. An 0-terminated text for free(); NULL: not a schema (or out of memory). */
char *schema_canonical(const char *json, size_t size);

struct skip; /* a compiled schema */

/* From canonical form. NULL: not a schema, recursive, or nested deeper than 16. */
struct skip *skip_open(const char *canonical);
void skip_close(struct skip **s);

/* Moves *at behind one datum. E_TRUNCATED or E_BAD_AVRO when there is none before `end`; *at is then where.
 */
int skip_datum(const struct skip *s, const unsigned char **at, const unsigned char *end, struct fail *why);

#endif
