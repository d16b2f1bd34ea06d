/* Another network over a run's rows (run_rival.c): the numbers by which a champion is held against a new version. Fixed seeds. */
#include "tests/worker/train/small_run.h"

static double result_of(const struct run *r, const char *name)
{
    struct number_pair results[RUN_RESULTS];
    int n = run_results(r, results);
    for (int i = 0; i < n; i++)
        if (strcmp(results[i].key, name) == 0)
            return results[i].value;
    fail_msg("no %s", name);
    return NAN;
}

/* The run's own network as its rival has the run's own numbers; a fresh one has its own; another shape cannot be compared. */
static void a_rival_is_judged_on_the_same_rows(void **state)
{
    static const char *const names[] = {"val_accuracy", "val_loss", "test_accuracy", "test_loss"};
    static const char other[] = "network: other\ninput: [1, 5, 5]\nlayers:\n  - dense: {units: 10}\n";
    (void)state;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = watch_of(&seen);
    struct fail why = {0};
    struct graph *own = NULL, *wide = NULL;
    double value;
    bench_open(&b, NULL, 0);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0);
    assert_int_equal(run_graph(r, &own, &why), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(run_rival(r, own, names[i], &value, &why), 0);
        assert_true(value == result_of(r, names[i]));
    }
    assert_int_equal(run_rival(r, b.graph, "val_accuracy", &value, &why), 0);
    assert_true(value < 0.5);
    assert_int_equal(network_parse(&wide, "other", other, strlen(other), &why), 0);
    assert_int_equal(run_rival(r, wide, "val_accuracy", &value, &why), -E_JOB);
    assert_true(isnan(value));
    graph_free(&own);
    graph_free(&wide);
    run_close(&r);
    bench_close(&b);
}

/* Rows of bytes, normalised as b.graph says. */
static void bytes_data(struct bench *b)
{
    static unsigned char pixels[ROWS][SIZE];
    static int32_t labels[ROWS];
    struct dataset_options o = {.validation_rate = 0.3};
    struct rows rows = {.dtype = DTYPE_UINT8, .row_shape = SHAPE(1, 4, 4), .count = ROWS, .row_size = SIZE};
    struct rng rng = rng_seed(5);
    struct fail why;
    for (int i = 0; i < ROWS; i++) {
        labels[i] = (int32_t)rng_below(&rng, 10);
        for (int k = 0; k < SIZE; k++)
            pixels[i][k] = (unsigned char)(rng_below(&rng, 100) + (k == labels[i] ? 150 : 0));
    }
    rows.data = pixels;
    rows.labels = labels;
    dataset_free(&b->data);
    assert_int_equal(dataset_new(&b->data, &o, &why), 0);
    assert_int_equal(dataset_add_rows(b->data, &rows, "rows", &why), 0);
    assert_int_equal(dataset_finish(b->data, b->graph, loss_find("cross_entropy"), &why), 0);
}

/* A job without mean and std looks at a champion that was trained with them: the champion keeps its numbers. */
static void a_rival_has_its_own_mean_and_std(void **state)
{
    (void)state;
    static const float mean = 0.3f, std = 0.2f;
    struct bench b;
    struct seen seen = {0};
    struct run_watch w = watch_of(&seen);
    struct fail why = {0};
    struct graph *champion = NULL;
    double value, loss;
    bench_open(&b, NULL, 0);
    job_normalise(b.graph, &mean, &std, 1);
    bytes_data(&b);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0);
    assert_int_equal(run_graph(r, &champion, &why), 0);
    loss = result_of(r, "val_loss");
    assert_true(result_of(r, "val_accuracy") > 0.8);
    run_close(&r);
    b.graph->channels_normalised = 0;
    bytes_data(&b);
    r = bench_run(&b);
    assert_int_equal(run_rival(r, champion, "val_loss", &value, &why), 0);
    assert_true(fabs(value - loss) <= 1e-6 * loss);
    champion->channels_normalised = 0;
    assert_int_equal(run_rival(r, champion, "val_loss", &value, &why), 0);
    assert_true(fabs(value - loss) > 0.01 * loss);
    graph_free(&champion);
    run_close(&r);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rival_is_judged_on_the_same_rows),
        cmocka_unit_test(a_rival_has_its_own_mean_and_std),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
