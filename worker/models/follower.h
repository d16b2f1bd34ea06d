/* Follows the models topic on a thread of its own and knows which model answers to which name now. Loads what is promoted as soon
 * as the event is stable, before it takes effect, so that the runner only swaps. Every function but open and close may be called by any thread. */
#ifndef WORKER_MODELS_FOLLOWER_H
#define WORKER_MODELS_FOLLOWER_H

#include "worker/models/model.h"
#include "worker/service/metrics.h"
#include "worker/service/settings.h"

struct follower;

/* Starts the thread; it waits for the broker by itself. `s` and `m` (NULL: nobody counts) must outlive the follower. */
int follower_open(struct follower **out, const struct settings *s, struct metrics *m, struct fail *why);
void follower_close(struct follower **f);

/* From now on `prepare` is called, on the follower's thread, with a model that an alias is about to mean, before that takes effect.
 * NULL: no more; returns when no call is under way. */
void follower_prepare(struct follower *f, void (*prepare)(void *arg, struct model *m), void *arg);
/* Waits until the topic has been read to its stable end once; false: not within the time. */
bool follower_wait_ready(struct follower *f, int timeout_ms);
/* E_DENIED: not ready because the broker refuses the topic. */
int follower_denied(struct follower *f, struct fail *why);
/* Waits until everything that was stable at the time of the call has been read. E_RETRY: not within the time. */
int follower_catch_up(struct follower *f, int timeout_ms, struct fail *why);
/* Counts up with every event that was applied: while it stands, what was resolved stays right. */
uint64_t follower_changes(struct follower *f);
/* The model that `spec` ("name", "name@alias", "name@version") means now, held for the caller, and the variant's name in
 * variant[102]. E_UNKNOWN_MODEL: there is none. E_FILE: there is one, its artefact cannot be loaded. E_IO: the store failed;
 * E_BAD_REQUEST. */
int follower_find(struct follower *f, struct span spec, struct model **out, char variant[102],
                  struct fail *why);
/* The newest event of an alias, copied into `mem`: traffic 0 says that it means nothing. E_UNKNOWN_MODEL: there never was one. */
int follower_alias(struct follower *f, const char *model, const char *alias, struct model_version_event *out,
                   struct region *mem, struct fail *why);

#endif
