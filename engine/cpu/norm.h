/* What batch norm's kernels share at one and at sixteen lanes: statistics, and what follows from them.
 * Next to read: norm.c, lanes_norm.h. */
#ifndef ENGINE_CPU_NORM_H
#define ENGINE_CPU_NORM_H

#include <math.h>

#include "engine/backend_ops.h"

/* Of values: how many, their mean, the sum of squared differences from it. */
struct norm_stats {
    double count, mean, squares;
};

/* Two sets' statistics as one's (Chan, Golub and LeVeque 1983). */
static inline struct norm_stats norm_join(struct norm_stats a, struct norm_stats b)
{
    double count = a.count + b.count, apart = b.mean - a.mean;
    if (b.count == 0)
        return a;
    return (struct norm_stats){count, a.mean + apart * (b.count / count),
                               a.squares + b.squares + apart * apart * (a.count * b.count / count)};
}

/* y = (x - mean) scale + b */
struct norm_line {
    float mean, scale, b;
};

static inline float norm_of(const void *values, int64_t channel, float otherwise)
{
    return values ? ((const float *)values)[channel] : otherwise;
}

/* Inference: of the running mean and variance. */
static inline struct norm_line norm_running(const struct call *c, int64_t k)
{
    double variance = (double)norm_of(c->in[4], k, 1), w = (double)norm_of(c->in[1], k, 1);
    return (struct norm_line){norm_of(c->in[3], k, 0), (float)(w / sqrt(variance + c->g->norm.epsilon)),
                              norm_of(c->in[2], k, 0)};
}

/* Training: of the micro-batch, which is left in `stats` and moves the running ones. One value has no
 * variance: then they stay. */
static inline struct norm_line norm_batch(const struct call *c, int64_t k, struct norm_stats s)
{
    const struct norm *g = &c->g->norm;
    double deviation = 1 / sqrt(s.squares / s.count + g->epsilon);
    float *stats = c->out[1], *mean = c->out[2], *variance = c->out[3];
    stats[k] = (float)s.mean;
    stats[g->channels + k] = (float)deviation;
    if (mean && s.count > 1)
        mean[k] = (float)((1 - g->momentum) * (double)mean[k] + g->momentum * s.mean);
    if (variance && s.count > 1)
        variance[k] =
            (float)((1 - g->momentum) * (double)variance[k] + g->momentum * (s.squares / (s.count - 1)));
    double scale = (double)norm_of(c->in[1], k, 1) * deviation, off = s.mean - (double)(float)s.mean;
    return (struct norm_line){(float)s.mean, (float)scale,
                              (float)((double)norm_of(c->in[2], k, 0) - off * scale)};
}

/* The line that the backward reads again from `stats`: the one of norm_batch to the last bit but for scale,
 * which is made of a rounded deviation. */
static inline struct norm_line norm_again(const struct call *c, int64_t k)
{
    const float *stats = c->in[4];
    return (struct norm_line){stats[k], norm_of(c->in[2], k, 1) * stats[c->g->norm.channels + k],
                              norm_of(c->in[3], k, 0)};
}

/* dx = dz scale - (x - mean) slope - level, of the sums of dz and of dz (x - mean) over `count` values. */
struct norm_slope {
    float mean, scale, slope, level;
};

/* Adds to dw and db too. */
static inline struct norm_slope norm_gradient(const struct call *c, int64_t k, double sum, double sum_apart,
                                              double count)
{
    const float *stats = c->in[4];
    double deviation = (double)stats[c->g->norm.channels + k];
    double scale = (double)norm_of(c->in[2], k, 1) * deviation;
    float *dw = c->out[1], *db = c->out[2];
    if (dw)
        dw[k] += (float)(sum_apart * deviation);
    if (db)
        db[k] += (float)sum;
    return (struct norm_slope){stats[k], (float)scale,
                               (float)(scale * deviation * deviation * sum_apart / count),
                               (float)(scale * sum / count)};
}

/* Writes CALL(map, add) for each function there is vector code for. */
#define FOR_MAP(call, is, CALL)                           \
    if ((call)->add)                                      \
        CALL(is, true);                                   \
    else if ((is)->fn == MAP_IDENTITY)                    \
        CALL((&(struct map){.fn = MAP_IDENTITY}), false); \
    else if ((is)->fn == MAP_RELU)                        \
        CALL((&(struct map){.fn = MAP_RELU}), false);     \
    else if ((is)->fn == MAP_RELU6)                       \
        CALL((&(struct map){.fn = MAP_RELU6}), false);    \
    else                                                  \
        CALL(is, false)

#endif
