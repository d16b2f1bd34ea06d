/* Segments of a plan: steps that take different numbers of rows at a time give the reference's numbers for every
 * row of several shards, the last one not full, and values within a segment take the room of one turn. */
#include "engine/net_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 150, SEED = 42 };

/* The branch `a` lives from a segment of few rows into one of many. */
static const char network[] = "input: [3, 12, 12]\nlayers:\n"
                              "  - {conv: {filters: 8, kernel: 3, padding: 1, activation: relu}, name: a}\n"
                              "  - {conv: {filters: 8, kernel: 3, padding: 1}, name: b}\n"
                              "  - {add: , from: [a, b]}\n"
                              "  - maxpool: {size: 2}\n"
                              "  - {dense: {units: 400, activation: tanh}, name: d}\n"
                              "  - {dense: {units: 288}, name: e}\n"
                              "  - {dense: {units: 400}, name: f}\n"
                              "  - {add: , from: [d, f]}\n"
                              "  - dense: {units: 5}\n";

/* Inverted residuals: with a sum behind, at stride 2, without a projection, and one whose expansion is read twice. */
static const char mobile[] =
    "input: [3, 20, 18]\nlayers:\n"
    "  - {conv: {filters: 8, kernel: 3, padding: 1, stride: 2, activation: relu6}, name: stem}\n"
    "  - {conv: {filters: 8, kernel: 3, padding: 1, groups: 8, activation: relu6}}\n"
    "  - {conv: {filters: 6, kernel: 1}, name: narrow}\n"
    "  - {conv: {filters: 20, kernel: 1, activation: relu6}}\n"
    "  - {conv: {filters: 20, kernel: 3, padding: 1, groups: 20, activation: relu6}}\n"
    "  - {conv: {filters: 6, kernel: 1}, name: wide}\n"
    "  - {add: , from: [wide, narrow]}\n"
    "  - {conv: {filters: 13, kernel: 1, activation: relu}}\n"
    "  - {conv: {filters: 13, kernel: 5, padding: 2, stride: 2, groups: 13}, name: last}\n"
    "  - {avgpool: {size: 2}}\n"
    "  - {conv: {filters: 9, kernel: 1, activation: relu}, name: twice}\n"
    "  - {conv: {filters: 9, kernel: 3, padding: 1, groups: 9}, name: once}\n"
    "  - {add: , from: [twice, once]}\n"
    "  - dense: {units: 5}\n";

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

struct rig {
    struct backend *be;
    struct graph *graph;
    struct net *net;
};

static void open_rig(struct rig *rig, const char *text, const char *backend, int threads)
{
    struct net_options o = {.mode = NET_INFER, .max_rows = ROWS, .seed = SEED};
    struct fail why;
    check(network_parse(&rig->graph, "plan.yaml", text, strlen(text), &why), &why);
    check(backend_open(&rig->be, backend, threads, &why), &why);
    check(net_open(&rig->net, rig->be, rig->graph, &o, &why), &why);
    struct rng r = rng_seed(SEED);
    for (int64_t i = 0; i < ROWS * net_input_size(rig->net); i++)
        net_input(rig->net)[i] = (float)rng_normal(&r);
    check(net_forward(rig->net, ROWS, &why), &why);
}

static void close_rig(struct rig *rig)
{
    net_close(&rig->net);
    backend_close(&rig->be);
    graph_free(&rig->graph);
}

static int segments(const struct plan *p)
{
    int n = 0;
    for (int i = 0; i < p->count; i = plan_segment_end(p, i, p->count))
        n++;
    return n;
}

static void check_agreement(const char *text, int threads)
{
    struct rig ref = {0}, cpu = {0};
    float most = 0;
    open_rig(&ref, text, "ref", 1);
    open_rig(&cpu, text, "cpu", threads);
    assert_int_equal(cpu.net->infer.lanes, 16);
    for (int64_t i = 0; i < ROWS * net_output_size(ref.net); i++)
        most = fmaxf(most, fabsf(net_output(ref.net)[i]));
    assert_true(most > 0);
    for (int64_t i = 0; i < ROWS * net_output_size(ref.net); i++)
        if (!(fabsf(net_output(ref.net)[i] - net_output(cpu.net)[i]) <= 1e-5f * most))
            fail_msg("output %lld: %g, expected %g", (long long)i, (double)net_output(cpu.net)[i],
                     (double)net_output(ref.net)[i]);
    close_rig(&ref);
    close_rig(&cpu);
}

static void rows_of_all_shards_agree_with_the_reference(void **state)
{
    check_agreement(network, *(const int *)*state);
    check_agreement(mobile, *(const int *)*state);
}

static void steps_fall_into_segments(void **state)
{
    struct rig cpu = {0};
    (void)state;
    open_rig(&cpu, network, "cpu", 1);
    assert_true(segments(&cpu.net->infer) >= 2);
    close_rig(&cpu);
}

static int steps_of(const struct plan *p, enum op op)
{
    int n = 0;
    for (int i = 0; i < p->count; i++)
        n += p->steps[i].op == op;
    return n;
}

/* Stem, depthwise, projection; then the two blocks behind. What reads an expansion beside keeps it apart. */
static void inverted_residuals_are_one_step(void **state)
{
    struct rig cpu = {0};
    (void)state;
    open_rig(&cpu, mobile, "cpu", 1);
    assert_int_equal(steps_of(&cpu.net->infer, OP_INVERTED), 3);
    assert_int_equal(steps_of(&cpu.net->infer, OP_CONV), 2);
    close_rig(&cpu);
    open_rig(&cpu, mobile, "ref", 1); /* which joins nothing */
    assert_int_equal(steps_of(&cpu.net->infer, OP_INVERTED), 0);
    assert_int_equal(steps_of(&cpu.net->infer, OP_CONV), 10);
    close_rig(&cpu);
}

static void a_segment_takes_the_room_of_one_turn(void **state)
{
    struct rig cpu = {0};
    int64_t image = 8 * 12 * 12;
    (void)state;
    open_rig(&cpu, network, "cpu", 1);
    /* a, b and their sum for sixteen rows, not for a shard of 64 */
    assert_true(cpu.net->infer.activations < 64 * image * 2);
    close_rig(&cpu);
}

int main(void)
{
    static int one = 1, three = 3;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(rows_of_all_shards_agree_with_the_reference, &one),
        cmocka_unit_test_prestate(rows_of_all_shards_agree_with_the_reference, &three),
        cmocka_unit_test(steps_fall_into_segments),
        cmocka_unit_test(inverted_residuals_are_one_step),
        cmocka_unit_test(a_segment_takes_the_room_of_one_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
