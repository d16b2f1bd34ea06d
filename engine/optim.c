/* All optimisers, one table. The update itself is an operation (ref/losses.h has its formula); net_step runs
 * it. A new one: an operation, a row here, a golden from PyTorch. */
#include "engine/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/net_inside.h"

const struct optim_type optim_types[] = {
    {"sgd", OP_SGD, 1},
    {0},
};

const char *optim_names(void)
{
    return "sgd";
}

static const struct optim_type *find(const char *name)
{
    for (const struct optim_type *t = optim_types; t->name; t++)
        if (!strcmp(t->name, name))
            return t;
    return NULL;
}

static int check_settings(const struct optim_settings *s, struct fail *why)
{
    if (!(s->momentum >= 0 && s->momentum <= 1))
        return fail(why, E_JOB, "momentum %g is not in 0..1", s->momentum);
    if (!(s->weight_decay_l1 >= 0) || !isfinite(s->weight_decay_l1) || !(s->weight_decay_l2 >= 0) ||
        !isfinite(s->weight_decay_l2))
        return fail(why, E_JOB, "weight decay (l1 %g, l2 %g) must be 0 or more", s->weight_decay_l1,
                    s->weight_decay_l2);
    return 0;
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
    if ((rc = check_settings(s, why)))
        return rc;
    struct optimizer *opt = calloc(1, sizeof *opt);
    if (!opt)
        return fail(why, E_MEMORY, "no memory for an optimiser");
    opt->type = type;
    opt->net = net;
    opt->settings.momentum = s->momentum;
    opt->settings.l1 = s->weight_decay_l1;
    opt->settings.l2 = s->weight_decay_l2;
    size_t elements = net->elements[STORE_PARAM] * (size_t)type->moments;
    if (!(opt->moments = net->be->ops->alloc(net->be, elements, why))) {
        free(opt);
        return -E_MEMORY;
    }
    *out = opt;
    return 0;
}

void optim_close(struct optimizer **opt)
{
    if (!*opt)
        return;
    (*opt)->net->be->ops->free((*opt)->net->be, (*opt)->moments);
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
    return size * opt->type->moments;
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
    for (int m = 0; m < opt->type->moments; m++)
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
