/* What is said of a plan: every layer and step is there, arithmetic adds up to the graph's, memory to the net's; and the
 * digest tells plans apart that compute different things of equal shapes. */
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

static void check(int rc, const struct fail *why, const char *name)
{
    if (rc)
        fail_msg("%s: %s", name, why->text);
}

struct rig {
    struct graph *graph;
    struct backend *be;
    struct net *net;
    char *text;
};

static void open_rig(struct rig *rig, struct graph *g, const char *backend, enum net_mode mode, int rows)
{
    struct fail why = {0};
    struct net_options o = {.mode = mode, .max_rows = rows, .seed = 1};
    size_t size;
    *rig = (struct rig){.graph = g};
    check(backend_open(&rig->be, backend, 1, &why), &why, backend);
    check(net_open(&rig->net, rig->be, g, &o, &why), &why, g->name);
    FILE *f = open_memstream(&rig->text, &size);
    assert_non_null(f);
    net_print_plan(rig->net, f);
    assert_int_equal(fclose(f), 0);
}

static void close_rig(struct rig *rig)
{
    net_close(&rig->net);
    backend_close(&rig->be);
    graph_free(&rig->graph);
    free(rig->text);
}

static struct graph *shipped(const char *file)
{
    struct fail why = {0};
    struct graph *g = NULL;
    check(graph_read(&g, file, &why), &why, file);
    return g;
}

static double forward_flops(const struct plan *p)
{
    double sum = 0;
    for (int i = 0; i < p->forward; i++)
        sum += plan_step_flops(&p->steps[i]);
    return sum;
}

/* An operation that stands for a convolution or a dense layer and is not counted makes the sum too small. */
static void arithmetic_adds_up(void **state)
{
    static const char *const files[] = {"config/lenet.yaml",    "config/mnist.yaml",
                                        "config/vgg8.yaml",     "config/resnet18-cifar.yaml",
                                        "config/resnet18.yaml", "config/mobilenetv2.yaml"};
    static const char *const backends[] = {"cpu", "cpu1", "ref"};
    (void)state;
    for (int f = 0; f < 6; f++)
        for (int b = 0; b < 3; b++) {
            struct rig rig;
            open_rig(&rig, shipped(files[f]), backends[b], NET_INFER, 1);
            double want = graph_flops(rig.graph), got = forward_flops(&rig.net->infer);
            if (!(fabs(got - want) <= 1e-9 * want))
                fail_msg("%s on %s: steps %.9g, layers %.9g FLOP", files[f], backends[b], got, want);
            close_rig(&rig);
        }
}

/* Backward: once to the weights, and to the inputs of all but the first layer. */
static void training_counts_the_way_back(void **state)
{
    static const char *const backends[] = {"cpu", "cpu1", "ref"};
    (void)state;
    for (int b = 0; b < 3; b++) {
        struct rig rig;
        open_rig(&rig, shipped("config/vgg8.yaml"), backends[b], NET_TRAIN, 1);
        const struct plan *p = &rig.net->train;
        double all = 0, forward = forward_flops(p);
        for (int i = 0; i < p->count; i++)
            all += plan_step_flops(&p->steps[i]);
        double first = 2.0 * 64 * 32 * 32 * 3 * 9;
        if (!(fabs(all - (3 * forward - first)) <= 1e-9 * all))
            fail_msg("%s: %.9g FLOP, expected three times %.9g less %.9g", backends[b], all, forward, first);
        assert_non_null(strstr(rig.text, "training, "));
        close_rig(&rig);
    }
}

static void every_step_is_a_line(void **state)
{
    struct rig rig;
    char text[160];
    (void)state;
    open_rig(&rig, shipped("config/lenet.yaml"), "cpu", NET_EXPLAIN, 40);
    for (int i = 0; i < rig.graph->count; i++)
        if (!strstr(rig.text, rig.graph->nodes[i].name))
            fail_msg("no step of %s in\n%s", rig.graph->nodes[i].name, rig.text);
    const struct plan *p = &rig.net->infer;
    for (int i = 0; i < p->count; i++) {
        snprintf(text, sizeof text, "%d  %s", i, rig.graph->nodes[p->steps[i].node].name);
        if (!strstr(rig.text, text) || !strstr(rig.text, op_name(p->steps[i].op)))
            fail_msg("no line '%s', or no %s", text, op_name(p->steps[i].op));
    }
    assert_non_null(strstr(rig.text, "saliency, 16 lanes"));
    assert_non_null(strstr(rig.text, "1>16"));
    assert_non_null(strstr(rig.text, "3x32x32, 6x3x5x5, 6 -> 6x28x28"));
    snprintf(text, sizeof text, "%.6f GFLOP a row", graph_flops(rig.graph) / 1e9);
    assert_non_null(strstr(rig.text, text));
    plan_bytes_text((double)net_memory(rig.net), text, sizeof text);
    assert_non_null(strstr(strstr(rig.text, "in all "), text));
    close_rig(&rig);
}

static void digest_of(const char *layers, char out[65])
{
    struct fail why = {0};
    struct graph *g = NULL;
    struct rig rig;
    check(network_parse(&g, "digest", layers, strlen(layers), &why), &why, layers);
    open_rig(&rig, g, "cpu", NET_INFER, 16);
    net_digest(rig.net, out);
    close_rig(&rig);
}

static void digests_tell_equal_shapes_apart(void **state)
{
    static const char *const networks[] = {
        "input: [2, 6, 6]\nlayers:\n  - conv: {filters: 2, kernel: 2, padding: [1, 1, 0, 0]}\n",
        "input: [2, 6, 6]\nlayers:\n  - conv: {filters: 2, kernel: 2, padding: [0, 0, 1, 1]}\n",
        ("input: [2, 6, 6]\nlayers:\n"
         "  - conv: {filters: 2, kernel: 2, padding: [1, 1, 0, 0], activation: relu}\n"),
        "input: [2, 6, 6]\nlayers:\n  - conv: {filters: 2, kernel: 2, padding: [1, 0, 0, 1]}\n",
    };
    enum { COUNT = sizeof networks / sizeof *networks };
    char digest[COUNT][65], again[65];
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        digest_of(networks[i], digest[i]);
        digest_of(networks[i], again);
        assert_string_equal(digest[i], again);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(digest[i], digest[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_adds_up),
        cmocka_unit_test(training_counts_the_way_back),
        cmocka_unit_test(every_step_is_a_line),
        cmocka_unit_test(digests_tell_equal_shapes_apart),
    };
    return cmocka_run_group_tests_name("plan_print", tests, NULL, NULL);
}
