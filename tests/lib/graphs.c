/* Graphs made in code, and their comparison. Next to read: tests/engine/files/onnx_test.c. */
#include "tests/lib/graphs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/layer.h"
#include "engine/layers/settings.h"

static struct fail why;

/* Adds a layer and its settings, "key=value" words. */
static void add(struct graph *g, const char *type, const char *name, const char *words)
{
    struct graph_node *n;
    char text[256], *rest = text, *word;
    if (graph_add(&n, g, type, name, &why))
        fail_msg("%s", why.text);
    snprintf(text, sizeof text, "%s", words);
    while ((word = strtok_r(rest, " ", &rest))) {
        char *value = strchr(word, '=');
        *value++ = 0;
        if (setting_set(n->type->settings, n->settings, word, value, "test", &why))
            fail_msg("%s", why.text);
    }
}

static struct graph *begin(const char *name, struct shape input)
{
    struct graph *g;
    assert_int_equal(graph_new(&g, name, input, &why), 0);
    return g;
}

static struct graph *done(struct graph *g, uint64_t seed)
{
    if (graph_init(g, seed, &why))
        fail_msg("%s", why.text);
    return g;
}

struct graph *graph_lenet(void)
{
    static const char *const labels[] = {"0", "1", "two \"2\"", "3", "vier", "5", "6", "7", "8", "neun €"};
    struct graph *g = begin("lenet", SHAPE(3, 32, 32));
    add(g, "conv", NULL, "filters=6 kernel=5 activation=relu");
    add(g, "maxpool", NULL, "size=2");
    add(g, "conv", NULL, "filters=16 kernel=5 activation=relu");
    add(g, "maxpool", NULL, "size=2");
    add(g, "dense", NULL, "units=120 activation=relu");
    add(g, "dense", NULL, "units=84 activation=relu");
    add(g, "dense", NULL, "units=10");
    assert_int_equal(graph_set_labels(g, 10, labels, &why), 0);
    g->channels_normalised = 3;
    for (int i = 0; i < 3; i++) {
        g->mean[i] = 0.1f * (float)(i + 1);
        g->std[i] = 1 / (float)(i + 3);
    }
    snprintf(g->output, sizeof g->output, "softmax");
    assert_int_equal(graph_set_metadata(g, "millrace.job", "j-1", &why), 0);
    assert_int_equal(graph_set_metadata(g, "trained by", "somebody\nelse", &why), 0);
    return done(g, 1);
}

/* Inputs of the last node, by name; NULL ends them. */
static void from(struct graph *g, const char *const *names)
{
    struct graph_node *n = &g->nodes[g->count - 1];
    for (n->input_count = 0; names[n->input_count]; n->input_count++)
        n->inputs[n->input_count] = graph_index(g, names[n->input_count]);
}
#define FROM(...) from(g, (const char *const[]){__VA_ARGS__, NULL})

struct graph *graph_everything(void)
{
    struct graph *g = begin("everything", SHAPE(2, 9, 7));
    add(g, "conv", "stem", "filters=4 kernel=3,2 stride=2,1 padding=1,0,2,1 bias=false activation=tanh");
    add(g, "conv", "grouped", "filters=4 kernel=3 padding=2 dilation=2 groups=2");
    add(g, "batchnorm", NULL, "momentum=0.3 epsilon=0.002 activation=relu6");
    add(g, "relu", NULL, "");
    add(g, "add", NULL, "");
    FROM("stem", "relu1");
    add(g, "sigmoid", NULL, "");
    add(g, "add", "three", "");
    FROM("sigmoid1", "stem", "relu1");
    add(g, "avgpool", NULL, "size=3 stride=1 padding=1 count_padding=true");
    add(g, "global_avgpool", NULL, "");
    add(g, "global_maxpool", NULL, "");
    FROM("avgpool1");
    add(g, "add", "global", "");
    FROM("global_avgpool1", "global_maxpool1");
    add(g, "pad", NULL, "pads=0,1,0,0,0,2 value=0.5");
    FROM("avgpool1");
    add(g, "pad", "edge", "pads=1,0,0,0,1,0 mode=edge");
    add(g, "pad", "reflect", "pads=0,0,2,0,0,1 mode=reflect");
    add(g, "transpose", NULL, "perm=2,0,1");
    add(g, "slice", NULL, "starts=1,-1 ends=6,-9 axes=0,2 steps=2,-1");
    add(g, "gather", NULL, "axis=2 indices=0,3,-1,1");
    add(g, "concat", NULL, "axis=1");
    FROM("gather1", "gather1");
    add(g, "unsqueeze", NULL, "axes=1");
    add(g, "squeeze", NULL, "axes=1");
    add(g, "reshape", NULL, "shape=0,5,-1");
    add(g, "reduce_mean", NULL, "axes=1,2");
    add(g, "reduce_max", NULL, "axes=1,2");
    FROM("reshape1");
    add(g, "reduce_min", NULL, "axes=1,2 keepdims=true");
    FROM("reshape1");
    add(g, "reduce_sum", NULL, "axes=2 keepdims=true");
    FROM("reshape1");
    add(g, "argmax", NULL, "axis=1 select_last_index=true");
    add(g, "argmin", NULL, "axis=1 keepdims=true");
    FROM("reduce_sum1");
    add(g, "gather", "one", "axis=0 indices=1 scalar=true");
    FROM("reshape1");
    add(g, "reduce_mean", "ones", "axes=0,1 keepdims=false");
    add(g, "add", "reduced", "");
    FROM("reduce_mean1", "reduce_max1", "reduce_min1", "argmax1", "argmin1");
    add(g, "maxpool", NULL, "size=2,3 stride=2 ceil=true");
    FROM("avgpool1");
    add(g, "avgpool", NULL, "size=2 stride=1");
    add(g, "lrn", NULL, "size=3 alpha=0.25 beta=0.5 bias=2");
    add(g, "softmax", "along", "axis=1");
    add(g, "dropout", NULL, "rate=0.2");
    add(g, "flatten", NULL, "");
    add(g, "dense", "wide/name", "units=4 activation=sigmoid");
    add(g, "tanh", NULL, "");
    add(g, "flatten", "pooled", "");
    FROM("global");
    add(g, "add", "joined", "");
    FROM("tanh1", "pooled");
    add(g, "dense", NULL, "units=3 bias=false");
    add(g, "add", "operand", "shape=3");
    add(g, "mul", "fixed", "shape=1 fixed=true");
    add(g, "sub", "from", "shape=3 first=true");
    add(g, "div", NULL, "shape=3");
    add(g, "sub", "apart", "");
    FROM("from", "div1");
    add(g, "prelu", NULL, "shape=3");
    add(g, "clip", NULL, "min=-0.5 max=2.5");
    add(g, "clip", "below", "max=2");
    add(g, "clip", "above", "min=-3.25");
    add(g, "leaky_relu", NULL, "alpha=0.1");
    add(g, "elu", NULL, "alpha=0.7");
    add(g, "hard_sigmoid", NULL, "alpha=0.3 beta=0.4");
    add(g, "hard_swish", NULL, "");
    add(g, "relu6", NULL, "");
    add(g, "gelu", NULL, "");
    add(g, "gelu", "by tanh", "approximate=tanh");
    add(g, "softplus", NULL, "");
    add(g, "silu", NULL, "");
    add(g, "exp", NULL, "");
    add(g, "log", NULL, "");
    add(g, "abs", NULL, "");
    add(g, "sqrt", NULL, "");
    add(g, "neg", NULL, "");
    add(g, "flatten", "list", "");
    FROM("reduced");
    add(g, "flatten", "number", "");
    FROM("ones");
    add(g, "concat", "sides", "");
    FROM("neg1", "list", "number");
    add(g, "dense", "a", "units=4 activation=silu");
    add(g, "dense", "b", "units=4 activation=gelu");
    add(g, "dense", "c", "units=4 activation=gelu_tanh");
    add(g, "dense", "d", "units=4 activation=hard_swish");
    add(g, "dense", "e", "units=4 activation=relu6");
    add(g, "dense", "f", "units=4 activation=softplus");
    add(g, "softmax", NULL, "");
    add(g, "log_softmax", NULL, "");
    return done(g, 2);
}

/* ---- equality ---- */

/* All settings as text. */
static char *settings_text(const struct graph_node *n)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (const struct setting *s = n->type->settings; s && s->key; s++) {
        fprintf(out, "%s=", s->key);
        setting_print(s, n->settings, true, out);
        fputc(' ', out);
    }
    fclose(out);
    return text;
}

static void nodes_equal(const struct graph_node *a, const struct graph_node *b)
{
    assert_string_equal(a->name, b->name);
    assert_ptr_equal(a->type, b->type);
    char *left = settings_text(a), *right = settings_text(b);
    assert_string_equal(left, right);
    free(left);
    free(right);
    assert_int_equal(a->input_count, b->input_count);
    for (int i = 0; i < a->input_count; i++)
        assert_int_equal(a->inputs[i], b->inputs[i]);
    assert_true(shape_equal(a->shape, b->shape));
    assert_int_equal(a->param_count, b->param_count);
    for (int i = 0; i < a->param_count; i++) {
        assert_string_equal(a->params[i].name, b->params[i].name);
        assert_true(shape_equal(a->params[i].shape, b->params[i].shape));
        assert_int_equal(a->params[i].state, b->params[i].state);
        assert_memory_equal(a->params[i].data, b->params[i].data,
                            (size_t)shape_size(a->params[i].shape) * sizeof(float));
    }
}

void graphs_equal(const struct graph *a, const struct graph *b)
{
    assert_string_equal(a->name, b->name);
    assert_true(shape_equal(a->input, b->input));
    assert_string_equal(a->input_name, b->input_name);
    assert_string_equal(a->output_name, b->output_name);
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++)
        nodes_equal(&a->nodes[i], &b->nodes[i]);
    assert_int_equal(a->label_count, b->label_count);
    for (int i = 0; i < a->label_count; i++)
        assert_string_equal(a->labels[i], b->labels[i]);
    assert_int_equal(a->channels_normalised, b->channels_normalised);
    assert_memory_equal(a->mean, b->mean, sizeof a->mean);
    assert_memory_equal(a->std, b->std, sizeof a->std);
    assert_string_equal(a->output, b->output);
    assert_int_equal(a->metadata_count, b->metadata_count);
    for (int i = 0; i < 2 * a->metadata_count; i++)
        assert_string_equal(a->metadata[i], b->metadata[i]);
}
