/* Batch norm beyond optest's comparisons: lanes without a row count nowhere and come out as zeros, statistics far
 * from zero, running statistics, the same bits for any number of threads, resuming, and what the plan joins. */
#include "engine/backend_ops.h" /* before cmocka.h, which makes a macro of fail */
#include "engine/loss.h"
#include "engine/net.h"
#include "engine/net_inside.h"
#include "engine/optim.h"
#include "engine/rng.h"
#include "tests/engine/lane_sets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

/* ---- kernels ---- */

enum { C = 5, INNER = 23, ROWS = 17, BLOCKS = 2, VALUES = BLOCKS * LANES * C * INNER };

/* Where row r's value i of channel k lies in lanes, and in rows. */
static int in_lanes(int r, int k, int i)
{
    return ((r / LANES * C + k) * INNER + i) * LANES + r % LANES;
}

static int in_rows(int r, int k, int i)
{
    return (r * C + k) * INNER + i;
}

struct tensors {
    float x[VALUES], dy[VALUES], y[VALUES], dx[VALUES];
    float w[C], b[C], mean[C], var[C], stats[2 * C], dw[C], db[C];
};

/* Both layouts of the same numbers; NaN in the lanes that have no row. */
static void fill(struct tensors *lanes, struct tensors *rows)
{
    struct rng r = rng_seed(71);
    for (int i = 0; i < VALUES; i++)
        lanes->x[i] = lanes->dy[i] = lanes->y[i] = lanes->dx[i] = NAN;
    for (int n = 0; n < ROWS; n++)
        for (int k = 0; k < C; k++)
            for (int i = 0; i < INNER; i++) {
                rows->x[in_rows(n, k, i)] = lanes->x[in_lanes(n, k, i)] = (float)rng_normal(&r) * 3 + 1;
                rows->dy[in_rows(n, k, i)] = lanes->dy[in_lanes(n, k, i)] = (float)rng_normal(&r);
            }
    for (int k = 0; k < C; k++) {
        rows->w[k] = lanes->w[k] = (float)rng_normal(&r);
        rows->b[k] = lanes->b[k] = (float)rng_normal(&r);
        rows->mean[k] = lanes->mean[k] = rows->var[k] = lanes->var[k] = 1;
        rows->dw[k] = lanes->dw[k] = rows->db[k] = lanes->db[k] = 0.5f;
    }
}

static void run_both(const struct kernel *kernels, struct tensors *t, const struct geometry *g)
{
    struct call train = {.out = {t->y, t->stats, t->mean, t->var},
                         .in = {t->x, t->w, t->b},
                         .g = g,
                         .row = C * INNER,
                         .rows = ROWS};
    struct call back = {.out = {t->dx, t->dw, t->db},
                        .in = {t->dy, t->x, t->w, t->b, t->stats},
                        .g = g,
                        .row = C * INNER,
                        .rows = ROWS};
    for (int64_t item = C - 1; item >= 0; item--) /* in any order */
        kernels[OP_NORM_TRAIN].run(&train, item, item + 1, NULL);
    for (int64_t item = 0; item < C; item++)
        kernels[OP_NORM_BACK].run(&back, item, item + 1, NULL);
}

static void near_each(const char *set, const char *what, const float *a, const float *b, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, fabs((double)b[i]));
    for (int i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= 2e-6 * most))
            fail_msg("%s: %s[%d] is %.9g, ref %.9g", set, what, i, (double)a[i], (double)b[i]);
}

static void lanes_without_a_row_count_nowhere(void **state)
{
    struct geometry g = {.norm = {C, INNER, 1e-5, 0.1}, .map = {.fn = MAP_RELU}};
    struct lanes sets[3];
    struct backend *ref = NULL;
    struct fail why;
    struct tensors *lanes = calloc(2, sizeof *lanes), *rows = lanes + 1;
    (void)state;
    assert_non_null(lanes);
    check(backend_open(&ref, "ref", 1, &why), &why);
    for (int s = 0, n = lane_sets(sets); s < n; s++) {
        fill(lanes, rows);
        run_both(sets[s].kernels, lanes, &g);
        run_both(ref->ops->kernels, rows, &g);
        for (int r = 0; r < BLOCKS * LANES; r++)
            for (int k = 0; k < C; k++)
                for (int i = 0; i < INNER; i++) {
                    float *y = &lanes->y[in_lanes(r, k, i)], *dx = &lanes->dx[in_lanes(r, k, i)];
                    if (r >= ROWS && (*y != 0 || *dx != 0)) /* NaN too */
                        fail_msg("%s: row %d has y %g and dx %g", sets[s].name, r, (double)*y, (double)*dx);
                    if (r < ROWS && !(fabs((double)(*y - rows->y[in_rows(r, k, i)])) <= 1e-5))
                        fail_msg("%s: row %d: y %.9g, ref %.9g", sets[s].name, r, (double)*y,
                                 (double)rows->y[in_rows(r, k, i)]);
                    if (r < ROWS && !(fabs((double)(*dx - rows->dx[in_rows(r, k, i)])) <= 1e-5))
                        fail_msg("%s: row %d: dx %.9g, ref %.9g", sets[s].name, r, (double)*dx,
                                 (double)rows->dx[in_rows(r, k, i)]);
                }
        near_each(sets[s].name, "stats", lanes->stats, rows->stats, 2 * C);
        near_each(sets[s].name, "running mean", lanes->mean, rows->mean, C);
        near_each(sets[s].name, "running variance", lanes->var, rows->var, C);
        near_each(sets[s].name, "dw", lanes->dw, rows->dw, C);
        near_each(sets[s].name, "db", lanes->db, rows->db, C);
    }
    backend_close(&ref);
    free(lanes);
}

/* Values of 10000 +- 1: a sum of squares in float would have no digit of the variance left. */
static void variance_survives_a_large_mean(void **state)
{
    struct geometry g = {.norm = {C, INNER, 1e-5, 1}};
    struct lanes sets[3];
    struct tensors *t = calloc(2, sizeof *t);
    (void)state;
    assert_non_null(t);
    for (int s = 0, n = lane_sets(sets); s < n; s++) {
        fill(t, t + 1);
        for (int k = 0; k < C; k++) {
            double sum = 0, squares = 0;
            for (int r = 0; r < ROWS; r++)
                for (int i = 0; i < INNER; i++) {
                    float *x = &t->x[in_lanes(r, k, i)];
                    *x = 10000 + *x / 4;
                    sum += (double)*x;
                    squares += (double)*x * (double)*x;
                }
            double m = ROWS * INNER, variance = (squares - sum * sum / m) / (m - 1);
            run_both(sets[s].kernels, t, &g);
            assert_true(fabs((double)t->mean[k] - sum / m) <= 1e-3);
            if (!(fabs((double)t->var[k] - variance) <= 1e-5 * variance))
                fail_msg("%s: variance %.9g, expected %.9g", sets[s].name, (double)t->var[k], variance);
        }
    }
    free(t);
}

/* ---- nets ---- */

static const char network[] = "input: [3, 9, 8]\nlayers:\n"
                              "  - {conv: {filters: 20, kernel: 3, padding: 1, bias: false}, name: a}\n"
                              "  - {batchnorm: {activation: relu}, name: an}\n"
                              "  - {conv: {filters: 20, kernel: 3, padding: 1, bias: false}, name: b}\n"
                              "  - {batchnorm: {momentum: 0.3}, name: bn}\n"
                              "  - {add: {}, from: [bn, an]}\n"
                              "  - relu\n"
                              "  - {conv: {filters: 30, kernel: 1}, name: c}\n"
                              "  - {batchnorm: {activation: relu6}, name: cn}\n"
                              "  - global_avgpool\n"
                              "  - dense: {units: 10}\n";

struct rig {
    struct graph *graph;
    struct backend *be;
    struct net *net;
    struct optimizer *opt;
};

enum { MOST_ROWS = 40 };

static void open_rig(struct rig *rig, const char *backend, int threads)
{
    struct fail why;
    struct optim_settings o = {.momentum = 0.9};
    *rig = (struct rig){0};
    check(network_parse(&rig->graph, "rig.yaml", network, sizeof network - 1, &why), &why);
    check(backend_open(&rig->be, backend, threads, &why), &why);
    check(net_open(&rig->net, rig->be, rig->graph,
                   &(struct net_options){.mode = NET_TRAIN, .max_rows = MOST_ROWS, .seed = 11}, &why),
          &why);
    check(optim_open(&rig->opt, rig->net, "sgd", &o, &why), &why);
}

static void close_rig(struct rig *rig)
{
    optim_close(&rig->opt);
    net_close(&rig->net);
    backend_close(&rig->be);
    graph_free(&rig->graph);
}

static double train_step(struct rig *rig, int rows, int step)
{
    struct fail why;
    struct loss_sum sum = {0};
    int32_t labels[MOST_ROWS];
    struct rng r = rng_seed(rng_hash(3, (uint64_t)step, 0, 0));
    for (int64_t i = 0; i < rows * net_input_size(rig->net); i++)
        net_input(rig->net)[i] = (float)rng_normal(&r);
    for (int i = 0; i < rows; i++)
        labels[i] = (int32_t)rng_below(&r, 10);
    struct target t = {.labels = labels};
    check(net_accumulate(rig->net, loss_find("cross_entropy"), rows, &t, step, 0, &sum, &why), &why);
    check(net_step(rig->net, rig->opt, 0.05, sum.weight, &why), &why);
    return sum.loss;
}

/* Parameters and running statistics. */
static void assert_same(struct net *a, struct net *b)
{
    struct fail why;
    assert_int_equal(net_param_count(a), net_param_count(b));
    for (int i = 0; i < net_param_count(a); i++) {
        size_t n = (size_t)shape_size(net_param_shape(a, i));
        float *x = calloc(2 * n, sizeof *x);
        assert_non_null(x);
        check(net_param_get(a, i, x, &why), &why);
        check(net_param_get(b, i, x + n, &why), &why);
        assert_memory_equal(x, x + n, n * sizeof *x);
        free(x);
    }
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    struct rig one;
    open_rig(&one, *state, 1);
    for (int step = 0; step < 4; step++)
        train_step(&one, MOST_ROWS - step, step);
    for (int threads = 2; threads <= 4; threads++) {
        struct rig many;
        open_rig(&many, *state, threads);
        for (int step = 0; step < 4; step++)
            train_step(&many, MOST_ROWS - step, step);
        assert_same(one.net, many.net);
        close_rig(&many);
    }
    close_rig(&one);
}

/* Running statistics are part of what a checkpoint holds. */
static void ten_steps_are_five_and_five(void **state)
{
    struct rig whole, first, second;
    struct fail why;
    int64_t steps;
    open_rig(&whole, *state, 2);
    open_rig(&first, *state, 1);
    open_rig(&second, *state, 3);
    for (int step = 0; step < 10; step++)
        train_step(&whole, 33, step);
    for (int step = 0; step < 5; step++)
        train_step(&first, 33, step);
    float *moments = calloc((size_t)optim_state_size(first.opt), sizeof *moments);
    assert_non_null(moments);
    check(optim_state_get(first.opt, moments, &steps, &why), &why);
    check(optim_state_set(second.opt, moments, steps, &why), &why);
    free(moments);
    for (int i = 0; i < net_param_count(first.net); i++) {
        float *w = calloc((size_t)shape_size(net_param_shape(first.net, i)), sizeof *w);
        assert_non_null(w);
        check(net_param_get(first.net, i, w, &why), &why);
        check(net_param_set(second.net, i, w, &why), &why);
        free(w);
    }
    for (int step = 5; step < 10; step++)
        train_step(&second, 33, step);
    assert_same(whole.net, second.net);
    close_rig(&whole);
    close_rig(&first);
    close_rig(&second);
}

/* Batch norm with residual and relu is one step each way, and nothing is copied for the shortcut. */
static void plans_are_joined(void **state)
{
    struct rig rig;
    int count[OPS] = {0};
    (void)state;
    open_rig(&rig, "cpu", 1);
    for (int i = 0; i < rig.net->train.count; i++)
        count[rig.net->train.steps[i].op]++;
    assert_int_equal(count[OP_NORM_TRAIN], 3);
    assert_int_equal(count[OP_NORM_BACK], 3);
    assert_int_equal(count[OP_MAP], 0);
    assert_int_equal(count[OP_MAP_BACK], 1); /* behind the sum, whose gradient two want */
    assert_int_equal(count[OP_COPY], 0);
    close_rig(&rig);
}

/* The joined net of backend cpu and the one of ref take the same steps. */
static void backends_train_alike(void **state)
{
    static const char *const backends[] = {"cpu", "cpu1"};
    struct rig ref;
    double losses[5];
    (void)state;
    open_rig(&ref, "ref", 1);
    for (int step = 0; step < 5; step++)
        losses[step] = train_step(&ref, 17, step);
    for (int b = 0; b < 2; b++) {
        struct rig rig;
        open_rig(&rig, backends[b], 2);
        for (int step = 0; step < 5; step++) {
            double loss = train_step(&rig, 17, step);
            if (!(fabs(loss - losses[step]) <= 1e-4 * losses[step]))
                fail_msg("%s: step %d: loss %.9g, ref %.9g", backends[b], step, loss, losses[step]);
        }
        close_rig(&rig);
    }
    close_rig(&ref);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_without_a_row_count_nowhere),
        cmocka_unit_test(variance_survives_a_large_mean),
        cmocka_unit_test_prestate(any_number_of_threads_gives_the_same_bits, "cpu"),
        cmocka_unit_test_prestate(any_number_of_threads_gives_the_same_bits, "cpu1"),
        cmocka_unit_test_prestate(ten_steps_are_five_and_five, "cpu"),
        cmocka_unit_test_prestate(ten_steps_are_five_and_five, "cpu1"),
        cmocka_unit_test(plans_are_joined),
        cmocka_unit_test(backends_train_alike),
    };
    return cmocka_run_group_tests_name("batch norm", tests, NULL, NULL);
}
