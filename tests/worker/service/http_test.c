/* The window over a real socket: pages, statuses, readiness, addresses that cannot be had, many clients at once. */
#include "worker/service/http.h"
#include "worker/service/listen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#undef fail
#include <cmocka.h>

#include "tests/lib/page.h"

struct window {
    struct metrics *m;
    struct http *http;
};

static void window_open(struct window *w)
{
    struct fail why;
    *w = (struct window){0};
    assert_int_equal(metrics_open(&w->m, &why), 0);
    metrics_role(&w->m->infer, "infer");
    metrics_role(&w->m->train, "train");
    int rc = http_open(&w->http, "127.0.0.1:0", w->m, &why);
    assert_string_equal(rc ? why.text : "", "");
}

static void window_close(struct window *w)
{
    http_close(&w->http);
    assert_null(w->http);
    metrics_close(&w->m);
}

static void is_page(struct window *w, const char *method, const char *path, int status, const char *body)
{
    struct page p;
    page_get(&p, http_address(w->http), method, path);
    assert_int_equal(p.status, status);
    assert_string_equal(p.body, body);
    page_free(&p);
}

static void metrics_are_served_as_prometheus_wants_them(void **state)
{
    (void)state;
    struct window w;
    struct page p;
    window_open(&w);
    counter_add(&w.m->model_loads, 3);
    page_get(&p, http_address(w.http), "GET", "/metrics");
    assert_int_equal(p.status, 200);
    assert_non_null(strstr(p.headers, "Content-Type: text/plain; version=0.0.4; charset=utf-8"));
    assert_true(page_value(p.body, "millrace_model_loads_total{outcome=\"loaded\"}") == 3);
    page_promtool(p.body);
    page_free(&p);
    window_close(&w);
}

static void readiness_names_what_is_missing(void **state)
{
    (void)state;
    struct window w;
    window_open(&w);
    is_page(&w, "GET", "/healthz", 200, "ok\n");
    is_page(&w, "GET", "/readyz", 503, "infer: starting\ntrain: starting\n");
    metrics_wait(&w.m->infer, NULL);
    metrics_wait(&w.m->train, "joining the group");
    is_page(&w, "GET", "/readyz", 503, "train: joining the group\n");
    metrics_wait(&w.m->train, NULL);
    is_page(&w, "GET", "/readyz", 200, "ready\n");
    metrics_wait(&w.m->infer, "the session is closed");
    is_page(&w, "GET", "/readyz", 503, "infer: the session is closed\n");
    window_close(&w);
}

static void other_requests_are_refused(void **state)
{
    (void)state;
    struct window w;
    struct page p;
    window_open(&w);
    is_page(&w, "GET", "/", 404, "not found: /metrics, /healthz and /readyz are here\n");
    is_page(&w, "GET", "/metrics/../etc", 404, "not found: /metrics, /healthz and /readyz are here\n");
    page_get(&p, http_address(w.http), "POST", "/metrics");
    assert_int_equal(p.status, 405);
    assert_non_null(strstr(p.headers, "Allow: GET, HEAD"));
    page_free(&p);
    page_get(&p, http_address(w.http), "HEAD", "/healthz");
    assert_int_equal(p.status, 200);
    assert_string_equal(p.body, "");
    assert_non_null(strstr(p.headers, "Content-Length: 3"));
    page_free(&p);
    window_close(&w);
}

static void a_busy_port_is_told_from_a_wrong_setting(void **state)
{
    (void)state;
    static const char *const wrong[] = {"9464",
                                        "host",
                                        "h:",
                                        "h:http",
                                        "h:70000",
                                        "a:b:1",
                                        "[::1:9464",
                                        "[]:1",
                                        "::1:9464",
                                        "h:-1",
                                        "h:1 2",
                                        ":",
                                        "no.such.host.invalid:1"};
    struct window w;
    struct fail why;
    struct http *second = NULL;
    window_open(&w);
    assert_int_equal(http_open(&second, http_address(w.http), w.m, &why), -E_IO);
    assert_null(second);
    assert_non_null(strstr(why.text, http_address(w.http)));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(http_open(&second, wrong[i], w.m, &why), -E_CONFIG);
        assert_non_null(strstr(why.text, "http.listen"));
    }
    window_close(&w);
}

static void every_address_and_ipv6_are_understood(void **state)
{
    (void)state;
    struct window w;
    struct fail why;
    struct http *other = NULL;
    window_open(&w);
    assert_int_equal(listen_check("", &why), 0);
    assert_int_equal(listen_check(":9464", &why), 0);
    assert_int_equal(listen_check("[::1]:9464", &why), 0);
    assert_int_equal(listen_check("0.0.0.0:0", &why), 0);
    assert_int_equal(http_open(&other, ":0", w.m, &why), 0);
    const char *port = strrchr(http_address(other), ':');
    char address[64];
    struct page p;
    snprintf(address, sizeof address, "127.0.0.1%s", port);
    page_get(&p, address, "GET", "/healthz");
    assert_int_equal(p.status, 200);
    page_free(&p);
    http_close(&other);
    page_get(&p, address, "GET", "/healthz");
    assert_int_equal(p.status, -1); /* closed is closed */
    window_close(&w);
}

enum { CLIENTS = 8, TURNS = 10 };

static void *ask(void *arg)
{
    struct window *w = arg;
    int good = 0;
    for (int i = 0; i < TURNS; i++) {
        struct page p;
        page_get(&p, http_address(w->http), "GET", i % 2 ? "/metrics" : "/healthz");
        good += p.status == 200 && *p.body;
        page_free(&p);
    }
    return (void *)(intptr_t)good;
}

static void many_clients_are_answered(void **state)
{
    (void)state;
    struct window w;
    pthread_t threads[CLIENTS];
    window_open(&w);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &w), 0);
    for (int i = 0; i < CLIENTS; i++) {
        void *good;
        pthread_join(threads[i], &good);
        assert_int_equal((intptr_t)good, TURNS);
    }
    window_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_are_served_as_prometheus_wants_them),
        cmocka_unit_test(readiness_names_what_is_missing),
        cmocka_unit_test(other_requests_are_refused),
        cmocka_unit_test(a_busy_port_is_told_from_a_wrong_setting),
        cmocka_unit_test(every_address_and_ipv6_are_understood),
        cmocka_unit_test(many_clients_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
