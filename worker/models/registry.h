/* The model registry: a table of versions and aliases read from the models topic. Pure data: events go in,
 * questions come out. follower.h feeds a registry from the topic on a thread of its own; commands feed one
 * and leave. Threads: the caller locks (follower.h does). */
#ifndef WORKER_MODELS_REGISTRY_H
#define WORKER_MODELS_REGISTRY_H

#include "worker/codec/record.h"
#include "worker/stream/source.h"

struct registry;

int registry_new(struct registry **out, struct fail *why);
void registry_free(struct registry **r);
/* One record of the models topic: key "model@version" or "model@alias"; value NULL deletes the key. A record
 * that cannot be decoded is an error naming the key; the registry stays as it was. */
int registry_apply(struct registry *r, struct span key, struct span value, struct fail *why);
/* The same for a record as it was read: its header may say a schema that is not ours. */
int registry_apply_record(struct registry *r, const struct record *record, struct fail *why);

/* The newest event of a version or an alias; valid until the next registry_apply. NULL: unknown. */
const struct model_version_event *registry_version(const struct registry *r, const char *model,
                                                   int64_t version);
const struct model_version_event *registry_alias(const struct registry *r, const char *model,
                                                 const char *alias);
int64_t registry_max_version(const struct registry *r, const char *model); /* 0: none */
/* All keys in order of name: versions and aliases. NULL behind the last. */
const struct model_version_event *registry_at(const struct registry *r, int i, const char **key);

/* "name", "name@alias", "name@version": what answers and under which variant ("champion" for a bare name, the
 * alias, or
 * "" for a version). E_UNKNOWN_MODEL when there is none, E_BAD_REQUEST for another form. REJECTED and RETIRED
 * versions still answer by number. */
int registry_resolve(const struct registry *r, struct span text, const struct model_version_event **version,
                     const char **variant, struct fail *why);

/* Reads the whole topic to its stable end into a new registry; for commands and for a trainer's next version
 * number. */
struct settings;
int registry_load(struct registry **out, const struct settings *s, int timeout_ms, struct fail *why);

#endif
