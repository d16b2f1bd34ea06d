/* Layers that change the shape of a row, or go over dimensions of it, as ONNX nodes. The rows' dimension stands before
 * theirs: axes from 0 count one more, negative ones stay. Next to read: onnx_layers.c, whose table names these. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx_layers.h"

static int64_t axis_out(int64_t axis)
{
    return axis < 0 ? axis : axis + 1;
}

static const char *list(struct onnx_writer *w, int layer, const char *part, const int64_t *v, int count)
{
    return onnx_integers(w, layer, part, v, count, false);
}

static const char *axes_list(struct onnx_writer *w, int layer, const struct setting_ints *axes)
{
    int64_t v[SHAPE_DIMS];
    for (int i = 0; i < axes->count; i++)
        v[i] = axis_out(axes->v[i]);
    return list(w, layer, "/axes", v, axes->count);
}

/* ---- shapes ---- */

void onnx_export_flatten(struct onnx_writer *w, const struct graph *g, int layer)
{
    onnx_node_int(w, onnx_plain(w, g, layer, "Flatten"), "axis", 1);
}

void onnx_export_reshape(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct reshape_settings *s = g->nodes[layer].settings;
    int64_t v[SHAPE_DIMS + 1] = {0};
    memcpy(v + 1, s->shape.v, (size_t)s->shape.count * sizeof v[0]);
    onnx_node_input(w, onnx_plain(w, g, layer, "Reshape"), list(w, layer, "/shape", v, s->shape.count + 1));
}

/* Without axes ONNX would take the rows for one of them. */
void onnx_export_squeeze(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct axes_settings *s = g->nodes[layer].settings;
    struct shape row = onnx_input_row(g, layer);
    struct setting_ints axes = s->axes;
    for (int i = 0; i < row.rank && !s->axes.count; i++)
        if (row.dim[i] == 1)
            axes.v[axes.count++] = i;
    onnx_node_input(w, onnx_plain(w, g, layer, axes.count ? "Squeeze" : "Identity"),
                    axes.count ? axes_list(w, layer, &axes) : NULL);
}

void onnx_export_unsqueeze(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct axes_settings *s = g->nodes[layer].settings;
    onnx_node_input(w, onnx_plain(w, g, layer, "Unsqueeze"), axes_list(w, layer, &s->axes));
}

/* ---- moves ---- */

void onnx_export_transpose(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct transpose_settings *s = g->nodes[layer].settings;
    int64_t v[SHAPE_DIMS + 1] = {0};
    int rank = g->nodes[layer].shape.rank;
    for (int i = 0; i < rank; i++)
        v[1 + i] = 1 + (s->perm.count ? s->perm.v[i] : rank - 1 - i);
    onnx_node_ints(w, onnx_plain(w, g, layer, "Transpose"), "perm", rank + 1, v);
}

void onnx_export_slice(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct slice_settings *s = g->nodes[layer].settings;
    struct setting_ints axes = s->axes;
    for (int i = 0; i < s->starts.count && !s->axes.count; i++)
        axes.v[axes.count++] = i;
    Onnx__NodeProto *n = onnx_plain(w, g, layer, "Slice");
    onnx_node_input(w, n, list(w, layer, "/starts", s->starts.v, s->starts.count));
    onnx_node_input(w, n, list(w, layer, "/ends", s->ends.v, s->ends.count));
    onnx_node_input(w, n, axes_list(w, layer, &axes));
    if (s->steps.count)
        onnx_node_input(w, n, list(w, layer, "/steps", s->steps.v, s->steps.count));
}

void onnx_export_gather(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct gather_settings *s = g->nodes[layer].settings;
    Onnx__NodeProto *n = onnx_plain(w, g, layer, "Gather");
    onnx_node_input(w, n, onnx_integers(w, layer, "/indices", s->indices.v, s->indices.count, s->scalar));
    onnx_node_int(w, n, "axis", axis_out(s->axis));
}

void onnx_export_concat(struct onnx_writer *w, const struct graph *g, int layer)
{
    const struct concat_settings *s = g->nodes[layer].settings;
    onnx_node_int(w, onnx_plain(w, g, layer, "Concat"), "axis", axis_out(s->axis));
}

void onnx_export_pad(struct onnx_writer *w, const struct graph *g, int layer)
{
    static const char *const modes[] = {
        [PAD_CONSTANT] = "constant", [PAD_REFLECT] = "reflect", [PAD_EDGE] = "edge"};
    const struct pad_settings *s = g->nodes[layer].settings;
    int64_t v[2 * SHAPE_DIMS + 2] = {0};
    int rank = g->nodes[layer].shape.rank;
    for (int i = 0; i < rank; i++) {
        v[1 + i] = s->pads.v[i];
        v[rank + 2 + i] = s->pads.v[rank + i];
    }
    Onnx__NodeProto *n = onnx_plain(w, g, layer, "Pad");
    onnx_node_input(w, n, list(w, layer, "/pads", v, 2 * rank + 2));
    onnx_node_input(w, n, onnx_scalar(w, layer, "/value", (float)s->value));
    onnx_node_text(w, n, "mode", modes[s->mode]);
}

/* ---- over dimensions ---- */

/* ReduceSum has its axes as an input since operator set 13, the others later than what we write. */
static void export_reduce(struct onnx_writer *w, const struct graph *g, int layer, const char *operator)
{
    const struct reduce_settings *s = g->nodes[layer].settings;
    struct setting_ints axes = s->axes;
    int64_t v[SHAPE_DIMS];
    for (int i = 0; i < onnx_input_row(g, layer).rank && !s->axes.count; i++)
        axes.v[axes.count++] = i;
    for (int i = 0; i < axes.count; i++)
        v[i] = axis_out(axes.v[i]);
    Onnx__NodeProto *n = onnx_plain(w, g, layer, operator);
    if (!strcmp(operator, "ReduceSum"))
        onnx_node_input(w, n, axes_list(w, layer, &axes));
    else
        onnx_node_ints(w, n, "axes", axes.count, v);
    onnx_node_int(w, n, "keepdims", s->keepdims);
}

void onnx_export_reduce_mean(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_reduce(w, g, layer, "ReduceMean");
}

void onnx_export_reduce_sum(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_reduce(w, g, layer, "ReduceSum");
}

void onnx_export_reduce_max(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_reduce(w, g, layer, "ReduceMax");
}

void onnx_export_reduce_min(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_reduce(w, g, layer, "ReduceMin");
}

/* ONNX's indices are INT64, ours floats as everything. */
static void export_arg(struct onnx_writer *w, const struct graph *g, int layer, const char *operator)
{
    const struct arg_settings *s = g->nodes[layer].settings;
    Onnx__NodeProto *n = onnx_node(w, layer, "", operator, false);
    onnx_node_input(w, n, onnx_value_name(w, g->nodes[layer].inputs[0]));
    onnx_node_int(w, n, "axis", axis_out(s->axis));
    onnx_node_int(w, n, "keepdims", s->keepdims);
    onnx_node_int(w, n, "select_last_index", s->select_last_index);
    Onnx__NodeProto *cast = onnx_node(w, layer, "/cast", "Cast", true);
    onnx_node_input(w, cast, n ? n->output[0] : NULL);
    onnx_node_int(w, cast, "to", ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
}

void onnx_export_argmax(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_arg(w, g, layer, "ArgMax");
}

void onnx_export_argmin(struct onnx_writer *w, const struct graph *g, int layer)
{
    export_arg(w, g, layer, "ArgMin");
}
