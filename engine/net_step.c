/* The optimiser's step over all parameters of a net: gradient sums divided by their weight, clipped, decayed,
 * applied. The updates are operations (ref/updates.h), the optimisers optim.c's. */
#include <math.h>

#include "engine/net_inside.h"

/* Norm of the gradient sums: slices of fixed size, added in their order, in double. */
static int gradient_norm(struct net *net, struct optimizer *opt, const struct geometry *g, double *norm,
                         struct fail *why)
{
    const struct backend_ops *ops = net->be->ops;
    struct call c = {.out = {opt->device_squares},
                     .in = {net->memory.store[STORE_GRADIENT]},
                     .g = g,
                     .row = opt->slices,
                     .rows = 1};
    double sum = 0;
    ops->run(net->be, OP_SQUARES, &c, net->memory.scratch);
    ops->download(net->be, opt->squares, opt->device_squares, opt->slices);
    int rc = net_sync(net, why);
    if (rc)
        return rc;
    for (int64_t i = 0; i < opt->slices; i++)
        sum += (double)opt->squares[i];
    *norm = sqrt(sum);
    return 0;
}

/* As torch.nn.utils.clip_grad_norm_: scaled by clip / (norm + 1e-6) where that is below 1. */
static int clip(struct net *net, struct optimizer *opt, struct geometry *g, struct fail *why)
{
    double norm;
    int rc = gradient_norm(net, opt, g, &norm, why);
    if (rc)
        return rc;
    norm *= g->update.scale;
    if (!isfinite(norm))
        return fail(why, E_JOB,
                    "the gradient's norm is %g: it cannot be clipped; lower the learning rate or look at the "
                    "data",
                    norm);
    g->update.scale *= fmin(1, opt->settings.clip_norm / (norm + 1e-6));
    return 0;
}

static struct geometry geometry_of(const struct optimizer *opt, double lr, double weight)
{
    const struct optim_settings *s = &opt->settings;
    bool rmsprop = opt->type->op == OP_RMSPROP;
    double t = (double)opt->steps + 1;
    return (struct geometry){.update = {.count = (int64_t)opt->net->elements[STORE_PARAM],
                                        .lr = lr,
                                        .scale = 1 / weight,
                                        .momentum = s->momentum,
                                        .l1 = s->weight_decay_l1,
                                        .l2 = s->weight_decay_l2,
                                        .beta1 = s->beta1,
                                        .beta2 = rmsprop ? s->alpha : s->beta2,
                                        .epsilon = s->epsilon,
                                        .correction1 = 1 - pow(s->beta1, t),
                                        .correction2 = 1 - pow(s->beta2, t),
                                        .nesterov = s->nesterov,
                                        .centered = s->centered}};
}

int net_step(struct net *net, struct optimizer *opt, double lr, double weight, struct fail *why)
{
    if (opt->net != net)
        return fail(why, E_USAGE, "the optimiser belongs to another net");
    if (!(weight > 0) || !isfinite(weight) || !isfinite(lr))
        return fail(why, E_JOB,
                    "a step with weight %g and learning rate %g: no row counted, or a number is not finite",
                    weight, lr);
    struct geometry g = geometry_of(opt, lr, weight);
    int rc = opt->settings.clip_norm > 0 ? clip(net, opt, &g, why) : 0;
    if (rc)
        return rc;
    struct call c = {.out = {net->memory.store[STORE_PARAM], opt->moments, net->memory.store[STORE_GRADIENT]},
                     .g = &g,
                     .row = g.update.count,
                     .rows = 1};
    net->be->ops->run(net->be, opt->type->op, &c, net->memory.scratch);
    opt->steps++;
    return net_sync(net, why);
}
