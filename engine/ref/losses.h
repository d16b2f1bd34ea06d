/* Losses, as ref defines them. They cost little and sum in double, so backend cpu uses them as they are. Included by files that choose `real`; see kernels.h. */
#include <math.h>

#include "engine/backend_ops.h"
#include "engine/formula.h"

/* Element j of row n's target: given, or made of a label: one-hot, or for one output the label's value. */
EVERYWHERE double target_at(const struct call *c, int64_t n, int64_t j)
{
    const real *t = (const real *)c->in[1];
    if (!c->g->loss.labels)
        return (double)t[n * c->g->loss.outputs + j];
    return c->g->loss.outputs == 1 ? (double)t[n] : (double)t[n] == (double)j;
}

/* Index of the largest, the lowest of equals. */
EVERYWHERE int64_t largest_output(const real *x, int64_t k)
{
    int64_t best = 0;
    for (int64_t j = 1; j < k; j++)
        best = x[j] > x[best] ? j : best;
    return best;
}

EVERYWHERE int64_t largest_target(const struct call *c, int64_t n)
{
    int64_t best = 0;
    for (int64_t j = 1; j < c->g->loss.outputs; j++)
        best = target_at(c, n, j) > target_at(c, n, best) ? j : best;
    return best;
}

/* A row's loss, weight, whether its answer is right (net.h), and that it counted. */
EVERYWHERE void put_sums(const struct call *c, int64_t n, double loss, double weight)
{
    int64_t k = c->g->loss.outputs;
    const real *x = (const real *)c->in[0] + n * k;
    real *sums = (real *)c->out[1] + n * LOSS_SUMS;
    bool right =
        k == 1 ? (x[0] >= 0) == (target_at(c, n, 0) >= 0.5) : largest_output(x, k) == largest_target(c, n);
    sums[0] = (real)loss;
    sums[1] = (real)weight;
    sums[2] = (real)(right && x[0] == x[0]);
    sums[3] = 1;
}

EVERYWHERE void put_gradient(const struct call *c, int64_t n, int64_t j, double v)
{
    if (c->out[0])
        ((real *)c->out[0])[n * c->g->loss.outputs + j] = (real)v;
}

/* A row whose label says that it does not count: no loss, no weight, no gradient. */
EVERYWHERE bool leave_out(const struct call *c, int64_t n)
{
    real *sums = (real *)c->out[1] + n * LOSS_SUMS;
    if (!c->g->loss.ignores || !c->g->loss.labels ||
        (double)((const real *)c->in[1])[n] != c->g->loss.ignored)
        return false;
    for (int64_t j = 0; j < c->g->loss.outputs; j++)
        put_gradient(c, n, j, 0);
    for (int i = 0; i < LOSS_SUMS; i++)
        sums[i] = 0;
    return true;
}

/* Weight of class (cross entropy) or of the positive targets of output (log loss) j. */
EVERYWHERE double weight_at(const struct call *c, int64_t j)
{
    return c->in[2] ? (double)((const real *)c->in[2])[j] : 1;
}

/* q[j] = v[j] ((1 - s) t[j] + s / K): the target, smoothed by s, times its class's weight v. */
EVERYWHERE double smoothed_at(const struct call *c, int64_t n, int64_t j)
{
    double s = c->g->loss.smoothing;
    return weight_at(c, j) * ((1 - s) * target_at(c, n, j) + s / (double)c->g->loss.outputs);
}

/* loss = sum over j of q[j] (log sum over k of e^x[k] - x[j]);  dx[j] = softmax(x)[j] sum of q - q[j].
 * Weight: of the label's class; with targets 1. As torch.nn.CrossEntropyLoss. */
EVERYWHERE void loss_cross_entropy(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t k = c->g->loss.outputs;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        const real *x = (const real *)c->in[0] + n * k;
        real *dx = c->out[0] ? (real *)c->out[0] + n * k : NULL; /* holds e^x[j] on the way */
        double most = (double)x[largest_output(x, k)], sum = 0, loss = 0, total = 0;
        if (leave_out(c, n))
            continue;
        for (int64_t j = 0; j < k; j++) {
            double e = exp((double)x[j] - most);
            sum += e;
            put_gradient(c, n, j, e);
        }
        double log_sum = log(sum) + most;
        for (int64_t j = 0; j < k; j++) {
            double q = smoothed_at(c, n, j);
            total += q;
            loss += q != 0 ? q * (log_sum - (double)x[j]) : 0;
        }
        for (int64_t j = 0; dx && j < k; j++)
            dx[j] = (real)((double)dx[j] / sum * total - smoothed_at(c, n, j));
        put_sums(c, n, loss, c->g->loss.labels ? weight_at(c, (int64_t)((const real *)c->in[1])[n]) : 1);
    }
}

/* loss = sum over j of (x[j] - t[j])^2;  dx[j] = 2 (x[j] - t[j]). Weight: the number of outputs. */
EVERYWHERE void loss_mse(const struct call *c, int64_t begin, int64_t end, void *scratch)
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

/* loss = sum over j of the binary cross entropy of logit x[j] (formula.h), positive targets weighing v[j].
 * Weight: the number of outputs. As torch.nn.BCEWithLogitsLoss(pos_weight=v). */
EVERYWHERE void loss_log_loss(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t k = c->g->loss.outputs;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        double loss = 0;
        for (int64_t j = 0; j < k; j++) {
            real x = ((const real *)c->in[0])[n * k + j], t = (real)target_at(c, n, j);
            real v = (real)weight_at(c, j);
            loss += (double)formula_log_loss(x, t, v);
            put_gradient(c, n, j, (double)formula_log_loss_back(x, t, v));
        }
        put_sums(c, n, loss, (double)k);
    }
}

/* dx[j] = 1 for the chosen output, else 0. Not a loss, but what takes its place where a net explains. */
EVERYWHERE void loss_pick(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t k = c->g->pick.outputs;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        const real *y = (const real *)c->in[0] + n * k, *choice = (const real *)c->in[1];
        real *dx = (real *)c->out[0] + n * k;
        int64_t chosen = choice[n] < 0 ? largest_output(y, k) : (int64_t)choice[n];
        for (int64_t j = 0; j < k; j++)
            dx[j] = (c->add ? dx[j] : 0) + (j == chosen);
    }
}
