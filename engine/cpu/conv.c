/* Convolution as a matrix product: im2col, then one sgemm a row and group. Never over rows: the bits of a row
 * would depend on its place. Weight gradients are summed over rows in their order, in slices of filters whose
 * size never depends on the threads. Next to read: dense.c. */
#include <cblas.h>
#include <string.h>

#include "engine/cpu/cpu.h"
#include "engine/cpu/lanes.h"

enum { SLICE_FILTERS = 32 };

static int pixels(const struct window *win)
{
    return win->P * win->Q;
}

/* Rows of a group's column matrix: channels of the group times taps. */
static int taps(const struct window *win)
{
    return win->C / win->groups * win->R * win->S;
}

/* A 1x1 convolution at stride 1 reads its input as it lies. */
static bool is_direct(const struct window *win)
{
    return win->R == 1 && win->S == 1 && win->stride_h == 1 && win->stride_w == 1 && !win->pad_top &&
           !win->pad_left && win->P == win->H && win->Q == win->W;
}

size_t cpu_conv_scratch(const struct geometry *g)
{
    return (size_t)taps(&g->window) * (size_t)pixels(&g->window) * sizeof(float);
}

/* The output pixels q whose tap s reads inside the row: from..to-1. */
static void inside(const struct window *win, int s, int *from, int *to)
{
    int shift = s * win->dilation_w - win->pad_left; /* w = q * stride + shift */
    int first = shift >= 0 ? 0 : (-shift + win->stride_w - 1) / win->stride_w;
    int last = win->W - 1 - shift;
    int end = last < 0 ? 0 : last / win->stride_w + 1;
    *from = first < win->Q ? first : win->Q;
    *to = end < win->Q ? end : win->Q;
    if (*to < *from)
        *to = *from;
}

/* col[c][r][s][p][q] = x[c][h][w], 0 in the padding */
static void im2col(const struct window *win, const float *x, float *col)
{
    int channels = win->C / win->groups, stride = win->stride_w;
    for (int c = 0; c < channels; c++, x += (size_t)win->H * (size_t)win->W)
        for (int r = 0; r < win->R; r++)
            for (int s = 0; s < win->S; s++) {
                int from, to, shift = s * win->dilation_w - win->pad_left;
                inside(win, s, &from, &to);
                for (int p = 0; p < win->P; p++, col += win->Q) {
                    int h = p * win->stride_h - win->pad_top + r * win->dilation_h;
                    if (h < 0 || h >= win->H) {
                        memset(col, 0, (size_t)win->Q * sizeof *col);
                        continue;
                    }
                    const float *row = x + (ptrdiff_t)h * win->W + shift;
                    for (int q = 0; q < from; q++)
                        col[q] = 0;
                    if (stride == 1)
                        memcpy(col + from, row + from, (size_t)(to - from) * sizeof *col);
                    else
                        for (int q = from; q < to; q++)
                            col[q] = row[q * stride];
                    for (int q = to; q < win->Q; q++)
                        col[q] = 0;
                }
            }
}

/* dx[c][h][w] += col[c][r][s][p][q]: im2col backwards */
static void col2im(const struct window *win, const float *col, float *dx)
{
    int channels = win->C / win->groups, stride = win->stride_w;
    for (int c = 0; c < channels; c++, dx += (size_t)win->H * (size_t)win->W)
        for (int r = 0; r < win->R; r++)
            for (int s = 0; s < win->S; s++) {
                int from, to, shift = s * win->dilation_w - win->pad_left;
                inside(win, s, &from, &to);
                for (int p = 0; p < win->P; p++, col += win->Q) {
                    int h = p * win->stride_h - win->pad_top + r * win->dilation_h;
                    if (h < 0 || h >= win->H)
                        continue;
                    float *row = dx + (ptrdiff_t)h * win->W + shift;
                    for (int q = from; q < to; q++)
                        row[q * stride] += col[q];
                }
            }
}

/* The column matrix of group g of a row: made in scratch, or the input itself. */
static const float *columns(const struct window *win, const float *x, int group, float *scratch)
{
    x += (size_t)group * (size_t)(win->C / win->groups) * (size_t)win->H * (size_t)win->W;
    if (is_direct(win))
        return x;
    im2col(win, x, scratch);
    return scratch;
}

static size_t row_in(const struct window *win)
{
    return (size_t)win->C * (size_t)win->H * (size_t)win->W;
}

enum { TILED_PIXELS = 64 }; /* fewer leave vectors half empty */

/* Tiles of lanes_row.h do better than a matrix product where pixels lie side by side, and where a group has one
 * channel and filter. */
static bool by_tiles(const struct window *win)
{
    bool depthwise = win->groups == win->C && win->groups == win->K;
    if (is_direct(win))
        return !win->halve && pixels(win) >= TILED_PIXELS;
    return depthwise || (win->stride_h == 1 && win->stride_w == 1);
}

static size_t columns_floats(const struct window *win)
{
    return is_direct(win) ? 0 : (size_t)taps(win) * (size_t)pixels(win);
}

size_t cpu_conv_forward_scratch(const struct geometry *g)
{
    const struct window *win = &g->window;
    if (by_tiles(win))
        return lanes_rows()->scratch(g);
    return (columns_floats(win) + (size_t)win->K * (size_t)pixels(win)) * sizeof(float);
}

CPU_KERNEL(cpu_conv)
{
    const struct window *win = &c->g->window;
    const struct row_code *rows = lanes_rows();
    int filters = win->K / win->groups, depth = taps(win), n = pixels(win);
    if (by_tiles(win)) {
        rows->conv(c, begin, end, scratch);
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)c->in[0] + (size_t)i * row_in(win), *w = c->in[1];
        float *y = (float *)c->out[0] + i * c->row;
        if (win->halve || c->add) /* what is kept is not what is computed */
            y = (float *)scratch + columns_floats(win);
        for (int g = 0; g < win->groups; g++)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, filters, n, depth, 1,
                        w + (size_t)g * (size_t)filters * (size_t)depth, depth, columns(win, x, g, scratch),
                        n, 0, y + (size_t)g * (size_t)filters * (size_t)n, n);
        for (int k = 0; k < win->K; k++)
            rows->finish(c, i, k, 0, win->P, y + (size_t)k * (size_t)n, win->Q);
    }
}

static size_t between_floats(const struct geometry *g)
{
    return (three_convs_scratch(g) + LANES - 1) / LANES * LANES;
}

CPU_KERNEL(cpu_inverted)
{
    struct three_convs three;
    float *between = scratch, *rest = between + between_floats(c->g);
    for (int64_t n = begin; n < end; n++) {
        three_convs(&three, c, n, between, sizeof *between);
        for (int i = 0; i < three.count; i++)
            cpu_conv(&three.call[i], 0, 1, rest);
    }
}

size_t cpu_inverted_scratch(const struct geometry *g)
{
    const struct window *windows[] = {&g->inverted.window, &g->inverted.depth, &g->inverted.project};
    size_t most = 0;
    for (int i = 0; i < 3; i++) {
        struct geometry one = {.window = *windows[i]};
        size_t bytes = windows[i]->K ? cpu_conv_forward_scratch(&one) : 0;
        most = bytes > most ? bytes : most;
    }
    return between_floats(g) * sizeof(float) + most;
}

/* col = w^T dy, then back into the image */
CPU_KERNEL(cpu_conv_dx)
{
    const struct window *win = &c->g->window;
    int filters = win->K / win->groups, depth = taps(win), n = pixels(win);
    size_t out = (size_t)win->K * (size_t)n, per_group = row_in(win) / (size_t)win->groups;
    for (int64_t i = begin; i < end; i++) {
        const float *dy = (const float *)c->in[0] + (size_t)i * out, *w = c->in[1];
        float *dx = (float *)c->out[0] + i * c->row;
        if (!c->add)
            memset(dx, 0, (size_t)c->row * sizeof *dx);
        for (int g = 0; g < win->groups; g++) {
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, depth, n, filters, 1,
                        w + (size_t)g * (size_t)filters * (size_t)depth, depth,
                        dy + (size_t)g * (size_t)filters * (size_t)n, n, 0, scratch, n);
            col2im(win, scratch, dx + (size_t)g * per_group);
        }
    }
}

static int slices_per_group(const struct window *win)
{
    return (win->K / win->groups + SLICE_FILTERS - 1) / SLICE_FILTERS;
}

int64_t cpu_conv_slices(const struct call *c)
{
    return (int64_t)c->g->window.groups * slices_per_group(&c->g->window);
}

static void add_bias_gradient(const struct call *c, int first, int count)
{
    const struct window *win = &c->g->window;
    int n = pixels(win);
    float *db = c->out[1];
    for (int64_t i = 0; db && i < c->rows; i++)
        for (int k = first; k < first + count; k++) {
            const float *dy = (const float *)c->in[0] + ((size_t)i * (size_t)win->K + (size_t)k) * (size_t)n;
            float sum = 0;
            for (int p = 0; p < n; p++)
                sum += dy[p];
            db[k] += sum;
        }
}

/* dw += dy col^T, row after row; slices from..to-1 of a group. */
static void group_gradient(const struct call *c, int group, int from, int to, float *scratch)
{
    const struct window *win = &c->g->window;
    int filters = win->K / win->groups, depth = taps(win), n = pixels(win);
    for (int64_t i = 0; i < c->rows; i++) {
        const float *x = (const float *)c->in[1] + (size_t)i * row_in(win);
        const float *columns_of_row = columns(win, x, group, scratch);
        for (int k = from * SLICE_FILTERS; k < to * SLICE_FILTERS && k < filters; k += SLICE_FILTERS) {
            int count = filters - k < SLICE_FILTERS ? filters - k : SLICE_FILTERS;
            size_t first = (size_t)(group * filters + k);
            const float *dy = (const float *)c->in[0] + ((size_t)i * (size_t)win->K + first) * (size_t)n;
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, count, depth, n, 1, dy, n, columns_of_row, n,
                        1, (float *)c->out[0] + first * (size_t)depth, depth);
        }
    }
}

CPU_KERNEL(cpu_conv_dw)
{
    const struct window *win = &c->g->window;
    int filters = win->K / win->groups, per_group = slices_per_group(win);
    while (begin < end) {
        struct stretch at = stretch_next(&begin, end, per_group);
        int group = (int)at.block, first = at.from * SLICE_FILTERS, last = at.to * SLICE_FILTERS;
        last = last < filters ? last : filters;
        if (c->out[0])
            group_gradient(c, group, at.from, at.to, scratch);
        add_bias_gradient(c, group * filters + first, last - first);
    }
}
