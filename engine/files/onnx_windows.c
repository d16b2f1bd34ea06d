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

/* A window of two spatial dimensions, as Conv and the pools describe it. */
struct window_attributes {
    int64_t kernel[2], strides[2], pads[4], dilations[2];
};

/* auto_pad: SAME_* pads so that the output has ceil(input / stride) pixels. */
static int read_auto_pad(const struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_value *x,
                         struct window_attributes *a, struct fail *why)
{
    char mode[16] = "NOTSET";
    struct shape row = onnx_row(r, x);
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
    for (int i = 0; i < 2; i++) {
        int64_t in = row.dim[1 + i], out = (in + a->strides[i] - 1) / a->strides[i];
        int64_t pad = (out - 1) * a->strides[i] + (a->kernel[i] - 1) * a->dilations[i] + 1 - in;
        pad = pad > 0 ? pad : 0;
        a->pads[i] = upper ? pad / 2 : pad - pad / 2;
        a->pads[2 + i] = pad - a->pads[i];
    }
    return 0;
}

static int read_window(const struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_value *x,
                       struct window_attributes *a, struct fail *why)
{
    int rc = onnx_want_rank(r, x, 3, "[C, H, W]", why);
    for (int i = 0; i < 2; i++)
        a->strides[i] = a->dilations[i] = 1;
    if (rc || (rc = onnx_attribute_ints(n, "kernel_shape", 2, 1, WINDOW_MOST, a->kernel, why)) ||
        (rc = onnx_attribute_ints(n, "strides", 2, 1, WINDOW_MOST, a->strides, why)) ||
        (rc = onnx_attribute_ints(n, "pads", 4, 0, WINDOW_MOST, a->pads, why)) ||
        (rc = onnx_attribute_ints(n, "dilations", 2, 1, WINDOW_MOST, a->dilations, why)))
        return rc;
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
        a->pads[i] += x->pads[i];
    return 0;
}

/* ---- convolution ---- */

static int check_kernel(const Onnx__NodeProto *n, struct shape w, struct window_attributes *a,
                        struct fail *why)
{
    char text[96];
    if (w.rank != 4 || shape_size(w) < 1)
        return fail(why, E_UNSUPPORTED, "its weights have shape %s, expected [filters, C / groups, R, S]",
                    shape_text(w, text, sizeof text));
    for (int i = 0; i < 2; i++) {
        if (w.dim[2 + i] > WINDOW_MOST)
            return fail(why, E_UNSUPPORTED,
                        "its weights have shape %s: kernels have at most %d rows or columns",
                        shape_text(w, text, sizeof text), WINDOW_MOST);
        if (onnx_attribute(n, "kernel_shape") && a->kernel[i] != w.dim[2 + i])
            return fail(why, E_FILE, "kernel_shape says %lld x %lld, the weights have shape %s",
                        (long long)a->kernel[0], (long long)a->kernel[1], shape_text(w, text, sizeof text));
        a->kernel[i] = w.dim[2 + i];
    }
    return 0;
}

int onnx_import_conv(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), *w = onnx_input(r, n, 1), *b = onnx_input(r, n, 2);
    struct window_attributes a = {0};
    struct onnx_value plain;
    struct graph_node *l;
    struct shape s;
    float *data = NULL;
    int64_t groups = 1;
    int from, rc;
    if ((rc = take_pads(x, &a, &plain, why)) || (rc = onnx_want_floats(w, "the weight", &data, &s, why)))
        return rc;
    /* The weights give the kernel, and auto_pad wants it. */
    if ((rc = read_window(r, n, x, &a, why)) || (rc = check_kernel(n, s, &a, why)) ||
        (rc = read_auto_pad(r, n, x, &a, why)) || (rc = onnx_attribute_int(n, "group", &groups, why)) ||
        (rc = onnx_layer_of(r, &plain, &from, why)) || (rc = onnx_add(r, n, w, "conv", from, &l, why)))
        goto out;
    struct conv_settings *c = l->settings;
    c->filters = s.dim[0];
    c->kernel = short_ints(a.kernel, 2);
    c->stride = short_ints(a.strides, 2);
    c->padding = short_pads(a.pads);
    c->dilation = short_ints(a.dilations, 2);
    c->groups = groups;
    c->bias = b != NULL;
    int layer = r->graph->count - 1;
    rc = onnx_set_param(r, layer, 0, w, s, data, why);
    if (!rc && b)
        rc = onnx_set_bias(r, layer, b, s.dim[0], 0, 1, why);
    if (!rc)
        rc = onnx_added(r, n, why);
out:
    free(data);
    return rc;
}

/* ---- pools ---- */

static int add_pool(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type, struct onnx_value *x,
                    const struct window_attributes *a, const int64_t flags[2], struct fail *why)
{
    struct graph_node *l;
    int from, rc;
    if (a->dilations[0] != 1 || a->dilations[1] != 1)
        return fail(why, E_UNSUPPORTED, "dilations other than 1 are not supported for pools");
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, type, from, &l, why)))
        return rc;
    struct pool_settings *p = l->settings;
    bool step = a->strides[0] != a->kernel[0] || a->strides[1] != a->kernel[1];
    p->size = short_ints(a->kernel, 2);
    p->stride = step ? short_ints(a->strides, 2) : (struct setting_ints){0};
    p->padding = short_pads(a->pads);
    p->ceil = flags[0] != 0;
    p->count_padding = flags[1] != 0;
    return onnx_added(r, n, why);
}

/* What both pools say: the window, and flags[0], ceil_mode. */
static int read_pool(struct onnx_reader *r, const Onnx__NodeProto *n, struct onnx_value *x,
                     struct window_attributes *a, int64_t *ceil_mode, struct fail *why)
{
    int rc;
    if (!onnx_attribute(n, "kernel_shape"))
        return fail(why, E_FILE, "the attribute kernel_shape is missing");
    if ((rc = read_window(r, n, x, a, why)) || (rc = read_auto_pad(r, n, x, a, why)))
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
    return add_pool(r, n, "maxpool", x, &a, flags, why);
}

/* Exporters write a padded average whose padding counts as Pad and AveragePool. */
int onnx_import_avgpool(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), plain;
    struct window_attributes a = {0};
    int64_t flags[2] = {0};
    int rc;
    if (!x || onnx_is_constant(x))
        return onnx_want_activation(x, why);
    if ((rc = read_pool(r, n, x, &a, &flags[0], why)) ||
        (rc = onnx_attribute_int(n, "count_include_pad", &flags[1], why)))
        return rc;
    bool own = a.pads[0] || a.pads[1] || a.pads[2] || a.pads[3];
    if (x->padded && (flags[0] || (own && !flags[1])))
        return fail(why, E_UNSUPPORTED,
                    "after a Pad it may neither round up nor have padding of another kind");
    flags[1] = flags[1] || x->padded;
    if ((rc = take_pads(x, &a, &plain, why)))
        return rc;
    return add_pool(r, n, "avgpool", &plain, &a, flags, why);
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
