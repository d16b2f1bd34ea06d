/* Times single kernels of backend cpu by the thread's CPU time, so that neighbours on the machine disturb little:
 * GF/s, the share of the peak that this core reaches in a loop of multiply-adds, and GB/s of what must be read and
 * written. usage: kernels [TEXT...]: only cases whose line contains every TEXT. `lanes` is sixteen, `row` one.
 * Whether results are right is optest's affair. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/backend_ops.h"
#include "engine/cpu/lanes.h"
#include "tests/bench/peak.h"

struct timing {
    int C, H, W, K, kernel, stride, pad, dilation, groups, blocks;
};

/* C H W, K, kernel, stride, padding, dilation, groups, blocks of sixteen rows */
static const struct timing convs[] = {
    {64, 32, 32, 64, 3, 1, 1, 1, 1, 1},     {128, 16, 16, 128, 3, 1, 1, 1, 1, 1},
    {256, 8, 8, 256, 3, 1, 1, 1, 1, 2},     {512, 4, 4, 512, 3, 1, 1, 1, 1, 4},
    {64, 32, 32, 128, 3, 2, 1, 1, 1, 1},    {256, 8, 8, 512, 3, 2, 1, 1, 1, 4},
    {3, 224, 224, 64, 7, 2, 3, 1, 1, 1},    {3, 224, 224, 32, 3, 2, 1, 1, 1, 1},
    {3, 32, 32, 64, 3, 1, 1, 1, 1, 1},      {3, 32, 32, 6, 5, 1, 0, 1, 1, 4},
    {1, 32, 32, 6, 5, 1, 0, 1, 1, 4},       {6, 14, 14, 16, 5, 1, 0, 1, 1, 4},
    {32, 14, 14, 32, 5, 1, 2, 1, 1, 1},     {64, 14, 14, 64, 3, 1, 2, 2, 1, 1},
    {128, 14, 14, 128, 3, 1, 1, 1, 4, 1},   {16, 112, 112, 96, 1, 1, 0, 1, 1, 1},
    {144, 56, 56, 24, 1, 1, 0, 1, 1, 1},    {24, 56, 56, 144, 1, 1, 0, 1, 1, 1},
    {384, 14, 14, 64, 1, 1, 0, 1, 1, 1},    {64, 14, 14, 384, 1, 1, 0, 1, 1, 1},
    {160, 7, 7, 960, 1, 1, 0, 1, 1, 1},     {960, 7, 7, 160, 1, 1, 0, 1, 1, 1},
    {320, 7, 7, 1280, 1, 1, 0, 1, 1, 1},    {64, 32, 32, 128, 1, 2, 0, 1, 1, 1},
    {96, 112, 112, 96, 3, 2, 1, 1, 96, 1},  {144, 56, 56, 144, 3, 1, 1, 1, 144, 1},
    {384, 14, 14, 384, 3, 1, 1, 1, 384, 1}, {576, 14, 14, 576, 3, 2, 1, 1, 576, 1},
    {960, 7, 7, 960, 3, 1, 1, 1, 960, 1},   {64, 28, 28, 64, 5, 1, 2, 1, 64, 1},
};
static const struct timing winograds[] = {
    {3, 32, 32, 64, 3, 1, 1, 1, 1, 1},  {16, 32, 32, 16, 3, 1, 1, 1, 1, 1},
    {64, 32, 32, 64, 3, 1, 1, 1, 1, 1}, {128, 16, 16, 128, 3, 1, 1, 1, 1, 1},
    {256, 8, 8, 256, 3, 1, 1, 1, 1, 1}, {256, 8, 8, 256, 3, 1, 1, 1, 1, 2},
    {256, 8, 8, 256, 3, 1, 1, 1, 1, 4}, {512, 4, 4, 512, 3, 1, 1, 1, 1, 1},
    {512, 4, 4, 512, 3, 1, 1, 1, 1, 4}, {64, 56, 56, 64, 3, 1, 1, 1, 1, 1},
    {512, 7, 7, 512, 3, 1, 1, 1, 1, 1},
};
static const struct timing fives[] = {
    {1, 32, 32, 6, 5, 1, 0, 1, 1, 4},
    {3, 32, 32, 6, 5, 1, 0, 1, 1, 4},
    {6, 14, 14, 16, 5, 1, 0, 1, 1, 4},
};
/* one tap from C to K channels, then a depthwise kernel */
static const struct timing pairs[] = {
    {16, 112, 112, 96, 3, 2, 1, 1, 1, 1}, {24, 56, 56, 144, 3, 1, 1, 1, 1, 1},
    {24, 56, 56, 144, 3, 2, 1, 1, 1, 1},  {32, 28, 28, 192, 3, 1, 1, 1, 1, 1},
    {64, 14, 14, 384, 3, 1, 1, 1, 1, 1},  {160, 7, 7, 960, 3, 1, 1, 1, 1, 1},
};
/* C is the inputs, K the outputs */
static const struct timing denses[] = {
    {400, 1, 1, 120, 1, 1, 0, 1, 1, 4},
    {4096, 1, 1, 512, 1, 1, 0, 1, 1, 4},
    {1280, 1, 1, 1000, 1, 1, 0, 1, 1, 1},
};

static const struct {
    enum op op;
    const struct timing *cases;
    int count;
} timings[] = {
#define CASES(op, table)                           \
    {                                              \
        op, table, sizeof(table) / sizeof *(table) \
    }
    CASES(OP_CONV, convs),
    CASES(OP_CONV_DX, convs),
    CASES(OP_CONV_DW, convs),
    CASES(OP_WINOGRAD, winograds),
    CASES(OP_WINOGRAD, fives),
    CASES(OP_WINOGRAD_DX, winograds),
    CASES(OP_WINOGRAD_DW, winograds),
    CASES(OP_INVERTED, pairs),
    CASES(OP_DENSE, denses),
    CASES(OP_DENSE_DX, denses),
    CASES(OP_DENSE_DW, denses),
};

/* ---- one case ---- */

static struct geometry geometry_of(enum op op, const struct timing *t)
{
    int reach = t->dilation * (t->kernel - 1) + 1;
    if (op == OP_DENSE || op == OP_DENSE_DX || op == OP_DENSE_DW)
        return (struct geometry){.dense = {t->C, t->K}};
    struct geometry g = {.window = {.C = t->C,
                                    .H = t->H,
                                    .W = t->W,
                                    .K = t->K,
                                    .R = t->kernel,
                                    .S = t->kernel,
                                    .P = (t->H + 2 * t->pad - reach) / t->stride + 1,
                                    .Q = (t->W + 2 * t->pad - reach) / t->stride + 1,
                                    .stride_h = t->stride,
                                    .stride_w = t->stride,
                                    .pad_top = t->pad,
                                    .pad_left = t->pad,
                                    .pad_bottom = t->pad,
                                    .pad_right = t->pad,
                                    .dilation_h = t->dilation,
                                    .dilation_w = t->dilation,
                                    .groups = t->groups}};
    if (op != OP_INVERTED)
        return g;
    struct window first = g.window;
    g.window.C = t->K;
    g.window.groups = t->K;
    first.P = first.H, first.Q = first.W;
    first.R = first.S = first.stride_h = first.stride_w = 1;
    first.pad_top = first.pad_left = first.pad_bottom = first.pad_right = 0;
    return (struct geometry){.inverted = {.window = first, .depth = g.window}};
}

static float *tensor(size_t n)
{
    float *v = aligned_alloc(64, (n * sizeof *v + 4159) / 64 * 64);
    for (size_t i = 0; v && i < n; i++)
        v[i] = (float)(i % 17) * 0.1f - 0.8f;
    if (!v)
        exit(1);
    return v;
}

struct sizes {
    size_t x, y, w;
    double flops;
};

static struct sizes sizes_of(enum op op, const struct timing *t, const struct geometry *g, int rows)
{
    int P = t->H == 1 ? 1 : g->window.P, Q = t->H == 1 ? 1 : g->window.Q;
    size_t taps = (size_t)(t->C / t->groups) * (size_t)t->kernel * (size_t)t->kernel;
    struct sizes s = {(size_t)t->C * (size_t)t->H * (size_t)t->W * (size_t)rows,
                      (size_t)t->K * (size_t)P * (size_t)Q * (size_t)rows, (size_t)t->K * taps, 0};
    s.flops = 2.0 * (double)s.y * (double)taps;
    if (op == OP_INVERTED) {
        const struct window *d = &g->inverted.depth;
        s.y = (size_t)d->K * (size_t)d->P * (size_t)d->Q * (size_t)rows;
        s.w = (size_t)t->K * (size_t)(t->C + d->R * d->S);
        s.flops =
            2.0 * (double)rows * t->K * ((double)t->C * t->H * t->W + (double)d->R * d->S * d->P * d->Q);
    }
    return s;
}

static struct call call_of(enum op op, const struct geometry *g, float *x, float *y, float *w, float *b)
{
    switch (op) {
    case OP_INVERTED: /* taps behind the first's weights */
        return (struct call){
            .out = {y}, .in = {x, w, b, w + (ptrdiff_t)g->window.K * g->window.C, b}, .g = g};
    case OP_CONV:
    case OP_WINOGRAD:
    case OP_DENSE:
        return (struct call){.out = {y}, .in = {x, w, b}, .g = g};
    case OP_CONV_DX:
    case OP_WINOGRAD_DX:
    case OP_DENSE_DX:
        return (struct call){.out = {x}, .in = {y, w}, .g = g};
    default:
        return (struct call){.out = {w, b}, .in = {y, x}, .g = g, .add = true};
    }
}

static int64_t items_of(const struct kernel *k, const struct call *c)
{
    return k->items ? k->items(c) : c->rows;
}

/* The fastest of runs that take a tenth of a second together, at least three. */
static double fastest(const struct kernel *k, const struct call *c, void *scratch)
{
    double best = 1e9, all = 0;
    for (int i = 0; i < 3 || all < 0.1; i++) {
        double begin = cpu_seconds();
        k->run(c, 0, items_of(k, c), scratch);
        double took = cpu_seconds() - begin;
        all += took;
        best = took < best ? took : best;
    }
    return best;
}

static void time_one(enum op op, const struct kernel *k, const struct timing *t, int rows, double peak,
                     const char *line)
{
    struct geometry g = geometry_of(op, t);
    struct sizes s = sizes_of(op, t, &g, rows);
    float *x = tensor(s.x), *y = tensor(s.y), *w = tensor(s.w), *b = tensor((size_t)t->K);
    struct call c = call_of(op, &g, x, y, w, b);
    void *scratch = tensor((k->scratch ? k->scratch(&g) : 0) / sizeof(float) + 16);
    c.rows = rows;
    c.row = (int64_t)((op == OP_CONV || op == OP_INVERTED || op == OP_DENSE ? s.y : s.x) / (size_t)rows);
    double took = fastest(k, &c, scratch);
    printf("%s %9.3f ms %7.1f GF/s %5.1f %% %6.1f GB/s\n", line, took * 1e3, s.flops / took * 1e-9,
           100 * s.flops / took / peak, (double)(s.x + s.y + s.w) * 4 / took * 1e-9);
    fflush(stdout);
    free(x);
    free(y);
    free(w);
    free(b);
    free(scratch);
}

static int contains_all(const char *line, int count, char **texts)
{
    for (int i = 0; i < count; i++)
        if (!strstr(line, texts[i]))
            return 0;
    return 1;
}

static void time_both(const struct backend *be, enum op op, const struct timing *t, double peak, int count,
                      char **texts)
{
    for (int lanes = 16; lanes >= 1; lanes -= 15) {
        const struct kernel *k = &(lanes > 1 ? be->ops->lane_kernels(be) : be->ops->kernels)[op];
        int rows = lanes > 1 ? lanes * t->blocks : 1;
        char line[128];
        snprintf(line, sizeof line, "%-8s %-5s %4dx%dx%d to %d, %dx%d%s/%d groups %d rows %d", op_name(op),
                 lanes > 1 ? "lanes" : "row", t->C, t->H, t->W, t->K, t->kernel, t->kernel,
                 t->dilation > 1 ? "d" : "", t->stride, t->groups, rows);
        if (k->run && contains_all(line, count, texts))
            time_one(op, k, t, rows, peak, line);
    }
}

int main(int argc, char **argv)
{
    struct backend *be = NULL;
    struct fail why;
    if (backend_open(&be, "cpu", 1, &why)) {
        fprintf(stderr, "kernels: %s\n", why.text);
        return 1;
    }
    double peak = measure_peak();
    printf("%s; peak %.1f GF/s\n", be->text, peak * 1e-9);
    for (size_t i = 0; i < sizeof timings / sizeof *timings; i++)
        for (int k = 0; k < timings[i].count; k++)
            time_both(be, timings[i].op, &timings[i].cases[k], peak, argc - 1, argv + 1);
    backend_close(&be);
    return 0;
}
