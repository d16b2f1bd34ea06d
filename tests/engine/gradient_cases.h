/* Networks for gradient_test.c: one case at least for every layer, loss and their settings. Small, so that every
 * parameter can be moved; at most 1024 values in a parameter, 64 outputs. */
#ifndef TESTS_ENGINE_GRADIENT_CASES_H
#define TESTS_ENGINE_GRADIENT_CASES_H

#include <stdbool.h>

#include "engine/loss.h"

struct gradient_case {
    const char *name, *loss, *network;
    bool labels;
    double tolerance;
};

/* A conv or dense layer first, so that the tested layer's gradient to its input is seen in a parameter. */
#define FIRST "  - conv: {filters: 4, kernel: 2, padding: 1}\n"
#define LAST  "  - dense: {units: 3}\n"

static const struct gradient_case cases[] = {
    {"conv", "cross_entropy",
     "input: [2, 5, 6]\nlayers:\n" FIRST
     "  - conv: {filters: 3, kernel: [3, 2], stride: [2, 1], activation: tanh}\n" LAST,
     true, 1e-6},
    {"conv, groups and dilation", "cross_entropy",
     "input: [2, 5, 6]\nlayers:\n" FIRST "  - conv: {filters: 6, kernel: 2, groups: 2, dilation: 2, padding: "
     "[1, 0, 2, 1], activation: sigmoid}\n" LAST,
     true, 1e-6},
    {"conv, no bias, stride over kernel", "mse",
     "input: [2, 7, 6]\nlayers:\n" FIRST "  - conv: {filters: 3, kernel: 2, stride: 3, bias: false}\n" LAST,
     false, 1e-6},
    {"dense", "mse",
     "input: [7]\nlayers:\n  - dense: {units: 5, activation: tanh}\n  - dense: {units: 4, bias: false}\n",
     false, 1e-6},
    {"maxpool", "cross_entropy",
     "input: [2, 5, 6]\nlayers:\n" FIRST "  - maxpool: {size: 3, stride: 2, padding: 1}\n" LAST, true, 1e-5},
    {"maxpool, ceil", "cross_entropy",
     "input: [2, 5, 6]\nlayers:\n" FIRST "  - maxpool: {size: 2, stride: 2, ceil: true}\n" LAST, true, 1e-5},
    {"avgpool", "cross_entropy",
     "input: [2, 5, 6]\nlayers:\n" FIRST "  - avgpool: {size: 3, stride: 2, padding: 1}\n" LAST, true, 1e-6},
    {"avgpool, padding counts", "cross_entropy",
     "input: [2, 5, 6]\nlayers:\n" FIRST
     "  - avgpool: {size: [2, 3], padding: 1, ceil: true, count_padding: true}\n" LAST,
     true, 1e-6},
    {"batchnorm", "cross_entropy",
     "input: [2, 5, 6]\nlayers:\n" FIRST "  - batchnorm: {activation: tanh}\n" LAST, true, 1e-6},
    {"batchnorm of dense, twice", "mse",
     "input: [6]\nlayers:\n  - batchnorm: {epsilon: 0.5}\n  - dense: {units: 5}\n  - batchnorm\n" LAST, false,
     1e-6},
    {"batchnorm and relu", "cross_entropy",
     "input: [2, 5, 6]\nlayers:\n" FIRST "  - batchnorm: {activation: relu}\n" FIRST
     "  - batchnorm\n  - relu\n" LAST,
     true, 1e-5},
    {"residual block", "cross_entropy",
     "input: [2, 4, 4]\nlayers:\n  - {conv: {filters: 3, kernel: 3, padding: 1, bias: false}, name: a}\n"
     "  - {batchnorm: {activation: relu}, name: an}\n"
     "  - {conv: {filters: 3, kernel: 3, padding: 1, bias: false}, name: b}\n  - {batchnorm: , name: bn}\n"
     "  - {add: , from: [bn, an]}\n  - relu\n  - global_avgpool\n" LAST,
     true, 1e-5},
    {"global_avgpool", "cross_entropy", "input: [2, 5, 6]\nlayers:\n" FIRST "  - global_avgpool\n" LAST, true,
     1e-6},
    {"global_maxpool", "cross_entropy", "input: [2, 5, 6]\nlayers:\n" FIRST "  - global_maxpool\n" LAST, true,
     1e-5},
    {"relu", "cross_entropy", "input: [2, 3, 4]\nlayers:\n" FIRST "  - relu\n" LAST, true, 1e-5},
    {"joined relu", "cross_entropy", "input: [6]\nlayers:\n  - dense: {units: 9, activation: relu}\n" LAST,
     true, 1e-5},
    {"tanh", "cross_entropy", "input: [2, 3, 4]\nlayers:\n" FIRST "  - tanh\n" LAST, true, 1e-6},
    {"sigmoid", "log_loss", "input: [2, 3, 4]\nlayers:\n" FIRST "  - sigmoid\n" LAST, true, 1e-6},
    {"hard swish", "cross_entropy", "input: [2, 3, 4]\nlayers:\n" FIRST "  - hard_swish\n" LAST, true, 1e-5},
    {"leaky relu", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - leaky_relu: {alpha: 0.1}\n  - leaky_relu: {alpha: -0.5}\n" LAST,
     true, 1e-5},
    {"elu", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - elu: {alpha: 0.7}\n  - elu: {alpha: -0.5}\n" LAST, true, 1e-5},
    {"relu6, clip", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST
     "  - clip: {min: -0.25, max: 0.3}\n  - clip: {min: -0.1}\n  - relu6\n" LAST,
     true, 1e-5},
    {"hard sigmoid", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - hard_sigmoid: {alpha: 0.9}\n" LAST, true, 1e-5},
    {"gelu", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - gelu\n  - gelu: {approximate: tanh}\n" LAST, true, 1e-6},
    {"softplus, silu", "cross_entropy", "input: [2, 3, 4]\nlayers:\n" FIRST "  - softplus\n  - silu\n" LAST,
     true, 1e-6},
    {"exp, log, sqrt, neg, abs", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - exp\n  - sqrt\n  - log\n  - neg\n  - abs\n" LAST, true, 1e-5},
    {"activations whose slope needs the sum", "cross_entropy",
     "input: [6]\nlayers:\n  - dense: {units: 9, activation: gelu}\n  - dense: {units: 5, activation: silu}\n"
     "  - dense: {units: 5, activation: hard_swish}\n" LAST,
     true, 1e-5},
    {"activations whose slope needs the result", "cross_entropy",
     "input: [6]\nlayers:\n  - dense: {units: 9, activation: softplus}\n  - dense: {units: 5, activation: "
     "relu6}\n" LAST,
     true, 1e-5},
    {"softmax", "mse", "input: [2, 3, 4]\nlayers:\n" FIRST LAST "  - softmax\n", true, 1e-6},
    {"softmax of images", "mse", "input: [2, 3, 4]\nlayers:\n" FIRST "  - softmax\n" LAST, true, 1e-6},
    {"softmax and its logarithm along other axes", "mse",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - softmax: {axis: 1}\n  - log_softmax: {axis: -1}\n  - tanh\n"
     "  - log_softmax\n" LAST,
     true, 1e-6},
    {"lrn", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - lrn: {size: 3, alpha: 0.7}\n"
     "  - lrn: {size: 2, alpha: 2, beta: 0.5, bias: 0.5}\n" LAST,
     true, 1e-6},
    {"flatten", "mse", "input: [2, 3, 4]\nlayers:\n" FIRST "  - flatten\n  - tanh\n  - flatten\n" LAST, true,
     1e-6},
    {"flatten last", "mse", "input: [1, 2, 2]\nlayers:\n  - conv: {filters: 1, kernel: 1}\n  - flatten\n",
     false, 1e-6},
    {"dropout", "cross_entropy", "input: [2, 3, 4]\nlayers:\n" FIRST "  - dropout: {rate: 0.3}\n" LAST, true,
     1e-6},
    {"add: branches meet", "cross_entropy",
     "input: [2, 4, 4]\nlayers:\n  - {conv: {filters: 3, kernel: 3, padding: 1}, name: a}\n"
     "  - {conv: {filters: 3, kernel: 3, padding: 1, activation: tanh}, name: b}\n"
     "  - {conv: {filters: 3, kernel: 1}, name: c, from: [a]}\n"
     "  - {add: , from: [a, b, c, b]}\n  - tanh\n" LAST,
     true, 1e-6},
    {"add, a parameter a channel", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - add: {shape: [4, 1, 1]}\n  - tanh\n" LAST, true, 1e-6},
    {"add, an image to every channel", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n  - {conv: {filters: 4, kernel: 1}, name: a}\n"
     "  - {conv: {filters: 1, kernel: 1}, name: b}\n  - {add: , from: [b, a]}\n  - tanh\n" LAST,
     true, 1e-6},
    {"mul, a gate", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n  - {conv: {filters: 4, kernel: 1}, name: a}\n"
     "  - {conv: {filters: 4, kernel: [3, 4]}, name: b, from: [a]}\n  - {mul: , from: [a, b]}\n"
     "  - {mul: , from: [mul1, a]}\n" LAST,
     true, 1e-6},
    {"mul, sub and div by parameters", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - mul: {shape: [4, 1, 1]}\n  - sub: {shape: [4, 5]}\n"
     "  - sub: {shape: [1], first: true}\n  - sigmoid\n  - div: {shape: [1], fixed: true, first: true}\n"
     "  - mul: {shape: [5], fixed: true}\n  - mul: {shape: [3, 1, 4, 5]}\n" LAST,
     true, 1e-5},
    {"sub and div of two", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n  - {conv: {filters: 4, kernel: 1}, name: a}\n"
     "  - {conv: {filters: 1, kernel: 1, activation: sigmoid}, name: b, from: [a]}\n  - {sub: , from: [b, "
     "a]}\n"
     "  - {div: , from: [sub1, b]}\n  - {sub: , from: [div1, b]}\n" LAST,
     true, 1e-5},
    {"prelu", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - prelu\n  - prelu: {shape: [4, 1, 1]}\n" LAST, true, 1e-5},
    {"transpose, reshape, squeeze, unsqueeze", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST
     "  - transpose: {perm: [2, 0, 1]}\n  - reshape: {shape: [0, 2, 1, -1]}\n"
     "  - tanh\n  - squeeze: {axes: [2]}\n  - unsqueeze: {axes: [0, -1]}\n  - transpose\n  - squeeze\n"
     "  - conv: {filters: 2, kernel: 2}\n" LAST,
     true, 1e-6},
    {"slice", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST
     "  - {slice: {starts: [1, -1, 0], ends: [4, -9, 9], steps: [1, -1, 2]}, name: a}\n"
     "  - {slice: {starts: [1], ends: [-1], axes: [-2]}, name: b}\n  - {reduce_sum: {axes: [-1, 1]}}\n"
     "  - {slice: {starts: [0], ends: [3]}, from: [conv1], name: c}\n  - {mul: , from: [c, "
     "reduce_sum1]}\n" LAST,
     true, 1e-6},
    {"gather", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - gather: {axis: 0, indices: [3, 0, 3, -1]}\n"
     "  - gather: {axis: -1, indices: [1], scalar: true}\n  - tanh\n" LAST,
     true, 1e-6},
    {"concat", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n  - {conv: {filters: 4, kernel: 1}, name: a}\n"
     "  - {conv: {filters: 1, kernel: 1}, name: b}\n  - {concat: , from: [b, a, b], name: c}\n  - tanh\n"
     "  - {concat: {axis: -1}, from: [c, tanh1]}\n  - concat\n" LAST,
     true, 1e-6},
    {"pad", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - pad: {pads: [0, 1, 2, 0, 0, 1], value: 0.5}\n  - tanh\n"
     "  - pad: {pads: [1, -1, 0, 0, 2, -2]}\n  - tanh\n" LAST,
     true, 1e-6},
    {"pad, edge and reflection", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - pad: {pads: [0, 1, 1, 0, 0, 0], mode: edge}\n  - tanh\n"
     "  - pad: {pads: [1, 2, 0, 0, 1, 1], mode: reflect}\n  - tanh\n" LAST,
     true, 1e-6},
    {"means and sums", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - {reduce_mean: {axes: [1, 2]}, name: a}\n"
     "  - {reduce_sum: {axes: [0]}, from: [conv1], name: b}\n  - {reduce_mean: {axes: [1], keepdims: false}, "
     "from: [conv1]}\n"
     "  - tanh\n  - {reduce_mean: , name: c}\n  - {add: , from: [a, b]}\n  - {mul: , from: [add1, c]}\n" LAST,
     true, 1e-6},
    {"greatest and least", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST "  - {reduce_max: {axes: [1, 2]}, name: a}\n"
     "  - {reduce_min: {axes: [0]}, from: [conv1], name: b}\n  - {add: , from: [a, b]}\n" LAST,
     true, 1e-5},
    {"an index has no gradient", "cross_entropy",
     "input: [2, 3, 4]\nlayers:\n" FIRST
     "  - {argmax: , name: a}\n  - {argmin: {axis: 0, select_last_index: true}, from: [conv1], name: b}\n"
     "  - {mul: , from: [a, conv1]}\n  - {add: , from: [mul1, b]}\n  - tanh\n" LAST,
     true, 1e-5},
    {"a branch nobody reads", "mse",
     "input: [5]\nlayers:\n  - {dense: {units: 4}, name: a}\n  - dense: {units: 6}\n"
     "  - {dense: {units: 3}, from: [a]}\n",
     true, 1e-6},
};
enum { CASES = sizeof cases / sizeof *cases, ROWS = 3 };

/* Losses, with what can be set of them. */
#define THREE "input: [5]\nlayers:\n" LAST
#define ONE   "input: [5]\nlayers:\n  - dense: {units: 1}\n"
struct loss_case {
    struct gradient_case base;
    struct loss_settings settings;
};

static const float weights[] = {0.5f, 2, 3};

static const struct loss_case loss_cases[] = {
    {{"cross entropy", "cross_entropy", THREE, true, 1e-6}, {0}},
    {{"cross entropy, targets", "cross_entropy", THREE, false, 1e-6}, {0}},
    {{"cross entropy, class weights, smooth", "cross_entropy", THREE, true, 1e-6},
     {.weights = weights, .weight_count = 3, .label_smoothing = 0.2}},
    {{"cross entropy, targets, class weights, smooth", "cross_entropy", THREE, false, 1e-6},
     {.weights = weights, .weight_count = 3, .label_smoothing = 0.2}},
    {{"cross entropy, ignored label", "cross_entropy", THREE, true, 1e-6},
     {.label_smoothing = 0.1, .ignores = true, .ignored_label = 1}},
    {{"mse", "mse", THREE, false, 1e-6}, {0}},
    {{"mse, one output", "mse", ONE, true, 1e-6}, {0}},
    {{"log loss, many labels", "log_loss", THREE, false, 1e-6}, {0}},
    {{"log loss, positive weights", "log_loss", THREE, false, 1e-6}, {.weights = weights, .weight_count = 3}},
    {{"log loss, one output", "log_loss", ONE, true, 1e-6}, {0}},
    {{"log loss, one output, positive weight", "log_loss", ONE, true, 1e-6},
     {.weights = weights, .weight_count = 1}},
};
enum { LOSS_CASES = sizeof loss_cases / sizeof *loss_cases };

#endif
