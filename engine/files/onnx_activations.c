/* Functions of one value, and softmax: rows of the table in onnx_operators.c. Next to read: onnx_linear.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

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
    bool apart = r->ours && !onnx_is_part(n, ONNX_PART_ACTIVATION);
    if (activation && *activation == MAP_IDENTITY && x->uses == 1 && !x->viewed && !apart) {
        *activation = (int)fn;
        onnx_define(r, n, x->node);
        return 0;
    }
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, type, from, &l, why)))
        return rc;
    return onnx_added(r, n, why);
}

int onnx_import_relu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_map(r, n, "relu", MAP_RELU, why);
}

int onnx_import_tanh(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_map(r, n, "tanh", MAP_TANH, why);
}

int onnx_import_sigmoid(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_map(r, n, "sigmoid", MAP_SIGMOID, why);
}

/* Ours is over the first dimension of a row. Before operator set 13 Softmax took its input as a matrix, all
 * from `axis` on in one sum. */
int onnx_import_softmax(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
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
