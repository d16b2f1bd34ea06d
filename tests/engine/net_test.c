/* What net.h promises: micro-batches that sum to the whole, evaluation that is inference, saved weights, errors in
 * words. That bits repeat: determinism_test.c. */
#include "engine/loss.h"
#include "engine/net.h"
#include "engine/optim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* LeNet's parts, small, with what makes order matter: dropout, groups, filters beyond one slice, branches. */
static const char network[] =
    "input: [3, 12, 10]\nlayers:\n"
    "  - conv: {filters: 6, kernel: 3, padding: 1, activation: relu}\n"
    "  - maxpool: {size: 2}\n"
    "  - {conv: {filters: 70, kernel: 3, groups: 2, activation: tanh}, name: wide}\n"
    "  - dropout: {rate: 0.4}\n"
    "  - conv: {filters: 70, kernel: 1}\n"
    "  - {add: , from: [wide, conv3]}\n"
    "  - avgpool: {size: 2}\n"
    "  - dense: {units: 140, activation: sigmoid}\n"
    "  - dense: {units: 10}\n";

enum { MOST_ROWS = 70, OUTPUTS = 10 };

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

/* backend: "cpu", at sixteen lanes, or "cpu1", at one. Tests get it as their state. */
static void open_rig(struct rig *rig, const char *backend, int threads, int max_rows)
{
    struct fail why;
    struct net_options o = {.mode = NET_TRAIN, .max_rows = max_rows, .seed = 11};
    *rig = (struct rig){0};
    check(network_parse(&rig->graph, "rig.yaml", network, sizeof network - 1, &why), &why);
    check(backend_open(&rig->be, backend, threads, &why), &why);
    check(net_open(&rig->net, rig->be, rig->graph, &o, &why), &why);
    struct optim_settings s = {.momentum = 0.9, .weight_decay_l1 = 0.0001, .weight_decay_l2 = 0.0005};
    check(optim_open(&rig->opt, rig->net, "sgd", &s, &why), &why);
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

static double train_step(struct rig *rig, int rows, int step)
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
    check(net_step(rig->net, rig->opt, 0.05, sum.weight, &why), &why);
    return sum.loss;
}

static void *some(size_t count, size_t size)
{
    void *p = calloc(count, size);
    assert_non_null(p);
    return p;
}

/* All parameters, one behind another. */
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
    return all;
}

static void assert_same_parameters(struct net *a, struct net *b)
{
    int64_t n, m;
    float *x = parameters(a, &n), *y = parameters(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
}

/* The mask follows the row in the optimiser's step, so micro-batches see the masks of the whole. */
static void micro_batches_sum_to_the_whole(void **state)
{
    struct rig whole, parts;
    struct fail why;
    int32_t labels[32];
    struct loss_sum a = {0}, b = {0};
    open_rig(&whole, *state, 1, 32);
    open_rig(&parts, *state, 1, 32);
    for (int i = 0; i < 32; i++) {
        labels[i] = i % OUTPUTS;
        put_row(whole.net, i, i);
    }
    struct target t = {.labels = labels};
    check(net_accumulate(whole.net, loss_find("cross_entropy"), 32, &t, 0, 0, &a, &why), &why);
    for (int from = 0; from < 32; from += 8) {
        for (int i = 0; i < 8; i++)
            put_row(parts.net, i, from + i);
        t.labels = labels + from;
        check(net_accumulate(parts.net, loss_find("cross_entropy"), 8, &t, 0, from, &b, &why), &why);
    }
    assert_true(fabs(a.loss - b.loss) <= 1e-9 * a.loss); /* the same rows, added in the same order */
    assert_true(a.weight == 32 && b.weight == 32);
    for (int i = 0; i < net_param_count(whole.net); i++) {
        int64_t n = shape_size(net_param_shape(whole.net, i));
        float *x = some((size_t)n, sizeof *x), *y = some((size_t)n, sizeof *y);
        double most = 0, d = 0;
        check(net_gradient_get(whole.net, i, x, &why), &why);
        check(net_gradient_get(parts.net, i, y, &why), &why);
        for (int64_t k = 0; k < n; k++) {
            most = fmax(most, fabs((double)x[k]));
            d = fmax(d, fabs((double)x[k] - (double)y[k]));
        }
        assert_true(most > 0);
        assert_true(d <= 1e-5 * most);
        free(x);
        free(y);
    }
    close_rig(&whole);
    close_rig(&parts);
}

/* Evaluation has no dropout: it gives the loss of net_forward's outputs. */
static void evaluation_is_inference(void **state)
{
    struct rig rig;
    struct fail why;
    int32_t labels[4] = {1, 2, 3, 4};
    struct target t = {.labels = labels};
    struct loss_sum sum = {0};
    float out[4 * OUTPUTS];
    open_rig(&rig, *state, 1, 4);
    for (int i = 0; i < 4; i++)
        put_row(rig.net, i, i);
    check(net_forward(rig.net, 4, &why), &why);
    memcpy(out, net_output(rig.net), sizeof out);
    check(net_evaluate(rig.net, loss_find("cross_entropy"), 4, &t, &sum, &why), &why);
    assert_memory_equal(out, net_output(rig.net), sizeof out);
    double loss = 0;
    int64_t correct = 0;
    for (int i = 0; i < 4; i++) {
        double total = 0;
        int best = 0;
        for (int k = 0; k < OUTPUTS; k++) {
            total += exp((double)out[i * OUTPUTS + k]);
            best = out[i * OUTPUTS + k] > out[i * OUTPUTS + best] ? k : best;
        }
        loss += log(total) - (double)out[i * OUTPUTS + labels[i]];
        correct += best == labels[i];
    }
    assert_true(fabs(loss - sum.loss) <= 1e-5 * loss);
    assert_int_equal(sum.correct, correct);
    close_rig(&rig);
}

static void saved_weights_open_the_same_net(void **state)
{
    struct rig rig;
    struct fail why;
    struct net *again = NULL;
    struct net_options o = {.mode = NET_INFER, .max_rows = 8, .seed = 999};
    float out[3 * OUTPUTS];
    open_rig(&rig, *state, 1, 32);
    train_step(&rig, 32, 0);
    check(net_save(rig.net, rig.graph, &why), &why);
    check(net_open(&again, rig.be, rig.graph, &o, &why), &why);
    assert_same_parameters(rig.net, again);
    for (int i = 0; i < 3; i++) {
        put_row(rig.net, i, i);
        put_row(again, i, i);
    }
    check(net_forward(rig.net, 3, &why), &why);
    memcpy(out, net_output(rig.net), sizeof out);
    check(net_forward(again, 3, &why), &why);
    assert_memory_equal(out, net_output(again), sizeof out);
    net_close(&again);
    close_rig(&rig);
}

static void expect(int rc, enum fail_code code, const struct fail *why, const char *words)
{
    assert_int_equal(rc, -(int)code);
    if (!strstr(why->text, words))
        fail_msg("\"%s\" does not say \"%s\"", why->text, words);
}

static void mistakes_are_named(void **state)
{
    struct rig rig;
    struct fail why;
    struct net *net = NULL;
    struct optimizer *opt = NULL;
    int32_t labels[4] = {1, 2, 10, 4};
    float targets[4 * OUTPUTS] = {0};
    struct loss_sum sum = {0};
    const struct loss_type *loss = loss_find("cross_entropy");
    (void)state;
    open_rig(&rig, "cpu", 1, 4);
    expect(net_open(&net, rig.be, rig.graph,
                    &(struct net_options){.mode = NET_INFER, .max_rows = 0, .seed = 1}, &why),
           E_USAGE, &why, "1..65536");
    expect(net_forward(rig.net, 5, &why), E_USAGE, &why, "0..4");
    check(net_forward(rig.net, 0, &why), &why);
    expect(net_evaluate(rig.net, loss, 4, &(struct target){.labels = labels}, &sum, &why), E_JOB, &why,
           "row 2 has label 10");
    labels[2] = -1;
    expect(net_evaluate(rig.net, loss, 4, &(struct target){.labels = labels}, &sum, &why), E_JOB, &why,
           "label -1");
    expect(net_evaluate(rig.net, loss, 4, &(struct target){labels, targets}, &sum, &why), E_USAGE, &why,
           "either");
    expect(optim_open(&opt, rig.net, "lion", &(struct optim_settings){0}, &why), E_JOB, &why, "sgd");
    expect(optim_open(&opt, rig.net, "sgd", &(struct optim_settings){.momentum = 2}, &why), E_JOB, &why,
           "momentum");
    expect(net_step(rig.net, rig.opt, 0.1, 0, &why), E_JOB, &why, "weight 0");
    assert_null(loss_find("hinge"));
    assert_true(net_memory(rig.net) > 0);
    close_rig(&rig);
}

static void a_probability_before_a_loss_of_logits_is_an_error(void **state)
{
    static const char *const ends[] = {"  - softmax\n", "  - sigmoid\n",
                                       "  - dense: {units: 3, activation: sigmoid}\n"};
    struct fail why;
    struct backend *be = NULL;
    (void)state;
    check(backend_open(&be, "ref", 1, &why), &why);
    for (int i = 0; i < 3; i++) {
        char text[256];
        struct graph *g = NULL;
        struct net *net = NULL;
        struct loss_sum sum = {0};
        int32_t label = 0;
        struct target t = {.labels = &label};
        snprintf(text, sizeof text, "input: [4]\nlayers:\n  - dense: {units: 3}\n%s", ends[i]);
        check(network_parse(&g, "ends.yaml", text, strlen(text), &why), &why);
        check(net_open(&net, be, g, &(struct net_options){.mode = NET_TRAIN, .max_rows = 1, .seed = 1}, &why),
              &why);
        expect(net_accumulate(net, loss_find("cross_entropy"), 1, &t, 0, 0, &sum, &why), E_JOB, &why,
               "logits");
        expect(net_accumulate(net, loss_find("log_loss"), 1, &t, 0, 0, &sum, &why), E_JOB, &why, "logits");
        check(net_accumulate(net, loss_find("mse"), 1, &t, 0, 0, &sum, &why), &why);
        net_close(&net);
        graph_free(&g);
    }
    backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(micro_batches_sum_to_the_whole, "cpu"),
        cmocka_unit_test_prestate(micro_batches_sum_to_the_whole, "cpu1"),
        cmocka_unit_test_prestate(evaluation_is_inference, "cpu"),
        cmocka_unit_test_prestate(evaluation_is_inference, "cpu1"),
        cmocka_unit_test_prestate(saved_weights_open_the_same_net, "cpu"),
        cmocka_unit_test_prestate(saved_weights_open_the_same_net, "cpu1"),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_probability_before_a_loss_of_logits_is_an_error),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
