/* Operations on values one by one or on a row of classes; losses, whose loops ref defines and which cost too
 * little to be written twice. */
#include "engine/cpu/cpu.h"
#include "engine/ref/losses.h"
#include "engine/rng.h"

#define LANES_WIDTH 4 /* vectors that every x86-64 has */
#include "engine/cpu/lanes_map.h"

void cpu_apply(const struct map *map, float *y, int64_t n)
{
    if (map->fn != MAP_IDENTITY)
        map_all(map, y, y, n, false);
}

CPU_KERNEL(cpu_map)
{
    (void)scratch;
    map_all(&c->g->map, (const float *)c->in[0] + begin * c->row, (float *)c->out[0] + begin * c->row,
            (end - begin) * c->row, c->add);
}

CPU_KERNEL(cpu_map_back)
{
    const float *v = c->in[1] ? c->in[1] : c->in[2]; /* x or y */
    (void)scratch;
    map_all_back(&c->g->map, (const float *)c->in[0] + begin * c->row, v + begin * c->row,
                 (float *)c->out[0] + begin * c->row, (end - begin) * c->row, c->add);
}

CPU_KERNEL(cpu_copy)
{
    const float *restrict x = (const float *)c->in[0] + begin * c->row;
    float *restrict y = (float *)c->out[0] + begin * c->row;
    (void)scratch;
    for (int64_t i = 0, n = (end - begin) * c->row; i < n; i++)
        y[i] = (c->add ? y[i] : 0) + x[i];
}

CPU_KERNEL(cpu_bytes)
{
    const struct byte_rows *g = &c->g->bytes;
    const unsigned char *x = (const unsigned char *)c->in[0] + begin * c->row;
    float *y = (float *)c->out[0] + begin * c->row;
    (void)scratch;
    for (int64_t n = begin * g->channels; n < end * g->channels; n++) {
        const float *table = (const float *)c->in[1] + (g->one ? 0 : n % g->channels * 256);
        for (int64_t i = 0; i < g->plane; i++)
            *y++ = table[*x++];
    }
}

CPU_KERNEL(cpu_dropout)
{
    float scale = (float)(1 / (1 - c->g->dropout.rate));
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int64_t i = 0; i < c->row; i++) {
            uint64_t place = (uint64_t)(c->first_row + n) << 32 | (uint64_t)i;
            uint64_t hash = rng_hash(c->seed, c->step, (uint64_t)c->g->dropout.layer, place);
            float x = ((const float *)c->in[0])[n * c->row + i], *y = (float *)c->out[0] + n * c->row + i;
            *y = (c->add ? *y : 0) + (formula_keeps(hash, c->g->dropout.rate) ? x * scale : 0);
        }
}

/* Where the classes of place i, counted over all rows, begin. */
static int64_t softmax_at(const struct geometry *g, int64_t i)
{
    return i / g->softmax.inner * g->softmax.classes * g->softmax.inner + i % g->softmax.inner;
}

CPU_KERNEL(cpu_softmax)
{
    int64_t classes = c->g->softmax.classes, inner = c->g->softmax.inner, places = c->row / classes;
    (void)scratch;
    for (int64_t i = begin * places; i < end * places; i++) {
        const float *x = (const float *)c->in[0] + softmax_at(c->g, i);
        float *y = (float *)c->out[0] + softmax_at(c->g, i), most = x[0];
        double sum = 0;
        for (int64_t j = 1; j < classes; j++)
            most = x[j * inner] > most ? x[j * inner] : most;
        for (int64_t j = 0; j < classes; j++)
            sum += (double)expf(x[j * inner] - most);
        float logarithm = (float)log(sum);
        for (int64_t j = 0; j < classes; j++) {
            float v = x[j * inner] - most;
            v = c->g->softmax.log ? v - logarithm : (float)((double)expf(v) / sum);
            y[j * inner] = (c->add ? y[j * inner] : 0) + v;
        }
    }
}

CPU_KERNEL(cpu_softmax_back)
{
    int64_t classes = c->g->softmax.classes, inner = c->g->softmax.inner, places = c->row / classes;
    bool log = c->g->softmax.log;
    (void)scratch;
    for (int64_t i = begin * places; i < end * places; i++) {
        int64_t at = softmax_at(c->g, i);
        const float *dy = (const float *)c->in[0] + at, *y = (const float *)c->in[1] + at;
        float *dx = (float *)c->out[0] + at;
        double dot = 0;
        for (int64_t j = 0; j < classes; j++)
            dot += (double)dy[j * inner] * (log ? 1 : (double)y[j * inner]);
        for (int64_t j = 0; j < classes; j++) {
            double d = (double)dy[j * inner], v = (double)y[j * inner];
            dx[j * inner] = (c->add ? dx[j * inner] : 0) +
                            (float)(log ? d - (double)expf(y[j * inner]) * dot : v * (d - dot));
        }
    }
}

CPU_KERNEL(cpu_cross_entropy)
{
    loss_cross_entropy(c, begin, end, scratch);
}

CPU_KERNEL(cpu_mse)
{
    loss_mse(c, begin, end, scratch);
}

CPU_KERNEL(cpu_log_loss)
{
    loss_log_loss(c, begin, end, scratch);
}

CPU_KERNEL(cpu_pick)
{
    loss_pick(c, begin, end, scratch);
}
