/* The digits are hard enough and not too hard: on held-out rows a linear classifier stays far behind LeNet, with the
 * engine's own training. Small, so that it takes seconds; the demo trains on five times as many rows. */
#include "worker/data/draw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/loss.h"
#include "engine/net.h"
#include "engine/optim.h"
#include "engine/rng.h"

#include <cmocka.h>

enum { TRAIN = 4000, HELD_OUT = 1000, ROWS = TRAIN + HELD_OUT, EPOCHS = 6, BATCH = 64, PIXELS = 3 * 32 * 32 };

static const char linear_yaml[] = "network: linear\ninput: [3, 32, 32]\nlabels: 10\nlayers:\n"
                                  "  - dense: {units: 10}\n";

struct set {
    float *pixels; /* 0 .. 1 */
    int32_t labels[ROWS];
};

static int make_set(void **state)
{
    struct fail why = {0};
    struct set *s = calloc(1, sizeof *s);
    uint8_t *bytes = malloc((size_t)ROWS * PIXELS);
    if (!s || !bytes || !(s->pixels = malloc((size_t)ROWS * PIXELS * sizeof(float))))
        return -1;
    int rc = draw_rows(draw_find("digits"), SHAPE(3, 32, 32), 1, 0, ROWS, bytes, s->labels, &why);
    for (int i = 0; rc == 0 && i < ROWS * PIXELS; i++)
        s->pixels[i] = (float)bytes[i] / 255.0f;
    free(bytes);
    *state = s;
    return rc;
}

static int free_set(void **state)
{
    struct set *s = *state;
    free(s->pixels);
    free(s);
    return 0;
}

#define DO(call)                      \
    do {                              \
        struct fail why = {0};        \
        if (call)                     \
            fail_msg("%s", why.text); \
    } while (0)

static void fill(struct net *net, const struct set *s, const uint32_t *index, int n, int32_t *labels)
{
    for (int i = 0; i < n; i++) {
        memcpy(net_input(net) + (size_t)i * PIXELS, s->pixels + (size_t)index[i] * PIXELS,
               PIXELS * sizeof(float));
        labels[i] = s->labels[index[i]];
    }
}

static double held_out_accuracy(struct net *net, const struct set *s)
{
    struct loss_sum sum = {0};
    for (int at = TRAIN; at < ROWS; at += BATCH) {
        uint32_t index[BATCH];
        int32_t labels[BATCH];
        int n = ROWS - at < BATCH ? ROWS - at : BATCH;
        for (int i = 0; i < n; i++)
            index[i] = (uint32_t)(at + i);
        fill(net, s, index, n, labels);
        struct target t = {.labels = labels};
        DO(net_evaluate(net, loss_find("cross_entropy"), n, &t, &sum, &why));
    }
    return (double)sum.correct / HELD_OUT;
}

static void train_epoch(struct net *net, struct optimizer *opt, const struct set *s, double rate, int epoch,
                        int64_t *step)
{
    static uint32_t index[TRAIN];
    struct rng r = rng_seed(100 + (uint64_t)epoch);
    for (uint32_t i = 0; i < TRAIN; i++)
        index[i] = i;
    rng_shuffle(&r, index, TRAIN);
    for (int at = 0; at < TRAIN; at += BATCH) {
        int32_t labels[BATCH];
        struct loss_sum sum = {0};
        int n = TRAIN - at < BATCH ? TRAIN - at : BATCH;
        fill(net, s, index + at, n, labels);
        struct target t = {.labels = labels};
        DO(net_accumulate(net, loss_find("cross_entropy"), n, &t, ++*step, 0, &sum, &why));
        DO(net_step(net, opt, rate, sum.weight, &why));
    }
}

static double train(struct graph *g, const struct set *s, double rate)
{
    struct backend *be = NULL;
    struct net *net = NULL;
    struct optimizer *opt = NULL;
    struct net_options o = {.mode = NET_TRAIN, .max_rows = BATCH, .seed = 1};
    struct optim_settings sgd = {.momentum = 0.9};
    int64_t step = 0;
    DO(backend_open(&be, "cpu", 1, &why));
    DO(net_open(&net, be, g, &o, &why));
    DO(optim_open(&opt, net, "sgd", &sgd, &why));
    for (int e = 0; e < EPOCHS; e++)
        train_epoch(net, opt, s, rate, e, &step);
    double accuracy = held_out_accuracy(net, s);
    optim_close(&opt);
    net_close(&net);
    backend_close(&be);
    graph_free(&g);
    return accuracy;
}

static void lenet_leaves_a_linear_classifier_behind(void **state)
{
    struct graph *g = NULL;
    DO(network_parse(&g, "linear", linear_yaml, sizeof linear_yaml - 1, &why));
    double linear = train(g, *state, 0.005);
    DO(graph_read(&g, "config/lenet.yaml", &why));
    double lenet = train(g, *state, 0.02);
    print_message("held out, %d rows trained %d times: linear %.3f, lenet %.3f\n", TRAIN, EPOCHS, linear,
                  lenet);
    assert_true(linear > 0.25 && linear < 0.90); /* it does learn; chance is 0.1 */
    assert_true(lenet > 0.90 && lenet > linear + 0.15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet_leaves_a_linear_classifier_behind),
    };
    return cmocka_run_group_tests(tests, make_set, free_set);
}
