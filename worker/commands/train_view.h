/* The two ways of `train`: submitted to a worker and followed, or here and now without Kafka. */
#ifndef WORKER_COMMANDS_TRAIN_VIEW_H
#define WORKER_COMMANDS_TRAIN_VIEW_H

#include "worker/commands/command.h"
#include "worker/train/dataset.h"
#include "worker/train/job.h"

struct train_options {
    char *dataset, *data, *output, *preview, *base;
    bool detach, local;
};

int train_preview(const struct context *cx, struct fail *why);
int train_local(const struct context *cx, struct fail *why);
int train_submit(const struct context *cx, struct fail *why);

/* How a job's rows are taken where no worker does it: bad ones as the job says, counted up to its bad_samples_max. */
struct train_rows {
    const struct training_job *job;
    const struct job_settings *settings;
    int64_t bad;
};
struct dataset_options train_rows_options(struct train_rows *t, const struct graph *g);

#endif
