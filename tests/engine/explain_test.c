/* Saliency: against finite differences of the double build's own outputs, cpu at one and sixteen lanes against ref,
 * the bits of a row whatever its neighbours, place and threads; what a net of another mode says.
 * Kinks as in gradient_test.c: where differences at two widths disagree the point is counted, and few may be. */
#include "engine/net.h"
#include "engine/net_inside.h"
#include "tests/lib/graphs.h"

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
    struct backend *be;
    struct net *net;
    int64_t inputs, outputs;
    float *saliency; /* [max_rows][inputs] */
};

static void open_rig(struct rig *rig, const struct graph *g, const char *backend, int threads, int max_rows)
{
    struct fail why = {0};
    struct net_options o = {.mode = NET_EXPLAIN, .max_rows = max_rows, .seed = 3};
    *rig = (struct rig){0};
    check(backend_open(&rig->be, backend, threads, &why), &why, backend);
    check(net_open(&rig->net, rig->be, g, &o, &why), &why, g->name);
    rig->inputs = net_input_size(rig->net);
    rig->outputs = net_output_size(rig->net);
    rig->saliency = calloc((size_t)(rig->inputs * max_rows), sizeof *rig->saliency);
    assert_non_null(rig->saliency);
}

static void close_rig(struct rig *rig)
{
    free(rig->saliency);
    net_close(&rig->net);
    backend_close(&rig->be);
}

/* Twelve bits below the point, so that adding a width is exact. */
static float coarse(struct rng *r)
{
    return (float)((double)((int)rng_below(r, 4096) - 2048) / 1024.0);
}

static void put_row(struct rig *rig, int place, int row)
{
    struct rng r = rng_seed(500 + (uint64_t)row);
    for (int64_t i = 0; i < rig->inputs; i++)
        net_input(rig->net)[place * rig->inputs + i] = coarse(&r);
}

static void explain(struct rig *rig, int rows, const int32_t *outputs)
{
    struct fail why = {0};
    check(net_explain(rig->net, rows, outputs, rig->saliency, &why), &why, "explain");
}

/* A graph with weights, and running statistics as after some training. */
static struct graph *graph_of(const char *name, const char *network)
{
    struct fail why = {0};
    struct graph *g = NULL;
    struct rng r = rng_seed(8);
    check(network_parse(&g, name, network, strlen(network), &why), &why, name);
    check(graph_init(g, 3, &why), &why, name);
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].param_count; k++)
            for (int64_t j = 0; g->nodes[i].params[k].state && j < shape_size(g->nodes[i].params[k].shape);
                 j++)
                g->nodes[i].params[k].data[j] += (float)rng_uniform(&r) - 0.5f;
    return g;
}

static const char residual[] =
    "network: residual\ninput: [3, 8, 7]\nlayers:\n"
    "  - conv: {filters: 8, kernel: 3, padding: 1, bias: false}\n"
    "  - {batchnorm: {activation: relu}, name: stem}\n"
    "  - conv: {filters: 8, kernel: 3, padding: 1, bias: false}\n  - batchnorm: {activation: relu}\n"
    "  - conv: {filters: 8, kernel: 3, padding: 1, groups: 8, bias: false}\n  - {batchnorm: {}, name: b}\n"
    "  - {add: {}, from: [b, stem]}\n  - {relu: {}, name: out}\n"
    "  - conv: {filters: 12, kernel: 3, stride: 2, padding: 1, bias: false}\n  - batchnorm: {activation: "
    "relu6}\n"
    "  - global_avgpool\n  - dense: {units: 5}\n";

/* ---- finite differences ---- */

struct difference_case {
    const char *name, *network; /* network NULL: graph_everything */
    double tolerance;
    double kinks; /* share of the points that may meet one */
};

static const struct difference_case differences[] = {
    {"smooth",
     "input: [2, 7, 6]\nlayers:\n  - conv: {filters: 5, kernel: 3, padding: 1, activation: tanh}\n"
     "  - avgpool: {size: 2}\n  - conv: {filters: 4, kernel: [2, 1], groups: 1, activation: sigmoid}\n"
     "  - dense: {units: 9, activation: tanh}\n  - dense: {units: 4}\n",
     1e-5, 0},
    {"branches from the input",
     "input: [2, 5, 4]\nlayers:\n  - {conv: {filters: 3, kernel: 3, padding: 1}, name: a}\n"
     "  - {conv: {filters: 3, kernel: 1, activation: tanh}, name: b, from: [input]}\n"
     "  - {add: , from: [a, b, a]}\n  - dropout: {rate: 0.4}\n  - flatten\n  - dense: {units: 3}\n"
     "  - softmax\n",
     1e-5, 0},
    {"one output", "input: [6]\nlayers:\n  - dense: {units: 5, activation: sigmoid}\n  - dense: {units: 1}\n",
     1e-5, 0},
    {"kinks",
     "input: [2, 8, 7]\nlayers:\n  - conv: {filters: 6, kernel: 3, stride: 2, padding: 1, activation: relu}\n"
     "  - maxpool: {size: 2}\n  - conv: {filters: 4, kernel: 2, activation: relu}\n  - dense: {units: 5}\n",
     1e-5, 0.05},
    {"residual, batch norm", residual, 1e-5, 0.05},
    {"every layer", NULL, 2e-5, 0.2},
};

static double output_of(const struct rig *rig, int row, int64_t output)
{
    return ((const double *)rig->net->memory.store[STORE_OUTPUT])[row * rig->outputs + output];
}

static double difference(struct rig *rig, int row, int64_t i, int64_t output, float width)
{
    float *x = &net_input(rig->net)[row * rig->inputs + i], was = *x;
    double y[2];
    for (int side = 0; side < 2; side++) {
        *x = side ? was + width : was - width;
        explain(rig, row + 1, NULL);
        y[side] = output_of(rig, row, output);
    }
    *x = was;
    return (y[1] - y[0]) / (2 * (double)width);
}

/* Every value of row 1's input, for one of its outputs. */
static int check_output(struct rig *rig, const struct difference_case *t, int64_t output)
{
    enum { ROW = 1 };
    int32_t wanted[ROW + 1] = {0, (int32_t)output};
    int kinks = 0;
    double most = 1e-3;
    explain(rig, ROW + 1, wanted);
    float *mine = malloc((size_t)rig->inputs * sizeof *mine);
    assert_non_null(mine);
    memcpy(mine, rig->saliency + ROW * rig->inputs, (size_t)rig->inputs * sizeof *mine);
    for (int64_t i = 0; i < rig->inputs; i++)
        most = fmax(most, fabs((double)mine[i]));
    for (int64_t i = 0; i < rig->inputs; i++) {
        double x = (double)net_input(rig->net)[ROW * rig->inputs + i];
        double wide = x * difference(rig, ROW, i, output, 0x1p-11f);
        double narrow = x * difference(rig, ROW, i, output, 0x1p-13f);
        if (fabs(narrow - (double)mine[i]) <= t->tolerance * most)
            continue;
        if (!(fabs(wide - narrow) > 10 * t->tolerance * most))
            fail_msg("%s: output %lld by input %lld: saliency %.9g, differences %.9g", t->name,
                     (long long)output, (long long)i, (double)mine[i], narrow);
        kinks++;
    }
    free(mine);
    return kinks;
}

static void check_differences(const struct difference_case *t)
{
    struct graph *g = t->network ? graph_of(t->name, t->network) : graph_everything();
    struct rig rig;
    int kinks = 0;
    open_rig(&rig, g, "ref64", 1, 2);
    put_row(&rig, 0, 0);
    put_row(&rig, 1, 1);
    for (int64_t k = 0; k < rig.outputs; k++)
        kinks += check_output(&rig, t, k);
    if (!(kinks <= t->kinks * (double)(rig.outputs * rig.inputs)))
        fail_msg("%s: %d of %lld values met kinks", t->name, kinks, (long long)(rig.outputs * rig.inputs));
    close_rig(&rig);
    graph_free(&g);
}

static void saliency_equals_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof differences / sizeof *differences; i++)
        check_differences(&differences[i]);
}

/* ---- which output ---- */

static void the_largest_output_is_the_default(void **state)
{
    struct graph *g = graph_lenet();
    struct rig rig;
    enum { ROWS = 5 };
    int32_t top[ROWS], asked[ROWS] = {-1, -1, -1, -1, -1};
    (void)state;
    open_rig(&rig, g, "cpu", 1, ROWS);
    for (int i = 0; i < ROWS; i++)
        put_row(&rig, i, i);
    explain(&rig, ROWS, NULL);
    size_t size = (size_t)(ROWS * rig.inputs) * sizeof(float);
    float *first = malloc(size);
    assert_non_null(first);
    memcpy(first, rig.saliency, size);
    for (int i = 0; i < ROWS; i++) {
        const float *y = net_output(rig.net) + i * rig.outputs;
        top[i] = 0;
        for (int k = 1; k < rig.outputs; k++)
            top[i] = y[k] > y[top[i]] ? k : top[i];
    }
    explain(&rig, ROWS, asked);
    assert_memory_equal(first, rig.saliency, size);
    explain(&rig, ROWS, top);
    assert_memory_equal(first, rig.saliency, size);
    top[2] = (top[2] + 1) % (int32_t)rig.outputs;
    explain(&rig, ROWS, top);
    for (int i = 0; i < ROWS; i++) {
        size_t row = (size_t)rig.inputs * sizeof(float);
        int differs = memcmp(first + i * rig.inputs, rig.saliency + i * rig.inputs, row) != 0;
        assert_int_equal(differs, i == 2);
    }
    free(first);
    close_rig(&rig);
    graph_free(&g);
}

/* ---- backends ---- */

/* alive: not all zero, as where every function is met in turn and some are flat. */
static void compare_with_ref(const struct graph *g, const char *backend, int rows, bool alive)
{
    struct rig ref, cpu;
    int32_t wanted[65];
    double most = 0, d = 0;
    open_rig(&ref, g, "ref", 1, rows);
    open_rig(&cpu, g, backend, 2, rows);
    for (int i = 0; i < rows; i++) {
        put_row(&ref, i, i);
        put_row(&cpu, i, i);
        wanted[i] = (int32_t)(i % (ref.outputs + 1)) - 1;
    }
    explain(&ref, rows, wanted);
    explain(&cpu, rows, wanted);
    for (int64_t i = 0; i < rows * ref.inputs; i++) {
        double e = fabs((double)ref.saliency[i] - (double)cpu.saliency[i]);
        most = fmax(most, fabs((double)ref.saliency[i]));
        d = isnan(d) || e <= d ? d : e;
    }
    if (!(d <= 1e-4 * most) || (alive && !(most > 0)))
        fail_msg("%s on %s, %d rows: %.3g of %.3g", g->name, backend, rows, d, most);
    close_rig(&cpu);
    close_rig(&ref);
}

static void cpu_agrees_with_ref(void **state)
{
    static const int batches[] = {1, 7, 16, 17, 65};
    struct graph *graphs[] = {graph_lenet(), graph_of("residual", residual), graph_everything()};
    (void)state;
    for (int g = 0; g < 3; g++) {
        for (int b = 0; b < 5; b++) {
            compare_with_ref(graphs[g], "cpu", batches[b], g < 2);
            compare_with_ref(graphs[g], "cpu1", batches[b], g < 2);
        }
        graph_free(&graphs[g]);
    }
}

static void a_row_does_not_see_its_neighbours(void **state)
{
    enum { MOST = 70 };
    struct graph *g = graph_lenet();
    struct rig rig;
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        open_rig(&rig, g, "cpu", threads, MOST);
        float *alone = malloc((size_t)rig.inputs * sizeof *alone);
        assert_non_null(alone);
        put_row(&rig, 0, 0);
        explain(&rig, 1, NULL);
        memcpy(alone, rig.saliency, (size_t)rig.inputs * sizeof *alone);
        for (int place = 0; place < MOST; place += 3) {
            for (int i = 0; i < MOST; i++)
                put_row(&rig, i, i == place ? 0 : 1 + i + place);
            net_input(rig.net)[(place + 1) % MOST * rig.inputs] = NAN;
            explain(&rig, place < MOST - 3 ? MOST : place + 1, NULL);
            assert_memory_equal(alone, rig.saliency + place * rig.inputs, (size_t)rig.inputs * sizeof *alone);
        }
        free(alone);
        close_rig(&rig);
    }
    graph_free(&g);
}

/* ---- what it is not ---- */

static void explaining_computes_no_parameter_gradients(void **state)
{
    struct graph *g = graph_everything();
    struct rig rig;
    (void)state;
    open_rig(&rig, g, "cpu", 1, 4);
    const struct plan *p = &rig.net->infer;
    assert_int_equal(p->forward, p->count);
    for (int i = 0; i < p->count; i++)
        for (int k = 0; k < OP_OUT; k++)
            assert_int_not_equal(p->values[p->steps[i].out[k].id].store, STORE_GRADIENT);
    assert_int_equal(rig.net->train.count, 0);
    close_rig(&rig);
    graph_free(&g);
}

static void modes_and_outputs_are_checked(void **state)
{
    struct graph *g = graph_lenet();
    struct rig rig;
    struct net *infer = NULL;
    struct fail why;
    struct net_options o = {.mode = NET_INFER, .max_rows = 2, .seed = 1};
    int32_t wanted[2] = {-1, 10};
    (void)state;
    open_rig(&rig, g, "cpu", 1, 2);
    check(net_open(&infer, rig.be, g, &o, &why), &why, "infer");
    assert_int_equal(net_explain(infer, 1, NULL, rig.saliency, &why), -E_USAGE);
    assert_int_equal(net_forward(rig.net, 1, &why), -E_USAGE);
    assert_int_equal(net_explain(rig.net, 3, NULL, rig.saliency, &why), -E_USAGE);
    assert_int_equal(net_explain(rig.net, 2, wanted, rig.saliency, &why), -E_USAGE);
    assert_non_null(strstr(why.text, "row 1: output 10"));
    wanted[1] = -2;
    assert_int_equal(net_explain(rig.net, 2, wanted, rig.saliency, &why), -E_USAGE);
    assert_int_equal(net_explain(rig.net, 0, NULL, rig.saliency, &why), 0);
    net_close(&infer);
    close_rig(&rig);
    graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saliency_equals_differences),
        cmocka_unit_test(the_largest_output_is_the_default),
        cmocka_unit_test(cpu_agrees_with_ref),
        cmocka_unit_test(a_row_does_not_see_its_neighbours),
        cmocka_unit_test(explaining_computes_no_parameter_gradients),
        cmocka_unit_test(modes_and_outputs_are_checked),
    };
    return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
