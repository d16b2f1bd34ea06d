/* Same seed, same bits: for 1, 2, 3 and 4 threads, in training by every optimiser and in inference; ten steps or five,
 * state moved to a fresh net, five more; a row whatever its neighbours and place. And nothing is allocated while a
 * net runs. Networks with everything that makes order matter; layouts of one lane and of sixteen. */
#include "engine/loss.h"
#include "engine/net.h"
#include "engine/net_inside.h"
#include "engine/optim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/allocations.h"

/* LeNet's parts, small: groups, filters beyond one slice, branches, dropout. */
static const char parts[] = "input: [3, 12, 10]\nlayers:\n"
                            "  - conv: {filters: 6, kernel: 3, padding: 1, activation: relu}\n"
                            "  - maxpool: {size: 2}\n"
                            "  - {conv: {filters: 70, kernel: 3, groups: 2, activation: tanh}, name: wide}\n"
                            "  - dropout: {rate: 0.4}\n"
                            "  - conv: {filters: 70, kernel: 1}\n"
                            "  - {add: , from: [wide, conv3]}\n"
                            "  - avgpool: {size: 2}\n"
                            "  - dense: {units: 140, activation: sigmoid}\n"
                            "  - dense: {units: 10}\n";

/* Batch norm, strides, depthwise, a residual, convolutions wide enough for Winograd's. */
static const char normed[] = "input: [3, 12, 10]\nlayers:\n"
                             "  - conv: {filters: 16, kernel: 3, padding: 1, bias: false}\n"
                             "  - batchnorm: {activation: relu}\n"
                             "  - conv: {filters: 32, kernel: 3, padding: 1, stride: 2, bias: false}\n"
                             "  - {batchnorm: {activation: relu6}, name: low}\n"
                             "  - conv: {filters: 32, kernel: 3, padding: 1, groups: 32, bias: false}\n"
                             "  - batchnorm: {activation: hard_swish}\n"
                             "  - conv: {filters: 48, kernel: 3, padding: 1, bias: false}\n"
                             "  - {batchnorm: , name: high}\n"
                             "  - {conv: {filters: 48, kernel: 1}, from: [low], name: side}\n"
                             "  - {add: , from: [high, side]}\n"
                             "  - relu\n"
                             "  - conv: {filters: 48, kernel: 3, padding: 1, activation: relu}\n"
                             "  - global_avgpool\n"
                             "  - dropout: {rate: 0.3}\n"
                             "  - dense: {units: 10}\n";

enum { MOST_ROWS = 70, OUTPUTS = 10 };

/* backend: "cpu", at sixteen lanes, or "cpu1", at one. */
struct way {
    const char *backend, *network;
};

static const struct way ways[] = {{"cpu", parts}, {"cpu", normed}, {"cpu1", parts}, {"cpu1", normed}};

struct rig {
    struct graph *graph;
    struct backend *be;
    struct net *net;
    struct optimizer *opt;
};

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

/* The optimiser with everything that it keeps between steps. */
static struct optim_settings settings_of(const char *optimizer)
{
    struct optim_settings s = optim_defaults(optimizer);
    s.weight_decay_l1 = 0.0001;
    s.weight_decay_l2 = 0.0005;
    s.clip_norm = 0.5;
    s.momentum = optim_takes(optimizer, "momentum") ? 0.9 : 0;
    s.nesterov = optim_takes(optimizer, "nesterov");
    s.centered = optim_takes(optimizer, "centered");
    return s;
}

static void open_rig(struct rig *rig, const struct way *way, const char *optimizer, int threads, int max_rows)
{
    static const float weights[OUTPUTS] = {1, 2, 0.5f, 1, 1, 1, 3, 1, 1, 0.25f};
    struct fail why;
    struct net_options o = {.mode = NET_TRAIN, .max_rows = max_rows, .seed = 11};
    struct loss_settings loss = {.weights = weights,
                                 .weight_count = OUTPUTS,
                                 .label_smoothing = 0.1,
                                 .ignores = true,
                                 .ignored_label = 9};
    *rig = (struct rig){0};
    check(network_parse(&rig->graph, "rig.yaml", way->network, strlen(way->network), &why), &why);
    check(backend_open(&rig->be, way->backend, threads, &why), &why);
    check(net_open(&rig->net, rig->be, rig->graph, &o, &why), &why);
    check(net_set_loss(rig->net, loss_find("cross_entropy"), &loss, &why), &why);
    struct optim_settings s = settings_of(optimizer);
    check(optim_open(&rig->opt, rig->net, optimizer, &s, &why), &why);
}

/* For inference: the weights of `from`. */
static void open_inference(struct net **net, const struct rig *from, struct backend *be, int max_rows)
{
    struct fail why;
    check(net_save(from->net, from->graph, &why), &why);
    check(net_open(net, be, from->graph,
                   &(struct net_options){.mode = NET_INFER, .max_rows = max_rows, .seed = 1}, &why),
          &why);
}

static void close_rig(struct rig *rig)
{
    optim_close(&rig->opt);
    net_close(&rig->net);
    backend_close(&rig->be);
    graph_free(&rig->graph);
}

/* Row `row` of the data set goes to place `place` of the input. */
static void put_row(struct net *net, int place, int row)
{
    struct rng r = rng_seed(1000 + (uint64_t)row);
    float *x = net_input(net) + place * net_input_size(net);
    for (int64_t i = 0; i < net_input_size(net); i++)
        x[i] = (float)rng_normal(&r);
}

static void train_step(struct rig *rig, int rows, int step)
{
    struct fail why;
    struct loss_sum sum = {0};
    int32_t labels[MOST_ROWS];
    for (int i = 0; i < rows; i++) {
        put_row(rig->net, i, step * rows + i);
        labels[i] = (step * rows + i) % OUTPUTS;
    }
    struct target t = {.labels = labels};
    check(net_accumulate(rig->net, loss_find("cross_entropy"), rows, &t, step, 0, &sum, &why), &why);
    check(net_step(rig->net, rig->opt, 0.01, sum.weight, &why), &why);
}

static void *some(size_t count, size_t size)
{
    void *p = calloc(count, size);
    assert_non_null(p);
    return p;
}

/* All parameters and states, one behind another. */
static float *parameters(struct net *net, int64_t *size)
{
    struct fail why;
    *size = 0;
    for (int i = 0; i < net_param_count(net); i++)
        *size += shape_size(net_param_shape(net, i));
    float *all = some((size_t)*size, sizeof *all), *at = all;
    for (int i = 0; i < net_param_count(net); i++) {
        check(net_param_get(net, i, at, &why), &why);
        at += shape_size(net_param_shape(net, i));
    }
    for (int64_t i = 0; i < *size; i++)
        assert_true(isfinite(all[i]));
    return all;
}

static void assert_same_parameters(struct net *a, struct net *b, const char *what)
{
    int64_t n, m;
    float *x = parameters(a, &n), *y = parameters(b, &m);
    assert_int_equal(n, m);
    if (memcmp(x, y, (size_t)n * sizeof *x) != 0)
        fail_msg("%s: other bits", what);
    free(x);
    free(y);
}

static void any_number_of_threads_trains_the_same_bits(void **state)
{
    for (const struct optim_type *o = optim_types; o->name; o++) {
        struct rig one, untrained;
        char digest[2][65];
        open_rig(&one, *state, o->name, 1, MOST_ROWS);
        open_rig(&untrained, *state, o->name, 1, MOST_ROWS);
        for (int step = 0; step < 3; step++)
            train_step(&one, MOST_ROWS - step, step);
        net_digest(one.net, digest[0]);
        for (int threads = 2; threads <= 4; threads++) {
            struct rig many;
            open_rig(&many, *state, o->name, threads, MOST_ROWS);
            assert_same_parameters(untrained.net, many.net, "fresh");
            for (int step = 0; step < 3; step++)
                train_step(&many, MOST_ROWS - step, step);
            assert_same_parameters(one.net, many.net, o->name);
            net_digest(many.net, digest[1]);
            assert_string_equal(digest[0], digest[1]);
            close_rig(&many);
        }
        close_rig(&untrained);
        close_rig(&one);
    }
}

static void any_number_of_threads_answers_the_same_bits(void **state)
{
    static const int sizes[] = {1, 7, 16, 17, MOST_ROWS};
    struct rig rig;
    struct fail why;
    float first[MOST_ROWS * OUTPUTS];
    open_rig(&rig, *state, "sgd", 1, MOST_ROWS);
    train_step(&rig, MOST_ROWS, 0); /* running statistics of something */
    for (int threads = 1; threads <= 4; threads++) {
        struct backend *be = NULL;
        struct net *net = NULL;
        check(backend_open(&be, ((const struct way *)*state)->backend, threads, &why), &why);
        open_inference(&net, &rig, be, MOST_ROWS);
        for (int s = 0; s < 5; s++) {
            for (int i = 0; i < sizes[s]; i++)
                put_row(net, i, 100 + i);
            check(net_forward(net, sizes[s], &why), &why);
            if (threads == 1 && sizes[s] == 1)
                memcpy(first, net_output(net), OUTPUTS * sizeof *first);
            else if (threads == 1)
                assert_memory_equal(first, net_output(net), OUTPUTS * sizeof *first);
            if (threads == 1)
                memcpy(first, net_output(net), (size_t)sizes[s] * OUTPUTS * sizeof *first);
            else
                assert_memory_equal(first, net_output(net), (size_t)sizes[s] * OUTPUTS * sizeof *first);
        }
        net_close(&net);
        backend_close(&be);
    }
    close_rig(&rig);
}

/* Row 0 scored alone, then with others at every place of batches of several sizes. */
static void check_neighbours(struct net *net, int most)
{
    static const int batches[] = {2, 7, 16, 17, 33, MOST_ROWS};
    struct fail why;
    float alone[OUTPUTS];
    put_row(net, 0, 0);
    check(net_forward(net, 1, &why), &why);
    memcpy(alone, net_output(net), sizeof alone);
    for (int b = 0; b < 6 && batches[b] <= most; b++)
        for (int place = 0; place < batches[b]; place += 1 + place / 18 * 4) {
            for (int i = 0; i < batches[b]; i++)
                put_row(net, i, i == place ? 0 : 1 + i + place);
            /* a bad neighbour does not leak either */
            net_input(net)[(place + 1) % batches[b] * net_input_size(net)] = NAN;
            check(net_forward(net, batches[b], &why), &why);
            assert_memory_equal(alone, net_output(net) + place * OUTPUTS, sizeof alone);
        }
}

static void a_row_does_not_see_its_neighbours(void **state)
{
    struct rig rig;
    struct net *net = NULL;
    open_rig(&rig, *state, "sgd", 2, MOST_ROWS);
    train_step(&rig, MOST_ROWS, 0);
    check_neighbours(rig.net, MOST_ROWS);
    open_inference(&net, &rig, rig.be, MOST_ROWS);
    check_neighbours(net, MOST_ROWS);
    net_close(&net);
    open_inference(&net, &rig, rig.be, 7); /* so few that there is one lane */
    check_neighbours(net, 7);
    net_close(&net);
    close_rig(&rig);
}

/* Parameters, running statistics, moments and step count of one to the other. */
static void move_state(struct rig *from, struct rig *to)
{
    struct fail why;
    int64_t steps;
    float *moments = some((size_t)optim_state_size(from->opt), sizeof *moments);
    check(optim_state_get(from->opt, moments, &steps, &why), &why);
    assert_int_equal(steps, 5);
    assert_int_equal(optim_state_size(from->opt), optim_state_size(to->opt));
    check(optim_state_set(to->opt, moments, steps, &why), &why);
    for (int i = 0; i < net_param_count(from->net); i++) {
        float *w = some((size_t)shape_size(net_param_shape(from->net, i)), sizeof *w);
        check(net_param_get(from->net, i, w, &why), &why);
        check(net_param_set(to->net, i, w, &why), &why);
        free(w);
    }
    free(moments);
}

static void ten_steps_are_five_and_five(void **state)
{
    for (const struct optim_type *o = optim_types; o->name; o++) {
        struct rig whole, first, second;
        open_rig(&whole, *state, o->name, 2, 32);
        open_rig(&first, *state, o->name, 1, 32);
        open_rig(&second, *state, o->name, 3, 32);
        for (int step = 0; step < 10; step++)
            train_step(&whole, 32, step);
        for (int step = 0; step < 5; step++)
            train_step(&first, 32, step);
        move_state(&first, &second);
        for (int step = 5; step < 10; step++)
            train_step(&second, 32, step);
        assert_same_parameters(whole.net, second.net, o->name);
        assert_int_equal(optim_steps(second.opt), 10);
        close_rig(&whole);
        close_rig(&first);
        close_rig(&second);
    }
}

/* ---- allocations ---- */

static void nothing_is_allocated_while_running(void **state)
{
    (void)state;
#if COUNTS_ALLOCATIONS
    for (const struct optim_type *o = optim_types; o->name; o++) {
        struct rig rig;
        struct fail why;
        struct net *net = NULL;
        open_rig(&rig, *state, o->name, 2, 48);
        open_inference(&net, &rig, rig.be, 48);
        long before = 0;
        for (int i = 0; i < 2; i++) { /* OpenBLAS makes its buffers at first use */
            before = allocations_now();
            assert_true(before > 0);
            train_step(&rig, 48, i);
            check(net_forward(rig.net, 48, &why), &why);
            check(net_forward(net, 48, &why), &why);
        }
        assert_int_equal(allocations_now(), before);
        net_close(&net);
        close_rig(&rig);
    }
#else
    print_message("skipped: a sanitizer owns the allocator\n");
    skip();
#endif
}

/* The count itself must see an allocation of a kind that the engine makes. */
static void the_count_sees_allocations(void **state)
{
    (void)state;
#if COUNTS_ALLOCATIONS
    long before = allocations_now();
    struct graph *g = NULL;
    struct fail why;
    check(network_parse(&g, "rig.yaml", parts, strlen(parts), &why), &why);
    assert_true(allocations_now() > before);
    graph_free(&g);
#else
    skip();
#endif
}

#define EACH_WAY(test)                                                                                    \
    cmocka_unit_test_prestate(test, (void *)&ways[0]), cmocka_unit_test_prestate(test, (void *)&ways[1]), \
        cmocka_unit_test_prestate(test, (void *)&ways[2]), cmocka_unit_test_prestate(test, (void *)&ways[3])

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(any_number_of_threads_trains_the_same_bits),
        EACH_WAY(any_number_of_threads_answers_the_same_bits),
        EACH_WAY(a_row_does_not_see_its_neighbours),
        EACH_WAY(ten_steps_are_five_and_five),
        cmocka_unit_test(the_count_sees_allocations),
        EACH_WAY(nothing_is_allocated_while_running),
    };
    return cmocka_run_group_tests_name("determinism", tests, NULL, NULL);
}
