/* Conv over one, two or three dimensions: row of the table in onnx_operators.c. Next to read: onnx_pools.c. */
#include "engine/files/onnx_windows.h"

#include <stdlib.h>
#include <string.h>

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
    int64_t depth = a->in.dim[1], out = window_pixels(a, 0, false), taps = w->dim[3] * w->dim[4];
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

static int add_conv(struct onnx_reader *r, const Onnx__NodeProto *n, struct onnx_value *x,
                    const struct window_attributes *a, const struct shape *s, const float *data,
                    struct fail *why)
{
    struct onnx_value *w = onnx_input(r, n, 1), *b = onnx_input(r, n, 2);
    struct graph_node *l;
    int64_t depth = a->spatial == 3 ? window_pixels(a, 0, false) : 1;
    int from, rc;
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, w, "conv", from, &l, why)))
        return rc;
    struct conv_settings *c = l->settings;
    c->filters = s->dim[0];
    window_lists(a, &c->kernel, &c->stride, &c->padding);
    c->dilation = window_ints(a->dilations + 1);
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
    struct onnx_value *x = onnx_input(r, n, 0), plain;
    struct window_attributes a = {0};
    struct shape s;
    float *data = NULL;
    int rc;
    if ((rc = window_take_pads(x, &a, &plain, why)) ||
        (rc = onnx_want_floats(onnx_input(r, n, 1), "the weight", &data, &s, why)))
        return rc;
    /* The weights give the kernel, and auto_pad wants it. */
    if (!(rc = window_read(r, n, &plain, &a, why)) && !(rc = check_kernel(n, s, &a, why)) &&
        !(rc = window_auto_pad(n, x, &a, why)) && !(rc = flatten_depth(r, &a, &plain, &s, &data, why)))
        rc = add_conv(r, n, &plain, &a, &s, data, why);
    free(data);
    return rc;
}
