/* Functions of one value: a layer type for each row of enum map_fn, whose formulas are in formula.h. Names, numbers
 * and their defaults are those of ONNX. Softmax, which looks at a whole row, is softmax.c. */
#include "engine/layers/types.h"

#include <float.h>
#include <math.h>

static int same_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                      struct fail *why)
{
    (void)given;
    (void)inputs;
    (void)why;
    *out = in[0];
    return 0;
}

/* The layer type `word` with word_map, which says its function; the rest: settings and shape rule. */
#define MAP_LAYER(word, text, ...)                                           \
    static void word##_forward(struct recorder *r, struct layer *l)          \
    {                                                                        \
        struct map map = word##_map(l->settings);                            \
        record_map(r, l->y, l->x[0], &map);                                  \
    }                                                                        \
    static void word##_backward(struct recorder *r, struct layer *l)         \
    {                                                                        \
        struct map map = word##_map(l->settings);                            \
        record_map_back(r, l->dx[0], l->dy, l->x[0], l->y, &map);            \
    }                                                                        \
    static enum map_fn word##_activation(const void *given)                  \
    {                                                                        \
        return word##_map(given).fn;                                         \
    }                                                                        \
    const struct layer_type layer_##word = {.name = #word,                   \
                                            .help = text,                    \
                                            .min_inputs = 1,                 \
                                            .max_inputs = 1,                 \
                                            .forward = word##_forward,       \
                                            .backward = word##_backward,     \
                                            .activation = word##_activation, \
                                            __VA_ARGS__}

/* One without numbers. */
#define PLAIN_LAYER(word, function, text)           \
    static struct map word##_map(const void *given) \
    {                                               \
        (void)given;                                \
        return (struct map){.fn = function};        \
    }                                               \
    MAP_LAYER(word, text, .shape = same_shape)

PLAIN_LAYER(relu, MAP_RELU, "max(0, x)");
PLAIN_LAYER(tanh, MAP_TANH, "hyperbolic tangent");
PLAIN_LAYER(sigmoid, MAP_SIGMOID, "1 / (1 + exp(-x))");
PLAIN_LAYER(relu6, MAP_RELU6, "x between 0 and 6");
PLAIN_LAYER(hard_swish, MAP_HARD_SWISH, "x max(0, min(1, x / 6 + 0.5))");
PLAIN_LAYER(softplus, MAP_SOFTPLUS, "log(1 + exp(x))");
PLAIN_LAYER(silu, MAP_SILU, "x sigmoid(x), also called swish");
PLAIN_LAYER(exp, MAP_EXP, "exponential");
PLAIN_LAYER(log, MAP_LOG, "natural logarithm");
PLAIN_LAYER(sqrt, MAP_SQRT, "square root");
PLAIN_LAYER(abs, MAP_ABS, "without its sign");
PLAIN_LAYER(neg, MAP_NEG, "-x");

/* ---- with numbers ---- */

static int check_finite(const char *key, double v, struct fail *why)
{
    return isfinite(v) && fabs(v) <= (double)FLT_MAX
               ? 0
               : fail(why, E_NETWORK, "%s %g is not a finite number of 32 bits", key, v);
}

static int alpha_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                       struct fail *why)
{
    (void)inputs;
    *out = in[0];
    return check_finite("alpha", ((const struct alpha_settings *)given)->alpha, why);
}

static const struct setting leaky_relu_settings[] = {{"alpha", SETTING_REAL,
                                                      offsetof(struct alpha_settings, alpha), "0.01", 0, 0,
                                                      NULL, "slope below 0", false},
                                                     {0}};

static struct map leaky_relu_map(const void *given)
{
    return (struct map){MAP_LEAKY_RELU, (float)((const struct alpha_settings *)given)->alpha, 0};
}

MAP_LAYER(leaky_relu, "x, below 0 alpha x", .shape = alpha_shape, .settings = leaky_relu_settings,
          .settings_size = sizeof(struct alpha_settings));

static const struct setting elu_settings[] = {{"alpha", SETTING_REAL, offsetof(struct alpha_settings, alpha),
                                               "1", 0, 0, NULL, "far below 0 the result is -alpha", false},
                                              {0}};

static struct map elu_map(const void *given)
{
    return (struct map){MAP_ELU, (float)((const struct alpha_settings *)given)->alpha, 0};
}

MAP_LAYER(elu, "x, below 0 alpha (exp(x) - 1)", .shape = alpha_shape, .settings = elu_settings,
          .settings_size = sizeof(struct alpha_settings));

static const struct setting hard_sigmoid_settings[] = {
    {"alpha", SETTING_REAL, offsetof(struct hard_sigmoid_settings, alpha), "0.2", 0, 0, NULL, "slope", false},
    {"beta", SETTING_REAL, offsetof(struct hard_sigmoid_settings, beta), "0.5", 0, 0, NULL, "value at 0",
     false},
    {0}};

static int hard_sigmoid_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                              struct fail *why)
{
    const struct hard_sigmoid_settings *s = given;
    (void)inputs;
    *out = in[0];
    int rc = check_finite("alpha", s->alpha, why);
    return rc ? rc : check_finite("beta", s->beta, why);
}

static struct map hard_sigmoid_map(const void *given)
{
    const struct hard_sigmoid_settings *s = given;
    return (struct map){MAP_HARD_SIGMOID, (float)s->alpha, (float)s->beta};
}

MAP_LAYER(hard_sigmoid, "alpha x + beta between 0 and 1", .shape = hard_sigmoid_shape,
          .settings = hard_sigmoid_settings, .settings_size = sizeof(struct hard_sigmoid_settings));

/* The largest float as a bound is none. */
static const struct setting clip_settings[] = {
    {"min", SETTING_REAL, offsetof(struct clip_settings, min), "-3.4028234663852886e+38", 0, 0, NULL,
     "what is less becomes this", false},
    {"max", SETTING_REAL, offsetof(struct clip_settings, max), "3.4028234663852886e+38", 0, 0, NULL,
     "what is greater becomes this", false},
    {0}};

static int clip_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                      struct fail *why)
{
    const struct clip_settings *s = given;
    (void)inputs;
    *out = in[0];
    if (isnan(s->min) || isnan(s->max))
        return fail(why, E_NETWORK, "min %g and max %g must be numbers", s->min, s->max);
    return 0;
}

static struct map clip_map(const void *given)
{
    const struct clip_settings *s = given;
    float low = s->min <= -(double)FLT_MAX ? -INFINITY : (float)s->min;
    return (struct map){MAP_CLIP, low, s->max >= (double)FLT_MAX ? INFINITY : (float)s->max};
}

MAP_LAYER(clip, "x between min and max", .shape = clip_shape, .settings = clip_settings,
          .settings_size = sizeof(struct clip_settings));

static const struct setting gelu_settings[] = {{"approximate", SETTING_CHOICE,
                                                offsetof(struct gelu_settings, approximate), "none", 0, 0,
                                                GELU_CHOICES, "tanh: the approximation by it", false},
                                               {0}};

static struct map gelu_map(const void *given)
{
    const struct gelu_settings *s = given;
    return (struct map){.fn = s->approximate == GELU_TANH ? MAP_GELU_TANH : MAP_GELU};
}

MAP_LAYER(gelu, "x times the share of a normal distribution below x", .shape = same_shape,
          .settings = gelu_settings, .settings_size = sizeof(struct gelu_settings));
