/* Softmax and its logarithm over one dimension of a row; local response normalisation over neighbouring channels. */
#include "engine/layers/axes.h"
#include "engine/layers/types.h"

static const struct setting softmax_settings[] = {
    {"axis", SETTING_INT, offsetof(struct softmax_settings, axis), "0", -SHAPE_DIMS, SHAPE_DIMS - 1, NULL,
     "dimension of a row that has the classes", false},
    {0}};

static int softmax_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                         struct fail *why)
{
    int axis;
    (void)inputs;
    *out = in[0];
    return axis_of(((const struct softmax_settings *)given)->axis, in[0].rank, &axis, why);
}

/* Elements between neighbours of the axis. */
static int64_t inner_of(const struct layer *l, int axis)
{
    int64_t inner = 1;
    for (int d = axis + 1; d < l->in[0].rank; d++)
        inner *= l->in[0].dim[d];
    return inner;
}

static void forward(struct recorder *r, struct layer *l, bool log)
{
    int axis = axis_in(((const struct softmax_settings *)l->settings)->axis, l->in[0].rank);
    record_softmax(r, l->y, l->x[0], l->in[0].dim[axis], inner_of(l, axis), log);
}

static void backward(struct recorder *r, struct layer *l, bool log)
{
    int axis = axis_in(((const struct softmax_settings *)l->settings)->axis, l->in[0].rank);
    record_softmax_back(r, l->dx[0], l->dy, l->y, l->in[0].dim[axis], inner_of(l, axis), log);
}

static void softmax_forward(struct recorder *r, struct layer *l)
{
    forward(r, l, false);
}

static void softmax_backward(struct recorder *r, struct layer *l)
{
    backward(r, l, false);
}

static void log_softmax_forward(struct recorder *r, struct layer *l)
{
    forward(r, l, true);
}

static void log_softmax_backward(struct recorder *r, struct layer *l)
{
    backward(r, l, true);
}

const struct layer_type layer_softmax = {
    .name = "softmax",
    .help = "exp(x) over their sum along a dimension",
    .settings = softmax_settings,
    .settings_size = sizeof(struct softmax_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = softmax_shape,
    .forward = softmax_forward,
    .backward = softmax_backward,
};

const struct layer_type layer_log_softmax = {
    .name = "log_softmax",
    .help = "logarithm of softmax",
    .settings = softmax_settings,
    .settings_size = sizeof(struct softmax_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = softmax_shape,
    .forward = log_softmax_forward,
    .backward = log_softmax_backward,
};

/* ---- local response normalisation ---- */

static const struct setting lrn_settings[] = {
    {"size", SETTING_INT, offsetof(struct lrn_settings, size), NULL, 1, 1 << 20, NULL,
     "channels that a value is normalised by, itself in the middle", false},
    {"alpha", SETTING_REAL, offsetof(struct lrn_settings, alpha), "0.0001", 0, 1e6, NULL,
     "weight of the mean of their squares", false},
    {"beta", SETTING_REAL, offsetof(struct lrn_settings, beta), "0.75", 0, 100, NULL, "exponent", false},
    {"bias", SETTING_REAL, offsetof(struct lrn_settings, bias), "1", 1e-6, 1e6, NULL,
     "added to the weighted mean", false},
    {0}};

static int lrn_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                     struct fail *why)
{
    const struct lrn_settings *s = given;
    (void)inputs;
    *out = in[0];
    if (in[0].rank < 1)
        return fail(why, E_NETWORK, "a row has no channels");
    if (s->size < 1 || s->size > 1 << 20)
        return fail(why, E_NETWORK, "size %lld is not in 1..%d", (long long)s->size, 1 << 20);
    if (!(s->alpha >= 0 && s->alpha <= 1e6) || !(s->beta >= 0 && s->beta <= 100) ||
        !(s->bias >= 1e-6 && s->bias <= 1e6))
        return fail(why, E_NETWORK, "alpha %g, beta %g, bias %g: expected 0..1e6, 0..100, 1e-6..1e6",
                    s->alpha, s->beta, s->bias);
    return 0;
}

static struct lrn lrn_of(const struct layer *l)
{
    const struct lrn_settings *s = l->settings;
    return (struct lrn){.channels = l->in[0].dim[0],
                        .inner = inner_of(l, 0),
                        .size = s->size,
                        .alpha = s->alpha,
                        .beta = s->beta,
                        .bias = s->bias};
}

static void lrn_forward(struct recorder *r, struct layer *l)
{
    struct lrn lrn = lrn_of(l);
    record_lrn(r, l->y, l->x[0], &lrn);
}

static void lrn_backward(struct recorder *r, struct layer *l)
{
    struct lrn lrn = lrn_of(l);
    record_lrn_back(r, l->dx[0], l->dy, l->x[0], &lrn);
}

const struct layer_type layer_lrn = {
    .name = "lrn",
    .help = "local response normalisation over neighbouring channels",
    .settings = lrn_settings,
    .settings_size = sizeof(struct lrn_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = lrn_shape,
    .forward = lrn_forward,
    .backward = lrn_backward,
};
