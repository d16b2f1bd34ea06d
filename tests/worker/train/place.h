/* A stage on a real broker with samples on its topic and a train worker, for the tests of jobs. Included by each. */
#ifndef TESTS_WORKER_TRAIN_PLACE_H
#define TESTS_WORKER_TRAIN_PLACE_H

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

static inline json_t *json_of(const struct result *r)
{
    json_t *v = json_loads(r->out, 0, NULL);
    if (!v)
        result_print(r);
    assert_non_null(v);
    return v;
}

static inline const char *text_at(json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));
    return s ? s : "(none)";
}

static inline int64_t number_at(json_t *v, const char *key)
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

static inline const char *job_file(const char *name, const char *model, int epochs)
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
static inline void place_open(struct place *p)
{
    char rows[16];
    *p = (struct place){0};
    stage_open(&p->s, broker_shared());
    p->config = stage_config(
        &p->s, &(struct stage_settings){.roles = "[train]",
                                        .rest = "engine: {backend: cpu, threads: 1}\n"
                                                "log: {format: text, level: debug}\n"
                                                "training: {memory_mb: 1, metrics_every_ms: 40}\n"});
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

static inline void place_worker(struct place *p)
{
    stage_worker(&p->s, &p->worker, p->config);
    process_wait_text(&p->worker, "trainer is ready", 1, LIMIT_MS);
}

static inline void place_close(struct place *p)
{
    if (process_alive(&p->worker)) {
        process_signal(&p->worker, SIGTERM);
        assert_int_equal(process_wait(&p->worker, 15000), 0);
    }
    result_free(&p->r);
}

/* Metrics 1..N once each, in order, steps never going back. */
static inline int metrics_check(struct place *p, const char *job_id)
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
    if (strcmp(text_at(job, "state"), "COMPLETED") != 0)
        result_print(&p->r);
    assert_string_equal(text_at(job, "state"), "COMPLETED");
    json_decref(job);
    return (int)sequence;
}

static inline void sha_of_version(struct place *p, const char *key, char out[65])
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

static inline void sha_of_local(struct place *p, char out[65])
{
    stage_run(&p->s, &p->r, LIMIT_MS, "train", "--local", "--data", p->data, "--output",
              test_path("local.onnx"), "--json", "-X", "engine.threads=1", "-X", "engine.backend=cpu", p->job,
              NULL);
    result_expect(&p->r, 0);
    json_t *v = json_of(&p->r);
    snprintf(out, 65, "%s", text_at(v, "sha256"));
    json_decref(v);
}

static inline void submit_detached(struct place *p, const char *job, char job_id[200])
{
    stage_run(&p->s, &p->r, LIMIT_MS, "train", job, "--dataset", p->ranges, "--detach", NULL);
    result_expect(&p->r, 0);
    snprintf(job_id, 200, "%.*s", (int)strcspn(p->r.out, "\n"), p->r.out);
}

#endif
