/* Batch norm at one lane: a channel is a piece of every row. Sums are made in eight doubles, in a fixed order.
 * Next to read: lanes_norm.h. */
#include "engine/cpu/norm.h"

#include "engine/cpu/cpu.h"
#include "engine/formula.h"

enum { SUMS = 8 };

/* Where channel k of row n begins. */
static int64_t piece(const struct norm *g, int64_t n, int64_t k)
{
    return (n * g->channels + k) * g->inner;
}

static double total(const double sum[SUMS])
{
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static struct norm_stats channel_stats(const struct call *c, int64_t k)
{
    const struct norm *g = &c->g->norm;
    struct norm_stats s = {.count = (double)(c->rows * g->inner)};
    double sum[SUMS] = {0}, squares[SUMS] = {0};
    for (int64_t n = 0; n < c->rows; n++) {
        const float *x = (const float *)c->in[0] + piece(g, n, k);
        for (int64_t i = 0; i < g->inner; i++)
            sum[i % SUMS] += (double)x[i];
    }
    s.mean = total(sum) / s.count;
    for (int64_t n = 0; n < c->rows; n++) {
        const float *x = (const float *)c->in[0] + piece(g, n, k);
        for (int64_t i = 0; i < g->inner; i++)
            squares[i % SUMS] += ((double)x[i] - s.mean) * ((double)x[i] - s.mean);
    }
    s.squares = total(squares);
    return s;
}

static void write_line(const struct call *c, int64_t n, int64_t k, struct norm_line line)
{
    const struct norm *g = &c->g->norm;
    int64_t at = piece(g, n, k);
    const float *restrict x = (const float *)c->in[0] + at;
    const float *restrict residual = c->in[5] ? (const float *)c->in[5] + at : NULL;
    float *restrict y = (float *)c->out[0] + at;
    for (int64_t i = 0; i < g->inner; i++) {
        float z = (x[i] - line.mean) * line.scale + line.b;
        z = formula_map(&c->g->map, residual ? z + residual[i] : z);
        y[i] = c->add ? y[i] + z : z;
    }
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

/* The gradient before the function, whose argument is made again from x. */
static float dz_at(const struct map *map, struct norm_line line, float dy, float x)
{
    float z = (x - line.mean) * line.scale + line.b;
    if (map->fn == MAP_IDENTITY)
        return dy;
    return formula_map_back(map, dy, map_slope(map) == SLOPE_OF_X ? z : formula_map(map, z));
}

CPU_KERNEL(cpu_batchnorm_back)
{
    const struct norm *g = &c->g->norm;
    (void)scratch;
    for (int64_t k = begin; k < end; k++) {
        struct norm_line line = norm_again(c, k);
        double sum[SUMS] = {0}, apart[SUMS] = {0};
        for (int64_t n = 0; n < c->rows; n++) {
            int64_t at = piece(g, n, k);
            const float *dy = (const float *)c->in[0] + at, *x = (const float *)c->in[1] + at;
            for (int64_t i = 0; i < g->inner; i++) {
                double dz = (double)dz_at(&c->g->map, line, dy[i], x[i]);
                sum[i % SUMS] += dz;
                apart[i % SUMS] += dz * (double)(x[i] - line.mean);
            }
        }
        struct norm_slope s = norm_gradient(c, k, total(sum), total(apart), (double)(c->rows * g->inner));
        for (int64_t n = 0; c->out[0] && n < c->rows; n++) {
            int64_t at = piece(g, n, k);
            const float *dy = (const float *)c->in[0] + at, *x = (const float *)c->in[1] + at;
            float *dx = (float *)c->out[0] + at;
            for (int64_t i = 0; i < g->inner; i++) {
                float v =
                    dz_at(&c->g->map, line, dy[i], x[i]) * s.scale - (x[i] - s.mean) * s.slope - s.level;
                dx[i] = c->add ? dx[i] + v : v;
            }
        }
    }
}

int64_t cpu_channels(const struct call *c)
{
    return c->g->norm.channels;
}
