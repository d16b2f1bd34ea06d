/* The networks of config/: their sizes and the names of their weights, one answer from every backend, falling loss of
 * resnet18-cifar, and the way to ONNX and back. */
#include "engine/layer.h" /* before cmocka.h, which makes a macro of fail */
#include "engine/loss.h"
#include "engine/net.h"
#include "engine/optim.h"
#include "engine/rng.h"
#include "tests/lib/graphs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW_BUILD = 1 };
#else
enum { SLOW_BUILD = 0 };
#endif

struct shipped {
    const char *name;
    int64_t parameters;
    int outputs;
    const char *one_of;  /* its parameters' names */
    const char *against; /* the backend that cpu is compared with; ref computes 0.5 GFLOP a second */
    bool slow;           /* left to builds without sanitizers */
};

/* The sizes are PyTorch's for the same layers. */
static const struct shipped networks[] = {
    {"lenet", 62006, 10, "conv2.weight", "ref", false},
    {"mnist", 61706, 10, "dense3.bias", "ref", false},
    {"vgg8", 3249098, 10, "features3.bn2.running_var", "ref", true},
    {"resnet18-cifar", 11173962, 10, "layer2.0.downsample.1.running_mean", "ref", true},
    {"resnet18", 11689512, 1000, "layer4.1.conv2.weight", "cpu1", true},
    {"mobilenetv2", 3504872, 1000, "features.18.0.weight", "cpu1", true},
};
enum { NETWORKS = sizeof networks / sizeof *networks };

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

static struct graph *open_graph(const struct shipped *s)
{
    struct graph *g = NULL;
    struct fail why;
    char path[64];
    snprintf(path, sizeof path, "config/%s.yaml", s->name);
    check(graph_read(&g, path, &why), &why);
    return g;
}

static void sizes_and_names(void **state)
{
    (void)state;
    for (int i = 0; i < NETWORKS; i++) {
        const struct shipped *s = &networks[i];
        struct graph *g = open_graph(s);
        bool found = false;
        assert_string_equal(g->name, s->name);
        assert_int_equal(graph_param_count(g), s->parameters);
        assert_true(shape_equal(graph_output(g), SHAPE(s->outputs)));
        for (int n = 0; n < g->count; n++)
            for (int k = 0; k < g->nodes[n].param_count; k++)
                found = found || !strcmp(g->nodes[n].params[k].name, s->one_of);
        if (!found)
            fail_msg("%s has no %s", s->name, s->one_of);
        graph_free(&g);
    }
}

/* Weights of seed 2, running statistics other than 0 and 1. */
static struct graph *with_weights(const struct shipped *s)
{
    struct graph *g = open_graph(s);
    struct fail why;
    struct rng r = rng_seed(4);
    check(graph_init(g, 2, &why), &why);
    for (int n = 0; n < g->count; n++)
        for (int k = 0; k < g->nodes[n].param_count; k++) {
            struct graph_param *p = &g->nodes[n].params[k];
            for (int64_t i = 0; p->state && i < shape_size(p->shape); i++)
                p->data[i] += (float)(0.2 * rng_uniform(&r));
        }
    return g;
}

/* A row's outputs; the net is opened for sixteen rows, so that backend cpu takes its sixteen lanes. */
static float *outputs_of(const struct graph *g, const char *backend)
{
    struct backend *be = NULL;
    struct net *net = NULL;
    struct fail why;
    struct rng r = rng_seed(6);
    int max_rows = strcmp(backend, "cpu") ? 1 : 16;
    check(backend_open(&be, backend, 1, &why), &why);
    check(net_open(&net, be, g, &(struct net_options){.mode = NET_INFER, .max_rows = max_rows, .seed = 1},
                   &why),
          &why);
    for (int64_t i = 0; i < net_input_size(net); i++)
        net_input(net)[i] = (float)rng_normal(&r);
    check(net_forward(net, 1, &why), &why);
    size_t size = (size_t)net_output_size(net) * sizeof(float);
    float *out = malloc(size);
    assert_non_null(out);
    memcpy(out, net_output(net), size);
    net_close(&net);
    backend_close(&be);
    return out;
}

static void backends_agree(void **state)
{
    (void)state;
    for (int i = 0; i < NETWORKS; i++) {
        const struct shipped *s = &networks[i];
        if (SLOW_BUILD && s->slow) {
            print_message("%s is left to builds without sanitizers\n", s->name);
            continue;
        }
        struct graph *g = with_weights(s);
        float *a = outputs_of(g, "cpu"), *b = outputs_of(g, s->against);
        double most = 0, apart = 0;
        for (int k = 0; k < s->outputs; k++) {
            most = fmax(most, fabs((double)b[k]));
            assert_true(isfinite(a[k]));
            apart = fmax(apart, fabs((double)a[k] - (double)b[k]));
        }
        assert_true(most > 0);
        if (!(apart <= 1e-4 * most))
            fail_msg("%s: cpu and %s differ by %.3g of %.3g", s->name, s->against, apart, most);
        free(a);
        free(b);
        graph_free(&g);
    }
}

enum { ROWS = 16 };

/* The same sixteen rows again and again: a network that learns knows them better each time. */
static void resnet_learns(void **state)
{
    struct graph *g = open_graph(&networks[3]);
    struct backend *be = NULL;
    struct net *net = NULL;
    struct optimizer *opt = NULL;
    struct fail why;
    struct rng r = rng_seed(8);
    int32_t labels[ROWS];
    double losses[4];
    int steps = SLOW_BUILD ? 2 : 4;
    (void)state;
    check(backend_open(&be, "cpu", 0, &why), &why);
    check(net_open(&net, be, g, &(struct net_options){.mode = NET_TRAIN, .max_rows = ROWS, .seed = 5}, &why),
          &why);
    check(optim_open(&opt, net, "sgd", &(struct optim_settings){.momentum = 0.9}, &why), &why);
    for (int64_t i = 0; i < ROWS * net_input_size(net); i++)
        net_input(net)[i] = (float)rng_normal(&r);
    for (int i = 0; i < ROWS; i++)
        labels[i] = i % 10;
    for (int step = 0; step < steps; step++) {
        struct loss_sum sum = {0};
        struct target t = {.labels = labels};
        check(net_accumulate(net, loss_find("cross_entropy"), ROWS, &t, step, 0, &sum, &why), &why);
        check(net_step(net, opt, 0.01, sum.weight, &why), &why);
        losses[step] = sum.loss / sum.weight;
    }
    assert_true(losses[0] > 1 && losses[0] < 6);
    for (int step = 1; step < steps; step++)
        if (!(losses[step] < losses[step - 1]))
            fail_msg("loss %g after %g", losses[step], losses[step - 1]);
    optim_close(&opt);
    net_close(&net);
    backend_close(&be);
    graph_free(&g);
}

static void onnx_and_back(void **state)
{
    (void)state;
    for (int i = 0; i < NETWORKS; i++) {
        struct graph *g = with_weights(&networks[i]), *back = NULL;
        struct fail why;
        void *bytes = NULL;
        size_t size = 0;
        check(onnx_print(g, &bytes, &size, &why), &why);
        check(onnx_parse(&back, g->name, bytes, size, &why), &why);
        graphs_equal(g, back);
        free(bytes);
        graph_free(&back);
        graph_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_names),
        cmocka_unit_test(backends_agree),
        cmocka_unit_test(resnet_learns),
        cmocka_unit_test(onnx_and_back),
    };
    return cmocka_run_group_tests_name("shipped networks", tests, NULL, NULL);
}
