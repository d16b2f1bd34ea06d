/* Copies of a run's weights: the best epoch's, and the last good ones. When they are taken: run.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/run_parts.h"

enum { LOWERED_MOST = 10 };

static int room_make(float **at, int64_t n, struct fail *why)
{
    if (!*at)
        *at = malloc(sizeof(float) * (size_t)(n > 0 ? n : 1));
    return *at ? 0 : fail(why, E_JOB, "training: no memory for a copy of %lld weights", (long long)n);
}

int run_weights_take(struct run *r, struct run_weights *to, bool moments, struct fail *why)
{
    int64_t size = optim_state_size(r->opt), at = 0;
    int rc = room_make(&to->params, r->param_floats, why);
    for (int i = 0; !rc && i < net_param_count(r->net); i++) {
        rc = net_param_get(r->net, i, to->params + at, why);
        at += shape_size(net_param_shape(r->net, i));
    }
    if (rc || !moments)
        return rc;
    rc = room_make(&to->moments, size, why);
    return rc ? rc : optim_state_get(r->opt, size ? to->moments : NULL, &to->steps, why);
}

int run_weights_put(struct run *r, const struct run_weights *from, struct fail *why)
{
    int64_t at = 0;
    int rc = 0;
    for (int i = 0; !rc && i < net_param_count(r->net); i++) {
        rc = net_param_set(r->net, i, from->params + at, why);
        at += shape_size(net_param_shape(r->net, i));
    }
    if (rc || !from->moments)
        return rc;
    return optim_state_set(r->opt, optim_state_size(r->opt) ? from->moments : NULL, from->steps, why);
}

void run_weights_free(struct run_weights *w)
{
    free(w->params);
    free(w->moments);
    *w = (struct run_weights){0};
}

int run_keep_good(struct run *r, struct fail *why)
{
    bool wanted = false;
    for (int i = 0; i < HEALTH_RULES; i++)
        wanted |= r->settings->health.action[i] == HEALTH_LOWER;
    if (!wanted)
        return 0;
    r->good_state = r->state;
    return run_weights_take(r, &r->good, true, why);
}

/* By val_loss, or by the training loss where no rows are held out. */
int run_keep_best(struct run *r, struct fail *why)
{
    struct run_state *s = &r->state;
    bool held_out = s->validation.rows > 0;
    double now = run_loss(held_out ? &s->validation : &s->train);
    double before = run_loss(held_out ? &s->best_validation : &s->best_train);
    if (!r->settings->restore_best || (s->best_epoch && !(now < before)))
        return 0;
    s->best_epoch = s->epoch;
    s->best_train = s->train;
    s->best_validation = s->validation;
    return run_weights_take(r, &r->best, false, why);
}

int run_restore_best(struct run *r, struct fail *why)
{
    struct run_state *s = &r->state;
    if (!s->best_epoch || !r->best.params)
        return 0;
    s->train = s->best_train;
    s->validation = s->best_validation;
    return run_weights_put(r, &r->best, why);
}

float *run_best(struct run *r, struct fail *why)
{
    return room_make(&r->best.params, r->param_floats, why) ? NULL : r->best.params;
}

/* Net and optimiser are opened anew: gradients that are not finite would stay. The best weights are kept; an epoch
 * that is later than the state's was not that good after all. */
int run_go_back(struct run *r, struct fail *why)
{
    struct run_state now = r->state;
    if (now.lowered >= LOWERED_MOST)
        return fail(why, E_JOB, "the rate was lowered %d times, to %g, and the training still goes wrong",
                    LOWERED_MOST, now.rate_factor);
    int rc = run_net_open(r, why);
    if (!rc)
        rc = run_weights_put(r, &r->good, why);
    if (rc)
        return rc;
    r->state = r->good_state;
    r->state.sequence = now.sequence;
    r->state.elapsed_s = now.elapsed_s;
    r->state.lowered = now.lowered + 1;
    r->state.rate_factor = now.rate_factor / 2;
    r->state.best_epoch = now.best_epoch;
    r->state.best_train = now.best_train;
    r->state.best_validation = now.best_validation;
    r->order_epoch = -1;
    r->last_rows = 0;
    return 0;
}
