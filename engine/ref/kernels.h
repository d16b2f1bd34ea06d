/* The specification: every operation as the loops that define it, sums in double. Included twice, by ref.c
 * (real = float) and ref64.c (real = double, for gradient checks): write nothing here that knows the type.
 * The formula stands above each loop; n rows, the letters of tensor.h. */
#include <string.h>

#include "engine/backend_ops.h"
#include "engine/formula.h"
#include "engine/ref/losses.h"
#include "engine/ref/lrn.h"
#include "engine/ref/nests.h"
#include "engine/ref/updates.h"
#include "engine/ref/windows.h"
#include "engine/rng.h"

static double conv_largest(const struct call *c, int64_t n, int k, int p, int q)
{
    real most = (real)conv_result(c, n, k, 2 * p, 2 * q);
    for (int i = 1; i < 4; i++) {
        real v = (real)conv_result(c, n, k, 2 * p + i / 2, 2 * q + i % 2);
        most = formula_max_takes(v, most) ? v : most;
    }
    return (double)most;
}

static void ref_conv(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    int P = win->halve ? win->P / 2 : win->P, Q = win->halve ? win->Q / 2 : win->Q;
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int k = 0; k < win->K; k++)
            for (int p = 0; p < P; p++)
                for (int q = 0; q < Q; q++)
                    put((real *)c->out[0] + ((n * win->K + k) * P + p) * Q + q,
                        win->halve ? conv_largest(c, n, k, p, q) : conv_result(c, n, k, p, q), c->add);
}

/* Row by row through scratch. */
static void ref_inverted(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct three_convs three;
    for (int64_t n = begin; n < end; n++) {
        three_convs(&three, c, n, scratch, sizeof(real));
        for (int i = 0; i < three.count; i++)
            ref_conv(&three.call[i], 0, 1, NULL);
    }
}

static size_t ref_inverted_scratch(const struct geometry *g)
{
    return three_convs_scratch(g) * sizeof(real);
}

/* A sum over all pairs of an output pixel and the input pixel that it reads through a tap: each adds to what
 * the visitor chooses. x, y: indices into one row, x -1 in the padding; w: into the weights. */
struct pair_sum {
    double *sum;
    const real *x, *y, *w;
};
typedef void (*pair_visitor)(const struct pair_sum *to, int64_t x, int64_t y, int64_t w);

static void for_each_tap(const struct window *win, int64_t y, int64_t w, int channel, int p, int q,
                         pair_visitor visit, const struct pair_sum *to)
{
    for (int r = 0; r < win->R; r++)
        for (int s = 0; s < win->S; s++) {
            int h = p * win->stride_h - win->pad_top + r * win->dilation_h;
            int x = q * win->stride_w - win->pad_left + s * win->dilation_w;
            bool inside = h >= 0 && h < win->H && x >= 0 && x < win->W;
            visit(to, inside ? ((int64_t)channel * win->H + h) * win->W + x : -1, y, w + r * win->S + s);
        }
}

static void for_each_pair(const struct window *win, pair_visitor visit, const struct pair_sum *to)
{
    int per_group = win->C / win->groups, filters = win->K / win->groups;
    for (int k = 0; k < win->K; k++)
        for (int c = 0; c < per_group; c++)
            for (int p = 0; p < win->P; p++)
                for (int q = 0; q < win->Q; q++)
                    for_each_tap(win, ((int64_t)k * win->P + p) * win->Q + q,
                                 ((int64_t)k * per_group + c) * win->R * win->S, k / filters * per_group + c,
                                 p, q, visit, to);
}

static void add_to_x(const struct pair_sum *to, int64_t x, int64_t y, int64_t w)
{
    if (x >= 0)
        to->sum[x] += (double)to->w[w] * (double)to->y[y];
}

static void add_to_w(const struct pair_sum *to, int64_t x, int64_t y, int64_t w)
{
    to->sum[w] += (x >= 0 ? (double)to->x[x] : 0) * (double)to->y[y];
}

/* dx[n][c][h][w] = sum over the taps that read it of w[k][c][r][s] dy[n][k][p][q]. Needs a row of doubles. */
static void ref_conv_dx(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    int64_t in = (int64_t)win->C * win->H * win->W, out = (int64_t)win->K * win->P * win->Q;
    double *sum = scratch;
    for (int64_t n = begin; n < end; n++) {
        const real *dy = (const real *)c->in[0] + n * out, *w = c->in[1];
        memset(sum, 0, (size_t)in * sizeof *sum);
        for_each_pair(win, add_to_x, &(struct pair_sum){.sum = sum, .y = dy, .w = w});
        for (int64_t i = 0; i < in; i++)
            put((real *)c->out[0] + n * in + i, sum[i], c->add);
    }
}

static size_t ref_conv_dx_scratch(const struct geometry *g)
{
    return (size_t)g->window.C * (size_t)g->window.H * (size_t)g->window.W * sizeof(double);
}

/* dw[k][c][r][s] += sum over n, p, q of dy[n][k][p][q] x[n][c][h][w];  db[k] += sum of dy[n][k] */
static void ref_conv_dw(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    int64_t in = (int64_t)win->C * win->H * win->W, out = (int64_t)win->K * win->P * win->Q;
    int64_t weights = (int64_t)win->K * (win->C / win->groups) * win->R * win->S;
    double *sum = scratch;
    (void)begin;
    (void)end;
    memset(sum, 0, (size_t)(weights + win->K) * sizeof *sum);
    for (int64_t n = 0; n < c->rows; n++) {
        const real *dy = (const real *)c->in[0] + n * out, *x = (const real *)c->in[1] + n * in;
        for_each_pair(win, add_to_w, &(struct pair_sum){.sum = sum, .y = dy, .x = x});
        for (int64_t i = 0; i < out; i++)
            sum[weights + i / ((int64_t)win->P * win->Q)] += (double)dy[i];
    }
    for (int64_t i = 0; c->out[0] && i < weights; i++)
        put((real *)c->out[0] + i, sum[i], true);
    for (int64_t i = 0; c->out[1] && i < win->K; i++)
        put((real *)c->out[1] + i, sum[weights + i], true);
}

static size_t ref_conv_dw_scratch(const struct geometry *g)
{
    const struct window *win = &g->window;
    size_t weights = (size_t)win->K * (size_t)(win->C / win->groups) * (size_t)win->R * (size_t)win->S;
    return (weights + (size_t)win->K) * sizeof(double);
}

/* y[n][o] = f(b[o] + sum over i of w[o][i] x[n][i] [+ residual]) */
static void ref_dense(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t in = c->g->dense.in, out = c->g->dense.out;
    const real *w = c->in[1], *b = c->in[2], *residual = c->in[3];
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int64_t o = 0; o < out; o++) {
            const real *x = (const real *)c->in[0] + n * in;
            double sum = 0;
            for (int64_t i = 0; i < in; i++)
                sum += (double)w[o * in + i] * (double)x[i];
            sum += (b ? (double)b[o] : 0) + (residual ? (double)residual[n * out + o] : 0);
            put((real *)c->out[0] + n * out + o, (double)formula_map(&c->g->map, (real)sum), c->add);
        }
}

/* dx[n][i] = sum over o of w[o][i] dy[n][o] */
static void ref_dense_dx(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t in = c->g->dense.in, out = c->g->dense.out;
    const real *w = c->in[1];
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int64_t i = 0; i < in; i++) {
            const real *dy = (const real *)c->in[0] + n * out;
            double sum = 0;
            for (int64_t o = 0; o < out; o++)
                sum += (double)w[o * in + i] * (double)dy[o];
            put((real *)c->out[0] + n * in + i, sum, c->add);
        }
}

/* dw[o][i] += sum over n of dy[n][o] x[n][i];  db[o] += sum over n of dy[n][o] */
static void ref_dense_dw(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t in = c->g->dense.in, out = c->g->dense.out;
    const real *dy = c->in[0], *x = c->in[1];
    (void)begin;
    (void)end;
    (void)scratch;
    for (int64_t o = 0; o < out; o++) {
        for (int64_t i = 0; c->out[0] && i < in; i++) {
            double sum = 0;
            for (int64_t n = 0; n < c->rows; n++)
                sum += (double)dy[n * out + o] * (double)x[n * in + i];
            put((real *)c->out[0] + o * in + i, sum, true);
        }
        double sum = 0;
        for (int64_t n = 0; n < c->rows; n++)
            sum += (double)dy[n * out + o];
        if (c->out[1])
            put((real *)c->out[1] + o, sum, true);
    }
}

/* y[n][c][p][q] = max over the window of x[n][c] */
static void ref_maxpool(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    (void)scratch;
    for (int64_t i = begin * win->C; i < end * win->C; i++) {
        const real *x = (const real *)c->in[0] + i * win->H * win->W;
        real *y = (real *)c->out[0] + i * win->P * win->Q;
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++)
                put(y + p * win->Q + q, (double)x[largest(win, x, p, q)], c->add);
    }
}

/* dx at the largest value of each window gets that window's dy */
static void ref_maxpool_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    int64_t pixels = (int64_t)win->H * win->W;
    (void)scratch;
    for (int64_t i = begin * win->C; i < end * win->C; i++) {
        const real *dy = (const real *)c->in[0] + i * win->P * win->Q,
                   *x = (const real *)c->in[1] + i * pixels;
        real *dx = (real *)c->out[0] + i * pixels;
        if (!c->add)
            memset(dx, 0, (size_t)pixels * sizeof *dx);
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++)
                put(dx + largest(win, x, p, q), (double)dy[p * win->Q + q], true);
    }
}

/* y[n][c][p][q] = sum over the window of x[n][c] / divisor */
static void ref_avgpool(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    (void)scratch;
    for (int64_t i = begin * win->C; i < end * win->C; i++)
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++) {
                double sum = 0;
                for (int r = 0; r < win->R; r++)
                    for (int s = 0; s < win->S; s++) {
                        const real *x =
                            at4(c->in[0], win, i / win->C, (int)(i % win->C),
                                p * win->stride_h - win->pad_top + r, q * win->stride_w - win->pad_left + s);
                        sum += x ? (double)*x : 0;
                    }
                put((real *)c->out[0] + (i * win->P + p) * win->Q + q, sum / formula_pool_divisor(win, p, q),
                    c->add);
            }
}

/* dx += dy / divisor at every pixel of the window */
static void ref_avgpool_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    (void)scratch;
    for (int64_t i = begin * win->C; i < end * win->C; i++) {
        real *dx = (real *)c->out[0] + i * win->H * win->W;
        const real *dy = (const real *)c->in[0] + i * win->P * win->Q;
        if (!c->add)
            memset(dx, 0, (size_t)win->H * (size_t)win->W * sizeof *dx);
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++)
                for (int r = 0; r < win->R; r++)
                    for (int s = 0; s < win->S; s++) {
                        const real *at = at4(dx, win, 0, 0, p * win->stride_h - win->pad_top + r,
                                             q * win->stride_w - win->pad_left + s);
                        if (at)
                            put(dx + (at - dx), (double)dy[p * win->Q + q] / formula_pool_divisor(win, p, q),
                                true);
                    }
    }
}

/* y = f(x) */
static void ref_map(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const real *x = c->in[0];
    (void)scratch;
    for (int64_t i = begin * c->row; i < end * c->row; i++)
        put((real *)c->out[0] + i, (double)formula_map(&c->g->map, x[i]), c->add);
}

/* dx = dy f'(x) */
static void ref_map_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const real *dy = c->in[0], *v = c->in[1] ? c->in[1] : c->in[2]; /* x or y */
    (void)scratch;
    for (int64_t i = begin * c->row; i < end * c->row; i++)
        put((real *)c->out[0] + i, (double)formula_map_back(&c->g->map, dy[i], v[i]), c->add);
}

static void ref_copy(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const real *x = c->in[0];
    (void)scratch;
    for (int64_t i = begin * c->row; i < end * c->row; i++)
        put((real *)c->out[0] + i, (double)x[i], c->add);
}

/* ref has one lane: both layouts are the same. */
static void ref_relayout(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    ref_copy(c, begin, end, scratch);
}

/* y = keep x / (1 - rate) */
static void ref_dropout(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const real *x = c->in[0];
    double rate = c->g->dropout.rate;
    (void)scratch;
    for (int64_t i = begin * c->row; i < end * c->row; i++) {
        uint64_t row = (uint64_t)(c->first_row + i / c->row), element = (uint64_t)(i % c->row);
        uint64_t hash = rng_hash(c->seed, c->step, (uint64_t)c->g->dropout.layer, row << 32 | element);
        put((real *)c->out[0] + i, formula_keeps(hash, rate) ? (double)x[i] / (1 - rate) : 0, c->add);
    }
}

/* Where the classes of place i, counted over all rows, begin. */
static int64_t softmax_at(const struct geometry *g, int64_t i)
{
    return i / g->softmax.inner * g->softmax.classes * g->softmax.inner + i % g->softmax.inner;
}

/* y[j] = e^(x[j] - max x) / sum over k of e^(x[k] - max x), or its logarithm, over classes `inner` apart */
static void ref_softmax(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t classes = c->g->softmax.classes, inner = c->g->softmax.inner, places = c->row / classes;
    (void)scratch;
    for (int64_t i = begin * places; i < end * places; i++) {
        const real *x = (const real *)c->in[0] + softmax_at(c->g, i);
        real *y = (real *)c->out[0] + softmax_at(c->g, i);
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
}

/* dx[j] = y[j] (dy[j] - sum over k of dy[k] y[k]), of the logarithm dy[j] - e^y[j] sum over k of dy[k] */
static void ref_softmax_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t classes = c->g->softmax.classes, inner = c->g->softmax.inner, places = c->row / classes;
    bool log = c->g->softmax.log;
    (void)scratch;
    for (int64_t i = begin * places; i < end * places; i++) {
        int64_t at = softmax_at(c->g, i);
        const real *dy = (const real *)c->in[0] + at, *y = (const real *)c->in[1] + at;
        double dot = 0;
        for (int64_t j = 0; j < classes; j++)
            dot += (double)dy[j * inner] * (log ? 1 : (double)y[j * inner]);
        for (int64_t j = 0; j < classes; j++) {
            double d = (double)dy[j * inner], v = (double)y[j * inner];
            put((real *)c->out[0] + at + j * inner, log ? d - exp(v) * dot : v * (d - dot), c->add);
        }
    }
}

#include "engine/ref/norm.h"

/* What windows.h, lrn.h and nests.h define for an element i of row n. */
#define BY_ROWS(name, count)                                                                \
    static void ref_##name(const struct call *c, int64_t begin, int64_t end, void *scratch) \
    {                                                                                       \
        int64_t each = count;                                                               \
        (void)scratch;                                                                      \
        for (int64_t n = begin; n < end; n++)                                               \
            for (int64_t i = 0; i < each; i++)                                              \
                name##_at(c, n, i);                                                         \
    }

BY_ROWS(bytes, c->row)
BY_ROWS(lrn, c->row)
BY_ROWS(lrn_back, c->row)
BY_ROWS(zip, kept_of(&c->g->zip.nest))
BY_ROWS(zip_back, kept_of(&c->g->zip.nest))
BY_ROWS(reduce, kept_of(&c->g->reduce.nest))
BY_ROWS(reduce_back, kept_of(&c->g->reduce.nest))
BY_ROWS(view_fill, c->row)
BY_ROWS(view_nest, kept_of(&c->g->view.nest))

static void ref_view(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    if (view_fills(c))
        ref_view_fill(c, begin, end, scratch);
    ref_view_nest(c, begin, end, scratch);
}

static void ref_zip_dw(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    (void)begin;
    (void)end;
    (void)scratch;
    for (int64_t i = 0; i < kept_of(&c->g->zip.nest); i++) {
        double sum = 0;
        for (int64_t n = 0; n < c->rows; n++)
            sum += zip_slope(c, n, i);
        zip_dw_put(c, i, sum);
    }
}

static const struct kernel ref_kernels[OPS] = {
    [OP_CONV] = {ref_conv, NULL, NULL},
    [OP_CONV_DX] = {ref_conv_dx, NULL, ref_conv_dx_scratch},
    [OP_CONV_DW] = {ref_conv_dw, NULL, ref_conv_dw_scratch},
    [OP_INVERTED] = {ref_inverted, NULL, ref_inverted_scratch},
    [OP_WINOGRAD] = {ref_conv, NULL, NULL},
    [OP_WINOGRAD_DX] = {ref_conv_dx, NULL, ref_conv_dx_scratch},
    [OP_WINOGRAD_DW] = {ref_conv_dw, NULL, ref_conv_dw_scratch},
    [OP_DENSE] = {ref_dense, NULL, NULL},
    [OP_DENSE_DX] = {ref_dense_dx, NULL, NULL},
    [OP_DENSE_DW] = {ref_dense_dw, NULL, NULL},
    [OP_MAXPOOL] = {ref_maxpool, NULL, NULL},
    [OP_MAXPOOL_BACK] = {ref_maxpool_back, NULL, NULL},
    [OP_AVGPOOL] = {ref_avgpool, NULL, NULL},
    [OP_AVGPOOL_BACK] = {ref_avgpool_back, NULL, NULL},
    [OP_NORM] = {ref_batchnorm, NULL, NULL},
    [OP_NORM_TRAIN] = {ref_batchnorm_train, norm_items, NULL},
    [OP_NORM_BACK] = {ref_batchnorm_back, norm_items, NULL},
    [OP_MAP] = {ref_map, NULL, NULL},
    [OP_MAP_BACK] = {ref_map_back, NULL, NULL},
    [OP_COPY] = {ref_copy, NULL, NULL},
    [OP_LRN] = {ref_lrn, NULL, NULL},
    [OP_LRN_BACK] = {ref_lrn_back, NULL, NULL},
    [OP_ZIP] = {ref_zip, NULL, NULL},
    [OP_ZIP_BACK] = {ref_zip_back, NULL, NULL},
    [OP_ZIP_DW] = {ref_zip_dw, NULL, NULL},
    [OP_VIEW] = {ref_view, NULL, NULL},
    [OP_REDUCE] = {ref_reduce, NULL, NULL},
    [OP_REDUCE_BACK] = {ref_reduce_back, NULL, NULL},
    [OP_TO_LANES] = {ref_relayout, NULL, NULL},
    [OP_FROM_LANES] = {ref_relayout, NULL, NULL},
    [OP_BYTES] = {ref_bytes, NULL, NULL},
    [OP_PICK] = {loss_pick, NULL, NULL},
    [OP_DROPOUT] = {ref_dropout, NULL, NULL},
    [OP_SOFTMAX] = {ref_softmax, NULL, NULL},
    [OP_SOFTMAX_BACK] = {ref_softmax_back, NULL, NULL},
    [OP_CROSS_ENTROPY] = {loss_cross_entropy, NULL, NULL},
    [OP_MSE] = {loss_mse, NULL, NULL},
    [OP_LOG_LOSS] = {loss_log_loss, NULL, NULL},
    UPDATE_KERNELS,
};
