/* Batch normalisation and activation (Ioffe and Szegedy, https://arxiv.org/abs/1502.03167), over a row's first
 * dimension: y = f((x - mean) / sqrt(variance + epsilon) * weight + bias). Training takes mean and variance of
 * the micro-batch and moves the running ones by `momentum`, the variance unbiased; otherwise those are taken. */
#include "engine/layers/ending.h"
#include "engine/layers/types.h"

static const struct setting settings[] = {
    {"momentum", SETTING_REAL, offsetof(struct batchnorm_settings, momentum), "0.1", 0, 1, NULL,
     "share of a micro-batch's statistics in the running ones", false},
    {"epsilon", SETTING_REAL, offsetof(struct batchnorm_settings, epsilon), "1e-5", 1e-12, 1, NULL,
     "added to the variance", false},
    {"activation", SETTING_CHOICE, offsetof(struct batchnorm_settings, activation), "none", 0, 0, MAP_CHOICES,
     "function applied to the output", false},
    {0}};

static int shape(const void *given, const struct shape *in, int inputs, struct shape *out, struct fail *why)
{
    const struct batchnorm_settings *s = given;
    (void)inputs;
    if (!(s->epsilon > 0 && s->epsilon <= 1))
        return fail(why, E_NETWORK, "epsilon %g is not above 0 and at most 1", s->epsilon);
    if (!(s->momentum >= 0 && s->momentum <= 1))
        return fail(why, E_NETWORK, "momentum %g is not in 0..1", s->momentum);
    *out = in[0];
    return 0;
}

static int params(const void *given, const struct shape *in, struct layer_param *p)
{
    static const char *const suffixes[] = {"weight", "bias", "running_mean", "running_var"};
    (void)given;
    for (int i = 0; i < 4; i++)
        p[i] = (struct layer_param){.suffix = suffixes[i],
                                    .shape = SHAPE(in[0].dim[0]),
                                    .role = i < 2 ? PARAM_BIAS : PARAM_STATE,
                                    .fill = i % 3 == 0 ? 1 : 0}; /* weight and variance begin with 1 */
    return 4;
}

static struct norm norm_of(const struct layer *l)
{
    const struct batchnorm_settings *s = l->settings;
    int64_t channels = l->in[0].dim[0];
    return (struct norm){channels, shape_size(l->in[0]) / channels, s->epsilon, s->momentum};
}

static void forward(struct recorder *r, struct layer *l)
{
    const struct batchnorm_settings *s = l->settings;
    struct norm norm = norm_of(l);
    struct value z = ending_begin(r, l, s->activation);
    if (record_training(r))
        l->saved[1] = record_temp(r, SHAPE(2, norm.channels));
    record_batchnorm(r, z, l->saved[1], l->x[0], l->w, &norm);
    ending_apply(r, l, s->activation);
}

static void backward(struct recorder *r, struct layer *l)
{
    const struct batchnorm_settings *s = l->settings;
    struct norm norm = norm_of(l);
    struct value dz = ending_back(r, l, s->activation);
    record_batchnorm_back(r, l->dx[0], l->dw, dz, l->saved[1], l->x[0], l->w, &norm);
}

static enum map_fn activation(const void *given)
{
    return (enum map_fn)((const struct batchnorm_settings *)given)->activation;
}

const struct layer_type layer_batchnorm = {
    .name = "batchnorm",
    .help = "each channel to mean 0 and variance 1, then weight and bias",
    .settings = settings,
    .settings_size = sizeof(struct batchnorm_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = shape,
    .params = params,
    .forward = forward,
    .backward = backward,
    .activation = activation,
};
