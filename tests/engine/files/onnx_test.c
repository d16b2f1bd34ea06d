/* ONNX: a graph that is written is read back equal; what cannot be read is refused in words that name file,
 * node and operator; damaged files never crash. What others' files mean is onnx_golden_test.c. */
#include "engine/files/onnx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/rng.h"
#include "tests/lib/folder.h"
#include "tests/lib/graphs.h"

static void *print(const struct graph *g, size_t *size)
{
    struct fail why = {0};
    void *bytes;
    if (onnx_print(g, &bytes, size, &why))
        fail_msg("%s", why.text);
    return bytes;
}

/* In memory of exactly their size, so that a sanitizer sees a byte too far. */
static int parse(struct graph **out, const void *bytes, size_t size, struct fail *why)
{
    void *copy = malloc(size ? size : 1);
    if (size)
        memcpy(copy, bytes, size);
    int rc = onnx_parse(out, "model.onnx", copy, size, why);
    free(copy);
    return rc;
}

/* ---- there and back ---- */

static void round_trip_of(struct graph *g)
{
    size_t size, again_size;
    struct graph *back;
    struct fail why = {0};
    void *bytes = print(g, &size), *again;
    if (parse(&back, bytes, size, &why))
        fail_msg("%s", why.text);
    graphs_equal(g, back);
    assert_string_equal(back->file, "model.onnx");
    again = print(back, &again_size);
    assert_int_equal(size, again_size);
    assert_memory_equal(bytes, again, size);
    free(bytes);
    free(again);
    graph_free(&back);
    graph_free(&g);
}

static void lenet_round_trip(void **state)
{
    (void)state;
    round_trip_of(graph_lenet());
}

static void every_layer_round_trip(void **state)
{
    struct graph *g = graph_everything();
    (void)state;
    for (int t = 0; layer_types[t]; t++) {
        int i = 0;
        while (i < g->count && g->nodes[i].type != layer_types[t])
            i++;
        if (i == g->count)
            fail_msg("graph_everything has no %s", layer_types[t]->name);
    }
    round_trip_of(g);
}

/* Layers called like the input, the output or a parameter: the names in the file differ, the network not. */
static void clashing_names(void **state)
{
    struct graph *g, *back;
    struct graph_node *n;
    struct fail why = {0};
    size_t size;
    (void)state;
    assert_int_equal(graph_new(&g, "clash", SHAPE(4), &why), 0);
    static const char *const names[] = {"input", "output", "x.weight", "x"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(graph_add(&n, g, "dense", names[i], &why), 0);
        assert_int_equal(setting_set(n->type->settings, n->settings, "units", "4", "", &why), 0);
    }
    assert_int_equal(graph_init(g, 3, &why), 0);
    void *bytes = print(g, &size);
    if (parse(&back, bytes, size, &why))
        fail_msg("%s", why.text);
    graphs_equal(g, back);
    graph_free(&back);
    graph_free(&g);
    free(bytes);
}

static void unwritable(void **state)
{
    struct graph *g;
    struct graph_node *n;
    struct fail why = {0};
    void *bytes;
    size_t size;
    (void)state;
    assert_int_equal(graph_new(&g, "bare", SHAPE(4), &why), 0);
    assert_int_equal(onnx_print(g, &bytes, &size, &why), -E_FAILED);
    assert_int_equal(graph_add(&n, g, "dense", NULL, &why), 0);
    assert_int_equal(setting_set(n->type->settings, n->settings, "units", "4", "", &why), 0);
    assert_int_equal(graph_finish(g, &why), 0);
    assert_int_equal(onnx_print(g, &bytes, &size, &why), -E_FAILED);
    assert_non_null(strstr(why.text, "dense1.weight"));
    assert_null(bytes);
    graph_free(&g);
}

/* onnx's own checker, with the shapes that it infers. */
static void onnx_checker_accepts(void **state)
{
    static const char script[] =
        "import onnx, sys\n"
        "m = onnx.load(sys.argv[1])\n"
        "onnx.checker.check_model(m, full_check=True)\n"
        "assert m.ir_version == 8 and m.opset_import[0].version == 17\n"
        "want = [d.dim_param or d.dim_value for d in m.graph.output[0].type.tensor_type.shape.dim]\n"
        "del m.graph.output[0].type.tensor_type.shape.dim[:]\n"
        "m.graph.output[0].type.tensor_type.ClearField('shape')\n"
        "m = onnx.shape_inference.infer_shapes(m, strict_mode=True)\n"
        "got = [d.dim_param or d.dim_value for d in m.graph.output[0].type.tensor_type.shape.dim]\n"
        "assert got == want and got[0] == 'N', (got, want)\n";
    char command[1024];
    if (system("/usr/bin/python3 -c 'import onnx' 2>/dev/null")) {
        print_message("skipped: python3-onnx is not installed\n");
        skip();
    }
    struct graph *graphs[] = {graph_lenet(), graph_everything()};
    folder_write(folder_path(*state, "check.py"), script, sizeof script - 1);
    for (int i = 0; i < 2; i++) {
        size_t size;
        void *bytes = print(graphs[i], &size);
        folder_write(folder_path(*state, "m.onnx"), bytes, size);
        free(bytes);
        graph_free(&graphs[i]);
        snprintf(command, sizeof command, "/usr/bin/python3 %s %s", folder_path(*state, "check.py"),
                 folder_path(*state, "m.onnx"));
        assert_int_equal(system(command), 0);
    }
}

/* ---- refused ---- */

static char *text(const char *s)
{
    return strdup(s);
}

static void set_text(char **to, const char *s)
{
    free(*to);
    *to = text(s);
}

static Onnx__NodeProto *node(Onnx__ModelProto *m, const char *operator)
{
    for (size_t i = 0; i < m->graph->n_node; i++)
        if (!strcmp(m->graph->node[i]->op_type, operator))
            return m->graph->node[i];
    fail_msg("no %s", operator);
    return NULL;
}

static Onnx__AttributeProto *attribute(Onnx__ModelProto *m, const char *operator, const char * name)
{
    Onnx__NodeProto *n = node(m, operator);
    for (size_t i = 0; i < n->n_attribute; i++)
        if (!strcmp(n->attribute[i]->name, name))
            return n->attribute[i];
    fail_msg("no %s", name);
    return NULL;
}

static Onnx__TensorProto *weight(Onnx__ModelProto *m, const char *operator)
{
    const char *name = node(m, operator)->input[1];
    for (size_t i = 0; i < m->graph->n_initializer; i++)
        if (!strcmp(m->graph->initializer[i]->name, name))
            return m->graph->initializer[i];
    fail_msg("no %s", name);
    return NULL;
}

static Onnx__TypeProto__Tensor *input_type(Onnx__ModelProto *m)
{
    return m->graph->input[0]->type->tensor_type;
}

static void operator_unknown(Onnx__ModelProto *m)
{
    set_text(&node(m, "MaxPool")->op_type, "Erf");
}
static void domain_unknown(Onnx__ModelProto *m)
{
    set_text(&node(m, "MaxPool")->domain, "com.example");
}
static void opset_old(Onnx__ModelProto *m)
{
    m->opset_import[0]->version = 5;
}
static void opset_future(Onnx__ModelProto *m)
{
    m->opset_import[0]->version = 1 << 20;
}
static void opset_missing(Onnx__ModelProto *m)
{
    set_text(&m->opset_import[0]->domain, "ai.onnx.ml");
}
static void external_data(Onnx__ModelProto *m)
{
    Onnx__TensorProto *t = weight(m, "Conv");
    t->has_data_location = true;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}
static void data_short(Onnx__ModelProto *m)
{
    weight(m, "Conv")->raw_data.len -= 4;
}
static void data_uneven(Onnx__ModelProto *m)
{
    weight(m, "Conv")->raw_data.len -= 1;
}
static void data_double(Onnx__ModelProto *m)
{
    weight(m, "Gemm")->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
}
static void data_complex(Onnx__ModelProto *m)
{
    weight(m, "Gemm")->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__COMPLEX64;
}
static void dims_overflow(Onnx__ModelProto *m)
{
    Onnx__TensorProto *t = weight(m, "Gemm");
    t->dims[0] = t->dims[1] = INT64_C(1) << 32;
}
static void dims_negative(Onnx__ModelProto *m)
{
    weight(m, "Gemm")->dims[0] = -120;
}
static void weight_turned(Onnx__ModelProto *m)
{
    Onnx__TensorProto *t = weight(m, "Gemm");
    t->dims[0] = 400;
    t->dims[1] = 120;
}
static void channels_wrong(Onnx__ModelProto *m)
{
    Onnx__TensorProto *t = weight(m, "Conv");
    t->dims[1] = 5;
    t->dims[2] = 3;
    attribute(m, "Conv", "kernel_shape")->ints[0] = 3;
}
static void input_unknown(Onnx__ModelProto *m)
{
    set_text(&node(m, "Flatten")->input[0], "nowhere");
}
static void order_wrong(Onnx__ModelProto *m)
{
    Onnx__NodeProto *first = m->graph->node[0];
    m->graph->node[0] = m->graph->node[2];
    m->graph->node[2] = first;
}
static void defined_twice(Onnx__ModelProto *m)
{
    set_text(&m->graph->node[2]->output[0], m->graph->node[1]->output[0]);
}
static void weight_computed(Onnx__ModelProto *m)
{
    set_text(&node(m, "Gemm")->input[1], node(m, "Flatten")->output[0]);
}
static void attribute_unknown(Onnx__ModelProto *m)
{
    set_text(&attribute(m, "MaxPool", "pads")->name, "pad");
}
static void attribute_kind(Onnx__ModelProto *m)
{
    attribute(m, "MaxPool", "pads")->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
}
static void stride_zero(Onnx__ModelProto *m)
{
    attribute(m, "MaxPool", "strides")->ints[0] = 0;
}
static void kernel_huge(Onnx__ModelProto *m)
{
    attribute(m, "MaxPool", "kernel_shape")->ints[1] = INT64_MAX;
}
static void kernel_other(Onnx__ModelProto *m)
{
    attribute(m, "Conv", "kernel_shape")->ints[1] = 3;
}
static void kernel_line(Onnx__ModelProto *m)
{
    attribute(m, "MaxPool", "kernel_shape")->n_ints = 1;
}
static void kernel_missing(Onnx__ModelProto *m)
{
    set_text(&attribute(m, "MaxPool", "kernel_shape")->name, "dilations");
}
static void group_many(Onnx__ModelProto *m)
{
    attribute(m, "Conv", "group")->i = 2;
}
static void group_zero(Onnx__ModelProto *m)
{
    attribute(m, "Conv", "group")->i = 0;
}
static void axis_zero(Onnx__ModelProto *m)
{
    attribute(m, "Flatten", "axis")->i = 0;
}
static void gemm_turned(Onnx__ModelProto *m)
{
    set_text(&attribute(m, "Gemm", "transB")->name, "transA");
}
static void height_free(Onnx__ModelProto *m)
{
    input_type(m)->shape->dim[2]->dim_value = 0;
}
static void input_huge(Onnx__ModelProto *m)
{
    input_type(m)->shape->dim[1]->dim_value = INT64_C(1) << 40;
}
static void input_integers(Onnx__ModelProto *m)
{
    input_type(m)->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
}
static void input_shapeless(Onnx__ModelProto *m)
{
    onnx__tensor_shape_proto__free_unpacked(input_type(m)->shape, NULL);
    input_type(m)->shape = NULL;
}
static void output_other(Onnx__ModelProto *m)
{
    set_text(&m->graph->output[0]->name, "nothing");
}
static void output_constant(Onnx__ModelProto *m)
{
    set_text(&m->graph->output[0]->name, m->graph->initializer[0]->name);
}
static void output_input(Onnx__ModelProto *m)
{
    set_text(&m->graph->output[0]->name, m->graph->input[0]->name);
}
static void output_nameless(Onnx__ModelProto *m)
{
    set_text(&node(m, "Flatten")->output[0], "");
}
static void graph_missing(Onnx__ModelProto *m)
{
    onnx__graph_proto__free_unpacked(m->graph, NULL);
    m->graph = NULL;
}

static void set_meta(Onnx__ModelProto *m, const char *key, const char *value)
{
    for (size_t i = 0; i < m->n_metadata_props; i++)
        if (!strcmp(m->metadata_props[i]->key, key)) {
            set_text(&m->metadata_props[i]->value, value);
            return;
        }
    fail_msg("no %s", key);
}
static void labels_text(Onnx__ModelProto *m)
{
    set_meta(m, "millrace.labels", "cat,dog");
}
static void labels_few(Onnx__ModelProto *m)
{
    set_meta(m, "millrace.labels", "[\"cat\",\"dog\"]");
}
static void labels_numbers(Onnx__ModelProto *m)
{
    set_meta(m, "millrace.labels", "[0,1,2,3,4,5,6,7,8,9]");
}
static void mean_words(Onnx__ModelProto *m)
{
    set_meta(m, "millrace.mean", "0.5,half,0.5");
}
static void mean_infinite(Onnx__ModelProto *m)
{
    set_meta(m, "millrace.mean", "0.5,1e99,0.5");
}
static void mean_two(Onnx__ModelProto *m)
{
    set_meta(m, "millrace.mean", "0.5,0.5");
}
static void std_zero(Onnx__ModelProto *m)
{
    set_meta(m, "millrace.std", "1,0,1");
}
static void std_one(Onnx__ModelProto *m)
{
    set_meta(m, "millrace.std", "1");
}
static void output_rule(Onnx__ModelProto *m)
{
    set_meta(m, "millrace.output", "argmax");
}

/* What is done to LeNet's model, and the words that the refusal holds beside "model.onnx". */
static const struct {
    void (*spoil)(Onnx__ModelProto *m);
    enum fail_code code;
    const char *words[3];
} refusals[] = {
    {operator_unknown, E_UNSUPPORTED, {"node maxpool1 (Erf)", "supported are Abs, Add"}},
    {domain_unknown, E_UNSUPPORTED, {"maxpool1", "com.example"}},
    {opset_old, E_UNSUPPORTED, {"operator set 5", "6 to"}},
    {opset_future, E_UNSUPPORTED, {"operator set 1048576"}},
    {opset_missing, E_UNSUPPORTED, {"operator set 0"}},
    {external_data, E_UNSUPPORTED, {"conv1.weight", "another file", "one file"}},
    {data_short, E_FILE, {"conv1.weight", "[6, 3, 5, 5]", "wants 450 elements, its data holds 449"}},
    {data_uneven, E_FILE, {"conv1.weight", "holds -1"}},
    {data_double, E_FILE, {"dense1.weight", "wants 48000 elements, its data holds 24000"}},
    {data_complex, E_UNSUPPORTED, {"dense1.weight", "COMPLEX64", "FLOAT"}},
    {dims_overflow, E_FILE, {"dense1 (Gemm)", "impossible shape"}},
    {dims_negative, E_FILE, {"dense1 (Gemm)", "impossible shape"}},
    {weight_turned, E_FILE, {"dense1 (Gemm)", "400 values", "want 120"}},
    {channels_wrong, E_NETWORK, {"conv1", "[6, 5, 3, 5]", "[6, 3, 3, 5]"}},
    {input_unknown, E_FILE, {"dense1/flatten (Flatten)", "nowhere"}},
    {order_wrong, E_FILE, {"maxpool1 (MaxPool)", "conv1"}},
    {defined_twice, E_FILE, {"two values"}},
    {weight_computed, E_UNSUPPORTED, {"dense1 (Gemm)", "not a constant"}},
    {attribute_unknown, E_UNSUPPORTED, {"maxpool1 (MaxPool)", "attribute pad ", "kernel_shape pads"}},
    {attribute_kind, E_FILE, {"maxpool1 (MaxPool)", "attribute pads"}},
    {stride_zero, E_UNSUPPORTED, {"maxpool1 (MaxPool)", "strides", "0"}},
    {kernel_huge, E_UNSUPPORTED, {"maxpool1 (MaxPool)", "kernel_shape", "9223372036854775807"}},
    {kernel_other, E_FILE, {"conv1 (Conv)", "[5, 3]", "[6, 3, 5, 5]"}},
    {kernel_line, E_UNSUPPORTED, {"maxpool1 (MaxPool)", "1 numbers"}},
    {kernel_missing, E_FILE, {"maxpool1 (MaxPool)", "kernel_shape is missing"}},
    {group_many, E_NETWORK, {"conv1 (Conv)", "groups"}},
    {group_zero, E_UNSUPPORTED, {"conv1 (Conv)", "groups is 0"}},
    {axis_zero, E_UNSUPPORTED, {"(Flatten)", "axis 0"}},
    {gemm_turned, E_UNSUPPORTED, {"dense1 (Gemm)", "transA"}},
    {height_free, E_UNSUPPORTED, {"dimension 2 of input input", "fixed"}},
    {input_huge, E_FILE, {"input input", "2^31"}},
    {input_integers, E_UNSUPPORTED, {"input input", "FLOAT"}},
    {input_shapeless, E_UNSUPPORTED, {"input input", "shape"}},
    {output_other, E_FILE, {"output nothing"}},
    {output_constant, E_UNSUPPORTED, {"does not depend on its input"}},
    {output_input, E_UNSUPPORTED, {"no layer"}},
    {output_nameless, E_FILE, {"input dense1/flatten/output"}},
    {graph_missing, E_FILE, {"no graph"}},
    {labels_text, E_FILE, {"millrace.labels", "JSON"}},
    {labels_few, E_FILE, {"millrace.labels", "2 labels for 10 outputs"}},
    {labels_numbers, E_FILE, {"millrace.labels", "label 0"}},
    {mean_words, E_FILE, {"millrace.mean", "half"}},
    {mean_infinite, E_FILE, {"millrace.mean", "finite"}},
    {mean_two, E_FILE, {"millrace.mean", "2 numbers for 3 channels"}},
    {std_zero, E_FILE, {"millrace.std", "above 0"}},
    {std_one, E_FILE, {"millrace.std", "millrace.mean has 3"}},
    {output_rule, E_FILE, {"millrace.output", "argmax"}},
};

static void refused(const void *bytes, size_t size, enum fail_code code, const char *const words[3], int row)
{
    struct graph *g = (void *)1;
    struct fail why = {0};
    int rc = parse(&g, bytes, size, &why);
    bool said = strstr(why.text, "model.onnx") != NULL;
    for (int i = 0; i < 3 && words[i]; i++)
        said = said && strstr(why.text, words[i]);
    if (rc != -(int)code || !said)
        fail_msg("row %d: expected %s with \"%s\", got %d: %s", row, fail_name(code), words[0], rc, why.text);
    assert_null(g);
}

static void refusals_name_the_place(void **state)
{
    struct graph *g = graph_lenet();
    size_t size;
    void *bytes = print(g, &size);
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, size, bytes);
        assert_non_null(m);
        refusals[i].spoil(m);
        size_t n = onnx__model_proto__get_packed_size(m);
        void *spoilt = malloc(n);
        onnx__model_proto__pack(m, spoilt);
        refused(spoilt, n, refusals[i].code, refusals[i].words, (int)i);
        free(spoilt);
        onnx__model_proto__free_unpacked(m, NULL);
    }
    free(bytes);
    graph_free(&g);
}

/* ---- damaged ---- */

static void damaged(const void *bytes, size_t size)
{
    struct graph *g;
    struct fail why = {0};
    if (parse(&g, bytes, size, &why))
        assert_true(why.text[0] && !g);
    graph_free(&g);
}

static void damaged_files(void **state)
{
    enum { SEED = 30, FLIPS = 2000 };
    struct graph *g = graph_everything();
    size_t size;
    unsigned char *bytes = print(g, &size);
    struct rng r = rng_seed(SEED);
    (void)state;
    print_message("%zu bytes, seed %d\n", size, SEED);
    for (size_t n = 0; n < size; n++)
        damaged(bytes, n);
    for (int i = 0; i < FLIPS; i++) {
        size_t at = rng_below(&r, (uint32_t)size);
        unsigned char was = bytes[at];
        bytes[at] = (unsigned char)rng_next(&r);
        damaged(bytes, size);
        bytes[at] = was;
    }
    free(bytes);
    graph_free(&g);
}

/* Messages inside messages: graph, node, attribute, graph... written from the innermost out, so deep that
 * reading them by recursion would end the stack. */
static void deep_nesting(void **state)
{
    enum { DEPTH = 200000, SIZE = 6 * DEPTH };
    static const unsigned char tags[] = {0x3a, 0x0a, 0x2a, 0x32}; /* model.graph, .node, .attribute, .g */
    unsigned char *bytes = malloc(SIZE);
    size_t at = SIZE;
    (void)state;
    for (int level = DEPTH; level >= 0; level--) {
        unsigned char varint[10];
        size_t length = SIZE - at;
        int n = 0;
        do
            varint[n++] = (unsigned char)((length & 0x7f) | (length > 0x7f ? 0x80 : 0));
        while (length >>= 7);
        at -= (size_t)n;
        memcpy(bytes + at, varint, (size_t)n);
        bytes[--at] = level ? tags[1 + (level - 1) % 3] : tags[0];
    }
    refused(bytes + at, SIZE - at, E_FILE, (const char *[3]){"nested too deep"}, 0);
    free(bytes);
}

/* Two bytes a node, a hundred in memory. */
static void memory_is_bounded(void **state)
{
    enum { NODES = 1000000 };
    unsigned char *bytes = malloc(2 * NODES + 8), *p = bytes;
    size_t length = 2 * NODES;
    (void)state;
    *p++ = 0x3a;
    for (; length > 0x7f; length >>= 7)
        *p++ = (unsigned char)(length | 0x80);
    *p++ = (unsigned char)length;
    for (int i = 0; i < NODES; i++) {
        *p++ = 0x0a;
        *p++ = 0;
    }
    refused(bytes, (size_t)(p - bytes), E_FILE, (const char *[3]){"more than", "MB"}, 0);
    free(bytes);
}

static void not_onnx(void **state)
{
    static const char words[] = "network: lenet\ninput: [3, 32, 32]\n";
    (void)state;
    refused(words, sizeof words - 1, E_FILE, (const char *[3]){"byte"}, 0);
    refused("", 0, E_FILE, (const char *[3]){"0 bytes"}, 0);
    /* producer_name, two bytes that are not UTF-8 */
    refused("\x12\x02\xc0\x80", 4, E_FILE, (const char *[3]){"UTF-8"}, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet_round_trip),
        cmocka_unit_test(every_layer_round_trip),
        cmocka_unit_test(clashing_names),
        cmocka_unit_test(unwritable),
        cmocka_unit_test_setup_teardown(onnx_checker_accepts, folder_setup, folder_teardown),
        cmocka_unit_test(refusals_name_the_place),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(not_onnx),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
