/* Layers that put values elsewhere: transpose, slice, gather, concat. All are strided views (op.h), whose
 * gradients are the same views turned around. Axes count the dimensions of a row from 0, negative ones from its
 * end. Pad is pad.c; what only changes a shape, shape.c. */
#include "engine/layers/axes.h"
#include "engine/layers/types.h"

/* ---- transpose ---- */

static const struct setting transpose_settings[] = {
    {"perm", SETTING_INTS, offsetof(struct transpose_settings, perm), "[]", 0, SHAPE_DIMS - 1, NULL,
     "which dimension of the input each of the output's is; []: in reverse", false},
    {0}};

static int from_dimension(const struct transpose_settings *s, struct shape in, int d)
{
    return s->perm.count ? (int)s->perm.v[d] : in.rank - 1 - d;
}

static int transpose_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                           struct fail *why)
{
    const struct transpose_settings *s = given;
    unsigned seen = 0;
    (void)inputs;
    if (s->perm.count && s->perm.count != in[0].rank)
        return fail(why, E_NETWORK, "perm has %d numbers, the input %d dimensions", s->perm.count,
                    in[0].rank);
    *out = (struct shape){.rank = in[0].rank};
    for (int d = 0; d < in[0].rank; d++) {
        int64_t from = s->perm.count ? s->perm.v[d] : 0;
        if (from < 0 || from >= in[0].rank || (s->perm.count && seen >> from & 1))
            return fail(why, E_NETWORK, "perm must have each of 0..%d once", in[0].rank - 1);
        seen |= 1U << from;
        out->dim[d] = in[0].dim[from_dimension(s, in[0], d)];
    }
    return 0;
}

static struct view transpose_view(const struct layer *l)
{
    struct view v = view_over(l->out, l->out, l->in[0]), straight = v;
    for (int d = 0; d < l->out.rank; d++)
        v.nest.in[0].stride[d] = straight.nest.in[0].stride[from_dimension(l->settings, l->in[0], d)];
    return v;
}

static void transpose_forward(struct recorder *r, struct layer *l)
{
    struct view v = transpose_view(l);
    record_view(r, l->y, l->x[0], &v);
}

static void transpose_backward(struct recorder *r, struct layer *l)
{
    struct view v = transpose_view(l);
    view_turn(&v, VIEW_WHOLE, 0);
    record_view(r, l->dx[0], l->dy, &v);
}

const struct layer_type layer_transpose = {
    .name = "transpose",
    .help = "dimensions in another order",
    .settings = transpose_settings,
    .settings_size = sizeof(struct transpose_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = transpose_shape,
    .forward = transpose_forward,
    .backward = transpose_backward,
};

/* ---- slice ---- */

static const struct setting slice_settings[] = {
    {"starts", SETTING_INTS, offsetof(struct slice_settings, starts), NULL, 0, 0, NULL,
     "first index along each axis; negative: from the end", false},
    {"ends", SETTING_INTS, offsetof(struct slice_settings, ends), NULL, 0, 0, NULL,
     "index after the last along each axis; negative: from the end", false},
    {"axes", SETTING_INTS, offsetof(struct slice_settings, axes), "[]", -SHAPE_DIMS, SHAPE_DIMS - 1, NULL,
     "dimensions of a row; []: the first ones", false},
    {"steps", SETTING_INTS, offsetof(struct slice_settings, steps), "[]", 0, 0, NULL,
     "from one index to the next, not 0; []: 1", false},
    {0}};

/* Along one dimension: so many, from the first on. */
struct range {
    int64_t first, step, count;
};

static int64_t between(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* ONNX's rule: indices are counted from the end when negative, then moved into the dimension. */
static struct range range_of(int64_t start, int64_t end, int64_t step, int64_t dim)
{
    int64_t first = between(start, -dim - 1, dim), last = between(end, -dim - 1, dim);
    first = first < 0 ? first + dim : first;
    last = last < 0 ? last + dim : last;
    if (step > 0) {
        first = between(first, 0, dim);
        last = between(last, 0, dim);
        return (struct range){first, step, last > first ? (last - first - 1) / step + 1 : 0};
    }
    first = between(first, -1, dim - 1);
    last = between(last, -1, dim - 1);
    return (struct range){first, step, first > last ? (first - last - 1) / -step + 1 : 0};
}

static int slice_ranges(const struct slice_settings *s, struct shape in, struct range *range,
                        struct fail *why)
{
    int n = s->starts.count;
    if (s->ends.count != n || (s->axes.count && s->axes.count != n) ||
        (s->steps.count && s->steps.count != n) || n > in.rank)
        return fail(why, E_NETWORK,
                    "starts has %d numbers, ends %d, axes %d, steps %d: expected as many of each, %d at most",
                    n, s->ends.count, s->axes.count, s->steps.count, in.rank);
    for (int d = 0; d < in.rank; d++)
        range[d] = (struct range){0, 1, in.dim[d]};
    for (int i = 0; i < n; i++) {
        int64_t step = s->steps.count ? s->steps.v[i] : 1;
        int axis, rc = axis_of(s->axes.count ? s->axes.v[i] : i, in.rank, &axis, why);
        if (rc)
            return rc;
        if (step == 0 || step > INT32_MAX || step < -INT32_MAX)
            return fail(why, E_NETWORK, "step %lld is not one of 1..2^31 or their negatives",
                        (long long)step);
        range[axis] = range_of(s->starts.v[i], s->ends.v[i], step, in.dim[axis]);
        if (!range[axis].count)
            return fail(why, E_NETWORK, "nothing of dimension %d is left", axis);
    }
    return 0;
}

static int slice_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                       struct fail *why)
{
    struct range range[SHAPE_DIMS];
    (void)inputs;
    int rc = slice_ranges(given, in[0], range, why);
    *out = in[0];
    for (int d = 0; !rc && d < out->rank; d++)
        out->dim[d] = range[d].count;
    return rc;
}

static struct view slice_view(const struct layer *l)
{
    struct range range[SHAPE_DIMS];
    struct view v = view_over(l->out, l->out, l->in[0]);
    slice_ranges(l->settings, l->in[0], range, NULL);
    for (int d = 0; d < l->out.rank; d++) {
        v.nest.in[0].at += range[d].first * v.nest.in[0].stride[d];
        v.nest.in[0].stride[d] *= range[d].step;
    }
    return v;
}

static void slice_forward(struct recorder *r, struct layer *l)
{
    struct view v = slice_view(l);
    record_view(r, l->y, l->x[0], &v);
}

static void slice_backward(struct recorder *r, struct layer *l)
{
    struct view v = slice_view(l);
    view_turn(&v, VIEW_FILL, 0);
    record_view(r, l->dx[0], l->dy, &v);
}

const struct layer_type layer_slice = {
    .name = "slice",
    .help = "a range of each dimension",
    .settings = slice_settings,
    .settings_size = sizeof(struct slice_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = slice_shape,
    .forward = slice_forward,
    .backward = slice_backward,
};

/* ---- gather: chosen indices of one axis ---- */

static const struct setting gather_settings[] = {
    {"axis", SETTING_INT, offsetof(struct gather_settings, axis), "0", -SHAPE_DIMS, SHAPE_DIMS - 1, NULL,
     "dimension of a row", false},
    {"indices", SETTING_INTS, offsetof(struct gather_settings, indices), NULL, 0, 0, NULL,
     "along the axis, in the order of the output; negative: from the end", false},
    {"scalar", SETTING_BOOL, offsetof(struct gather_settings, scalar), "false", 0, 0, NULL,
     "of one index: the output does not have the dimension", false},
    {0}};

static int gather_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                        struct fail *why)
{
    const struct gather_settings *s = given;
    int axis, rc = axis_of(s->axis, in[0].rank, &axis, why);
    (void)inputs;
    if (rc)
        return rc;
    if (!s->indices.count || (s->scalar && s->indices.count != 1))
        return fail(why, E_NETWORK, "%d indices, expected %s", s->indices.count,
                    s->scalar ? "one for a scalar" : "one at least");
    for (int i = 0; i < s->indices.count; i++)
        if (s->indices.v[i] < -in[0].dim[axis] || s->indices.v[i] >= in[0].dim[axis])
            return fail(why, E_NETWORK, "index %lld is not in the dimension of %lld",
                        (long long)s->indices.v[i], (long long)in[0].dim[axis]);
    *out = in[0];
    out->dim[axis] = s->indices.count;
    if (s->scalar)
        shape_without(out, axis);
    return 0;
}

/* Index i of the output. */
static struct view gather_view(const struct layer *l, int i)
{
    const struct gather_settings *s = l->settings;
    struct shape one = l->in[0], out = l->in[0];
    int axis = axis_in(s->axis, one.rank);
    one.dim[axis] = 1;
    out.dim[axis] = s->indices.count;
    struct view v = view_over(one, out, l->in[0]);
    int64_t index = s->indices.v[i] < 0 ? s->indices.v[i] + l->in[0].dim[axis] : s->indices.v[i];
    v.cover = s->indices.count > 1 ? VIEW_PART : VIEW_WHOLE;
    v.nest.out.at = i * v.nest.out.stride[axis];
    v.nest.in[0].at = index * v.nest.in[0].stride[axis];
    return v;
}

static void gather_forward(struct recorder *r, struct layer *l)
{
    const struct gather_settings *s = l->settings;
    for (int i = 0; i < s->indices.count; i++) {
        struct view v = gather_view(l, i);
        record_view(r, l->y, l->x[0], &v);
    }
}

/* The first fills with zeros, the others add. */
static void gather_backward(struct recorder *r, struct layer *l)
{
    const struct gather_settings *s = l->settings;
    for (int i = 0; i < s->indices.count; i++) {
        struct view v = gather_view(l, i);
        view_turn(&v, VIEW_FILL, 0);
        record_view(r, l->dx[0], l->dy, &v);
    }
}

const struct layer_type layer_gather = {
    .name = "gather",
    .help = "chosen indices of a dimension",
    .settings = gather_settings,
    .settings_size = sizeof(struct gather_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = gather_shape,
    .forward = gather_forward,
    .backward = gather_backward,
};

/* ---- concat ---- */

static const struct setting concat_settings[] = {
    {"axis", SETTING_INT, offsetof(struct concat_settings, axis), "0", -SHAPE_DIMS, SHAPE_DIMS - 1, NULL,
     "dimension of a row along which inputs follow each other", false},
    {0}};

static int concat_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                        struct fail *why)
{
    const struct concat_settings *s = given;
    char first[64], other[64];
    int axis, rc = axis_of(s->axis, in[0].rank, &axis, why);
    if (rc)
        return rc;
    *out = in[0];
    for (int i = 1; i < inputs; i++) {
        struct shape as = in[i];
        if (as.rank == in[0].rank)
            as.dim[axis] = in[0].dim[axis];
        if (!shape_equal(as, in[0]))
            return fail(why, E_NETWORK,
                        "inputs have shapes %s and %s, which differ in more than dimension %d",
                        shape_text(in[0], first, sizeof first), shape_text(in[i], other, sizeof other), axis);
        out->dim[axis] += in[i].dim[axis];
    }
    return 0;
}

/* Of input i, which begins at index `from` of the axis. */
static struct view concat_view(const struct layer *l, int i, int64_t from)
{
    int axis = axis_in(((const struct concat_settings *)l->settings)->axis, l->out.rank);
    struct view v = view_over(l->in[i], l->out, l->in[i]);
    v.cover = l->inputs > 1 ? VIEW_PART : VIEW_WHOLE;
    v.nest.out.at = from * v.nest.out.stride[axis];
    return v;
}

static void concat_forward(struct recorder *r, struct layer *l)
{
    int axis = axis_in(((const struct concat_settings *)l->settings)->axis, l->out.rank);
    int64_t from = 0;
    for (int i = 0; i < l->inputs; from += l->in[i++].dim[axis]) {
        struct view v = concat_view(l, i, from);
        record_view(r, l->y, l->x[i], &v);
    }
}

static void concat_backward(struct recorder *r, struct layer *l)
{
    int axis = axis_in(((const struct concat_settings *)l->settings)->axis, l->out.rank);
    int64_t from = 0;
    for (int i = 0; i < l->inputs; from += l->in[i++].dim[axis]) {
        struct view v = concat_view(l, i, from);
        view_turn(&v, VIEW_WHOLE, 0);
        record_view(r, l->dx[i], l->dy, &v);
    }
}

const struct layer_type layer_concat = {
    .name = "concat",
    .help = "inputs one behind another along a dimension",
    .settings = concat_settings,
    .settings_size = sizeof(struct concat_settings),
    .min_inputs = 1,
    .max_inputs = GRAPH_INPUTS,
    .shape = concat_shape,
    .forward = concat_forward,
    .backward = concat_backward,
};
