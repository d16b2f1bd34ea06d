/* Graph to ONNX file: the model around the layers. Weights are not copied, the messages point at the graph's.
 * Nothing in the file depends on anything but the graph: the same graph gives the same bytes.
 * Next to read: onnx_writer.c (memory and names), onnx_layers.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx_writer.h"

/* Nodes and scalars of one layer at most; attributes of one node. */
enum { NODES_A_LAYER = 16, SCALARS_A_LAYER = 8, ATTRIBUTES_MOST = 8 };

/* ---- nodes ---- */

Onnx__NodeProto *onnx_node(struct onnx_writer *w, int layer, const char *part, const char *operator,
                           bool last)
{
    Onnx__NodeProto *n = onnx_alloc(w, sizeof *n);
    char **input = onnx_alloc(w, (GRAPH_INPUTS + GRAPH_PARAMS) * sizeof *input);
    char **output = onnx_alloc(w, sizeof *output);
    Onnx__AttributeProto **attribute = onnx_alloc(w, ATTRIBUTES_MOST * sizeof(Onnx__AttributeProto *));
    const char *name = onnx_format(w, "%s%s", w->graph->nodes[layer].name, part);
    const char *value = last ? w->values[layer] : onnx_format(w, "%s/output", name ? name : "");
    if (w->no_memory)
        return NULL;
    onnx__node_proto__init(n);
    n->name = (char *)name;
    n->op_type = onnx_format(w, "%s", operator);
    n->input = input;
    n->output = output;
    n->attribute = attribute;
    n->output[n->n_output++] = (char *)(last ? value : onnx_unique(w, value));
    if (w->no_memory)
        return NULL;
    w->proto->node[w->proto->n_node++] = n;
    return n;
}

void onnx_node_input(struct onnx_writer *w, Onnx__NodeProto *node, const char *value)
{
    if (node && value && !w->no_memory)
        node->input[node->n_input++] = (char *)value;
}

static Onnx__AttributeProto *add_attribute(struct onnx_writer *w, Onnx__NodeProto *node, const char *name,
                                           Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *a = node ? onnx_alloc(w, sizeof *a) : NULL;
    if (!a)
        return NULL;
    onnx__attribute_proto__init(a);
    a->name = onnx_format(w, "%s", name);
    a->has_type = true;
    a->type = type;
    node->attribute[node->n_attribute++] = a;
    return a;
}

void onnx_node_int(struct onnx_writer *w, Onnx__NodeProto *node, const char *name, int64_t value)
{
    Onnx__AttributeProto *a = add_attribute(w, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (a) {
        a->has_i = true;
        a->i = value;
    }
}

void onnx_node_float(struct onnx_writer *w, Onnx__NodeProto *node, const char *name, float value)
{
    Onnx__AttributeProto *a = add_attribute(w, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (a) {
        a->has_f = true;
        a->f = value;
    }
}

void onnx_node_text(struct onnx_writer *w, Onnx__NodeProto *node, const char *name, const char *value)
{
    Onnx__AttributeProto *a = add_attribute(w, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    char *copy = onnx_format(w, "%s", value);
    if (a && copy) {
        a->has_s = true;
        a->s = (ProtobufCBinaryData){strlen(copy), (uint8_t *)copy};
    }
}

void onnx_node_ints(struct onnx_writer *w, Onnx__NodeProto *node, const char *name, int count,
                    const int64_t *values)
{
    Onnx__AttributeProto *a = add_attribute(w, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *copy = onnx_alloc(w, (size_t)count * sizeof *copy);
    if (a && copy) {
        memcpy(copy, values, (size_t)count * sizeof *copy);
        a->n_ints = (size_t)count;
        a->ints = copy;
    }
}

/* ---- constants ---- */

/* The data is pointed at, not copied: float32 and little endian, as raw_data is. */
static Onnx__TensorProto *make_tensor(struct onnx_writer *w, const char *name, struct shape shape,
                                      const float *data)
{
    Onnx__TensorProto *t = onnx_alloc(w, sizeof *t);
    int64_t *dims = onnx_alloc(w, sizeof shape.dim);
    if (!t || !dims)
        return NULL;
    onnx__tensor_proto__init(t);
    memcpy(dims, shape.dim, sizeof shape.dim);
    t->name = (char *)name;
    t->n_dims = (size_t)shape.rank;
    t->dims = dims;
    t->has_data_type = true;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    t->has_raw_data = true;
    t->raw_data.len = (size_t)shape_size(shape) * sizeof *data;
    t->raw_data.data = (uint8_t *)data;
    return t;
}

static void add_tensor(struct onnx_writer *w, const char *name, struct shape shape, const float *data)
{
    Onnx__TensorProto *t = make_tensor(w, name, shape, data);
    if (t)
        w->proto->initializer[w->proto->n_initializer++] = t;
}

void onnx_constant(struct onnx_writer *w, int layer, int param)
{
    const struct graph_param *p = &w->graph->nodes[layer].params[param];
    Onnx__NodeProto *n = onnx_node(w, layer, "/constant", "Constant", false);
    Onnx__AttributeProto *a = add_attribute(w, n, "value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR);
    Onnx__TensorProto *t = make_tensor(w, w->params[layer * GRAPH_PARAMS + param], p->shape, p->data);
    if (!a || !t)
        return;
    a->t = t;
    n->output[0] = (char *)w->params[layer * GRAPH_PARAMS + param];
}

const char *onnx_scalar(struct onnx_writer *w, int layer, const char *part, float value)
{
    float *copy = onnx_alloc(w, sizeof *copy);
    const char *name = onnx_format(w, "%s%s", w->graph->nodes[layer].name, part);
    name = name ? onnx_unique(w, name) : NULL;
    if (!copy || !name)
        return NULL;
    *copy = value;
    add_tensor(w, name, (struct shape){0}, copy);
    return name;
}

const char *onnx_integers(struct onnx_writer *w, int layer, const char *part, const int64_t *v, int count,
                          bool scalar)
{
    Onnx__TensorProto *t = onnx_alloc(w, sizeof *t);
    int64_t *copy = onnx_alloc(w, (size_t)(count + 1) * sizeof *copy);
    const char *name = onnx_format(w, "%s%s", w->graph->nodes[layer].name, part);
    name = name ? onnx_unique(w, name) : NULL;
    if (!t || !copy || !name)
        return NULL;
    copy[0] = count; /* the dimension, then the numbers */
    memcpy(copy + 1, v, (size_t)count * sizeof *copy);
    onnx__tensor_proto__init(t);
    t->name = (char *)name;
    t->n_dims = !scalar;
    t->dims = copy;
    t->has_data_type = true;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    t->n_int64_data = (size_t)count;
    t->int64_data = copy + 1;
    w->proto->initializer[w->proto->n_initializer++] = t;
    return name;
}

static int add_params(struct onnx_writer *w, struct fail *why)
{
    const struct graph *g = w->graph;
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].param_count; k++) {
            const struct graph_param *p = &g->nodes[i].params[k];
            if (!p->data)
                return fail(why, E_FAILED, "%s: %s has no values yet; draw or load them first", g->name,
                            p->name);
            if (!onnx_is_fixed(&g->nodes[i]))
                add_tensor(w, onnx_param_name(w, i, k), p->shape, p->data);
        }
    return 0;
}

/* ---- the model ---- */

static Onnx__TensorShapeProto__Dimension *dimension(struct onnx_writer *w, int64_t size)
{
    Onnx__TensorShapeProto__Dimension *d = onnx_alloc(w, sizeof *d);
    if (!d)
        return NULL;
    onnx__tensor_shape_proto__dimension__init(d);
    if (size > 0) {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value = size;
    } else {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        d->dim_param = onnx_format(w, "N");
    }
    return d;
}

/* FLOAT [N, row...]: the batch is symbolic. */
static Onnx__ValueInfoProto **value_info(struct onnx_writer *w, const char *name, struct shape row)
{
    Onnx__ValueInfoProto **list = onnx_alloc(w, sizeof *list), *v = onnx_alloc(w, sizeof *v);
    Onnx__TypeProto *type = onnx_alloc(w, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = onnx_alloc(w, sizeof *tensor);
    Onnx__TensorShapeProto *shape = onnx_alloc(w, sizeof *shape);
    Onnx__TensorShapeProto__Dimension **dims = onnx_alloc(w, (SHAPE_DIMS + 1) * sizeof *dims);
    if (w->no_memory)
        return NULL;
    onnx__value_info_proto__init(v);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    for (int i = 0; i <= row.rank; i++)
        dims[i] = dimension(w, i ? row.dim[i - 1] : 0);
    shape->n_dim = (size_t)row.rank + 1;
    shape->dim = dims;
    tensor->has_elem_type = true;
    tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    v->name = (char *)name;
    v->type = type;
    list[0] = v;
    return list;
}

static int build_graph(struct onnx_writer *w, struct fail *why)
{
    const struct graph *g = w->graph;
    size_t n = (size_t)g->count;
    onnx_name_values(w);
    Onnx__GraphProto *p = w->proto = onnx_alloc(w, sizeof *p);
    Onnx__NodeProto **nodes = onnx_alloc(w, n * NODES_A_LAYER * sizeof *nodes);
    Onnx__TensorProto **tensors = onnx_alloc(w, n * (GRAPH_PARAMS + SCALARS_A_LAYER) * sizeof *tensors);
    if (w->no_memory)
        return 0;
    onnx__graph_proto__init(p);
    p->name = onnx_format(w, "%s", *g->name ? g->name : "network");
    p->node = nodes;
    p->initializer = tensors;
    p->n_input = p->n_output = 1;
    p->input = value_info(w, w->input, g->input);
    p->output = value_info(w, w->values[n - 1], graph_output(g));
    int rc = add_params(w, why);
    for (int i = 0; i < g->count && !rc; i++)
        rc = onnx_export_layer(w, g, i, why);
    return rc;
}

static Onnx__ModelProto *build_model(struct onnx_writer *w)
{
    Onnx__ModelProto *m = onnx_alloc(w, sizeof *m);
    Onnx__OperatorSetIdProto *opset = onnx_alloc(w, sizeof *opset);
    Onnx__OperatorSetIdProto **opsets = onnx_alloc(w, sizeof *opsets);
    if (w->no_memory)
        return NULL;
    onnx__model_proto__init(m);
    onnx__operator_set_id_proto__init(opset);
    opset->domain = onnx_format(w, "%s", "");
    opset->has_version = true;
    opset->version = ONNX_OPSET;
    opsets[0] = opset;
    m->n_opset_import = 1;
    m->opset_import = opsets;
    m->has_ir_version = true;
    m->ir_version = ONNX_IR;
    m->producer_name = onnx_format(w, ONNX_PRODUCER);
    m->graph = w->proto;
    onnx_meta_write(w, w->graph, m);
    return w->no_memory ? NULL : m;
}

static int pack(const Onnx__ModelProto *m, void **bytes, size_t *size, struct fail *why)
{
    size_t n = onnx__model_proto__get_packed_size(m);
    if (n > INT32_MAX)
        return fail(why, E_UNSUPPORTED, "an ONNX file of %zu MB: protobuf ends at 2 GB", n >> 20);
    if (!(*bytes = malloc(n)))
        return fail(why, E_MEMORY, "no memory for an ONNX file of %zu bytes", n);
    *size = onnx__model_proto__pack(m, *bytes);
    return 0;
}

int onnx_print(const struct graph *g, void **bytes, size_t *size, struct fail *why)
{
    struct onnx_writer w = {.graph = g};
    *bytes = NULL;
    if (!g->count)
        return fail(why, E_FAILED, "%s: a network without layers cannot be written", g->name);
    int rc = build_graph(&w, why);
    Onnx__ModelProto *m = rc || w.no_memory ? NULL : build_model(&w);
    if (!rc && !m)
        rc = fail(why, E_MEMORY, "%s: no memory to write it as ONNX", g->name);
    if (!rc)
        rc = pack(m, bytes, size, why);
    onnx_writer_close(&w);
    return rc;
}
