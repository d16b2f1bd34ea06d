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
    if (!v || onnx_is_constant(v))
        return fail(why, E_UNSUPPORTED,
                    "an input is a constant or missing where values of the rows are expected");
    return 0;
}

int onnx_want_constant(const struct onnx_value *v, const char *what, struct fail *why)
{
    if (onnx_is_constant(v))
        return 0;
    return fail(why, E_UNSUPPORTED, "%s %.80s is not a constant (initialiser, Constant or Identity of one)",
                what, v ? v->name : "(missing)");
}

bool onnx_is_type(const struct onnx_reader *r, const struct onnx_value *v, const char *type)
{
    return v->node != GRAPH_INPUT && !strcmp(r->graph->nodes[v->node].type->name, type);
}

bool onnx_is_part(const Onnx__NodeProto *n, const char *part)
{
    const char *name = onnx_text(n->name);
    size_t length = strlen(name), tail = strlen(part);
    return length > tail && !strcmp(name + length - tail, part);
}

/* ---- what computes nothing when a model answers ---- */

static int import_dropout(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), *ratio = onnx_input(r, n, 1);
    struct graph_node *l;
    float rate = 0.5f;
    int from, rc;
    if ((rc = onnx_want_activation(x, why)) || (rc = onnx_attribute_float(n, "ratio", &rate, why)) ||
        (ratio && (rc = onnx_want_float(ratio, "the ratio", &rate, why))))
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
    onnx_define_alias(r, n, x);
    return 0;
}

/* Activations are floats here, whatever they are called. */
static int import_cast(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    int64_t to = 0;
    int rc = onnx_attribute_int(n, "to", &to, why);
    if (!rc && (to < 0 || to > INT32_MAX || !onnx_type_is_float((int32_t)to)))
        rc = fail(why, E_UNSUPPORTED, "casts values of the rows to type %lld; supported is FLOAT",
                  (long long)to);
    return rc ? rc : import_identity(r, n, why);
}

/* value, or value_int, value_ints, value_float, value_floats. */
static int import_constant(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    if (n->n_attribute != 1)
        return fail(why, E_FILE, "%zu attributes, expected one: its value", n->n_attribute);
    const Onnx__AttributeProto *a = n->attribute[0];
    const char *name = onnx_text(a->name);
    if (!strcmp(name, "value") && a->t)
        return onnx_define_tensor(r, n, a->t, NULL, why);
    bool list = name[strlen(name) - 1] == 's';
    if (!strncmp(name, "value_float", 11)) {
        size_t count = list ? a->n_floats : 1;
        float *to = onnx_define_floats(r, n, list ? SHAPE((int64_t)count) : (struct shape){0}, why);
        if (to && count)
            memcpy(to, list ? a->floats : &a->f, count * sizeof *to);
        return to ? 0 : why ? -(int)why->code : -E_MEMORY;
    }
    if (strncmp(name, "value_int", 9))
        return fail(why, E_UNSUPPORTED, "its %.40s is not a tensor, numbers or a number", name);
    struct onnx_ints ints = {.rank = list, .count = list ? (int)a->n_ints : 1};
    if (list && a->n_ints > ONNX_INTS)
        return fail(why, E_UNSUPPORTED, "%zu integers, at most %d are supported", a->n_ints, ONNX_INTS);
    for (int i = 0; i < ints.count; i++)
        ints.v[i].n = list ? a->ints[i] : a->i;
    return onnx_define_ints(r, n, &ints, why);
}

/* ---- the table ---- */

struct onnx_operator {
    const char *name;
    int opset; /* the oldest operator set whose definition we follow; newer ones up to ONNX_OPSET_NEWEST */
    size_t inputs_min, inputs_max;
    const char *attributes; /* those it understands, between spaces: any other changes the meaning */
    int (*import)(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
    /* When all inputs are constants; NULL: it is not done then. */
    int (*fold)(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
};

#define WINDOW_KEYS " auto_pad dilations kernel_shape pads strides "

/* In alphabetical order, for the message. */
static const struct onnx_operator operators[] = {
    {"Abs", 6, 1, 1, "", onnx_import_plain, NULL},
    {"Add", 6, 2, 2, " axis broadcast ", onnx_import_add, onnx_fold_arithmetic},
    {"ArgMax", 1, 1, 1, " axis keepdims select_last_index ", onnx_import_arg, NULL},
    {"ArgMin", 1, 1, 1, " axis keepdims select_last_index ", onnx_import_arg, NULL},
    {"AveragePool", 1, 1, 1, WINDOW_KEYS "ceil_mode count_include_pad ", onnx_import_avgpool, NULL},
    {"BatchNormalization", 6, 5, 5, " epsilon is_test momentum spatial training_mode ", onnx_import_batchnorm,
     NULL},
    {"Cast", 6, 1, 1, " to ", import_cast, onnx_fold_cast},
    {"Clip", 6, 1, 3, " max min ", onnx_import_clip, NULL},
    {"Concat", 4, 1, GRAPH_INPUTS, " axis ", onnx_import_concat, onnx_fold_concat},
    {"Constant", 1, 0, 0, " value value_float value_floats value_int value_ints ", import_constant, NULL},
    {"Conv", 1, 2, 3, WINDOW_KEYS "group ", onnx_import_conv, NULL},
    {"Div", 6, 2, 2, " axis broadcast ", onnx_import_div, onnx_fold_arithmetic},
    {"Dropout", 6, 1, 3, " is_test ratio seed ", import_dropout, NULL},
    {"Elu", 6, 1, 1, " alpha ", onnx_import_elu, NULL},
    {"Exp", 6, 1, 1, "", onnx_import_plain, NULL},
    {"Flatten", 1, 1, 1, " axis ", onnx_import_view, onnx_fold_view},
    {"Gather", 1, 2, 2, " axis ", onnx_import_gather, onnx_fold_gather},
    {"Gelu", 20, 1, 1, " approximate ", onnx_import_gelu, NULL},
    {"Gemm", 6, 2, 3, " alpha beta broadcast transA transB ", onnx_import_gemm, NULL},
    {"GlobalAveragePool", 1, 1, 1, "", onnx_import_global_pool, NULL},
    {"GlobalMaxPool", 1, 1, 1, "", onnx_import_global_pool, NULL},
    {"HardSigmoid", 6, 1, 1, " alpha beta ", onnx_import_hard_sigmoid, NULL},
    {"HardSwish", 14, 1, 1, "", onnx_import_plain, NULL},
    {"Identity", 1, 1, 1, "", import_identity, import_identity},
    {"LRN", 1, 1, 1, " alpha beta bias size ", onnx_import_lrn, NULL},
    {"LeakyRelu", 6, 1, 1, " alpha ", onnx_import_leaky_relu, NULL},
    {"Log", 6, 1, 1, "", onnx_import_plain, NULL},
    {"LogSoftmax", 1, 1, 1, " axis ", onnx_import_softmax, NULL},
    {"MatMul", 1, 2, 2, "", onnx_import_matmul, NULL},
    {"MaxPool", 1, 1, 1, WINDOW_KEYS "ceil_mode storage_order ", onnx_import_maxpool, NULL},
    {"Mul", 6, 2, 2, " axis broadcast ", onnx_import_mul, onnx_fold_arithmetic},
    {"Neg", 6, 1, 1, "", onnx_import_plain, NULL},
    {"PRelu", 6, 2, 2, "", onnx_import_prelu, NULL},
    {"Pad", 2, 1, 4, " mode pads value ", onnx_import_pad, NULL},
    {"ReduceMax", 1, 1, 2, " axes keepdims noop_with_empty_axes ", onnx_import_reduce, NULL},
    {"ReduceMean", 1, 1, 2, " axes keepdims noop_with_empty_axes ", onnx_import_reduce, NULL},
    {"ReduceMin", 1, 1, 2, " axes keepdims noop_with_empty_axes ", onnx_import_reduce, NULL},
    {"ReduceSum", 1, 1, 2, " axes keepdims noop_with_empty_axes ", onnx_import_reduce, NULL},
    {"Relu", 6, 1, 1, "", onnx_import_plain, NULL},
    {"Reshape", 5, 2, 2, " allowzero ", onnx_import_view, onnx_fold_view},
    {"Shape", 1, 1, 1, " end start ", onnx_import_shape, onnx_import_shape},
    {"Sigmoid", 6, 1, 1, "", onnx_import_plain, NULL},
    {"Slice", 1, 1, 5, " axes ends starts ", onnx_import_slice, onnx_fold_slice},
    {"Softmax", 1, 1, 1, " axis ", onnx_import_softmax, NULL},
    {"Softplus", 1, 1, 1, "", onnx_import_plain, NULL},
    {"Sqrt", 6, 1, 1, "", onnx_import_plain, NULL},
    {"Squeeze", 1, 1, 2, " axes ", onnx_import_view, onnx_fold_view},
    {"Sub", 6, 2, 2, " axis broadcast ", onnx_import_sub, onnx_fold_arithmetic},
    {"Sum", 6, 1, GRAPH_INPUTS, "", onnx_import_sum, NULL},
    {"Tanh", 6, 1, 1, "", onnx_import_plain, NULL},
    {"Transpose", 1, 1, 1, " perm ", onnx_import_transpose, onnx_fold_transpose},
    {"Unsqueeze", 1, 1, 2, " axes ", onnx_import_view, onnx_fold_view},
};
enum { OPERATORS = sizeof operators / sizeof operators[0] };

const char *onnx_operator(int i, int *opset)
{
    if (i < 0 || i >= OPERATORS)
        return NULL;
    *opset = operators[i].opset;
    return operators[i].name;
}

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
    char names[400] = "";
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
    if (r->opset < op->opset)
        return fail(why, E_UNSUPPORTED,
                    "in operator set %d it means something else or does not exist; supported are %d to %d",
                    r->opset, op->opset, ONNX_OPSET_NEWEST);
    if (n->n_input < op->inputs_min || n->n_input > op->inputs_max)
        return fail(why, E_FILE, "%zu inputs, expected %zu to %zu", n->n_input, op->inputs_min,
                    op->inputs_max);
    int rc = check_attributes(op, n, why);
    if (rc)
        return rc;
    bool constant = n->n_input > 0;
    for (size_t i = 0; i < n->n_input && constant; i++)
        constant = !*onnx_text(n->input[i]) || onnx_is_constant(onnx_input(r, n, i));
    if (constant && op->fold)
        return op->fold(r, n, why);
    if (!op->import)
        return fail(why, E_UNSUPPORTED, "works on values of the rows, which is supported for constants only");
    return op->import(r, n, why);
}
