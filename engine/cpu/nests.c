/* The operations over loop nests (nest.h) at one lane: the innermost dimension is a line, for which there are loops
 * that the compiler vectorises where operands lie one behind another. Sums fall into eight parts by place in the
 * line, whatever the row. Next to read: lanes_nests.h, the same at sixteen lanes. */
#include <string.h>

#include "engine/cpu/cpu.h"
#include "engine/formula.h"

#define INLINE static inline __attribute__((always_inline))

enum { PARTS = 8, SLICE_KEPT = 16 };

/* The innermost dimension: n elements, strides sy and s. */
struct line {
    int64_t n, sy, s[NEST_INPUTS];
    float *y;
    const float *x[NEST_INPUTS];
    bool add;
};

/* Line of dimension d. An input that is not there stands in for by the first one, unread. */
static struct line line_of(const struct call *c, const struct nest *nest, int d, int64_t row,
                           const struct nest_walk *w)
{
    struct line l = {.n = nest->dim[d], .sy = nest->out.stride[d], .add = c->add};
    l.y = (float *)c->out[0] + row * nest->out.row + nest->out.at + w->out;
    for (int k = 0; k < NEST_INPUTS; k++) {
        int from = c->in[k] ? k : 0;
        l.x[k] = (const float *)c->in[from] + row * nest->in[from].row + nest->in[from].at + w->in[from];
        l.s[k] = nest->in[from].stride[d];
    }
    return l;
}

static bool strides_are(const struct line *l, int64_t sy, int64_t s0, int64_t s1)
{
    return l->sy == sy && l->s[0] == s0 && l->s[1] == s1;
}

/* ---- zip ---- */

INLINE void zip_strided(const enum zip_fn fn, const struct line *l, int64_t sy, int64_t sa, int64_t sb)
{
    float *restrict y = l->y;
    const float *restrict a = l->x[0], *restrict b = l->x[1];
    for (int64_t i = 0; i < l->n; i++)
        y[i * sy] = (l->add ? y[i * sy] : 0) + formula_zip(fn, a[i * sa], b[i * sb]);
}

INLINE void zip_line(const enum zip_fn fn, const struct line *l)
{
    if (strides_are(l, 1, 1, 1))
        zip_strided(fn, l, 1, 1, 1);
    else if (strides_are(l, 1, 1, 0))
        zip_strided(fn, l, 1, 1, 0);
    else
        zip_strided(fn, l, l->sy, l->s[0], l->s[1]);
}

static void zip_line_of(enum zip_fn fn, const struct line *l)
{
    switch (fn) {
    case ZIP_ADD:
        zip_line(ZIP_ADD, l);
        break;
    case ZIP_SUB:
        zip_line(ZIP_SUB, l);
        break;
    case ZIP_MUL:
        zip_line(ZIP_MUL, l);
        break;
    case ZIP_DIV:
        zip_line(ZIP_DIV, l);
        break;
    default:
        zip_line(ZIP_PRELU, l);
    }
}

CPU_KERNEL(cpu_zip)
{
    const struct nest *nest = &c->g->zip.nest;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        do {
            struct line l = line_of(c, nest, nest->kept - 1, n, &w);
            zip_line_of(c->g->zip.fn, &l);
        } while (nest_next(nest, 0, nest->kept - 1, &w));
    }
}

/* ---- zip_back: slopes of a line, or their sum ---- */

INLINE void slopes_strided(const enum zip_fn fn, const int side, const struct line *l, int64_t sy, int64_t s0,
                           int64_t s1, int64_t s2)
{
    float *restrict y = l->y;
    const float *restrict dy = l->x[0], *restrict a = l->x[1], *restrict b = l->x[2];
    for (int64_t i = 0; i < l->n; i++)
        y[i * sy] = (l->add ? y[i * sy] : 0) + formula_zip_back(fn, side, dy[i * s0], a[i * s1], b[i * s2]);
}

INLINE float sum_strided(const enum zip_fn fn, const int side, const struct line *l, int64_t s0, int64_t s1,
                         int64_t s2)
{
    const float *restrict dy = l->x[0], *restrict a = l->x[1], *restrict b = l->x[2];
    float part[PARTS] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + PARTS <= l->n; i += PARTS)
        for (int k = 0; k < PARTS; k++)
            part[k] += formula_zip_back(fn, side, dy[(i + k) * s0], a[(i + k) * s1], b[(i + k) * s2]);
    for (; i < l->n; i++)
        sum += formula_zip_back(fn, side, dy[i * s0], a[i * s1], b[i * s2]);
    for (int k = 0; k < PARTS; k++)
        sum += part[k];
    return sum;
}

/* With `sum`, returns the sum of the line's slopes; else writes them. */
INLINE float slopes(const enum zip_fn fn, const int side, const struct line *l, bool sum)
{
    bool plain = l->s[0] == 1 && l->s[1] == 1;
    if (sum)
        return plain && l->s[2] == 1   ? sum_strided(fn, side, l, 1, 1, 1)
               : plain && l->s[2] == 0 ? sum_strided(fn, side, l, 1, 1, 0)
                                       : sum_strided(fn, side, l, l->s[0], l->s[1], l->s[2]);
    if (plain && l->sy == 1 && l->s[2] == 1)
        slopes_strided(fn, side, l, 1, 1, 1, 1);
    else if (plain && l->sy == 1 && l->s[2] == 0)
        slopes_strided(fn, side, l, 1, 1, 1, 0);
    else
        slopes_strided(fn, side, l, l->sy, l->s[0], l->s[1], l->s[2]);
    return 0;
}

static float slopes_of(const struct zip *z, const struct line *l, bool sum)
{
    switch (2 * (int)z->fn + z->side) {
    case 2 * ZIP_ADD:
    case 2 * ZIP_ADD + 1:
    case 2 * ZIP_SUB:
        return slopes(ZIP_ADD, 0, l, sum);
    case 2 * ZIP_SUB + 1:
        return slopes(ZIP_SUB, 1, l, sum);
    case 2 * ZIP_MUL:
        return slopes(ZIP_MUL, 0, l, sum);
    case 2 * ZIP_MUL + 1:
        return slopes(ZIP_MUL, 1, l, sum);
    case 2 * ZIP_DIV:
        return slopes(ZIP_DIV, 0, l, sum);
    case 2 * ZIP_DIV + 1:
        return slopes(ZIP_DIV, 1, l, sum);
    case 2 * ZIP_PRELU:
        return slopes(ZIP_PRELU, 0, l, sum);
    default:
        return slopes(ZIP_PRELU, 1, l, sum);
    }
}

/* Sum over the summed dimensions for row n and the element where w stands. */
static double slope_sum(const struct call *c, int64_t n, struct nest_walk *w)
{
    const struct nest *nest = &c->g->zip.nest;
    double sum = 0;
    do {
        struct line l = line_of(c, nest, nest->rank - 1, n, w);
        sum += (double)slopes_of(&c->g->zip, &l, true);
    } while (nest_next(nest, nest->kept, nest->rank - 1, w));
    return sum;
}

CPU_KERNEL(cpu_zip_back)
{
    const struct nest *nest = &c->g->zip.nest;
    bool summed = nest_count(nest, nest->kept, nest->rank) > 1;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        float *y = (float *)c->out[0] + n * nest->out.row + nest->out.at;
        do {
            if (summed) {
                y[w.out] = (c->add ? y[w.out] : 0) + (float)slope_sum(c, n, &w);
                continue;
            }
            struct line l = line_of(c, nest, nest->kept - 1, n, &w);
            slopes_of(&c->g->zip, &l, false);
        } while (nest_next(nest, 0, nest->kept - !summed, &w));
    }
}

int64_t cpu_zip_slices(const struct call *c)
{
    const struct nest *nest = &c->g->zip.nest;
    return (nest_count(nest, 0, nest->kept) + SLICE_KEPT - 1) / SLICE_KEPT;
}

CPU_KERNEL(cpu_zip_dw)
{
    const struct nest *nest = &c->g->zip.nest;
    int64_t count = nest_count(nest, 0, nest->kept), to = end * SLICE_KEPT < count ? end * SLICE_KEPT : count;
    struct nest_walk w = {.out = 0};
    (void)scratch;
    nest_seek(nest, 0, nest->kept, begin * SLICE_KEPT, &w);
    for (int64_t i = begin * SLICE_KEPT; i < to; i++, nest_next(nest, 0, nest->kept, &w)) {
        double sum = 0;
        for (int64_t n = 0; n < c->rows; n++)
            sum += slope_sum(c, n, &w);
        ((float *)c->out[0])[nest->out.at + w.out] += (float)sum;
    }
}

/* ---- view ---- */

static void view_line(const struct line *l, float scale)
{
    float *restrict y = l->y;
    const float *restrict x = l->x[0];
    if (l->sy == 1 && l->s[0] == 1 && scale == 1 && !l->add)
        memcpy(y, x, (size_t)l->n * sizeof *y);
    else if (l->sy == 1 && l->s[0] == 1)
        for (int64_t i = 0; i < l->n; i++)
            y[i] = (l->add ? y[i] : 0) + scale * x[i];
    else
        for (int64_t i = 0; i < l->n; i++)
            y[i * l->sy] = (l->add ? y[i * l->sy] : 0) + scale * x[i * l->s[0]];
}

CPU_KERNEL(cpu_view)
{
    const struct view *v = &c->g->view;
    bool fill = !c->add && (v->cover == VIEW_FILL || v->cover == VIEW_SUM);
    float with = v->cover == VIEW_SUM ? 0 : v->fill;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        float *y = (float *)c->out[0] + n * c->row;
        for (int64_t i = 0; fill && i < c->row; i++)
            y[i] = with;
        do {
            struct line l = line_of(c, &v->nest, v->nest.kept - 1, n, &w);
            l.add = l.add || v->cover == VIEW_SUM;
            view_line(&l, v->scale);
        } while (nest_next(&v->nest, 0, v->nest.kept - 1, &w));
    }
}

/* ---- reduce ---- */

static float line_sum(const struct line *l)
{
    const float *x = l->x[0];
    float part[PARTS] = {0}, sum = 0;
    int64_t i = 0, s = l->s[0];
    for (; i + PARTS <= l->n && s == 1; i += PARTS)
        for (int k = 0; k < PARTS; k++)
            part[k] += x[i + k];
    for (; i + PARTS <= l->n; i += PARTS)
        for (int k = 0; k < PARTS; k++)
            part[k] += x[(i + k) * s];
    for (; i < l->n; i++)
        sum += x[i * s];
    for (int k = 0; k < PARTS; k++)
        sum += part[k];
    return sum;
}

static double sum_at(const struct call *c, int64_t n, struct nest_walk *w)
{
    const struct nest *nest = &c->g->reduce.nest;
    double sum = 0;
    do {
        struct line l = line_of(c, nest, nest->rank - 1, n, w);
        sum += (double)line_sum(&l);
    } while (nest_next(nest, nest->kept, nest->rank - 1, w));
    return sum;
}

/* The greatest (least) of input k over the summed dimensions, and which it is. */
static float chosen_at(const struct call *c, int k, int64_t n, struct nest_walk *w, int64_t *which)
{
    const struct reduce *r = &c->g->reduce;
    const float *x = (const float *)c->in[k] + n * r->nest.in[k].row + r->nest.in[k].at;
    float best = x[w->in[k]];
    *which = 0;
    for (int64_t j = 1; nest_next(&r->nest, r->nest.kept, r->nest.rank, w); j++)
        if (formula_reduce_takes(r->fn, r->last, x[w->in[k]], best)) {
            best = x[w->in[k]];
            *which = j;
        }
    return best;
}

CPU_KERNEL(cpu_reduce)
{
    const struct reduce *r = &c->g->reduce;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        float *y = (float *)c->out[0] + n * r->nest.out.row + r->nest.out.at;
        do {
            int64_t which;
            float v =
                r->fn == REDUCE_SUM ? r->scale * (float)sum_at(c, n, &w) : chosen_at(c, 0, n, &w, &which);
            v = r->fn >= REDUCE_ARGMAX ? (float)which : v;
            y[w.out] = (c->add ? y[w.out] : 0) + v;
        } while (nest_next(&r->nest, 0, r->nest.kept, &w));
    }
}

CPU_KERNEL(cpu_reduce_back)
{
    const struct nest *nest = &c->g->reduce.nest;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        float *dx = (float *)c->out[0] + n * nest->out.row + nest->out.at;
        const float *dy = (const float *)c->in[0] + n * nest->in[0].row + nest->in[0].at;
        do {
            int64_t which, j = 0;
            chosen_at(c, 1, n, &w, &which);
            do
                dx[w.out] = (c->add ? dx[w.out] : 0) + (j++ == which ? dy[w.in[0]] : 0);
            while (nest_next(nest, nest->kept, nest->rank, &w));
        } while (nest_next(nest, 0, nest->kept, &w));
    }
}
