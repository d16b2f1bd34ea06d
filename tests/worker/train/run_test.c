/* The training loop with the real engine: it learns, it tells of it in order, and a run that goes on from a
 * checkpoint ends with the same bits as one in one go. Fixed seeds. */
#include "tests/worker/train/small_run.h"

static void it_learns(void **state)
{
    (void)state;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = watch_of(&seen);
    struct number_pair results[RUN_RESULTS];
    struct fail why = {0};
    bench_open(&b, NULL, 0);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0);
    assert_true(seen.last_loss < seen.first_loss / 2);
    assert_true(seen.val_accuracy > 0.85);
    assert_int_equal(seen.checkpoints, 5); /* at epochs' ends but the last */
    assert_int_equal(run_state(r)->step, run_total_steps(r));
    int n = run_results(r, results), found = 0;
    for (int i = 0; i < n; i++)
        found += strcmp(results[i].key, "test_accuracy") == 0 && results[i].value > 0.8;
    assert_int_equal(found, 1);
    run_close(&r);
    bench_close(&b);
}

/* Every optimiser with what it keeps, every schedule, and the losses' settings. */
static const struct text_pair ways[][8] = {
    {{0}},
    {{"momentum", "0"}, {"lr_schedule", "cosine"}, {"lr_warmup_epochs", "1.5"}},
    {{"nesterov", "true"}, {"gradient_clip", "0.5"}, {"lr_schedule", "one_cycle"}},
    {{"optimizer", "adam"}, {"learning_rate", "0.01"}, {"lr_schedule", "step"}, {"lr_step_epochs", "1.25"}},
    {{"optimizer", "adamw"}, {"learning_rate", "0.01"}, {"label_smoothing", "0.1"}, {"ignore_label", "7"}},
    {{"optimizer", "rmsprop"}, {"learning_rate", "0.002"}, {"momentum", "0.5"}, {"centered", "true"}},
    {{"optimizer", "adagrad"}, {"learning_rate", "0.05"}, {"class_weights", "1,1,1,1,1,2,2,2,2,0"}},
};
enum { WAYS = sizeof ways / sizeof *ways };

static void the_same_bits_from_every_step(void **state)
{
    const struct text_pair *more = *state;
    int count = 0;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = watch_of(&seen);
    struct fail why = {0};
    size_t whole_size, size, end_size;
    while (count < 8 && more[count].key)
        count++;
    bench_open(&b, more, count);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0);
    char *whole = run_end(r, &whole_size);
    int64_t total = run_total_steps(r);
    run_close(&r);
    for (int64_t step = 1; step < total; step += 3 + 8 * (more != ways[0])) {
        void *bytes;
        bool same_plan = false;
        seen = (struct seen){.stop_at = step};
        r = bench_run(&b);
        assert_int_equal(run_train(r, &w, &why), -E_INTERRUPTED);
        assert_int_equal(run_state(r)->step, step);
        assert_int_equal(checkpoint_print(r, &bytes, &size, &why), 0);
        run_close(&r);
        r = bench_run(&b);
        if (checkpoint_parse(r, "here", bytes, size, &same_plan, &why))
            fail_msg("step %d: %s", (int)step, why.text);
        assert_true(same_plan);
        free(bytes);
        seen.stop_at = 0;
        assert_int_equal(run_train(r, &w, &why), 0);
        char *end = run_end(r, &end_size);
        if (end_size != whole_size || memcmp(end, whole, end_size) != 0)
            fail_msg("went on from step %d of %d: other bits at the end", (int)step, (int)total);
        free(end);
        run_close(&r);
    }
    free(whole);
    bench_close(&b);
}

static void another_seed_is_another_run(void **state)
{
    (void)state;
    char *ends[2];
    size_t sizes[2];
    for (int i = 0; i < 2; i++) {
        struct bench b;
        struct seen seen = {0};
        struct run_watch w = watch_of(&seen);
        struct fail why = {0};
        struct text_pair more = {"seed", i ? "4" : "3"};
        bench_open(&b, &more, 1);
        struct run *r = bench_run(&b);
        assert_int_equal(run_train(r, &w, &why), 0);
        ends[i] = run_end(r, &sizes[i]);
        run_close(&r);
        bench_close(&b);
    }
    assert_true(sizes[0] != sizes[1] || memcmp(ends[0], ends[1], sizes[0]) != 0);
    free(ends[0]);
    free(ends[1]);
}

static void whole_set_in_micro_batches(void **state)
{
    (void)state;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = watch_of(&seen);
    struct fail why = {0};
    struct text_pair more = {"batch_size", "0"};
    bench_open(&b, &more, 1);
    struct run *r = bench_run(&b);
    assert_int_equal(run_total_steps(r), 6);
    assert_int_equal(run_train(r, &w, &why), 0);
    assert_int_equal(optim_steps(run_optimizer(r)), 6);
    assert_int_equal(run_state(r)->train.rows, dataset_count(b.data, DATASET_TRAIN));
    assert_true(seen.last_loss < seen.first_loss);
    run_close(&r);
    bench_close(&b);
}

static void loss_that_is_not_finite_ends_it(void **state)
{
    (void)state;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = {NULL, NULL, on_step, &seen};
    struct fail why = {0};
    struct text_pair more[] = {{"learning_rate", "1e6"}, {"weight_decay_l2", "1e6"}};
    bench_open(&b, more, 2);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), -E_JOB);
    assert_non_null(strstr(why.text, "learning_rate"));
    run_close(&r);
    bench_close(&b);
}

/* The rate of a record is that of the step it tells of. */
static int on_rate(void *arg, struct loss_metric *m, struct fail *why)
{
    double *seen = arg;
    (void)why;
    if (m->step < 200)
        seen[m->step] = m->learning_rate;
    return 0;
}

static void rates_follow_the_schedule(void **state)
{
    (void)state;
    struct bench b;
    double seen[200];
    struct run_watch w = {on_rate, NULL, NULL, seen};
    struct fail why = {0};
    struct text_pair more[] = {{"lr_schedule", "cosine"}, {"lr_min", "0.001"}, {"lr_warmup_epochs", "1"}};
    int told = 0;
    for (int i = 0; i < 200; i++)
        seen[i] = -1;
    bench_open(&b, more, 3);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0);
    int64_t total = run_total_steps(r), warmup = total / 6;
    assert_true(total < 200);
    for (int64_t step = 1; step <= total; step++) {
        double t = (double)(step - 1), n = (double)warmup;
        double rate = step - 1 < warmup ? 0.2 * (0.1 + 0.9 * t / n)
                                        : 0.001 + 0.199 / 2 * (1 + cos(M_PI * (t - n) / ((double)total - n)));
        if (seen[step] >= 0 && ++told && !(fabs(seen[step] - rate) <= 1e-12))
            fail_msg("step %d: rate %.12g, expected %.12g", (int)step, seen[step], rate);
    }
    assert_true(told >= 20);
    run_close(&r);
    bench_close(&b);
}

/* Labels that no class has are passed over where the job says so; the rest is trained on as if they were not
 * there, and accuracy is that of the rest. */
static void ignored_rows_do_not_count(void **state)
{
    (void)state;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = watch_of(&seen);
    struct fail why = {0};
    struct text_pair more[] = {{"ignore_label", "3"}, {"batch_size", "1"}, {"learning_rate", "0.02"}};
    bench_open(&b, more, 3);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0);
    /* steps of one ignored row are passed over, but counted */
    assert_int_equal(run_state(r)->step, run_total_steps(r));
    int64_t rows = dataset_count(b.data, DATASET_TRAIN), left = run_state(r)->train.rows;
    assert_true(left < rows && left > rows / 2);
    assert_int_equal(optim_steps(run_optimizer(r)), 6 * left);
    assert_true(seen.val_accuracy > 0.85);
    run_close(&r);
    bench_close(&b);
}

static void a_set_that_does_not_count_is_said(void **state)
{
    (void)state;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = {NULL, NULL, on_step, &seen};
    struct fail why = {0};
    struct text_pair more = {"class_weights", "0,0,0,0,0,0,0,0,0,1"};
    static float pixels[ROWS][SIZE];
    static int32_t labels[ROWS];
    struct rows rows = {.data = pixels,
                        .labels = labels,
                        .dtype = DTYPE_FP32,
                        .row_shape = SHAPE(1, 4, 4),
                        .count = ROWS,
                        .row_size = sizeof pixels[0]};
    bench_open(&b, &more, 1);
    dataset_free(&b.data);
    for (int i = 0; i < ROWS; i++)
        pixels[i][0] = (float)i;
    assert_int_equal(dataset_new(&b.data, &(struct dataset_options){.validation_rate = 0.1}, &why), 0);
    assert_int_equal(dataset_add_rows(b.data, &rows, "rows", &why), 0);
    assert_int_equal(dataset_finish(b.data, b.graph, loss_find("cross_entropy"), &why), 0);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), -E_JOB);
    assert_non_null(strstr(why.text, "no row weighs anything"));
    assert_int_equal(optim_steps(run_optimizer(r)), 0);
    run_close(&r);
    bench_close(&b);
}

static void patience_ends_it(void **state)
{
    (void)state;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = watch_of(&seen);
    struct fail why = {0};
    struct text_pair more[] = {{"learning_rate", "0"}, {"epochs", "50"}};
    bench_open(&b, more, 2);
    b.job.patience = 3;
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0);
    assert_int_equal(run_state(r)->epoch, 4); /* one that was the best, three that were not better */
    run_close(&r);
    bench_close(&b);
}

static void wrong_checkpoints_are_refused(void **state)
{
    (void)state;
    struct bench b;
    struct seen seen = {.stop_at = 5};
    struct run_watch w = watch_of(&seen);
    struct fail why = {0};
    void *bytes;
    size_t size;
    bool same_plan;
    bench_open(&b, NULL, 0);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), -E_INTERRUPTED);
    assert_int_equal(checkpoint_print(r, &bytes, &size, &why), 0);
    run_close(&r);
    r = bench_run(&b);
    assert_int_equal(checkpoint_parse(r, "cut", bytes, size - 4, &same_plan, &why), -E_FILE);
    assert_non_null(strstr(why.text, "cut"));
    assert_int_equal(checkpoint_parse(r, "none", "", 0, &same_plan, &why), -E_FILE);
    run_close(&r);
    bench_data(&b, 12);
    r = bench_run(&b);
    assert_int_equal(checkpoint_parse(r, "other data", bytes, size, &same_plan, &why), -E_JOB);
    assert_non_null(strstr(why.text, "data set"));
    run_close(&r);
    free(bytes);
    bench_close(&b);
}

static void files_of_a_job(void **state)
{
    (void)state;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = watch_of(&seen);
    struct fail why = {0};
    char folder[] = "/tmp/millrace-run-XXXXXX", store[64], command[64];
    char uris[4][STORE_URI], shas[4][SHA256_HEX];
    void *bytes;
    size_t size;
    bool same_plan;
    assert_non_null(mkdtemp(folder));
    snprintf(store, sizeof store, "file://%s", folder);
    bench_open(&b, NULL, 0);
    struct run *r = bench_run(&b);
    for (int i = 0; i < 4; i++) {
        seen.stop_at = 2 * (i + 1);
        assert_int_equal(run_train(r, &w, &why), -E_INTERRUPTED);
        assert_int_equal(checkpoint_put(r, store, &b.job, uris[i], shas[i], &why), 0);
    }
    /* the last one was never committed */
    assert_int_equal(checkpoint_prune(store, &b.job, 6, 2, &why), 0);
    for (int i = 0; i < 4; i++) {
        int rc = store_get(store, uris[i], shas[i], &bytes, &size, &why);
        assert_int_equal(rc, i == 1 || i == 2 ? 0 : -E_FILE);
        if (!rc)
            free(bytes);
    }
    assert_int_equal(checkpoint_get(r, store, uris[2], shas[2], &same_plan, &why), 0);
    assert_int_equal(run_state(r)->step, 6);
    assert_int_equal(checkpoint_get(r, store, uris[2], shas[1], &same_plan, &why), -E_FILE);
    run_close(&r);
    bench_close(&b);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_learns),
        cmocka_unit_test_prestate(the_same_bits_from_every_step, (void *)ways[0]),
        cmocka_unit_test_prestate(the_same_bits_from_every_step, (void *)ways[1]),
        cmocka_unit_test_prestate(the_same_bits_from_every_step, (void *)ways[2]),
        cmocka_unit_test_prestate(the_same_bits_from_every_step, (void *)ways[3]),
        cmocka_unit_test_prestate(the_same_bits_from_every_step, (void *)ways[4]),
        cmocka_unit_test_prestate(the_same_bits_from_every_step, (void *)ways[5]),
        cmocka_unit_test_prestate(the_same_bits_from_every_step, (void *)ways[6]),
        cmocka_unit_test(another_seed_is_another_run),
        cmocka_unit_test(whole_set_in_micro_batches),
        cmocka_unit_test(loss_that_is_not_finite_ends_it),
        cmocka_unit_test(rates_follow_the_schedule),
        cmocka_unit_test(ignored_rows_do_not_count),
        cmocka_unit_test(a_set_that_does_not_count_is_said),
        cmocka_unit_test(patience_ends_it),
        cmocka_unit_test(wrong_checkpoints_are_refused),
        cmocka_unit_test(files_of_a_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
