/* Batch norm at one lane: a channel is a piece of every row. Sums are made in floats over a chunk and in doubles over
 * chunks, in a fixed order. Next to read: lanes_norm.h. */
#include "engine/cpu/norm.h"

#include <string.h>

#include "engine/cpu/cpu.h"

#define LANES_WIDTH 4 /* vectors that every x86-64 has */
#include "engine/cpu/lanes_map.h"

enum { CHUNK = 256, CHAINS = 4 };

struct sums {
    double first, second;
};

/* Where channel k of row n begins. */
static int64_t piece(const struct norm *g, int64_t n, int64_t k)
{
    return (n * g->channels + k) * g->inner;
}

static double total(const vec v[CHAINS])
{
    float each[LANES_WIDTH];
    store(each, (v[0] + v[1]) + (v[2] + v[3]));
    return ((double)each[0] + (double)each[1]) + ((double)each[2] + (double)each[3]);
}

/* A vector of n values, zeros behind them. */
INLINE vec load_some(const float *x, int64_t n)
{
    float each[LANES_WIDTH] = {0};
    if (n >= LANES_WIDTH)
        return load(x);
    memcpy(each, x, (size_t)n * sizeof *x);
    return load(each);
}

INLINE void store_some(float *y, vec v, int64_t n)
{
    float each[LANES_WIDTH];
    if (n >= LANES_WIDTH) {
        store(y, v);
        return;
    }
    store(each, v);
    memcpy(y, each, (size_t)n * sizeof *y);
}

/* ---- statistics ---- */

/* Adds the sums of x - pivot and of its square over n values. */
static void add_differences(const float *x, int64_t n, float pivot, struct sums *to)
{
    for (int64_t i = 0, end; i < n;) {
        vec a[CHAINS] = {{0}}, b[CHAINS] = {{0}};
        end = i + CHUNK < n ? i + CHUNK : n;
        for (; i + CHAINS * LANES_WIDTH <= end; i += CHAINS * LANES_WIDTH)
            EACH (k, CHAINS) {
                vec d = load(x + i + k * LANES_WIDTH) - pivot;
                a[k] += d;
                b[k] += d * d;
            }
        to->first += total(a);
        to->second += total(b);
        for (; i < end; i++) {
            double d = (double)(x[i] - pivot);
            to->first += d;
            to->second += d * d;
        }
    }
}

/* Once for about the mean, once from there. */
static struct norm_stats channel_stats(const struct call *c, int64_t k)
{
    const struct norm *g = &c->g->norm;
    const float *x = c->in[0];
    double count = (double)(c->rows * g->inner);
    struct sums about = {0}, near = {0};
    for (int64_t n = 0; n < c->rows; n++)
        add_differences(x + piece(g, n, k), g->inner, 0, &about);
    float pivot = (float)(about.first / count);
    for (int64_t n = 0; n < c->rows; n++)
        add_differences(x + piece(g, n, k), g->inner, pivot, &near);
    return (struct norm_stats){count, (double)pivot + near.first / count,
                               near.second - near.first * near.first / count};
}

/* ---- y = f((x - mean) scale + b [+ residual]) ---- */

INLINE void line_run(const float *x, const float *residual, float *y, int64_t n, struct norm_line line,
                     const struct map *map, const bool add)
{
    for (int64_t i = 0; i < n; i += LANES_WIDTH) {
        int64_t some = n - i;
        vec z = (load_some(x + i, some) - line.mean) * line.scale + line.b;
        if (residual)
            z += load_some(residual + i, some);
        z = vec_map(map, z);
        if (add)
            z += load_some(y + i, some);
        store_some(y + i, z, some);
    }
}

static void write_line(const struct call *c, int64_t n, int64_t k, struct norm_line line)
{
    const struct norm *g = &c->g->norm;
    int64_t at = piece(g, n, k);
    const float *x = (const float *)c->in[0] + at, *residual = c->in[5] ? (const float *)c->in[5] + at : NULL;
    float *y = (float *)c->out[0] + at;
#define LINE(map, add) line_run(x, residual, y, g->inner, line, map, add)
    FOR_MAP(c, &c->g->map, LINE);
#undef LINE
}

CPU_KERNEL(cpu_batchnorm)
{
    (void)scratch;
    for (int64_t k = 0; k < c->g->norm.channels; k++) {
        struct norm_line line = norm_running(c, k);
        for (int64_t n = begin; n < end; n++)
            write_line(c, n, k, line);
    }
}

CPU_KERNEL(cpu_batchnorm_train)
{
    (void)scratch;
    for (int64_t k = begin; k < end; k++) {
        struct norm_line line = norm_batch(c, k, channel_stats(c, k));
        for (int64_t n = 0; n < c->rows; n++)
            write_line(c, n, k, line);
    }
}

/* ---- back ---- */

/* The gradient before the function, whose argument is made again from x. */
INLINE vec vec_dz(const struct map *map, struct norm_line line, vec dy, vec x)
{
    vec z = (x - line.mean) * line.scale + line.b;
    if (map->fn == MAP_IDENTITY)
        return dy;
    return vec_map_back(map, dy, map_slope(map) == SLOPE_OF_X ? z : vec_map(map, z));
}

/* Adds the sums of dz and of dz (x - mean) over n values. */
INLINE void add_products(const float *dy, const float *x, int64_t n, struct norm_line line,
                         const struct map *map, struct sums *to)
{
    for (int64_t i = 0, end; i < n;) {
        vec a[CHAINS] = {{0}}, b[CHAINS] = {{0}};
        end = i + CHUNK < n ? i + CHUNK : n;
        for (; i + CHAINS * LANES_WIDTH <= end; i += CHAINS * LANES_WIDTH)
            EACH (k, CHAINS) {
                vec v = load(x + i + k * LANES_WIDTH),
                    dz = vec_dz(map, line, load(dy + i + k * LANES_WIDTH), v);
                a[k] += dz;
                b[k] += dz * (v - line.mean);
            }
        to->first += total(a);
        to->second += total(b);
        for (; i < end; i += LANES_WIDTH) {
            float dz[LANES_WIDTH];
            store(dz, vec_dz(map, line, load_some(dy + i, end - i), load_some(x + i, end - i)));
            for (int64_t l = 0; l < LANES_WIDTH && l < end - i; l++) {
                to->first += (double)dz[l];
                to->second += (double)dz[l] * (double)(x[i + l] - line.mean);
            }
        }
    }
}

INLINE void slope_run(const float *dy, const float *x, float *dx, int64_t n, struct norm_line line,
                      struct norm_slope s, const struct map *map, const bool add)
{
    for (int64_t i = 0; i < n; i += LANES_WIDTH) {
        vec v = load_some(x + i, n - i), dz = vec_dz(map, line, load_some(dy + i, n - i), v);
        v = dz * s.scale - ((v - s.mean) * s.slope + s.level);
        if (add)
            v += load_some(dx + i, n - i);
        store_some(dx + i, v, n - i);
    }
}

INLINE void channel_back(const struct call *c, int64_t k, const struct map *map, const bool add)
{
    const struct norm *g = &c->g->norm;
    const float *dy = c->in[0], *x = c->in[1];
    struct norm_line line = norm_again(c, k);
    struct sums sums = {0};
    for (int64_t n = 0; n < c->rows; n++)
        add_products(dy + piece(g, n, k), x + piece(g, n, k), g->inner, line, map, &sums);
    struct norm_slope s = norm_gradient(c, k, sums.first, sums.second, (double)(c->rows * g->inner));
    for (int64_t n = 0; c->out[0] && n < c->rows; n++) {
        int64_t at = piece(g, n, k);
        slope_run(dy + at, x + at, (float *)c->out[0] + at, g->inner, line, s, map, add);
    }
}

CPU_KERNEL(cpu_batchnorm_back)
{
    (void)scratch;
    for (int64_t k = begin; k < end; k++) {
#define BACK(map, add) channel_back(c, k, map, add)
        FOR_MAP(c, &c->g->map, BACK);
#undef BACK
    }
}

int64_t cpu_channels(const struct call *c)
{
    return c->g->norm.channels;
}
