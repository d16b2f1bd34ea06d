/* What a trainer says, written into a batch: metrics, checkpoints, version events. Encoding copies. */
#ifndef WORKER_TRAIN_PUBLISH_H
#define WORKER_TRAIN_PUBLISH_H

#include "worker/models/registry.h"
#include "worker/stream/batch.h"

int64_t publish_now_ms(void); /* since 1970, what `at` holds */

/* `from` is the job's record, for the src.* headers. */
int publish_metric(struct batch *b, const struct record *from, const struct loss_metric *m, struct fail *why);
int publish_checkpoint(struct batch *b, const struct record *from, const struct job_checkpoint *c,
                       struct fail *why);
/* Under key model@version, or model@alias for PROMOTED and ROLLED_BACK. */
int publish_event(struct batch *b, const struct record *from, const struct model_version_event *e,
                  struct fail *why);
/* The event's key, for commands that write one themselves; returns out. */
enum { PUBLISH_KEY = 256 };
const char *publish_key(const struct model_version_event *e, char out[PUBLISH_KEY]);

/* The event that makes `alias` mean e's version: artefact fields are repeated, previous_version is what the
 * alias meant before (0: nothing). `kind` is EVENT_PROMOTED or EVENT_ROLLED_BACK. Borrows from its arguments.
 */
struct model_version_event publish_alias(const struct model_version_event *version, enum version_event kind,
                                         const char *alias, const struct model_version_event *before);

#endif
