/* Local response normalisation (ref/lrn.h has the formulas), for [channels][inner] in memory; so at sixteen lanes as
 * well, where inner is sixteen times as long. Goes by chunks of neighbours in `inner`, which vectorise. */
#include <math.h>

#include "engine/cpu/cpu.h"

enum { CHUNK = 64 };

/* s for n neighbours of channel c, and s^-beta. */
static void powers(const struct lrn *l, const float *x, int64_t c, int n, float *s, float *power)
{
    float square[CHUNK] = {0}, scale = (float)(l->alpha / (double)l->size), bias = (float)l->bias;
    for (int64_t j = c - (l->size - 1) / 2; j <= c + l->size / 2; j++)
        for (int i = 0; i < n && j >= 0 && j < l->channels; i++)
            square[i] += x[j * l->inner + i] * x[j * l->inner + i];
    for (int i = 0; i < n; i++)
        s[i] = bias + scale * square[i];
    if (l->beta == 0.75)
        for (int i = 0; i < n; i++)
            power[i] = 1 / (sqrtf(s[i]) * sqrtf(sqrtf(s[i])));
    else
        for (int i = 0; i < n; i++)
            power[i] = powf(s[i], -(float)l->beta);
}

static int chunk_of(const struct lrn *l, int64_t from)
{
    return l->inner - from < CHUNK ? (int)(l->inner - from) : CHUNK;
}

CPU_KERNEL(cpu_lrn)
{
    const struct lrn *l = &c->g->lrn;
    float s[CHUNK], power[CHUNK];
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int64_t from = 0; from < l->inner; from += CHUNK) {
            const float *x = (const float *)c->in[0] + n * c->row + from;
            float *y = (float *)c->out[0] + n * c->row + from;
            int count = chunk_of(l, from);
            for (int64_t k = 0; k < l->channels; k++) {
                powers(l, x, k, count, s, power);
                for (int i = 0; i < count; i++)
                    y[k * l->inner + i] = (c->add ? y[k * l->inner + i] : 0) + x[k * l->inner + i] * power[i];
            }
        }
}

size_t cpu_lrn_back_scratch(const struct geometry *g)
{
    return 2 * (size_t)g->lrn.channels * CHUNK * sizeof(float);
}

/* A chunk of a row, with s^-beta and dy x s^(-beta - 1) of all channels at hand. */
static void back_chunk(const struct lrn *l, const float *dy, const float *x, float *dx, int count, bool add,
                       float *power)
{
    float *share = power + l->channels * CHUNK, s[CHUNK];
    float scale = (float)(2 * l->alpha * l->beta / (double)l->size);
    for (int64_t k = 0; k < l->channels; k++) {
        powers(l, x, k, count, s, power + k * CHUNK);
        for (int i = 0; i < count; i++)
            share[k * CHUNK + i] = dy[k * l->inner + i] * x[k * l->inner + i] * power[k * CHUNK + i] / s[i];
    }
    for (int64_t k = 0; k < l->channels; k++) {
        float sum[CHUNK] = {0};
        for (int64_t j = k - l->size / 2; j <= k + (l->size - 1) / 2; j++)
            for (int i = 0; i < count && j >= 0 && j < l->channels; i++)
                sum[i] += share[j * CHUNK + i];
        for (int i = 0; i < count; i++) {
            int64_t at = k * l->inner + i;
            dx[at] = (add ? dx[at] : 0) + dy[at] * power[k * CHUNK + i] - scale * x[at] * sum[i];
        }
    }
}

CPU_KERNEL(cpu_lrn_back)
{
    const struct lrn *l = &c->g->lrn;
    for (int64_t n = begin; n < end; n++)
        for (int64_t from = 0; from < l->inner; from += CHUNK) {
            int64_t at = n * c->row + from;
            back_chunk(l, (const float *)c->in[0] + at, (const float *)c->in[1] + at, (float *)c->out[0] + at,
                       chunk_of(l, from), c->add, scratch);
        }
}
