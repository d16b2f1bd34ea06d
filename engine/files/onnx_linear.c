/* Gemm and MatMul: dense layers and their biases. The rows that name them are in onnx_operators.c.
 * Next to read: onnx_windows.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

/* ---- parameters ---- */

/* The bias of `count` outputs, one number for each or one for all, times `scale`, each `repeat` times. Leading
 * ones in the shape do not matter; `trailing` dimensions of one must follow. */
static int read_bias(const struct onnx_value *v, int64_t count, int trailing, int64_t repeat, float scale,
                     float **out, struct fail *why)
{
    struct shape s;
    char text[96];
    float *data = NULL;
    int rc = onnx_want_floats(v, "the bias", &data, &s, why);
    if (rc)
        return rc;
    int64_t n = shape_size(s);
    int at = s.rank - 1 - trailing;
    bool each = n == count && at >= 0 && s.dim[at] == count;
    *out = NULL;
    if ((!each && n != 1) || s.rank > trailing + 2)
        rc = fail(why, E_UNSUPPORTED, "the bias %.80s has shape %s, expected [%lld] or one number", v->name,
                  shape_text(s, text, sizeof text), (long long)count);
    else if (!(*out = malloc((size_t)(count * repeat) * sizeof **out)))
        rc = fail(why, E_MEMORY, "no memory for a bias");
    for (int64_t i = 0; !rc && i < count * repeat; i++)
        (*out)[i] = scale * data[each ? i / repeat : 0];
    free(data);
    return rc;
}

int onnx_set_bias(struct onnx_reader *r, int layer, struct onnx_value *v, int64_t count, int trailing,
                  int64_t repeat, float scale, struct fail *why)
{
    float *data = NULL;
    int rc = read_bias(v, count, trailing, repeat, scale, &data, why);
    if (!rc)
        rc = onnx_set_param(r, layer, 1, v, SHAPE(count * repeat), data, why);
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
    int rc = onnx_want_floats(w, "the weight", &from, s, why);
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
    if ((rc = onnx_want_activation(x, why)) ||
        (rc = onnx_want_rank(r, x, 1, "flat (a Flatten before it)", why)) ||
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
        rc = onnx_set_bias(r, layer, b, s.dim[0], 0, 1, bias_scale, why);
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

/* ---- Add: the bias of the layer before ---- */

/* The layer before can take it: only this node reads its output, and it has neither bias nor activation yet. */
static bool takes_bias(const struct onnx_reader *r, const struct onnx_value *x, const struct onnx_value *b)
{
    bool conv = onnx_is_type(r, x, "conv"), dense = onnx_is_type(r, x, "dense");
    if (r->ours || x->uses != 1 || x->viewed || x->padded || (!conv && !dense) || !b->tensor)
        return false;
    const struct graph_node *l = &r->graph->nodes[x->node];
    const struct conv_settings *c = l->settings;
    const struct dense_settings *d = l->settings;
    int64_t count = l->shape.dim[0], size = 1, channel = 1;
    for (size_t i = 0; i < b->tensor->n_dims; i++) {
        size = b->tensor->dims[i] == 1 ? size : size == 1 ? b->tensor->dims[i] : -1;
        channel = b->tensor->n_dims - i == (conv ? 3 : 1) ? b->tensor->dims[i] : channel;
    }
    bool fits = size == 1 || (size == count && channel == count);
    return fits &&
           (conv ? !c->bias && c->activation == MAP_IDENTITY : !d->bias && d->activation == MAP_IDENTITY);
}

int onnx_import_bias(struct onnx_reader *r, const Onnx__NodeProto *n, bool *done, struct fail *why)
{
    struct onnx_value *a = onnx_input(r, n, 0), *b = onnx_input(r, n, 1);
    *done = false;
    if (!a || !b || onnx_is_constant(a) == onnx_is_constant(b))
        return 0;
    struct onnx_value *x = onnx_is_constant(a) ? b : a, *c = onnx_is_constant(a) ? a : b;
    if (!takes_bias(r, x, c))
        return 0;
    struct graph_node *l = &r->graph->nodes[x->node];
    bool conv = onnx_is_type(r, x, "conv");
    int rc = onnx_set_bias(r, x->node, c, l->shape.dim[0], conv ? 2 : 0, 1, 1, why);
    if (rc)
        return rc;
    *(conv ? &((struct conv_settings *)l->settings)->bias : &((struct dense_settings *)l->settings)->bias) =
        true;
    onnx_define(r, n, x->node);
    *done = true;
    return 0;
}
