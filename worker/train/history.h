/* Where jobs stand: the newest JobCheckpoint of every job_id, read from the checkpoints topic. One thread. */
#ifndef WORKER_TRAIN_HISTORY_H
#define WORKER_TRAIN_HISTORY_H

#include "worker/codec/record.h"
#include "worker/service/settings.h"

struct history;

/* Opens a reader at the beginning; nothing is read yet. */
int history_open(struct history **out, const struct settings *s, int timeout_ms, struct fail *why);
void history_close(struct history **h);
/* Reads up to the topic's stable end as it is now. E_UNREACHABLE when that takes longer. */
int history_catch_up(struct history *h, int timeout_ms, struct fail *why);
/* What this process has just committed itself: readers may see it a little later. Copied. */
int history_note(struct history *h, const struct job_checkpoint *c, struct fail *why);
/* NULL: the job is unknown. Valid until the next call that changes the history. */
const struct job_checkpoint *history_find(const struct history *h, const char *job_id);
const struct job_checkpoint *history_at(const struct history *h,
                                        int i); /* by first appearance; NULL: no more */
/* The highest version that a job of this model has published; 0: none. */
int64_t history_max_version(const struct history *h, const char *model);

#endif
