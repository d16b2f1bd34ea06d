/* What the exporters of layers share; onnx_layers.c has their table, onnx_layers_axes.c those about shapes. */
#ifndef ENGINE_FILES_ONNX_LAYERS_H
#define ENGINE_FILES_ONNX_LAYERS_H

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

/* A node named like the layer, with the layer's inputs and output. */
Onnx__NodeProto *onnx_plain(struct onnx_writer *w, const struct graph *g, int layer, const char *operator);
/* One row of the layer's first input. */
struct shape onnx_input_row(const struct graph *g, int layer);

void onnx_export_argmax(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_argmin(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_concat(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_flatten(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_gather(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_pad(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_reduce_max(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_reduce_mean(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_reduce_min(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_reduce_sum(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_reshape(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_slice(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_squeeze(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_transpose(struct onnx_writer *w, const struct graph *g, int layer);
void onnx_export_unsqueeze(struct onnx_writer *w, const struct graph *g, int layer);

#endif
