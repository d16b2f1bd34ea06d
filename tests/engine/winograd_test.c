/* Winograd beyond optest's comparisons: where the plan chooses it; bits of a row whatever its place, its neighbours
 * and how many blocks go together, a NaN among them; the same gradients for any number of threads. */
#include "engine/backend_ops.h"
#include "engine/cpu/lanes.h"
#include "engine/loss.h"
#include "engine/net.h" /* before cmocka.h, which makes a macro of fail */
#include "engine/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 65, INPUTS = 8 * 10 * 9, OUTPUTS = 5 };

static struct fail why;

static void check(int rc)
{
    if (rc)
        fail_msg("%s", why.text);
}

/* Odd maps: tiles that are cut on both sides; five taps and three; one conv of stride 2 that must stay direct. */
static const char network[] = "network: small\ninput: [8, 10, 9]\nlabels: 5\nlayers:\n"
                              "  - conv: {filters: 8, kernel: 5, padding: 2}\n"
                              "  - conv: {filters: 20, kernel: 3, padding: 1, activation: relu}\n"
                              "  - conv: {filters: 33, kernel: 3, activation: relu}\n"
                              "  - conv: {filters: 12, kernel: 3, stride: 2}\n"
                              "  - dense: {units: 5}\n";

struct rig {
    struct backend *be;
    struct graph *graph;
    struct net *net;
};

static struct rig open_rig(int threads, enum net_mode mode)
{
    struct rig r = {0};
    struct net_options o = {.mode = mode, .max_rows = ROWS, .seed = 9};
    check(backend_open(&r.be, "cpu", threads, &why));
    check(network_parse(&r.graph, "small.yaml", network, sizeof network - 1, &why));
    check(net_open(&r.net, r.be, r.graph, &o, &why));
    return r;
}

static void close_rig(struct rig *r)
{
    net_close(&r->net);
    backend_close(&r->be);
    graph_free(&r->graph);
}

static void put_row(struct net *net, int place, int row)
{
    struct rng r = rng_seed(2000 + (uint64_t)row);
    assert_int_equal(net_input_size(net), INPUTS);
    for (int i = 0; i < INPUTS; i++)
        net_input(net)[place * INPUTS + i] = (float)rng_normal(&r);
}

static int count(const char *text, const char *word)
{
    int n = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        n++;
    return n;
}

static void the_plan_chooses_it_where_it_has_the_form(void **state)
{
    struct rig r = open_rig(1, NET_TRAIN);
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    (void)state;
    assert_non_null(f);
    net_print_plan(r.net, f);
    fclose(f);
    assert_int_equal(count(text, " winograd "), 6); /* three layers, two plans */
    assert_int_equal(count(text, " winograd_dx "), 2);
    assert_int_equal(count(text, " winograd_dw "), 1); /* eight channels are half a vector */
    assert_int_equal(count(text, " conv_dw "), 3);
    assert_int_equal(count(text, " conv "), 2);
    free(text);
    close_rig(&r);
}

static void a_row_has_its_bits_wherever_it_is(void **state)
{
    struct rig r = open_rig(2, NET_INFER);
    float alone[OUTPUTS];
    (void)state;
    put_row(r.net, 0, 7);
    check(net_forward(r.net, 1, &why));
    memcpy(alone, net_output(r.net), sizeof alone);
    for (int i = 0; i < OUTPUTS; i++)
        assert_true(isfinite(alone[i]) && alone[i] != 0);
    for (int place = 0; place < ROWS; place += 13) {
        for (int i = 0; i < ROWS; i++)
            put_row(r.net, i, i == place ? 7 : 100 + i);
        for (int i = 0; i < ROWS; i++) /* neighbours that spoil what they touch */
            if (i != place && i % 3 == 0)
                net_input(r.net)[i * INPUTS + 40] = i % 2 ? NAN : -INFINITY;
        check(net_forward(r.net, ROWS, &why));
        assert_memory_equal(net_output(r.net) + place * OUTPUTS, alone, sizeof alone);
        assert_false(isfinite(net_output(r.net)[(place ? 0 : 3) * OUTPUTS])); /* they did come through */
    }
    close_rig(&r);
}

static void accumulate(struct net *net)
{
    int32_t labels[ROWS];
    struct loss_sum sum = {0};
    struct target t = {.labels = labels};
    for (int i = 0; i < ROWS; i++) {
        put_row(net, i, i);
        labels[i] = i % OUTPUTS;
    }
    check(net_accumulate(net, loss_find("cross_entropy"), ROWS, &t, 0, 0, &sum, &why));
}

static void gradients_have_their_bits_for_any_number_of_threads(void **state)
{
    struct rig one = open_rig(1, NET_TRAIN);
    (void)state;
    accumulate(one.net);
    for (int threads = 2; threads <= 4; threads++) {
        struct rig many = open_rig(threads, NET_TRAIN);
        accumulate(many.net);
        for (int i = 0; i < net_param_count(one.net); i++) {
            size_t n = (size_t)shape_size(net_param_shape(one.net, i));
            float *a = calloc(n, sizeof *a), *b = calloc(n, sizeof *b);
            assert_true(a && b);
            check(net_gradient_get(one.net, i, a, &why));
            check(net_gradient_get(many.net, i, b, &why));
            assert_true(a[0] != 0 && isfinite(a[0]));
            assert_memory_equal(a, b, n * sizeof *a);
            free(a);
            free(b);
        }
        close_rig(&many);
    }
    close_rig(&one);
}

/* ---- blocks together or one by one: straight from the table, at sizes with several chunks ---- */

static float *drawn(size_t n, uint64_t seed)
{
    struct rng r = rng_seed(seed);
    float *v = aligned_alloc(64, (n * sizeof *v + 63) / 64 * 64);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        v[i] = (float)rng_normal(&r);
    return v;
}

static void items_have_their_bits_together_or_one_by_one(void **state)
{
    enum { C = 150, K = 130, H = 6, W = 5, BLOCKS = 3 };
    static const struct kernel *const tables[] = {lanes_avx512_kernels, lanes_avx2_kernels,
                                                  lanes_sse2_kernels};
    const bool here[] = {__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"),
                         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), true};
    const struct geometry g = {.window = {C, H, W, K, 3, 3, H, W, 1, 1, 1, 1, 1, 1, 1, 1, 1, false, false}};
    const size_t image = (size_t)H * W * LANES;
    float *x = drawn(BLOCKS * C * image, 1), *w = drawn(K * C * 9, 2),
          *together = drawn(BLOCKS * K * image, 3), *apart = drawn(BLOCKS * K * image, 4);
    (void)state;
    for (int i = 0; i < 3; i++) {
        const struct kernel *k = &tables[i][OP_WINOGRAD];
        if (!here[i])
            continue;
        float *scratch = drawn(k->scratch(&g) / sizeof(float) + 16, 5);
        struct call c = {.out = {together}, .in = {x, w}, .g = &g, .rows = BLOCKS * LANES, .row = K * H * W};
        k->run(&c, 0, k->items(&c), scratch);
        c.out[0] = apart;
        for (int64_t n = k->items(&c) - 1; n >= 0; n--)
            k->run(&c, n, n + 1, scratch);
        assert_memory_equal(together, apart, BLOCKS * K * image * sizeof *apart);
        free(scratch);
    }
    free(x);
    free(w);
    free(together);
    free(apart);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_chooses_it_where_it_has_the_form),
        cmocka_unit_test(a_row_has_its_bits_wherever_it_is),
        cmocka_unit_test(gradients_have_their_bits_for_any_number_of_threads),
        cmocka_unit_test(items_have_their_bits_together_or_one_by_one),
    };
    return cmocka_run_group_tests_name("winograd", tests, NULL, NULL);
}
