/* Every layer against PyTorch, forward and backward, on ref and on cpu at one lane and at sixteen: output, loss, every
 * gradient, running statistics. Networks and answers are in tests/golden/layers.safetensors, written by
 * make_layer_goldens.py beside it. The table of layers is walked: one without a case fails. */
#include "engine/layer.h"
#include "engine/loss.h"
#include "engine/net_inside.h"
#include "tests/lib/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 3, NAME = 80, MOST = 8192 };

static const char path[] = "tests/golden/layers.safetensors";

struct part {
    const char *name;
    struct graph *graph;
    const struct loss_type *loss;
    float targets[ROWS * 8];
    int32_t labels[ROWS];
    struct target target;
};

/* "mse\ninput: ...": the loss, then the network. */
static void read_case(struct part *p, const struct golden *g, const char *name)
{
    struct fail why;
    char loss[NAME] = "";
    const char *text = safetensors_metadata(g->file, name), *network = text ? strchr(text, '\n') : NULL;
    *p = (struct part){.name = name};
    if (!network || (size_t)(network - text) >= sizeof loss)
        fail_msg("%s: no network among the answers", name);
    memcpy(loss, text, (size_t)(network - text));
    p->loss = loss_find(loss);
    assert_non_null(p->loss);
    golden_check(network_parse(&p->graph, name, network + 1, strlen(network + 1), &why), &why, name);
    int64_t outputs = shape_size(graph_output(p->graph));
    assert_true(outputs <= 8);
    for (int i = 0; i < ROWS; i++)
        p->labels[i] = (int32_t)(i * 2 % outputs);
    golden_values(101, ROWS * outputs, 1, p->targets);
    if (!strcmp(loss, "mse"))
        p->target.targets = p->targets;
    else
        p->target.labels = p->labels;
}

/* Tolerances beside the largest: sums of at most some hundred products, exp and tanh within a few units. */
static void compare_params(const struct golden *g, const struct part *p, struct net *net, double weight)
{
    static float values[MOST];
    struct fail why;
    char key[2 * NAME];
    int compared = 0;
    for (int i = 0; i < net_param_count(net); i++) {
        int64_t n = shape_size(net_param_shape(net, i));
        bool state = net->params[i].store == STORE_STATE;
        assert_true(n <= MOST);
        golden_check(state ? net_param_get(net, i, values, &why) : net_gradient_get(net, i, values, &why),
                     &why, p->name);
        for (int64_t k = 0; !state && k < n; k++)
            values[k] = (float)((double)values[k] / weight);
        snprintf(key, sizeof key, "%s/%s.%s", p->name, state ? "after" : "gradient", net_param_name(net, i));
        golden_compare(g, key, values, n, 2e-5);
        compared++;
    }
    assert_true(compared > 0);
}

static void check_case(const struct golden *g, const char *name, struct backend *be)
{
    struct part p;
    struct net *net = NULL;
    struct fail why;
    struct loss_sum sum = {0};
    char key[2 * NAME];
    read_case(&p, g, name);
    golden_check(net_open(&net, be, p.graph,
                          &(struct net_options){.mode = NET_TRAIN, .max_rows = ROWS, .seed = 1}, &why),
                 &why, name);
    golden_weights(net);
    golden_values(100, ROWS * net_input_size(net), 2, net_input(net));
    golden_check(net_accumulate(net, p.loss, ROWS, &p.target, 0, 0, &sum, &why), &why, name);
    snprintf(key, sizeof key, "%s/output", name);
    golden_compare(g, key, net_output(net), ROWS * net_output_size(net), 1e-5);
    snprintf(key, sizeof key, "%s/loss", name);
    float loss = (float)(sum.loss / sum.weight);
    golden_compare(g, key, &loss, 1, 1e-5);
    compare_params(g, &p, net, sum.weight);
    net_close(&net);
    graph_free(&p.graph);
}

/* Calls visit with each case's name. */
static int for_each_case(const struct golden *g, void (*visit)(const struct golden *, const char *, void *),
                         void *arg)
{
    const char *at = safetensors_metadata(g->file, "cases");
    int count = 0;
    assert_non_null(at);
    for (const char *end; (end = strchr(at, '\n')); at = end + 1, count++) {
        char name[NAME];
        assert_true((size_t)(end - at) < sizeof name);
        snprintf(name, sizeof name, "%.*s", (int)(end - at), at);
        visit(g, name, arg);
    }
    return count;
}

static void visit_case(const struct golden *g, const char *name, void *be)
{
    check_case(g, name, be);
}

static void layers_agree_with_pytorch(void **state)
{
    struct golden g;
    struct backend *be = NULL;
    struct fail why;
    golden_open(&g, path);
    golden_check(backend_open(&be, golden_backend(*state), 1, &why), &why, *state);
    assert_true(for_each_case(&g, visit_case, be) >= 43);
    backend_close(&be);
    golden_close(&g);
}

struct search {
    const struct layer_type *type;
    bool found;
};

static void visit_layers(const struct golden *g, const char *name, void *arg)
{
    struct search *s = arg;
    struct part p;
    read_case(&p, g, name);
    for (int i = 0; i < p.graph->count; i++)
        s->found = s->found || p.graph->nodes[i].type == s->type;
    graph_free(&p.graph);
}

static void every_layer_has_a_case(void **state)
{
    struct golden g;
    (void)state;
    golden_open(&g, path);
    for (int i = 0; layer_types[i]; i++) {
        struct search s = {layer_types[i], false};
        for_each_case(&g, visit_layers, &s);
        if (!s.found)
            fail_msg("no golden for %s: add a case to tests/golden/make_layer_goldens.py",
                     layer_types[i]->name);
    }
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_has_a_case),
        cmocka_unit_test_prestate(layers_agree_with_pytorch, "ref"),
        cmocka_unit_test_prestate(layers_agree_with_pytorch, "cpu"),
        cmocka_unit_test_prestate(layers_agree_with_pytorch, "cpu1"),
    };
    return cmocka_run_group_tests_name("goldens of layers", tests, NULL, NULL);
}
