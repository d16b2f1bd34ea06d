/* Models as PyTorch and the onnx package write them: read, run on every backend, answers equal to PyTorch's
 * within max|a-b| <= 1e-4 max|b|; after export and import again the same bits. Made by
 * tests/golden/make_onnx_goldens.py. Runs from the repository's root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/layer.h"
#include "tests/lib/answers.h"
#include "tests/lib/folder.h"
#include "tests/lib/graphs.h"

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/onnx/"

static const char *const models[] = {"lenet",   "mixed7", "mixed11", "mixed13",
                                     "mixed16", "view",   "chain",   "odd"};
enum { MODELS = sizeof models / sizeof models[0] };

static unsigned char *golden(const char *name, const char *extension, size_t *size)
{
    char path[256];
    snprintf(path, sizeof path, GOLDEN "%s.%s", name, extension);
    return folder_read(path, size);
}

static struct graph *read_model(const char *name)
{
    struct graph *g;
    struct fail why = {0};
    size_t size;
    unsigned char *bytes = golden(name, "onnx", &size);
    if (onnx_parse(&g, name, bytes, size, &why))
        fail_msg("%s", why.text);
    free(bytes);
    return g;
}

static void check_model(const char *name)
{
    static const char *const backends[] = {"ref", "cpu"};
    struct fail why = {0};
    struct safetensors *st;
    struct shape in, out;
    size_t size;
    unsigned char *bytes = golden(name, "safetensors", &size);
    if (safetensors_parse(&st, name, bytes, size, &why))
        fail_msg("%s", why.text);
    float *x = answers_tensor(st, "input", &in), *y = answers_tensor(st, "output", &out);
    struct graph *g = read_model(name), *back = answers_through_onnx(g);
    graphs_equal(g, back);
    assert_int_equal(shape_size(g->input) * in.dim[0], shape_size(in));
    assert_int_equal(shape_size(graph_output(g)) * in.dim[0], shape_size(out));
    for (int i = 0; i < 2; i++) {
        char what[64];
        snprintf(what, sizeof what, "%s on %s", name, backends[i]);
        float *a = answers(g, backends[i], x, (int)in.dim[0], 0);
        float *b = answers(back, backends[i], x, (int)in.dim[0], 0);
        answers_agree(what, a, y, shape_size(out), 1e-4);
        assert_memory_equal(a, b, (size_t)shape_size(out) * sizeof *a);
        free(a);
        free(b);
    }
    graph_free(&g);
    graph_free(&back);
    safetensors_free(&st);
    free(x);
    free(y);
    free(bytes);
}

static void answers_as_pytorch(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        check_model(models[i]);
}

static void node_is(const struct graph *g, int i, const char *type, const char *name, const char *weight)
{
    assert_true(i < g->count);
    assert_string_equal(g->nodes[i].type->name, type);
    assert_string_equal(g->nodes[i].name, name);
    if (weight)
        assert_string_equal(g->nodes[i].params[0].name, weight);
    else
        assert_int_equal(g->nodes[i].param_count, 0);
}

/* PyTorch's LeNet becomes the layers of config/lenet.yaml: activations in their layers, no flatten, PyTorch's
 * names. */
static void lenet_is_lenet(void **state)
{
    struct graph *g = read_model("lenet");
    (void)state;
    assert_int_equal(g->count, 7);
    node_is(g, 0, "conv", "conv1", "conv1.weight");
    node_is(g, 1, "maxpool", "/MaxPool", NULL);
    node_is(g, 2, "conv", "conv2", "conv2.weight");
    node_is(g, 3, "maxpool", "/MaxPool_1", NULL);
    node_is(g, 4, "dense", "fc1", "fc1.weight");
    node_is(g, 6, "dense", "fc3", "fc3.weight");
    assert_string_equal(g->nodes[6].params[1].name, "fc3.bias");
    assert_string_equal(g->input_name, "input");
    assert_int_equal(g->channels_normalised, 0);
    assert_int_equal(g->label_count, 0);
    assert_string_equal(graph_score_rule(g), "softmax");
    graph_free(&g);
}

static void metadata_is_read(void **state)
{
    struct graph *g = read_model("odd");
    (void)state;
    assert_int_equal(g->label_count, 4);
    assert_string_equal(g->labels[3], "d");
    assert_int_equal(g->channels_normalised, 2);
    assert_true(g->mean[1] == 0.25f && g->std[0] == 0.2f && g->std[1] == 0.3f);
    assert_string_equal(g->output, "sigmoid");
    assert_string_equal(graph_metadata(g, "author"), "nobody");
    assert_null(graph_metadata(g, "millrace.labels"));
    assert_string_equal(g->input_name, "image");
    graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_as_pytorch),
        cmocka_unit_test(lenet_is_lenet),
        cmocka_unit_test(metadata_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
