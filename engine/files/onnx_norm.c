/* BatchNormalization and the global pools: rows of the table in onnx_operators.c. Next to read: layers/norm.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

/* One of scale, bias, mean, variance: a number for each channel. */
static int set_channels(struct onnx_reader *r, const Onnx__NodeProto *n, int index, int64_t channels,
                        struct fail *why)
{
    static const char *const names[] = {"the scale", "the bias", "the mean", "the variance"};
    struct onnx_value *v = onnx_input(r, n, (size_t)index + 1);
    struct shape s;
    char text[96];
    float *data = NULL;
    int rc = onnx_want_floats(v, names[index], &data, &s, why);
    if (!rc && (s.rank != 1 || s.dim[0] != channels))
        rc = fail(why, E_FILE, "%s has shape %s, expected [%lld]", names[index],
                  shape_text(s, text, sizeof text), (long long)channels);
    if (!rc)
        rc = onnx_set_param(r, r->graph->count - 1, index, v, SHAPE(channels), data, why);
    free(data);
    return rc;
}

/* Before operator set 14 nothing says that it is training: files that answer have one output. */
static int check_mode(const Onnx__NodeProto *n, struct fail *why)
{
    int64_t training = 0, spatial = 1;
    int rc;
    if ((rc = onnx_attribute_int(n, "training_mode", &training, why)) ||
        (rc = onnx_attribute_int(n, "spatial", &spatial, why)))
        return rc;
    if (training || !spatial)
        return fail(why, E_UNSUPPORTED, "%s; supported is one set of running statistics for each channel",
                    training ? "training_mode 1" : "spatial 0");
    return 0;
}

/* ONNX's momentum is the share that stays, ours the share that comes. */
int onnx_import_batchnorm(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    float epsilon = 1e-5f, momentum = 0.9f;
    struct graph_node *l;
    int rc = onnx_want_activation(x, why);
    if (rc || (rc = check_mode(n, why)) || (rc = onnx_attribute_float(n, "epsilon", &epsilon, why)) ||
        (rc = onnx_attribute_float(n, "momentum", &momentum, why)))
        return rc;
    struct shape row = onnx_row(r, x);
    if (!r->lead || row.rank < 1)
        return fail(why, E_UNSUPPORTED, "works on channels, which come after the rows");
    int from;
    if ((rc = onnx_layer_of(r, x, &from, why)) ||
        (rc = onnx_add(r, n, onnx_input(r, n, 1), "batchnorm", from, &l, why)))
        return rc;
    struct batchnorm_settings *s = l->settings;
    s->epsilon = onnx_decimal(epsilon);
    s->momentum = onnx_decimal((float)(1 - onnx_decimal(momentum)));
    for (int i = 0; i < 4 && !rc; i++)
        rc = set_channels(r, n, i, row.dim[0], why);
    return rc ? rc : onnx_added(r, n, why);
}

/* Over all dimensions but the channels, which ours calls height and width. */
int onnx_import_global_pool(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), flat;
    const char *type = strcmp(n->op_type, "GlobalMaxPool") ? "global_avgpool" : "global_maxpool";
    struct graph_node *l;
    char text[96];
    int from, rc = onnx_want_activation(x, why);
    if (rc)
        return rc;
    struct shape row = onnx_row(r, x), ones = row;
    if (!r->lead || row.rank < 2)
        return fail(why, E_UNSUPPORTED, "one row of its input is %s, expected [C, W], [C, H, W] or more",
                    shape_text(row, text, sizeof text));
    flat = *x;
    if (row.rank != 3)
        onnx_set_view(r, &flat, SHAPE(row.dim[0], row.dim[1], shape_size(row) / row.dim[0] / row.dim[1]));
    if ((rc = onnx_layer_of(r, &flat, &from, why)) || (rc = onnx_add(r, n, NULL, type, from, &l, why)) ||
        (rc = onnx_added(r, n, why)))
        return rc;
    for (int i = 1; i < row.rank; i++)
        ones.dim[i] = 1;
    onnx_set_view(r, onnx_find(r, n->output[0]), ones);
    return 0;
}
