/* What a person sees of a training: a loss curve in characters, a progress bar, and a line an epoch where
 * nobody watches a terminal. Shared by `train` and `jobs show`. One thread. */
#ifndef WORKER_COMMANDS_CURVE_H
#define WORKER_COMMANDS_CURVE_H

#include "worker/codec/record.h"
#include "worker/service/terminal.h"

struct curve_point {
    double step, loss, val_loss; /* NAN: not known */
};

struct curve {
    struct curve_point *points;
    int count, capacity;
    int64_t total_steps;
    struct progress progress;
    bool terminal;  /* of stderr: draw while the job runs */
    int drawn;      /* lines of the curve on the screen */
    double first_s; /* when the first step was told of */
    int64_t first_step;
};

void curve_open(struct curve *c);
void curve_free(struct curve *c);
/* Takes a LossMetric; points without a loss only move the bar. False: out of memory. */
bool curve_add(struct curve *c, const struct loss_metric *m);
/* After curve_add: the curve and the bar on a terminal, else a line at the end of each epoch, on stderr. */
void curve_show(struct curve *c, const struct loss_metric *m);
/* Leaves the curve on the screen and takes the bar away. */
void curve_end(struct curve *c);
/* The curve alone, `width` columns and `height` lines; nothing when there is no point. Returns the lines. */
int curve_print(const struct curve *c, int width, int height, FILE *out);

#endif
