/* Axes in settings; see axes.h. */
#include "engine/layers/axes.h"

#include <string.h>

int axis_in(int64_t axis, int rank)
{
    return (int)(axis < 0 ? axis + rank : axis);
}

int axis_of(int64_t axis, int rank, int *out, struct fail *why)
{
    if (axis < -rank || axis >= rank)
        return fail(why, E_NETWORK, "a row has %d dimensions, axis %lld is not one of them", rank,
                    (long long)axis);
    *out = axis_in(axis, rank);
    return 0;
}

int axes_of(const struct setting_ints *list, int rank, bool *marked, struct fail *why)
{
    int axis = 0, rc;
    for (int d = 0; d < rank; d++)
        marked[d] = list->count == 0;
    for (int i = 0; i < list->count; i++) {
        if ((rc = axis_of(list->v[i], rank, &axis, why)))
            return rc;
        if (marked[axis])
            return fail(why, E_NETWORK, "axis %lld is given twice", (long long)list->v[i]);
        marked[axis] = true;
    }
    return 0;
}

void shape_without(struct shape *s, int axis)
{
    memmove(s->dim + axis, s->dim + axis + 1, (size_t)(s->rank - axis - 1) * sizeof *s->dim);
    s->dim[--s->rank] = 0;
}

static void c_strides(struct shape s, int64_t *stride)
{
    int64_t product = 1;
    for (int d = s.rank - 1; d >= 0; d--) {
        stride[d] = product;
        product *= s.dim[d];
    }
}

struct view view_over(struct shape over, struct shape out, struct shape in)
{
    struct view v = {.scale = 1, .nest = nest_over(over)};
    c_strides(out, v.nest.out.stride);
    c_strides(in, v.nest.in[0].stride);
    return v;
}
