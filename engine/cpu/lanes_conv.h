/* Convolution and dense layers at sixteen lanes: sixteen images to a vector, memory [N/16][C][H][W][16], weights
 * broadcast. Included once for each instruction set by lanes_*.c, which define LANES_WIDTH (floats of a vector) and
 * LANES_PIXELS (pixels of a register tile). Every output is one chain of multiply-adds in a fixed order, whatever
 * the tile, so bits depend on nothing but the instruction set.
 * Next to read: lanes_gradient.h, lanes_dense.h, lanes_other.h. */
#include <stddef.h>
#include <string.h>

#include "engine/cpu/lanes.h"
#include "engine/formula.h"

typedef float vec __attribute__((vector_size(LANES_WIDTH * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES_WIDTH * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

enum { FILTERS = 6, UNITS = 12, TAPS = 4 };

INLINE vec vec_relu(vec v)
{
    return (vec)((ivec)v & ~(v < 0)); /* NaN < 0 is false: it stays */
}

static __attribute__((noinline)) void apply(const struct map *map, float *y)
{
    for (int l = 0; l < LANES_WIDTH; l++)
        y[l] = formula_map(map, y[l]);
}

/* ---- forward: filters x pixels in registers ---- */

/* Distances in floats. x is where the tile's first pixel reads its first tap. */
struct tile {
    const float *x, *w, *b; /* b NULL: none */
    float *y;
    int C, R, S;
    ptrdiff_t channel, row, tap, pixel; /* in x */
    ptrdiff_t filter_w, tap_w, filter_y;
    struct map map;
    bool add;
};

INLINE void tile_store(const struct tile *t, float *at, vec sum)
{
    vec old = t->add ? *(vec *)at : (vec){0};
    if (t->map.fn == MAP_RELU)
        sum = vec_relu(sum);
    *(vec *)at = sum;
    if (t->map.fn > MAP_RELU)
        apply(&t->map, at);
    if (t->add)
        *(vec *)at += old;
}

INLINE void tile_run(const int filters, const int pixels, const struct tile *t)
{
    vec sum[UNITS][LANES_PIXELS];
    const float *w = t->w;
    for (int k = 0; k < filters; k++)
        for (int q = 0; q < pixels; q++)
            sum[k][q] = (vec){0} + (t->b ? t->b[k] : 0);
    for (int c = 0; c < t->C; c++)
        for (int r = 0; r < t->R; r++) {
            const float *x = t->x + c * t->channel + r * t->row;
            for (int s = 0; s < t->S; s++, x += t->tap, w += t->tap_w)
                for (int k = 0; k < filters; k++)
                    for (int q = 0; q < pixels; q++)
                        sum[k][q] += w[k * t->filter_w] * *(const vec *)(x + q * t->pixel);
        }
    for (int k = 0; k < filters; k++)
        for (int q = 0; q < pixels; q++)
            tile_store(t, t->y + k * t->filter_y + q * LANES, sum[k][q]);
}

/* The sizes there is code for: filters 12 (one pixel), 6, 4, 2, 1 by pixels 4, 2, 1. */
static int next_size(int left, int most)
{
    return left >= most ? most : left >= 4 && most >= 4 ? 4 : left >= 2 ? 2 : 1;
}

#define TILE_CODE(filters, pixels)                                                        \
    static __attribute__((noinline)) void tile_##filters##x##pixels(const struct tile *t) \
    {                                                                                     \
        tile_run(filters, pixels, t);                                                     \
    }
TILE_CODE(12, 1)
TILE_CODE(6, 1)
TILE_CODE(6, 2)
TILE_CODE(4, 1)
TILE_CODE(4, 2)
TILE_CODE(2, 1)
TILE_CODE(2, 2)
TILE_CODE(1, 1)
TILE_CODE(1, 2)
#if LANES_PIXELS == 4
TILE_CODE(6, 4)
TILE_CODE(4, 4)
TILE_CODE(2, 4)
TILE_CODE(1, 4)
#endif

#define TILE(filters, pixels)         \
    case (filters)*8 + (pixels):      \
        tile_##filters##x##pixels(t); \
        break;

static void tile_dispatch(int filters, int pixels, const struct tile *t)
{
    switch (filters * 8 + pixels) {
        TILE(12, 1)
        TILE(6, 1)
        TILE(6, 2)
        TILE(4, 1)
        TILE(4, 2)
        TILE(2, 1)
        TILE(2, 2)
        TILE(1, 1)
        TILE(1, 2)
#if LANES_PIXELS == 4
        TILE(6, 4)
        TILE(4, 4)
        TILE(2, 4)
        TILE(1, 4)
#endif
    }
}

/* `count` filters over a row of `pixels` output pixels. */
static void tile_row(struct tile t, int count, int pixels)
{
    const float *x = t.x;
    float *y = t.y;
    int most = pixels == 1 ? UNITS : FILTERS;
    for (int k = 0, kt; k < count; k += kt) {
        kt = next_size(count - k, most);
        if (kt == 4 && count - k >= FILTERS)
            kt = FILTERS;
        for (int q = 0, qt; q < pixels; q += qt) {
            qt = next_size(pixels - q, LANES_PIXELS);
            t.x = x + q * t.pixel;
            t.y = y + k * t.filter_y + q * LANES;
            tile_dispatch(kt, qt, &t);
        }
        t.w += kt * t.filter_w;
        t.b = t.b ? t.b + kt : NULL;
    }
}

/* A block's image as convolutions read it: the input itself, or a copy with a border of zeros. */
struct padded {
    const float *x;
    int H, W;
};

static bool needs_border(const struct window *win)
{
    return win->pad_top || win->pad_left || win->pad_bottom || win->pad_right;
}

/* Copies a channel of H x W pixels into one of Hp x Wp, at (top, left), `up` pixels apart. */
static void copy_channel(const float *x, int H, int W, int top, int left, int up_h, int up_w, float *to,
                         int Hp, int Wp)
{
    memset(to, 0, (size_t)Hp * (size_t)Wp * LANES * sizeof *to);
    for (int h = 0; h < H; h++)
        for (int w = 0; w < W; w++) {
            int hp = top + h * up_h, wp = left + w * up_w;
            if (hp >= 0 && hp < Hp && wp >= 0 && wp < Wp)
                memcpy(to + ((ptrdiff_t)hp * Wp + wp) * LANES, x + ((ptrdiff_t)h * W + w) * LANES,
                       LANES * sizeof *to);
        }
}

static struct padded pad_channels(const struct window *win, const float *x, int first, int count,
                                  float *scratch)
{
    struct padded p = {x + (ptrdiff_t)first * win->H * win->W * LANES, win->H, win->W};
    if (!needs_border(win))
        return p;
    p.H += win->pad_top + win->pad_bottom;
    p.W += win->pad_left + win->pad_right;
    for (int c = 0; c < count; c++)
        copy_channel(p.x + (ptrdiff_t)c * win->H * win->W * LANES, win->H, win->W, win->pad_top,
                     win->pad_left, 1, 1, scratch + (ptrdiff_t)c * p.H * p.W * LANES, p.H, p.W);
    p.x = scratch;
    return p;
}

/* y = f(b + w * x) for one group of one block, from an image with its border. */
static void conv_group(const struct window *win, const struct padded *in, int channels, int filters,
                       struct tile t)
{
    float *y = t.y;
    t.C = channels;
    t.R = win->R;
    t.S = win->S;
    t.channel = (ptrdiff_t)in->H * in->W * LANES;
    t.row = (ptrdiff_t)win->dilation_h * in->W * LANES;
    t.tap = win->dilation_w * LANES;
    t.pixel = win->stride_w * LANES;
    t.tap_w = 1;
    t.filter_w = (ptrdiff_t)channels * win->R * win->S;
    t.filter_y = (ptrdiff_t)win->P * win->Q * LANES;
    for (int p = 0; p < win->P; p++)
        for (int part = 0; part < LANES; part += LANES_WIDTH) {
            t.x = in->x + (ptrdiff_t)p * win->stride_h * in->W * LANES + part;
            t.y = y + (ptrdiff_t)p * win->Q * LANES + part;
            tile_row(t, filters, win->Q);
        }
}

static void lanes_conv(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    int channels = win->C / win->groups, filters = win->K / win->groups;
    for (int64_t n = begin; n < end; n++)
        for (int g = 0; g < win->groups; g++) {
            const float *x = (const float *)c->in[0] + n * win->C * win->H * win->W * LANES;
            struct padded in = pad_channels(win, x, g * channels, channels, scratch);
            struct tile t = {
                .w = (const float *)c->in[1] + (ptrdiff_t)g * filters * channels * win->R * win->S,
                .b = c->in[2] ? (const float *)c->in[2] + g * filters : NULL,
                .y = (float *)c->out[0] + (n * win->K + g * filters) * (ptrdiff_t)win->P * win->Q * LANES,
                .map = c->g->map,
                .add = c->add};
            conv_group(win, &in, channels, filters, t);
        }
}

/* ---- to the input: a convolution of dy, spread by the stride and bordered, with turned filters ---- */

static struct window turned(const struct window *win)
{
    struct window back = {.C = win->K,
                          .K = win->C,
                          .R = win->R,
                          .S = win->S,
                          .P = win->H,
                          .Q = win->W,
                          .stride_h = 1,
                          .stride_w = 1,
                          .dilation_h = win->dilation_h,
                          .dilation_w = win->dilation_w,
                          .groups = win->groups};
    back.H = win->H + win->dilation_h * (win->R - 1);
    back.W = win->W + win->dilation_w * (win->S - 1);
    return back;
}

/* turned_w[c][k][r][s] = w[k][c][R - 1 - r][S - 1 - s] for one group */
static void turn_filters(const struct window *win, const float *w, float *to)
{
    int channels = win->C / win->groups, filters = win->K / win->groups, taps = win->R * win->S;
    for (int c = 0; c < channels; c++)
        for (int k = 0; k < filters; k++)
            for (int i = 0; i < taps; i++)
                *to++ = w[(k * channels + c) * taps + taps - 1 - i];
}

static void lanes_conv_dx(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    struct window back = turned(win);
    int channels = win->C / win->groups, filters = win->K / win->groups;
    ptrdiff_t image = (ptrdiff_t)back.H * back.W * LANES,
              weights = (ptrdiff_t)channels * filters * win->R * win->S;
    float *spread = scratch, *w = spread + image * filters;
    for (int g = 0; g < win->groups; g++) {
        turn_filters(win, (const float *)c->in[1] + g * weights, w);
        for (int64_t n = begin; n < end; n++) {
            const float *dy =
                (const float *)c->in[0] + (n * win->K + g * filters) * (ptrdiff_t)win->P * win->Q * LANES;
            for (int k = 0; k < filters; k++)
                copy_channel(dy + (ptrdiff_t)k * win->P * win->Q * LANES, win->P, win->Q,
                             win->dilation_h * (win->R - 1) - win->pad_top,
                             win->dilation_w * (win->S - 1) - win->pad_left, win->stride_h, win->stride_w,
                             spread + k * image, back.H, back.W);
            struct padded in = {spread, back.H, back.W};
            struct tile t = {.w = w,
                             .y = (float *)c->out[0] +
                                  (n * win->C + g * channels) * (ptrdiff_t)win->H * win->W * LANES,
                             .add = c->add};
            conv_group(&back, &in, filters, channels, t);
        }
    }
}

/* ---- scratch, in bytes ---- */

static size_t padded_floats(const struct window *win, int channels)
{
    return (size_t)channels * (size_t)(win->H + win->pad_top + win->pad_bottom) *
           (size_t)(win->W + win->pad_left + win->pad_right) * LANES;
}

static size_t lanes_conv_scratch(const struct geometry *g)
{
    const struct window *win = &g->window;
    return needs_border(win) ? padded_floats(win, win->C / win->groups) * sizeof(float) : 0;
}

static size_t lanes_conv_dx_scratch(const struct geometry *g)
{
    struct window back = turned(&g->window);
    size_t filters = (size_t)(back.C / back.groups), channels = (size_t)(back.K / back.groups);
    return (filters * (size_t)back.H * (size_t)back.W * LANES +
            filters * channels * (size_t)(back.R * back.S)) *
           sizeof(float);
}
