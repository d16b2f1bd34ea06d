/* Functions of one value, rows of formula.h, and softmax. */
#include "engine/layers/types.h"

static int same_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                      struct fail *why)
{
    (void)given;
    (void)inputs;
    (void)why;
    *out = in[0];
    return 0;
}

/* A layer type for a row of enum map_fn that has no numbers. */
#define MAP_LAYER(word, function, text)                                                    \
    static void word##_forward(struct recorder *r, struct layer *l)                        \
    {                                                                                      \
        record_map(r, l->y, l->x[0], &(struct map){.fn = function});                       \
    }                                                                                      \
    static void word##_backward(struct recorder *r, struct layer *l)                       \
    {                                                                                      \
        record_map_back(r, l->dx[0], l->dy, l->x[0], l->y, &(struct map){.fn = function}); \
    }                                                                                      \
    static enum map_fn word##_activation(const void *given)                                \
    {                                                                                      \
        (void)given;                                                                       \
        return function;                                                                   \
    }                                                                                      \
    const struct layer_type layer_##word = {.name = #word,                                 \
                                            .help = text,                                  \
                                            .min_inputs = 1,                               \
                                            .max_inputs = 1,                               \
                                            .shape = same_shape,                           \
                                            .forward = word##_forward,                     \
                                            .backward = word##_backward,                   \
                                            .activation = word##_activation}

MAP_LAYER(relu, MAP_RELU, "max(0, x)");
MAP_LAYER(tanh, MAP_TANH, "hyperbolic tangent");
MAP_LAYER(sigmoid, MAP_SIGMOID, "1 / (1 + exp(-x))");

/* [classes] or [classes, H, W]: over the first dimension of a row. */
static void softmax_forward(struct recorder *r, struct layer *l)
{
    record_softmax(r, l->y, l->x[0], l->in[0].dim[0], shape_size(l->in[0]) / l->in[0].dim[0]);
}

static void softmax_backward(struct recorder *r, struct layer *l)
{
    record_softmax_back(r, l->dx[0], l->dy, l->y, l->in[0].dim[0], shape_size(l->in[0]) / l->in[0].dim[0]);
}

const struct layer_type layer_softmax = {
    .name = "softmax",
    .help = "exp(x) over their sum, over the first dimension of a row",
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = same_shape,
    .forward = softmax_forward,
    .backward = softmax_backward,
};
