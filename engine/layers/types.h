/* The layer types, one object each; table.c lists them. Included by the files of layers/ only. */
#ifndef ENGINE_LAYERS_TYPES_H
#define ENGINE_LAYERS_TYPES_H

#include "engine/layer.h"
#include "engine/layers/settings.h"

extern const struct layer_type layer_conv, layer_dense, layer_maxpool, layer_avgpool, layer_relu, layer_tanh,
    layer_sigmoid, layer_softmax, layer_flatten, layer_add, layer_dropout;

#endif
