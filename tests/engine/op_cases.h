/* The cases of optest: for each operation its geometry, what its values are like, and how closely ref must be met.
 * Included by optest.h. */
#ifndef TESTS_ENGINE_OP_CASES_H
#define TESTS_ENGINE_OP_CASES_H

#include "engine/cpu/lanes.h"
#include "engine/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum special { PLAIN, NANS, INFS, EQUALS, WIDE, FAR, WEIGHTED /* a loss with weights */ };

struct op_case {
    const char *name;
    enum op op;
    struct geometry g;
    int64_t row; /* of element-wise operations */
    double tolerance;
    enum special special;
};

#define POOL_CASES(op, t)                                                                              \
    {"halving", op, WINDOW(6, 28, 28, 6, 2, 2, 14, 14, 2, 2, 0, 0, 1, 1, 6), 0, t, PLAIN},             \
        {"halving of 5x6", op, WINDOW(3, 5, 6, 3, 2, 2, 2, 3, 2, 2, 0, 0, 1, 1, 3), 0, t, PLAIN},      \
        {"overlapping, padded", op, WINDOW(4, 7, 5, 4, 3, 3, 4, 3, 2, 2, 1, 1, 1, 1, 4), 0, t, PLAIN}, \
        {"stride over window", op, WINDOW(2, 11, 8, 2, 2, 2, 4, 3, 3, 3, 0, 0, 1, 1, 2), 0, t, PLAIN}, \
        {"rounded up", op, WINDOW(3, 5, 6, 3, 2, 3, 3, 2, 2, 3, 0, 0, 1, 1, 3), 0, t, PLAIN},          \
        {"127 channels, whole map",                                                                    \
         op,                                                                                           \
         WINDOW(127, 5, 6, 127, 5, 6, 1, 1, 5, 6, 0, 0, 1, 1, 127),                                    \
         0,                                                                                            \
         t,                                                                                            \
         PLAIN},                                                                                       \
        {"equal values", op, WINDOW(3, 6, 6, 3, 2, 2, 3, 3, 2, 2, 0, 0, 1, 1, 3), 0, t, EQUALS},       \
        {"NaN", op, WINDOW(3, 6, 6, 3, 2, 2, 3, 3, 2, 2, 0, 0, 1, 1, 3), 0, t, NANS},                  \
        {"NaN, overlapping", op, WINDOW(3, 7, 7, 3, 3, 3, 4, 4, 2, 2, 1, 1, 1, 1, 3), 0, t, NANS},     \
        {"-inf", op, WINDOW(3, 6, 6, 3, 2, 2, 3, 3, 2, 2, 0, 0, 1, 1, 3), 0, t, INFS},                 \
    {                                                                                                  \
        "-inf, overlapping", op, WINDOW(3, 7, 7, 3, 3, 3, 4, 4, 2, 2, 1, 1, 1, 1, 3), 0, t, INFS       \
    }

/* Rounded up, so that the last windows reach beyond the padding too. */
#define PADDING_COUNTS            \
    {                             \
        .window = {               \
            .C = 2,               \
            .H = 6,               \
            .W = 5,               \
            .K = 2,               \
            .R = 3,               \
            .S = 3,               \
            .P = 4,               \
            .Q = 3,               \
            .stride_h = 2,        \
            .stride_w = 2,        \
            .pad_top = 1,         \
            .pad_left = 1,        \
            .pad_bottom = 1,      \
            .pad_right = 1,       \
            .dilation_h = 1,      \
            .dilation_w = 1,      \
            .groups = 2,          \
            .count_padding = true \
        }                         \
    }

#define DENSE_CASES(op, t)                                    \
    {"400 to 120", op, {.dense = {400, 120}}, 0, t, PLAIN},   \
        {"127 to 10", op, {.dense = {127, 10}}, 0, t, PLAIN}, \
        {"1 to 1", op, {.dense = {1, 1}}, 0, t, PLAIN},       \
        {"30 to 129", op, {.dense = {30, 129}}, 0, t, PLAIN}, \
    {                                                         \
        "NaN", op, {.dense = {30, 12}}, 0, t, NANS            \
    }

/* Each over +-10 with its kinks, with NaN and with -inf (which few functions have as a result). */
#define MAP_CASE(name, op, t, ...)                                                          \
    {name, op, {.map = {.fn = __VA_ARGS__}}, 127, t, WIDE},                                 \
        {name ", NaN", op, {.map = {.fn = __VA_ARGS__}}, 30, t, NANS},                      \
    {                                                                                       \
        name ", -inf", op, {.map = {.fn = __VA_ARGS__}}, 30, t, op == OP_MAP ? INFS : PLAIN \
    }

#define MAP_CASES(op, t)                                                                                     \
    MAP_CASE("relu", op, t, MAP_RELU), MAP_CASE("tanh", op, t, MAP_TANH),                                    \
        MAP_CASE("sigmoid", op, t, MAP_SIGMOID), MAP_CASE("relu6", op, t, MAP_RELU6),                        \
        MAP_CASE("hard swish", op, t, MAP_HARD_SWISH), MAP_CASE("gelu", op, t, MAP_GELU),                    \
        MAP_CASE("gelu tanh", op, t, MAP_GELU_TANH), MAP_CASE("softplus", op, t, MAP_SOFTPLUS),              \
        MAP_CASE("silu", op, t, MAP_SILU), MAP_CASE("leaky relu", op, t, MAP_LEAKY_RELU, .a = 0.2f),         \
        MAP_CASE("leaky relu, negative", op, t, MAP_LEAKY_RELU, .a = -0.5f),                                 \
        MAP_CASE("elu", op, t, MAP_ELU, .a = 1.5f), MAP_CASE("elu, negative", op, t, MAP_ELU, .a = -0.5f),   \
        MAP_CASE("clip", op, t, MAP_CLIP, .a = -1.5f, .b = 4),                                               \
        MAP_CASE("hard sigmoid", op, t, MAP_HARD_SIGMOID, .a = 0.25f, .b = 0.5f),                            \
        MAP_CASE("exp", op, t, MAP_EXP), MAP_CASE("log", op, t, MAP_LOG), MAP_CASE("sqrt", op, t, MAP_SQRT), \
        MAP_CASE("abs", op, t, MAP_ABS), MAP_CASE("neg", op, t, MAP_NEG)

#define NORM_CASES(op, t)                                                                             \
    {"5x6 map", op, {.norm = {5, 30, 1e-5, 0.1}}, 0, t, PLAIN},                                       \
        {"of dense", op, {.norm = {37, 1, 1e-5, 0.1}}, 0, t, PLAIN},                                  \
        {"several chunks", op, {.norm = {3, 1031, 1e-3, 0.25}}, 0, t, PLAIN},                         \
        {"relu", op, {.norm = {7, 12, 1e-5, 0.1}, .map = {.fn = MAP_RELU}}, 0, t, PLAIN},             \
        {"relu6", op, {.norm = {4, 12, 1e-5, 0.1}, .map = {.fn = MAP_RELU6}}, 0, t, PLAIN},           \
        {"tanh", op, {.norm = {4, 12, 1e-5, 0.1}, .map = {.fn = MAP_TANH}}, 0, t, PLAIN},             \
        {"hard swish", op, {.norm = {4, 12, 1e-5, 0.1}, .map = {.fn = MAP_HARD_SWISH}}, 0, t, PLAIN}, \
    {                                                                                                 \
        "NaN", op, {.norm = {40, 3, 1e-5, 0.1}, .map = {.fn = MAP_RELU}}, 0, t, NANS                  \
    }

#define LOSS(...)               \
    {                           \
        .loss = { __VA_ARGS__ } \
    }
#define LOSS_CASES(op, t)                                                       \
    {"labels", op, LOSS(.outputs = 10, .labels = true), 0, t, PLAIN},           \
        {"targets", op, LOSS(.outputs = 10), 0, t, PLAIN},                      \
        {"127 outputs", op, LOSS(.outputs = 127, .labels = true), 0, t, PLAIN}, \
        {"-inf", op, LOSS(.outputs = 10, .labels = true), 0, t, INFS},          \
    {                                                                           \
        "NaN", op, LOSS(.outputs = 10, .labels = true), 0, t, NANS              \
    }

/* Count, lr, scale, and what the update looks at. */
#define UPDATE(...)               \
    {                             \
        .update = { __VA_ARGS__ } \
    }
#define DECAYED .count = 40000, .lr = 0.05, .scale = 0.25, .l1 = 0.01, .l2 = 0.02
#define SMALL   .count = 17, .lr = 0.05, .scale = 1
#define ADAM    .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-3, .correction1 = 0.1, .correction2 = 0.01

#include "tests/engine/conv_cases.h"
/* channels inner size alpha beta bias */
#define LRN_CASES(op, t)                                                     \
    {"of five", op, {.lrn = {127, 30, 5, 0.5, 0.75, 1}}, 3810, t, WIDE},     \
        {"even, wide", op, {.lrn = {3, 70, 6, 2, 0.5, 0.25}}, 210, t, WIDE}, \
        {"of one", op, {.lrn = {7, 1, 1, 0.0001, 1.25, 2}}, 7, t, PLAIN},    \
    {                                                                        \
        "NaN", op, {.lrn = {6, 30, 3, 1, 0.75, 1}}, 180, t, NANS             \
    }

#include "tests/engine/nest_cases.h" /* uses the enumerations above */

static const struct op_case cases[] = {
    ALL_NEST_CASES,
    CONV_CASES(OP_CONV, 1e-5),
    JOINED_CONV_CASES(OP_CONV, 1e-5),
    {"halved", OP_WINOGRAD, HALVED(5, 10, 11, 7, 3, 3, 10, 11, 1, 1, 1, 1, 1, 1, 1), 0, 3e-5, PLAIN},
    {"halved, one line", OP_WINOGRAD, HALVED(5, 5, 13, 7, 3, 3, 5, 13, 1, 1, 1, 1, 1, 1, 1), 0, 3e-5, PLAIN},
    {"residual, relu", OP_WINOGRAD, WINOGRAD(5, 9, 6, 7, 1, 1, 1, 1), 0, 3e-5, PLAIN},
    {"residual", OP_DENSE, {.dense = {30, 70}}, 0, 1e-5, PLAIN},
    {"conv and relu", OP_CONV, WINDOW(3, 5, 6, 4, 3, 3, 3, 4, 1, 1, 0, 0, 1, 1, 1), 0, 1e-5, PLAIN},
    INVERTED_CASES(OP_INVERTED, 1e-5),
    CONV_CASES(OP_CONV_DX, 1e-5),
    CONV_CASES(OP_CONV_DW, 2e-5),
    WINOGRAD_CASES(OP_WINOGRAD, 3e-5),
    FIVES_CASES(OP_WINOGRAD, 3e-5),
    {"fives, halved", OP_WINOGRAD, HALVED(3, 12, 15, 7, 5, 5, 12, 15, 1, 1, 2, 2, 1, 1, 1), 0, 3e-5, PLAIN},
    {"fives, residual, relu", OP_WINOGRAD, FIVES(5, 9, 6, 7, 2, 2, 2, 2), 0, 3e-5, PLAIN},
    {"conv and relu", OP_WINOGRAD, WINOGRAD(3, 5, 6, 4, 1, 1, 1, 1), 0, 3e-5, PLAIN},
    WINOGRAD_CASES(OP_WINOGRAD_DX, 3e-5),
    WINOGRAD_CASES(OP_WINOGRAD_DW, 3e-5),
    DENSE_CASES(OP_DENSE, 1e-5),
    DENSE_CASES(OP_DENSE_DX, 1e-5),
    DENSE_CASES(OP_DENSE_DW, 1e-5),
    POOL_CASES(OP_MAXPOOL, 0),
    POOL_CASES(OP_MAXPOOL_BACK, 1e-6),
    POOL_CASES(OP_AVGPOOL, 1e-6),
    POOL_CASES(OP_AVGPOOL_BACK, 1e-6),
    {"padding counts", OP_AVGPOOL, PADDING_COUNTS, 0, 1e-6, PLAIN},
    {"padding counts", OP_AVGPOOL_BACK, PADDING_COUNTS, 0, 1e-6, PLAIN},
    NORM_CASES(OP_NORM, 1e-6),
    {"residual", OP_NORM, {.norm = {5, 30, 1e-5, 0.1}}, 0, 1e-6, PLAIN},
    {"residual, relu", OP_NORM, {.norm = {5, 30, 1e-5, 0.1}, .map = {.fn = MAP_RELU}}, 0, 1e-6, PLAIN},
    NORM_CASES(OP_NORM_TRAIN, 2e-6),
    {"residual", OP_NORM_TRAIN, {.norm = {5, 30, 1e-5, 0.1}}, 0, 2e-6, PLAIN},
    {"residual, relu", OP_NORM_TRAIN, {.norm = {5, 30, 1e-5, 0.1}, .map = {.fn = MAP_RELU}}, 0, 2e-6, PLAIN},
    {"mean 1000", OP_NORM_TRAIN, {.norm = {5, 30, 1e-5, 0.1}}, 0, 2e-6, FAR},
    NORM_CASES(OP_NORM_BACK, 1e-5),
    MAP_CASES(OP_MAP, 1e-6),
    MAP_CASES(OP_MAP_BACK, 1e-6),
    {"copy", OP_COPY, {.map = {.fn = MAP_IDENTITY}}, 127, 0, PLAIN},
    {"copy of NaN", OP_COPY, {.map = {.fn = MAP_IDENTITY}}, 30, 0, NANS},
    {"to lanes", OP_TO_LANES, {.map = {.fn = MAP_IDENTITY}}, 37, 0, PLAIN},
    {"from lanes", OP_FROM_LANES, {.map = {.fn = MAP_IDENTITY}}, 37, 0, PLAIN},
    {"one table", OP_BYTES, {.bytes = {3, 37, true}}, 111, 0, PLAIN},
    {"a table a channel", OP_BYTES, {.bytes = {3, 16, false}}, 48, 0, PLAIN},
    {"a pixel", OP_BYTES, {.bytes = {5, 1, false}}, 5, 0, PLAIN},
    {"of 10", OP_PICK, {.pick = {10}}, 10, 0, PLAIN},
    {"of one", OP_PICK, {.pick = {1}}, 1, 0, PLAIN},
    {"of NaN", OP_PICK, {.pick = {9}}, 9, 0, NANS},
    {"of equals", OP_PICK, {.pick = {5}}, 5, 0, EQUALS},
    {"half", OP_DROPOUT, {.dropout = {0.5, 3}}, 127, 1e-6, PLAIN},
    {"nothing", OP_DROPOUT, {.dropout = {0, 3}}, 30, 1e-6, PLAIN},
    {"10 classes", OP_SOFTMAX, {.softmax = {.classes = 10, .inner = 1}}, 10, 1e-6, PLAIN},
    {"5 classes of 6 pixels", OP_SOFTMAX, {.softmax = {.classes = 5, .inner = 6}}, 30, 1e-6, PLAIN},
    {"-inf", OP_SOFTMAX, {.softmax = {.classes = 10, .inner = 1}}, 10, 1e-6, INFS},
    {"axis in the middle", OP_SOFTMAX, {.softmax = {.classes = 5, .inner = 6}}, 120, 1e-6, PLAIN},
    {"1000 classes", OP_SOFTMAX, {.softmax = {.classes = 1000, .inner = 1}}, 1000, 2e-6, WIDE},
    {"logarithm", OP_SOFTMAX, {.softmax = {5, 6, true}}, 60, 1e-6, WIDE},
    {"logarithm, NaN", OP_SOFTMAX, {.softmax = {5, 6, true}}, 60, 1e-6, NANS},
    {"logarithm, -inf", OP_SOFTMAX, {.softmax = {10, 1, true}}, 10, 1e-6, INFS},
    {"axis in the middle", OP_SOFTMAX_BACK, {.softmax = {.classes = 5, .inner = 6}}, 120, 1e-5, PLAIN},
    {"logarithm", OP_SOFTMAX_BACK, {.softmax = {5, 6, true}}, 60, 1e-5, PLAIN},
    LRN_CASES(OP_LRN, 1e-6),
    LRN_CASES(OP_LRN_BACK, 2e-6),
    {"10 classes", OP_SOFTMAX_BACK, {.softmax = {.classes = 10, .inner = 1}}, 10, 1e-5, PLAIN},
    {"5 classes of 6 pixels", OP_SOFTMAX_BACK, {.softmax = {.classes = 5, .inner = 6}}, 30, 1e-5, PLAIN},
    LOSS_CASES(OP_CROSS_ENTROPY, 1e-6),
    LOSS_CASES(OP_MSE, 1e-6),
    {"one output", OP_MSE, LOSS(.outputs = 1, .labels = true), 0, 1e-6, PLAIN},
    LOSS_CASES(OP_LOG_LOSS, 1e-6),
    {"one output", OP_LOG_LOSS, LOSS(.outputs = 1, .labels = true), 0, 1e-6, PLAIN},
    {"weights", OP_LOG_LOSS, LOSS(.outputs = 10), 0, 1e-6, WEIGHTED},
    {"weights", OP_CROSS_ENTROPY, LOSS(.outputs = 10, .labels = true), 0, 1e-6, WEIGHTED},
    {"weights, smooth targets", OP_CROSS_ENTROPY, LOSS(.outputs = 10, .smoothing = 0.2), 0, 1e-6, WEIGHTED},
    {"ignored label, smooth", OP_CROSS_ENTROPY,
     LOSS(.outputs = 3, .labels = true, .ignores = true, .ignored = 1, .smoothing = 0.1), 0, 1e-6, WEIGHTED},
    {"decayed", OP_SGD, UPDATE(DECAYED, .momentum = 0.9), 0, 1e-6, PLAIN},
    {"nesterov", OP_SGD, UPDATE(DECAYED, .momentum = 0.9, .nesterov = true), 0, 1e-6, PLAIN},
    {"plain", OP_SGD, UPDATE(SMALL), 0, 1e-6, PLAIN},
    {"NaN", OP_SGD, UPDATE(SMALL, .momentum = 0.5), 0, 1e-6, NANS},
    {"decayed", OP_ADAM, UPDATE(DECAYED, ADAM), 0, 1e-6, PLAIN},
    {"NaN", OP_ADAM, UPDATE(SMALL, ADAM), 0, 1e-6, NANS},
    {"decayed", OP_ADAMW, UPDATE(DECAYED, ADAM), 0, 1e-6, PLAIN},
    {"NaN", OP_ADAMW, UPDATE(SMALL, ADAM), 0, 1e-6, NANS},
    {"decayed", OP_RMSPROP, UPDATE(DECAYED, ADAM), 0, 1e-6, PLAIN},
    {"momentum", OP_RMSPROP, UPDATE(DECAYED, ADAM, .momentum = 0.9), 0, 1e-6, PLAIN},
    {"centered", OP_RMSPROP, UPDATE(DECAYED, ADAM, .centered = true), 0, 1e-6, PLAIN},
    {"centered, momentum", OP_RMSPROP, UPDATE(SMALL, ADAM, .momentum = 0.9, .centered = true), 0, 1e-6,
     PLAIN},
    {"NaN", OP_RMSPROP, UPDATE(SMALL, ADAM, .momentum = 0.9, .centered = true), 0, 1e-6, NANS},
    {"decayed", OP_ADAGRAD, UPDATE(DECAYED, ADAM), 0, 1e-6, PLAIN},
    {"NaN", OP_ADAGRAD, UPDATE(SMALL, ADAM), 0, 1e-6, NANS},
    {"three slices", OP_SQUARES, UPDATE(DECAYED), 0, 1e-6, PLAIN},
    {"less than one", OP_SQUARES, UPDATE(SMALL), 0, 1e-6, PLAIN},
    {"NaN", OP_SQUARES, UPDATE(SMALL), 0, 1e-6, NANS},
};
enum { CASES = sizeof cases / sizeof *cases };

/* Sizes of all rows of the tensors of an operation; 0: not there. */
struct sizes {
    int64_t out[OP_OUT], in[OP_IN];
};

static bool has_residual(const struct op_case *t)
{
    return strstr(t->name, "residual") != NULL;
}

static struct sizes conv_sizes(const struct op_case *t, int64_t n)
{
    const struct window *w = &t->g.window;
    int64_t x = n * w->C * w->H * w->W, y = n * w->K * w->P * w->Q,
            f = w->K * (w->C / w->groups) * w->R * w->S;
    const struct window *d = &t->g.inverted.depth;
    int64_t out = t->g.inverted.project.K, depth = n * d->K * d->P * d->Q,
            last = out ? depth / d->K * out : depth;
    switch (t->op) {
    case OP_INVERTED:
        return (struct sizes){
            {last}, {x, f, w->K, d->K * d->R * d->S, d->K, out * d->K, out, has_residual(t) ? last : 0}};
    case OP_CONV:
    case OP_WINOGRAD:
        if (w->halve)
            y = n * w->K * (w->P / 2) * (w->Q / 2);
        return (struct sizes){{y}, {x, f, w->K, has_residual(t) ? y : 0}};
    case OP_CONV_DX:
    case OP_WINOGRAD_DX:
        return (struct sizes){{x}, {y, f}};
    case OP_CONV_DW:
    case OP_WINOGRAD_DW:
        return (struct sizes){{f, w->K}, {y, x}};
    case OP_MAXPOOL:
    case OP_AVGPOOL:
        return (struct sizes){{y}, {x}};
    default:
        return (struct sizes){{x}, {y, x}};
    }
}

/* The residual is there where the case's name says so. */
static struct sizes norm_sizes(const struct op_case *t, int64_t n)
{
    int64_t c = t->g.norm.channels, row = n * c * t->g.norm.inner,
            more = strstr(t->name, "residual") ? row : 0;
    switch (t->op) {
    case OP_NORM:
        return (struct sizes){{row}, {row, c, c, c, c, more}};
    case OP_NORM_TRAIN:
        return (struct sizes){{row, 2 * c, c, c}, {row, c, c, 0, 0, more}};
    default:
        return (struct sizes){{row, c, c}, {row, row, c, c, 2 * c}};
    }
}

static bool is_update(enum op op)
{
    return op >= OP_SGD && op <= OP_ADAGRAD;
}

static int moments(const struct op_case *t)
{
    int own = t->op == OP_SGD ? 0 : t->op == OP_ADAM || t->op == OP_ADAMW ? 2 : 1;
    return own + (t->g.update.momentum > 0) + t->g.update.centered;
}

static struct sizes nest_sizes(const struct op_case *t, int64_t n)
{
    struct sizes s = {{0}, {0}};
    switch (t->op) {
    case OP_ZIP:
        nest_inputs(&t->g.zip.nest, 2, n, s.out, s.in);
        break;
    case OP_VIEW:
        nest_inputs(&t->g.view.nest, 1, n, s.out, s.in);
        break;
    case OP_REDUCE:
        nest_inputs(&t->g.reduce.nest, 1, n, s.out, s.in);
        break;
    case OP_REDUCE_BACK:
        nest_inputs(&t->g.reduce.nest, 2, n, s.out, s.in);
        break;
    default: /* sums and differences need neither a nor b */
        nest_inputs(&t->g.zip.nest, t->g.zip.fn <= ZIP_SUB ? 1 : 3, n, s.out, s.in);
    }
    return s;
}

static struct sizes sizes_of(const struct op_case *t, int64_t n)
{
    int64_t w = t->g.update.count;
    int64_t in = t->g.dense.in, out = t->g.dense.out, k = t->g.loss.outputs, row = n * t->row;
    switch (t->op) {
    case OP_DENSE:
        return (struct sizes){{n * out}, {n * in, in * out, out, has_residual(t) ? n * out : 0}};
    case OP_DENSE_DX:
        return (struct sizes){{n * in}, {n * out, in * out}};
    case OP_DENSE_DW:
        return (struct sizes){{in * out, out}, {n * out, n * in}};
    case OP_NORM:
    case OP_NORM_TRAIN:
    case OP_NORM_BACK:
        return norm_sizes(t, n);
    case OP_ZIP:
    case OP_ZIP_BACK:
    case OP_ZIP_DW:
    case OP_VIEW:
    case OP_REDUCE:
    case OP_REDUCE_BACK:
        return nest_sizes(t, n);
    case OP_MAP_BACK:
        if (map_slope(&t->g.map) == SLOPE_OF_X)
            return (struct sizes){{row}, {row, row}};
        return (struct sizes){{row}, {row, 0, row}};
    case OP_SOFTMAX_BACK:
    case OP_LRN_BACK:
        return (struct sizes){{row}, {row, row}};
    case OP_MAP:
    case OP_COPY:
    case OP_TO_LANES:
    case OP_FROM_LANES:
    case OP_DROPOUT:
    case OP_SOFTMAX:
    case OP_LRN:
        return (struct sizes){{row}, {row}};
    case OP_BYTES: /* any four bytes are a float here */
        return (struct sizes){{row}, {(row + 3) / 4, (t->g.bytes.one ? 1 : t->g.bytes.channels) * 256}};
    case OP_PICK:
        return (struct sizes){{row}, {row, n}};
    case OP_CROSS_ENTROPY:
    case OP_MSE:
    case OP_LOG_LOSS:
        return (struct sizes){{n * k, n * LOSS_SUMS},
                              {n * k, t->g.loss.labels ? n : n * k, t->special == WEIGHTED ? k : 0}};
    case OP_SGD:
    case OP_ADAM:
    case OP_ADAMW:
    case OP_RMSPROP:
    case OP_ADAGRAD:
        return (struct sizes){{w, w * moments(t), w}, {0}};
    case OP_SQUARES:
        return (struct sizes){{(w + UPDATE_SLICE - 1) / UPDATE_SLICE}, {w}};
    default:
        return conv_sizes(t, n);
    }
}

#endif
