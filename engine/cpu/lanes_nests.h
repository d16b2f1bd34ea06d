/* The operations over loop nests (nest.h) at sixteen lanes: an element is sixteen rows' values side by side, of a
 * parameter one value for all. Included after lanes_conv.h. The same at one lane: nests.c. */
#include "engine/cpu/cpu.h"

/* Of an operand at lanes: floats from one index to the next. */
INLINE int64_t lane_stride(const struct nest_operand *o, int d)
{
    return o->row ? o->stride[d] * LANES : o->stride[d];
}

/* Its element where an offset says, in block n. */
INLINE int64_t lane_at(const struct nest_operand *o, int64_t n, int64_t offset)
{
    return o->row ? (n * o->row + o->at + offset) * LANES : o->at + offset;
}

INLINE vec lane_get(const float *x, bool rows)
{
    vec v = vec_of(*x);
    if (rows)
        v = *(const vec *)x;
    return v;
}

struct lane_line {
    int64_t n, sy, s[NEST_INPUTS];
    float *y;
    const float *x[NEST_INPUTS];
    bool rows[NEST_INPUTS], add;
};

/* The line of dimension d at the place of w in block n. An input that is not there is the first one, unread. */
static struct lane_line lane_line(const struct call *c, const struct nest *nest, int d, int64_t n,
                                  const struct nest_walk *w)
{
    struct lane_line l = {.n = nest->dim[d], .sy = lane_stride(&nest->out, d), .add = c->add};
    l.y = (float *)c->out[0] + lane_at(&nest->out, n, w->out);
    for (int k = 0; k < NEST_INPUTS; k++) {
        int from = c->in[k] ? k : 0;
        l.x[k] = (const float *)c->in[from] + lane_at(&nest->in[from], n, w->in[from]);
        l.s[k] = lane_stride(&nest->in[from], d);
        l.rows[k] = nest->in[from].row != 0;
    }
    return l;
}

INLINE vec lane_input(const struct lane_line *l, int k, int64_t i, int part)
{
    return lane_get(l->x[k] + i * l->s[k] + (l->rows[k] ? part : 0), l->rows[k]);
}

INLINE void lane_put(const struct lane_line *l, int64_t i, int part, vec v)
{
    vec_put(l->y + i * l->sy + part, v, l->add);
}

/* Rows of block n that there are. */
static int lanes_live(const struct call *c, int64_t n)
{
    int64_t live = c->rows - n * LANES;
    return live < LANES ? (int)live : LANES;
}

/* Zeros where there is no row, for functions that make infinities of zeros: a gradient would multiply them by 0. Of
 * values begin..end-1, those of a block behind those of the one before. */
static void clear_dead(const struct call *c, int64_t begin, int64_t end)
{
    int64_t last = lanes_blocks(c->rows) - 1;
    for (int64_t i = begin < last * c->row ? last * c->row : begin; i < end; i++)
        for (int l = lanes_live(c, last); l < LANES; l++)
            ((float *)c->out[0])[i * LANES + l] = 0;
}

/* ---- zip ---- */

INLINE vec vec_zip(const enum zip_fn fn, vec a, vec b)
{
    switch (fn) {
    case ZIP_ADD:
        return a + b;
    case ZIP_SUB:
        return a - b;
    case ZIP_MUL:
        return a * b;
    case ZIP_DIV:
        return a / b;
    default:
        return choose(a < 0, a * b, a);
    }
}

INLINE vec vec_zip_back(const enum zip_fn fn, const int side, vec dy, vec a, vec b)
{
    switch (fn) {
    case ZIP_ADD:
        return dy;
    case ZIP_SUB:
        return side ? -dy : dy;
    case ZIP_MUL:
        return dy * (side ? a : b);
    case ZIP_DIV:
        return side ? -dy * a / (b * b) : dy / b;
    default:
        return side ? choose(a > 0, (vec){0}, dy * a) : choose(a > 0, dy, dy * b);
    }
}

INLINE void lane_zip_line(const enum zip_fn fn, const struct lane_line *l)
{
    for (int64_t i = 0; i < l->n; i++)
        for (int part = 0; part < LANES; part += LANES_WIDTH)
            lane_put(l, i, part, vec_zip(fn, lane_input(l, 0, i, part), lane_input(l, 1, i, part)));
}

static void lane_zip_line_of(enum zip_fn fn, const struct lane_line *l)
{
    switch (fn) {
    case ZIP_ADD:
        lane_zip_line(ZIP_ADD, l);
        break;
    case ZIP_SUB:
        lane_zip_line(ZIP_SUB, l);
        break;
    case ZIP_MUL:
        lane_zip_line(ZIP_MUL, l);
        break;
    case ZIP_DIV:
        lane_zip_line(ZIP_DIV, l);
        break;
    default:
        lane_zip_line(ZIP_PRELU, l);
    }
}

static void lanes_zip(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct nest *nest = &c->g->zip.nest;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        do {
            struct lane_line l = lane_line(c, nest, nest->kept - 1, n, &w);
            lane_zip_line_of(c->g->zip.fn, &l);
        } while (nest_next(nest, 0, nest->kept - 1, &w));
    }
    if (c->g->zip.fn == ZIP_DIV)
        clear_dead(c, begin * c->row, end * c->row);
}

/* Sixteen lanes' sums. */
struct lane_sum {
    vec v[LANES / LANES_WIDTH];
};

/* With `sum`, adds the line's slopes up into it; else writes them. */
INLINE void lane_slopes(const enum zip_fn fn, const int side, const struct lane_line *l, struct lane_sum *sum)
{
    for (int part = 0; part < LANES; part += LANES_WIDTH) {
        vec total = {0};
        for (int64_t i = 0; i < l->n; i++) {
            vec v = vec_zip_back(fn, side, lane_input(l, 0, i, part), lane_input(l, 1, i, part),
                                 lane_input(l, 2, i, part));
            if (sum)
                total += v;
            else
                lane_put(l, i, part, v);
        }
        if (sum)
            sum->v[part / LANES_WIDTH] += total;
    }
}

static void lane_slopes_of(const struct zip *z, const struct lane_line *l, struct lane_sum *sum)
{
    switch (2 * (int)z->fn + z->side) {
    case 2 * ZIP_ADD:
    case 2 * ZIP_ADD + 1:
    case 2 * ZIP_SUB:
        lane_slopes(ZIP_ADD, 0, l, sum);
        break;
    case 2 * ZIP_SUB + 1:
        lane_slopes(ZIP_SUB, 1, l, sum);
        break;
    case 2 * ZIP_MUL:
        lane_slopes(ZIP_MUL, 0, l, sum);
        break;
    case 2 * ZIP_MUL + 1:
        lane_slopes(ZIP_MUL, 1, l, sum);
        break;
    case 2 * ZIP_DIV:
        lane_slopes(ZIP_DIV, 0, l, sum);
        break;
    case 2 * ZIP_DIV + 1:
        lane_slopes(ZIP_DIV, 1, l, sum);
        break;
    case 2 * ZIP_PRELU:
        lane_slopes(ZIP_PRELU, 0, l, sum);
        break;
    default:
        lane_slopes(ZIP_PRELU, 1, l, sum);
    }
}

/* The sum over the summed dimensions in block n of the element where w stands. */
static struct lane_sum lane_slope_sum(const struct call *c, int64_t n, struct nest_walk *w)
{
    const struct nest *nest = &c->g->zip.nest;
    struct lane_sum sum = {0};
    do {
        struct lane_line l = lane_line(c, nest, nest->rank - 1, n, w);
        lane_slopes_of(&c->g->zip, &l, &sum);
    } while (nest_next(nest, nest->kept, nest->rank - 1, w));
    return sum;
}

static void lane_put_sum(const struct call *c, float *y, const struct lane_sum *sum)
{
    for (int k = 0; k < LANES / LANES_WIDTH; k++)
        vec_put(y + k * LANES_WIDTH, sum->v[k], c->add);
}

static void lanes_zip_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct nest *nest = &c->g->zip.nest;
    bool summed = nest_count(nest, nest->kept, nest->rank) > 1;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        do {
            if (summed) {
                struct lane_sum sum = lane_slope_sum(c, n, &w);
                lane_put_sum(c, (float *)c->out[0] + lane_at(&nest->out, n, w.out), &sum);
                continue;
            }
            struct lane_line l = lane_line(c, nest, nest->kept - 1, n, &w);
            lane_slopes_of(&c->g->zip, &l, NULL);
        } while (nest_next(nest, 0, nest->kept - !summed, &w));
    }
    if (c->g->zip.fn == ZIP_DIV)
        clear_dead(c, begin * c->row, end * c->row);
}

/* The lanes that are rows, in order; the others may hold anything. */
static float lane_total(const struct lane_sum *sum, int live)
{
    float total = 0, v[LANES];
    memcpy(v, sum, sizeof v);
    for (int l = 0; l < live; l++)
        total += v[l];
    return total;
}

/* Full blocks add up lane by lane, a last one that is not full apart. */
static void lanes_zip_dw(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct nest *nest = &c->g->zip.nest;
    int64_t count = nest_count(nest, 0, nest->kept), blocks = lanes_blocks(c->rows);
    struct nest_walk w = {.out = 0};
    (void)scratch;
    nest_seek(nest, 0, nest->kept, begin * LANES, &w);
    for (int64_t i = begin * LANES; i < count && i < end * LANES; i++, nest_next(nest, 0, nest->kept, &w)) {
        struct lane_sum sum = {0};
        float last = 0;
        for (int64_t n = 0; n < blocks; n++) {
            struct lane_sum one = lane_slope_sum(c, n, &w);
            if (lanes_live(c, n) < LANES)
                last = lane_total(&one, lanes_live(c, n));
            for (int k = 0; k < LANES / LANES_WIDTH && lanes_live(c, n) == LANES; k++)
                sum.v[k] += one.v[k];
        }
        ((float *)c->out[0])[nest->out.at + w.out] += lane_total(&sum, LANES) + last;
    }
}

static int64_t lanes_zip_dw_items(const struct call *c)
{
    const struct nest *nest = &c->g->zip.nest;
    return (nest_count(nest, 0, nest->kept) + LANES - 1) / LANES;
}

/* ---- view ---- */

static void lane_view_line(const struct lane_line *l, float scale)
{
    if (l->sy == LANES && l->s[0] == LANES && scale == 1 && !l->add) {
        memcpy(l->y, l->x[0], (size_t)l->n * LANES * sizeof *l->y);
        return;
    }
    for (int64_t i = 0; i < l->n; i++)
        for (int part = 0; part < LANES; part += LANES_WIDTH)
            lane_put(l, i, part, scale * lane_input(l, 0, i, part));
}

static void lanes_view(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct view *v = &c->g->view;
    bool fill = !c->add && (v->cover == VIEW_FILL || v->cover == VIEW_SUM);
    float with = v->cover == VIEW_SUM ? 0 : v->fill;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        float *y = (float *)c->out[0] + n * c->row * LANES;
        for (int64_t i = 0; fill && i < c->row * LANES; i++)
            y[i] = with;
        do {
            struct lane_line l = lane_line(c, &v->nest, v->nest.kept - 1, n, &w);
            l.add = l.add || v->cover == VIEW_SUM;
            lane_view_line(&l, v->scale);
        } while (nest_next(&v->nest, 0, v->nest.kept - 1, &w));
    }
}

/* ---- reduce ---- */

/* formula_reduce_takes for a vector. */
INLINE ivec reduce_takes(const struct reduce *r, vec x, vec sofar)
{
    bool greatest = r->fn == REDUCE_MAX || r->fn == REDUCE_ARGMAX;
    ivec better = greatest ? x > sofar : x < sofar, equal = x == sofar;
    return (better | (x != x) | (r->last ? equal : (ivec){0})) & (sofar == sofar);
}

/* The greatest (least) of input k over the summed dimensions, and which it is, for a part of the lanes. */
struct lane_chosen {
    vec value;
    ivec which;
};

static struct lane_chosen lane_choose(const struct call *c, int k, int64_t n, int part, struct nest_walk *w)
{
    const struct reduce *r = &c->g->reduce;
    const float *x = (const float *)c->in[k] + lane_at(&r->nest.in[k], n, 0) + part;
    struct lane_chosen best = {*(const vec *)(x + w->in[k] * LANES), {0}};
    for (int j = 1; nest_next(&r->nest, r->nest.kept, r->nest.rank, w); j++) {
        vec v = *(const vec *)(x + w->in[k] * LANES);
        ivec takes_over = reduce_takes(r, v, best.value);
        best.value = choose(takes_over, v, best.value);
        best.which = (((ivec){0} + j) & takes_over) | (best.which & ~takes_over);
    }
    return best;
}

static vec lane_sum_at(const struct call *c, int64_t n, int part, struct nest_walk *w)
{
    const struct nest *nest = &c->g->reduce.nest;
    vec sum = {0};
    do {
        const float *x = (const float *)c->in[0] + lane_at(&nest->in[0], n, w->in[0]) + part;
        int64_t stride = lane_stride(&nest->in[0], nest->rank - 1);
        vec line = {0};
        for (int64_t i = 0; i < nest->dim[nest->rank - 1]; i++)
            line += *(const vec *)(x + i * stride);
        sum += line;
    } while (nest_next(nest, nest->kept, nest->rank - 1, w));
    return sum;
}

static vec lane_reduced(const struct call *c, int64_t n, int part, struct nest_walk *w)
{
    const struct reduce *r = &c->g->reduce;
    if (r->fn == REDUCE_SUM)
        return r->scale * lane_sum_at(c, n, part, w);
    struct lane_chosen best = lane_choose(c, 0, n, part, w);
    return r->fn >= REDUCE_ARGMAX ? __builtin_convertvector(best.which, vec) : best.value;
}

static void lanes_reduce(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct nest *nest = &c->g->reduce.nest;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        do
            for (int part = 0; part < LANES; part += LANES_WIDTH) {
                float *y = (float *)c->out[0] + lane_at(&nest->out, n, w.out) + part;
                vec_put(y, lane_reduced(c, n, part, &w), c->add);
            }
        while (nest_next(nest, 0, nest->kept, &w));
    }
}

static void lanes_reduce_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct nest *nest = &c->g->reduce.nest;
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        struct nest_walk w = {.out = 0};
        do
            for (int part = 0; part < LANES; part += LANES_WIDTH) {
                struct lane_chosen best = lane_choose(c, 1, n, part, &w);
                ivec dy = (ivec) *
                          (const vec *)((const float *)c->in[0] + lane_at(&nest->in[0], n, w.in[0]) + part);
                int j = 0;
                do {
                    float *dx = (float *)c->out[0] + lane_at(&nest->out, n, w.out) + part;
                    vec_put(dx, (vec)(dy & (best.which == j++)), c->add);
                } while (nest_next(nest, nest->kept, nest->rank, &w));
            }
        while (nest_next(nest, 0, nest->kept, &w));
    }
}
