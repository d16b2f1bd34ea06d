/* Kernels of one block a sum: a channel of batch norm, a parameter's gradient, a slice of squares. Sums are double and
 * in one order, whatever the device. Included by kernels.cu, behind elements.h. */
#include "gpu/grid.h"

/* mean, then squares around it, then y: three passes over channel k. */
DEVICE void norm_train(const struct call *c, int64_t k)
{
    SHARED double sums[THREADS];
    const struct norm *g = &c->g->norm;
    const real *x = input(c, 0);
    int64_t m = c->rows * g->inner;
    double mean = block_sum(sums, [&](int t) {
        double sum = 0;
        for (int64_t i = t; i < m; i += THREADS)
            sum += (double)x[norm_at(g, k, i)];
        return sum;
    });
    mean /= (double)m;
    double squares = block_sum(sums, [&](int t) {
        double sum = 0;
        for (int64_t i = t; i < m; i += THREADS)
            sum += ((double)x[norm_at(g, k, i)] - mean) * ((double)x[norm_at(g, k, i)] - mean);
        return sum;
    });
    struct norm_channel at = norm_around(c, k, mean, squares, m);
    EACH_THREAD(t)
    {
        if (t == 0)
            norm_keep(c, k, &at, squares, m);
        for (int64_t i = t; i < m; i += THREADS)
            norm_write(c, &at, norm_at(g, k, i));
    }
}

DEVICE void norm_back(const struct call *c, int64_t k)
{
    SHARED double sums[THREADS];
    const struct norm *g = &c->g->norm;
    int64_t m = c->rows * g->inner;
    struct norm_channel of = norm_kept(c, k);
    double dw = block_sum(sums, [&](int t) {
        double sum = 0, h;
        for (int64_t i = t; i < m; i += THREADS) {
            double dz = norm_slope(c, &of, norm_at(g, k, i), &h);
            sum += dz * h;
        }
        return sum;
    });
    double db = block_sum(sums, [&](int t) {
        double sum = 0, h;
        for (int64_t i = t; i < m; i += THREADS)
            sum += norm_slope(c, &of, norm_at(g, k, i), &h);
        return sum;
    });
    EACH_THREAD(t)
    {
        for (int64_t i = t; c->out[0] && i < m; i += THREADS) {
            double h, dz = norm_slope(c, &of, norm_at(g, k, i), &h);
            put(output(c, 0) + norm_at(g, k, i), norm_dx(&of, dz, h, dw, db, m), c->add);
        }
        if (t == 0 && c->out[1])
            put(output(c, 1) + k, dw, true);
        if (t == 0 && c->out[2])
            put(output(c, 2) + k, db, true);
    }
}

DEVICE void zip_dw(const struct call *c, int64_t i)
{
    SHARED double sums[THREADS];
    double sum = block_sum(sums, [&](int t) {
        double part = 0;
        for (int64_t n = t; n < c->rows; n += THREADS)
            part += zip_slope(c, n, i);
        return part;
    });
    EACH_THREAD(t)
    {
        if (t == 0)
            zip_dw_put(c, i, sum);
    }
}

/* dw[k][c][r][s] += sum over n, p, q, where cuDNN does not have the convolution. */
DEVICE void conv_dw(const struct call *c, int64_t at)
{
    SHARED double sums[THREADS];
    const struct window *win = &c->g->window;
    int per_group = win->C / win->groups, s = (int)(at % win->S), r = (int)(at / win->S % win->R);
    int channel = (int)(at / win->S / win->R % per_group), k = (int)(at / win->S / win->R / per_group);
    int first = k / (win->K / win->groups) * per_group;
    double sum = block_sum(sums, [&](int t) {
        double part = 0;
        int64_t pixels = (int64_t)win->P * win->Q;
        for (int64_t i = t; i < c->rows * pixels; i += THREADS) {
            int p = (int)(i % pixels / win->Q), q = (int)(i % win->Q);
            const real *x = at4(input(c, 1), win, i / pixels, first + channel,
                                p * win->stride_h - win->pad_top + r * win->dilation_h,
                                q * win->stride_w - win->pad_left + s * win->dilation_w);
            part +=
                (x ? (double)*x : 0) * (double)input(c, 0)[(i / pixels * win->K + k) * pixels + i % pixels];
        }
        return part;
    });
    EACH_THREAD(t)
    {
        if (t == 0)
            put(output(c, 0) + at, sum, true);
    }
}

/* db[k] += sum over n and the map of dy[n][k], of [rows][channels][inner] */
DEVICE void bias(const struct call *c, int64_t k, int64_t channels, int64_t inner)
{
    SHARED double sums[THREADS];
    const real *dy = input(c, 0);
    double sum = block_sum(sums, [&](int t) {
        double part = 0;
        for (int64_t i = t; i < c->rows * inner; i += THREADS)
            part += (double)dy[(i / inner * channels + k) * inner + i % inner];
        return part;
    });
    EACH_THREAD(t)
    {
        if (t == 0)
            put(output(c, 1) + k, sum, true);
    }
}

DEVICE void conv_bias(const struct call *c, int64_t k)
{
    bias(c, k, c->g->window.K, (int64_t)c->g->window.P * c->g->window.Q);
}

DEVICE void dense_bias(const struct call *c, int64_t o)
{
    bias(c, o, c->g->dense.out, 1);
}

DEVICE void squares(const struct call *c, int64_t slice)
{
    SHARED double sums[THREADS];
    int64_t begin = slice * UPDATE_SLICE, end = update_end(c, slice + 1);
    double sum = block_sum(sums, [&](int t) {
        double part = 0;
        for (int64_t i = begin + t; i < end; i += THREADS)
            part += (double)input(c, 0)[i] * (double)input(c, 0)[i];
        return part;
    });
    EACH_THREAD(t)
    {
        if (t == 0)
            output(c, 0)[slice] = (real)sum;
    }
}
