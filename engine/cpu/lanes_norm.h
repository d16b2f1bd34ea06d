/* Batch norm at sixteen lanes. A channel is a stretch of pixels in every block; threads take channels. Bound by
 * memory, so: one sweep over memory for the statistics, chunk by chunk in the first cache, one that reads and
 * writes; relu and a residual are part of the latter. Lanes beyond the last row count nowhere and are written as
 * zeros. Included after lanes_conv.h. */
#include "engine/cpu/norm.h"

enum { CHUNK = 256, CHAINS = 4 };

#define VEC(at) (*(const vec *)(at))
#define UNROLL  _Pragma("GCC unroll 4")

/* All ones in the lanes that have a row. */
struct live {
    ivec mask[PARTS];
    int count;
};

static struct live live_lanes(int rows, int64_t block)
{
    struct live live = {0};
    int64_t left = rows - block * LANES;
    live.count = left < LANES ? (int)left : LANES;
    for (int l = 0; l < LANES; l++)
        live.mask[l / LANES_WIDTH][l % LANES_WIDTH] = l < live.count ? -1 : 0;
    return live;
}

static int64_t channel_at(const struct norm *g, int64_t block, int64_t k)
{
    return (block * g->channels + k) * g->inner * LANES;
}

/* ---- statistics ---- */

/* Sum of one part's lanes over `pixels`, in CHAINS sums side by side. */
INLINE vec chunk_sum(const float *x, int64_t pixels)
{
    vec sum[CHAINS] = {0};
    int64_t i = 0;
    for (; i + CHAINS <= pixels; i += CHAINS)
        UNROLL for (int k = 0; k < CHAINS; k++) sum[k] += VEC(x + (i + k) * LANES);
    for (; i < pixels; i++)
        sum[0] += VEC(x + i * LANES);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Sums of x - pivot and of its square. */
INLINE void chunk_differences(const float *x, int64_t pixels, vec pivot, vec *first, vec *second)
{
    vec a[CHAINS] = {0}, b[CHAINS] = {0};
    int64_t i = 0;
    for (; i + CHAINS <= pixels; i += CHAINS)
        UNROLL for (int k = 0; k < CHAINS; k++)
        {
            vec d = VEC(x + (i + k) * LANES) - pivot;
            a[k] += d;
            b[k] += d * d;
        }
    for (; i < pixels; i++) {
        vec d = VEC(x + i * LANES) - pivot;
        a[0] += d;
        b[0] += d * d;
    }
    *first = (a[0] + a[1]) + (a[2] + a[3]);
    *second = (b[0] + b[1]) + (b[2] + b[3]);
}

/* Statistics of each lane, all over as many values. */
struct lane_stats {
    double count, mean[LANES], squares[LANES];
};

/* norm_join of a chunk, lane by lane. */
static void stats_add(struct lane_stats *s, const float *x, int64_t pixels)
{
    float pivots[LANES], firsts[LANES], seconds[LANES];
    double n = (double)pixels, share = n / (s->count + n), both = s->count * share;
    for (int part = 0; part < LANES; part += LANES_WIDTH) {
        vec pivot = chunk_sum(x + part, pixels) / (float)pixels, first, second;
        chunk_differences(x + part, pixels, pivot, &first, &second);
        *(vec *)(pivots + part) = pivot;
        *(vec *)(firsts + part) = first;
        *(vec *)(seconds + part) = second;
    }
    for (int l = 0; l < LANES; l++) {
        double off = (double)firsts[l] * (1 / n), apart = (double)pivots[l] + off - s->mean[l];
        s->squares[l] += (double)seconds[l] - off * (double)firsts[l] + apart * apart * both;
        s->mean[l] += apart * share;
    }
    s->count += n;
}

static void stats_block(struct lane_stats *s, const float *x, int64_t pixels)
{
    for (int64_t i = 0; i < pixels; i += CHUNK)
        stats_add(s, x + i * LANES, pixels - i < CHUNK ? pixels - i : CHUNK);
}

/* The lanes that have a row in the last block have seen one block more than the others. */
static struct norm_stats lanes_stats(const struct call *c, int64_t k)
{
    const struct norm *g = &c->g->norm;
    int64_t last = lanes_blocks(c->rows) - 1;
    struct lane_stats full = {0};
    struct norm_stats all = {0};
    for (int64_t n = 0; n < last; n++)
        stats_block(&full, (const float *)c->in[0] + channel_at(g, n, k), g->inner);
    struct lane_stats more = full;
    stats_block(&more, (const float *)c->in[0] + channel_at(g, last, k), g->inner);
    for (int l = 0; l < LANES; l++) {
        const struct lane_stats *s = last * LANES + l < c->rows ? &more : &full;
        all = norm_join(all, (struct norm_stats){s->count, s->mean[l], s->squares[l]});
    }
    return all;
}

/* ---- y = f((x - mean) scale + b [+ residual]) ---- */

INLINE void line_run(const float *x, const float *residual, float *y, int64_t pixels, struct norm_line line,
                     const struct live *live, const struct map *map, const bool add)
{
    for (int64_t i = 0; i < pixels; i++)
        for (int p = 0; p < PARTS; p++) {
            int64_t at = i * LANES + p * LANES_WIDTH;
            vec z = (VEC(x + at) - line.mean) * line.scale + line.b;
            if (residual)
                z += VEC(residual + at);
            z = (vec)((ivec)vec_map(map, z) & live->mask[p]);
            if (add)
                z += VEC(y + at);
            *(vec *)(y + at) = z;
        }
}

static void line_write(const struct call *c, int64_t block, int64_t k, struct norm_line line)
{
    struct live live = live_lanes(c->rows, block);
    int64_t at = channel_at(&c->g->norm, block, k), pixels = c->g->norm.inner;
    const float *x = (const float *)c->in[0] + at, *r = c->in[5] ? (const float *)c->in[5] + at : NULL;
    float *y = (float *)c->out[0] + at;
#define LINE(map, add) line_run(x, r, y, pixels, line, &live, map, add)
    FOR_MAP(c, &c->g->map, LINE);
#undef LINE
}

static void lanes_batchnorm(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t k = begin; k < end; k++) {
        struct norm_line line = norm_running(c, k);
        for (int64_t n = 0; n < lanes_blocks(c->rows); n++)
            line_write(c, n, k, line);
    }
}

static void lanes_batchnorm_train(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t k = begin; k < end; k++) {
        struct norm_line line = norm_batch(c, k, lanes_stats(c, k));
        for (int64_t n = 0; n < lanes_blocks(c->rows); n++)
            line_write(c, n, k, line);
    }
}

/* ---- back ---- */

static __attribute__((noinline)) void apply_back(const struct map *map, const float *z, float *dy)
{
    for (int l = 0; l < LANES_WIDTH; l++)
        dy[l] = formula_map_back(map, dy[l], map_slope(map) == SLOPE_OF_X ? z[l] : formula_map(map, z[l]));
}

/* The gradient before the function, whose argument is made again from x. */
INLINE vec vec_dz(const struct map *map, struct norm_line line, vec dy, vec x)
{
    vec z = (x - line.mean) * line.scale + line.b;
    if (map->fn == MAP_RELU)
        return (vec)((ivec)dy & ~(z <= 0));
    if (map->fn == MAP_RELU6)
        return (vec)((ivec)dy & ~((z <= 0) | (z >= 6)));
    if (map->fn != MAP_IDENTITY)
        apply_back(map, (float *)&z, (float *)&dy);
    return dy;
}

/* Adds the sums of dz and of dz (x - mean) over a chunk's lanes that have a row. */
INLINE void chunk_products(const float *dy, const float *x, int64_t pixels, struct norm_line line, int live,
                           const struct map *map, double sums[2])
{
    for (int part = 0; part < LANES; part += LANES_WIDTH) {
        vec a[CHAINS] = {0}, b[CHAINS] = {0};
        int64_t i = 0;
        for (; i + CHAINS <= pixels; i += CHAINS)
            UNROLL for (int k = 0; k < CHAINS; k++)
            {
                int64_t at = (i + k) * LANES + part;
                vec dz = vec_dz(map, line, VEC(dy + at), VEC(x + at));
                a[k] += dz;
                b[k] += dz * (VEC(x + at) - line.mean);
            }
        for (; i < pixels; i++) {
            vec dz = vec_dz(map, line, VEC(dy + i * LANES + part), VEC(x + i * LANES + part));
            a[0] += dz;
            b[0] += dz * (VEC(x + i * LANES + part) - line.mean);
        }
        vec first = (a[0] + a[1]) + (a[2] + a[3]), second = (b[0] + b[1]) + (b[2] + b[3]);
        for (int l = 0; l < LANES_WIDTH && part + l < live; l++) {
            sums[0] += (double)first[l];
            sums[1] += (double)second[l];
        }
    }
}

INLINE void slope_run(const float *dy, const float *x, float *dx, int64_t pixels, struct norm_line line,
                      struct norm_slope s, const struct live *live, const struct map *map, const bool add)
{
    for (int64_t i = 0; i < pixels; i++)
        for (int p = 0; p < PARTS; p++) {
            int64_t at = i * LANES + p * LANES_WIDTH;
            vec dz = vec_dz(map, line, VEC(dy + at), VEC(x + at));
            vec v = dz * s.scale - ((VEC(x + at) - s.mean) * s.slope + s.level);
            v = (vec)((ivec)v & live->mask[p]);
            if (add)
                v += VEC(dx + at);
            *(vec *)(dx + at) = v;
        }
}

INLINE void channel_back(const struct call *c, int64_t k, const struct map *map, const bool add)
{
    const struct norm *g = &c->g->norm;
    struct norm_line line = norm_again(c, k);
    double sums[2] = {0};
    int64_t blocks = lanes_blocks(c->rows);
    for (int64_t n = 0; n < blocks; n++) {
        const float *dy = (const float *)c->in[0] + channel_at(g, n, k);
        const float *x = (const float *)c->in[1] + channel_at(g, n, k);
        int live = live_lanes(c->rows, n).count;
        for (int64_t i = 0; i < g->inner; i += CHUNK)
            chunk_products(dy + i * LANES, x + i * LANES, g->inner - i < CHUNK ? g->inner - i : CHUNK, line,
                           live, map, sums);
    }
    struct norm_slope s = norm_gradient(c, k, sums[0], sums[1], (double)(c->rows * g->inner));
    for (int64_t n = 0; c->out[0] && n < blocks; n++) {
        int64_t at = channel_at(g, n, k);
        struct live live = live_lanes(c->rows, n);
        slope_run((const float *)c->in[0] + at, (const float *)c->in[1] + at, (float *)c->out[0] + at,
                  g->inner, line, s, &live, map, add);
    }
}

static void lanes_batchnorm_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t k = begin; k < end; k++) {
#define BACK(map, add) channel_back(c, k, map, add)
        FOR_MAP(c, &c->g->map, BACK);
#undef BACK
    }
}
