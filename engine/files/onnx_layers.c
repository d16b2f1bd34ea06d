/* One row a layer type: how a layer of the graph becomes ONNX nodes. To write one more: a function and a row
 * in `exporters`. Next to read: onnx_write.c, which makes the nodes; onnx_operators.c, the way back. */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx_layers.h"

static const struct graph_node *node_of(const struct graph *g, int layer)
{
    return &g->nodes[layer];
}

struct shape onnx_input_row(const struct graph *g, int layer)
{
    int from = node_of(g, layer)->inputs[0];
    return from == GRAPH_INPUT ? g->input : node_of(g, from)->shape;
}

/* One number for both directions, two, or (padding) all four. */
static void long_ints(const struct setting_ints *s, int n, int64_t *out)
{
    for (int i = 0; i < n; i++)
        out[i] = s->count == 1 ? s->v[0] : s->v[i % s->count];
}

static void window_attributes(struct onnx_writer *w, Onnx__NodeProto *n, const struct setting_ints *kernel,
                              const struct setting_ints *stride, const struct setting_ints *padding)
{
    int64_t v[4];
    long_ints(kernel, 2, v);
    onnx_node_ints(w, n, "kernel_shape", 2, v);
    long_ints(padding, 4, v);
    onnx_node_ints(w, n, "pads", 4, v);
    long_ints(stride, 2, v);
    onnx_node_ints(w, n, "strides", 2, v);
}

static void param_inputs(struct onnx_writer *w, Onnx__NodeProto *n, const struct graph *g, int layer)
{
    for (int i = 0; i < node_of(g, layer)->param_count; i++)
        onnx_node_input(w, n, onnx_param_name(w, layer, i));
}

/* ---- functions of one value ---- */

/* By enum map_fn: those that are one operator without numbers. */
/* clang-format off */
static const char *const map_operator[MAP_FNS] = {
    [MAP_RELU] = "Relu",
    [MAP_TANH] = "Tanh",
    [MAP_SIGMOID] = "Sigmoid",
    [MAP_HARD_SWISH] = "HardSwish",
    [MAP_SOFTPLUS] = "Softplus",
    [MAP_EXP] = "Exp",
    [MAP_LOG] = "Log",
    [MAP_SQRT] = "Sqrt",
    [MAP_ABS] = "Abs",
    [MAP_NEG] = "Neg",
};
/* clang-format on */

static void add_clip(struct onnx_writer *w, int layer, const char *part, const char *x, double low,
                     double high)
{
    Onnx__NodeProto *n = onnx_node(w, layer, part, "Clip", true);
    onnx_node_input(w, n, x);
    bool above = high < (double)FLT_MAX;
    if (low > -(double)FLT_MAX)
        onnx_node_input(w, n, onnx_scalar(w, layer, "/min", (float)low));
    else if (above)
        onnx_node_input(w, n, "");
    if (above)
        onnx_node_input(w, n, onnx_scalar(w, layer, "/max", (float)high));
}

/* The function of x as the layer's last nodes. */
static void add_map(struct onnx_writer *w, int layer, const char *part, const char *x, enum map_fn fn)
{
    if (fn == MAP_RELU6)
        add_clip(w, layer, part, x, 0, 6);
    else if (map_operator[fn])
        onnx_node_input(w, onnx_node(w, layer, part, map_operator[fn], true), x);
    else
        onnx_write_pattern(w, layer, part, x, fn);
}

static void add_activation(struct onnx_writer *w, int layer, const Onnx__NodeProto *before, int fn)
{
    if (fn != MAP_IDENTITY && before)
        add_map(w, layer, ONNX_PART_ACTIVATION, before->output[0], (enum map_fn)fn);
}

static void export_conv(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct conv_settings *s = node_of(g, layer)->settings;
    int64_t dilation[2];
    Onnx__NodeProto *n = onnx_node(w, layer, "", "Conv", s->activation == MAP_IDENTITY);
    onnx_node_input(w, n, onnx_value_name(w, node_of(g, layer)->inputs[0]));
    param_inputs(w, n, g, layer);
    long_ints(&s->dilation, 2, dilation);
    onnx_node_ints(w, n, "dilations", 2, dilation);
    onnx_node_int(w, n, "group", s->groups);
    window_attributes(w, n, &s->kernel, &s->stride, &s->padding);
    add_activation(w, layer, n, s->activation);
}

static void export_dense(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct dense_settings *s = node_of(g, layer)->settings;
    const char *x = onnx_value_name(w, node_of(g, layer)->inputs[0]);
    if (onnx_input_row(g, layer).rank != 1) {
        Onnx__NodeProto *flat = onnx_node(w, layer, ONNX_PART_FLATTEN, "Flatten", false);
        onnx_node_input(w, flat, x);
        onnx_node_int(w, flat, "axis", 1);
        x = flat ? flat->output[0] : NULL;
    }
    Onnx__NodeProto *n = onnx_node(w, layer, "", "Gemm", s->activation == MAP_IDENTITY);
    onnx_node_input(w, n, x);
    param_inputs(w, n, g, layer);
    onnx_node_int(w, n, "transB", 1);
    add_activation(w, layer, n, s->activation);
}

Onnx__NodeProto *onnx_plain(struct onnx_writer *w, const struct graph *g, int layer, const char *operator)
{
    Onnx__NodeProto *n = onnx_node(w, layer, "", operator, true);
    for (int i = 0; i < node_of(g, layer)->input_count; i++)
        onnx_node_input(w, n, onnx_value_name(w, node_of(g, layer)->inputs[i]));
    return n;
}

static Onnx__NodeProto *export_pool(struct onnx_writer *w, const struct graph *g, int layer,
                                    const char *operator)
{
    const struct pool_settings *s = node_of(g, layer)->settings;
    Onnx__NodeProto *n = onnx_plain(w, g, layer, operator);
    onnx_node_int(w, n, "ceil_mode", s->ceil);
    window_attributes(w, n, &s->size, s->stride.count ? &s->stride : &s->size, &s->padding);
    return n;
}

static void export_maxpool(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_pool(w, g, layer, "MaxPool");
}

static void export_avgpool(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct pool_settings *s = node_of(g, layer)->settings;
    Onnx__NodeProto *n = export_pool(w, g, layer, "AveragePool");
    onnx_node_int(w, n, "count_include_pad", s->count_padding);
}

static void export_batchnorm(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct batchnorm_settings *s = node_of(g, layer)->settings;
    Onnx__NodeProto *n = onnx_node(w, layer, "", "BatchNormalization", s->activation == MAP_IDENTITY);
    onnx_node_input(w, n, onnx_value_name(w, node_of(g, layer)->inputs[0]));
    param_inputs(w, n, g, layer);
    onnx_node_float(w, n, "epsilon", (float)s->epsilon);
    onnx_node_float(w, n, "momentum", (float)(1 - s->momentum));
    add_activation(w, layer, n, s->activation);
}

static void export_global_avgpool(struct onnx_writer *w, const struct graph *g, int layer)
{
    onnx_plain(w, g, layer, "GlobalAveragePool");
}

static void export_global_maxpool(struct onnx_writer *w, const struct graph *g, int layer)
{
    onnx_plain(w, g, layer, "GlobalMaxPool");
}

static const char *input_name(const struct onnx_writer *w, const struct graph *g, int layer)
{
    return onnx_value_name(w, node_of(g, layer)->inputs[0]);
}

/* The layer's own function says which operator. */
static void export_map(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct graph_node *n = node_of(g, layer);
    add_map(w, layer, "", input_name(w, g, layer), n->type->activation(n->settings));
}

static void export_leaky_relu(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct alpha_settings *s = node_of(g, layer)->settings;
    onnx_node_float(w, onnx_plain(w, g, layer, "LeakyRelu"), "alpha", (float)s->alpha);
}

static void export_elu(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct alpha_settings *s = node_of(g, layer)->settings;
    onnx_node_float(w, onnx_plain(w, g, layer, "Elu"), "alpha", (float)s->alpha);
}

static void export_hard_sigmoid(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct hard_sigmoid_settings *s = node_of(g, layer)->settings;
    Onnx__NodeProto *n = onnx_plain(w, g, layer, "HardSigmoid");
    onnx_node_float(w, n, "alpha", (float)s->alpha);
    onnx_node_float(w, n, "beta", (float)s->beta);
}

static void export_clip(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct clip_settings *s = node_of(g, layer)->settings;
    add_clip(w, layer, "", input_name(w, g, layer), s->min, s->max);
}

/* Axes of a row come after the dimension of the rows; from the end they are the same. */
static void export_along(struct onnx_writer *w, const struct graph *g, int layer, const char *operator)
{
    const struct softmax_settings *s = node_of(g, layer)->settings;
    onnx_node_int(w, onnx_plain(w, g, layer, operator), "axis", s->axis < 0 ? s->axis : s->axis + 1);
}

static void export_softmax(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_along(w, g, layer, "Softmax");
}

static void export_log_softmax(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_along(w, g, layer, "LogSoftmax");
}

static void export_lrn(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct lrn_settings *s = node_of(g, layer)->settings;
    Onnx__NodeProto *n = onnx_plain(w, g, layer, "LRN");
    onnx_node_float(w, n, "alpha", (float)s->alpha);
    onnx_node_float(w, n, "beta", (float)s->beta);
    onnx_node_float(w, n, "bias", (float)s->bias);
    onnx_node_int(w, n, "size", s->size);
}

/* ---- of two values ---- */

static const char *const zip_types[] = {"add", "sub", "mul", "div", "prelu"};

static bool is_zip(const struct graph_node *n)
{
    for (size_t i = 0; i < sizeof zip_types / sizeof zip_types[0]; i++)
        if (!strcmp(n->type->name, zip_types[i]))
            return true;
    return false;
}

bool onnx_is_fixed(const struct graph_node *n)
{
    return is_zip(n) && n->param_count && ((const struct zip_settings *)n->settings)->fixed;
}

/* ONNX broadcasts the rows too, from the last dimension on: no operand may have more dimensions than the rows of
 * the other, and a slope may not make its input grow. */
static int check_zip(const struct graph *g, const struct graph_node *n, struct fail *why)
{
    const struct zip_settings *s = n->settings;
    int first = n->inputs[0];
    struct shape a = first == GRAPH_INPUT ? g->input : g->nodes[first].shape;
    bool fits = s->shape.count <= a.rank && (strcmp(n->type->name, "prelu") || shape_equal(a, n->shape));
    for (int i = 1; i < n->input_count; i++)
        fits = fits &&
               (n->inputs[i] == GRAPH_INPUT ? g->input.rank : g->nodes[n->inputs[i]].shape.rank) == a.rank;
    return fits ? 0
                : fail(why, E_UNSUPPORTED,
                       "%s: layer %s (%s) cannot be written as ONNX: its operands differ in their number of "
                       "dimensions",
                       g->name, n->name, n->type->name);
}

/* Two inputs, or one and the parameter. */
static void export_zip(struct onnx_writer *w, const struct graph *g, int layer, const char *operator)
{
    const struct zip_settings *s = node_of(g, layer)->settings;
    const char *own = NULL, *x = onnx_value_name(w, node_of(g, layer)->inputs[0]);
    if (s->shape.count) {
        if (onnx_is_fixed(node_of(g, layer)))
            onnx_constant(w, layer, 0);
        own = onnx_param_name(w, layer, 0);
    }
    Onnx__NodeProto *n = onnx_node(w, layer, "", operator, true);
    onnx_node_input(w, n, own && s->first ? own : x);
    if (own)
        onnx_node_input(w, n, s->first ? x : own);
    for (int i = 1; i < node_of(g, layer)->input_count; i++)
        onnx_node_input(w, n, onnx_value_name(w, node_of(g, layer)->inputs[i]));
}

/* Add takes two, Sum any number. */
static void export_add(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_zip(w, g, layer, node_of(g, layer)->input_count > 2 ? "Sum" : "Add");
}

static void export_sub(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_zip(w, g, layer, "Sub");
}

static void export_mul(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_zip(w, g, layer, "Mul");
}

static void export_div(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_zip(w, g, layer, "Div");
}

static void export_prelu(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_zip(w, g, layer, "PRelu");
}

/* ---- others ---- */

/* Without training_mode: it drops nothing where a model answers. */
static void export_dropout(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct dropout_settings *s = node_of(g, layer)->settings;
    Onnx__NodeProto *n = onnx_plain(w, g, layer, "Dropout");
    onnx_node_input(w, n, onnx_scalar(w, layer, "/ratio", (float)s->rate));
}

static const struct {
    const char *type;
    void (*export)(struct onnx_writer *w, const struct graph *g, int layer);
} exporters[] = {
    {"abs", export_map},
    {"add", export_add},
    {"argmax", onnx_export_argmax},
    {"argmin", onnx_export_argmin},
    {"avgpool", export_avgpool},
    {"batchnorm", export_batchnorm},
    {"clip", export_clip},
    {"concat", onnx_export_concat},
    {"conv", export_conv},
    {"dense", export_dense},
    {"div", export_div},
    {"dropout", export_dropout},
    {"elu", export_elu},
    {"exp", export_map},
    {"flatten", onnx_export_flatten},
    {"gather", onnx_export_gather},
    {"gelu", export_map},
    {"global_avgpool", export_global_avgpool},
    {"global_maxpool", export_global_maxpool},
    {"hard_sigmoid", export_hard_sigmoid},
    {"hard_swish", export_map},
    {"leaky_relu", export_leaky_relu},
    {"log", export_map},
    {"maxpool", export_maxpool},
    {"mul", export_mul},
    {"neg", export_map},
    {"pad", onnx_export_pad},
    {"prelu", export_prelu},
    {"reduce_max", onnx_export_reduce_max},
    {"reduce_mean", onnx_export_reduce_mean},
    {"reduce_min", onnx_export_reduce_min},
    {"reduce_sum", onnx_export_reduce_sum},
    {"relu", export_map},
    {"relu6", export_map},
    {"reshape", onnx_export_reshape},
    {"sigmoid", export_map},
    {"silu", export_map},
    {"slice", onnx_export_slice},
    {"softmax", export_softmax},
    {"log_softmax", export_log_softmax},
    {"lrn", export_lrn},
    {"softplus", export_map},
    {"sqrt", export_map},
    {"squeeze", onnx_export_squeeze},
    {"sub", export_sub},
    {"tanh", export_map},
    {"transpose", onnx_export_transpose},
    {"unsqueeze", onnx_export_unsqueeze},
};

int onnx_export_layer(struct onnx_writer *w, const struct graph *g, int layer, struct fail *why)
{
    const struct graph_node *n = node_of(g, layer);
    int rc = is_zip(n) ? check_zip(g, n, why) : 0;
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof exporters / sizeof exporters[0]; i++)
        if (!strcmp(exporters[i].type, n->type->name)) {
            exporters[i].export(w, g, layer);
            return 0;
        }
    return fail(why, E_UNSUPPORTED, "%s: layer %s (%s) cannot be written as ONNX", g->name, n->name,
                n->type->name);
}
