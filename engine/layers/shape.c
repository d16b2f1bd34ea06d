/* Layers that compute little: flatten changes a shape, dropout hides values. */
#include "engine/layers/types.h"

/* ---- flatten ---- */

static int flatten_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                         struct fail *why)
{
    (void)given;
    (void)inputs;
    (void)why;
    *out = SHAPE(shape_size(in[0]));
    return 0;
}

static void flatten_forward(struct recorder *r, struct layer *l)
{
    record_copy(r, l->y, l->x[0]);
}

static void flatten_backward(struct recorder *r, struct layer *l)
{
    record_copy(r, l->dx[0], l->dy);
}

const struct layer_type layer_flatten = {
    .name = "flatten",
    .help = "an image as one list of numbers",
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = flatten_shape,
    .forward = flatten_forward,
    .backward = flatten_backward,
};

/* ---- dropout ---- */

static const struct setting dropout_settings[] = {
    {"rate", SETTING_REAL, offsetof(struct dropout_settings, rate), "0.5", 0, 0.999, NULL,
     "share of values set to zero in training; the others are divided by 1 - rate", false},
    {0}};

static int dropout_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                         struct fail *why)
{
    const struct dropout_settings *s = given;
    (void)inputs;
    if (!(s->rate >= 0 && s->rate < 1))
        return fail(why, E_NETWORK, "rate %g is not in [0, 1)", s->rate);
    *out = in[0];
    return 0;
}

static void dropout_forward(struct recorder *r, struct layer *l)
{
    const struct dropout_settings *s = l->settings;
    if (record_training(r))
        record_dropout(r, l->y, l->x[0], s->rate, l->node);
    else
        record_copy(r, l->y, l->x[0]);
}

static void dropout_backward(struct recorder *r, struct layer *l)
{
    const struct dropout_settings *s = l->settings;
    if (record_training(r))
        record_dropout(r, l->dx[0], l->dy, s->rate, l->node);
    else
        record_copy(r, l->dx[0], l->dy);
}

const struct layer_type layer_dropout = {
    .name = "dropout",
    .help = "hides values at random while training (inverted dropout)",
    .settings = dropout_settings,
    .settings_size = sizeof(struct dropout_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = dropout_shape,
    .forward = dropout_forward,
    .backward = dropout_backward,
};
