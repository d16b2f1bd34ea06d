/* A small data set, a small network and everything else that a run needs, for the tests of runs. Included by each of
 * them. Fixed seeds. */
#ifndef TESTS_WORKER_TRAIN_SMALL_RUN_H
#define TESTS_WORKER_TRAIN_SMALL_RUN_H

#include "engine/rng.h"
#include "worker/train/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 400, SIZE = 16 };

static const char network[] = "network: small\ninput: [1, 4, 4]\nlabels: 10\nlayers:\n"
                              "  - dense: {units: 24, activation: relu}\n  - dropout: {rate: 0.1}\n"
                              "  - dense: {units: 10}\n";

struct bench { /* everything that a run needs */
    struct backend *be;
    struct graph *graph;
    struct dataset *data;
    struct training_job job;
    struct job_settings settings;
};

static struct text_pair hyper[] = {
    {"epochs", "6"},     {"batch_size", "32"},          {"learning_rate", "0.2"},
    {"momentum", "0.9"}, {"weight_decay_l2", "0.0001"}, {"seed", "3"}};

static inline void bench_data(struct bench *b, uint64_t seed)
{
    static float pixels[ROWS][SIZE];
    static int32_t labels[ROWS];
    struct dataset_options o = {.validation_rate = b->job.validation_rate,
                                .test_rate = 0.1,
                                .ignores = b->settings.ignores,
                                .ignored_label = b->settings.ignored_label};
    struct rows rows = {
        .dtype = DTYPE_FP32, .row_shape = SHAPE(1, 4, 4), .count = ROWS, .row_size = sizeof pixels[0]};
    struct rng r = rng_seed(seed);
    struct fail why;
    for (int i = 0; i < ROWS; i++) {
        labels[i] = (int32_t)rng_below(&r, 10);
        for (int k = 0; k < SIZE; k++)
            pixels[i][k] = (float)rng_uniform(&r) + (k == labels[i] ? 1.5f : 0.0f);
    }
    rows.data = pixels;
    rows.labels = labels;
    dataset_free(&b->data);
    assert_int_equal(dataset_new(&b->data, &o, &why), 0);
    assert_int_equal(dataset_add_rows(b->data, &rows, "rows", &why), 0);
    assert_int_equal(dataset_finish(b->data, b->graph, loss_find("cross_entropy"), &why), 0);
}

static inline void bench_open(struct bench *b, const struct text_pair *more, int count)
{
    struct fail why = {0};
    *b = (struct bench){0};
    b->job = (struct training_job){.job_id = "j/1", /* not a file's name */
                                   .action = ACTION_TRAIN,
                                   .model = "m",
                                   .network = network,
                                   .validation_rate = 0.2,
                                   .loss = LOSS_CROSS_ENTROPY,
                                   .promote_metric = "val_accuracy"};
    struct text_pair all[24];
    int base = 6, used = 0;
    bool own = count && !strcmp(more[0].key, "optimizer"); /* sgd's momentum is nothing to another */
    for (int i = 0; i < base; i++)
        if (!own || strcmp(hyper[i].key, "momentum") != 0)
            all[used++] = hyper[i];
    for (int i = 0; i < count; i++)
        all[used++] = more[i];
    if (job_settings_parse(&b->settings, all, used, "test", &why))
        fail_msg("%s", why.text);
    assert_int_equal(job_network(&b->graph, network, &why), 0);
    assert_int_equal(backend_open(&b->be, "cpu", 1, &why), 0);
    bench_data(b, 11);
}

static inline void bench_close(struct bench *b)
{
    dataset_free(&b->data);
    graph_free(&b->graph);
    backend_close(&b->be);
}

static inline struct run *bench_run(struct bench *b)
{
    struct run *r = NULL;
    struct fail why = {0};
    if (run_open(&r, b->be, b->graph, b->data, &b->job, &b->settings, &why))
        fail_msg("run_open: %s", why.text);
    return r;
}

struct seen {
    int64_t sequence, stop_at; /* stop_at: the step behind which the run is left; 0: never */
    int64_t checkpoints;
    double first_loss, last_loss, val_accuracy;
};

static inline int on_metric(void *arg, struct loss_metric *m, struct fail *why)
{
    struct seen *s = arg;
    (void)why;
    assert_int_equal(m->sequence, ++s->sequence);
    assert_true(isfinite(m->loss));
    assert_true(m->step <= m->total_steps);
    if (m->sequence == 1)
        s->first_loss = m->loss;
    s->last_loss = m->loss;
    if (!isnan(m->val_accuracy))
        s->val_accuracy = m->val_accuracy;
    return 0;
}

static inline int on_checkpoint(void *arg, struct run *r, struct fail *why)
{
    (void)r, (void)why;
    ((struct seen *)arg)->checkpoints++;
    return 0;
}

static inline int on_step(void *arg, struct run *r, struct fail *why)
{
    const struct seen *s = arg;
    return s->stop_at && run_state(r)->step >= s->stop_at ? (fail)(why, E_INTERRUPTED, "left") : 0;
}

static inline struct run_watch watch_of(struct seen *s)
{
    return (struct run_watch){on_metric, on_checkpoint, on_step, s};
}

/* The bytes of the run's end; elapsed_s is the clock's. */
static inline char *run_end(struct run *r, size_t *size)
{
    void *bytes;
    struct fail why;
    run_state(r)->elapsed_s = 0;
    assert_int_equal(checkpoint_print(r, &bytes, size, &why), 0);
    return bytes;
}

#endif
