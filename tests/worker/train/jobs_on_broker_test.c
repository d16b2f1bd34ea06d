/* Training jobs on a real broker: what is committed, the same whatever kills the worker, the same file as
 * `train --local` makes; the commands train, jobs and models. */
#include "tests/lib/broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT_MS = 90000, ROWS = 1500, EPOCHS = 6 };

static json_t *json_of(const struct result *r)
{
    json_t *v = json_loads(r->out, 0, NULL);
    if (!v)
        result_print(r);
    assert_non_null(v);
    return v;
}

static const char *text_at(json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));
    return s ? s : "(none)";
}

static int64_t number_at(json_t *v, const char *key)
{
    json_t *n = json_object_get(v, key);
    assert_true(json_is_integer(n));
    return json_integer_value(n);
}

struct place {
    struct stage s;
    struct result r;
    struct process worker;
    const char *data, *job, *ranges, *config;
};

static const char *job_file(const char *name, const char *model, int epochs)
{
    char text[600];
    snprintf(text, sizeof text,
             "model: %s\nnetwork: lenet\nvalidation_rate: 0.1\ncheckpoint_every: 7\n"
             "hyperparameters: {learning_rate: 0.02, momentum: 0.9, batch_size: 32, epochs: %d, seed: 1}\n"
             "promote: {metric: val_accuracy, automatic: true}\n",
             model, epochs);
    return test_write(test_path(name), text);
}

/* Topics of one partition: the order of rows is the file's. Samples are there, a train worker runs. */
static void place_open(struct place *p)
{
    char rows[16];
    *p = (struct place){0};
    stage_open(&p->s, broker_shared());
    p->config = stage_config(&p->s, &(struct stage_settings){.roles = "[train]",
                                                             .rest = "engine: {backend: cpu, threads: 1}\n"
                                                                     "log: {format: text, level: debug}\n"});
    stage_run(&p->s, &p->r, LIMIT_MS, "topics", "create", "--partitions", "1", NULL);
    result_expect(&p->r, 0);
    p->data = test_path("digits.npz");
    snprintf(rows, sizeof rows, "%d", ROWS);
    result_runl(&p->r, LIMIT_MS, test_millrace(), "make-data", "digits", "--output", p->data, "--rows", rows,
                "--seed", "1", "--shape", "3x32x32", NULL);
    result_expect(&p->r, 0);
    stage_run(&p->s, &p->r, LIMIT_MS, "send", p->data, "--samples", "--rows-per-record", "20", NULL);
    result_expect(&p->r, 0);
    p->ranges = test_write(test_path("ranges.json"), p->r.out);
    p->job = job_file("job.yaml", "digits", EPOCHS);
}

static void place_worker(struct place *p)
{
    stage_worker(&p->s, &p->worker, p->config);
    process_wait_text(&p->worker, "trainer is ready", 1, LIMIT_MS);
}

static void place_close(struct place *p)
{
    if (process_alive(&p->worker)) {
        process_signal(&p->worker, SIGTERM);
        assert_int_equal(process_wait(&p->worker, 15000), 0);
    }
    result_free(&p->r);
}

/* Metrics 1..N once each, in order, steps never going back. */
static int metrics_check(struct place *p, const char *job_id)
{
    int64_t sequence = 0, step = 0;
    size_t i;
    json_t *m;
    stage_run(&p->s, &p->r, LIMIT_MS, "jobs", "show", job_id, "--json", NULL);
    result_expect(&p->r, 0);
    json_t *job = json_of(&p->r);
    json_array_foreach(json_object_get(job, "metrics"), i, m)
    {
        assert_int_equal(number_at(m, "sequence"), ++sequence);
        assert_true(number_at(m, "step") >= step);
        step = number_at(m, "step");
    }
    assert_string_equal(text_at(job, "state"), "COMPLETED");
    json_decref(job);
    return (int)sequence;
}

static void sha_of_version(struct place *p, const char *key, char out[65])
{
    json_t *e;
    size_t i;
    int found = 0;
    stage_run(&p->s, &p->r, LIMIT_MS, "models", "--json", NULL);
    result_expect(&p->r, 0);
    json_t *list = json_of(&p->r);
    json_array_foreach(list, i, e)
    {
        if (strcmp(text_at(e, "key"), key) != 0)
            continue;
        snprintf(out, 65, "%s", text_at(e, "sha256"));
        found++;
    }
    if (!found)
        result_print(&p->r);
    assert_int_equal(found, 1);
    json_decref(list);
}

static void sha_of_local(struct place *p, char out[65])
{
    stage_run(&p->s, &p->r, LIMIT_MS, "train", "--local", "--data", p->data, "--output",
              test_path("local.onnx"), "--json", "-X", "engine.threads=1", "-X", "engine.backend=cpu", p->job,
              NULL);
    result_expect(&p->r, 0);
    json_t *v = json_of(&p->r);
    snprintf(out, 65, "%s", text_at(v, "sha256"));
    json_decref(v);
}

static void test_train_and_follow(void **state)
{
    (void)state;
    struct place p;
    char made[65], local[65];
    place_open(&p);
    place_worker(&p);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", p.job, "--dataset", p.ranges, "--json", NULL);
    result_expect(&p.r, 0);
    json_t *v = json_of(&p.r);
    char job_id[200];
    snprintf(job_id, sizeof job_id, "%s", text_at(v, "job_id"));
    assert_string_equal(text_at(v, "state"), "COMPLETED");
    assert_int_equal(number_at(v, "version"), 1);
    assert_true(json_is_true(json_object_get(v, "promoted")));
    assert_true(json_number_value(json_object_get(v, "val_accuracy")) > 0.3); /* chance is 0.1 */
    json_decref(v);
    assert_non_null(strstr(p.r.err, "epoch 6"));
    assert_true(metrics_check(&p, job_id) > EPOCHS);
    sha_of_version(&p, "digits@1", made);
    sha_of_local(&p, local);
    assert_string_equal(made, local);
    stage_run(&p.s, &p.r, LIMIT_MS, "jobs", NULL);
    result_expect(&p.r, 0);
    assert_non_null(strstr(p.r.out, job_id));
    stage_run(&p.s, &p.r, LIMIT_MS, "jobs", "stop", job_id, NULL);
    result_expect(&p.r, 1);
    place_close(&p);
}

static void submit_detached(struct place *p, const char *job, char job_id[200])
{
    stage_run(&p->s, &p->r, LIMIT_MS, "train", job, "--dataset", p->ranges, "--detach", NULL);
    result_expect(&p->r, 0);
    snprintf(job_id, 200, "%.*s", (int)strcspn(p->r.out, "\n"), p->r.out);
}

static void test_killed_twice(void **state)
{
    (void)state;
    struct place p;
    char job_id[200], made[65], local[65], text[300];
    place_open(&p);
    submit_detached(&p, p.job, job_id);
    snprintf(text, sizeof text, "checkpoint job=%s", job_id);
    for (int life = 0; life < 2; life++) {
        place_worker(&p);
        assert_true(process_wait_text(&p.worker, text, 3, LIMIT_MS));
        process_kill(&p.worker);
    }
    place_worker(&p);
    assert_true(process_wait_text(&p.worker, "goes on from its checkpoint", 1, LIMIT_MS));
    assert_true(process_wait_text(&p.worker, "version made", 1, LIMIT_MS));
    metrics_check(&p, job_id);
    sha_of_version(&p, "digits@1", made);
    sha_of_local(&p, local);
    assert_string_equal(made, local);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "show", "digits@2", NULL);
    assert_int_not_equal(p.r.code, 0);
    place_close(&p);
}

static void test_import_promote_rollback(void **state)
{
    (void)state;
    struct place p;
    char local[65], made[65];
    place_open(&p);
    sha_of_local(&p, local);
    const char *file = test_path("local.onnx");
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "import", file, "--model", "m", "--timeout", "2", NULL);
    result_expect(&p.r, 4); /* nobody trains */
    assert_non_null(strstr(p.r.err, "train worker"));
    place_worker(&p);
    assert_true(process_wait_text(&p.worker, "version imported", 1, LIMIT_MS));
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "import", file, "--model", "m", "--promote", NULL);
    result_expect(&p.r, 0);
    sha_of_version(&p, "m@champion", made);
    assert_string_equal(made, local);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "promote", "m@1", "--json", NULL);
    result_expect(&p.r, 0);
    json_t *v = json_of(&p.r);
    assert_int_equal(number_at(v, "previous_version"), 2);
    json_decref(v);
    /* The same once more: a rollback still finds what was there before it. */
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "promote", "m@1", "--json", NULL);
    result_expect(&p.r, 0);
    v = json_of(&p.r);
    assert_int_equal(number_at(v, "previous_version"), 2);
    json_decref(v);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "rollback", "m", "--json", NULL);
    result_expect(&p.r, 0);
    v = json_of(&p.r);
    assert_string_equal(text_at(v, "event"), "ROLLED_BACK");
    assert_int_equal(number_at(v, "version"), 2);
    json_decref(v);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "promote", "m@9", NULL);
    result_expect(&p.r, 1);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "promote", "nobody", NULL);
    result_expect(&p.r, 1);
    place_close(&p);
}

static void test_stop_and_failure(void **state)
{
    (void)state;
    struct place p;
    char job_id[200];
    place_open(&p);
    place_worker(&p);
    submit_detached(&p, job_file("long.yaml", "digits", 5000), job_id);
    assert_true(process_wait_text(&p.worker, "checkpoint job=", 2, LIMIT_MS));
    stage_run(&p.s, &p.r, LIMIT_MS, "jobs", "stop", job_id, "--json", NULL);
    result_expect(&p.r, 0);
    json_t *v = json_of(&p.r);
    assert_string_equal(text_at(v, "state"), "STOPPED");
    assert_true(number_at(v, "step") > 0);
    json_decref(v);
    const char *wild = test_write(test_path("wild.yaml"),
                                  "model: digits\nnetwork: lenet\nbase_version: 0\n"
                                  "hyperparameters: {learning_rate: 1e6, momentum: 1, epochs: 50}\n");
    stage_run(&p.s, &p.r, LIMIT_MS, "train", wild, "--dataset", p.ranges, NULL);
    result_expect(&p.r, 1);
    assert_non_null(strstr(p.r.err, "not finite"));
    place_close(&p);
}

/* A version deleted from the models topic does not hold up the next job, and its number is not given again. */
static void test_deleted_version(void **state)
{
    (void)state;
    struct place p;
    char topic[100], sha256[65];
    place_open(&p);
    place_worker(&p);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", job_file("short.yaml", "digits", 1), "--dataset", p.ranges,
              NULL);
    result_expect(&p.r, 0);
    snprintf(topic, sizeof topic, "%smodels", p.s.prefix);
    const char *const tombstones[] = {"kcat", "-P", "-b", p.s.bootstrap, "-t", topic, "-K:", "-Z", NULL};
    result_run(&p.r, LIMIT_MS, "digits@1:\ndigits@champion:\n", tombstones);
    result_expect(&p.r, 0);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", job_file("next.yaml", "digits", 1), "--dataset", p.ranges, NULL);
    result_expect(&p.r, 0);
    sha_of_version(&p, "digits@2", sha256);
    place_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_and_follow),        cmocka_unit_test(test_killed_twice),
        cmocka_unit_test(test_import_promote_rollback), cmocka_unit_test(test_stop_and_failure),
        cmocka_unit_test(test_deleted_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
