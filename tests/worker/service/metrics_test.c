/* The page of metrics: what is counted is on it, promtool accepts it, it stays bounded, and no histogram ever shrinks. */
#include "worker/service/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#undef fail
#include <cmocka.h>

#include "tests/lib/page.h"

static struct metrics *open_both(void)
{
    struct metrics *m = NULL;
    struct fail why;
    assert_int_equal(metrics_open(&m, &why), 0);
    metrics_role(&m->infer, "infer");
    metrics_role(&m->train, "train");
    return m;
}

static char *print(struct metrics *m)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    metrics_print(m, f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void a_page_says_what_was_counted(void **state)
{
    (void)state;
    struct metrics *m = open_both();
    struct model_metrics *digits = metrics_model(&m->inference, "digits", 7, "champion");
    assert_ptr_equal(metrics_model(&m->inference, "digits", 7, "champion"), digits);
    assert_ptr_not_equal(metrics_model(&m->inference, "digits", 8, "champion"), digits);
    counter_add(&digits->rows[METRIC_ROW_OK], 40);
    counter_add(&digits->rows[METRIC_ROW_EXPIRED], 2);
    counter_add(&digits->records[METRIC_ANSWERED], 3);
    counter_add(&metrics_model(&m->inference, "", 0, "")->records[METRIC_DEAD_LETTER], 5);
    counter_add(&m->infer.dead_letters[E_BAD_AVRO], 5);
    counter_add(&m->infer.transactions[METRIC_ABORTED], 1);
    counter_add(&m->train.rebuilds[E_FENCED], 2);
    counter_add(&m->model_loads, 4);
    metrics_lag(&m->infer, (struct partition_lag[]){{0, 10}, {3, 0}}, 2);
    char *page = print(m);
    assert_true(
        page_value(
            page,
            "millrace_rows_total{model=\"digits\",version=\"7\",variant=\"champion\",outcome=\"ok\"}") == 40);
    assert_true(
        page_value(
            page,
            "millrace_rows_total{model=\"digits\",version=\"7\",variant=\"champion\",outcome=\"expired\"}") ==
        2);
    assert_true(page_value(page, "millrace_records_total{model=\"digits\",version=\"7\",variant=\"champion\","
                                 "outcome=\"answered\"}") == 3);
    assert_true(
        page_value(page,
                   "millrace_records_total{model=\"\",version=\"\",variant=\"\",outcome=\"dead_letter\"}") ==
        5);
    assert_true(page_value(page, "millrace_dead_letters_total{role=\"infer\",reason=\"bad_avro\"}") == 5);
    assert_true(page_value(page, "millrace_dead_letters_total{role=\"infer\",reason=\"crash\"}") == 0);
    assert_true(page_value(page, "millrace_transactions_total{role=\"infer\",outcome=\"aborted\"}") == 1);
    assert_true(page_value(page, "millrace_session_rebuilds_total{role=\"train\",reason=\"fenced\"}") == 2);
    assert_true(page_value(page, "millrace_model_loads_total{outcome=\"loaded\"}") == 4);
    assert_true(page_value(page, "millrace_consumer_lag{role=\"infer\",partition=\"0\"}") == 10);
    assert_true(page_value(page, "millrace_consumer_lag{role=\"infer\",partition=\"3\"}") == 0);
    assert_true(page_value(page, "millrace_ready{role=\"infer\"}") == 0);
    page_promtool(page);
    free(page);
    metrics_close(&m);
}

static void process_figures_are_those_of_this_process(void **state)
{
    (void)state;
    struct metrics *m = open_both();
    char *page = print(m);
    double rss = page_value(page, "process_resident_memory_bytes");
    assert_true(rss > 1e6 && rss < page_value(page, "process_virtual_memory_bytes"));
    assert_true(page_value(page, "process_open_fds") >= 3);
    assert_true(page_value(page, "process_open_fds") < page_value(page, "process_max_fds"));
    assert_true(page_value(page, "process_cpu_seconds_total") > 0);
    assert_true(page_value(page, "process_threads") >= 1);
    double start = page_value(page, "process_start_time_seconds"), now = (double)time(NULL);
    assert_true(start <= now + 1 && start > now - 3600);
    free(page);
    metrics_close(&m);
}

static void a_role_that_is_absent_is_not_printed(void **state)
{
    (void)state;
    struct metrics *m = NULL;
    struct fail why;
    assert_int_equal(metrics_open(&m, &why), 0);
    metrics_role(&m->train, "train");
    char *page = print(m);
    assert_null(strstr(page, "role=\"infer\""));
    assert_non_null(strstr(page, "role=\"train\""));
    page_promtool(page);
    free(page);
    metrics_close(&m);
}

/* A thousand versions and partitions: the page ends, and nothing that was counted is missing. */
static void labels_are_bounded(void **state)
{
    (void)state;
    struct metrics *m = open_both();
    struct partition_lag lag[1000];
    for (int i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "m%d", i % 10);
        counter_add(&metrics_model(&m->inference, name, i + 1, "champion")->rows[METRIC_ROW_OK], 1);
        lag[i] = (struct partition_lag){i, 1};
    }
    metrics_lag(&m->infer, lag, 1000);
    char *page = print(m);
    assert_true(page_sum(page, "millrace_rows_total{") == 1000);
    assert_int_equal(page_lines(page, "millrace_rows_total{"), METRIC_MODELS);
    assert_true(
        page_value(page, "millrace_rows_total{model=\"other\",version=\"\",variant=\"\",outcome=\"ok\"}") ==
        1000 - METRIC_MODELS + 1);
    assert_true(page_sum(page, "millrace_consumer_lag{") == 1000);
    assert_int_equal(page_lines(page, "millrace_consumer_lag{"), METRIC_PARTITIONS + 1);
    page_promtool(page);
    free(page);
    metrics_lag(&m->infer, lag, 2); /* a smaller assignment */
    page = print(m);
    assert_int_equal(page_lines(page, "millrace_consumer_lag{"), 2);
    free(page);
    metrics_close(&m);
}

static void observations_fall_into_their_bucket(void **state)
{
    (void)state;
    struct metrics *m = open_both();
    static const int64_t us[] = {-5, 0, 50, 51, 1000, 10000000, 10000001};
    for (size_t i = 0; i < sizeof us / sizeof *us; i++)
        histogram_observe(&m->infer.commit_us, us[i]);
    char *page = print(m);
    assert_true(page_value(page, "millrace_commit_seconds_bucket{role=\"infer\",le=\"5e-05\"}") == 3);
    assert_true(page_value(page, "millrace_commit_seconds_bucket{role=\"infer\",le=\"0.0001\"}") == 4);
    assert_true(page_value(page, "millrace_commit_seconds_bucket{role=\"infer\",le=\"0.001\"}") == 5);
    assert_true(page_value(page, "millrace_commit_seconds_bucket{role=\"infer\",le=\"10\"}") == 6);
    assert_true(page_value(page, "millrace_commit_seconds_bucket{role=\"infer\",le=\"+Inf\"}") == 7);
    double sum = page_value(page, "millrace_commit_seconds_sum{role=\"infer\"}");
    assert_true(sum > 20.0011 - 1e-6 && sum < 20.001102 + 1e-6);
    assert_int_equal(page_histograms(page), 5 + 2 * 2);
    free(page);
    metrics_close(&m);
}

struct counting {
    struct metrics *m;
    atomic_bool stop;
};

static void *count_on(void *arg)
{
    struct counting *c = arg;
    for (int64_t i = 0; !c->stop; i++) {
        histogram_observe(&c->m->inference.decode_us, i % 2000000);
        histogram_observe(&c->m->inference.batch_rows, i % 70000);
        counter_add(&metrics_model(&c->m->inference, "m", i % 300, "")->rows[METRIC_ROW_OK], 1);
    }
    return NULL;
}

/* Pages printed while two threads count: consistent in themselves, and never less than the page before. */
static void histograms_never_shrink(void **state)
{
    (void)state;
    struct counting c = {.m = open_both()};
    pthread_t threads[2];
    char *before = print(c.m);
    int compared = 0;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_on, &c), 0);
    for (int i = 0; i < 30; i++) {
        char *page = print(c.m);
        assert_int_equal(page_histograms(page), 5 + 2 * 2);
        compared += page_not_less(before, page);
        free(before);
        before = page;
    }
    c.stop = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_true(compared > 30 * 100);
    assert_true(page_value(before, "millrace_decode_seconds_count{role=\"infer\"}") > 0);
    free(before);
    metrics_close(&c.m);
}

static void nobody_counts(void **state)
{
    (void)state;
    histogram_observe(NULL, 1);
    counter_add(NULL, 1);
    metrics_wait(NULL, "x");
    metrics_role(NULL, "x");
    metrics_lag(NULL, NULL, 0);
    assert_null(metrics_model(NULL, "m", 1, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_says_what_was_counted),
        cmocka_unit_test(process_figures_are_those_of_this_process),
        cmocka_unit_test(a_role_that_is_absent_is_not_printed),
        cmocka_unit_test(labels_are_bounded),
        cmocka_unit_test(observations_fall_into_their_bucket),
        cmocka_unit_test(histograms_never_shrink),
        cmocka_unit_test(nobody_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
