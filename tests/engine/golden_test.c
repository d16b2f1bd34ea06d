/* LeNet against PyTorch: logits, loss, every gradient, ten steps of SGD. The answers are
 * tests/golden/lenet.safetensors, written by make_goldens.py beside it; Python is not needed here. */
#include "engine/loss.h"
#include "engine/net.h"
#include "engine/optim.h"
#include "tests/lib/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 8, STEPS = 10, MOST = 48000 };

struct lenet {
    struct golden answers;
    struct graph *graph;
    struct backend *be;
    struct net *net;
    struct optimizer *opt;
    float *values;
};

static void open_lenet(struct lenet *g, const char *backend)
{
    struct fail why;
    struct net_options o = {.mode = NET_TRAIN, .max_rows = ROWS, .seed = 1};
    *g = (struct lenet){.values = malloc(MOST * sizeof(float))};
    assert_non_null(g->values);
    golden_open(&g->answers, "tests/golden/lenet.safetensors");
    golden_check(graph_read(&g->graph, "config/lenet.yaml", &why), &why, "lenet");
    golden_check(backend_open(&g->be, golden_backend(backend), 1, &why), &why, "lenet");
    golden_check(net_open(&g->net, g->be, g->graph, &o, &why), &why, "lenet");
    golden_check(optim_open(&g->opt, g->net, "sgd", &(struct optim_settings){.momentum = 0.9}, &why), &why,
                 "lenet");
    golden_weights(g->net);
    golden_values(100, ROWS * net_input_size(g->net), 2, net_input(g->net));
}

static void close_lenet(struct lenet *g)
{
    optim_close(&g->opt);
    net_close(&g->net);
    backend_close(&g->be);
    graph_free(&g->graph);
    golden_close(&g->answers);
    free(g->values);
}

static void check_lenet(const char *backend)
{
    struct lenet g;
    struct fail why;
    char name[160];
    float losses[STEPS];
    int32_t labels[ROWS];
    open_lenet(&g, backend);
    for (int i = 0; i < ROWS; i++)
        labels[i] = i * 3 % 10;
    struct target target = {.labels = labels};
    for (int step = 0; step < STEPS; step++) {
        struct loss_sum sum = {0};
        golden_check(net_accumulate(g.net, loss_find("cross_entropy"), ROWS, &target, step, 0, &sum, &why),
                     &why, "lenet");
        losses[step] = (float)(sum.loss / sum.weight);
        if (step == 0) {
            golden_compare(&g.answers, "logits", net_output(g.net), ROWS * net_output_size(g.net), 1e-5);
            for (int i = 0; i < net_param_count(g.net); i++) {
                int64_t n = shape_size(net_param_shape(g.net, i));
                golden_check(net_gradient_get(g.net, i, g.values, &why), &why, "lenet");
                for (int64_t k = 0; k < n; k++)
                    g.values[k] /= ROWS; /* ours are sums */
                snprintf(name, sizeof name, "gradient.%s", net_param_name(g.net, i));
                golden_compare(&g.answers, name, g.values, n, 2e-5);
            }
        }
        golden_check(net_step(g.net, g.opt, 0.001, sum.weight, &why), &why, "lenet");
    }
    golden_compare(&g.answers, "losses", losses, STEPS, 1e-5);
    for (int i = 0; i < net_param_count(g.net); i++) {
        golden_check(net_param_get(g.net, i, g.values, &why), &why, "lenet");
        snprintf(name, sizeof name, "after.%s", net_param_name(g.net, i));
        golden_compare(&g.answers, name, g.values, shape_size(net_param_shape(g.net, i)), 1e-5);
    }
    close_lenet(&g);
}

static void lenet_on_ref(void **state)
{
    (void)state;
    check_lenet("ref");
}

static void lenet_on_cpu(void **state)
{
    (void)state;
    check_lenet("cpu");
}

static void lenet_on_cpu_at_one_lane(void **state)
{
    (void)state;
    check_lenet("cpu1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet_on_ref),
        cmocka_unit_test(lenet_on_cpu),
        cmocka_unit_test(lenet_on_cpu_at_one_lane),
    };
    return cmocka_run_group_tests_name("goldens", tests, NULL, NULL);
}
