/* Optimiser updates and the sum of squares, as ref defines them, and as PyTorch: once for all backends of the
 * host. Included by files that choose `real`: ref/kernels.h, and cpu/lanes_update.h for each instruction set.
 * Work is cut into slices of fixed size, so that bits do not depend on the number of threads. An update reads
 * dw and leaves it zero, for the next step's sums. t counts steps from 1; g = dw scale + decay(w).
 * NAME_over takes elements i..last-1: cuda's kernels call it with one. */
#ifndef ENGINE_REF_UPDATES_H
#define ENGINE_REF_UPDATES_H

#include "engine/backend_ops.h"
#include "engine/formula.h"

enum { UPDATE_SUMS = 16 };

EVERYWHERE int64_t update_slices(const struct call *c)
{
    return (c->g->update.count + UPDATE_SLICE - 1) / UPDATE_SLICE;
}

EVERYWHERE int64_t update_end(const struct call *c, int64_t slice)
{
    return slice * UPDATE_SLICE < c->g->update.count ? slice * UPDATE_SLICE : c->g->update.count;
}

/* m = mu m + g;  w -= lr m, or, Nesterov's, w -= lr (g + mu m). Without mu there is no m. */
EVERYWHERE void sgd_over(const struct call *c, int64_t i, int64_t last)
{
    const struct update *u = &c->g->update;
    real *__restrict w = (real *)c->out[0], *__restrict m = (real *)c->out[1],
                     *__restrict dw = (real *)c->out[2];
    real scale = (real)u->scale, lr = (real)u->lr, mu = (real)u->momentum, l1 = (real)u->l1, l2 = (real)u->l2;
    bool nesterov = u->nesterov;
    for (; i < last; i++) {
        real g = dw[i] * scale + formula_decay(w[i], l1, l2), v = g;
        dw[i] = 0;
        if (m) {
            m[i] = v = mu * m[i] + g;
            v = nesterov ? g + mu * v : v;
        }
        w[i] -= lr * v;
    }
}

/* m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + e).
 * Adam decays the gradient; AdamW the weight, apart: w -= lr decay(w) before all else, with g = dw scale. */
EVERYWHERE void adam_any_over(const struct call *c, int64_t i, int64_t last, bool apart)
{
    const struct update *u = &c->g->update;
    real *__restrict w = (real *)c->out[0], *__restrict m = (real *)c->out[1], *__restrict v = m + u->count,
                     *__restrict dw = (real *)c->out[2];
    real scale = (real)u->scale, l1 = (real)(apart ? u->lr * u->l1 : u->l1),
         l2 = (real)(apart ? u->lr * u->l2 : u->l2);
    real b1 = (real)u->beta1, b2 = (real)u->beta2, rest1 = (real)(1 - u->beta1), rest2 = (real)(1 - u->beta2);
    real lr = (real)(u->lr / u->correction1), root = (real)(1 / sqrt(u->correction2)), e = (real)u->epsilon;
    for (; i < last; i++) {
        real decay = formula_decay(w[i], l1, l2), g = dw[i] * scale + (apart ? 0 : decay);
        real before = w[i] - (apart ? decay : 0);
        dw[i] = 0;
        m[i] = b1 * m[i] + rest1 * g;
        v[i] = b2 * v[i] + rest2 * g * g;
        w[i] = before - lr * m[i] / (FORMULA_SQRT(v[i]) * root + e);
    }
}

EVERYWHERE void adam_over(const struct call *c, int64_t i, int64_t last)
{
    adam_any_over(c, i, last, false);
}

EVERYWHERE void adamw_over(const struct call *c, int64_t i, int64_t last)
{
    adam_any_over(c, i, last, true);
}

/* v = a v + (1 - a) g^2;  d = g / (sqrt(v) + e), or, centered, with h = a h + (1 - a) g, g / (sqrt(v - h^2) + e);
 * w -= lr d, or, with momentum, m = mu m + d;  w -= lr m. Moments: v, then h, then m, those that there are.
 * v - h^2 is a variance: what rounding makes negative is 0. */
EVERYWHERE void rmsprop_any_over(const struct call *c, int64_t i, int64_t last, bool centered, bool momentum)
{
    const struct update *u = &c->g->update;
    real *__restrict w = (real *)c->out[0], *__restrict v = (real *)c->out[1],
                     *__restrict h = centered ? v + u->count : NULL,
                     *__restrict m = momentum ? v + (centered ? 2 : 1) * u->count : NULL,
                     *__restrict dw = (real *)c->out[2];
    real scale = (real)u->scale, l1 = (real)u->l1, l2 = (real)u->l2, lr = (real)u->lr, mu = (real)u->momentum;
    real a = (real)u->beta2, rest = (real)(1 - u->beta2), e = (real)u->epsilon;
    for (; i < last; i++) {
        real g = dw[i] * scale + formula_decay(w[i], l1, l2), d;
        dw[i] = 0;
        v[i] = d = a * v[i] + rest * g * g;
        if (centered) {
            h[i] = a * h[i] + rest * g;
            d -= h[i] * h[i];
            d = d < 0 ? 0 : d;
        }
        d = g / (FORMULA_SQRT(d) + e);
        if (momentum)
            m[i] = d = mu * m[i] + d;
        w[i] -= lr * d;
    }
}

EVERYWHERE void rmsprop_over(const struct call *c, int64_t i, int64_t last)
{
    bool momentum = c->g->update.momentum > 0;
    if (c->g->update.centered && momentum)
        rmsprop_any_over(c, i, last, true, true);
    else if (c->g->update.centered)
        rmsprop_any_over(c, i, last, true, false);
    else if (momentum)
        rmsprop_any_over(c, i, last, false, true);
    else
        rmsprop_any_over(c, i, last, false, false);
}

/* v += g^2;  w -= lr g / (sqrt(v) + e) */
EVERYWHERE void adagrad_over(const struct call *c, int64_t i, int64_t last)
{
    const struct update *u = &c->g->update;
    real *__restrict w = (real *)c->out[0], *__restrict v = (real *)c->out[1],
                     *__restrict dw = (real *)c->out[2];
    real scale = (real)u->scale, l1 = (real)u->l1, l2 = (real)u->l2, lr = (real)u->lr, e = (real)u->epsilon;
    for (; i < last; i++) {
        real g = dw[i] * scale + formula_decay(w[i], l1, l2);
        dw[i] = 0;
        v[i] += g * g;
        w[i] -= lr * g / (FORMULA_SQRT(v[i]) + e);
    }
}

#ifndef __cplusplus /* the same over slices, for the host */
#define UPDATE_SLICES(name)                                                                    \
    static void update_##name(const struct call *c, int64_t begin, int64_t end, void *scratch) \
    {                                                                                          \
        (void)scratch;                                                                         \
        name##_over(c, begin *UPDATE_SLICE, update_end(c, end));                               \
    }

/* sums[slice] = sum of dw[i]^2, in double and in this order: UPDATE_SUMS sums of every UPDATE_SUMSth, then those
 * one after another. */
static void update_squares(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const real *__restrict dw = c->in[0];
    (void)scratch;
    for (int64_t slice = begin; slice < end; slice++) {
        double sums[UPDATE_SUMS] = {0}, sum = 0;
        int64_t i = slice * UPDATE_SLICE, last = update_end(c, slice + 1);
        for (; i + UPDATE_SUMS <= last; i += UPDATE_SUMS)
            for (int k = 0; k < UPDATE_SUMS; k++)
                sums[k] += (double)dw[i + k] * (double)dw[i + k];
        for (int k = 0; i < last; i++, k++)
            sums[k] += (double)dw[i] * (double)dw[i];
        for (int k = 0; k < UPDATE_SUMS; k++)
            sum += sums[k];
        ((real *)c->out[0])[slice] = (real)sum;
    }
}

UPDATE_SLICES(sgd)
UPDATE_SLICES(adam)
UPDATE_SLICES(adamw)
UPDATE_SLICES(rmsprop)
UPDATE_SLICES(adagrad)

/* Rows of a table of kernels. */
#define UPDATE_KERNELS                                                                                      \
    [OP_SGD] = {update_sgd, update_slices, NULL}, [OP_ADAM] = {update_adam, update_slices, NULL},           \
    [OP_ADAMW] = {update_adamw, update_slices, NULL}, [OP_RMSPROP] = {update_rmsprop, update_slices, NULL}, \
    [OP_ADAGRAD] = {update_adagrad, update_slices, NULL},                                                   \
    [OP_SQUARES] = {update_squares, update_slices, NULL}

#endif
#endif
