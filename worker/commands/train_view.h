/* The two ways of `train`: submitted to a worker and followed, or here and now without Kafka. */
#ifndef WORKER_COMMANDS_TRAIN_VIEW_H
#define WORKER_COMMANDS_TRAIN_VIEW_H

#include "worker/commands/command.h"

struct train_options {
    char *dataset, *data, *output, *preview, *base;
    bool detach, local;
};

int train_preview(const struct context *cx, struct fail *why);
int train_local(const struct context *cx, struct fail *why);
int train_submit(const struct context *cx, struct fail *why);

#endif
