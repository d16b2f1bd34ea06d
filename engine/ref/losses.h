/* Losses and optimiser updates, as ref defines them. They cost little and sum in double, so backend cpu uses
 * them as they are. Included by files that choose `real`; see kernels.h. */
#include <math.h>

#include "engine/backend_ops.h"
#include "engine/formula.h"

/* Element j of row n's target: given, or made of a label: one-hot, or for one output the label's value. */
static double target_at(const struct call *c, int64_t n, int64_t j)
{
    const real *t = c->in[1];
    if (!c->g->loss.labels)
        return (double)t[n * c->g->loss.outputs + j];
    return c->g->loss.outputs == 1 ? (double)t[n] : (double)t[n] == (double)j;
}

/* Index of the largest, the lowest of equals. */
static int64_t largest_output(const real *x, int64_t k)
{
    int64_t best = 0;
    for (int64_t j = 1; j < k; j++)
        best = x[j] > x[best] ? j : best;
    return best;
}

static int64_t largest_target(const struct call *c, int64_t n)
{
    int64_t best = 0;
    for (int64_t j = 1; j < c->g->loss.outputs; j++)
        best = target_at(c, n, j) > target_at(c, n, best) ? j : best;
    return best;
}

/* A row's loss, weight, and whether its answer is right (net.h). */
static void put_sums(const struct call *c, int64_t n, double loss, double weight)
{
    int64_t k = c->g->loss.outputs;
    const real *x = (const real *)c->in[0] + n * k;
    real *sums = (real *)c->out[1] + n * LOSS_SUMS;
    bool right =
        k == 1 ? (x[0] >= 0) == (target_at(c, n, 0) >= 0.5) : largest_output(x, k) == largest_target(c, n);
    sums[0] = (real)loss;
    sums[1] = (real)weight;
    sums[2] = (real)(right && x[0] == x[0]);
}

static void put_gradient(const struct call *c, int64_t n, int64_t j, double v)
{
    if (c->out[0])
        ((real *)c->out[0])[n * c->g->loss.outputs + j] = (real)v;
}

/* loss = sum over j of t[j] (log sum over k of e^x[k] - x[j]);  dx[j] = softmax(x)[j] sum of t - t[j]. Weight 1. */
static void loss_cross_entropy(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t k = c->g->loss.outputs;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        const real *x = (const real *)c->in[0] + n * k;
        double most = (double)x[largest_output(x, k)], sum = 0, loss = 0, total = 0;
        for (int64_t j = 0; j < k; j++)
            sum += exp((double)x[j] - most);
        for (int64_t j = 0; j < k; j++) {
            double t = target_at(c, n, j);
            total += t;
            loss += t != 0 ? t * (log(sum) + most - (double)x[j]) : 0;
        }
        for (int64_t j = 0; j < k; j++)
            put_gradient(c, n, j, exp((double)x[j] - most) / sum * total - target_at(c, n, j));
        put_sums(c, n, loss, 1);
    }
}

/* loss = sum over j of (x[j] - t[j])^2;  dx[j] = 2 (x[j] - t[j]). Weight: the number of outputs. */
static void loss_mse(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t k = c->g->loss.outputs;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        double loss = 0;
        for (int64_t j = 0; j < k; j++) {
            double d = (double)((const real *)c->in[0])[n * k + j] - target_at(c, n, j);
            loss += d * d;
            put_gradient(c, n, j, 2 * d);
        }
        put_sums(c, n, loss, (double)k);
    }
}

/* loss = sum over j of the binary cross entropy of logit x[j];  dx[j] = sigmoid(x[j]) - t[j]. Weight: the
 * number of outputs. */
static void loss_log_loss(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t k = c->g->loss.outputs;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        double loss = 0;
        for (int64_t j = 0; j < k; j++) {
            real x = ((const real *)c->in[0])[n * k + j], t = (real)target_at(c, n, j);
            loss += (double)formula_log_loss(x, t);
            put_gradient(c, n, j, (double)(formula_sigmoid(x) - t));
        }
        put_sums(c, n, loss, (double)k);
    }
}

/* dx[j] = 1 for the chosen output, else 0. Not a loss, but what takes its place where a net explains. */
static void loss_pick(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t k = c->g->pick.outputs;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        const real *y = (const real *)c->in[0] + n * k, *choice = c->in[1];
        real *dx = (real *)c->out[0] + n * k;
        int64_t chosen = choice[n] < 0 ? largest_output(y, k) : (int64_t)choice[n];
        for (int64_t j = 0; j < k; j++)
            dx[j] = (c->add ? dx[j] : 0) + (j == chosen);
    }
}

/* moment = momentum moment + g;  w -= lr moment (PyTorch's, not Nesterov's) */
static void optim_sgd(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    real *restrict w = c->out[0], *restrict moment = c->out[1];
    const real *restrict dw = c->in[0];
    real scale = (real)c->g->update.scale, lr = (real)c->g->update.lr, mu = (real)c->g->update.momentum;
    real l1 = (real)c->g->update.l1, l2 = (real)c->g->update.l2;
    (void)scratch;
    for (int64_t i = begin; i < end; i++) {
        moment[i] = mu * moment[i] + formula_decayed(dw[i], w[i], scale, l1, l2);
        w[i] -= lr * moment[i];
    }
}

static int64_t optim_items(const struct call *c)
{
    return c->g->update.count;
}
