/* Every layer and loss on ref64, the double build of the reference, against central finite differences of its
 * own loss. The tables of layers and losses are walked: one without a case fails. Optimisers: optim_test.c.
 * Kinks: where differences at two widths disagree, relu or a maximum changed sides between them; such points are
 * counted and must stay few. */
#include "engine/layer.h"
#include "engine/loss_type.h"
#include "engine/net.h"
#include "engine/net_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

struct subject {
    struct backend *be;
    struct graph *graph;
    struct net *net;
    const struct loss_type *loss;
    int32_t labels[ROWS];
    float targets[ROWS * 64];
    struct target target;
};

static void check(int rc, const struct fail *why, const char *name)
{
    if (rc)
        fail_msg("%s: %s", name, why->text);
}

/* A float with 12 bits below the point: adding the widths below is exact. */
static float coarse(struct rng *r)
{
    return (float)((double)((int)rng_below(r, 4096) - 2048) / 4096.0);
}

static void open_subject(struct subject *s, const struct gradient_case *t,
                         const struct loss_settings *settings)
{
    struct fail why = {0};
    struct net_options o = {NET_TRAIN, ROWS, 3};
    struct rng r = rng_seed(17);
    float values[1024];
    *s = (struct subject){.loss = loss_find(t->loss)};
    assert_non_null(s->loss);
    check(network_parse(&s->graph, t->name, t->network, strlen(t->network), &why), &why, t->name);
    check(backend_open(&s->be, "ref64", 1, &why), &why, t->name);
    check(net_open(&s->net, s->be, s->graph, &o, &why), &why, t->name);
    if (settings)
        check(net_set_loss(s->net, s->loss, settings, &why), &why, t->name);
    for (int64_t i = 0; i < ROWS * net_input_size(s->net); i++)
        net_input(s->net)[i] = coarse(&r);
    for (int i = 0; i < net_param_count(s->net); i++) {
        int64_t n = shape_size(net_param_shape(s->net, i));
        assert_true(n <= 1024);
        for (int64_t k = 0; k < n; k++)
            values[k] = coarse(&r);
        check(net_param_set(s->net, i, values, &why), &why, t->name);
    }
    int64_t outputs = net_output_size(s->net);
    assert_true(outputs <= 64);
    for (int i = 0; i < ROWS; i++)
        s->labels[i] = (int32_t)rng_below(&r, outputs == 1 ? 2 : (uint32_t)outputs);
    for (int64_t i = 0; i < ROWS * outputs; i++)
        s->targets[i] = (float)rng_uniform(&r);
    s->target = t->labels ? (struct target){.labels = s->labels} : (struct target){.targets = s->targets};
}

static void close_subject(struct subject *s)
{
    net_close(&s->net);
    backend_close(&s->be);
    graph_free(&s->graph);
}

static double loss_of(struct subject *s, const char *name)
{
    struct fail why = {0};
    struct loss_sum sum = {0};
    check(net_accumulate(s->net, s->loss, ROWS, &s->target, 5, 9, &sum, &why), &why, name);
    return sum.loss;
}

static double difference(struct subject *s, const char *name, int param, float *values, int64_t k,
                         float width)
{
    struct fail why = {0};
    float was = values[k];
    double loss[2];
    for (int side = 0; side < 2; side++) {
        values[k] = side ? was + width : was - width;
        check(net_param_set(s->net, param, values, &why), &why, name);
        loss[side] = loss_of(s, name);
    }
    values[k] = was;
    check(net_param_set(s->net, param, values, &why), &why, name);
    return (loss[1] - loss[0]) / (2 * (double)width);
}

/* One parameter tensor. Returns how many of its values met a kink. */
static int check_param(struct subject *s, const struct gradient_case *t, int param, const float *gradient)
{
    struct fail why = {0};
    float values[1024];
    int kinks = 0;
    int64_t n = shape_size(net_param_shape(s->net, param));
    if (s->net->params[param].store == STORE_STATE)
        return 0;
    double most = 1e-3;
    check(net_param_get(s->net, param, values, &why), &why, t->name);
    for (int64_t k = 0; k < n; k++)
        most = fmax(most, fabs((double)gradient[k]));
    for (int64_t k = 0; k < n; k++) {
        double wide = difference(s, t->name, param, values, k, 0x1p-11f);
        double narrow = difference(s, t->name, param, values, k, 0x1p-13f);
        if (!(fabs(narrow - (double)gradient[k]) <= t->tolerance * most)) {
            if (fabs(wide - narrow) > 10 * t->tolerance * most) {
                kinks++;
                continue;
            }
            fail_msg("%s: %s[%lld]: gradient %.9g, differences %.9g", t->name, net_param_name(s->net, param),
                     (long long)k, (double)gradient[k], narrow);
        }
    }
    return kinks;
}

static void check_gradients(const struct gradient_case *t, const struct loss_settings *settings)
{
    struct subject s;
    struct fail why = {0};
    int kinks = 0, count;
    int64_t values = 0;
    open_subject(&s, t, settings);
    count = net_param_count(s.net);
    float **gradients = calloc((size_t)count, sizeof *gradients);
    assert_non_null(gradients);
    loss_of(&s, t->name);
    for (int i = 0; i < count; i++) {
        int64_t n = shape_size(net_param_shape(s.net, i));
        gradients[i] = calloc((size_t)n, sizeof(float));
        assert_non_null(gradients[i]);
        if (s.net->params[i].store == STORE_STATE)
            continue;
        check(net_gradient_get(s.net, i, gradients[i], &why), &why, t->name);
        values += n;
    }
    for (int i = 0; i < count; i++)
        kinks += check_param(&s, t, i, gradients[i]);
    if (!(kinks * 20 <= values))
        fail_msg("%s: %d of %lld values met kinks", t->name, kinks, (long long)values);
    for (int i = 0; i < count; i++)
        free(gradients[i]);
    free(gradients);
    close_subject(&s);
}

static void gradients_equal_differences(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++)
        check_gradients(&cases[i], NULL);
    for (int i = 0; i < LOSS_CASES; i++)
        check_gradients(&loss_cases[i].base, &loss_cases[i].settings);
}

static bool has_layer(const struct gradient_case *t, const char *type)
{
    struct graph *g = NULL;
    struct fail why = {0};
    bool found = false;
    check(network_parse(&g, t->name, t->network, strlen(t->network), &why), &why, t->name);
    for (int i = 0; i < g->count; i++)
        found = found || !strcmp(g->nodes[i].type->name, type);
    graph_free(&g);
    return found;
}

static void every_layer_and_loss_has_a_case(void **state)
{
    (void)state;
    for (int k = 0; layer_types[k]; k++) {
        bool found = false;
        for (int i = 0; i < CASES; i++)
            found = found || has_layer(&cases[i], layer_types[k]->name);
        if (!found)
            fail_msg("no case for %s", layer_types[k]->name);
    }
    for (const struct loss_type *loss = loss_types; loss->name; loss++) {
        bool found = false;
        for (int i = 0; i < LOSS_CASES; i++)
            found = found || !strcmp(loss_cases[i].base.loss, loss->name);
        if (!found)
            fail_msg("no case for %s", loss->name);
        assert_non_null(strstr(loss_names(), loss->name));
    }
}

/* ---- what losses refuse ---- */

static void losses_say_what_is_wrong(void **state)
{
    static const float bad[] = {1, -1, 1}, none[] = {0, 0, 0}, nan[] = {1, 1, NAN};
    static const struct {
        const char *loss, *said;
        struct loss_settings settings;
    } wrong[] = {
        {"cross_entropy", "class_weights: 2 numbers", {.weights = weights, .weight_count = 2}},
        {"cross_entropy", "number 2 is -1", {.weights = bad, .weight_count = 3}},
        {"log_loss", "positive_weights: number 3 is", {.weights = nan, .weight_count = 3}},
        {"cross_entropy", "all are 0", {.weights = none, .weight_count = 3}},
        {"mse", "no weights", {.weights = weights, .weight_count = 3}},
        {"cross_entropy", "label_smoothing 1", {.label_smoothing = 1}},
        {"cross_entropy", "label_smoothing", {.label_smoothing = NAN}},
        {"mse", "label_smoothing", {.label_smoothing = 0.1}},
        {"log_loss", "ignore_label", {.ignores = true}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct fail why = {0};
        int rc = loss_check(loss_find(wrong[i].loss), &wrong[i].settings, 3, &why);
        if (rc != -E_JOB || !strstr(why.text, wrong[i].said))
            fail_msg("case %zu gave %d: %s", i, rc, why.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_and_loss_has_a_case),
        cmocka_unit_test(gradients_equal_differences),
        cmocka_unit_test(losses_say_what_is_wrong),
    };
    return cmocka_run_group_tests_name("gradients", tests, NULL, NULL);
}
