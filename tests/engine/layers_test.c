/* What layers of shapes, of two values and of functions give, against numbers from numpy and PyTorch: one row of 0..11
 * as [2, 2, 3], and a second whose numbers must not matter. On ref, at one lane and at sixteen. That their gradients
 * fit is gradient_test.c's business, that settings are checked is below. */
#include "engine/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { INPUT = 12, MOST = 64 };

struct layer_case {
    const char *name, *layers;
    int count;
    float expected[MOST];
};

static const struct layer_case cases[] = {
    {"transpose", "- transpose: {perm: [2, 0, 1]}", 12, {0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}},
    {"transpose, reversed", "- transpose", 12, {0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11}},
    {"slice",
     "- slice: {starts: [0, -1], ends: [9, -3], axes: [2, 0], steps: [2, -1]}",
     8,
     {6, 8, 9, 11, 0, 2, 3, 5}},
    {"slice, backward to the begin",
     "- slice: {starts: [2], ends: [-9], axes: [-1], steps: [-2]}",
     8,
     {2, 0, 5, 3, 8, 6, 11, 9}},
    {"slice, from the end", "- slice: {starts: [-2], ends: [-1], axes: [-1]}", 4, {1, 4, 7, 10}},
    {"gather",
     "- gather: {axis: 2, indices: [2, 0, -1, 1]}",
     16,
     {2, 0, 2, 1, 5, 3, 5, 4, 8, 6, 8, 7, 11, 9, 11, 10}},
    {"gather, scalar", "- gather: {axis: 1, indices: [-1], scalar: true}", 6, {3, 4, 5, 9, 10, 11}},
    {"pad",
     "- pad: {pads: [0, 1, -1, 1, 0, 2], value: 0.5}",
     36,
     {0.5f, 0.5f, 0.5f, 0.5f, 1,    2,    0.5f, 0.5f, 4,    5,    0.5f, 0.5f,
      0.5f, 0.5f, 0.5f, 0.5f, 7,    8,    0.5f, 0.5f, 10,   11,   0.5f, 0.5f,
      0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f}},
    {"pad, edge", "- pad: {pads: [0, 1, 2, 0, 1, 0], mode: edge}", 40, {0, 0, 0, 1,  2,  0, 0, 0, 1,  2,
                                                                        3, 3, 3, 4,  5,  3, 3, 3, 4,  5,
                                                                        6, 6, 6, 7,  8,  6, 6, 6, 7,  8,
                                                                        9, 9, 9, 10, 11, 9, 9, 9, 10, 11}},
    {"pad, reflect",
     "- pad: {pads: [0, 1, 1, 0, 0, 2], mode: reflect}",
     36,
     {4,  3, 4,  5,  4,  3, 1, 0, 1, 2, 1, 0, 4,  3, 4,  5,  4,  3,
      10, 9, 10, 11, 10, 9, 7, 6, 7, 8, 7, 6, 10, 9, 10, 11, 10, 9}},
    {"reshape", "- reshape: {shape: [-1, 0, 1]}", 12, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
    {"reduce_mean", "- reduce_mean: {axes: [0, -1]}", 2, {4, 7}},
    {"reduce_sum, all", "- reduce_sum", 1, {66}},
    {"reduce_max", "- reduce_max: {axes: [1], keepdims: false}", 6, {3, 4, 5, 9, 10, 11}},
    {"reduce_min", "- reduce_min: {axes: [2, 0]}", 2, {0, 3}},
    {"argmax", "- argmax: {axis: -1}", 4, {2, 2, 2, 2}},
    {"add to itself turned",
     "- reduce_sum: {axes: [0]}\n  - {add: , from: [input, reduce_sum1]}",
     12,
     {6, 9, 12, 15, 18, 21, 12, 15, 18, 21, 24, 27}},
    {"sub, broadcast both ways",
     "- {reduce_max: {axes: [0]}, from: [input]}\n  - {reduce_min: {axes: [1, 2]}, from: [input]}\n  - {sub: "
     ", from: [reduce_max1, reduce_min1]}",
     12,
     {6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5}},
    {"div",
     "- {slice: {starts: [1], ends: [2]}, from: [input]}\n  - {div: , from: [input, slice1]}",
     12,
     {0, 0.1428571f, 0.25f, 0.3333333f, 0.4f, 0.4545455f, 1, 1, 1, 1, 1, 1}},
    {"concat",
     "- {transpose: {perm: [0, 1, 2]}, from: [input]}\n  - {slice: {starts: [1], ends: [2], axes: [1]}, "
     "from: [input]}\n  - {concat: {axis: 1}, from: [slice1, transpose1]}",
     18,
     {3, 4, 5, 0, 1, 2, 3, 4, 5, 9, 10, 11, 6, 7, 8, 9, 10, 11}},
    {"softmax",
     "- softmax: {axis: 1}",
     12,
     {0.04742587f, 0.04742587f, 0.04742587f, 0.9525741f, 0.9525741f, 0.9525741f, 0.04742587f, 0.04742587f,
      0.04742587f, 0.9525741f, 0.9525741f, 0.9525741f}},
    {"log_softmax",
     "- log_softmax: {axis: -1}",
     12,
     {-2.407606f, -1.407606f, -0.4076059f, -2.407606f, -1.407606f, -0.4076059f, -2.407606f, -1.407606f,
      -0.4076059f, -2.407606f, -1.407606f, -0.4076059f}},
    {"lrn",
     "- lrn: {size: 3, alpha: 0.9, beta: 0.75, bias: 2}",
     12,
     {0, 0.1194437f, 0.1942424f, 0.2400616f, 0.2677159f, 0.2840017f, 0.8866328f, 0.8361061f, 0.7769695f,
      0.7201849f, 0.6692897f, 0.6248037f}},
    {"leaky_relu",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - leaky_relu: {alpha: 0.3}",
     12,
     {-1.5f, -1.2f, -0.9f, -0.6f, -0.3f, 0, 1, 2, 3, 4, 5, 6}},
    {"elu",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - elu: {alpha: 0.5}",
     12,
     {-0.496631f, -0.4908422f, -0.4751065f, -0.4323324f, -0.3160603f, 0, 1, 2, 3, 4, 5, 6}},
    {"hard_swish",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - hard_swish",
     12,
     {-0, -0, -0, -0.3333333f, -0.3333333f, 0, 0.6666667f, 1.666667f, 3, 4, 5, 6}},
    {"hard_sigmoid",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - hard_sigmoid: {alpha: 0.16666667}",
     12,
     {0, 0, 0, 0.1666667f, 0.3333333f, 0.5f, 0.6666667f, 0.8333333f, 1, 1, 1, 1}},
    {"gelu",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - gelu",
     12,
     {-1.490116e-06f, -0.0001267195f, -0.004049867f, -0.0455001f, -0.1586553f, 0, 0.8413447f, 1.9545f,
      2.99595f, 3.999873f, 4.999999f, 6}},
    {"gelu, tanh",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - gelu: {approximate: tanh}",
     12,
     {-2.980232e-07f, -7.021427e-05f, -0.003637433f, -0.04540229f, -0.158808f, 0, 0.841192f, 1.954598f,
      2.996363f, 3.99993f, 5, 6}},
    {"softplus",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - softplus",
     12,
     {0.006715348f, 0.01814993f, 0.04858735f, 0.126928f, 0.3132617f, 0.6931472f, 1.313262f, 2.126928f,
      3.048587f, 4.01815f, 5.006715f, 6.002476f}},
    {"silu",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - silu",
     12,
     {-0.03346425f, -0.07194484f, -0.1422776f, -0.2384058f, -0.2689414f, 0, 0.7310586f, 1.761594f, 2.857723f,
      3.928055f, 4.966536f, 5.985165f}},
    {"clip",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - clip: {min: -2.5, max: 3}",
     12,
     {-2.5f, -2.5f, -2.5f, -2, -1, 0, 1, 2, 3, 3, 3, 3}},
    {"relu6",
     "- pad: {pads: [1, 0, 0, 0, 0, 0], value: -5}\n  - {slice: {starts: [0], ends: [1]}, from: [pad1]}\n  - "
     "{add: , from: [input, slice1]}\n  - relu6",
     12,
     {0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6}},
};
enum { CASES = sizeof cases / sizeof *cases };

static int parse(struct graph **g, const char *name, const char *layers, struct fail *why)
{
    char text[512];
    snprintf(text, sizeof text, "input: [2, 2, 3]\nlayers:\n  %s\n", layers);
    return network_parse(g, name, text, strlen(text), why);
}

static void check(int rc, const struct fail *why, const char *name)
{
    if (rc)
        fail_msg("%s: %s", name, why->text);
}

static void check_case(const struct layer_case *t, const char *backend, int most)
{
    struct backend *be = NULL;
    struct graph *g = NULL;
    struct net *net = NULL;
    struct fail why = {0};
    check(parse(&g, t->name, t->layers, &why), &why, t->name);
    check(backend_open(&be, backend, 1, &why), &why, t->name);
    check(net_open(&net, be, g, &(struct net_options){.mode = NET_INFER, .max_rows = most, .seed = 1}, &why),
          &why, t->name);
    assert_int_equal(net_output_size(net), t->count);
    for (int i = 0; i < 2 * INPUT; i++)
        net_input(net)[i] = i < INPUT ? (float)i : -1000.0f;
    check(net_forward(net, 2, &why), &why, t->name);
    for (int i = 0; i < t->count; i++)
        if (!(fabsf(net_output(net)[i] - t->expected[i]) <= 2e-6f * fmaxf(1, fabsf(t->expected[i]))))
            fail_msg("%s on %s: output %d is %.9g, expected %.9g", t->name, backend, i,
                     (double)net_output(net)[i], (double)t->expected[i]);
    net_close(&net);
    backend_close(&be);
    graph_free(&g);
}

static void layers_give_what_numpy_and_pytorch_give(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        check_case(&cases[i], "ref", 2);
        check_case(&cases[i], "cpu1", 2);
        check_case(&cases[i], "cpu", 16);
    }
}

/* Wrong settings end in words that name the layer and what was expected. */
static void wrong_settings_are_named(void **state)
{
    static const struct {
        const char *layers, *words;
    } wrong[] = {
        {"- transpose: {perm: [0, 1]}", "perm has 2 numbers, the input 3 dimensions"},
        {"- transpose: {perm: [0, 1, 1]}", "each of 0..2 once"},
        {"- slice: {starts: [0], ends: [1], axes: [3]}", "3 dimensions, axis 3"},
        {"- slice: {starts: [0, 1], ends: [1]}", "expected as many of each"},
        {"- slice: {starts: [5], ends: [9]}", "nothing of dimension 0 is left"},
        {"- slice: {starts: [0], ends: [1], steps: [0]}", "step 0"},
        {"- gather: {axis: 1, indices: [2]}", "index 2 is not in the dimension of 2"},
        {"- gather: {axis: 1, indices: [0, 1], scalar: true}", "one for a scalar"},
        {"- pad: {pads: [1, 2]}", "pads has 2 numbers"},
        {"- pad: {pads: [0, 0, 3, 0, 0, 0], mode: reflect}", "expected 0..2"},
        {"- pad: {pads: [-1, 0, 0, -1, 0, 0]}", "leave nothing"},
        {"- reshape: {shape: [5, -1]}", "does not become"},
        {"- reshape: {shape: [-1, -1]}", "one -1"},
        {"- squeeze: {axes: [0]}", "dimension 0 is 2"},
        {"- unsqueeze: {axes: [0, 0]}", "axis 0 is given twice"},
        {"- unsqueeze: {axes: [0, 1, 2, 3, 4, 5]}", "expected 1..5"},
        {"- reduce_mean: {axes: [0, -3]}", "axis -3 is given twice"},
        {"- argmax: {axis: 4}", "axis 4"},
        {"- {concat: {axis: 0}, from: [input, input]}\n  - {concat: {axis: 1}, from: [input, concat1]}",
         "differ in more than dimension 1"},
        {"- mul: {shape: [2]}", "do not fit"},
        {"- mul", "1 inputs, expected 2"},
        {"- {sub: {shape: [1]}, from: [input, input]}", "2 inputs, expected 1"},
        {"- lrn: {size: 0}", "size"},
        {"- softmax: {axis: 3}", "axis 3"},
        {"- elu: {alpha: 1e39}", "alpha 1e+39"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct graph *g = NULL;
        struct fail why = {0};
        if (!parse(&g, "wrong", wrong[i].layers, &why))
            fail_msg("\"%s\" is accepted", wrong[i].layers);
        if (!strstr(why.text, wrong[i].words))
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", wrong[i].layers, why.text, wrong[i].words);
        assert_null(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_give_what_numpy_and_pytorch_give),
        cmocka_unit_test(wrong_settings_are_named),
    };
    return cmocka_run_group_tests_name("layers", tests, NULL, NULL);
}
