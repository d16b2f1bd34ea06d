/* The training role of a worker: job records in; metrics, checkpoints and version events out, each in the
 * transaction that says so (streaming.md, "Training jobs"). */
#ifndef WORKER_TRAIN_TRAINER_H
#define WORKER_TRAIN_TRAINER_H

#include "worker/service/metrics.h"
#include "worker/stream/session.h"

/* Batches that the trainer holds at once: the metrics since the last checkpoint, an import's events
 * meanwhile, and one on its way. For struct session_role. */
enum { TRAIN_BATCHES = 4 };

struct train_options {
    const struct settings *settings;
    struct metrics *metrics; /* show the trainer's device; NULL: they do not */
};

/* A session_work; arg is a const struct train_options *. Opens its own backend. One job at a time; a job that
 * fails is published as FAILED and the worker lives. Returns only with what source and sink gave it, or when
 * it cannot begin (backend, model store). */
int train_work(struct source *src, struct sink *sink, void *arg, struct fail *why);

#endif
