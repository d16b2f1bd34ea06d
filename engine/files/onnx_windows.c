/* Conv, MaxPool, AveragePool and the Pad before them: layers whose windows move over two dimensions.
 * The rows that name them are in onnx_operators.c. Next to read: layers/window.c, the arithmetic. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

enum { WINDOW_MOST = 1 << 16 }; /* of kernels, strides, paddings: keeps sums of them far from overflow */

/* The shortest list that means `v`: one number when all are equal. */
static struct setting_ints short_ints(const int64_t *v, int n)
{
    struct setting_ints out = {.count = 1, .v = {v[0]}};
    for (int i = 1; i < n; i++)
        if (v[i] != v[0])
            out.count = n;
    for (int i = 0; i < out.count; i++)
        out.v[i] = v[i];
    return out;
}

/* ONNX gives all tops, then all bottoms; so do our settings. Two numbers when both ends are equal. */
static struct setting_ints short_pads(const int64_t v[4])
{
    return short_ints(v, v[0] == v[2] && v[1] == v[3] ? 2 : 4);
}

/* A window over depth, height and width; where there are fewer the first ones are 1 (padding 0). */
struct window_attributes {
    int spatial;
    struct shape in; /* [C, D, H, W] */
    int64_t kernel[3], strides[3], pads[6], dilations[3];
};

/* auto_pad: SAME_* pads so that the output has ceil(input / stride) pixels. */
static int read_auto_pad(const Onnx__NodeProto *n, const struct onnx_value *x, struct window_attributes *a,
                         struct fail *why)
{
    char mode[16] = "NOTSET";
    int rc = onnx_attribute_text(n, "auto_pad", mode, sizeof mode, why);
    if (rc || !strcmp(mode, "NOTSET"))
        return rc;
    if (x->padded)
        return fail(why, E_UNSUPPORTED, "auto_pad %s after a Pad is not supported", mode);
    memset(a->pads, 0, sizeof a->pads);
    bool upper = !strcmp(mode, "SAME_UPPER");
    if (!strcmp(mode, "VALID"))
        return 0;
    if (!upper && strcmp(mode, "SAME_LOWER"))
        return fail(why, E_FILE, "auto_pad %s: expected NOTSET, SAME_UPPER, SAME_LOWER or VALID", mode);
    for (int i = 0; i < 3; i++) {
        int64_t in = a->in.dim[1 + i], out = (in + a->strides[i] - 1) / a->strides[i];
        int64_t pad = (out - 1) * a->strides[i] + (a->kernel[i] - 1) * a->dilations[i] + 1 - in;
        pad = pad > 0 ? pad : 0;
        a->pads[i] = upper ? pad / 2 : pad - pad / 2;
        a->pads[3 + i] = pad - a->pads[i];
    }
    return 0;
}

static int read_window(const struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_value *x,
                       struct window_attributes *a, struct fail *why)
{
    struct shape row = onnx_row(r, x);
    int64_t pads[6] = {0};
    char text[96];
    int rc, m = a->spatial = row.rank - 1, skip = 3 - m;
    if (m < 1 || m > 3 || !r->lead)
        return fail(why, E_UNSUPPORTED,
                    "one row of its input is %s, expected [C, W], [C, H, W] or [C, D, H, W]",
                    shape_text(row, text, sizeof text));
    a->in = SHAPE(row.dim[0], 1, 1, 1);
    memcpy(a->in.dim + 1 + skip, row.dim + 1, (size_t)m * sizeof row.dim[0]);
    for (int i = 0; i < 3; i++)
        a->strides[i] = a->dilations[i] = a->kernel[i] = 1;
    if ((rc = onnx_attribute_ints(n, "kernel_shape", m, 1, WINDOW_MOST, a->kernel + skip, why)) ||
        (rc = onnx_attribute_ints(n, "strides", m, 1, WINDOW_MOST, a->strides + skip, why)) ||
        (rc = onnx_attribute_ints(n, "pads", 2 * m, 0, WINDOW_MOST, pads, why)) ||
        (rc = onnx_attribute_ints(n, "dilations", m, 1, WINDOW_MOST, a->dilations + skip, why)))
        return rc;
    for (int i = 0; i < m; i++) {
        a->pads[skip + i] += pads[i];
        a->pads[3 + skip + i] += pads[m + i];
    }
    return 0;
}

/* What a Pad before this window added becomes the window's own padding; *plain is its input without. */
static int take_pads(struct onnx_value *x, struct window_attributes *a, struct onnx_value *plain,
                     struct fail *why)
{
    if (!x || onnx_is_constant(x))
        return onnx_want_activation(x, why);
    *plain = *x;
    plain->padded = false;
    for (int i = 0; x->padded && i < 4; i++)
        a->pads[i / 2 * 3 + 1 + i % 2] = x->pads[i];
    return 0;
}

/* Output pixels along one direction, or 0: layers/window.c checks and says why. */
static int64_t pixels(const struct window_attributes *a, int i, bool up)
{
    int64_t room = a->in.dim[1 + i] + a->pads[i] + a->pads[3 + i] - (a->kernel[i] - 1) * a->dilations[i] - 1;
    if (room < 0)
        return 0;
    int64_t n = (room + (up ? a->strides[i] - 1 : 0)) / a->strides[i] + 1;
    return up && (n - 1) * a->strides[i] >= a->in.dim[1 + i] + a->pads[i] ? n - 1 : n;
}

static void window_lists(const struct window_attributes *a, struct setting_ints *size,
                         struct setting_ints *stride, struct setting_ints *padding)
{
    *size = short_ints(a->kernel + 1, 2);
    *stride = short_ints(a->strides + 1, 2);
    *padding = short_pads((int64_t[]){a->pads[1], a->pads[2], a->pads[4], a->pads[5]});
}

/* ---- convolution ---- */

static int check_kernel(const Onnx__NodeProto *n, struct shape w, struct window_attributes *a,
                        struct fail *why)
{
    char text[96], said[96];
    int m = a->spatial, skip = 3 - m;
    if (w.rank != m + 2 || shape_size(w) < 1)
        return fail(why, E_UNSUPPORTED, "its weights have shape %s, expected [filters, C / groups, %s]",
                    shape_text(w, text, sizeof text),
                    m == 1   ? "S"
                    : m == 2 ? "R, S"
                             : "T, R, S");
    struct shape given = {.rank = m};
    memcpy(given.dim, a->kernel + skip, (size_t)m * sizeof given.dim[0]);
    for (int i = 0; i < m; i++) {
        if (w.dim[2 + i] > WINDOW_MOST)
            return fail(why, E_UNSUPPORTED,
                        "its weights have shape %s: kernels have at most %d rows or columns",
                        shape_text(w, text, sizeof text), WINDOW_MOST);
        if (onnx_attribute(n, "kernel_shape") && a->kernel[skip + i] != w.dim[2 + i])
            return fail(why, E_FILE, "kernel_shape says %s, the weights have shape %s",
                        shape_text(given, said, sizeof said), shape_text(w, text, sizeof text));
        a->kernel[skip + i] = w.dim[2 + i];
    }
    return 0;
}

/* Depth as channels: filter k at depth p reads channel c at depth p * stride - pad + t * dilation with weight
 * [k][c][t], and with 0 at all others. So [K, C, T, R, S] becomes [K * P, C * D, R, S], in place of *data. */
static int unroll_depth(struct onnx_reader *r, const struct window_attributes *a, struct shape *w,
                        float **data, struct fail *why)
{
    int64_t depth = a->in.dim[1], out = pixels(a, 0, false), taps = w->dim[3] * w->dim[4];
    struct shape wide = SHAPE(w->dim[0] * out, w->dim[1] * depth, w->dim[3], w->dim[4]);
    int64_t size = w->dim[0] < INT32_MAX && w->dim[1] < INT32_MAX ? shape_size(wide) : -1;
    if (size < 1 || (size_t)size > r->room / sizeof(float))
        return fail(why, E_UNSUPPORTED, "a convolution over a depth of %lld, which is unrolled, is too large",
                    (long long)depth);
    float *to = calloc((size_t)size, sizeof *to);
    if (!to)
        return fail(why, E_MEMORY, "no memory for the weights");
    r->room -= (size_t)size * sizeof *to;
    for (int64_t i = 0; i < w->dim[0] * out * w->dim[1] * w->dim[2]; i++) {
        int64_t t = i % w->dim[2], c = i / w->dim[2] % w->dim[1], k = i / w->dim[2] / w->dim[1];
        int64_t d = k % out * a->strides[0] - a->pads[0] + t * a->dilations[0];
        if (d >= 0 && d < depth)
            memcpy(to + (k * wide.dim[1] + c * depth + d) * taps,
                   *data + (((k / out) * w->dim[1] + c) * w->dim[2] + t) * taps, (size_t)taps * sizeof *to);
    }
    free(*data);
    *data = to;
    *w = wide;
    return 0;
}

/* The input as [C, H, W] and the weights as [K, C / groups, R, S]. */
static int flatten_depth(struct onnx_reader *r, const struct window_attributes *a, struct onnx_value *x,
                         struct shape *w, float **data, struct fail *why)
{
    onnx_set_view(r, x, SHAPE(a->in.dim[0] * a->in.dim[1], a->in.dim[2], a->in.dim[3]));
    if (a->spatial == 1)
        *w = SHAPE(w->dim[0], w->dim[1], 1, w->dim[2]);
    return a->spatial == 3 ? unroll_depth(r, a, w, data, why) : 0;
}

/* The output in as many dimensions as the input has. */
static int window_added(struct onnx_reader *r, const Onnx__NodeProto *n, const struct window_attributes *a,
                        int64_t depth, struct fail *why)
{
    int rc = onnx_added(r, n, why);
    if (rc || a->spatial == 2)
        return rc;
    struct onnx_value *y = onnx_find(r, n->output[0]);
    struct shape s = onnx_row(r, y);
    onnx_set_view(r, y,
                  a->spatial == 1 ? SHAPE(s.dim[0], s.dim[2])
                                  : SHAPE(s.dim[0] / depth, depth, s.dim[1], s.dim[2]));
    return 0;
}

static int add_conv(struct onnx_reader *r, const Onnx__NodeProto *n, struct onnx_value *x,
                    const struct window_attributes *a, const struct shape *s, const float *data,
                    struct fail *why)
{
    struct onnx_value *w = onnx_input(r, n, 1), *b = onnx_input(r, n, 2);
    struct graph_node *l;
    int64_t depth = a->spatial == 3 ? pixels(a, 0, false) : 1;
    int from, rc;
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, w, "conv", from, &l, why)))
        return rc;
    struct conv_settings *c = l->settings;
    c->filters = s->dim[0];
    window_lists(a, &c->kernel, &c->stride, &c->padding);
    c->dilation = short_ints(a->dilations + 1, 2);
    c->bias = b != NULL;
    int layer = r->graph->count - 1;
    if ((rc = onnx_attribute_int(n, "group", &c->groups, why)) ||
        (rc = onnx_set_param(r, layer, 0, w, *s, data, why)))
        return rc;
    if (b && (rc = onnx_set_bias(r, layer, b, s->dim[0] / depth, 0, depth, 1, why)))
        return rc;
    return window_added(r, n, a, depth, why);
}

int onnx_import_conv(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct window_attributes a = {0};
    struct onnx_value plain;
    struct shape s;
    float *data = NULL;
    int rc;
    if ((rc = take_pads(x, &a, &plain, why)) ||
        (rc = onnx_want_floats(onnx_input(r, n, 1), "the weight", &data, &s, why)))
        return rc;
    /* The weights give the kernel, and auto_pad wants it. */
    if (!(rc = read_window(r, n, x, &a, why)) && !(rc = check_kernel(n, s, &a, why)) &&
        !(rc = read_auto_pad(n, x, &a, why)) && !(rc = flatten_depth(r, &a, &plain, &s, &data, why)))
        rc = add_conv(r, n, &plain, &a, &s, data, why);
    free(data);
    return rc;
}

/* ---- pools ---- */

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

static int import_pool(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type,
                       const struct onnx_value *x, const struct window_attributes *a, const int64_t flags[2],
                       struct fail *why)
{
    struct onnx_value flat = *x;
    if (a->dilations[0] != 1 || a->dilations[1] != 1 || a->dilations[2] != 1)
        return fail(why, E_UNSUPPORTED, "dilations other than 1 are not supported for pools");
    onnx_set_view(r, &flat, SHAPE(a->in.dim[0] * a->in.dim[1], a->in.dim[2], a->in.dim[3]));
    if (a->spatial == 3)
        return add_depth_pool(r, n, type, &flat, a, flags, why);
    int rc = add_pool(r, n, type, &flat, a, flags, why);
    return rc ? rc : window_added(r, n, a, 1, why);
}

/* What both pools say: the window, and flags[0], ceil_mode. */
static int read_pool(struct onnx_reader *r, const Onnx__NodeProto *n, struct onnx_value *x,
                     struct window_attributes *a, int64_t *ceil_mode, struct fail *why)
{
    int rc;
    if (!onnx_attribute(n, "kernel_shape"))
        return fail(why, E_FILE, "the attribute kernel_shape is missing");
    if ((rc = read_window(r, n, x, a, why)) || (rc = read_auto_pad(n, x, a, why)))
        return rc;
    return onnx_attribute_int(n, "ceil_mode", ceil_mode, why);
}

int onnx_import_maxpool(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct window_attributes a = {0};
    int64_t flags[2] = {0};
    int rc;
    if ((rc = onnx_want_activation(x, why)) || (rc = read_pool(r, n, x, &a, &flags[0], why)))
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
    int rc = take_pads(x, &a, &plain, why);
    if (rc)
        return rc;
    struct window_attributes before = a;
    if ((rc = read_pool(r, n, x, &a, &flags[0], why)) ||
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

/* ---- Pad ---- */

/* begin of every dimension, then end of every dimension: attribute until operator set 10, then an input. */
static int read_pads(struct onnx_reader *r, const Onnx__NodeProto *n, int rank, int64_t *pads,
                     struct fail *why)
{
    struct onnx_value *given = onnx_input(r, n, 1);
    int count = 0, rc;
    if (r->opset < 11)
        return onnx_attribute(n, "pads") ? onnx_attribute_ints(n, "pads", 2 * rank, 0, WINDOW_MOST, pads, why)
                                         : fail(why, E_FILE, "the attribute pads is missing");
    if ((rc = onnx_want_numbers(given, "the padding", pads, 2 * SHAPE_DIMS, &count, why)))
        return rc;
    if (count != 2 * rank)
        return fail(why, E_FILE, "%d paddings for %d dimensions", count, rank);
    for (int i = 0; i < count; i++)
        if (pads[i] < 0 || pads[i] > WINDOW_MOST)
            return fail(why, E_UNSUPPORTED, "a padding of %lld, supported are 0 to %d", (long long)pads[i],
                        WINDOW_MOST);
    return 0;
}

static int check_pad_value(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *given = onnx_input(r, n, 2);
    char mode[16] = "constant";
    float value = 0;
    int rc;
    if ((rc = onnx_attribute_text(n, "mode", mode, sizeof mode, why)) ||
        (rc = onnx_attribute_float(n, "value", &value, why)) ||
        (given && (rc = onnx_want_float(given, "the value", &value, why))))
        return rc;
    if (strcmp(mode, "constant") || value != 0)
        return fail(why, E_UNSUPPORTED, "pads with %s %g; supported is constant 0", mode, (double)value);
    return 0;
}

/* No layer: the window that reads it takes the zeros over. */
int onnx_import_pad(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    int64_t pads[2 * SHAPE_DIMS];
    int rc = onnx_want_activation(x, why);
    if (rc)
        return rc;
    int rank = onnx_row(r, x).rank + 1;
    if ((rc = read_pads(r, n, rank, pads, why)))
        return rc;
    struct onnx_value value = *x;
    for (int i = 0; i < 2 * rank; i++) {
        int dim = i % rank;
        if (!pads[i])
            continue;
        if (rank != 4 || dim < 2)
            return fail(why, E_UNSUPPORTED, "pads another dimension than height and width");
        value.padded = true;
        value.pads[dim - 2 + (i < rank ? 0 : 2)] = pads[i];
    }
    if (value.padded && (rc = check_pad_value(r, n, why)))
        return rc;
    onnx_define_alias(r, n, &value);
    return 0;
}
