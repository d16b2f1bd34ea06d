/* Reshape, Flatten, Squeeze and Unsqueeze: the same numbers seen in another shape. No layer is made until somebody
 * asks who wants one. A row keeps its place: what moves numbers from row to row is refused.
 * Next to read: onnx_fold.c, for the integers that say the shapes; onnx_axes.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

int onnx_read_axis(const Onnx__NodeProto *n, int rank, int64_t *axis, struct fail *why)
{
    int rc = onnx_attribute_int(n, "axis", axis, why);
    if (rc)
        return rc;
    if (*axis < -rank || *axis >= rank)
        return fail(why, E_FILE, "axis %lld of %d dimensions", (long long)*axis, rank);
    *axis += *axis < 0 ? rank : 0;
    return 0;
}

int onnx_want_row_axis(const struct onnx_reader *r, int64_t axis, struct fail *why)
{
    if (axis >= r->lead)
        return 0;
    return fail(why, E_UNSUPPORTED,
                "works across the rows (dimension 0), which each stand for themselves here");
}

/* ---- the shape that each operator makes of another ---- */

/* The dimensions written in a Reshape, first to last: 0 copies (but for allowzero), -1 is what is left. */
static int reshape_to(const struct onnx_ints *to, struct shape from, int lead, bool allow_zero,
                      struct shape *out, struct fail *why)
{
    char text[96];
    int64_t known = 1, size = shape_size(from);
    int free_at = -1;
    *out = (struct shape){.rank = to->count - lead};
    if (out->rank < 0 || out->rank > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "a reshape to %d dimensions, supported are %d to %d", to->count, lead,
                    SHAPE_DIMS);
    for (int i = 0; i < out->rank; i++) {
        struct onnx_int d = to->v[lead + i];
        if (d.rows)
            return fail(why, E_UNSUPPORTED, "dimension %d depends on the number of rows", lead + i);
        if (d.n == 0 && !allow_zero && i < from.rank)
            d.n = from.dim[i];
        if (d.n == -1 && free_at < 0)
            free_at = i;
        else if (d.n < 0 || d.n > INT32_MAX || (d.n && known > INT64_MAX / d.n))
            return fail(why, E_FILE, "dimension %d of the shape is %lld", lead + i, (long long)d.n);
        else
            known *= d.n;
        out->dim[i] = d.n;
    }
    if (free_at >= 0)
        out->dim[free_at] = known > 0 && size >= 0 ? size / known : 0;
    if (shape_size(*out) != size)
        return fail(
            why, E_UNSUPPORTED,
            "one row of shape %s does not become one of %d dimensions with %lld values: a reshape may not "
            "join or divide rows",
            shape_text(from, text, sizeof text), out->rank, (long long)shape_size(*out));
    return 0;
}

static int reshape_shape(const struct onnx_reader *r, const Onnx__NodeProto *n, struct shape from, int lead,
                         struct shape *out, struct fail *why)
{
    struct onnx_ints to;
    int64_t allow_zero = 0;
    int rc;
    if ((rc = onnx_want_ints(onnx_input((struct onnx_reader *)r, n, 1), "the shape", &to, why)) ||
        (rc = onnx_attribute_int(n, "allowzero", &allow_zero, why)))
        return rc;
    if (!lead)
        return reshape_to(&to, from, 0, allow_zero != 0, out, why);
    /* The rows: as a symbol, copied, what is left, or the number that the file says. */
    struct onnx_int first = to.count ? to.v[0] : (struct onnx_int){0};
    bool rows = first.rows ? first.n == 1
                           : first.n == -1 || (first.n == 0 && !allow_zero) ||
                                 (first.n > 0 && first.n == r->fixed_batch);
    if (!to.count || !rows)
        return fail(why, E_UNSUPPORTED, "a reshape to %lld%s in dimension 0, which has to stay the rows",
                    (long long)first.n, first.rows ? " times the rows" : "");
    /* With -1 for the rows none of the others may be free: all its numbers make one row. */
    for (int i = 1; i < to.count && first.n == -1 && !first.rows; i++)
        if (to.v[i].n == -1)
            return fail(why, E_FILE, "two dimensions of the shape are -1");
    return reshape_to(&to, from, 1, allow_zero != 0, out, why);
}

static int flatten_shape(const Onnx__NodeProto *n, struct shape from, int lead, struct shape *out,
                         struct fail *why)
{
    int64_t axis = 1, rank = from.rank + lead, first = 1;
    int rc = onnx_attribute_int(n, "axis", &axis, why);
    if (rc)
        return rc;
    if (axis < -rank || axis > rank)
        return fail(why, E_FILE, "axis %lld of %lld dimensions", (long long)axis, (long long)rank);
    axis += axis < 0 ? rank : 0;
    if (lead && axis != 1)
        return fail(why, E_UNSUPPORTED, "axis %lld; supported is 1, which keeps the rows", (long long)axis);
    for (int i = 0; i < axis - lead; i++)
        first *= from.dim[i];
    int64_t size = shape_size(from);
    *out = lead ? SHAPE(size) : SHAPE(first, first ? size / first : 0);
    return 0;
}

/* `axes` is an attribute until operator set 12, then an input; *count 0: none given. */
static int read_axes(const struct onnx_reader *r, const Onnx__NodeProto *n, int64_t *axes, int *count,
                     struct fail *why)
{
    const Onnx__AttributeProto *a = onnx_attribute(n, "axes");
    const struct onnx_value *given = onnx_input((struct onnx_reader *)r, n, 1);
    *count = 0;
    if (given)
        return onnx_want_numbers(given, "the list of axes", axes, SHAPE_DIMS, count, why);
    if (!a)
        return 0;
    if (a->n_ints > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "%zu axes, at most %d are supported", a->n_ints, SHAPE_DIMS);
    *count = (int)a->n_ints;
    return onnx_attribute_ints(n, "axes", *count, -SHAPE_DIMS, SHAPE_DIMS, axes, why);
}

/* marks[i]: dimension i, the rows counted, is among the axes. */
int onnx_read_axes(const struct onnx_reader *r, const Onnx__NodeProto *n, int rank, bool *marks, int *count,
                   struct fail *why)
{
    int64_t axes[SHAPE_DIMS];
    int rc = read_axes(r, n, axes, count, why);
    memset(marks, 0, (size_t)(rank > 0 ? rank : 0) * sizeof *marks);
    for (int i = 0; i < *count && !rc; i++) {
        int64_t k = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (k < 0 || k >= rank || marks[k])
            rc = fail(why, E_FILE, "axis %lld of %d dimensions, or it is there twice", (long long)axes[i],
                      rank);
        else
            marks[k] = true;
    }
    return rc;
}

static int squeeze_shape(const struct onnx_reader *r, const Onnx__NodeProto *n, struct shape from, int lead,
                         struct shape *out, struct fail *why)
{
    bool marks[SHAPE_DIMS + 1];
    int count, rc = onnx_read_axes(r, n, from.rank + lead, marks, &count, why);
    if (rc || (lead && marks[0] && (rc = onnx_want_row_axis(r, 0, why))))
        return rc;
    *out = (struct shape){0};
    for (int i = 0; i < from.rank; i++) {
        bool drop = count ? marks[lead + i] : from.dim[i] == 1;
        if (drop && from.dim[i] != 1)
            return fail(why, E_FILE, "squeezes dimension %d, which has %lld values", lead + i,
                        (long long)from.dim[i]);
        if (!drop)
            out->dim[out->rank++] = from.dim[i];
    }
    return 0;
}

static int unsqueeze_shape(const struct onnx_reader *r, const Onnx__NodeProto *n, struct shape from, int lead,
                           struct shape *out, struct fail *why)
{
    enum { MOST = 2 * SHAPE_DIMS + 1 };
    bool marks[MOST] = {0};
    int64_t axes[SHAPE_DIMS];
    int count, at = 0, rc = read_axes(r, n, axes, &count, why);
    if (rc)
        return rc;
    int rank = from.rank + lead + count;
    if (rank - lead > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "%d dimensions, at most %d are supported", rank, SHAPE_DIMS);
    if ((rc = onnx_read_axes(r, n, rank, marks, &count, why)) ||
        (lead && marks[0] && (rc = onnx_want_row_axis(r, 0, why))))
        return rc;
    *out = (struct shape){.rank = rank - lead};
    for (int i = 0; i < out->rank; i++)
        out->dim[i] = marks[lead + i] ? 1 : from.dim[at++];
    return 0;
}

int onnx_view_shape(const struct onnx_reader *r, const Onnx__NodeProto *n, struct shape from, int lead,
                    struct shape *out, struct fail *why)
{
    if (!strcmp(n->op_type, "Reshape"))
        return reshape_shape(r, n, from, lead, out, why);
    if (!strcmp(n->op_type, "Flatten"))
        return flatten_shape(n, from, lead, out, why);
    if (!strcmp(n->op_type, "Squeeze"))
        return squeeze_shape(r, n, from, lead, out, why);
    return unsqueeze_shape(r, n, from, lead, out, why);
}

/* ---- the operators ---- */

/* In files of our own each is the layer that it was, with its settings as they stand there. */
static int import_own(struct onnx_reader *r, const Onnx__NodeProto *n, struct onnx_value *x, struct fail *why)
{
    static const char *const types[][2] = {
        {"Flatten", "flatten"}, {"Reshape", "reshape"}, {"Squeeze", "squeeze"}, {"Unsqueeze", "unsqueeze"}};
    struct graph_node *l;
    int64_t v[SHAPE_DIMS + 1];
    int from, which = 0, count = 0, rc = onnx_layer_of(r, x, &from, why);
    while (strcmp(types[which][0], n->op_type))
        which++;
    if (rc || (rc = onnx_add(r, n, NULL, types[which][1], from, &l, why)) ||
        (which && (rc = onnx_want_numbers(onnx_input(r, n, 1), "the list", v, SHAPE_DIMS + 1, &count, why))))
        return rc;
    struct setting_ints *s = l->settings; /* the only setting */
    bool shape = which == 1;
    for (int i = shape; i < count && s->count < SHAPE_DIMS; i++)
        s->v[s->count++] = shape || v[i] < 0 ? v[i] : v[i] - r->lead;
    return onnx_added(r, n, why);
}

int onnx_import_view(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), value;
    struct shape to;
    int layer, rc;
    if ((rc = onnx_want_activation(x, why)) || (x->padded && (rc = onnx_layer_of(r, x, &layer, why))) ||
        (rc = onnx_view_shape(r, n, onnx_row(r, x), r->lead, &to, why)))
        return rc;
    if (r->ours && !onnx_is_part(n, ONNX_PART_FLATTEN))
        return import_own(r, n, x, why);
    value = *x;
    onnx_set_view(r, &value, to);
    onnx_define_alias(r, n, &value);
    return 0;
}
