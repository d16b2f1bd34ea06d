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

/* ---- products ---- */

/* y = alpha x w + beta b, x or w turned before. */
struct product {
    struct onnx_value *x, *w, *b;
    bool turn_x, turn_w;
    float alpha, beta;
    struct shape s; /* of w as it is used: [..., inputs, units] turned to [..., units, inputs] */
    float *data;
};

/* Matrices one behind another, each turned when `turn`, times scale. Leading dimensions of one go. */
static int read_matrices(struct product *p, struct fail *why)
{
    struct shape *s = &p->s;
    char text[96];
    float *from = NULL;
    int rc = onnx_want_floats(p->w, "the weight", &from, s, why);
    if (rc)
        return rc;
    while (s->rank > 2 && s->dim[0] == 1)
        memmove(s->dim, s->dim + 1, (size_t)--s->rank * sizeof s->dim[0]);
    int64_t n = shape_size(*s), *last = s->dim + s->rank - 2;
    p->data = s->rank >= 2 && n > 0 ? malloc((size_t)n * sizeof *p->data) : NULL;
    if (s->rank < 2 || n < 1)
        rc = fail(why, E_UNSUPPORTED, "its weights have shape %s, expected a matrix",
                  shape_text(*s, text, sizeof text));
    else if (!p->data)
        rc = fail(why, E_MEMORY, "no memory for the weights");
    for (int64_t i = 0; !rc && i < n; i++) {
        int64_t rows = last[0], cols = last[1], at = i % (rows * cols);
        p->data[p->turn_w ? i : i - at + at % cols * rows + at / cols] = p->alpha * from[i];
    }
    if (!rc && !p->turn_w) {
        int64_t units = last[1];
        last[1] = last[0];
        last[0] = units;
    }
    free(from);
    return rc;
}

/* One number for each unit, or one for all: what a layer takes as its bias. */
static bool is_bias(const struct onnx_value *b, int64_t units)
{
    int64_t size = 1;
    for (size_t i = 0; b->tensor && i < b->tensor->n_dims; i++)
        size = b->tensor->dims[i] == 1 ? size : size == 1 ? b->tensor->dims[i] : -1;
    size_t rank = b->tensor ? b->tensor->n_dims : 0;
    return b->tensor && (size == 1 || (size == units && b->tensor->dims[rank - 1] == units));
}

/* Any other bias is an addition of its own. */
static int add_rest(struct onnx_reader *r, const Onnx__NodeProto *n, const struct product *p,
                    struct fail *why)
{
    struct onnx_value y = *onnx_find(r, n->output[0]);
    if (onnx_is_constant(p->b))
        return onnx_import_operand(r, n, "add", &y, p->b, p->beta, why);
    if (p->beta != 1)
        return fail(why, E_UNSUPPORTED, "beta %g of a bias that is not a constant; supported is 1",
                    (double)p->beta);
    return onnx_import_two(r, n, "add", &y, p->b, why);
}

/* The usual case: a row is a list. The dense layer takes its input flat, so a Flatten before needs no layer. */
static int add_dense(struct onnx_reader *r, const Onnx__NodeProto *n, struct product *p, struct fail *why)
{
    struct graph_node *l;
    int64_t inputs = onnx_row(r, p->x).dim[0];
    int from = p->x->node, layer = r->graph->count, rc;
    bool bias = p->b && is_bias(p->b, p->s.dim[0]);
    if (p->s.rank != 2 || p->s.dim[1] != inputs)
        return fail(why, E_FILE, "one row of its input has %lld values, its weights want %lld",
                    (long long)inputs, (long long)p->s.dim[p->s.rank - 1]);
    if ((p->x->padded && (rc = onnx_layer_of(r, p->x, &from, why))) ||
        (rc = onnx_add(r, n, p->w, "dense", from, &l, why)))
        return rc;
    struct dense_settings *d = l->settings;
    d->units = p->s.dim[0];
    d->bias = bias;
    layer = r->graph->count - 1;
    if ((rc = onnx_set_param(r, layer, 0, p->w, p->s, p->data, why)) ||
        (bias && (rc = onnx_set_bias(r, layer, p->b, p->s.dim[0], 0, 1, p->beta, why))) ||
        (rc = onnx_added(r, n, why)))
        return rc;
    return p->b && !bias ? add_rest(r, n, p, why) : 0;
}

/* Moves the dimension of the inputs before those that it is not multiplied with, and back. */
static int turn(struct onnx_reader *r, struct onnx_value *v, int kept, bool back, struct fail *why)
{
    int rank = onnx_row(r, v).rank, from, rc = onnx_layer_of(r, v, &from, why);
    int64_t perm[SHAPE_DIMS];
    for (int i = 0; i < rank; i++)
        perm[i] = i < kept ? i : back ? (i + 1 < rank ? i + 1 : kept) : (i == kept ? rank - 1 : i - 1);
    if (!rc)
        rc = onnx_add_transpose(r, NULL, from, perm, rank, why);
    v->node = r->graph->count - 1;
    return rc;
}

/* A row of more dimensions: a convolution of one tap over [inputs, all others], its matrices as groups. */
static int add_many(struct onnx_reader *r, const Onnx__NodeProto *n, struct product *p, struct fail *why)
{
    struct onnx_value v = *p->x;
    struct shape row = onnx_row(r, p->x);
    struct graph_node *l;
    int kept = p->s.rank - 2, from, layer, rc;
    int64_t groups = 1, units = p->s.dim[kept], inputs = p->s.dim[kept + 1];
    bool fits = kept == 0 || p->s.rank == row.rank, bias = p->b && kept == 0 && is_bias(p->b, units);
    for (int i = 0; i < kept && fits; i++) {
        fits = p->s.dim[i] == row.dim[i];
        groups *= p->s.dim[i];
    }
    if (!fits || row.dim[p->turn_x ? 0 : row.rank - 1] != inputs)
        return fail(why, E_UNSUPPORTED,
                    "its input has rows of %d dimensions, its weights want %lld values in the last", row.rank,
                    (long long)inputs);
    if (!p->turn_x && (rc = turn(r, &v, kept, false, why)))
        return rc;
    struct shape turned = onnx_row(r, &v);
    onnx_set_view(r, &v, SHAPE(groups * inputs, shape_size(turned) / groups / inputs, 1));
    if ((rc = onnx_layer_of(r, &v, &from, why)) || (rc = onnx_add(r, NULL, p->w, "conv", from, &l, why)))
        return rc;
    struct conv_settings *c = l->settings;
    c->filters = groups * units;
    c->kernel = (struct setting_ints){.count = 1, .v = {1}};
    c->groups = groups;
    c->bias = bias;
    layer = r->graph->count - 1;
    if ((rc = onnx_set_param(r, layer, 0, p->w, SHAPE(groups * units, inputs, 1, 1), p->data, why)) ||
        (bias && (rc = onnx_set_bias(r, layer, p->b, units, 0, 1, p->beta, why))) ||
        (rc = onnx_shape_last(r, why)))
        return rc;
    turned.dim[kept] = units;
    v.node = layer;
    onnx_set_view(r, &v, turned);
    if ((rc = turn(r, &v, kept, true, why)))
        return rc;
    onnx_define(r, n, v.node);
    return p->b && !bias ? add_rest(r, n, p, why) : 0;
}

static int import_product(struct onnx_reader *r, const Onnx__NodeProto *n, struct product *p,
                          struct fail *why)
{
    int rc = onnx_want_activation(p->x, why);
    if (rc || (rc = read_matrices(p, why)))
        return rc;
    int rank = onnx_row(r, p->x).rank;
    if (r->lead && p->turn_x)
        rc = fail(why, E_UNSUPPORTED, "transA = 1 turns rows into columns, which no layer does");
    else if (rank == 1)
        rc = add_dense(r, n, p, why);
    else
        rc = add_many(r, n, p, why);
    free(p->data);
    return rc;
}

int onnx_import_gemm(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct product p = {onnx_input(r, n, 0), onnx_input(r, n, 1), onnx_input(r, n, 2), .alpha = 1, .beta = 1};
    int64_t turn_a = 0, turn_b = 0;
    int rc;
    if ((rc = onnx_attribute_int(n, "transA", &turn_a, why)) ||
        (rc = onnx_attribute_int(n, "transB", &turn_b, why)) ||
        (rc = onnx_attribute_float(n, "alpha", &p.alpha, why)) ||
        (rc = onnx_attribute_float(n, "beta", &p.beta, why)))
        return rc;
    p.turn_x = turn_a != 0;
    p.turn_w = turn_b != 0;
    return import_product(r, n, &p, why);
}

int onnx_import_matmul(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct product p = {onnx_input(r, n, 0), onnx_input(r, n, 1), NULL, .alpha = 1, .beta = 1};
    return import_product(r, n, &p, why);
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
