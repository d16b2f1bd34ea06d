/* Every layer there is. A new one: a line here and in types.h. */
#include <string.h>

#include "engine/layers/types.h"

const struct layer_type *const layer_types[] = {
    /* conv.c, dense.c, pool.c, norm.c */
    &layer_conv, &layer_dense, &layer_maxpool, &layer_avgpool, &layer_global_maxpool, &layer_global_avgpool,
    &layer_batchnorm,
    /* activation.c */
    &layer_relu, &layer_tanh, &layer_sigmoid, &layer_relu6, &layer_hard_swish, &layer_softplus, &layer_silu,
    &layer_exp, &layer_log, &layer_sqrt, &layer_abs, &layer_neg, &layer_leaky_relu, &layer_elu,
    &layer_hard_sigmoid, &layer_clip, &layer_gelu,
    /* zip.c */
    &layer_add, &layer_sub, &layer_mul, &layer_div, &layer_prelu,
    /* softmax.c, shape.c */
    &layer_softmax, &layer_log_softmax, &layer_lrn, &layer_flatten, &layer_reshape, &layer_squeeze,
    &layer_unsqueeze, &layer_dropout,
    /* view.c, pad.c, reduce.c */
    &layer_transpose, &layer_slice, &layer_gather, &layer_concat, &layer_pad, &layer_reduce_mean,
    &layer_reduce_sum, &layer_reduce_max, &layer_reduce_min, &layer_argmax, &layer_argmin, NULL};

const struct layer_type *layer_find(const char *name)
{
    for (int i = 0; layer_types[i]; i++)
        if (!strcmp(layer_types[i]->name, name))
            return layer_types[i];
    return NULL;
}

const char *layer_nearest(const char *name)
{
    const char *words[128];
    int n = 0;
    for (; layer_types[n] && n < 128; n++)
        words[n] = layer_types[n]->name;
    return setting_nearest(name, words, n);
}
