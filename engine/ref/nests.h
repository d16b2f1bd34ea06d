/* The operations over loop nests (nest.h), as the loops that define them; sums in double. Included by kernels.h.
 * A dimension's letter is not known here: i runs over what is kept, j over what is summed. */
#include "engine/ref/windows.h"

/* Element (i, j) of row n of an operand. */
EVERYWHERE int64_t nest_at(const struct nest *nest, const struct nest_operand *o, int64_t n, int64_t i,
                           int64_t j)
{
    int64_t at = n * o->row + o->at;
    for (int d = nest->rank - 1; d >= nest->kept; j /= nest->dim[d--])
        at += j % nest->dim[d] * o->stride[d];
    for (int d = nest->kept - 1; d >= 0; i /= nest->dim[d--])
        at += i % nest->dim[d] * o->stride[d];
    return at;
}

EVERYWHERE double nest_in(const struct call *c, const struct nest *nest, int k, int64_t n, int64_t i,
                          int64_t j)
{
    const real *x = (const real *)c->in[k];
    return x ? (double)x[nest_at(nest, &nest->in[k], n, i, j)] : 0;
}

EVERYWHERE int64_t kept_of(const struct nest *nest)
{
    return nest_count(nest, 0, nest->kept);
}

EVERYWHERE int64_t summed_of(const struct nest *nest)
{
    return nest_count(nest, nest->kept, nest->rank);
}

/* y[i] = f(a[i], b[i]) */
EVERYWHERE void zip_at(const struct call *c, int64_t n, int64_t i)
{
    const struct zip *z = &c->g->zip;
    real a = (real)nest_in(c, &z->nest, 0, n, i, 0), b = (real)nest_in(c, &z->nest, 1, n, i, 0);
    put((real *)c->out[0] + nest_at(&z->nest, &z->nest.out, n, i, 0), (double)formula_zip(z->fn, a, b),
        c->add);
}

/* sum over j of dy f'(a, b) for row n, element i of the operand */
EVERYWHERE double zip_slope(const struct call *c, int64_t n, int64_t i)
{
    const struct zip *z = &c->g->zip;
    double sum = 0;
    for (int64_t j = 0; j < summed_of(&z->nest); j++)
        sum += (double)formula_zip_back(z->fn, z->side, (real)nest_in(c, &z->nest, 0, n, i, j),
                                        (real)nest_in(c, &z->nest, 1, n, i, j),
                                        (real)nest_in(c, &z->nest, 2, n, i, j));
    return sum;
}

/* d[n][i] = sum over j of dy f' */
EVERYWHERE void zip_back_at(const struct call *c, int64_t n, int64_t i)
{
    const struct nest *nest = &c->g->zip.nest;
    put((real *)c->out[0] + nest_at(nest, &nest->out, n, i, 0), zip_slope(c, n, i), c->add);
}

/* d[i] += the sum over n, j of dy f' */
EVERYWHERE void zip_dw_put(const struct call *c, int64_t i, double sum)
{
    const struct nest *nest = &c->g->zip.nest;
    put((real *)c->out[0] + nest_at(nest, &nest->out, 0, i, 0), sum, true);
}

/* What row n has beside what the nest writes: view_cover. */
EVERYWHERE bool view_fills(const struct call *c)
{
    const struct view *v = &c->g->view;
    return !c->add && (v->cover == VIEW_FILL || v->cover == VIEW_SUM);
}

EVERYWHERE void view_fill_at(const struct call *c, int64_t n, int64_t i)
{
    const struct view *v = &c->g->view;
    ((real *)c->out[0])[n * c->row + i] = v->cover == VIEW_SUM ? 0 : (real)v->fill;
}

/* y[i] = scale x[i] */
EVERYWHERE void view_nest_at(const struct call *c, int64_t n, int64_t i)
{
    const struct view *v = &c->g->view;
    put((real *)c->out[0] + nest_at(&v->nest, &v->nest.out, n, i, 0),
        (double)v->scale * nest_in(c, &v->nest, 0, n, i, 0), c->add || v->cover == VIEW_SUM);
}

/* The j of the greatest (least) in[k][i, j]. */
EVERYWHERE int64_t reduce_chosen(const struct call *c, int k, int64_t n, int64_t i)
{
    const struct reduce *r = &c->g->reduce;
    int64_t best = 0;
    for (int64_t j = 1; j < summed_of(&r->nest); j++)
        if (formula_reduce_takes(r->fn, r->last, (real)nest_in(c, &r->nest, k, n, i, j),
                                 (real)nest_in(c, &r->nest, k, n, i, best)))
            best = j;
    return best;
}

/* y[i] = scale * sum over j of x[i, j], or the greatest or least, or its j */
EVERYWHERE void reduce_at(const struct call *c, int64_t n, int64_t i)
{
    const struct reduce *r = &c->g->reduce;
    double y = 0;
    if (r->fn == REDUCE_SUM) {
        for (int64_t j = 0; j < summed_of(&r->nest); j++)
            y += nest_in(c, &r->nest, 0, n, i, j);
        y *= (double)r->scale;
    } else {
        int64_t j = reduce_chosen(c, 0, n, i);
        y = r->fn >= REDUCE_ARGMAX ? (double)j : nest_in(c, &r->nest, 0, n, i, j);
    }
    put((real *)c->out[0] + nest_at(&r->nest, &r->nest.out, n, i, 0), y, c->add);
}

/* dx[i, j] = dy[i] where x[i, j] was chosen, else 0 */
EVERYWHERE void reduce_back_at(const struct call *c, int64_t n, int64_t i)
{
    const struct nest *nest = &c->g->reduce.nest;
    int64_t chosen = reduce_chosen(c, 1, n, i);
    for (int64_t j = 0; j < summed_of(nest); j++)
        put((real *)c->out[0] + nest_at(nest, &nest->out, n, i, j),
            j == chosen ? nest_in(c, nest, 0, n, i, 0) : 0, c->add);
}
