/* Batch norm as part of the layer before it: which ones go, and that outputs stay. Nets that train keep theirs, so
 * the same weights run both ways. */
#include "engine/layer.h" /* before cmocka.h, which makes a macro of fail */
#include "engine/net.h"
#include "engine/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 19 };

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

static struct graph *parse(const char *text)
{
    struct graph *g = NULL;
    struct fail why;
    struct rng r = rng_seed(5);
    check(network_parse(&g, "net.yaml", text, strlen(text), &why), &why);
    check(graph_init(g, 1, &why), &why);
    for (int i = 0; i < g->count; i++) /* no two values alike; variances above 0 */
        for (int k = 0; k < g->nodes[i].param_count; k++)
            for (int64_t j = 0; j < shape_size(g->nodes[i].params[k].shape); j++)
                g->nodes[i].params[k].data[j] = (float)(rng_uniform(&r) - (k == 3 ? -0.2 : 0.5));
    return g;
}

static const char branches[] = "input: [3, 7, 6]\nlayers:\n"
                               "  - {batchnorm: {}, name: first}\n" /* reads the input: stays */
                               "  - {conv: {filters: 5, kernel: 3, bias: false}, name: a}\n"
                               "  - {batchnorm: {activation: relu}, name: an}\n" /* goes */
                               "  - {conv: {filters: 5, kernel: 3, padding: 1, groups: 5}, name: b}\n"
                               "  - {batchnorm: {epsilon: 0.25}, name: bn}\n" /* goes */
                               "  - {conv: {filters: 5, kernel: 1}, name: c, from: an}\n"
                               "  - {batchnorm: {}, name: cn}\n" /* c has another reader: stays */
                               "  - {conv: {filters: 5, kernel: 1, activation: tanh}, name: d, from: an}\n"
                               "  - {batchnorm: {}, name: dn}\n" /* behind a tanh: stays */
                               "  - {add: {}, from: [bn, cn, c, dn]}\n"
                               "  - {batchnorm: {activation: tanh}, name: sum}\n" /* behind an add: stays */
                               "  - {dense: {units: 9}, name: e}\n"
                               "  - {batchnorm: {activation: sigmoid}, name: en}\n" /* goes */
                               "  - {dense: {units: 4, bias: false}, name: f}\n"
                               "  - {batchnorm: {}, name: fn}\n"; /* goes, and is the output */

static void what_can_be_folded_goes(void **state)
{
    static const char *const left[] = {"first", "a", "b", "c", "cn", "d", "dn", "add1", "sum", "e", "f"};
    struct graph *g = parse(branches);
    struct fail why;
    (void)state;
    check(graph_fold(g, &why), &why);
    assert_int_equal(g->count, 11);
    for (int i = 0; i < 11; i++)
        assert_string_equal(g->nodes[i].name, left[i]);
    assert_int_equal(g->nodes[1].param_count, 2);
    assert_string_equal(g->nodes[1].params[1].name, "a.bias");
    assert_int_equal(g->nodes[7].inputs[0], 2);
    assert_int_equal(g->nodes[3].inputs[0], 1);
    check(graph_finish(g, &why), &why); /* still a network */
    graph_free(&g);
}

/* Inference with and without folding, on every backend. */
static void outputs_stay(void **state)
{
    static const char *const backends[] = {"ref", "cpu", "cpu1"};
    struct graph *g = parse(branches);
    (void)state;
    for (int b = 0; b < 3; b++) {
        struct backend *be = NULL;
        struct net *folded = NULL, *whole = NULL;
        struct fail why;
        struct rng r = rng_seed(9);
        check(backend_open(&be, backends[b], 1, &why), &why);
        check(net_open(&folded, be, g, &(struct net_options){.mode = NET_INFER, .max_rows = ROWS, .seed = 1},
                       &why),
              &why);
        check(net_open(&whole, be, g, &(struct net_options){.mode = NET_TRAIN, .max_rows = ROWS, .seed = 1},
                       &why),
              &why);
        assert_int_equal(net_param_count(whole) - net_param_count(folded), 4 * 4 - 2);
        for (int64_t i = 0; i < ROWS * net_input_size(whole); i++)
            net_input(folded)[i] = net_input(whole)[i] = (float)rng_normal(&r);
        check(net_forward(folded, ROWS, &why), &why);
        check(net_forward(whole, ROWS, &why), &why);
        for (int64_t i = 0; i < ROWS * net_output_size(whole); i++)
            assert_true(fabs((double)net_output(folded)[i] - (double)net_output(whole)[i]) <= 2e-5);
        net_close(&folded);
        net_close(&whole);
        backend_close(&be);
    }
    graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_be_folded_goes),
        cmocka_unit_test(outputs_stay),
    };
    return cmocka_run_group_tests_name("fold", tests, NULL, NULL);
}
