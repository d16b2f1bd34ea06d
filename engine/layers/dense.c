/* Dense: every output sees every input, y = f(w x + b); an image is taken flat. */
#include "engine/layers/ending.h"
#include "engine/layers/types.h"

static const struct setting settings[] = {
    {"units", SETTING_INT, offsetof(struct dense_settings, units), NULL, 1, 1 << 24, NULL,
     "number of outputs", false},
    {"activation", SETTING_CHOICE, offsetof(struct dense_settings, activation), "none", 0, 0, MAP_CHOICES,
     "function applied to the output", false},
    {"bias", SETTING_BOOL, offsetof(struct dense_settings, bias), "true", 0, 0, NULL,
     "add a number to each output", false},
    {"init", SETTING_CHOICE, offsetof(struct dense_settings, init), "auto", 0, 0, INIT_CHOICES,
     "how fresh weights are drawn; auto: He where relu follows, else Xavier", false},
    {0}};

static int shape(const void *given, const struct shape *in, int inputs, struct shape *out, struct fail *why)
{
    const struct dense_settings *s = given;
    (void)inputs;
    (void)in;
    if (s->units < 1 || s->units > 1 << 24)
        return fail(why, E_NETWORK, "units %lld is not in 1..%d", (long long)s->units, 1 << 24);
    *out = SHAPE(s->units);
    return 0;
}

static int params(const void *given, const struct shape *in, struct layer_param *p)
{
    const struct dense_settings *s = given;
    int64_t inputs = shape_size(in[0]);
    p[0] = (struct layer_param){.suffix = "weight",
                                .shape = SHAPE(s->units, inputs),
                                .role = PARAM_WEIGHT,
                                .init = s->init,
                                .fan_in = inputs,
                                .fan_out = s->units};
    if (s->bias)
        p[1] = (struct layer_param){.suffix = "bias", .shape = SHAPE(s->units), .role = PARAM_BIAS};
    return s->bias ? 2 : 1;
}

static double flops(const void *given, const struct shape *in, struct shape out)
{
    (void)given;
    return 2.0 * (double)shape_size(in[0]) * (double)shape_size(out);
}

static void forward(struct recorder *r, struct layer *l)
{
    const struct dense_settings *s = l->settings;
    struct value z = ending_begin(r, l, s->activation);
    record_dense(r, z, l->x[0], l->w[0], l->w[1], shape_size(l->in[0]), s->units);
    ending_apply(r, l, s->activation);
}

static void backward(struct recorder *r, struct layer *l)
{
    const struct dense_settings *s = l->settings;
    struct value dz = ending_back(r, l, s->activation);
    record_dense_dw(r, l->dw[0], l->dw[1], dz, l->x[0], shape_size(l->in[0]), s->units);
    record_dense_dx(r, l->dx[0], dz, l->w[0], shape_size(l->in[0]), s->units);
}

static enum map_fn activation(const void *given)
{
    return (enum map_fn)((const struct dense_settings *)given)->activation;
}

const struct layer_type layer_dense = {
    .name = "dense",
    .help = "fully connected layer",
    .settings = settings,
    .settings_size = sizeof(struct dense_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = shape,
    .params = params,
    .flops = flops,
    .forward = forward,
    .backward = backward,
    .activation = activation,
};
