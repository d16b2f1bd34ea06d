/* A net that takes rows of bytes gives the bits of one that takes the floats they stand for: inference and training, at
 * one lane and at sixteen, whatever the number of rows. */
#include "engine/loss.h"
#include "engine/net.h"
#include "engine/normalise.h"
#include "engine/optim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const char network[] = "input: [3, 9, 7]\nlayers:\n"
                              "  - conv: {filters: 6, kernel: 3, padding: 1, activation: relu}\n"
                              "  - maxpool: {size: 2}\n"
                              "  - dense: {units: 5}\n";

enum { MOST_ROWS = 70, ROW = 3 * 9 * 7, OUTPUTS = 5 };

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

struct pair { /* the same network twice */
    struct graph *graph;
    struct backend *be;
    struct normalise normalise;
    struct net *floats, *bytes;
};

static void open_pair(struct pair *p, const char *backend, enum net_mode mode, int threads)
{
    static const float mean[] = {0.1f, 0.4f, 0.5f}, std[] = {0.3f, 0.25f, 0.2f};
    struct net_options o = {.mode = mode, .max_rows = MOST_ROWS, .seed = 3};
    struct fail why;
    *p = (struct pair){0};
    check(network_parse(&p->graph, "pair.yaml", network, sizeof network - 1, &why), &why);
    check(backend_open(&p->be, backend, threads, &why), &why);
    check(normalise_make(&p->normalise, p->graph->input, mean, std, 3, &why), &why);
    check(net_open(&p->floats, p->be, p->graph, &o, &why), &why);
    o.bytes = &p->normalise;
    check(net_open(&p->bytes, p->be, p->graph, &o, &why), &why);
    assert_non_null(net_input(p->floats));
    assert_null(net_input_bytes(p->floats));
    assert_null(net_input(p->bytes));
    assert_non_null(net_input_bytes(p->bytes));
}

static void close_pair(struct pair *p)
{
    net_close(&p->floats);
    net_close(&p->bytes);
    backend_close(&p->be);
    graph_free(&p->graph);
}

static void put_rows(struct pair *p, int rows, uint64_t seed)
{
    struct rng r = rng_seed(seed);
    unsigned char *x = net_input_bytes(p->bytes);
    for (int i = 0; i < rows * ROW; i++)
        x[i] = (unsigned char)rng_below(&r, 256);
    for (int i = 0; i < rows; i++)
        assert_int_equal(
            normalise_row(&p->normalise, DTYPE_UINT8, x + i * ROW, net_input(p->floats) + i * ROW), 0);
}

static void inference_gives_the_same_bits(void **state)
{
    static const int batches[] = {1, 15, 16, 17, 64, MOST_ROWS};
    for (int threads = 1; threads <= 3; threads++) {
        struct pair p;
        struct fail why;
        open_pair(&p, *state, NET_INFER, threads);
        for (int i = 0; i < 6; i++) {
            put_rows(&p, batches[i], 20 + (uint64_t)i);
            check(net_forward(p.floats, batches[i], &why), &why);
            check(net_forward(p.bytes, batches[i], &why), &why);
            assert_memory_equal(net_output(p.floats), net_output(p.bytes),
                                sizeof(float) * OUTPUTS * (size_t)batches[i]);
        }
        close_pair(&p);
    }
}

static void training_gives_the_same_bits(void **state)
{
    static int32_t labels[MOST_ROWS];
    static float a[ROW * 64], b[ROW * 64];
    struct net *nets[2];
    struct pair p;
    struct fail why;
    open_pair(&p, *state, NET_TRAIN, 2);
    nets[0] = p.floats;
    nets[1] = p.bytes;
    for (int i = 0; i < MOST_ROWS; i++)
        labels[i] = i % OUTPUTS;
    struct target t = {.labels = labels};
    for (int k = 0; k < 2; k++) {
        struct optimizer *opt = NULL;
        struct optim_settings s = {.momentum = 0.9};
        check(optim_open(&opt, nets[k], "sgd", &s, &why), &why);
        for (int step = 0; step < 4; step++) {
            int rows = step % 2 ? MOST_ROWS : 23;
            struct loss_sum sum = {0};
            put_rows(&p, rows, 40 + (uint64_t)step);
            check(net_accumulate(nets[k], loss_find("cross_entropy"), rows, &t, step, 0, &sum, &why), &why);
            check(net_step(nets[k], opt, 0.05, sum.weight, &why), &why);
        }
        optim_close(&opt);
    }
    for (int i = 0; i < net_param_count(p.floats); i++) {
        size_t size = (size_t)shape_size(net_param_shape(p.floats, i));
        assert_true(size <= sizeof a / sizeof *a);
        check(net_param_get(p.floats, i, a, &why), &why);
        check(net_param_get(p.bytes, i, b, &why), &why);
        assert_memory_equal(a, b, size * sizeof *a);
    }
    close_pair(&p);
}

static void what_does_not_fit_is_refused(void **state)
{
    struct pair p;
    struct fail why;
    struct net *net = NULL;
    struct net_options o = {.mode = NET_EXPLAIN, .max_rows = 8, .seed = 3};
    open_pair(&p, *state, NET_INFER, 1);
    o.bytes = &p.normalise;
    assert_int_equal(net_open(&net, p.be, p.graph, &o, &why), -E_USAGE);
    assert_non_null(strstr(why.text, "explains"));
    o.mode = NET_INFER;
    p.normalise.plane++;
    assert_int_equal(net_open(&net, p.be, p.graph, &o, &why), -E_USAGE);
    assert_non_null(strstr(why.text, "3 x 64 values a row, the network takes 189"));
    assert_null(net);
    close_pair(&p);
}

#define ON(test, backend)                                 \
    {                                                     \
#test " (" backend ")", test, NULL, NULL, backend \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(inference_gives_the_same_bits, "cpu"), ON(inference_gives_the_same_bits, "cpu1"),
        ON(inference_gives_the_same_bits, "ref"), ON(training_gives_the_same_bits, "cpu"),
        ON(training_gives_the_same_bits, "cpu1"), ON(training_gives_the_same_bits, "ref"),
        ON(what_does_not_fit_is_refused, "cpu"),
    };
    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
