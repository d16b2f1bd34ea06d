/* Learning-rate schedules (schedule.h has the formulas). */
#include "engine/schedule.h"

#include <math.h>

struct schedule schedule_constant(double rate)
{
    return (struct schedule){.rate = rate,
                             .warmup_start = 1.0 / 3,
                             .step_size = 1,
                             .gamma = 0.1,
                             .pct_start = 0.3,
                             .div_factor = 25,
                             .final_div_factor = 1e4};
}

const char *schedule_name(enum schedule_kind kind)
{
    static const char *const names[] = {"constant", "step", "cosine", "one_cycle"};
    return kind >= SCHEDULE_CONSTANT && kind <= SCHEDULE_ONE_CYCLE ? names[kind] : "?";
}

static bool above(double v, double least)
{
    return v > least && isfinite(v);
}

int schedule_check(const struct schedule *s, struct fail *why)
{
    bool one_cycle = s->kind == SCHEDULE_ONE_CYCLE;
    if (!(s->rate >= 0) || !isfinite(s->rate))
        return fail(why, E_JOB, "learning_rate %g: expected a number from 0", s->rate);
    if (s->warmup_steps < 0)
        return fail(why, E_JOB, "a warm-up of %lld steps: expected 0 or more", (long long)s->warmup_steps);
    if (s->warmup_steps && one_cycle)
        return fail(why, E_JOB, "one_cycle warms up by itself: leave the warm-up out");
    if (s->warmup_steps && !(s->warmup_start > 0 && s->warmup_start <= 1))
        return fail(why, E_JOB, "lr_warmup_start %g is not above 0 and at most 1", s->warmup_start);
    if (s->kind == SCHEDULE_STEP && s->step_size < 1)
        return fail(why, E_JOB, "schedule step: %lld steps, expected 1 or more", (long long)s->step_size);
    if (s->kind == SCHEDULE_STEP && !above(s->gamma, 0))
        return fail(why, E_JOB, "lr_gamma %g: expected a number above 0", s->gamma);
    if (s->kind == SCHEDULE_COSINE && !(s->least >= 0 && s->least <= s->rate))
        return fail(why, E_JOB, "lr_min %g is not in 0..learning_rate %g", s->least, s->rate);
    if (one_cycle && !(s->pct_start >= 0 && s->pct_start <= 1))
        return fail(why, E_JOB, "lr_pct_start %g is not in 0..1", s->pct_start);
    if (one_cycle && (!above(s->div_factor, 0) || !above(s->final_div_factor, 0)))
        return fail(why, E_JOB, "lr_div_factor %g, lr_final_div_factor %g: expected numbers above 0",
                    s->div_factor, s->final_div_factor);
    return 0;
}

/* From a at share 0 to b at share 1 and beyond. */
static double along_cosine(double a, double b, double share)
{
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    return b + (a - b) / 2 * (1 + cos(M_PI * share));
}

/* OneCycleLR's phases end at the steps pct_start T - 1 and T - 1. */
static double one_cycle(const struct schedule *s, double step, double total)
{
    double peak = s->pct_start * total - 1, first = s->rate / s->div_factor, last = total - 1;
    if (step <= peak && peak > 0)
        return along_cosine(first, s->rate, step / peak);
    return along_cosine(s->rate, first / s->final_div_factor,
                        last > peak ? (step - peak) / (last - peak) : 1);
}

double schedule_rate(const struct schedule *s, int64_t step, int64_t total)
{
    if (step < s->warmup_steps)
        return s->rate * (s->warmup_start + (1 - s->warmup_start) * (double)step / (double)s->warmup_steps);
    step -= s->warmup_steps;
    total -= s->warmup_steps;
    switch (s->kind) {
    case SCHEDULE_STEP:
        return s->rate * pow(s->gamma, (double)(step / s->step_size));
    case SCHEDULE_COSINE:
        return along_cosine(s->rate, s->least, total > 0 ? (double)step / (double)total : 1);
    case SCHEDULE_ONE_CYCLE:
        return one_cycle(s, (double)step, (double)total);
    default:
        return s->rate;
    }
}
