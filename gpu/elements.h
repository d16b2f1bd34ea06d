/* Kernels of one thread an element: element i of all rows, whose tensors the operation's row of op.h lists.
 * Included by kernels.cu. */
#include "engine/formula.h"
#include "engine/ref/losses.h"
#include "engine/ref/lrn.h"
#include "engine/ref/nests.h"
#include "engine/ref/norm.h"
#include "engine/ref/updates.h"
#include "engine/ref/windows.h"
#include "gpu/grid.h"

DEVICE const real *input(const struct call *c, int k)
{
    return (const real *)c->in[k];
}

DEVICE real *output(const struct call *c, int k)
{
    return (real *)c->out[k];
}

/* ---- element by element ---- */

DEVICE void map(const struct call *c, int64_t i)
{
    put(output(c, 0) + i, (double)formula_map(&c->g->map, input(c, 0)[i]), c->add);
}

DEVICE void map_back(const struct call *c, int64_t i)
{
    const real *v = c->in[1] ? input(c, 1) : input(c, 2); /* x or y */
    put(output(c, 0) + i, (double)formula_map_back(&c->g->map, input(c, 0)[i], v[i]), c->add);
}

DEVICE void copy(const struct call *c, int64_t i)
{
    put(output(c, 0) + i, (double)input(c, 0)[i], c->add);
}

DEVICE void bytes(const struct call *c, int64_t i)
{
    bytes_at(c, i / c->row, i % c->row);
}

DEVICE void dropout(const struct call *c, int64_t i)
{
    double rate = c->g->dropout.rate;
    uint64_t row = (uint64_t)(c->first_row + i / c->row), at = (uint64_t)(i % c->row);
    uint64_t hash = formula_hash(c->seed, c->step, (uint64_t)c->g->dropout.layer, row << 32 | at);
    put(output(c, 0) + i, formula_keeps(hash, rate) ? (double)input(c, 0)[i] / (1 - rate) : 0, c->add);
}

DEVICE void norm(const struct call *c, int64_t i)
{
    struct norm_channel at = norm_running(c, i / c->g->norm.inner % c->g->norm.channels);
    norm_write(c, &at, i);
}

DEVICE void lrn(const struct call *c, int64_t i)
{
    lrn_at(c, i / c->row, i % c->row);
}

DEVICE void lrn_back(const struct call *c, int64_t i)
{
    lrn_back_at(c, i / c->row, i % c->row);
}

/* ---- loop nests: i counts rows of what is kept ---- */

DEVICE void zip(const struct call *c, int64_t i)
{
    int64_t kept = kept_of(&c->g->zip.nest);
    zip_at(c, i / kept, i % kept);
}

DEVICE void zip_back(const struct call *c, int64_t i)
{
    int64_t kept = kept_of(&c->g->zip.nest);
    zip_back_at(c, i / kept, i % kept);
}

DEVICE void view_fill(const struct call *c, int64_t i)
{
    view_fill_at(c, i / c->row, i % c->row);
}

DEVICE void view(const struct call *c, int64_t i)
{
    int64_t kept = kept_of(&c->g->view.nest);
    view_nest_at(c, i / kept, i % kept);
}

/* A row by one thread: elements that are written more than once add up in their order. */
DEVICE void view_sum(const struct call *c, int64_t n)
{
    for (int64_t i = 0; i < kept_of(&c->g->view.nest); i++)
        view_nest_at(c, n, i);
}

DEVICE void reduce(const struct call *c, int64_t i)
{
    int64_t kept = kept_of(&c->g->reduce.nest);
    reduce_at(c, i / kept, i % kept);
}

DEVICE void reduce_back(const struct call *c, int64_t i)
{
    int64_t kept = kept_of(&c->g->reduce.nest);
    reduce_back_at(c, i / kept, i % kept);
}

/* ---- windows ---- */

/* Element i of [rows][channels][height][width]. */
struct pixel {
    int64_t n;
    int channel, h, w;
};

DEVICE struct pixel pixel_at(int64_t i, int channels, int height, int width)
{
    struct pixel at;
    at.w = (int)(i % width);
    at.h = (int)(i / width % height);
    at.channel = (int)(i / width / height % channels);
    at.n = i / width / height / channels;
    return at;
}

/* Outputs first..last along one side whose windows of `size` taps see input h. */
DEVICE void windows_over(int h, int size, int stride, int pad, int count, int *first, int *last)
{
    int end = h + pad, begin = end - size + 1;
    *first = begin > 0 ? (begin + stride - 1) / stride : 0;
    *last = end / stride < count - 1 ? end / stride : count - 1;
}

DEVICE void maxpool(const struct call *c, int64_t i)
{
    const struct window *win = &c->g->window;
    struct pixel y = pixel_at(i, win->C, win->P, win->Q);
    const real *x = input(c, 0) + (y.n * win->C + y.channel) * win->H * win->W;
    put(output(c, 0) + i, (double)x[largest(win, x, y.h, y.w)], c->add);
}

/* dx of a pixel: dy of the windows whose largest it is. */
DEVICE void maxpool_back(const struct call *c, int64_t i)
{
    const struct window *win = &c->g->window;
    struct pixel at = pixel_at(i, win->C, win->H, win->W);
    const real *x = input(c, 1) + (at.n * win->C + at.channel) * win->H * win->W;
    const real *dy = input(c, 0) + (at.n * win->C + at.channel) * win->P * win->Q;
    int p0, p1, q0, q1;
    double sum = 0;
    windows_over(at.h, win->R, win->stride_h, win->pad_top, win->P, &p0, &p1);
    windows_over(at.w, win->S, win->stride_w, win->pad_left, win->Q, &q0, &q1);
    for (int p = p0; p <= p1; p++)
        for (int q = q0; q <= q1; q++)
            if (largest(win, x, p, q) == (int64_t)at.h * win->W + at.w)
                sum += (double)dy[p * win->Q + q];
    put(output(c, 0) + i, sum, c->add);
}

DEVICE void avgpool(const struct call *c, int64_t i)
{
    const struct window *win = &c->g->window;
    struct pixel y = pixel_at(i, win->C, win->P, win->Q);
    double sum = 0;
    for (int r = 0; r < win->R; r++)
        for (int s = 0; s < win->S; s++) {
            const real *x = at4(input(c, 0), win, y.n, y.channel, y.h * win->stride_h - win->pad_top + r,
                                y.w * win->stride_w - win->pad_left + s);
            sum += x ? (double)*x : 0;
        }
    put(output(c, 0) + i, sum / formula_pool_divisor(win, y.h, y.w), c->add);
}

DEVICE void avgpool_back(const struct call *c, int64_t i)
{
    const struct window *win = &c->g->window;
    struct pixel at = pixel_at(i, win->C, win->H, win->W);
    const real *dy = input(c, 0) + (at.n * win->C + at.channel) * win->P * win->Q;
    int p0, p1, q0, q1;
    double sum = 0;
    windows_over(at.h, win->R, win->stride_h, win->pad_top, win->P, &p0, &p1);
    windows_over(at.w, win->S, win->stride_w, win->pad_left, win->Q, &q0, &q1);
    for (int p = p0; p <= p1; p++)
        for (int q = q0; q <= q1; q++)
            sum += (double)dy[p * win->Q + q] / formula_pool_divisor(win, p, q);
    put(output(c, 0) + i, sum, c->add);
}

/* ---- products, where the libraries do not have them (conv.c, dense.c) ---- */

DEVICE void conv(const struct call *c, int64_t i)
{
    const struct window *win = &c->g->window;
    struct pixel y = pixel_at(i, win->K, win->P, win->Q);
    put(output(c, 0) + i, conv_result(c, y.n, y.channel, y.h, y.w), c->add);
}

/* The output whose tap r reads input h, or -1. */
DEVICE int output_of(int h, int tap, int stride, int pad, int dilation, int count)
{
    int at = h + pad - tap * dilation;
    return at >= 0 && at % stride == 0 && at / stride < count ? at / stride : -1;
}

DEVICE void conv_dx(const struct call *c, int64_t i)
{
    const struct window *win = &c->g->window;
    struct pixel x = pixel_at(i, win->C, win->H, win->W);
    int per_group = win->C / win->groups, filters = win->K / win->groups;
    int first = x.channel / per_group * filters;
    double sum = 0;
    for (int r = 0; r < win->R; r++)
        for (int s = 0; s < win->S; s++) {
            int p = output_of(x.h, r, win->stride_h, win->pad_top, win->dilation_h, win->P);
            int q = output_of(x.w, s, win->stride_w, win->pad_left, win->dilation_w, win->Q);
            for (int k = first; p >= 0 && q >= 0 && k < first + filters; k++) {
                int64_t w = (((int64_t)k * per_group + x.channel % per_group) * win->R + r) * win->S + s;
                sum += (double)input(c, 1)[w] *
                       (double)input(c, 0)[((x.n * win->K + k) * win->P + p) * win->Q + q];
            }
        }
    put(output(c, 0) + i, sum, c->add);
}

DEVICE void dense(const struct call *c, int64_t i)
{
    int64_t in = c->g->dense.in, out = c->g->dense.out, n = i / out, o = i % out;
    const real *x = input(c, 0) + n * in, *w = input(c, 1) + o * in;
    double sum = (c->in[2] ? (double)input(c, 2)[o] : 0) + (c->in[3] ? (double)input(c, 3)[i] : 0);
    for (int64_t k = 0; k < in; k++)
        sum += (double)w[k] * (double)x[k];
    put(output(c, 0) + i, (double)formula_map(&c->g->map, (real)sum), c->add);
}

/* ---- behind a product: y = f(y + b + residual) ---- */

DEVICE void finish(const struct call *c, int64_t i, int64_t channel)
{
    double sum = (double)output(c, 0)[i] + (c->in[2] ? (double)input(c, 2)[channel] : 0) +
                 (c->in[3] ? (double)input(c, 3)[i] : 0);
    output(c, 0)[i] = formula_map(&c->g->map, (real)sum);
}

DEVICE void finish_conv(const struct call *c, int64_t i)
{
    const struct window *win = &c->g->window;
    finish(c, i, i / ((int64_t)win->P * win->Q) % win->K);
}

DEVICE void finish_dense(const struct call *c, int64_t i)
{
    finish(c, i, i % c->g->dense.out);
}

/* ---- a row, or a place of it, by one thread ---- */

/* Where the classes of place i, counted over all rows, begin. */
DEVICE int64_t softmax_at(const struct geometry *g, int64_t i)
{
    return i / g->softmax.inner * g->softmax.classes * g->softmax.inner + i % g->softmax.inner;
}

DEVICE void softmax(const struct call *c, int64_t i)
{
    int64_t classes = c->g->softmax.classes, inner = c->g->softmax.inner;
    const real *x = input(c, 0) + softmax_at(c->g, i);
    real *y = output(c, 0) + softmax_at(c->g, i);
    double most = (double)x[0], sum = 0;
    for (int64_t j = 1; j < classes; j++)
        most = (double)x[j * inner] > most ? (double)x[j * inner] : most;
    for (int64_t j = 0; j < classes; j++)
        sum += exp((double)x[j * inner] - most);
    for (int64_t j = 0; j < classes; j++) {
        double v = (double)x[j * inner] - most;
        put(y + j * inner, c->g->softmax.log ? v - log(sum) : exp(v) / sum, c->add);
    }
}

DEVICE void softmax_back(const struct call *c, int64_t i)
{
    int64_t classes = c->g->softmax.classes, inner = c->g->softmax.inner, at = softmax_at(c->g, i);
    const real *dy = input(c, 0) + at, *y = input(c, 1) + at;
    bool is_log = c->g->softmax.log;
    double dot = 0;
    for (int64_t j = 0; j < classes; j++)
        dot += (double)dy[j * inner] * (is_log ? 1 : (double)y[j * inner]);
    for (int64_t j = 0; j < classes; j++) {
        double d = (double)dy[j * inner], v = (double)y[j * inner];
        put(output(c, 0) + at + j * inner, is_log ? d - exp(v) * dot : v * (d - dot), c->add);
    }
}

DEVICE void pick(const struct call *c, int64_t n)
{
    loss_pick(c, n, n + 1, NULL);
}

DEVICE void cross_entropy(const struct call *c, int64_t n)
{
    loss_cross_entropy(c, n, n + 1, NULL);
}

DEVICE void mse(const struct call *c, int64_t n)
{
    loss_mse(c, n, n + 1, NULL);
}

DEVICE void log_loss(const struct call *c, int64_t n)
{
    loss_log_loss(c, n, n + 1, NULL);
}

/* ---- a parameter by one thread ---- */

DEVICE void sgd(const struct call *c, int64_t i)
{
    sgd_over(c, i, i + 1);
}

DEVICE void adam(const struct call *c, int64_t i)
{
    adam_over(c, i, i + 1);
}

DEVICE void adamw(const struct call *c, int64_t i)
{
    adamw_over(c, i, i + 1);
}

DEVICE void rmsprop(const struct call *c, int64_t i)
{
    rmsprop_over(c, i, i + 1);
}

DEVICE void adagrad(const struct call *c, int64_t i)
{
    adagrad_over(c, i, i + 1);
}
