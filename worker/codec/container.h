/* Avro object container files (Avro 1.11 specification, "Object Container Files") of our record types, datum
 * by datum as bytes: what record.h decodes and encodes. Avro C's own reader gives values only, at fifty times
 * the cost, so the container is read here. Codecs: null and deflate when reading, null when writing. A handle
 * belongs to one thread at a time. Next to read: skip.h, which finds where a datum ends. */
#ifndef WORKER_CODEC_CONTAINER_H
#define WORKER_CODEC_CONTAINER_H

#include "worker/codec/record.h"

struct container;

/* Maps the file and reads its header. Its schema must be one of our published ones: the same parsing
 * canonical form (documentation, defaults and order of attributes do not count). type NULL: any record
 * type. E_FILE: not a container, another schema, an unknown codec. */
int container_open(struct container **out, const char *path, const struct record_type *type,
                   struct fail *why);
const struct record_type *container_type(const struct container *c);
int container_version(const struct container *c); /* of the schema: 1 */
/* 1: *value is the next datum, borrowed until the next call; 0: the end; negative: E_FILE with the byte and
 * the number of the record. After an error every further call fails alike. The datum's extent is right by the
 * schema; whether its content is allowed is for its decoder to say. */
int container_next(struct container *c, struct span *value, struct fail *why);
int64_t container_index(const struct container *c); /* of the last datum, from 0 */
void container_close(struct container **c);

struct container_writer;

/* Writes under `path`.part until container_finish gives the file its name. */
int container_create(struct container_writer **out, const char *path, const struct record_type *type,
                     struct fail *why);
int container_append(struct container_writer *w, const void *datum, size_t size, struct fail *why);
/* Flushes, makes durable, renames; *w is closed and NULL afterwards, whatever is returned. */
int container_finish(struct container_writer **w, struct fail *why);
/* Removes what was written. NULL and *w NULL are fine. */
void container_abandon(struct container_writer **w);

#endif
