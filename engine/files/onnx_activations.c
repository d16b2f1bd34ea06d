/* Functions of one value, and softmax: rows of the table in onnx_operators.c. Next to read: onnx_linear.c. */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

/* ---- without numbers of their own ---- */

struct plain {
    const char *operator, * type;
    enum map_fn fn;
};

static const struct plain plains[] = {
    {"Abs", "abs", MAP_ABS},
    {"Exp", "exp", MAP_EXP},
    {"HardSwish", "hard_swish", MAP_HARD_SWISH},
    {"Log", "log", MAP_LOG},
    {"Neg", "neg", MAP_NEG},
    {"Relu", "relu", MAP_RELU},
    {"Sigmoid", "sigmoid", MAP_SIGMOID},
    {"Softplus", "softplus", MAP_SOFTPLUS},
    {"Sqrt", "sqrt", MAP_SQRT},
    {"Tanh", "tanh", MAP_TANH},
};

/* The setting of a conv or dense layer that can take the function over: nothing else reads its output. */
static int *open_activation(const struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_value *x)
{
    bool apart = r->ours && !onnx_is_part(n, ONNX_PART_ACTIVATION);
    if (apart || x->uses != 1 || x->padded)
        return NULL;
    int *activation = NULL;
    if (onnx_is_type(r, x, "conv"))
        activation = &((struct conv_settings *)r->graph->nodes[x->node].settings)->activation;
    else if (onnx_is_type(r, x, "dense"))
        activation = &((struct dense_settings *)r->graph->nodes[x->node].settings)->activation;
    else if (onnx_is_type(r, x, "batchnorm"))
        activation = &((struct batchnorm_settings *)r->graph->nodes[x->node].settings)->activation;
    return activation && *activation == MAP_IDENTITY ? activation : NULL;
}

/* Those that the `activation` setting can say come first in enum map_fn. */
static int import_fn_of(struct onnx_reader *r, const Onnx__NodeProto *n, struct onnx_value *x,
                        const char *type, enum map_fn fn, struct graph_node **l, struct fail *why)
{
    int from, rc = onnx_want_activation(x, why);
    *l = NULL;
    if (rc)
        return rc;
    int *activation = fn < MAP_LEAKY_RELU ? open_activation(r, n, x) : NULL;
    if (activation) {
        *activation = (int)fn;
        onnx_define_alias(r, n, x);
        return 0;
    }
    if ((rc = onnx_layer_of(r, x, &from, why)))
        return rc;
    return onnx_add(r, n, NULL, type, from, l, why);
}

static int import_fn(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type, enum map_fn fn,
                     struct graph_node **l, struct fail *why)
{
    return import_fn_of(r, n, onnx_input(r, n, 0), type, fn, l, why);
}

int onnx_import_plain(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    const struct plain *p = plains;
    struct graph_node *l;
    while (strcmp(p->operator, n->op_type))
        p++;
    int rc = import_fn(r, n, p->type, p->fn, &l, why);
    return rc || !l ? rc : onnx_added(r, n, why);
}

/* ---- with numbers ---- */

static int import_alpha(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type, float alpha,
                        struct fail *why)
{
    struct graph_node *l;
    int rc;
    if ((rc = onnx_attribute_float(n, "alpha", &alpha, why)) ||
        (rc = import_fn(r, n, type, MAP_FNS, &l, why)))
        return rc;
    ((struct alpha_settings *)l->settings)->alpha = onnx_decimal(alpha);
    return onnx_added(r, n, why);
}

int onnx_import_leaky_relu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_alpha(r, n, "leaky_relu", 0.01f, why);
}

int onnx_import_elu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_alpha(r, n, "elu", 1, why);
}

int onnx_import_hard_sigmoid(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    float alpha = 0.2f, beta = 0.5f;
    struct graph_node *l;
    int rc;
    if ((rc = onnx_attribute_float(n, "alpha", &alpha, why)) ||
        (rc = onnx_attribute_float(n, "beta", &beta, why)) ||
        (rc = import_fn(r, n, "hard_sigmoid", MAP_FNS, &l, why)))
        return rc;
    struct hard_sigmoid_settings *s = l->settings;
    s->alpha = onnx_decimal(alpha);
    s->beta = onnx_decimal(beta);
    return onnx_added(r, n, why);
}

/* Bounds are attributes until operator set 10, then inputs; without one there is none. */
int onnx_import_clip(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    float bounds[2] = {-FLT_MAX, FLT_MAX};
    struct graph_node *l;
    int rc;
    if ((rc = onnx_attribute_float(n, "min", &bounds[0], why)) ||
        (rc = onnx_attribute_float(n, "max", &bounds[1], why)))
        return rc;
    for (size_t i = 0; i < 2; i++)
        if (onnx_input(r, n, 1 + i) &&
            (rc = onnx_want_float(onnx_input(r, n, 1 + i), "a bound", &bounds[i], why)))
            return rc;
    if (bounds[0] == 0 && bounds[1] == 6) {
        rc = import_fn(r, n, "relu6", MAP_RELU6, &l, why);
        return rc || !l ? rc : onnx_added(r, n, why);
    }
    if ((rc = import_fn(r, n, "clip", MAP_FNS, &l, why)))
        return rc;
    struct clip_settings *s = l->settings;
    s->min = bounds[0] <= -FLT_MAX ? s->min : onnx_decimal(bounds[0]);
    s->max = bounds[1] >= FLT_MAX ? s->max : onnx_decimal(bounds[1]);
    return onnx_added(r, n, why);
}

int onnx_import_gelu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    char mode[16] = "none";
    struct graph_node *l;
    int rc = onnx_attribute_text(n, "approximate", mode, sizeof mode, why);
    if (rc)
        return rc;
    bool by_tanh = !strcmp(mode, "tanh");
    if (!by_tanh && strcmp(mode, "none"))
        return fail(why, E_FILE, "approximate %s: expected none or tanh", mode);
    if ((rc = import_fn(r, n, "gelu", by_tanh ? MAP_GELU_TANH : MAP_GELU, &l, why)) || !l)
        return rc;
    ((struct gelu_settings *)l->settings)->approximate = by_tanh ? GELU_TANH : GELU_ERF;
    return onnx_added(r, n, why);
}

int onnx_import_pattern(struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_match *match,
                        struct fail *why)
{
    struct graph_node *l;
    enum map_fn fn = match->pattern->fn;
    if (!match->x->ready || !*onnx_text(n->output[0]))
        return fail(why, E_FILE, "input %.80s is defined by no node before it", match->x->name);
    int rc = import_fn_of(r, n, match->x, match->pattern->type, fn, &l, why);
    if (rc || !l)
        return rc;
    if (fn == MAP_GELU_TANH)
        ((struct gelu_settings *)l->settings)->approximate = GELU_TANH;
    return onnx_added(r, n, why);
}

/* ---- softmax ---- */

/* Softmax and LogSoftmax. Before operator set 13 they took their input as a matrix, all from `axis` on in one sum. */
int onnx_import_softmax(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), seen;
    struct graph_node *l;
    int64_t axis = r->opset < 13 ? 1 : -1, before = 1;
    int from, rc = onnx_want_activation(x, why);
    if (rc)
        return rc;
    struct shape row = onnx_row(r, x);
    if ((rc = onnx_read_axis(n, row.rank + r->lead, &axis, why)) || (rc = onnx_want_row_axis(r, axis, why)))
        return rc;
    axis -= r->lead;
    for (int64_t d = 0; d < axis; d++)
        before *= row.dim[d];
    seen = *x;
    if (r->opset < 13 && !x->padded && before * row.dim[axis] != shape_size(row)) {
        onnx_set_view(r, &seen, SHAPE(before, shape_size(row) / before));
        axis = 1;
    }
    const char *type = strcmp(n->op_type, "Softmax") ? "log_softmax" : "softmax";
    if ((rc = onnx_layer_of(r, &seen, &from, why)) || (rc = onnx_add(r, n, NULL, type, from, &l, why)))
        return rc;
    ((struct softmax_settings *)l->settings)->axis = axis;
    if ((rc = onnx_added(r, n, why)))
        return rc;
    onnx_set_view(r, onnx_find(r, n->output[0]), row);
    return 0;
}

int onnx_import_lrn(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct graph_node *l;
    float alpha = 0.0001f, beta = 0.75f, bias = 1;
    int64_t size = 0;
    int from, rc;
    if (!r->lead)
        return fail(why, E_UNSUPPORTED, "works on channels, which come after the rows");
    if ((rc = onnx_want_activation(x, why)) || (rc = onnx_attribute_float(n, "alpha", &alpha, why)) ||
        (rc = onnx_attribute_float(n, "beta", &beta, why)) ||
        (rc = onnx_attribute_float(n, "bias", &bias, why)) ||
        (rc = onnx_attribute_int(n, "size", &size, why)) || (rc = onnx_layer_of(r, x, &from, why)) ||
        (rc = onnx_add(r, n, NULL, "lrn", from, &l, why)))
        return rc;
    struct lrn_settings *s = l->settings;
    s->size = size;
    s->alpha = onnx_decimal(alpha);
    s->beta = onnx_decimal(beta);
    s->bias = onnx_decimal(bias);
    return onnx_added(r, n, why);
}
