/* The worker with backend cuda on a real broker: its answers are the cpu's, an error of the device ends it before anything is
 * committed and nothing is answered twice, and a worker that only trains shows its device. On a device the test of the promise too. */
#include "engine/backend.h" /* before cmocka.h, which makes a macro of fail */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "tests/gpu/rig.h"
#include "tests/lib/page.h"
#include "tests/lib/records.h"

enum { LIMIT_MS = 60000, LONG_MS = 300000, CLASSES = 10 };

/* false: skip. A device's machine may have no broker. */
static bool ready(void)
{
    struct result r = {0};
    if (!rig_ready())
        return false;
    bool java = !result_runl(&r, 20000, "sh", "-c", "command -v java", NULL);
    result_free(&r);
    if (!java && rig_has_device()) {
        print_message("skipped: no broker can run here: Java is not installed\n");
        return false;
    }
    setenv("TEST_BACKEND", "cuda", 1);
    return true;
}

static void ask(struct stage *s, const char *id, float first)
{
    request_send(s, &(struct request){.id = id,
                                      .model = "lenet",
                                      .rows = 3,
                                      .channels = 3,
                                      .dtype = DTYPE_FP32,
                                      .top_k = CLASSES,
                                      .first = first});
}

static void check(struct stage *s, const char *inputs)
{
    struct result r = {0};
    stage_check(s, &r, 60, "--inputs", inputs, NULL);
    result_expect(&r, 0);
    result_free(&r);
}

static void end(struct process *p)
{
    process_signal(p, SIGTERM);
    assert_int_equal(process_wait(p, 6000), 0);
}

/* Scores of all classes, the highest first. */
static void near(json_t *a, json_t *b)
{
    json_t *x = json_object_get(row_of(a, 1), "top_k"), *y = json_object_get(row_of(b, 1), "top_k");
    assert_int_equal(json_array_size(x), CLASSES);
    assert_int_equal(json_array_size(y), CLASSES);
    for (size_t i = 0; i < CLASSES; i++) {
        double u = json_number_value(json_object_get(json_array_get(x, i), "score")),
               v = json_number_value(json_object_get(json_array_get(y, i), "score"));
        if (!(fabs(u - v) <= 1e-5) || !(u > 0))
            fail_msg("score %zu: %.9g, cpu %.9g", i, u, v);
    }
}

static void answers_are_the_cpus(void **state)
{
    struct stage s;
    struct process worker = {0};
    (void)state;
    if (!ready())
        skip();
    stage_begin(&s);
    worker_begin(&s, &worker, NULL);
    assert_true(process_wait_text(&worker, "cuda: device", 1, LIMIT_MS));
    ask(&s, "a", 0.5f);
    ask(&s, "b", 4);
    json_decref(topic_read(&s, "predictions", 2));
    end(&worker);
    worker_begin(&s, &worker, "engine: {backend: cpu}\n");
    ask(&s, "c", 0.5f);
    ask(&s, "d", 4);
    json_t *all = topic_read(&s, "predictions", 4);
    near(by_key(all, "a"), by_key(all, "c"));
    near(by_key(all, "b"), by_key(all, "d"));
    json_decref(all);
    end(&worker);
    check(&s, "4");
}

/* The stand-in's device breaks at a forward pass. */
static void a_broken_device_answers_nothing_twice(void **state)
{
    struct stage s;
    struct process worker = {0};
    (void)state;
    assert_true(ready());
    stage_begin(&s);
    setenv("MILLRACE_STANDIN", "compute:1:0,cudnnConvolutionBiasActivationForward:1:5000", 1);
    worker_begin(&s, &worker, NULL);
    for (int i = 0; i < 8; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        ask(&s, id, 1);
    }
    assert_int_equal(process_wait(&worker, LIMIT_MS), 75);
    setenv("MILLRACE_STANDIN", "compute:1:0", 1);
    worker_begin(&s, &worker, NULL);
    check(&s, "8");
    end(&worker);
}

struct asked {
    const char *address;
    double busy;
};

static bool is_shown(void *asked)
{
    struct asked *a = asked;
    struct page page = {0};
    page_get(&page, a->address, "GET", "/metrics");
    a->busy = page.status == 200 ? page_value(page.body, "millrace_device_busy_ratio") : -1;
    page_free(&page);
    return a->busy >= 0;
}

static void a_trainer_shows_its_device(void **state)
{
    struct stage s;
    struct process worker = {0};
    char address[64], folder[PATH_MAX];
    (void)state;
    if (!ready())
        skip();
    stage_begin(&s);
    rig_folder(folder, sizeof folder);
    if (!rig_has_device())
        setenv("LD_LIBRARY_PATH", folder, 1); /* where NVML is found by its name */
    stage_worker(&s, &worker,
                 stage_config(&s, &(struct stage_settings){.roles = "[train]", .listen = "127.0.0.1:0"}));
    unsetenv("LD_LIBRARY_PATH");
    page_find(&worker, address);
    struct asked asked = {.address = address};
    if (!wait_until(is_shown, &asked, LIMIT_MS))
        fail_msg("no millrace_device_busy_ratio on the page of a worker that trains");
    assert_true(rig_has_device() || asked.busy == 0.37);
    end(&worker);
}

static void the_promise_holds(void **state)
{
    struct result r = {0};
    char path[PATH_MAX];
    (void)state;
    if (!ready())
        skip();
    rig_folder(path, sizeof path - 64);
    strcpy(strstr(path, "/gpu/standin"), "/worker/stream/exactly_once_test");
    result_runl(&r, LONG_MS, path, NULL);
    result_expect(&r, 0);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(answers_are_the_cpus),
        cmocka_unit_test(a_trainer_shows_its_device),
    };
    const struct CMUnitTest device[] = {cmocka_unit_test(the_promise_holds)};
    const struct CMUnitTest standin[] = {cmocka_unit_test(a_broken_device_answers_nothing_twice)};
    int failed = cmocka_run_group_tests_name("gpu worker", both, NULL, NULL);
    return failed + (rig_has_device() ? cmocka_run_group_tests_name("gpu promise", device, NULL, NULL)
                                      : cmocka_run_group_tests_name("gpu broken", standin, NULL, NULL));
}
