/* Network files: what is read, what is written back, and errors with line, column and the nearest key. */
#include "engine/graph.h"
#include "engine/layer.h"
#include "engine/layers/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

static struct graph *parse(const char *text)
{
    struct fail why;
    struct graph *g = NULL;
    check(network_parse(&g, "net.yaml", text, strlen(text), &why), &why);
    return g;
}

static void lenet_has_its_shapes(void **state)
{
    struct graph *g = NULL;
    struct fail why;
    (void)state;
    check(graph_read(&g, "config/lenet.yaml", &why), &why);
    assert_string_equal(g->name, "lenet");
    assert_int_equal(g->count, 7);
    assert_true(shape_equal(g->input, SHAPE(3, 32, 32)));
    assert_true(shape_equal(g->nodes[0].shape, SHAPE(6, 28, 28)));
    assert_true(shape_equal(g->nodes[3].shape, SHAPE(16, 5, 5)));
    assert_true(shape_equal(graph_output(g), SHAPE(10)));
    assert_int_equal(graph_param_count(g), 62006);
    assert_string_equal(g->nodes[2].params[0].name, "conv2.weight");
    assert_true(shape_equal(g->nodes[2].params[0].shape, SHAPE(16, 6, 5, 5)));
    assert_string_equal(graph_score_rule(g), "softmax");
    /* 2 x (6 x 784 x 75 + 16 x 100 x 150 + 400 x 120 + 120 x 84 + 84 x 10) */
    assert_true(graph_flops(g) == 2.0 * (352800 + 240000 + 48000 + 10080 + 840));
    graph_free(&g);
    assert_null(g);
}

static void names_and_branches(void **state)
{
    struct graph *g =
        parse("input: [4, 6, 6]\nmean: 0.5\nstd: [1, 2, 3, 4]\noutput: none\nlabels: [a, b, c]\nlayers:\n"
              "  - conv: {filters: 4, kernel: 3, padding: 1}\n    name: stem\n"
              "  - relu\n"
              "  - {conv: {filters: 4, kernel: 1}, from: [stem]}\n"
              "  - {add: , from: [relu1, conv2, input]}\n"
              "  - avgpool: {size: 6}\n"
              "  - flatten:\n"
              "  - dense: {units: 3}\n");
    (void)state;
    assert_string_equal(g->name, "net");
    assert_int_equal(graph_index(g, "stem"), 0);
    assert_int_equal(g->nodes[2].inputs[0], 0);
    assert_int_equal(g->nodes[3].input_count, 3);
    assert_int_equal(g->nodes[3].inputs[0], 1);
    assert_int_equal(g->nodes[3].inputs[2], GRAPH_INPUT);
    assert_int_equal(g->channels_normalised, 4);
    assert_true(g->mean[3] == 0.5f && g->std[3] == 4);
    assert_int_equal(g->label_count, 3);
    assert_string_equal(g->labels[1], "b");
    assert_string_equal(graph_score_rule(g), "none");
    assert_int_equal(g->nodes[0].line, 7);
    graph_free(&g);
}

/* Reads, writes, reads again: the same network. */
static void written_networks_read_back(void **state)
{
    struct graph
        *g = parse("network: 'a \"b\" c'\ninput: [4, 9, 8]\nlabels: ['x: y', '#z']\nstd: 0.25\nlayers:\n"
                   "  - conv: {filters: 8, kernel: [3, 2], stride: [2, 1], padding: [0, 1, 2, 1], groups: 4,"
                   " dilation: 2, activation: tanh, bias: false, init: xavier}\n"
                   "  - {maxpool: {size: 2, stride: 1, padding: 1, ceil: true}, name: 'p 1'}\n"
                   "  - {conv: {filters: 8, kernel: 1}, from: p 1}\n"
                   "  - {add: , from: [p 1, conv2]}\n"
                   "  - dropout: {rate: 0.1}\n  - dense: {units: 2}\n"),
        *back = NULL;
    struct fail why;
    char path[] = "/tmp/network-XXXXXX.yaml";
    int fd = mkstemps(path, 5);
    (void)state;
    assert_true(fd >= 0);
    close(fd);
    check(network_write(g, path, &why), &why);
    check(graph_read(&back, path, &why), &why);
    unlink(path);
    assert_string_equal(back->name, g->name);
    assert_int_equal(back->count, g->count);
    for (int i = 0; i < g->count; i++) {
        assert_string_equal(back->nodes[i].name, g->nodes[i].name);
        assert_ptr_equal(back->nodes[i].type, g->nodes[i].type);
        assert_int_equal(back->nodes[i].input_count, g->nodes[i].input_count);
        assert_memory_equal(back->nodes[i].inputs, g->nodes[i].inputs, sizeof g->nodes[i].inputs);
        if (g->nodes[i].type->settings)
            assert_memory_equal(back->nodes[i].settings, g->nodes[i].settings,
                                g->nodes[i].type->settings_size);
    }
    assert_string_equal(back->labels[0], "x: y");
    assert_true(back->std[3] == 0.25f && back->mean[3] == 0);
    graph_free(&g);
    graph_free(&back);
}

/* A block's layers have its name in front, `in` is what the use of it is from. */
static void blocks_become_layers(void **state)
{
    struct graph *g =
        parse("input: [4, 6, 6]\n"
              "blocks:\n"
              "  twice:\n"
              "    - {conv: {filters: $filters, kernel: [$high, 3], padding: [0, 1]}, name: a}\n"
              "    - {conv: {filters: $filters, kernel: 1}, name: b}\n"
              "    - {add: , from: [b, a], name: sum}\n"
              "    - {relu: , name: out}\n"
              "  beside:\n"
              "    - {add: , from: [in, stem]}\n"
              "    - {relu: , from: in, name: out}\n"
              "layers:\n"
              "  - {conv: {filters: 8, kernel: 1}, name: stem}\n"
              "  - {twice: {filters: 8, high: 1}, name: x}\n"
              "  - {beside: , name: y}\n"
              "  - {twice: {filters: 3, high: 2}, name: z, from: x.out}\n");
    (void)state;
    assert_int_equal(g->count, 11);
    assert_string_equal(g->nodes[1].name, "x.a");
    assert_string_equal(g->nodes[4].name, "x.out");
    assert_int_equal(g->nodes[3].inputs[0], 2);
    assert_int_equal(g->nodes[3].inputs[1], 1);
    assert_int_equal(g->nodes[5].inputs[0], 4); /* in: the layer before */
    assert_int_equal(g->nodes[5].inputs[1], 0); /* a layer outside */
    assert_int_equal(g->nodes[6].inputs[0], 4);
    assert_int_equal(g->nodes[7].inputs[0], 4); /* the first layer reads what the use is from */
    assert_int_equal(g->nodes[1].line, 4);
    assert_true(shape_equal(g->nodes[1].shape, SHAPE(8, 6, 6)));
    assert_true(shape_equal(g->nodes[7].shape, SHAPE(3, 5, 6)));
    graph_free(&g);
}

struct bad {
    const char *text, *says;
};

#define TOP    "input: [3, 8, 8]\nlayers:\n"
#define BLOCKS "input: [3, 8, 8]\nblocks:\n  b:\n    - {dense: {units: $units}, name: d}\nlayers:\n"

static const struct bad bads[] = {
    {"input: [3, 8, 8]\nlayers: []\n", "net.yaml:2:9: layers"},
    {"layers: [relu]\n", "key input is missing"},
    {"input: [3, 8, 8]\n", "key layers is missing"},
    {"input: [3, 0, 8]\nlayers: [relu]\n", "net.yaml:1:12: input: expected a whole number in 1.."},
    {"input: 3\nlayers: [relu]\n", "net.yaml:1:8: input"},
    {"inputs: [3]\nlayers: [relu]\n", "net.yaml:1:1: unknown key inputs, nearest is input"},
    {TOP "  - convv: {filters: 1, kernel: 1}\n", "net.yaml:3:5: unknown layer convv, nearest is conv"},
    {TOP "  - conv: {filter: 1, kernel: 1}\n", "net.yaml:3:12: unknown key filter, nearest is filters"},
    {TOP "  - conv: {filters: 1}\n", "net.yaml:3:11: key kernel is missing"},
    {TOP "  - conv\n", "net.yaml:3:5: conv: key filters is missing"},
    {TOP "  - conv: {filters: many, kernel: 1}\n",
     "net.yaml:3:21: filters: expected a whole number, found \"many\""},
    {TOP "  - conv: {filters: 0, kernel: 1}\n", "net.yaml:3:21: filters: 0 is not in 1..1048576"},
    {TOP "  - conv: {filters: 2, kernel: 1, activation: rely}\n", "\"rely\" is unknown, nearest is relu"},
    {TOP "  - conv: {filters: 2, kernel: 9}\n", "net.yaml:3: conv1: a 9x9 window"},
    {TOP "  - conv: {filters: 2, kernel: 1, groups: 2}\n", "net.yaml:3: conv1: input has 3 channels"},
    {TOP "  - conv: {filters: 2, kernel: [1, 2, 3]}\n", "window has 3 numbers"},
    {TOP "  - maxpool: {size: 2, padding: 2}\n", "padding must be smaller"},
    {TOP "  - relu: 5\n", "net.yaml:3:11: relu: expected settings"},
    {TOP "  - relu: {slope: 5}\n", "unknown key slope"},
    {TOP "  - dense: {units: 4}\n  - conv: {filters: 2, kernel: 1}\n",
     "net.yaml:4: conv1: input has shape [4], expected [channels, height, width]"},
    {TOP "  - {relu: , name: a}\n  - {relu: , name: a}\n", "net.yaml:4:20: the name a is taken"},
    {TOP "  - {relu: , from: [b]}\n", "net.yaml:3:21: from: no earlier layer is called b"},
    {TOP "  - {relu: , name: a, from: [a]}\n", "from: a is this layer itself"},
    {TOP "  - {add: , from: [input]}\n", "add1: 1 inputs, expected 2"},
    {TOP "  - {relu: , tanh: }\n", "tanh beside relu"},
    {TOP "  - [relu]\n", "net.yaml:3:5: expected a layer"},
    {TOP "  - {dense: {units: 2}, name: a}\n  - {dense: {units: 3}, from: [input]}\n  - {add: , from: [a, "
         "dense2]}\n",
     "net.yaml:5: add1: shapes [2] and [3] do not fit"},
    {TOP "  - relu\nlabels: 10\n", "net.yaml:4:9: labels: 10, but the last layer relu1 has 192 outputs"},
    {TOP "  - dense: {units: 2}\nlabels: [a]\n", "labels: 1, but the last layer dense1 has 2"},
    {TOP "  - relu\nmean: [1, 2]\n", "mean: 2 numbers, the input has 3 channels"},
    {TOP "  - relu\nstd: 0\n", "std: expected a number above 0"},
    {TOP "  - relu\noutput: relu\n", "output: expected softmax, sigmoid or none"},
    {TOP "  - dropout: {rate: 1}\n", "rate: 1 is not in 0..0.999"},
    {BLOCKS "  - {b: {units: 3}}\n", "net.yaml:6:6: b: a block needs a name"},
    {BLOCKS "  - {b: {}, name: x}\n", "net.yaml:6:9: key units is missing, line 4 wants it"},
    {BLOCKS "  - {b: 7, name: x}\n", "key units is missing"},
    {BLOCKS "  - {b: {unit: 3}, name: x}\n", "net.yaml:6:10: unknown key unit: block b has no $unit"},
    {BLOCKS "  - {b: {units: 0}, name: x}\n", "net.yaml:6:17: units: 0 is not in"},
    {BLOCKS "  - {b: {units: 3}, name: x}\n  - {b: {units: 3}, name: x}\n", "the name x.d is taken"},
    {BLOCKS "  - {b: {units: 3}, name: x, from: y}\n", "no earlier layer is called y"},
    {BLOCKS "  - {c: {units: 3}, name: x}\n", "unknown layer c"},
    {"input: [3]\nblocks:\n  relu: [tanh]\nlayers: [relu]\n", "net.yaml:3:3: blocks: relu is a layer's name"},
    {"input: [3]\nblocks: [relu]\nlayers: [relu]\n", "net.yaml:2:9: blocks: expected a mapping"},
    {"input: [3]\nblocks: {a: []}\nlayers: [{a: , name: x}]\n", "blocks: a: expected a list of layers"},
    {"input: [3]\nblocks: {a: [relu], b: [{a: , name: y}]}\nlayers: [{b: , name: x}]\n", "unknown layer a"},
    {"input: [3, 8, 8\n", "net.yaml:2:1"},
    {"input: &a [3]\nlayers: [relu]\n", "anchors and tags"},
    {"[1, 2]\n", "expected a network"},
    {"input: [1048576, 1048576, 1048576]\nlayers: [relu]\n", "input"},
    {"input: [100000]\nlayers:\n  - dense: {units: 16777216}\n", "weight has more than 2^31 values"},
};

static void errors_have_their_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct graph *g = NULL;
        struct fail why = {0};
        int rc = network_parse(&g, "net.yaml", bads[i].text, strlen(bads[i].text), &why);
        if (rc != -E_NETWORK)
            fail_msg("case %zu returned %d: %s", i, rc, bads[i].text);
        if (!strstr(why.text, bads[i].says))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, why.text, bads[i].says);
        assert_null(g);
    }
}

static void files_that_are_no_models(void **state)
{
    struct graph *g = NULL;
    struct fail why;
    (void)state;
    assert_int_equal(graph_read(&g, "/nonexistent/x.yaml", &why), -E_FILE);
    assert_int_equal(graph_read(&g, "/tmp", &why), -E_FILE);
    assert_non_null(strstr(why.text, "not a file"));
    assert_int_equal(graph_read(&g, "Makefile", &why), -E_FILE);
    assert_non_null(strstr(why.text, "neither"));
}

static void fresh_weights_depend_on_the_seed_alone(void **state)
{
    static const char text[] =
        "input: [2, 4, 4]\nlayers:\n  - conv: {filters: 64, kernel: 3, activation: relu}\n"
        "  - dense: {units: 500}\n";
    struct graph *a = parse(text), *b = parse(text), *c = NULL;
    struct fail why;
    double square = 0, bound = sqrt(6.0 / (256 + 500)), most = 0;
    (void)state;
    check(graph_init(a, 1, &why), &why);
    check(graph_init(b, 2, &why), &why);
    check(graph_copy(&c, a, &why), &why);
    assert_memory_equal(a->nodes[0].params[0].data, c->nodes[0].params[0].data, 64 * 18 * sizeof(float));
    assert_memory_not_equal(a->nodes[0].params[0].data, b->nodes[0].params[0].data, 64 * 18 * sizeof(float));
    for (int i = 0; i < 64 * 18; i++)
        square += (double)a->nodes[0].params[0].data[i] * (double)a->nodes[0].params[0].data[i];
    /* He: variance 2 / 18, of 1152 draws within 15 %; Xavier: uniform up to its bound */
    assert_true(square / 1152 > 0.85 * 2 / 18 && square / 1152 < 1.15 * 2 / 18);
    for (int i = 0; i < 256 * 500; i++)
        most = fmax(most, fabs((double)a->nodes[1].params[0].data[i]));
    assert_true(most <= bound && most > 0.99 * bound);
    for (int i = 0; i < 500; i++)
        assert_true(a->nodes[1].params[1].data[i] == 0);
    graph_free(&a);
    graph_free(&b);
    graph_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet_has_its_shapes),
        cmocka_unit_test(names_and_branches),
        cmocka_unit_test(blocks_become_layers),
        cmocka_unit_test(written_networks_read_back),
        cmocka_unit_test(errors_have_their_place),
        cmocka_unit_test(files_that_are_no_models),
        cmocka_unit_test(fresh_weights_depend_on_the_seed_alone),
    };
    return cmocka_run_group_tests_name("networks", tests, NULL, NULL);
}
