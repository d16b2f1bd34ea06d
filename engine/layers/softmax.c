/* Softmax over the first dimension of a row. */
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
