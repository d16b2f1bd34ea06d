/* MaxPool and AveragePool over one, two or three dimensions: rows of the table in onnx_operators.c.
 * Next to read: onnx_norm.c, for the global ones. */
#include "engine/files/onnx_windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int add_pool(struct onnx_reader *r, const Onnx__NodeProto *node, const char *type,
                    struct onnx_value *x, const struct window_attributes *a, const int64_t flags[2],
                    struct fail *why)
{
    struct graph_node *l;
    int from, rc;
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, node, NULL, type, from, &l, why)))
        return rc;
    struct pool_settings *p = l->settings;
    window_lists(a, &p->size, &p->stride, &p->padding);
    if (p->stride.count == p->size.count && !memcmp(p->stride.v, p->size.v, sizeof p->size.v))
        p->stride = (struct setting_ints){0};
    p->ceil = flags[0] != 0;
    p->count_padding = flags[1] != 0;
    return 0;
}

/* Largest and mean over a box are those over its plane and then over its depth, which takes the place of height. */
static int add_depth_pool(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type,
                          struct onnx_value *x, const struct window_attributes *a, const int64_t flags[2],
                          struct fail *why)
{
    struct window_attributes deep = {.kernel = {1, a->kernel[0], 1},
                                     .strides = {1, a->strides[0], 1},
                                     .pads = {0, a->pads[0], 0, 0, a->pads[3], 0},
                                     .dilations = {1, a->dilations[0], 1}};
    int rc = add_pool(r, NULL, type, x, a, flags, why);
    if (rc || (rc = onnx_added(r, n, why)))
        return rc;
    struct onnx_value *flat = onnx_find(r, n->output[0]), between = *flat;
    struct shape s = onnx_row(r, flat);
    onnx_set_view(r, &between, SHAPE(a->in.dim[0], a->in.dim[1], s.dim[1] * s.dim[2]));
    if ((rc = add_pool(r, n, type, &between, &deep, flags, why)) || (rc = onnx_added(r, n, why)))
        return rc;
    onnx_set_view(r, flat, SHAPE(a->in.dim[0], onnx_row(r, flat).dim[1], s.dim[1], s.dim[2]));
    return 0;
}

/* ---- dilated maximum ---- */

static int add_slice(struct onnx_reader *r, struct onnx_value *v, int64_t end, int64_t step, struct fail *why)
{
    struct graph_node *l;
    int from, rc;
    if ((rc = onnx_layer_of(r, v, &from, why)) || (rc = onnx_add(r, NULL, NULL, "slice", from, &l, why)))
        return rc;
    struct slice_settings *s = l->settings;
    s->starts = (struct setting_ints){.count = 1, .v = {0}};
    s->ends = (struct setting_ints){.count = 1, .v = {end}};
    s->axes = (struct setting_ints){.count = 1, .v = {1}};
    s->steps = (struct setting_ints){.count = 1, .v = {step}};
    v->node = r->graph->count - 1;
    return onnx_shape_last(r, why);
}

static int add_margin(struct onnx_reader *r, struct onnx_value *v, int64_t before, int64_t after,
                      struct fail *why)
{
    struct graph_node *l;
    int from, rc;
    if ((rc = onnx_layer_of(r, v, &from, why)) || (rc = onnx_add(r, NULL, NULL, "pad", from, &l, why)))
        return rc;
    struct pad_settings *s = l->settings;
    s->pads = (struct setting_ints){.count = 6, .v = {0, before, 0, 0, after, 0}};
    s->value = -INFINITY;
    v->node = r->graph->count - 1;
    return onnx_shape_last(r, why);
}

/* Along direction i of [outer, L, inner]: padded by -inf to a multiple of the dilation d and seen as
 * [outer, L / d, d inner], windows have no gaps; of the outputs, one for each place, every stride-th is taken. */
static int add_gaps(struct onnx_reader *r, struct onnx_value *v, const struct window_attributes *a, int i,
                    bool up, struct fail *why)
{
    static const int64_t no_flags[2] = {0};
    int64_t d = a->dilations[i], k = a->kernel[i], out = window_pixels(a, i, up);
    struct shape s = onnx_row(r, v);
    int64_t reach = (out - 1) * a->strides[i] + (k - 1) * d + 1, length = s.dim[1] + a->pads[i];
    length = ((length > reach ? length : reach) + d - 1) / d * d;
    struct window_attributes line = {.kernel = {1, k, 1}, .strides = {1, 1, 1}};
    int rc;
    if (out < 1)
        return fail(why, E_FILE, "its window does not fit its input");
    if ((rc = add_margin(r, v, a->pads[i], length - s.dim[1] - a->pads[i], why)))
        return rc;
    onnx_set_view(r, v, SHAPE(s.dim[0], length / d, d * s.dim[2]));
    if ((rc = add_pool(r, NULL, "maxpool", v, &line, no_flags, why)) || (rc = onnx_shape_last(r, why)))
        return rc;
    v->node = r->graph->count - 1;
    onnx_set_view(r, v, SHAPE(s.dim[0], length - (k - 1) * d, s.dim[2]));
    return add_slice(r, v, (out - 1) * a->strides[i] + 1, a->strides[i], why);
}

/* The largest of a box is the largest along one direction after the other. */
static int import_dilated(struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_value *x,
                          const struct window_attributes *a, bool up, struct fail *why)
{
    struct onnx_value v = *x;
    struct shape s = a->in;
    int rc;
    v.uses = 1;
    for (int i = 0; i < 3; i++) {
        int64_t outer = 1, inner = 1;
        for (int d = 0; d < 4; d++)
            *(d < 1 + i ? &outer : &inner) *= d == 1 + i ? 1 : s.dim[d];
        if (a->kernel[i] == 1 && a->strides[i] == 1 && !a->pads[i] && !a->pads[3 + i])
            continue;
        onnx_set_view(r, &v, SHAPE(outer, s.dim[1 + i], inner));
        if ((rc = add_gaps(r, &v, a, i, up, why)))
            return rc;
        s.dim[1 + i] = onnx_row(r, &v).dim[1];
    }
    memmove(s.dim + 1, s.dim + 4 - a->spatial, (size_t)a->spatial * sizeof s.dim[0]);
    s.rank = 1 + a->spatial;
    onnx_set_view(r, &v, s);
    onnx_define_alias(r, n, &v);
    return 0;
}

static int import_pool(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type,
                       const struct onnx_value *x, const struct window_attributes *a, const int64_t flags[2],
                       struct fail *why)
{
    struct onnx_value flat = *x;
    bool dilated = a->dilations[0] != 1 || a->dilations[1] != 1 || a->dilations[2] != 1;
    if (dilated && strcmp(type, "maxpool"))
        return fail(why, E_UNSUPPORTED, "dilations other than 1 are supported for MaxPool only");
    if (dilated)
        return import_dilated(r, n, x, a, flags[0] != 0, why);
    onnx_set_view(r, &flat, SHAPE(a->in.dim[0] * a->in.dim[1], a->in.dim[2], a->in.dim[3]));
    if (a->spatial == 3)
        return add_depth_pool(r, n, type, &flat, a, flags, why);
    int rc = add_pool(r, n, type, &flat, a, flags, why);
    return rc ? rc : window_added(r, n, a, 1, why);
}

/* What both pools say: the window, and flags[0], ceil_mode. */
static int read_pool(struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_value *x,
                     const struct onnx_value *plain, struct window_attributes *a, int64_t *ceil_mode,
                     struct fail *why)
{
    int rc;
    if (!onnx_attribute(n, "kernel_shape"))
        return fail(why, E_FILE, "the attribute kernel_shape is missing");
    if ((rc = window_read(r, n, plain, a, why)) || (rc = window_auto_pad(n, x, a, why)))
        return rc;
    return onnx_attribute_int(n, "ceil_mode", ceil_mode, why);
}

/* Padding of its own is no value; that of a Pad is a zero. */
int onnx_import_maxpool(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct window_attributes a = {0};
    int64_t flags[2] = {0};
    int layer, rc = onnx_want_activation(x, why);
    if (rc || (x->padded && (rc = onnx_layer_of(r, x, &layer, why))) ||
        (rc = read_pool(r, n, x, x, &a, &flags[0], why)))
        return rc;
    return import_pool(r, n, "maxpool", x, &a, flags, why);
}

/* Exporters write a padded average whose padding counts as Pad and AveragePool. */
int onnx_import_avgpool(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), plain;
    struct window_attributes a = {0};
    int64_t flags[2] = {0};
    bool own = false;
    int rc = window_take_pads(x, &a, &plain, why);
    if (rc)
        return rc;
    struct window_attributes before = a;
    if ((rc = read_pool(r, n, x, &plain, &a, &flags[0], why)) ||
        (rc = onnx_attribute_int(n, "count_include_pad", &flags[1], why)))
        return rc;
    for (int i = 0; i < 6; i++)
        own = own || a.pads[i] != before.pads[i];
    if (x->padded && (flags[0] || (own && !flags[1])))
        return fail(why, E_UNSUPPORTED,
                    "after a Pad it may neither round up nor have padding of another kind");
    flags[1] = flags[1] || x->padded;
    return import_pool(r, n, "avgpool", &plain, &a, flags, why);
}
