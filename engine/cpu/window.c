/* Pooling at one lane. What lies outside the input is cut off the window first, so that the inner loops ask
 * nothing. Rules for equals and NaN: formula.h. */
#include <string.h>

#include "engine/cpu/cpu.h"
#include "engine/formula.h"

/* The part of output pixel (p, q)'s window that lies in the input: rows h0..h1-1, columns w0..w1-1. */
struct part {
    int h0, h1, w0, w1;
};

static int lower(int a, int b)
{
    return a < b ? a : b;
}

static int upper(int a, int b)
{
    return a > b ? a : b;
}

static struct part part_of(const struct window *win, int p, int q)
{
    int h = p * win->stride_h - win->pad_top, w = q * win->stride_w - win->pad_left;
    return (struct part){upper(h, 0), lower(h + win->R, win->H), upper(w, 0), lower(w + win->S, win->W)};
}

static int largest(const struct window *win, const float *x, struct part in)
{
    int best = in.h0 * win->W + in.w0;
    for (int h = in.h0; h < in.h1; h++)
        for (int w = in.w0; w < in.w1; w++)
            if (formula_max_takes(x[h * win->W + w], x[best]))
                best = h * win->W + w;
    return best;
}

/* 2x2 at stride 2 without padding, the pool of most networks: no windows to cut, and branch-free. */
static bool is_halving(const struct window *win)
{
    return win->R == 2 && win->S == 2 && win->stride_h == 2 && win->stride_w == 2 && !win->pad_top &&
           !win->pad_left && 2 * win->P <= win->H && 2 * win->Q <= win->W;
}

static float later(float x, float largest_so_far)
{
    return formula_max_takes(x, largest_so_far) ? x : largest_so_far;
}

static void halve(const struct window *win, const float *x, float *y, bool add)
{
    for (int p = 0; p < win->P; p++) {
        const float *a = x + 2 * p * win->W, *b = a + win->W;
        for (int q = 0; q < win->Q; q++) {
            float v = later(b[2 * q + 1], later(b[2 * q], later(a[2 * q + 1], a[2 * q])));
            y[p * win->Q + q] = add ? y[p * win->Q + q] + v : v;
        }
    }
}

/* dx of 2x2 windows: all four values are written, so nothing is zeroed first. */
static void halve_back(const struct window *win, const float *dy, const float *x, float *dx)
{
    for (int p = 0; p < win->P; p++)
        for (int q = 0; q < win->Q; q++) {
            int i = 2 * p * win->W + 2 * q, best = i;
            best = formula_max_takes(x[i + 1], x[best]) ? i + 1 : best;
            best = formula_max_takes(x[i + win->W], x[best]) ? i + win->W : best;
            best = formula_max_takes(x[i + win->W + 1], x[best]) ? i + win->W + 1 : best;
            float v = dy[p * win->Q + q];
            dx[i] = best == i ? v : 0;
            dx[i + 1] = best == i + 1 ? v : 0;
            dx[i + win->W] = best == i + win->W ? v : 0;
            dx[i + win->W + 1] = best == i + win->W + 1 ? v : 0;
        }
}

CPU_KERNEL(cpu_maxpool)
{
    const struct window *win = &c->g->window;
    bool fast = is_halving(win);
    (void)scratch;
    for (int64_t i = begin * win->C; i < end * win->C; i++) {
        const float *x = (const float *)c->in[0] + i * win->H * win->W;
        float *y = (float *)c->out[0] + i * win->P * win->Q;
        if (fast) {
            halve(win, x, y, c->add);
            continue;
        }
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++, y++)
                *y = (c->add ? *y : 0) + x[largest(win, x, part_of(win, p, q))];
    }
}

CPU_KERNEL(cpu_maxpool_back)
{
    const struct window *win = &c->g->window;
    int64_t in = (int64_t)win->H * win->W;
    bool fast = is_halving(win) && 2 * win->P == win->H && 2 * win->Q == win->W && !c->add;
    (void)scratch;
    for (int64_t i = begin * win->C; i < end * win->C; i++) {
        const float *dy = (const float *)c->in[0] + i * win->P * win->Q,
                    *x = (const float *)c->in[1] + i * in;
        float *dx = (float *)c->out[0] + i * in;
        if (fast) {
            halve_back(win, dy, x, dx);
            continue;
        }
        if (!c->add)
            memset(dx, 0, (size_t)in * sizeof *dx);
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++, dy++)
                dx[largest(win, x, part_of(win, p, q))] += *dy;
    }
}

CPU_KERNEL(cpu_avgpool)
{
    const struct window *win = &c->g->window;
    (void)scratch;
    for (int64_t i = begin * win->C; i < end * win->C; i++) {
        const float *x = (const float *)c->in[0] + i * win->H * win->W;
        float *y = (float *)c->out[0] + i * win->P * win->Q;
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++, y++) {
                struct part in = part_of(win, p, q);
                float sum = 0;
                for (int h = in.h0; h < in.h1; h++)
                    for (int w = in.w0; w < in.w1; w++)
                        sum += x[h * win->W + w];
                *y = (c->add ? *y : 0) + sum / (float)formula_pool_divisor(win, p, q);
            }
    }
}

CPU_KERNEL(cpu_avgpool_back)
{
    const struct window *win = &c->g->window;
    (void)scratch;
    for (int64_t i = begin * win->C; i < end * win->C; i++) {
        const float *dy = (const float *)c->in[0] + i * win->P * win->Q;
        float *dx = (float *)c->out[0] + i * win->H * win->W;
        if (!c->add)
            memset(dx, 0, (size_t)win->H * (size_t)win->W * sizeof *dx);
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++, dy++) {
                struct part in = part_of(win, p, q);
                float share = *dy / (float)formula_pool_divisor(win, p, q);
                for (int h = in.h0; h < in.h1; h++)
                    for (int w = in.w0; w < in.w1; w++)
                        dx[h * win->W + w] += share;
            }
    }
}
