/* LeNet trained by us and by PyTorch (Debian's python3-torch) on the same digits, from the same weights, in the same order: the losses of
 * the first 100 steps, and the accuracy after five epochs. torch_lenet.py knows of us what the documents say. Skipped where PyTorch is not
 * there.
 *
 * Both add up floats in orders of their own. That alone is some 1e-7 of a loss, until a maximum or a relu is so near a tie that it falls on
 * the other side: from there on the weights differ, and differences grow with the rate of learning, between PyTorch and itself on another
 * machine too. So the losses of many steps are compared at a low rate, and at a high one the first few and where it leads. */
#include "tests/lib/process.h"
#include "worker/data/draw.h"
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

#define PYTHON "/usr/bin/python3" /* the distribution's, which has python3-torch */

enum { ROWS = 12000, SIZE = 3 * 32 * 32, STEPS_MOST = 1000 };

/* A training, and how far apart the two may be. */
struct way {
    const char *rate, *epochs, *seed;
    int first; /* losses of so many steps ... */
    double loss_apart, accuracy_apart;
};

static const struct way slowly = {"0.0005", "1", "2", 100, 1e-3, 1},
                        in_earnest = {"0.02", "5", "2", 5, 1e-5, 0.005};

struct told {
    int steps;
    double loss[STEPS_MOST];
};

static int hear(void *arg, struct loss_metric *m, struct fail *why)
{
    struct told *t = arg;
    (void)why;
    if (isnan(m->loss))
        return 0;
    assert_int_equal(m->step, t->steps + 1); /* a record a step: its loss is that step's */
    assert_true(t->steps < STEPS_MOST);
    t->loss[t->steps++] = m->loss;
    return 0;
}

struct ours {
    struct backend *be;
    struct graph *graph;
    struct dataset *data;
    struct run *run;
    struct training_job job;
    struct job_settings settings;
};

static struct text_pair hyper[] = {{"learning_rate", ""}, {"epochs", ""},      {"seed", ""},
                                   {"batch_size", "64"},  {"momentum", "0.9"}, {"metrics_every", "1"},
                                   {"mean", "0.5"},       {"std", "0.5"},      {"lr_schedule", "cosine"}};
enum { HYPER = sizeof hyper / sizeof *hyper };

static void rows_make(struct ours *o)
{
    static uint8_t pixels[ROWS][SIZE];
    static int32_t labels[ROWS];
    struct rows rows = {.dtype = DTYPE_UINT8,
                        .row_shape = SHAPE(3, 32, 32),
                        .count = ROWS,
                        .row_size = SIZE,
                        .data = pixels,
                        .labels = labels};
    struct dataset_options options = {.validation_rate = o->job.validation_rate};
    struct fail why = {0};
    assert_int_equal(draw_rows(draw_find("digits"), SHAPE(3, 32, 32), 5, 0, ROWS, pixels[0], labels, &why),
                     0);
    assert_int_equal(rows_write(&rows, test_path("rows.npz"), &why), 0);
    assert_int_equal(dataset_new(&o->data, &options, &why), 0);
    assert_int_equal(dataset_add_rows(o->data, &rows, "digits", &why), 0);
    assert_int_equal(dataset_finish(o->data, o->graph, loss_find("cross_entropy"), &why), 0);
}

static void ours_open(struct ours *o)
{
    struct fail why = {0};
    void *bytes = NULL;
    size_t size = 0;
    o->job = (struct training_job){.job_id = "torch",
                                   .action = ACTION_TRAIN,
                                   .model = "lenet",
                                   .network = "lenet",
                                   .validation_rate = 0.25,
                                   .loss = LOSS_CROSS_ENTROPY,
                                   .promote_metric = "val_accuracy"};
    assert_int_equal(job_settings_parse(&o->settings, hyper, HYPER, "test", &why), 0);
    assert_int_equal(job_network(&o->graph, o->job.network, &why), 0);
    assert_int_equal(job_prepare(o->graph, &o->job, &o->settings, &why), 0);
    assert_int_equal(backend_open(&o->be, "cpu", 1, &why), 0);
    rows_make(o);
    if (run_open(&o->run, o->be, o->graph, o->data, &o->job, &o->settings, &why) ||
        checkpoint_print(o->run, &bytes, &size, &why))
        fail_msg("%s", why.text);
    FILE *f = fopen(test_path("start.safetensors"), "wb");
    assert_true(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
    free(bytes);
}

static void ours_close(struct ours *o)
{
    run_close(&o->run);
    dataset_free(&o->data);
    graph_free(&o->graph);
    backend_close(&o->be);
}

static double result_of(struct run *r, const char *name)
{
    struct number_pair results[RUN_RESULTS];
    int n = run_results(r, results);
    for (int i = 0; i < n; i++)
        if (strcmp(results[i].key, name) == 0)
            return results[i].value;
    return NAN;
}

static void compare(const struct way *w, struct ours *o, const struct told *t, const char *theirs)
{
    double largest = 0, loss = NAN, accuracy = NAN, own = result_of(o->run, "val_accuracy");
    char *end;
    for (int i = 0; i < t->steps + 2; i++, theirs = end) {
        double v = strtod(theirs, &end);
        if (end == theirs)
            fail_msg("PyTorch gave %d numbers, expected %d", i, t->steps + 2);
        if (i < w->first && !(fabs(v - t->loss[i]) <= w->loss_apart))
            fail_msg("step %d: our loss is %.7f, PyTorch's %.7f", i + 1, t->loss[i], v);
        largest = i < w->first ? fmax(largest, fabs(v - t->loss[i])) : largest;
        loss = i == t->steps ? v : loss;
        accuracy = v;
    }
    printf("losses of %d steps at most %.2g apart; after %d: loss %.4f, PyTorch's %.4f, val_accuracy %.4f, "
           "PyTorch's %.4f\n",
           w->first, largest, t->steps, result_of(o->run, "val_loss"), loss, own, accuracy);
    assert_true(fabs(own - accuracy) <= w->accuracy_apart);
}

static void lenet_as_pytorch_trains_it(void **state)
{
    const struct way *w = *state;
    static struct told told;
    struct result r = {0};
    struct ours o = {0};
    struct run_watch watch = {.metric = hear, .arg = &told};
    struct fail why = {0};
    told.steps = 0;
    if (result_runl(&r, 60000, PYTHON, "-c", "import torch, numpy", NULL) != 0) {
        result_free(&r);
        skip();
    }
    hyper[0].value = w->rate;
    hyper[1].value = w->epochs;
    hyper[2].value = w->seed;
    ours_open(&o);
    if (run_train(o.run, &watch, &why))
        fail_msg("%s", why.text);
    assert_true(told.steps >= w->first);
    assert_true(w != &in_earnest || result_of(o.run, "val_accuracy") > 0.95); /* it did learn */
    result_runl(&r, 300000, PYTHON, "tests/worker/train/torch_lenet.py", test_dir(), w->epochs, "64", w->rate,
                "0.9", w->seed, "0.25", "0.5", "0.5", NULL);
    result_expect(&r, 0);
    compare(w, &o, &told, r.out);
    result_free(&r);
    ours_close(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(lenet_as_pytorch_trains_it, (void *)&slowly),
        cmocka_unit_test_prestate(lenet_as_pytorch_trains_it, (void *)&in_earnest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
