/* Recording the operations over loop nests: zip, view and reduce. Their nests come from the shapes of the values.
 * The others are in recorder.c. */
#include "engine/plan.h"

static const struct value none;

#define OUT(...) ((const struct value[OP_OUT]){__VA_ARGS__})
#define IN(...)  ((const struct value[OP_IN]){__VA_ARGS__})

static bool is_parameter(const struct recorder *r, struct value v)
{
    enum store store = r->plan->values[v.id].store;
    return store == STORE_PARAM || store == STORE_STATE || store == STORE_GRADIENT;
}

/* The value as an operand of a nest over a shape that it broadcasts to. */
static struct nest_operand operand(const struct recorder *r, struct value v, struct shape over)
{
    struct nest_operand o = nest_broadcast(r->plan->values[v.id].row, over);
    if (is_parameter(r, v))
        o.row = 0;
    return o;
}

static struct shape row_of(const struct recorder *r, struct value v)
{
    return r->plan->values[v.id].row;
}

/* ---- zip ---- */

void record_zip(struct recorder *r, struct value y, struct value a, struct value b, enum zip_fn fn)
{
    if (r->rc || !y.id)
        return;
    struct shape over = row_of(r, y);
    struct geometry g = {.zip = {.fn = fn, .nest = nest_over(over)}};
    g.zip.nest.out = operand(r, y, over);
    g.zip.nest.in[0] = operand(r, a, over);
    g.zip.nest.in[1] = operand(r, b, over);
    nest_merge(&g.zip.nest);
    plan_record(r, OP_ZIP, OUT(y), IN(a, b), &g);
}

static bool needs_a(enum zip_fn fn, int side)
{
    return fn == ZIP_PRELU || (side && (fn == ZIP_MUL || fn == ZIP_DIV));
}

static bool needs_b(enum zip_fn fn, int side)
{
    return fn == ZIP_DIV || (!side && (fn == ZIP_MUL || fn == ZIP_PRELU));
}

void record_zip_back(struct recorder *r, struct value d, int side, struct value dy, struct value a,
                     struct value b, enum zip_fn fn)
{
    if (r->rc || !d.id)
        return;
    struct shape over = row_of(r, dy);
    bool sum[NEST_DIMS] = {false}, parameter = is_parameter(r, d);
    struct geometry g = {.zip = {.fn = fn, .side = side, .nest = nest_over(over)}};
    struct nest *n = &g.zip.nest;
    if (!parameter && shape_equal(row_of(r, d), over) && (fn == ZIP_ADD || (fn == ZIP_SUB && !side))) {
        record_copy(r, d, dy);
        return;
    }
    a = needs_a(fn, side) ? a : none;
    b = needs_b(fn, side) ? b : none;
    n->out = operand(r, d, over);
    n->in[0] = operand(r, dy, over);
    n->in[1] = a.id ? operand(r, a, over) : n->in[0];
    n->in[2] = b.id ? operand(r, b, over) : n->in[0];
    for (int i = 0; i < over.rank; i++)
        sum[i] = n->out.stride[i] == 0 && over.dim[i] > 1;
    nest_sum(n, sum);
    nest_merge(n);
    plan_record(r, parameter ? OP_ZIP_DW : OP_ZIP_BACK, OUT(d), IN(dy, a, b), &g);
}

/* ---- view ---- */

void record_view(struct recorder *r, struct value y, struct value x, const struct view *view)
{
    struct geometry g = {.view = *view};
    if (r->rc || !y.id)
        return;
    g.view.nest.out.row = r->plan->values[y.id].size;
    g.view.nest.in[0].row = r->plan->values[x.id].size;
    nest_merge(&g.view.nest);
    struct step *s = plan_record(r, OP_VIEW, OUT(y), IN(x), &g);
    if (s && view->cover == VIEW_PART)
        s->add = false;
}

void view_turn(struct view *v, enum view_cover cover, float fill)
{
    struct nest_operand out = v->nest.out;
    v->nest.out = v->nest.in[0];
    v->nest.in[0] = out;
    v->cover = cover;
    v->fill = fill;
}

/* ---- reduce ---- */

/* Strides of the result, in C order over the dimensions that stay. */
static struct nest_operand reduced(struct shape x, const bool *axes)
{
    struct nest_operand o = {.row = 1};
    for (int d = x.rank - 1; d >= 0; d--)
        if (!axes[d]) {
            o.stride[d] = o.row;
            o.row *= x.dim[d];
        }
    return o;
}

void record_reduce(struct recorder *r, struct value y, struct value x, const bool *axes, enum reduce_fn fn,
                   float scale, bool last)
{
    if (r->rc || !y.id)
        return;
    struct shape over = row_of(r, x);
    struct geometry g = {.reduce = {.fn = fn, .scale = scale, .last = last, .nest = nest_over(over)}};
    g.reduce.nest.out = reduced(over, axes);
    g.reduce.nest.in[0] = operand(r, x, over);
    nest_sum(&g.reduce.nest, axes);
    nest_merge(&g.reduce.nest);
    plan_record(r, OP_REDUCE, OUT(y), IN(x), &g);
}

void record_reduce_back(struct recorder *r, struct value dx, struct value dy, struct value x,
                        const bool *axes, enum reduce_fn fn, float scale)
{
    if (r->rc || !dx.id)
        return;
    struct shape over = row_of(r, x);
    if (fn == REDUCE_SUM) {
        struct view v = {.cover = VIEW_WHOLE, .scale = scale, .nest = nest_over(over)};
        v.nest.out = operand(r, dx, over);
        v.nest.in[0] = reduced(over, axes);
        record_view(r, dx, dy, &v);
        return;
    }
    struct geometry g = {.reduce = {.fn = fn, .scale = 1, .nest = nest_over(over)}};
    g.reduce.nest.out = operand(r, dx, over);
    g.reduce.nest.in[0] = reduced(over, axes);
    g.reduce.nest.in[1] = operand(r, x, over);
    nest_sum(&g.reduce.nest, axes);
    nest_merge(&g.reduce.nest);
    plan_record(r, OP_REDUCE_BACK, OUT(dx), IN(dy, x), &g);
}
