/* Functions of two values with numpy's broadcast: of two layers' rows, or of one and a parameter of this layer's own,
 * whose shape is a setting. A sum of equal shapes is copies that add, which placing and joining know. */
#include "engine/layers/types.h"

enum { ZIP_MOST = 1 << 24 };

#define SHAPE_SETTING(fallback)                                                                         \
    {                                                                                                   \
        "shape", SETTING_INTS, offsetof(struct zip_settings, shape), fallback, 1, ZIP_MOST, NULL,       \
            "of a parameter of the layer's own, the second operand: [16, 1, 1] has one for each of 16 " \
            "channels",                                                                                 \
            false                                                                                       \
    }
#define FIXED_SETTING                                                                     \
    {                                                                                     \
        "fixed", SETTING_BOOL, offsetof(struct zip_settings, fixed), "false", 0, 0, NULL, \
            "the parameter is a constant: it is not trained", false                       \
    }

static const struct setting even_settings[] = {SHAPE_SETTING("[]"), FIXED_SETTING, {0}};
static const struct setting odd_settings[] = {SHAPE_SETTING("[]"),
                                              FIXED_SETTING,
                                              {"first", SETTING_BOOL, offsetof(struct zip_settings, first),
                                               "false", 0, 0, NULL, "the parameter is the first operand",
                                               false},
                                              {0}};
static const struct setting prelu_settings[] = {SHAPE_SETTING("[1]"), FIXED_SETTING, {0}};

static struct shape own_shape(const struct zip_settings *s)
{
    struct shape shape = {.rank = s->shape.count};
    for (int d = 0; d < shape.rank; d++)
        shape.dim[d] = s->shape.v[d];
    return shape;
}

static int check_own(const struct zip_settings *s, struct fail *why)
{
    for (int d = 0; d < s->shape.count; d++)
        if (s->shape.v[d] < 1 || s->shape.v[d] > ZIP_MOST)
            return fail(why, E_NETWORK, "shape %lld is not in 1..%d", (long long)s->shape.v[d], ZIP_MOST);
    return 0;
}

/* What the operands broadcast to. */
static int common_shape(struct shape a, struct shape b, struct shape *out, struct fail *why)
{
    char first[64], other[64];
    if (nest_common(a, b, out))
        return 0;
    return fail(why, E_NETWORK, "shapes %s and %s do not fit: dimensions, from the last, must be equal or 1",
                shape_text(a, first, sizeof first), shape_text(b, other, sizeof other));
}

static int zip_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                     struct fail *why)
{
    const struct zip_settings *s = given;
    int wanted = s->shape.count ? 1 : 2, rc = check_own(s, why);
    if (rc)
        return rc;
    if (inputs != wanted)
        return fail(why, E_NETWORK, "%d inputs, expected %d: two layers, or one and the setting `shape`",
                    inputs, wanted);
    return common_shape(in[0], s->shape.count ? own_shape(s) : in[1], out, why);
}

static int own_param(const struct zip_settings *s, const char *suffix, float fill, struct layer_param *p)
{
    if (!s->shape.count)
        return 0;
    p[0] = (struct layer_param){
        .suffix = suffix, .shape = own_shape(s), .role = s->fixed ? PARAM_STATE : PARAM_BIAS, .fill = fill};
    return 1;
}

static void zip_forward(struct recorder *r, struct layer *l, enum zip_fn fn)
{
    const struct zip_settings *s = l->settings;
    if (!s->shape.count)
        record_zip(r, l->y, l->x[0], l->x[1], fn);
    else if (s->first)
        record_zip(r, l->y, l->w[0], l->x[0], fn);
    else
        record_zip(r, l->y, l->x[0], l->w[0], fn);
}

static void zip_backward(struct recorder *r, struct layer *l, enum zip_fn fn)
{
    const struct zip_settings *s = l->settings;
    struct value a = l->x[0], b = l->x[1], da = l->dx[0], db = l->dx[1];
    if (s->shape.count) {
        a = s->first ? l->w[0] : l->x[0];
        b = s->first ? l->x[0] : l->w[0];
        da = s->first ? l->dw[0] : l->dx[0];
        db = s->first ? l->dx[0] : l->dw[0];
    }
    record_zip_back(r, da, 0, l->dy, a, b, fn);
    record_zip_back(r, db, 1, l->dy, a, b, fn);
}

/* The layer type `word`: its function, its parameter's name and what that begins with. */
#define ZIP_LAYER(word, fn, suffix, begin, text, ...)                                          \
    static int word##_params(const void *given, const struct shape *in, struct layer_param *p) \
    {                                                                                          \
        (void)in;                                                                              \
        return own_param(given, suffix, begin, p);                                             \
    }                                                                                          \
    static void word##_forward(struct recorder *r, struct layer *l)                            \
    {                                                                                          \
        zip_forward(r, l, fn);                                                                 \
    }                                                                                          \
    static void word##_backward(struct recorder *r, struct layer *l)                           \
    {                                                                                          \
        zip_backward(r, l, fn);                                                                \
    }                                                                                          \
    const struct layer_type layer_##word = {.name = #word,                                     \
                                            .help = text,                                      \
                                            .settings_size = sizeof(struct zip_settings),      \
                                            .min_inputs = 1,                                   \
                                            .max_inputs = 2,                                   \
                                            .shape = zip_shape,                                \
                                            .params = word##_params,                           \
                                            .forward = word##_forward,                         \
                                            .backward = word##_backward,                       \
                                            __VA_ARGS__}

ZIP_LAYER(sub, ZIP_SUB, "operand", 0, "difference of two inputs, or of one and a parameter",
          .settings = odd_settings);
ZIP_LAYER(mul, ZIP_MUL, "operand", 1, "product of two inputs, or of one and a parameter",
          .settings = even_settings);
ZIP_LAYER(div, ZIP_DIV, "operand", 1, "quotient of two inputs, or of one and a parameter",
          .settings = odd_settings);
ZIP_LAYER(prelu, ZIP_PRELU, "slope", 0.25f, "x, below 0 a parameter times x", .settings = prelu_settings);

/* ---- add: any number of inputs of one shape, or as the others ---- */

static bool all_equal(const struct shape *in, int inputs)
{
    for (int i = 1; i < inputs; i++)
        if (!shape_equal(in[0], in[i]))
            return false;
    return inputs > 1;
}

static int add_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                     struct fail *why)
{
    const struct zip_settings *s = given;
    char first[64], other[64];
    *out = in[0];
    if (!s->shape.count && all_equal(in, inputs))
        return 0;
    if (inputs <= 2)
        return zip_shape(given, in, inputs, out, why);
    if (s->shape.count)
        return fail(why, E_NETWORK, "%d inputs and the setting `shape`, expected one input", inputs);
    for (int i = 1; i < inputs; i++)
        if (!shape_equal(in[0], in[i]))
            return fail(why, E_NETWORK,
                        "inputs have shapes %s and %s, expected equal ones: only two broadcast",
                        shape_text(in[0], first, sizeof first), shape_text(in[i], other, sizeof other));
    return 0;
}

static int add_params(const void *given, const struct shape *in, struct layer_param *p)
{
    (void)in;
    return own_param(given, "operand", 0, p);
}

static void add_forward(struct recorder *r, struct layer *l)
{
    if (!all_equal(l->in, l->inputs)) {
        zip_forward(r, l, ZIP_ADD);
        return;
    }
    for (int i = 0; i < l->inputs; i++) /* the first copies, later ones add */
        record_copy(r, l->y, l->x[i]);
}

static void add_backward(struct recorder *r, struct layer *l)
{
    if (!all_equal(l->in, l->inputs)) {
        zip_backward(r, l, ZIP_ADD);
        return;
    }
    for (int i = 0; i < l->inputs; i++)
        record_copy(r, l->dx[i], l->dy);
}

const struct layer_type layer_add = {
    .name = "add",
    .help = "sum of its inputs, or of one and a parameter",
    .settings = even_settings,
    .settings_size = sizeof(struct zip_settings),
    .min_inputs = 1,
    .max_inputs = GRAPH_INPUTS,
    .shape = add_shape,
    .params = add_params,
    .forward = add_forward,
    .backward = add_backward,
};
