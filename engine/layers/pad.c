/* Pad: a constant, the edge, or a reflection around a row. A constant is one view. The others go axis by axis, a
 * view for the row itself and one for each side, over rows that grow; so their gradients add up from the outside in.
 * Axes as in view.c. */
#include "engine/layers/axes.h"
#include "engine/layers/types.h"

#include <math.h>

enum { PAD_MOST = 1 << 20 };

static const struct setting pad_settings[] = {
    {"pads", SETTING_INTS, offsetof(struct pad_settings, pads), NULL, -PAD_MOST, PAD_MOST, NULL,
     "elements before each dimension of a row, then after each; negative ones (constant) cut off", false},
    {"mode", SETTING_CHOICE, offsetof(struct pad_settings, mode), "constant", 0, 0, PAD_CHOICES,
     "reflect: without the edge itself", false},
    {"value", SETTING_REAL, offsetof(struct pad_settings, value), "0", 0, 0, NULL, "of a constant", false},
    {0}};

/* Along one dimension. */
struct margin {
    int64_t before, after;
};

static struct margin margin_of(const struct pad_settings *s, int rank, int d)
{
    return (struct margin){s->pads.v[d], s->pads.v[rank + d]};
}

static int check_margin(const struct pad_settings *s, struct margin m, int64_t dim, struct fail *why)
{
    int64_t most = s->mode == PAD_CONSTANT ? PAD_MOST : s->mode == PAD_REFLECT ? dim - 1 : PAD_MOST;
    int64_t least = s->mode == PAD_CONSTANT ? -PAD_MOST : 0;
    if (m.before < least || m.after < least || m.before > most || m.after > most)
        return fail(why, E_NETWORK, "pads %lld and %lld of a dimension of %lld: expected %lld..%lld",
                    (long long)m.before, (long long)m.after, (long long)dim, (long long)least,
                    (long long)most);
    if (dim + (m.before < 0 ? m.before : 0) + (m.after < 0 ? m.after : 0) < 1)
        return fail(why, E_NETWORK, "pads %lld and %lld leave nothing of a dimension of %lld",
                    (long long)m.before, (long long)m.after, (long long)dim);
    return 0;
}

static int axes_padded(const struct pad_settings *s, int rank)
{
    int n = 0;
    for (int d = 0; d < rank; d++)
        n += margin_of(s, rank, d).before || margin_of(s, rank, d).after;
    return n;
}

static int pad_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                     struct fail *why)
{
    const struct pad_settings *s = given;
    int rc;
    (void)inputs;
    if (s->pads.count != 2 * in[0].rank)
        return fail(why, E_NETWORK, "pads has %d numbers, expected two for each of %d dimensions",
                    s->pads.count, in[0].rank);
    if (isnan(s->value))
        return fail(why, E_NETWORK, "value is not a number");
    *out = in[0];
    for (int d = 0; d < in[0].rank; d++) {
        struct margin m = margin_of(s, in[0].rank, d);
        if ((rc = check_margin(s, m, in[0].dim[d], why)))
            return rc;
        out->dim[d] += m.before + m.after;
    }
    return 0;
}

/* ---- a constant ---- */

static struct view constant_view(const struct layer *l)
{
    const struct pad_settings *s = l->settings;
    struct shape over = l->in[0];
    for (int d = 0; d < over.rank; d++) {
        struct margin m = margin_of(s, over.rank, d);
        over.dim[d] += (m.before < 0 ? m.before : 0) + (m.after < 0 ? m.after : 0);
    }
    struct view v = view_over(over, l->out, l->in[0]);
    for (int d = 0; d < over.rank; d++) {
        int64_t before = margin_of(s, over.rank, d).before;
        v.nest.out.at += before > 0 ? before * v.nest.out.stride[d] : 0;
        v.nest.in[0].at += before < 0 ? -before * v.nest.in[0].stride[d] : 0;
    }
    v.cover = VIEW_FILL;
    v.fill = (float)s->value;
    return v;
}

/* ---- edge and reflection: along axis d, from a row to one that is longer there ---- */

enum part { PART_ROW, PART_BEFORE, PART_AFTER, PARTS };

static struct view part_view(const struct pad_settings *s, struct shape out, struct shape in, int d,
                             enum part part)
{
    struct margin m = margin_of(s, in.rank, d);
    struct shape over = in;
    bool reflect = s->mode == PAD_REFLECT;
    int64_t dim = in.dim[d];
    over.dim[d] = part == PART_ROW ? dim : part == PART_BEFORE ? m.before : m.after;
    struct view v = view_over(over, out, in);
    int64_t to = v.nest.out.stride[d], from = v.nest.in[0].stride[d];
    v.cover = VIEW_PART;
    v.nest.out.at = part == PART_ROW ? m.before * to : part == PART_BEFORE ? 0 : (m.before + dim) * to;
    if (part == PART_BEFORE)
        v.nest.in[0].at = reflect ? m.before * from : 0;
    if (part == PART_AFTER)
        v.nest.in[0].at = (reflect ? dim - 2 : dim - 1) * from;
    if (part != PART_ROW)
        v.nest.in[0].stride[d] = reflect ? -from : 0;
    return v;
}

static bool is_empty(const struct view *v)
{
    return nest_count(&v->nest, 0, v->nest.rank) == 0;
}

static struct shape grown(const struct pad_settings *s, struct shape row, int d)
{
    struct margin m = margin_of(s, row.rank, d);
    row.dim[d] += m.before + m.after;
    return row;
}

static void mirror_forward(struct recorder *r, struct layer *l)
{
    const struct pad_settings *s = l->settings;
    struct shape row = l->in[0], next;
    struct value x = l->x[0];
    int left = axes_padded(s, row.rank);
    for (int d = 0; d < row.rank; d++) {
        next = grown(s, row, d);
        if (shape_equal(row, next))
            continue;
        struct value y = --left ? record_temp(r, next) : l->y;
        for (int part = 0; part < PARTS; part++) {
            struct view v = part_view(s, next, row, d, (enum part)part);
            if (!is_empty(&v))
                record_view(r, y, x, &v);
        }
        x = y;
        row = next;
    }
}

/* From the last padded axis to the first: the row's part, then the sides' on top. */
static void mirror_backward(struct recorder *r, struct layer *l)
{
    const struct pad_settings *s = l->settings;
    struct shape row = l->out, before = row;
    struct value dy = l->dy;
    int left = axes_padded(s, row.rank);
    for (int d = row.rank - 1; d >= 0 && l->dx[0].id; d--) {
        struct margin m = margin_of(s, row.rank, d);
        before = row;
        before.dim[d] -= m.before + m.after;
        if (shape_equal(row, before))
            continue;
        struct value dx = --left ? record_temp(r, before) : l->dx[0];
        for (int part = 0; part < PARTS; part++) {
            struct view v = part_view(s, row, before, d, (enum part)part);
            view_turn(&v, part == PART_ROW ? VIEW_WHOLE : VIEW_SUM, 0);
            if (!is_empty(&v))
                record_view(r, dx, dy, &v);
        }
        dy = dx;
        row = before;
    }
}

static bool is_plain(const struct layer *l)
{
    return axes_padded(l->settings, l->in[0].rank) == 0;
}

static void pad_forward(struct recorder *r, struct layer *l)
{
    struct view v;
    if (is_plain(l))
        record_copy(r, l->y, l->x[0]);
    else if (((const struct pad_settings *)l->settings)->mode != PAD_CONSTANT)
        mirror_forward(r, l);
    else {
        v = constant_view(l);
        record_view(r, l->y, l->x[0], &v);
    }
}

static void pad_backward(struct recorder *r, struct layer *l)
{
    struct view v;
    if (is_plain(l))
        record_copy(r, l->dx[0], l->dy);
    else if (((const struct pad_settings *)l->settings)->mode != PAD_CONSTANT)
        mirror_backward(r, l);
    else {
        v = constant_view(l);
        view_turn(&v, VIEW_FILL, 0);
        record_view(r, l->dx[0], l->dy, &v);
    }
}

const struct layer_type layer_pad = {
    .name = "pad",
    .help = "elements around a row: a constant, its edge or its reflection",
    .settings = pad_settings,
    .settings_size = sizeof(struct pad_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = pad_shape,
    .forward = pad_forward,
    .backward = pad_backward,
};
