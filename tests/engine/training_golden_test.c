/* Losses with their settings, optimisers over twenty steps and learning rates against PyTorch, on ref and on cpu at one
 * lane and at sixteen. Answers: tests/golden/training.safetensors, written by make_training_goldens.py beside it under
 * the names that stand here. The tables of losses and optimisers are walked: one without a case fails. */
#include "engine/loss_type.h"
#include "engine/net_inside.h"
#include "engine/optim.h"
#include "engine/schedule.h"
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

enum { ROWS = 6, INPUTS = 8, STEPS = 20, NAME = 120 };

static const char path[] = "tests/golden/training.safetensors";
static const int32_t labels[ROWS] = {0, 3, 1, 3, 2, 0}, binary[ROWS] = {1, 0, 0, 1, 1, 0};
static const float class_weights[4] = {1, 0.25f, 3, 0.5f}, three = 3;

struct rig {
    struct golden answers;
    struct backend *be;
    struct graph *graph;
    struct net *net;
};

static void open_net(struct rig *r, const char *network, float scale)
{
    struct fail why;
    golden_check(network_parse(&r->graph, "rig", network, strlen(network), &why), &why, network);
    golden_check(net_open(&r->net, r->be, r->graph,
                          &(struct net_options){.mode = NET_TRAIN, .max_rows = ROWS, .seed = 1}, &why),
                 &why, network);
    golden_weights(r->net);
    golden_values(100, ROWS * INPUTS, scale, net_input(r->net));
}

static void close_net(struct rig *r)
{
    net_close(&r->net);
    graph_free(&r->graph);
}

/* Parameters (or, divided, gradients) beside "<name>/<what>.<parameter>". */
static void compare_params(struct rig *r, const char *name, const char *what, double divided,
                           double tolerance)
{
    float v[256];
    struct fail why;
    char key[NAME];
    for (int i = 0; i < net_param_count(r->net); i++) {
        int64_t n = shape_size(net_param_shape(r->net, i));
        assert_true(n <= 256);
        golden_check(divided > 0 ? net_gradient_get(r->net, i, v, &why) : net_param_get(r->net, i, v, &why),
                     &why, name);
        for (int64_t k = 0; divided > 0 && k < n; k++)
            v[k] = (float)((double)v[k] / divided);
        snprintf(key, sizeof key, "%s/%s.%s", name, what, net_param_name(r->net, i));
        golden_compare(&r->answers, key, v, n, tolerance);
    }
}

/* ---- losses ---- */

enum against { LABELS, BINARY, PART, SHARE };

static const struct {
    const char *name, *loss;
    enum against against;
    float scale; /* of the input; 0: 4 */
    struct loss_settings settings;
} losses[] = {
    {"cross entropy", "cross_entropy", LABELS, 0, {.ignores = false}},
    {"cross entropy, far", "cross_entropy", LABELS, 400, {.ignores = false}},
    {"cross entropy, class weights",
     "cross_entropy",
     LABELS,
     0,
     {.weights = class_weights, .weight_count = 4}},
    {"cross entropy, smooth", "cross_entropy", LABELS, 0, {.label_smoothing = 0.2}},
    {"cross entropy, class weights, smooth",
     "cross_entropy",
     LABELS,
     0,
     {.weights = class_weights, .weight_count = 4, .label_smoothing = 0.2}},
    {"cross entropy, ignored", "cross_entropy", LABELS, 0, {.ignores = true, .ignored_label = 3}},
    {"cross entropy, ignored, class weights, smooth",
     "cross_entropy",
     LABELS,
     0,
     {.weights = class_weights,
      .weight_count = 4,
      .label_smoothing = 0.2,
      .ignores = true,
      .ignored_label = 3}},
    {"cross entropy, targets", "cross_entropy", SHARE, 0, {.ignores = false}},
    {"cross entropy, targets, class weights, smooth",
     "cross_entropy",
     SHARE,
     0,
     {.weights = class_weights, .weight_count = 4, .label_smoothing = 0.2}},
    {"mse", "mse", PART, 0, {.ignores = false}},
    {"log loss", "log_loss", BINARY, 0, {.ignores = false}},
    {"log loss, far", "log_loss", BINARY, 100, {.ignores = false}},
    {"log loss, positive weight", "log_loss", BINARY, 0, {.weights = &three, .weight_count = 1}},
    {"log loss, several labels", "log_loss", PART, 0, {.ignores = false}},
    {"log loss, several labels, positive weights",
     "log_loss",
     PART,
     0,
     {.weights = class_weights, .weight_count = 4}},
};
enum { LOSSES = sizeof losses / sizeof *losses };

static struct target target_of(enum against against, float targets[ROWS * 4])
{
    golden_values(102, ROWS * 4, 1, targets);
    for (int i = 0; i < ROWS; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++)
            sum += targets[i * 4 + k] += 0.5f;
        for (int k = 0; against == SHARE && k < 4; k++)
            targets[i * 4 + k] /= sum;
    }
    if (against == LABELS || against == BINARY)
        return (struct target){.labels = against == LABELS ? labels : binary};
    return (struct target){.targets = targets};
}

static void losses_agree_with_pytorch(void **state)
{
    struct rig r = {0};
    struct fail why;
    float targets[ROWS * 4];
    golden_open(&r.answers, path);
    golden_check(backend_open(&r.be, golden_backend(*state), 1, &why), &why, *state);
    for (int i = 0; i < LOSSES; i++) {
        const struct loss_type *loss = loss_find(losses[i].loss);
        const char *name = losses[i].name, *network = losses[i].against == BINARY
                                                          ? "input: [8]\nlayers:\n  - dense: {units: 1}\n"
                                                          : "input: [8]\nlayers:\n  - dense: {units: 4}\n";
        struct target t = target_of(losses[i].against, targets);
        struct loss_sum sum = {0};
        char key[NAME];
        open_net(&r, network, losses[i].scale > 0 ? losses[i].scale : 4);
        golden_check(net_set_loss(r.net, loss, &losses[i].settings, &why), &why, name);
        golden_check(net_accumulate(r.net, loss, ROWS, &t, 0, 0, &sum, &why), &why, name);
        assert_int_equal(sum.counted, losses[i].settings.ignores ? 4 : ROWS);
        float mean = (float)(sum.loss / sum.weight);
        snprintf(key, sizeof key, "%s/loss", name);
        golden_compare(&r.answers, key, &mean, 1, 2e-6);
        compare_params(&r, name, "gradient", sum.weight, 2e-6);
        close_net(&r);
    }
    backend_close(&r.be);
    golden_close(&r.answers);
}

/* ---- optimisers ---- */

static const struct {
    const char *name, *optimizer;
    double lr;
    struct optim_settings settings;
} optimisers[] = {
    {"sgd", "sgd", 0.1, {.momentum = 0}},
    {"sgd, momentum, decay", "sgd", 0.05, {.momentum = 0.9, .weight_decay_l2 = 0.03}},
    {"sgd, nesterov, clipped",
     "sgd",
     0.05,
     {.momentum = 0.9, .nesterov = true, .weight_decay_l2 = 0.01, .clip_norm = 0.25}},
    {"adam", "adam", 0.02, {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8}},
    {"adam, decay, clipped",
     "adam",
     0.02,
     {.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-4, .weight_decay_l2 = 0.05, .clip_norm = 0.25}},
    {"adamw", "adamw", 0.02, {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay_l2 = 0.1}},
    {"rmsprop", "rmsprop", 0.01, {.alpha = 0.99, .epsilon = 1e-8}},
    {"rmsprop, momentum, decay",
     "rmsprop",
     0.005,
     {.alpha = 0.9, .epsilon = 1e-6, .weight_decay_l2 = 0.05, .momentum = 0.8}},
    {"rmsprop, centered",
     "rmsprop",
     0.005,
     {.alpha = 0.9, .epsilon = 1e-3, .centered = true, .momentum = 0.5}},
    {"adagrad", "adagrad", 0.1, {.epsilon = 1e-10}},
    {"adagrad, decay", "adagrad", 0.1, {.epsilon = 1e-10, .weight_decay_l2 = 0.05}},
};
enum { OPTIMISERS = sizeof optimisers / sizeof *optimisers };

static void optimisers_agree_with_pytorch(void **state)
{
    struct rig r = {0};
    struct fail why;
    struct target t = {.labels = labels};
    golden_open(&r.answers, path);
    golden_check(backend_open(&r.be, golden_backend(*state), 1, &why), &why, *state);
    for (int i = 0; i < OPTIMISERS; i++) {
        const char *name = optimisers[i].name;
        struct optimizer *opt = NULL;
        float means[STEPS];
        char key[NAME];
        open_net(&r, "input: [8]\nlayers:\n  - dense: {units: 5, activation: tanh}\n  - dense: {units: 4}\n",
                 2);
        golden_check(optim_open(&opt, r.net, optimisers[i].optimizer, &optimisers[i].settings, &why), &why,
                     name);
        for (int step = 0; step < STEPS; step++) {
            struct loss_sum sum = {0};
            golden_check(net_accumulate(r.net, loss_find("cross_entropy"), ROWS, &t, step, 0, &sum, &why),
                         &why, name);
            means[step] = (float)(sum.loss / sum.weight);
            golden_check(net_step(r.net, opt, optimisers[i].lr, sum.weight, &why), &why, name);
        }
        snprintf(key, sizeof key, "%s/losses", name);
        golden_compare(&r.answers, key, means, STEPS, 1e-5);
        compare_params(&r, name, "after", 0, 1e-5);
        optim_close(&opt);
        close_net(&r);
    }
    backend_close(&r.be);
    golden_close(&r.answers);
}

/* ---- learning rates ---- */

static const struct {
    const char *name;
    int total;
    enum schedule_kind kind;
    int warmup;
    double start, a, b, c; /* of a warm-up; the numbers of the kind */
} schedules[] = {
    {"step", 40, SCHEDULE_STEP, 0, 1, 7, 0.3, 0},
    {"cosine", 40, SCHEDULE_COSINE, 0, 1, 0.05, 0, 0},
    {"one_cycle", 40, SCHEDULE_ONE_CYCLE, 0, 1, 0.3, 25, 1e4},
    {"one_cycle, early", 100, SCHEDULE_ONE_CYCLE, 0, 1, 0.1, 10, 100},
    {"constant after warm-up", 40, SCHEDULE_CONSTANT, 10, 0.1, 0, 0, 0},
    {"step after warm-up", 40, SCHEDULE_STEP, 5, 0.25, 7, 0.3, 0},
    {"cosine after warm-up", 40, SCHEDULE_COSINE, 8, 0.01, 0, 0, 0},
};

static void rates_agree_with_pytorch(void **state)
{
    struct golden g;
    struct fail why;
    (void)state;
    golden_open(&g, path);
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
        struct schedule s = schedule_constant(0.5);
        float rates[100];
        char key[NAME];
        s.kind = schedules[i].kind;
        s.warmup_steps = schedules[i].warmup;
        s.warmup_start = schedules[i].start;
        s.step_size = (int64_t)schedules[i].a;
        s.gamma = schedules[i].b;
        s.least = s.pct_start = schedules[i].a;
        s.div_factor = schedules[i].b;
        s.final_div_factor = schedules[i].c;
        golden_check(schedule_check(&s, &why), &why, schedules[i].name);
        for (int step = 0; step < schedules[i].total; step++)
            rates[step] = (float)schedule_rate(&s, step, schedules[i].total);
        snprintf(key, sizeof key, "%s/rates", schedules[i].name);
        golden_compare(&g, key, rates, schedules[i].total, 1e-6);
    }
    golden_close(&g);
}

static void every_loss_and_optimiser_has_a_case(void **state)
{
    (void)state;
    for (const struct loss_type *l = loss_types; l->name; l++) {
        bool found = false;
        for (int i = 0; i < LOSSES; i++)
            found = found || !strcmp(losses[i].loss, l->name);
        if (!found)
            fail_msg("no golden for %s", l->name);
    }
    for (const struct optim_type *o = optim_types; o->name; o++) {
        bool found = false;
        for (int i = 0; i < OPTIMISERS; i++)
            found = found || !strcmp(optimisers[i].optimizer, o->name);
        if (!found)
            fail_msg("no golden for %s", o->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_loss_and_optimiser_has_a_case),
        cmocka_unit_test_prestate(losses_agree_with_pytorch, "ref"),
        cmocka_unit_test_prestate(losses_agree_with_pytorch, "cpu"),
        cmocka_unit_test_prestate(losses_agree_with_pytorch, "cpu1"),
        cmocka_unit_test_prestate(optimisers_agree_with_pytorch, "ref"),
        cmocka_unit_test_prestate(optimisers_agree_with_pytorch, "cpu"),
        cmocka_unit_test_prestate(optimisers_agree_with_pytorch, "cpu1"),
        cmocka_unit_test(rates_agree_with_pytorch),
    };
    return cmocka_run_group_tests_name("goldens of training", tests, NULL, NULL);
}
