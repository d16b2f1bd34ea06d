/* The figures of a running worker, on a real broker: what /metrics says is what the topics hold, histograms never shrink from
 * page to page, readiness follows the life of the worker, the log is JSON. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/broker.h"
#include "tests/lib/page.h"
#include "tests/lib/records.h"

#undef fail
#include <cmocka.h>

static void window_begin(struct stage *s, struct process *p, char address[64])
{
    stage_worker(s, p, stage_config(s, &(struct stage_settings){.slot = "a", .listen = "127.0.0.1:0"}));
    page_find(p, address);
}

struct asked {
    const char *address, *series;
    double least;
    struct page page;
};

static bool has_value(void *asked)
{
    struct asked *a = asked;
    page_free(&a->page);
    page_get(&a->page, a->address, "GET", "/metrics");
    return a->page.status == 200 && page_value(a->page.body, a->series) >= a->least;
}

static bool is_ready(void *asked)
{
    struct asked *a = asked;
    page_free(&a->page);
    page_get(&a->page, a->address, "GET", "/readyz");
    return a->page.status == 200;
}

#define LENET "model=\"lenet\",version=\"1\",variant=\"champion\","

static void metrics_say_what_the_topics_hold(void **state)
{
    struct stage s;
    struct process worker = {0};
    char address[64];
    (void)state;
    stage_begin(&s);
    window_begin(&s, &worker, address);
    struct asked a = {.address = address};
    assert_true(wait_until(is_ready, &a, 30000));
    page_free(&a.page);
    page_get(&a.page, address, "GET", "/metrics");
    char *before = strdup(a.page.body);
    for (int i = 0; i < 20; i++)
        request_send(&s, &(struct request){
                             .id = "q", .model = "lenet", .rows = 5, .channels = 3, .dtype = DTYPE_UINT8});
    request_send(&s, &(struct request){.id = "late",
                                       .model = "lenet",
                                       .rows = 2,
                                       .channels = 3,
                                       .dtype = DTYPE_UINT8,
                                       .deadline_at = 1});
    request_send(&s, &(struct request){
                         .id = "shape", .model = "lenet", .rows = 1, .channels = 1, .dtype = DTYPE_UINT8});
    stage_put(&s, "inference", 0, "tombstone", NULL, 0);
    a.series = "millrace_dead_letters_total{role=\"infer\",reason=\"empty\"}";
    a.least = 1;
    assert_true(wait_until(has_value, &a, 30000));
    const char *page = a.page.body;
    assert_true(page_value(page, "millrace_rows_total{" LENET "outcome=\"ok\"}") == 100);
    assert_true(page_value(page, "millrace_rows_total{" LENET "outcome=\"expired\"}") == 2);
    assert_true(page_value(page, "millrace_records_total{" LENET "outcome=\"answered\"}") == 21);
    assert_true(page_value(page, "millrace_records_total{" LENET "outcome=\"dead_letter\"}") == 1);
    assert_true(
        page_value(page,
                   "millrace_records_total{model=\"\",version=\"\",variant=\"\",outcome=\"dead_letter\"}") ==
        1);
    assert_true(page_value(page, "millrace_dead_letters_total{role=\"infer\",reason=\"bad_shape\"}") == 1);
    assert_true(page_sum(page, "millrace_dead_letters_total{") == 2);
    assert_true(page_value(page, "millrace_model_loads_total{outcome=\"loaded\"}") == 1);
    assert_true(page_value(page, "millrace_decode_seconds_count{role=\"infer\"}") == 23);
    assert_true(page_value(page, "millrace_queue_seconds_count{role=\"infer\"}") == 20);
    assert_true(page_value(page, "millrace_batch_rows_sum{role=\"infer\"}") == 100);
    double transactions =
        page_value(page, "millrace_transactions_total{role=\"infer\",outcome=\"committed\"}");
    assert_true(transactions >= 1 && transactions <= 23);
    assert_true(page_value(page, "millrace_commit_seconds_count{role=\"infer\"}") == transactions);
    assert_true(page_value(page, "millrace_transaction_rows_sum{role=\"infer\"}") == 102);
    assert_int_equal(page_histograms(page), 5 + 2 * 2);
    assert_true(page_not_less(before, page) > 100);
    page_promtool(page);
    free(before);
    page_free(&a.page);
    process_kill(&worker);
}

static bool has_no_lag(void *asked)
{
    struct asked *a = asked;
    page_free(&a->page);
    page_get(&a->page, a->address, "GET", "/metrics");
    return a->page.status == 200 && page_lines(a->page.body, "millrace_consumer_lag{role=\"infer\"") == 4 &&
           page_sum(a->page.body, "millrace_consumer_lag{role=\"infer\"") == 0;
}

/* What waits behind a request for a model that is not there yet is the lag; it is gone when the model comes. */
static void lag_is_what_is_not_answered(void **state)
{
    struct stage s;
    struct process worker = {0};
    char address[64];
    (void)state;
    stage_begin(&s);
    stage_worker(&s, &worker,
                 stage_config(&s, &(struct stage_settings){.slot = "a",
                                                           .roles = "[infer]",
                                                           .listen = "127.0.0.1:0",
                                                           .rest = "inference: {unknown_model: wait}\n"}));
    page_find(&worker, address);
    struct asked a = {
        .address = address, .series = "millrace_consumer_lag{role=\"infer\",partition=\"0\"}", .least = 7};
    for (int i = 0; i < 7; i++)
        request_send(&s, &(struct request){
                             .id = "q", .model = "later", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    assert_true(wait_until(has_value, &a, 30000));
    assert_true(page_value(a.page.body, a.series) == 7);
    stage_model(&s, "later", 1, 1, true);
    assert_true(wait_until(has_no_lag, &a, 30000));
    page_free(&a.page);
    process_kill(&worker);
}

static void a_worker_without_topics_is_alive_and_not_ready(void **state)
{
    struct stage s;
    struct process worker = {0};
    struct result r = {0};
    char address[64];
    struct page p;
    (void)state;
    stage_open(&s, broker_shared());
    window_begin(&s, &worker, address);
    page_get(&p, address, "GET", "/healthz");
    assert_int_equal(p.status, 200);
    page_free(&p);
    page_get(&p, address, "GET", "/readyz");
    assert_int_equal(p.status, 503);
    assert_non_null(strstr(p.body, "infer: "));
    page_free(&p);
    stage_run(&s, &r, 30000, "topics", "create", NULL);
    result_expect(&r, 0);
    result_free(&r);
    struct asked a = {.address = address};
    assert_true(wait_until(is_ready, &a, 30000));
    page_free(&a.page);
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 6000), 0);
    page_get(&p, address, "GET", "/healthz");
    assert_int_equal(p.status, -1);
}

/* The second worker does its work without a window. */
static void a_busy_port_is_a_warning(void **state)
{
    struct stage s;
    struct process first = {0}, second = {0};
    char address[64];
    (void)state;
    stage_begin(&s);
    window_begin(&s, &first, address);
    stage_worker(&s, &second, stage_config(&s, &(struct stage_settings){.slot = "b", .listen = address}));
    assert_true(process_wait_text(&second, "no /metrics, /healthz and /readyz", 1, 20000));
    assert_true(process_wait_text(&second, "partitions assigned", 1, 30000));
    process_kill(&first);
    process_kill(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_say_what_the_topics_hold),
        cmocka_unit_test(lag_is_what_is_not_answered),
        cmocka_unit_test(a_worker_without_topics_is_alive_and_not_ready),
        cmocka_unit_test(a_busy_port_is_a_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
