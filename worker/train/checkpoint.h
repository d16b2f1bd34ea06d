/* A run written down and read again: one safetensors file with the net's parameters and state, the
 * optimiser's moments ("optimizer.moments", where it has any), the best epoch's parameters ("best.parameters", where
 * they are kept) and, as metadata, every field of struct run_state, the plan's digest, the data set's SHA-256 and
 * the file's own. Verified before use: both SHA-256, the format's own lengths, then names and shapes against the
 * net. */
#ifndef WORKER_TRAIN_CHECKPOINT_H
#define WORKER_TRAIN_CHECKPOINT_H

#include "worker/models/store.h"
#include "worker/train/run.h"

/* Bytes are malloc'd. The same state gives the same bytes, but for elapsed_s. */
int checkpoint_print(struct run *r, void **bytes, size_t *size, struct fail *why);
/* Puts a run that was just opened where the checkpoint stood. E_FILE for another job's file, missing tensors
 * or fields; E_JOB when the data set is another. *same_plan: false when the engine computes differently here
 * (another machine or version): the training goes on, but its bits may differ. */
int checkpoint_parse(struct run *r, const char *name, const void *bytes, size_t size, bool *same_plan,
                     struct fail *why);

/* The same through the store: <store>/<model>/checkpoints/<job>-<step>.safetensors. Durable when it returns.
 */
int checkpoint_put(struct run *r, const char *store, const struct training_job *job, char uri[STORE_URI],
                   char sha256[SHA256_HEX], struct fail *why);
int checkpoint_get(struct run *r, const char *store, const char *uri, const char *sha256, bool *same_plan,
                   struct fail *why);
/* For when that cannot be read: the job's newest file of a step before `below`, which vouches for itself. *step: that
 * file's, -1: there is none (0, and nothing was loaded). After an error the next older one can be asked for. */
int checkpoint_get_older(struct run *r, const char *store, const struct training_job *job, int64_t below,
                         int64_t *step, bool *same_plan, struct fail *why);
/* Deletes the job's files but for the `keep` newest up to `step`; newer ones were never committed. */
int checkpoint_prune(const char *store, const struct training_job *job, int64_t step, int64_t keep,
                     struct fail *why);

#endif
