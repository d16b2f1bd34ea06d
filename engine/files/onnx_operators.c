/* One row an operator: how an ONNX node becomes a layer of the graph. To read one more: a function and a row
 * in `operators`. Definitions: https://github.com/onnx/onnx/blob/main/docs/Operators.md.
 * Next to read: onnx_layers.c, the way back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

/* ---- what several operators need ---- */

int onnx_want_activation(const struct onnx_value *v, struct fail *why)
{
    if (!v || v->tensor)
        return fail(why, E_UNSUPPORTED,
                    "an input is a constant or missing where values of the rows are expected");
    if (v->padded)
        return fail(why, E_UNSUPPORTED,
                    "reads a Pad, which is supported only before Conv and AveragePool, with zeros");
    return 0;
}

int onnx_want_constant(const struct onnx_value *v, const char *what, struct fail *why)
{
    if (v && v->tensor)
        return 0;
    return fail(why, E_UNSUPPORTED, "%s %.80s is not a constant (initialiser, Constant or Identity of one)",
                what, v ? v->name : "(missing)");
}

int onnx_want_rank(const struct onnx_reader *r, const struct onnx_value *x, int rank, const char *form,
                   struct fail *why)
{
    char text[96];
    struct shape row = onnx_row(r, x);
    if (row.rank == rank)
        return 0;
    return fail(why, E_UNSUPPORTED, "one row of its input is %s, expected %s",
                shape_text(row, text, sizeof text), form);
}

bool onnx_is_type(const struct onnx_reader *r, const struct onnx_value *v, const char *type)
{
    return v->node != GRAPH_INPUT && !strcmp(r->graph->nodes[v->node].type->name, type);
}

/* ---- activations ---- */

static bool is_part(const Onnx__NodeProto *n, const char *part)
{
    const char *name = onnx_text(n->name);
    size_t length = strlen(name), tail = strlen(part);
    return length > tail && !strcmp(name + length - tail, part);
}

/* Into the conv or dense layer before when nothing else reads that; else a layer of its own. */
static int import_map(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type, enum map_fn fn,
                      struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct graph_node *l;
    int *activation = NULL, from, rc = onnx_want_activation(x, why);
    if (rc)
        return rc;
    if (onnx_is_type(r, x, "conv"))
        activation = &((struct conv_settings *)r->graph->nodes[x->node].settings)->activation;
    else if (onnx_is_type(r, x, "dense"))
        activation = &((struct dense_settings *)r->graph->nodes[x->node].settings)->activation;
    bool apart = r->ours && !is_part(n, ONNX_PART_ACTIVATION);
    if (activation && *activation == MAP_IDENTITY && x->uses == 1 && !x->flat && !apart) {
        *activation = (int)fn;
        onnx_define(r, n, x->node);
        return 0;
    }
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, type, from, &l, why)))
        return rc;
    return onnx_added(r, n, why);
}

static int import_relu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_map(r, n, "relu", MAP_RELU, why);
}

static int import_tanh(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_map(r, n, "tanh", MAP_TANH, why);
}

static int import_sigmoid(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_map(r, n, "sigmoid", MAP_SIGMOID, why);
}

/* Ours is over the first dimension of a row. Before operator set 13 Softmax took its input as a matrix, all
 * from `axis` on in one sum. */
static int import_softmax(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct graph_node *l;
    int64_t axis = r->opset < 13 ? 1 : -1;
    int from, rc;
    if ((rc = onnx_want_activation(x, why)) || (rc = onnx_attribute_int(n, "axis", &axis, why)))
        return rc;
    struct shape row = onnx_row(r, x);
    int64_t at = axis < 0 ? axis + row.rank + 1 : axis;
    if (at != 1 || (r->opset < 13 && shape_size(row) != row.dim[0]))
        return fail(why, E_UNSUPPORTED,
                    "axis %lld of %d dimensions in operator set %d; supported is a softmax "
                    "over dimension 1",
                    (long long)axis, row.rank + 1, r->opset);
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, "softmax", from, &l, why)))
        return rc;
    return onnx_added(r, n, why);
}

/* ---- shapes ---- */

static int flatten(struct onnx_reader *r, const Onnx__NodeProto *n, struct onnx_value *x, struct fail *why)
{
    struct graph_node *l;
    int from, rc;
    if (r->ours && !is_part(n, ONNX_PART_FLATTEN)) {
        if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, "flatten", from, &l, why)))
            return rc;
        return onnx_added(r, n, why);
    }
    /* A layer is made when somebody asks who wants one. */
    onnx_define_alias(r, n, x, onnx_row(r, x).rank > 1);
    return 0;
}

static int import_flatten(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    int64_t axis = 1;
    int rc;
    if ((rc = onnx_want_activation(x, why)) || (rc = onnx_attribute_int(n, "axis", &axis, why)))
        return rc;
    if (axis != 1 && axis != -onnx_row(r, x).rank)
        return fail(why, E_UNSUPPORTED, "axis %lld; supported is 1, which keeps the rows", (long long)axis);
    return flatten(r, n, x, why);
}

/* [N, -1] in any of its spellings: 0 copies N, -1 is what is left, a number must be right. */
static int import_reshape(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), *to = onnx_input(r, n, 1);
    int64_t dims[SHAPE_DIMS], allow_zero = 0;
    int count, rc;
    if ((rc = onnx_want_activation(x, why)) || (rc = onnx_want_constant(to, "the shape", why)) ||
        (rc = onnx_tensor_ints(to->tensor, dims, SHAPE_DIMS, &count, why)) ||
        (rc = onnx_attribute_int(n, "allowzero", &allow_zero, why)))
        return rc;
    int64_t size = shape_size(onnx_row(r, x));
    bool rows = count == 2 && (dims[0] == -1 || (dims[0] == 0 && !allow_zero) ||
                               (dims[0] > 0 && dims[0] == r->fixed_batch));
    bool rest = count == 2 && ((dims[1] == -1 && dims[0] != -1) || dims[1] == size);
    if (!rows || !rest)
        return fail(why, E_UNSUPPORTED,
                    "only a reshape of the rows to [N, %lld] is supported: use Flatten, or "
                    "[0, -1]",
                    (long long)size);
    return flatten(r, n, x, why);
}

/* ---- what computes nothing when a model answers ---- */

static int import_dropout(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), *ratio = onnx_input(r, n, 1);
    struct graph_node *l;
    float rate = 0.5f;
    int from, rc;
    if ((rc = onnx_want_activation(x, why)) || (rc = onnx_attribute_float(n, "ratio", &rate, why)) ||
        (ratio && ((rc = onnx_want_constant(ratio, "the ratio", why)) ||
                   (rc = onnx_tensor_float(ratio->tensor, &rate, why)))))
        return rc;
    if (!(rate >= 0 && rate < 1))
        return fail(why, E_FILE, "its ratio is %g, expected 0 to less than 1", (double)rate);
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, "dropout", from, &l, why)))
        return rc;
    ((struct dropout_settings *)l->settings)->rate = onnx_decimal(rate);
    return onnx_added(r, n, why);
}

static int import_identity(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    if (!x)
        return fail(why, E_FILE, "has no input");
    onnx_define_alias(r, n, x, false);
    return 0;
}

/* Constants given as plain numbers; the tensor borrows them. */
static const Onnx__TensorProto *made_tensor(struct onnx_reader *r, Onnx__AttributeProto *a, bool list,
                                            bool floats)
{
    struct onnx_made *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->next = r->made;
    r->made = m;
    onnx__tensor_proto__init(&m->tensor);
    Onnx__TensorProto *t = &m->tensor;
    t->data_type = floats ? ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT : ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    t->n_float_data = floats ? (list ? a->n_floats : 1) : 0;
    t->float_data = list ? a->floats : &a->f;
    t->n_int64_data = floats ? 0 : (list ? a->n_ints : 1);
    t->int64_data = list ? a->ints : &a->i;
    m->dim = (int64_t)(floats ? t->n_float_data : t->n_int64_data);
    t->n_dims = list;
    t->dims = &m->dim;
    return t;
}

static int import_constant(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value value = {.node = GRAPH_INPUT, .uses = 1};
    if (n->n_attribute != 1)
        return fail(why, E_FILE, "%zu attributes, expected one: its value", n->n_attribute);
    Onnx__AttributeProto *a = n->attribute[0];
    const char *name = onnx_text(a->name);
    if (!strcmp(name, "value") && a->t)
        value.tensor = a->t;
    else if (!strncmp(name, "value_", 6))
        value.tensor = made_tensor(r, a, name[strlen(name) - 1] == 's', strstr(name, "float") != NULL);
    else
        return fail(why, E_UNSUPPORTED, "its %.40s is not a tensor, numbers or a number", name);
    if (!value.tensor)
        return fail(why, E_MEMORY, "no memory for a constant");
    onnx_define_alias(r, n, &value, false);
    return 0;
}

/* ---- the table ---- */

struct onnx_operator {
    const char *name;
    int opset_min, opset_max; /* of the model's operator set */
    size_t inputs_min, inputs_max;
    const char *attributes; /* those it understands, between spaces: any other changes the meaning */
    int (*import)(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
};

#define ANY_OPSET   ONNX_OPSET_OLDEST, ONNX_OPSET_NEWEST
#define WINDOW_KEYS " auto_pad dilations kernel_shape pads strides "

/* In alphabetical order, for the message. */
static const struct onnx_operator operators[] = {
    {"Add", ANY_OPSET, 2, 2, "", onnx_import_add},
    {"AveragePool", ANY_OPSET, 1, 1, WINDOW_KEYS "ceil_mode count_include_pad ", onnx_import_avgpool},
    {"Constant", ANY_OPSET, 0, 0, " value value_float value_floats value_int value_ints ", import_constant},
    {"Conv", ANY_OPSET, 2, 3, WINDOW_KEYS "group ", onnx_import_conv},
    {"Dropout", ANY_OPSET, 1, 3, " ratio seed ", import_dropout},
    {"Flatten", ANY_OPSET, 1, 1, " axis ", import_flatten},
    {"Gemm", ANY_OPSET, 2, 3, " alpha beta transA transB ", onnx_import_gemm},
    {"Identity", ANY_OPSET, 1, 1, "", import_identity},
    {"MatMul", ANY_OPSET, 2, 2, "", onnx_import_matmul},
    {"MaxPool", ANY_OPSET, 1, 1, WINDOW_KEYS "ceil_mode storage_order ", onnx_import_maxpool},
    {"Pad", ANY_OPSET, 1, 3, " mode pads value ", onnx_import_pad},
    {"Relu", ANY_OPSET, 1, 1, "", import_relu},
    {"Reshape", ANY_OPSET, 2, 2, " allowzero ", import_reshape},
    {"Sigmoid", ANY_OPSET, 1, 1, "", import_sigmoid},
    {"Softmax", ANY_OPSET, 1, 1, " axis ", import_softmax},
    {"Sum", ANY_OPSET, 1, GRAPH_INPUTS, "", onnx_import_sum},
    {"Tanh", ANY_OPSET, 1, 1, "", import_tanh},
};
enum { OPERATORS = sizeof operators / sizeof operators[0] };

static const struct onnx_operator *find_operator(const Onnx__NodeProto *n)
{
    const char *domain = onnx_text(n->domain);
    if (*domain && strcmp(domain, "ai.onnx"))
        return NULL;
    for (int i = 0; i < OPERATORS; i++)
        if (!strcmp(operators[i].name, onnx_text(n->op_type)))
            return &operators[i];
    return NULL;
}

static int unknown_operator(const Onnx__NodeProto *n, struct fail *why)
{
    char names[256] = "";
    for (size_t i = 0, at = 0; i < OPERATORS && at < sizeof names; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", operators[i].name);
    const char *domain = onnx_text(n->domain);
    return fail(why, E_UNSUPPORTED, "operator %.40s%s%.40s is not supported; supported are %s",
                onnx_text(n->op_type), *domain ? " of domain " : "", domain, names);
}

static int check_attributes(const struct onnx_operator *op, const Onnx__NodeProto *n, struct fail *why)
{
    for (size_t i = 0; i < n->n_attribute; i++) {
        char key[64];
        const char *name = onnx_text(n->attribute[i]->name);
        snprintf(key, sizeof key, " %s ", name);
        if (!*name || strchr(name, ' ') || !strstr(op->attributes, key))
            return fail(why, E_UNSUPPORTED, "attribute %.40s is not supported; supported are:%s", name,
                        *op->attributes ? op->attributes : " none");
    }
    return 0;
}

int onnx_import_node(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    const struct onnx_operator *op = find_operator(n);
    if (!op)
        return unknown_operator(n, why);
    if (r->opset < op->opset_min || r->opset > op->opset_max)
        return fail(why, E_UNSUPPORTED, "in operator set %d it means something else; supported are %d to %d",
                    r->opset, op->opset_min, op->opset_max);
    if (n->n_input < op->inputs_min || n->n_input > op->inputs_max)
        return fail(why, E_FILE, "%zu inputs, expected %zu to %zu", n->n_input, op->inputs_min,
                    op->inputs_max);
    int rc = check_attributes(op, n, why);
    return rc ? rc : op->import(r, n, why);
}
