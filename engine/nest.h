/* Loop nests over strided operands: how zip, view and reduce see a row. Layers and the recorder make them from
 * shapes with the functions here; kernels walk them.
 *   for every index of the dimensions 0..kept-1:
 *       out[index] = what the operation makes of in[index, other], over all others in the dimensions kept..rank-1
 * Next to read: op.h, whose geometries hold nests. */
#ifndef ENGINE_NEST_H
#define ENGINE_NEST_H

#include "engine/everywhere.h"
#include "engine/tensor.h"

enum { NEST_DIMS = SHAPE_DIMS + 1, NEST_INPUTS = 3 };

/* Where an operand's elements lie: `at` + sum of index * stride. A stride of 0 repeats (inputs) or adds up
 * (outputs of a view that adds); it may be negative. */
struct nest_operand {
    int64_t row; /* elements of a row; 0: a parameter, one for all rows */
    int64_t at;
    int64_t stride[NEST_DIMS];
};

struct nest {
    int rank, kept; /* at least one of each */
    int64_t dim[NEST_DIMS];
    struct nest_operand out, in[NEST_INPUTS];
};

/* ---- making ---- */

/* All dimensions kept; operands are still to be filled in. */
struct nest nest_over(struct shape s);
/* An operand of shape s in C order, repeated to the shape `over` by numpy's rule: aligned at the last dimension,
 * 1 repeats. The caller has checked that it fits. */
struct nest_operand nest_broadcast(struct shape s, struct shape over);
/* The shape that two broadcast to; false when they do not. */
bool nest_common(struct shape a, struct shape b, struct shape *out);
/* Dimensions for which sum[d] is set come after the others; `kept` is how many stay before. */
void nest_sum(struct nest *n, const bool *sum);
/* Joins neighbours that all operands walk as one, so that the innermost loop is long. For when all is set. */
void nest_merge(struct nest *n);

/* ---- walking: offsets beside `at`, beginning with zeros ---- */

struct nest_walk {
    int64_t index[NEST_DIMS], out, in[NEST_INPUTS];
};

/* To the next index of the dimensions from..to-1, in C order; false after the last, when all are 0 again. */
static inline bool nest_next(const struct nest *n, int from, int to, struct nest_walk *w)
{
    for (int d = to - 1; d >= from; d--) {
        bool more = ++w->index[d] < n->dim[d];
        int64_t steps = more ? 1 : 1 - n->dim[d];
        w->index[d] = more ? w->index[d] : 0;
        w->out += steps * n->out.stride[d];
        for (int k = 0; k < NEST_INPUTS; k++)
            w->in[k] += steps * n->in[k].stride[d];
        if (more)
            return true;
    }
    return false;
}

/* To index i, in C order, of the dimensions from..to-1. */
static inline void nest_seek(const struct nest *n, int from, int to, int64_t i, struct nest_walk *w)
{
    for (int d = to - 1; d >= from; d--, i /= n->dim[d + 1]) {
        int64_t steps = i % n->dim[d] - w->index[d];
        w->index[d] += steps;
        w->out += steps * n->out.stride[d];
        for (int k = 0; k < NEST_INPUTS; k++)
            w->in[k] += steps * n->in[k].stride[d];
    }
}

/* Indices of the dimensions from..to-1. */
EVERYWHERE int64_t nest_count(const struct nest *n, int from, int to)
{
    int64_t count = 1;
    for (int d = from; d < to; d++)
        count *= n->dim[d];
    return count;
}

#endif
