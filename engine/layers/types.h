/* The layer types, one object each; table.c lists them. Included by the files of layers/ only. */
#ifndef ENGINE_LAYERS_TYPES_H
#define ENGINE_LAYERS_TYPES_H

#include "engine/layer.h"
#include "engine/layers/settings.h"

extern const struct layer_type layer_conv, layer_dense, layer_maxpool, layer_avgpool, layer_global_maxpool,
    layer_global_avgpool, layer_batchnorm;
/* activation.c */
extern const struct layer_type layer_relu, layer_tanh, layer_sigmoid, layer_relu6, layer_hard_swish,
    layer_softplus, layer_silu, layer_exp, layer_log, layer_sqrt, layer_abs, layer_neg, layer_leaky_relu,
    layer_elu, layer_hard_sigmoid, layer_clip, layer_gelu;
/* zip.c */
extern const struct layer_type layer_add, layer_sub, layer_mul, layer_div, layer_prelu;
/* softmax.c, shape.c */
extern const struct layer_type layer_softmax, layer_log_softmax, layer_lrn, layer_flatten, layer_reshape,
    layer_squeeze, layer_unsqueeze, layer_dropout;
/* view.c, pad.c, reduce.c */
extern const struct layer_type layer_transpose, layer_slice, layer_gather, layer_concat, layer_pad,
    layer_reduce_mean, layer_reduce_sum, layer_reduce_max, layer_reduce_min, layer_argmax, layer_argmin;

#endif
