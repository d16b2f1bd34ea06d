/* Batch normalisation as the loops that define it. Included by kernels.h; `real` is its includer's.
 * Statistics are those of the rows there are: m = rows * inner values of a channel. */
#include <math.h>

#include "engine/backend_ops.h"
#include "engine/ref/windows.h"

struct norm_channel {
    double mean, deviation; /* deviation: 1 / sqrt(variance + epsilon) */
    double w, b;
};

EVERYWHERE double norm_value(const void *values, int64_t channel, double otherwise)
{
    return values ? (double)((const real *)values)[channel] : otherwise;
}

/* Index of value i of a channel: i counts through its rows. */
EVERYWHERE int64_t norm_at(const struct norm *g, int64_t channel, int64_t i)
{
    return (i / g->inner * g->channels + channel) * g->inner + i % g->inner;
}

/* y = f((x - mean) deviation w + b [+ residual]) */
EVERYWHERE void norm_write(const struct call *c, const struct norm_channel *at, int64_t i)
{
    const real *x = (const real *)c->in[0], *residual = (const real *)c->in[5];
    double z =
        ((double)x[i] - at->mean) * at->deviation * at->w + at->b + (residual ? (double)residual[i] : 0);
    put((real *)c->out[0] + i, (double)formula_map(&c->g->map, (real)z), c->add);
}

/* With the running mean and variance; a missing mean and b are 0. */
EVERYWHERE struct norm_channel norm_running(const struct call *c, int64_t k)
{
    struct norm_channel at = {norm_value(c->in[3], k, 0),
                              1 / sqrt(norm_value(c->in[4], k, 1) + c->g->norm.epsilon),
                              norm_value(c->in[1], k, 1), norm_value(c->in[2], k, 0)};
    return at;
}

/* Channel k, of whose m values the mean and the sum of squares around it are given. */
EVERYWHERE struct norm_channel norm_around(const struct call *c, int64_t k, double mean, double squares,
                                           int64_t m)
{
    struct norm_channel at = {mean, 1 / sqrt(squares / (double)m + c->g->norm.epsilon),
                              norm_value(c->in[1], k, 1), norm_value(c->in[2], k, 0)};
    return at;
}

/* Keeps them for the way back, and moves the running ones. */
EVERYWHERE void norm_keep(const struct call *c, int64_t k, const struct norm_channel *at, double squares,
                          int64_t m)
{
    const struct norm *g = &c->g->norm;
    real *stats = (real *)c->out[1], *running[2] = {(real *)c->out[2], (real *)c->out[3]};
    stats[k] = (real)at->mean;
    stats[g->channels + k] = (real)at->deviation;
    for (int s = 0; s < 2; s++)
        if (running[s] && m > 1)
            running[s][k] = (real)((1 - g->momentum) * (double)running[s][k] +
                                   g->momentum * (s ? squares / (double)(m - 1) : at->mean));
}

/* What the batch's statistics have kept of channel k. */
EVERYWHERE struct norm_channel norm_kept(const struct call *c, int64_t k)
{
    const real *stats = (const real *)c->in[4];
    struct norm_channel of = {(double)stats[k], (double)stats[c->g->norm.channels + k],
                              norm_value(c->in[2], k, 1), norm_value(c->in[3], k, 0)};
    return of;
}

/* With z = h w + b, h = (x - mean) deviation and dz = dy f'(z):
 *   db += sum dz;  dw += sum dz h;  dx = w deviation (dz - sum dz / m - h sum dz h / m)
 * dz and h of element `at`: */
EVERYWHERE double norm_slope(const struct call *c, const struct norm_channel *of, int64_t at, double *h)
{
    const real *dy = (const real *)c->in[0], *x = (const real *)c->in[1];
    *h = ((double)x[at] - of->mean) * of->deviation;
    real z = (real)(*h * of->w + of->b);
    real v = formula_slope(&c->g->map) == SLOPE_OF_X ? z : formula_map(&c->g->map, z);
    return (double)formula_map_back(&c->g->map, dy[at], v);
}

EVERYWHERE double norm_dx(const struct norm_channel *of, double dz, double h, double dw, double db, int64_t m)
{
    return of->w * of->deviation * (dz - db / (double)m - h * dw / (double)m);
}

#ifndef __cplusplus /* the loops, for the host */
static void ref_batchnorm(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct norm *g = &c->g->norm;
    (void)scratch;
    for (int64_t k = 0; k < g->channels; k++) {
        struct norm_channel at = norm_running(c, k);
        for (int64_t i = begin * g->inner; i < end * g->inner; i++)
            norm_write(c, &at, norm_at(g, k, i));
    }
}

/* mean = sum x / m;  variance = sum (x - mean)^2 / m;  y with these; the running ones move towards mean and
 * sum (x - mean)^2 / (m - 1) by `momentum`. One value has no variance: then they stay. */
static void ref_batchnorm_train(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct norm *g = &c->g->norm;
    const real *x = c->in[0];
    int64_t m = c->rows * g->inner;
    (void)scratch;
    for (int64_t k = begin; k < end; k++) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; i < m; i++)
            mean += (double)x[norm_at(g, k, i)] / (double)m;
        for (int64_t i = 0; i < m; i++)
            squares += ((double)x[norm_at(g, k, i)] - mean) * ((double)x[norm_at(g, k, i)] - mean);
        struct norm_channel at = norm_around(c, k, mean, squares, m);
        norm_keep(c, k, &at, squares, m);
        for (int64_t i = 0; i < m; i++)
            norm_write(c, &at, norm_at(g, k, i));
    }
}

static void ref_batchnorm_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct norm *g = &c->g->norm;
    int64_t m = c->rows * g->inner;
    (void)scratch;
    for (int64_t k = begin; k < end; k++) {
        struct norm_channel of = norm_kept(c, k);
        double dw = 0, db = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t i = 0; i < m; i++) {
                int64_t at = norm_at(g, k, i);
                double h, dz = norm_slope(c, &of, at, &h);
                dw += pass ? 0 : dz * h;
                db += pass ? 0 : dz;
                if (pass && c->out[0])
                    put((real *)c->out[0] + at, norm_dx(&of, dz, h, dw, db, m), c->add);
            }
        if (c->out[1])
            put((real *)c->out[1] + k, dw, true);
        if (c->out[2])
            put((real *)c->out[2] + k, db, true);
    }
}

static int64_t norm_items(const struct call *c)
{
    return c->g->norm.channels;
}
#endif
