/* Learning-rate schedules: pure functions of the step, so that a run that goes on from a checkpoint takes the same
 * rates. Formulas are those of torch.optim.lr_scheduler, stepped once an optimiser step. */
#ifndef ENGINE_SCHEDULE_H
#define ENGINE_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/fail.h"

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_STEP, SCHEDULE_COSINE, SCHEDULE_ONE_CYCLE };
/* The words of settings, in the order of the enum. */
#define SCHEDULE_CHOICES "constant|step|cosine|one_cycle"

/* s counts the steps after the warm-up, T all of those there will be, from 0.
 *   constant   rate
 *   step       rate gamma^floor(s / step_size)                                     StepLR
 *   cosine     least + (rate - least) (1 + cos(pi s / T)) / 2                      CosineAnnealingLR
 *   one_cycle  from rate / div_factor up to rate at the share pct_start of T, then down to
 *              rate / div_factor / final_div_factor at the last step, along cosines  OneCycleLR (momentum stays)
 * Before those, for warmup_steps (not with one_cycle, which warms up by itself):
 *              rate (warmup_start + (1 - warmup_start) step / warmup_steps)          LinearLR, SequentialLR */
struct schedule {
    enum schedule_kind kind;
    double rate;                                    /* one_cycle: the highest */
    int64_t warmup_steps;                           /* 0: none */
    double warmup_start;                            /* share of rate, above 0 .. 1 */
    int64_t step_size;                              /* at least 1 */
    double gamma;                                   /* above 0 */
    double least;                                   /* 0 .. */
    double pct_start, div_factor, final_div_factor; /* 0 .. 1; above 0; above 0 */
};

/* A constant rate; of the others PyTorch's defaults (warmup_start 1/3, gamma 0.1, pct_start 0.3, div_factor 25,
 * final_div_factor 1e4). */
struct schedule schedule_constant(double rate);
const char *schedule_name(enum schedule_kind kind);
/* E_JOB: what is out of bounds. What the kind does not look at is not looked at here. */
int schedule_check(const struct schedule *s, struct fail *why);
/* The rate of step 0 .. total - 1; finite for any step when the schedule has passed its check. */
double schedule_rate(const struct schedule *s, int64_t step, int64_t total);

#endif
