/* Transpose, Concat, Gather, Slice, ReduceMean and ArgMax: operators over chosen dimensions of a row.
 * Next to read: onnx_shapes.c, for those that move nothing. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

/* ---- attributes ---- */

int onnx_read_perm(const Onnx__NodeProto *n, int rank, int64_t *perm, struct fail *why)
{
    bool seen[SHAPE_DIMS + 1] = {0};
    for (int i = 0; i < rank; i++)
        perm[i] = rank - 1 - i;
    int rc = onnx_attribute_ints(n, "perm", rank, 0, rank - 1, perm, why);
    for (int i = 0; i < rank && !rc; i++) {
        if (seen[perm[i]])
            rc = fail(why, E_FILE, "perm has %lld twice", (long long)perm[i]);
        seen[perm[i]] = true;
    }
    return rc;
}

/* One list of Slice: attribute until operator set 9, then input `at`. *count 0: absent. */
static int slice_list(const struct onnx_reader *r, const Onnx__NodeProto *n, const char *name, size_t at,
                      int64_t *out, int *count, struct fail *why)
{
    const Onnx__AttributeProto *a = onnx_attribute(n, name);
    const struct onnx_value *v = onnx_input(r, n, at);
    *count = 0;
    if (v)
        return onnx_want_numbers(v, name, out, SHAPE_DIMS, count, why);
    if (!a)
        return 0;
    if (a->n_ints > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "%s has %zu numbers, at most %d are supported", name, a->n_ints,
                    SHAPE_DIMS);
    *count = (int)a->n_ints;
    return onnx_attribute_ints(n, name, *count, INT64_MIN, INT64_MAX, out, why);
}

int onnx_read_slice(const struct onnx_reader *r, const Onnx__NodeProto *n, int rank, struct onnx_slice *s,
                    struct fail *why)
{
    int ends, axes, steps, rc;
    if ((rc = slice_list(r, n, "starts", 1, s->start, &s->count, why)) ||
        (rc = slice_list(r, n, "ends", 2, s->end, &ends, why)) ||
        (rc = slice_list(r, n, "axes", 3, s->axis, &axes, why)) ||
        (rc = slice_list(r, n, "steps", 4, s->step, &steps, why)))
        return rc;
    if (!s->count || ends != s->count || (axes && axes != s->count) || (steps && steps != s->count))
        return fail(why, E_FILE, "%d starts, %d ends, %d axes, %d steps", s->count, ends, axes, steps);
    for (int i = 0; i < s->count; i++) {
        s->axis[i] = axes ? s->axis[i] : i;
        s->step[i] = steps ? s->step[i] : 1;
        s->stepped = steps > 0;
        if (s->axis[i] < -rank || s->axis[i] >= rank)
            return fail(why, E_FILE, "axis %lld of %d dimensions", (long long)s->axis[i], rank);
        if (!s->step[i] || s->step[i] < -INT32_MAX || s->step[i] > INT32_MAX)
            return fail(why, E_FILE, "a step of %lld", (long long)s->step[i]);
    }
    return 0;
}

int64_t onnx_slice_bound(int64_t bound, int64_t size, int64_t step)
{
    int64_t least = step > 0 ? 0 : -1, most = step > 0 ? size : size - 1;
    if (bound < 0)
        bound += size;
    return bound < least ? least : bound > most ? most : bound;
}

/* ---- transpose ---- */

/* The layer that puts a row's dimension perm[d] in place d; its output is the last layer of the graph. */
int onnx_add_transpose(struct onnx_reader *r, const Onnx__NodeProto *node, int input, const int64_t *perm,
                       int rank, struct fail *why)
{
    struct graph_node *l;
    int rc = onnx_add(r, node, NULL, "transpose", input, &l, why);
    if (rc)
        return rc;
    struct transpose_settings *s = l->settings;
    s->perm.count = rank;
    memcpy(s->perm.v, perm, (size_t)rank * sizeof *perm);
    return onnx_shape_last(r, why);
}

int onnx_import_transpose(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    int64_t perm[SHAPE_DIMS + 1];
    int from, rc = onnx_want_activation(x, why);
    if (rc)
        return rc;
    int rank = onnx_row(r, x).rank;
    if ((rc = onnx_read_perm(n, rank + r->lead, perm, why)) ||
        (r->lead && perm[0] != 0 && (rc = onnx_want_row_axis(r, 0, why))) ||
        (rc = onnx_layer_of(r, x, &from, why)))
        return rc;
    for (int i = 0; i < rank; i++)
        perm[i] = perm[r->lead + i] - r->lead;
    if ((rc = onnx_add_transpose(r, n, from, perm, rank, why)))
        return rc;
    onnx_define(r, n, r->graph->count - 1);
    return 0;
}

/* ---- slice ---- */

/* An axis of the file as one of a row: what is counted from the end stays. */
static int row_axis(const struct onnx_reader *r, int64_t axis, int rank, int64_t *out, struct fail *why)
{
    int64_t at = axis < 0 ? axis + rank + r->lead : axis;
    int rc = onnx_want_row_axis(r, at, why);
    *out = axis < 0 ? axis : axis - r->lead;
    return rc;
}

int onnx_import_slice(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct graph_node *l;
    struct onnx_slice s;
    int from, rc = onnx_want_activation(x, why);
    if (rc)
        return rc;
    int rank = onnx_row(r, x).rank;
    if ((rc = onnx_read_slice(r, n, rank + r->lead, &s, why)) || (rc = onnx_layer_of(r, x, &from, why)) ||
        (rc = onnx_add(r, n, NULL, "slice", from, &l, why)))
        return rc;
    struct slice_settings *to = l->settings;
    to->starts.count = to->ends.count = to->axes.count = s.count;
    to->steps.count = s.stepped ? s.count : 0;
    for (int i = 0; i < s.count; i++) {
        if ((rc = row_axis(r, s.axis[i], rank, &to->axes.v[i], why)))
            return rc;
        to->starts.v[i] = s.start[i];
        to->ends.v[i] = s.end[i];
        if (s.stepped)
            to->steps.v[i] = s.step[i];
    }
    return onnx_added(r, n, why);
}

/* ---- gather, concat ---- */

/* Indices of any shape: a list, seen in that shape afterwards. */
int onnx_import_gather(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    const struct onnx_value *at = onnx_input(r, n, 1);
    struct shape shape = {0};
    struct graph_node *l;
    int64_t axis = 0, own = 0;
    int from, rc = onnx_want_activation(x, why);
    if (rc || (rc = onnx_attribute_int(n, "axis", &own, why)))
        return rc;
    struct shape row = onnx_row(r, x);
    if ((rc = onnx_read_axis(n, row.rank + r->lead, &axis, why)) || (rc = onnx_want_row_axis(r, axis, why)) ||
        (rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, "gather", from, &l, why)))
        return rc;
    struct gather_settings *s = l->settings;
    if ((rc = onnx_want_numbers(at, "the list of indices", s->indices.v, SHAPE_DIMS, &s->indices.count, why)))
        return rc;
    if (at->ints)
        shape = at->ints->rank ? SHAPE(at->ints->count) : shape;
    else if ((rc = onnx_tensor_shape(at->tensor, &shape, why)))
        return rc;
    s->axis = axis - r->lead;
    s->scalar = shape.rank == 0;
    if ((rc = onnx_added(r, n, why)) || shape.rank < 2)
        return rc;
    struct shape out = {.rank = row.rank - 1 + shape.rank};
    if (out.rank > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "%d dimensions, at most %d are supported", out.rank, SHAPE_DIMS);
    for (int i = 0, k = 0; i < row.rank; i++)
        for (int j = 0; j < (i == s->axis ? shape.rank : 1); j++)
            out.dim[k++] = i == s->axis ? shape.dim[j] : row.dim[i];
    onnx_set_view(r, onnx_find(r, n->output[0]), out);
    return 0;
}

int onnx_import_concat(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct graph_node *l;
    int64_t axis = 1;
    int from[GRAPH_INPUTS], count = (int)n->n_input, rc;
    struct onnx_value *x = onnx_input(r, n, 0);
    if ((rc = onnx_want_activation(x, why)) ||
        (rc = onnx_read_axis(n, onnx_row(r, x).rank + r->lead, &axis, why)) ||
        (rc = onnx_want_row_axis(r, axis, why)))
        return rc;
    for (int i = 0; i < count; i++) {
        struct onnx_value *v = onnx_input(r, n, (size_t)i);
        if ((rc = onnx_want_activation(v, why)) || (rc = onnx_layer_of(r, v, &from[i], why)))
            return rc;
    }
    if ((rc = onnx_add(r, n, NULL, "concat", from[0], &l, why)))
        return rc;
    ((struct concat_settings *)l->settings)->axis = axis - r->lead;
    memcpy(l->inputs, from, (size_t)count * sizeof from[0]);
    l->input_count = count;
    return onnx_added(r, n, why);
}

/* ---- over dimensions ---- */

/* ReduceMean becomes reduce_mean. Without axes it goes over all, the rows too. */
int onnx_import_reduce(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    static const char *const types[][2] = {{"ReduceMax", "reduce_max"},
                                           {"ReduceMean", "reduce_mean"},
                                           {"ReduceMin", "reduce_min"},
                                           {"ReduceSum", "reduce_sum"}};
    struct onnx_value *x = onnx_input(r, n, 0);
    bool marks[SHAPE_DIMS + 1];
    struct graph_node *l;
    int64_t keep = 1, noop = 0;
    int count, from, which = 0, rc = onnx_want_activation(x, why);
    while (strcmp(types[which][0], n->op_type))
        which++;
    if (rc)
        return rc;
    int rank = onnx_row(r, x).rank;
    if ((rc = onnx_read_axes(r, n, rank + r->lead, marks, &count, why)) ||
        (rc = onnx_attribute_int(n, "keepdims", &keep, why)) ||
        (rc = onnx_attribute_int(n, "noop_with_empty_axes", &noop, why)))
        return rc;
    if (!count && noop) {
        onnx_define_alias(r, n, x);
        return 0;
    }
    if ((r->lead && (!count || marks[0]) && (rc = onnx_want_row_axis(r, 0, why))) ||
        (rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, types[which][1], from, &l, why)))
        return rc;
    struct reduce_settings *s = l->settings;
    for (int i = 0; i < rank && count; i++)
        if (marks[r->lead + i])
            s->axes.v[s->axes.count++] = i;
    s->keepdims = keep != 0;
    return onnx_added(r, n, why);
}

int onnx_import_arg(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct graph_node *l;
    int64_t axis = 0, keep = 1, last = 0;
    int from, rc = onnx_want_activation(x, why);
    if (rc)
        return rc;
    if ((rc = onnx_read_axis(n, onnx_row(r, x).rank + r->lead, &axis, why)) ||
        (rc = onnx_want_row_axis(r, axis, why)) || (rc = onnx_attribute_int(n, "keepdims", &keep, why)) ||
        (rc = onnx_attribute_int(n, "select_last_index", &last, why)) ||
        (rc = onnx_layer_of(r, x, &from, why)) ||
        (rc = onnx_add(r, n, NULL, strcmp(n->op_type, "ArgMax") ? "argmin" : "argmax", from, &l, why)))
        return rc;
    struct arg_settings *s = l->settings;
    s->axis = axis - r->lead;
    s->keepdims = keep != 0;
    s->select_last_index = last != 0;
    return onnx_added(r, n, why);
}
