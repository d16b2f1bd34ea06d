/* All optimisers, one table. The updates are operations (ref/updates.h has their formulas); net_step.c runs
 * them. A new one: an operation, a row here, a golden from PyTorch. */
#include "engine/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/net_inside.h"

const struct optim_type optim_types[] = {
    {"sgd", OP_SGD, 0, 0, "momentum nesterov"},
    {"adam", OP_ADAM, 2, 1e-8, "beta1 beta2 epsilon"},
    {"adamw", OP_ADAMW, 2, 1e-8, "beta1 beta2 epsilon"},
    {"rmsprop", OP_RMSPROP, 1, 1e-8, "momentum alpha epsilon centered"},
    {"adagrad", OP_ADAGRAD, 1, 1e-10, "epsilon"},
    {0},
};

const char *optim_names(void)
{
    return "sgd, adam, adamw, rmsprop, adagrad";
}

static const struct optim_type *find(const char *name)
{
    for (const struct optim_type *t = optim_types; t->name; t++)
        if (!strcmp(t->name, name))
            return t;
    return NULL;
}

struct optim_settings optim_defaults(const char *name)
{
    const struct optim_type *type = find(name);
    return (struct optim_settings){.beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .alpha = 0.99,
                                   .epsilon = type && type->epsilon > 0 ? type->epsilon : 1e-8};
}

/* Is it one of the words of the type's settings? */
static bool takes(const struct optim_type *type, const char *setting)
{
    size_t n = strlen(setting);
    for (const char *at = type->settings; (at = strstr(at, setting)); at += n)
        if ((at == type->settings || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
            return true;
    return false;
}

bool optim_takes(const char *name, const char *setting)
{
    const struct optim_type *type = find(name);
    return type && takes(type, setting);
}

/* A number must lie in low .. high (open: below high), where the optimiser looks at it. */
struct bound {
    const char *name;
    double value, low, high;
    bool open, own; /* own: of some optimisers only */
};

static int check_bounds(const struct optim_type *type, const struct bound *b, int count, struct fail *why)
{
    for (int i = 0; i < count; i++, b++) {
        bool looked_at = !b->own || takes(type, b->name);
        bool inside = b->value >= b->low && (b->open ? b->value < b->high : b->value <= b->high);
        if (!looked_at || inside)
            continue;
        if (isinf(b->high))
            return fail(why, E_JOB, "%s %g: expected a number from %g", b->name, b->value, b->low);
        return fail(why, E_JOB, "%s %g is not in %g..%s%g", b->name, b->value, b->low,
                    b->open ? "below " : "", b->high);
    }
    return 0;
}

static int check_settings(const struct optim_type *type, const struct optim_settings *s, struct fail *why)
{
    const struct bound bounds[] = {
        {"weight_decay_l1", s->weight_decay_l1, 0, INFINITY, true, false},
        {"weight_decay_l2", s->weight_decay_l2, 0, INFINITY, true, false},
        {"gradient_clip", s->clip_norm, 0, INFINITY, true, false},
        {"momentum", s->momentum, 0, 1, false, true},
        {"beta1", s->beta1, 0, 1, true, true},
        {"beta2", s->beta2, 0, 1, true, true},
        {"alpha", s->alpha, 0, 1, true, true},
        {"epsilon", s->epsilon, 1e-30, INFINITY, true, true},
    };
    int rc = check_bounds(type, bounds, sizeof bounds / sizeof *bounds, why);
    if (rc)
        return rc;
    const char *unknown = s->momentum != 0 && !takes(type, "momentum") ? "momentum"
                          : s->nesterov && !takes(type, "nesterov")    ? "nesterov"
                          : s->centered && !takes(type, "centered")    ? "centered"
                                                                       : NULL;
    if (unknown)
        return fail(why, E_JOB, "%s is no setting of optimiser %s (it has %s)", unknown, type->name,
                    type->settings);
    if (s->nesterov && !(s->momentum > 0))
        return fail(why, E_JOB, "nesterov needs momentum above 0");
    return 0;
}

/* Beside the type's own: sgd's and rmsprop's momentum, rmsprop's mean. */
static int count_moments(const struct optim_type *type, const struct optim_settings *s)
{
    return type->moments + (s->momentum > 0) + s->centered;
}

/* Sums that squares (op.h) gives. */
static size_t slices(const struct net *net)
{
    return (net->elements[STORE_PARAM] + UPDATE_SLICE - 1) / UPDATE_SLICE;
}

/* The arena of moments and what clipping sums into. */
static int alloc_state(struct optimizer *opt, struct fail *why)
{
    struct backend *be = opt->net->be;
    size_t elements = opt->net->elements[STORE_PARAM] * (size_t)opt->moment_count;
    if (elements && !(opt->moments = be->ops->alloc(be, elements, why)))
        return -E_MEMORY;
    if (!(opt->settings.clip_norm > 0))
        return 0;
    opt->slices = (int64_t)slices(opt->net);
    opt->squares = calloc((size_t)opt->slices + 1, sizeof *opt->squares);
    if (!opt->squares)
        return fail(why, E_MEMORY, "no memory for an optimiser");
    opt->device_squares = be->ops->alloc(be, (size_t)opt->slices, why);
    return opt->device_squares ? 0 : -E_MEMORY;
}

int optim_open(struct optimizer **out, struct net *net, const char *name, const struct optim_settings *s,
               struct fail *why)
{
    const struct optim_type *type = find(name);
    int rc;
    if (!type)
        return fail(why, E_JOB, "optimiser %s is unknown; expected one of %s", name, optim_names());
    if (net->o.mode != NET_TRAIN)
        return fail(why, E_USAGE, "an optimiser needs a net opened for training");
    if ((rc = check_settings(type, s, why)))
        return rc;
    struct optimizer *opt = calloc(1, sizeof *opt);
    if (!opt)
        return fail(why, E_MEMORY, "no memory for an optimiser");
    opt->type = type;
    opt->net = net;
    opt->settings = *s;
    opt->moment_count = count_moments(type, s);
    if ((rc = alloc_state(opt, why)))
        optim_close(&opt);
    *out = opt;
    return rc;
}

void optim_close(struct optimizer **opt)
{
    if (!*opt)
        return;
    struct backend *be = (*opt)->net->be;
    be->ops->free(be, (*opt)->moments);
    be->ops->free(be, (*opt)->device_squares);
    free((*opt)->squares);
    free(*opt);
    *opt = NULL;
}

int64_t optim_steps(const struct optimizer *opt)
{
    return opt->steps;
}

int64_t optim_state_size(const struct optimizer *opt)
{
    int64_t size = 0;
    for (int i = 0; i < opt->net->param_count; i++)
        if (opt->net->params[i].store == STORE_PARAM)
            size += opt->net->params[i].size;
    return size * opt->moment_count;
}

/* Where moment m of a parameter lies. */
static void *moment_at(const struct optimizer *opt, int m, const struct net_param *p)
{
    size_t at = (size_t)m * opt->net->elements[STORE_PARAM] + p->at;
    return (char *)opt->moments + at * opt->net->be->ops->element;
}

/* Copies all moments out of (get) or into the backend, by moment, then by parameter. */
static void copy_state(struct optimizer *opt, float *get, const float *set)
{
    struct backend *be = opt->net->be;
    int64_t done = 0;
    for (int m = 0; m < opt->moment_count; m++)
        for (int i = 0; i < opt->net->param_count; i++) {
            const struct net_param *p = &opt->net->params[i];
            if (p->store != STORE_PARAM)
                continue;
            if (get)
                be->ops->download(be, get + done, moment_at(opt, m, p), p->size);
            else
                be->ops->upload(be, moment_at(opt, m, p), set + done, p->size);
            done += p->size;
        }
}

int optim_state_get(struct optimizer *opt, float *values, int64_t *steps, struct fail *why)
{
    struct backend *be = opt->net->be;
    copy_state(opt, values, NULL);
    *steps = opt->steps;
    return be->ops->sync ? be->ops->sync(be, why) : 0;
}

int optim_state_set(struct optimizer *opt, const float *values, int64_t steps, struct fail *why)
{
    struct backend *be = opt->net->be;
    if (steps < 0)
        return fail(why, E_JOB, "%lld optimiser steps: expected 0 or more", (long long)steps);
    copy_state(opt, NULL, values);
    opt->steps = steps;
    return be->ops->sync ? be->ops->sync(be, why) : 0;
}
