/* The operators with weights and the pools: Conv, Gemm, MatMul, Add, MaxPool, AveragePool become layers.
 * The rows that name them, and all other operators, are in onnx_operators.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

enum { WINDOW_MOST = 1 << 16 }; /* of kernels, strides, paddings: keeps sums of them far from overflow */

/* ---- what several operators need ---- */

static int want_rank(const struct onnx_reader *r, const struct onnx_value *x, int rank, const char *form,
                     struct fail *why)
{
    char text[96];
    struct shape row = onnx_row(r, x);
    if (row.rank == rank)
        return 0;
    return fail(why, E_UNSUPPORTED, "one row of its input is %s, expected %s",
                shape_text(row, text, sizeof text), form);
}

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
    int rc = want_rank(r, x, 3, "[C, H, W]", why);
    for (int i = 0; i < 2; i++)
        a->strides[i] = a->dilations[i] = 1;
    if (rc || (rc = onnx_attribute_ints(n, "kernel_shape", 2, 1, WINDOW_MOST, a->kernel, why)) ||
        (rc = onnx_attribute_ints(n, "strides", 2, 1, WINDOW_MOST, a->strides, why)) ||
        (rc = onnx_attribute_ints(n, "pads", 4, 0, WINDOW_MOST, a->pads, why)) ||
        (rc = onnx_attribute_ints(n, "dilations", 2, 1, WINDOW_MOST, a->dilations, why)))
        return rc;
    return 0;
}

/* ---- parameters ---- */

/* The bias of `count` outputs, one number for each or one for all, times `scale`. Leading ones in the shape
 * do not matter; `trailing` dimensions of one must follow. NULL value: none. */
static int read_bias(const struct onnx_value *v, int64_t count, int trailing, float scale, float **out,
                     struct fail *why)
{
    struct shape s;
    char text[96];
    float *data = NULL;
    int rc = onnx_want_constant(v, "the bias", why);
    if (rc || (rc = onnx_tensor_floats(v->tensor, &data, &s, why)))
        return rc;
    int64_t n = shape_size(s);
    int at = s.rank - 1 - trailing;
    bool each = n == count && at >= 0 && s.dim[at] == count;
    if ((!each && n != 1) || s.rank > trailing + 2) {
        free(data);
        return fail(why, E_UNSUPPORTED, "the bias %.80s has shape %s, expected [%lld] or one number", v->name,
                    shape_text(s, text, sizeof text), (long long)count);
    }
    if (!each) {
        float *grown = realloc(data, (size_t)count * sizeof *data);
        if (!grown) {
            free(data);
            return fail(why, E_MEMORY, "no memory for a bias");
        }
        data = grown;
        for (int64_t i = 1; i < count; i++)
            data[i] = data[0];
    }
    for (int64_t i = 0; i < count; i++)
        data[i] *= scale;
    *out = data;
    return 0;
}

static int set_bias(struct onnx_reader *r, int layer, struct onnx_value *v, int64_t count, int trailing,
                    float scale, struct fail *why)
{
    float *data = NULL;
    int rc = read_bias(v, count, trailing, scale, &data, why);
    if (!rc)
        rc = onnx_set_param(r, layer, 1, v, SHAPE(count), data, why);
    free(data);
    return rc;
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
    struct graph_node *l;
    struct shape s;
    float *data = NULL;
    int64_t groups = 1;
    int from, rc;
    if ((rc = onnx_want_activation(x, why)) || (rc = onnx_want_constant(w, "the weight", why)) ||
        (rc = onnx_tensor_floats(w->tensor, &data, &s, why)))
        return rc;
    /* The weights give the kernel, and auto_pad wants it. */
    if ((rc = read_window(r, n, x, &a, why)) || (rc = check_kernel(n, s, &a, why)) ||
        (rc = read_auto_pad(r, n, x, &a, why)) || (rc = onnx_attribute_int(n, "group", &groups, why)) ||
        (rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, w, "conv", from, &l, why)))
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
        rc = set_bias(r, layer, b, s.dim[0], 0, 1, why);
    if (!rc)
        rc = onnx_added(r, n, why);
out:
    free(data);
    return rc;
}

/* ---- dense: Gemm and MatMul ---- */

/* The matrix [rows][cols] or its transpose, times scale. */
static int read_matrix(const struct onnx_value *w, bool transpose, float scale, float **out, struct shape *s,
                       struct fail *why)
{
    char text[96];
    float *from = NULL;
    int rc = onnx_tensor_floats(w->tensor, &from, s, why);
    if (rc)
        return rc;
    int64_t n = shape_size(*s), rows = s->dim[0], cols = s->dim[1];
    *out = s->rank == 2 && n > 0 ? malloc((size_t)n * sizeof **out) : NULL;
    if (s->rank != 2 || n < 1)
        rc = fail(why, E_UNSUPPORTED, "its weights have shape %s, expected a matrix",
                  shape_text(*s, text, sizeof text));
    else if (!*out)
        rc = fail(why, E_MEMORY, "no memory for the weights");
    for (int64_t i = 0; !rc && i < n; i++)
        (*out)[transpose ? i % cols * rows + i / cols : i] = scale * from[i];
    if (!rc && transpose)
        *s = SHAPE(cols, rows);
    free(from);
    return rc;
}

/* y = scale x w' + bias_scale b, w [units, inputs] once transposed. */
static int import_dense(struct onnx_reader *r, const Onnx__NodeProto *n, bool transpose, float scale,
                        struct onnx_value *b, float bias_scale, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), *w = onnx_input(r, n, 1);
    struct graph_node *l;
    struct shape s;
    float *data = NULL;
    int rc;
    if ((rc = onnx_want_activation(x, why)) || (rc = onnx_want_constant(w, "the weight", why)) ||
        (rc = want_rank(r, x, 1, "flat (a Flatten before it)", why)) ||
        (rc = read_matrix(w, transpose, scale, &data, &s, why)))
        return rc;
    if (s.dim[1] != onnx_row(r, x).dim[0])
        rc = fail(why, E_FILE, "one row of its input has %lld values, its weights want %lld",
                  (long long)onnx_row(r, x).dim[0], (long long)s.dim[1]);
    /* The dense layer takes its input flat: a Flatten before it needs no layer. */
    if (!rc)
        rc = onnx_add(r, n, w, "dense", x->node, &l, why);
    if (rc)
        goto out;
    struct dense_settings *d = l->settings;
    d->units = s.dim[0];
    d->bias = b != NULL;
    int layer = r->graph->count - 1;
    rc = onnx_set_param(r, layer, 0, w, s, data, why);
    if (!rc && b)
        rc = set_bias(r, layer, b, s.dim[0], 0, bias_scale, why);
    if (!rc)
        rc = onnx_added(r, n, why);
out:
    free(data);
    return rc;
}

int onnx_import_gemm(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    int64_t trans_a = 0, trans_b = 0;
    float alpha = 1, beta = 1;
    int rc;
    if ((rc = onnx_attribute_int(n, "transA", &trans_a, why)) ||
        (rc = onnx_attribute_int(n, "transB", &trans_b, why)) ||
        (rc = onnx_attribute_float(n, "alpha", &alpha, why)) ||
        (rc = onnx_attribute_float(n, "beta", &beta, why)))
        return rc;
    if (trans_a)
        return fail(why, E_UNSUPPORTED, "transA = 1 turns rows into columns, which no layer does");
    return import_dense(r, n, !trans_b, alpha, onnx_input(r, n, 2), beta, why);
}

int onnx_import_matmul(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_dense(r, n, true, 1, NULL, 1, why);
}

/* ---- Add: a bias of the layer before, or two activations ---- */

/* The layer whose output only this node reads and that has neither bias nor activation yet. */
static int add_bias(struct onnx_reader *r, const Onnx__NodeProto *n, struct onnx_value *x,
                    struct onnx_value *b, struct fail *why)
{
    bool conv = onnx_is_type(r, x, "conv"), dense = onnx_is_type(r, x, "dense");
    struct graph_node *l = x->node == GRAPH_INPUT ? NULL : &r->graph->nodes[x->node];
    struct conv_settings *c = conv ? l->settings : NULL;
    struct dense_settings *d = dense ? l->settings : NULL;
    if (x->uses != 1 || x->flat || (!conv && !dense) || (c && (c->bias || c->activation != MAP_IDENTITY)) ||
        (d && (d->bias || d->activation != MAP_IDENTITY)))
        return fail(why, E_UNSUPPORTED,
                    "adds a constant, which is supported only as the bias of a MatMul, Gemm "
                    "or Conv that has none and that nothing else reads");
    int rc = set_bias(r, x->node, b, l->shape.dim[0], conv ? 2 : 0, 1, why);
    if (rc)
        return rc;
    *(c ? &c->bias : &d->bias) = true;
    onnx_define(r, n, x->node);
    return 0;
}

int onnx_import_sum(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct graph_node *l;
    int from[GRAPH_INPUTS], count = (int)n->n_input, rc;
    for (int i = 0; i < count; i++) {
        struct onnx_value *v = onnx_input(r, n, (size_t)i);
        if ((rc = onnx_want_activation(v, why)))
            return rc;
        if (!shape_equal(onnx_row(r, v), onnx_row(r, onnx_input(r, n, 0))))
            return fail(why, E_UNSUPPORTED, "its inputs differ in shape; broadcasting is not supported");
        if ((rc = onnx_layer_of(r, v, &from[i], why)))
            return rc;
    }
    if (count == 1) {
        onnx_define_alias(r, n, onnx_input(r, n, 0), false);
        return 0;
    }
    if ((rc = onnx_add(r, n, NULL, "add", from[0], &l, why)))
        return rc;
    memcpy(l->inputs, from, (size_t)count * sizeof from[0]);
    l->input_count = count;
    return onnx_added(r, n, why);
}

/* Of two activations, or of one and a constant. */
int onnx_import_add(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *a = onnx_input(r, n, 0), *b = onnx_input(r, n, 1);
    if (a && b && !a->tensor != !b->tensor)
        return add_bias(r, n, a->tensor ? b : a, a->tensor ? a : b, why);
    return onnx_import_sum(r, n, why);
}

/* ---- pools ---- */

static int import_pool(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct window_attributes a = {0};
    struct graph_node *l;
    int64_t ceil_mode = 0, count_padding = 0;
    int from, rc;
    if (!onnx_attribute(n, "kernel_shape"))
        return fail(why, E_FILE, "the attribute kernel_shape is missing");
    if ((rc = onnx_want_activation(x, why)) || (rc = read_window(r, n, x, &a, why)) ||
        (rc = read_auto_pad(r, n, x, &a, why)) ||
        (rc = onnx_attribute_int(n, "ceil_mode", &ceil_mode, why)) ||
        (rc = onnx_attribute_int(n, "count_include_pad", &count_padding, why)))
        return rc;
    if (a.dilations[0] != 1 || a.dilations[1] != 1)
        return fail(why, E_UNSUPPORTED, "dilations other than 1 are not supported for pools");
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, type, from, &l, why)))
        return rc;
    struct pool_settings *p = l->settings;
    bool step = a.strides[0] != a.kernel[0] || a.strides[1] != a.kernel[1];
    p->size = short_ints(a.kernel, 2);
    p->stride = step ? short_ints(a.strides, 2) : (struct setting_ints){0};
    p->padding = short_pads(a.pads);
    p->ceil = ceil_mode != 0;
    p->count_padding = count_padding != 0;
    return onnx_added(r, n, why);
}

int onnx_import_maxpool(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_pool(r, n, "maxpool", why);
}

int onnx_import_avgpool(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_pool(r, n, "avgpool", why);
}
