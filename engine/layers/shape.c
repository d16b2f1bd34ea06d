/* Layers that only change a shape (flatten, reshape, squeeze, unsqueeze), and dropout, which hides values. */
#include "engine/layers/axes.h"
#include "engine/layers/types.h"

/* The memory stays as it is: placing makes the copies free. */
static void rename_forward(struct recorder *r, struct layer *l)
{
    record_copy(r, l->y, l->x[0]);
}

static void rename_backward(struct recorder *r, struct layer *l)
{
    record_copy(r, l->dx[0], l->dy);
}

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

const struct layer_type layer_flatten = {
    .name = "flatten",
    .help = "an image as one list of numbers",
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = flatten_shape,
    .forward = rename_forward,
    .backward = rename_backward,
};

/* ---- reshape ---- */

static const struct setting reshape_settings[] = {
    {"shape", SETTING_INTS, offsetof(struct reshape_settings, shape), NULL, -1, 1 << 30, NULL,
     "of one row; 0 keeps the input's dimension, one -1 stands for what is left", false},
    {0}};

static int reshape_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                         struct fail *why)
{
    const struct reshape_settings *s = given;
    char was[64], is[64];
    int open = -1;
    (void)inputs;
    *out = (struct shape){.rank = s->shape.count};
    for (int d = 0; d < out->rank; d++) {
        int64_t v = s->shape.v[d];
        if (v < -1 || (v == -1 && open >= 0) || (v == 0 && d >= in[0].rank))
            return fail(why, E_NETWORK,
                        "shape %lld in place %d: expected a size, one -1, or 0 for a "
                        "dimension of the input",
                        (long long)v, d);
        open = v == -1 ? d : open;
        out->dim[d] = v == -1 ? 1 : v == 0 ? in[0].dim[d] : v;
    }
    if (open >= 0 && shape_size(*out) > 0)
        out->dim[open] = shape_size(in[0]) / shape_size(*out);
    if (shape_size(*out) == shape_size(in[0]))
        return 0;
    return fail(why, E_NETWORK, "a row of %s does not become one of %s", shape_text(in[0], was, sizeof was),
                shape_text(*out, is, sizeof is));
}

const struct layer_type layer_reshape = {
    .name = "reshape",
    .help = "the same numbers in another shape",
    .settings = reshape_settings,
    .settings_size = sizeof(struct reshape_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = reshape_shape,
    .forward = rename_forward,
    .backward = rename_backward,
};

/* ---- squeeze, unsqueeze ---- */

static const struct setting squeeze_settings[] = {{"axes", SETTING_INTS, offsetof(struct axes_settings, axes),
                                                   "[]", -SHAPE_DIMS, SHAPE_DIMS - 1, NULL,
                                                   "dimensions of 1 that go; []: all of 1", false},
                                                  {0}};
static const struct setting unsqueeze_settings[] = {
    {"axes", SETTING_INTS, offsetof(struct axes_settings, axes), NULL, -SHAPE_DIMS, SHAPE_DIMS - 1, NULL,
     "dimensions of the output that are new, of 1", false},
    {0}};

static int squeeze_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                         struct fail *why)
{
    const struct axes_settings *s = given;
    bool go[SHAPE_DIMS];
    int rc = axes_of(&s->axes, in[0].rank, go, why);
    (void)inputs;
    *out = (struct shape){.rank = 0};
    for (int d = 0; !rc && d < in[0].rank; d++) {
        if (!go[d] || (!s->axes.count && in[0].dim[d] != 1))
            out->dim[out->rank++] = in[0].dim[d];
        else if (in[0].dim[d] != 1)
            return fail(why, E_NETWORK, "dimension %d is %lld, only one of 1 can go", d,
                        (long long)in[0].dim[d]);
    }
    return rc;
}

static int unsqueeze_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                           struct fail *why)
{
    const struct axes_settings *s = given;
    bool new[SHAPE_DIMS];
    int rank = in[0].rank + s->axes.count, from = 0, rc;
    (void)inputs;
    if (!s->axes.count || rank > SHAPE_DIMS)
        return fail(why, E_NETWORK, "%d axes for a row of %d dimensions, expected 1..%d", s->axes.count,
                    in[0].rank, SHAPE_DIMS - in[0].rank);
    if ((rc = axes_of(&s->axes, rank, new, why)))
        return rc;
    *out = (struct shape){.rank = rank};
    for (int d = 0; d < rank; d++)
        out->dim[d] = new[d] ? 1 : in[0].dim[from++];
    return 0;
}

const struct layer_type layer_squeeze = {
    .name = "squeeze",
    .help = "without dimensions of 1",
    .settings = squeeze_settings,
    .settings_size = sizeof(struct axes_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = squeeze_shape,
    .forward = rename_forward,
    .backward = rename_backward,
};

const struct layer_type layer_unsqueeze = {
    .name = "unsqueeze",
    .help = "with more dimensions of 1",
    .settings = unsqueeze_settings,
    .settings_size = sizeof(struct axes_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = unsqueeze_shape,
    .forward = rename_forward,
    .backward = rename_backward,
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
