/* One place of a convolution, a pool or of the input, as ref defines it. For the host and for nvcc (everywhere.h); `real` is its
 * includer's. Next to read: kernels.h, whose loops go over the places. */
#ifndef ENGINE_REF_WINDOWS_H
#define ENGINE_REF_WINDOWS_H

#include "engine/backend_ops.h"
#include "engine/formula.h"

EVERYWHERE void put(real *at, double v, bool add)
{
    *at = (real)(add ? (double)*at + v : v);
}

/* y = table[channel][x], x being bytes: element i of row n */
EVERYWHERE void bytes_at(const struct call *c, int64_t n, int64_t i)
{
    const struct byte_rows *g = &c->g->bytes;
    const real *table = (const real *)c->in[1] + (g->one ? 0 : i / g->plane * 256);
    int64_t at = n * c->row + i;
    put((real *)c->out[0] + at, (double)table[((const unsigned char *)c->in[0])[at]], c->add);
}

EVERYWHERE const real *at4(const real *x, const struct window *win, int64_t n, int c, int h, int w)
{
    if (h < 0 || h >= win->H || w < 0 || w >= win->W)
        return NULL; /* padding */
    return x + ((n * win->C + c) * win->H + h) * win->W + w;
}

/* Padding is zeros, which multiply: a NaN or infinite weight over them gives NaN, as in PyTorch.
 * y[n][k][p][q] = f(b[k] + sum over c, r, s of w[k][c][r][s] x[n][c0 + c][h][w] [+ residual]), c0 the group's first */
EVERYWHERE double conv_at(const struct window *win, const real *x, const real *w, int64_t n, int k, int p,
                          int q)
{
    int per_group = win->C / win->groups, first = k / (win->K / win->groups) * per_group;
    double sum = 0;
    for (int c = 0; c < per_group; c++)
        for (int r = 0; r < win->R; r++)
            for (int s = 0; s < win->S; s++) {
                const real *at =
                    at4(x, win, n, first + c, p * win->stride_h - win->pad_top + r * win->dilation_h,
                        q * win->stride_w - win->pad_left + s * win->dilation_w);
                sum += (double)w[((k * per_group + c) * win->R + r) * win->S + s] * (at ? (double)*at : 0);
            }
    return sum;
}

/* The same with what is added before f, of all results. */
EVERYWHERE double conv_result(const struct call *c, int64_t n, int k, int p, int q)
{
    const struct window *win = &c->g->window;
    const real *b = (const real *)c->in[2], *residual = (const real *)c->in[3];
    double sum =
        conv_at(win, (const real *)c->in[0], (const real *)c->in[1], n, k, p, q) + (b ? (double)b[k] : 0);
    if (residual)
        sum += (double)residual[((n * win->K + k) * win->P + p) * win->Q + q];
    return (double)formula_map(&c->g->map, (real)sum);
}

/* Index in a channel of the largest value that window (p, q) sees, PyTorch's rule for equals and NaN. */
EVERYWHERE int64_t largest(const struct window *win, const real *x, int p, int q)
{
    int64_t best = -1;
    for (int r = 0; r < win->R; r++)
        for (int s = 0; s < win->S; s++) {
            int h = p * win->stride_h - win->pad_top + r, w = q * win->stride_w - win->pad_left + s;
            int64_t i = (int64_t)h * win->W + w;
            if (h < 0 || h >= win->H || w < 0 || w >= win->W)
                continue;
            if (best < 0 || formula_max_takes(x[i], x[best]))
                best = i;
        }
    return best;
}

#endif
