/* Means, sums, greatest and least values over dimensions of a row, and the index of the greatest or least along one.
 * Names and rules are ONNX's; axes as in view.c. */
#include "engine/layers/axes.h"
#include "engine/layers/types.h"

static const struct setting reduce_settings[] = {
    {"axes", SETTING_INTS, offsetof(struct reduce_settings, axes), "[]", -SHAPE_DIMS, SHAPE_DIMS - 1, NULL,
     "dimensions of a row; []: all", false},
    {"keepdims", SETTING_BOOL, offsetof(struct reduce_settings, keepdims), "true", 0, 0, NULL,
     "they stay as dimensions of 1", false},
    {0}};

/* What is left of a shape when the marked dimensions go, or become 1. */
static struct shape left_over(struct shape in, const bool *axes, bool keep)
{
    struct shape out = {.rank = 0};
    for (int d = 0; d < in.rank; d++)
        if (keep || !axes[d])
            out.dim[out.rank++] = axes[d] ? 1 : in.dim[d];
    return out;
}

static int reduce_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                        struct fail *why)
{
    const struct reduce_settings *s = given;
    bool axes[NEST_DIMS] = {false};
    int rc = axes_of(&s->axes, in[0].rank, axes, why);
    (void)inputs;
    *out = left_over(in[0], axes, s->keepdims);
    return rc;
}

static float scale_of(const struct layer *l, bool mean)
{
    return mean ? (float)((double)shape_size(l->out) / (double)shape_size(l->in[0])) : 1;
}

static void reduce_forward(struct recorder *r, struct layer *l, enum reduce_fn fn, bool mean)
{
    const struct reduce_settings *s = l->settings;
    bool axes[NEST_DIMS] = {false};
    axes_of(&s->axes, l->in[0].rank, axes, NULL);
    record_reduce(r, l->y, l->x[0], axes, fn, scale_of(l, mean), false);
}

static void reduce_backward(struct recorder *r, struct layer *l, enum reduce_fn fn, bool mean)
{
    const struct reduce_settings *s = l->settings;
    bool axes[NEST_DIMS] = {false};
    axes_of(&s->axes, l->in[0].rank, axes, NULL);
    record_reduce_back(r, l->dx[0], l->dy, l->x[0], axes, fn, scale_of(l, mean));
}

#define REDUCE_LAYER(word, fn, mean, text)                                                   \
    static void word##_forward(struct recorder *r, struct layer *l)                          \
    {                                                                                        \
        reduce_forward(r, l, fn, mean);                                                      \
    }                                                                                        \
    static void word##_backward(struct recorder *r, struct layer *l)                         \
    {                                                                                        \
        reduce_backward(r, l, fn, mean);                                                     \
    }                                                                                        \
    const struct layer_type layer_##word = {.name = #word,                                   \
                                            .help = text,                                    \
                                            .settings = reduce_settings,                     \
                                            .settings_size = sizeof(struct reduce_settings), \
                                            .min_inputs = 1,                                 \
                                            .max_inputs = 1,                                 \
                                            .shape = reduce_shape,                           \
                                            .forward = word##_forward,                       \
                                            .backward = word##_backward}

REDUCE_LAYER(reduce_mean, REDUCE_SUM, true, "mean over dimensions of a row");
REDUCE_LAYER(reduce_sum, REDUCE_SUM, false, "sum over dimensions of a row");
REDUCE_LAYER(reduce_max, REDUCE_MAX, false, "greatest value over dimensions of a row");
REDUCE_LAYER(reduce_min, REDUCE_MIN, false, "least value over dimensions of a row");

/* ---- argmax, argmin: constant almost everywhere, so they have no gradient ---- */

static const struct setting arg_settings[] = {
    {"axis", SETTING_INT, offsetof(struct arg_settings, axis), "0", -SHAPE_DIMS, SHAPE_DIMS - 1, NULL,
     "dimension of a row", false},
    {"keepdims", SETTING_BOOL, offsetof(struct arg_settings, keepdims), "true", 0, 0, NULL,
     "it stays as a dimension of 1", false},
    {"select_last_index", SETTING_BOOL, offsetof(struct arg_settings, select_last_index), "false", 0, 0, NULL,
     "of equals the last, not the first", false},
    {0}};

static int arg_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                     struct fail *why)
{
    const struct arg_settings *s = given;
    bool axes[NEST_DIMS] = {false};
    int axis, rc = axis_of(s->axis, in[0].rank, &axis, why);
    (void)inputs;
    if (rc)
        return rc;
    axes[axis] = true;
    *out = left_over(in[0], axes, s->keepdims);
    return 0;
}

static void arg_forward(struct recorder *r, struct layer *l, enum reduce_fn fn)
{
    const struct arg_settings *s = l->settings;
    bool axes[NEST_DIMS] = {false};
    axes[axis_in(s->axis, l->in[0].rank)] = true;
    record_reduce(r, l->y, l->x[0], axes, fn, 1, s->select_last_index);
}

static void argmax_forward(struct recorder *r, struct layer *l)
{
    arg_forward(r, l, REDUCE_ARGMAX);
}

static void argmin_forward(struct recorder *r, struct layer *l)
{
    arg_forward(r, l, REDUCE_ARGMIN);
}

static void arg_backward(struct recorder *r, struct layer *l)
{
    (void)r;
    (void)l;
}

const struct layer_type layer_argmax = {
    .name = "argmax",
    .help = "index of the greatest value along a dimension",
    .settings = arg_settings,
    .settings_size = sizeof(struct arg_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = arg_shape,
    .forward = argmax_forward,
    .backward = arg_backward,
};

const struct layer_type layer_argmin = {
    .name = "argmin",
    .help = "index of the least value along a dimension",
    .settings = arg_settings,
    .settings_size = sizeof(struct arg_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = arg_shape,
    .forward = argmin_forward,
    .backward = arg_backward,
};
