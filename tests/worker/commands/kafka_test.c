/* The commands that talk to Kafka, on a real broker: topics, send, tail, check. */
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

enum { LIMIT_MS = 60000 };

/* Output of one JSON value; the test fails where it is none. */
static json_t *json_of(const struct result *r)
{
    json_t *v = json_loads(r->out, 0, NULL);
    if (!v)
        result_print(r);
    assert_non_null(v);
    return v;
}

/* Line i of several JSON lines, or NULL behind the last. */
static json_t *json_line(const struct result *r, int i)
{
    const char *at = r->out;
    for (; i > 0 && at; i--)
        at = (at = strchr(at, '\n')) ? at + 1 : NULL;
    if (!at || !*at)
        return NULL;
    json_t *v = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(v);
    return v;
}

static int lines_of(const struct result *r)
{
    int n = 0;
    for (const char *c = r->out; *c; c++)
        n += *c == '\n';
    return n;
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

static void open_with_topics(struct stage *s, struct result *r)
{
    stage_open(s, broker_shared());
    stage_run(s, r, LIMIT_MS, "topics", "create", "--partitions", "3", NULL);
    result_expect(r, 0);
}

static const char *data_file(struct result *r)
{
    const char *path = test_path("digits.npz");
    result_runl(r, LIMIT_MS, test_millrace(), "make-data", "digits", "--output", path, "--rows", "100",
                "--seed", "1", "--shape", "1x28x28", NULL);
    result_expect(r, 0);
    return path;
}

static void test_topics(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    stage_open(&s, broker_shared());
    stage_run(&s, &r, LIMIT_MS, "topics", NULL);
    result_expect(&r, 0);
    assert_non_null(strstr(r.out, "missing"));
    stage_run(&s, &r, LIMIT_MS, "topics", "create", "--partitions", "3", "--json", NULL);
    result_expect(&r, 0);
    json_t *made = json_of(&r);
    assert_int_equal(json_array_size(made), 9);
    json_decref(made);
    stage_run(&s, &r, LIMIT_MS, "topics", "create", "--partitions", "5", NULL);
    result_expect(&r, 0);
    assert_null(strstr(r.out, "created"));
    assert_null(strstr(r.out, "5 partitions"));
    stage_run(&s, &r, LIMIT_MS, "topics", "--json", NULL);
    json_t *list = json_of(&r);
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        const char *name = text_at(one, "topic") + strlen(s.prefix);
        bool jobs = strcmp(name, "jobs") == 0, single = strstr("metrics models checkpoints", name) != NULL;
        int64_t want = jobs ? 4 : single ? 1 : 3;
        assert_int_equal(number_at(one, "partitions"), want);
    }
    json_decref(list);
    result_free(&r);
}

static void test_send_and_tail(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    open_with_topics(&s, &r);
    const char *data = data_file(&r);
    stage_run(&s, &r, LIMIT_MS, "send", data, "--model", "digits@champion", "--id-prefix", "q", "--row-ids",
              "--top-k", "3", "--rows-per-record", "30", "--json", NULL);
    result_expect(&r, 0);
    assert_non_null(strstr(r.err, "sent 100 rows in 4 records"));
    json_t *ranges = json_of(&r);
    assert_int_equal(json_array_size(ranges), 3); /* 4 records over 3 partitions: 2, 1, 1 */
    assert_int_equal(number_at(json_array_get(ranges, 0), "end_offset"), 2);
    assert_int_equal(number_at(json_array_get(ranges, 2), "end_offset"), 1);
    json_decref(ranges);

    stage_run(&s, &r, LIMIT_MS, "tail", "inference", "-p", "0", NULL);
    result_expect(&r, 0);
    assert_int_equal(lines_of(&r), 2);
    json_t *last = json_line(&r, 1);
    assert_string_equal(text_at(last, "key"), "q-3");
    assert_int_equal(number_at(last, "offset"), 1);
    assert_string_equal(text_at(json_object_get(last, "headers"), "millrace.schema"), "1");
    json_t *value = json_object_get(last, "value"),
           *tensor = json_array_get(json_object_get(value, "tensors"), 0);
    assert_string_equal(text_at(value, "id"), "q-3");
    assert_string_equal(text_at(value, "model"), "digits@champion");
    assert_int_equal(number_at(value, "top_k"), 3);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(tensor, "shape"), 0)), 10);
    assert_string_equal(json_string_value(json_array_get(json_object_get(value, "row_ids"), 0)), "90");
    assert_string_equal(text_at(tensor, "dtype"), "UINT8");
    json_decref(last);

    char full[100];
    snprintf(full, sizeof full, "%sinference", s.prefix);
    stage_run(&s, &r, LIMIT_MS, "tail", full, "-n", "3", NULL);
    result_expect(&r, 0);
    assert_int_equal(lines_of(&r), 3);
    stage_run(&s, &r, LIMIT_MS, "tail", full, "-o", "1", NULL);
    assert_int_equal(lines_of(&r), 1);
    stage_run(&s, &r, LIMIT_MS, "tail", full, "-o", "-1", NULL);
    assert_int_equal(lines_of(&r), 3);
    stage_run(&s, &r, LIMIT_MS, "tail", full, "-o", "end", NULL);
    result_expect(&r, 0);
    assert_string_equal(r.out, "");
    stage_run(&s, &r, LIMIT_MS, "tail", "predictions", NULL);
    result_expect(&r, 0);
    assert_string_equal(r.out, "");
    stage_run(&s, &r, LIMIT_MS, "tail", "inference", "-p", "3", NULL);
    result_expect(&r, 2);
    stage_run(&s, &r, LIMIT_MS, "tail", "nonsense", NULL);
    result_expect(&r, 1);
    assert_non_null(strstr(r.err, "topic nonsense does not exist"));
    result_free(&r);
}

static void test_send_samples(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    open_with_topics(&s, &r);
    const char *data = data_file(&r);
    stage_run(&s, &r, LIMIT_MS, "send", "--samples", data, "--encoding", "f32", NULL);
    stage_run(&s, &r, LIMIT_MS, "send", "--samples", data, "--encoding", "f32", NULL); /* ranges begin anew */
    result_expect(&r, 0);
    json_t *ranges = json_of(&r);
    int64_t records = 0;
    size_t i;
    json_t *range;
    json_array_foreach(ranges, i, range)
    {
        assert_true(number_at(range, "start_offset") >= 2);
        assert_int_equal(number_at(range, "partition"), i);
        records += number_at(range, "end_offset") - number_at(range, "start_offset");
    }
    assert_int_equal(records, 7);
    json_decref(ranges);
    stage_run(&s, &r, LIMIT_MS, "tail", "samples", "-n", "1", NULL);
    json_t *first = json_line(&r, 0), *value = json_object_get(first, "value");
    assert_int_equal(json_array_size(json_object_get(value, "labels")), 16);
    assert_string_equal(text_at(json_array_get(json_object_get(value, "tensors"), 0), "dtype"), "FP32");
    json_decref(first);
    stage_run(&s, &r, LIMIT_MS, "tail", "samples", "-n", "1", "--images", "--image-rows", "2", NULL);
    result_expect(&r, 0);
    assert_non_null(strstr(r.out, "label "));
    assert_null(strchr(r.out, '\033')); /* no terminal, no colours */
    stage_run(&s, &r, LIMIT_MS, "send", data, "--model", "m", "--rows-per-record", "100000", "--repeat", "2",
              NULL);
    result_expect(&r, 0); /* more rows a record than there are */
    result_free(&r);
}

/* What has no schema, or is not what its topic promises, is shown as bytes with the reason. */
static void test_tail_undecodable(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    char topic[100];
    open_with_topics(&s, &r);
    snprintf(topic, sizeof topic, "%smetrics", s.prefix);
    const char *const bad[] = {"kcat", "-P", "-b", s.bootstrap, "-t", topic, "-K:", NULL};
    result_run(&r, LIMIT_MS, "k\xff:garbage", bad);
    result_expect(&r, 0);
    stage_run(&s, &r, LIMIT_MS, "tail", "metrics", NULL);
    json_t *line = json_line(&r, 0);
    assert_string_equal(text_at(json_object_get(line, "key"), "base64"), "a/8=");
    assert_string_equal(text_at(json_object_get(line, "value"), "base64"), "Z2FyYmFnZQ==");
    assert_non_null(json_object_get(line, "error"));
    json_decref(line);
    snprintf(topic, sizeof topic, "%sdead-letters", s.prefix);
    const char *const dead[] = {"kcat", "-P",
                                "-b",   s.bootstrap,
                                "-t",   topic,
                                "-H",   "dlq.reason=bad_avro",
                                "-H",   "dlq.detail=at byte 3",
                                NULL};
    result_run(&r, LIMIT_MS, "x", dead);
    result_expect(&r, 0);
    stage_run(&s, &r, LIMIT_MS, "tail", "dead-letters", NULL);
    line = json_line(&r, 0);
    assert_true(json_is_null(json_object_get(line, "key")));
    assert_string_equal(text_at(line, "error"), "bad_avro: at byte 3");
    assert_string_equal(text_at(json_object_get(line, "value"), "base64"), "eA==");
    json_decref(line);
    result_free(&r);
}

static void test_too_large(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    open_with_topics(&s, &r);
    const char *path = test_path("large.npy");
    result_runl(&r, LIMIT_MS, test_millrace(), "make-data", "shapes", "--output", path, "--rows", "6000",
                "--seed", "1", NULL);
    result_expect(&r, 0);
    stage_run(&s, &r, LIMIT_MS, "send", path, "--model", "m", "--rows-per-record", "6000", NULL);
    result_expect(&r, 2);
    assert_non_null(strstr(r.err, "--rows-per-record"));
    stage_run(&s, &r, LIMIT_MS, "send", path, "--model", "m", "--rows-per-record", "5000", NULL); /* 15 MB */
    result_expect(&r, 0);
    stage_run(&s, &r, LIMIT_MS, "tail", "inference", "-p", "0", NULL);
    result_expect(&r, 0);
    assert_true(r.out_size > 20000000); /* base64 of it */
    result_free(&r);
}

/* Ctrl-C ends what follows, with the status that says so. */
static void test_interrupted(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process p = {0};
    open_with_topics(&s, &r);
    const char *data = data_file(&r);
    stage_run(&s, &r, LIMIT_MS, "send", data, "--model", "m", NULL);
    result_expect(&r, 0);
    process_start(
        &p, "follow.log",
        (const char *const[]){test_millrace(), "tail", "inference", "--follow", "-c", s.config, NULL});
    assert_true(
        process_wait_text(&p, "\"topic\"", 7, LIMIT_MS)); /* seven lines are there, it waits for more */
    process_signal(&p, SIGINT);
    assert_int_equal(process_wait(&p, 5000), 64);
    process_start(&p, "slow.log",
                  (const char *const[]){test_millrace(), "send", data, "--model", "slow", "--rate", "1", "-c",
                                        s.config, NULL});
    stage_run(&s, &r, LIMIT_MS, "tail", "inference", "-n", "8", "--follow",
              NULL); /* its first record is out */
    result_expect(&r, 0);
    process_signal(&p, SIGINT);
    assert_int_equal(process_wait(&p, 5000), 64);
    assert_true(process_count_text(&p, "stopped after") == 1);
    result_free(&r);
}

/* A prediction's images are those of its request, found through its headers, each above its own answer. */
static void test_pictures_of_predictions(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process worker = {0};
    const char *model = test_path("m.onnx"), *data = test_path("colour.npz"), *job = test_path("job.yaml");
    open_with_topics(&s, &r);
    result_runl(&r, LIMIT_MS, test_millrace(), "make-data", "digits", "--output", data, "--rows", "40", NULL);
    result_expect(&r, 0);
    test_write(job, "model: m\nnetwork: lenet\ndataset: [{topic: millrace.samples, start_offset: earliest, "
                    "end_offset: latest}]\nhyperparameters: {epochs: 1, batch_size: 16}\n");
    result_runl(&r, LIMIT_MS, test_millrace(), "train", job, "--local", "--data", data, "--output", model,
                NULL);
    result_expect(&r, 0);
    stage_worker(&s, &worker, s.config);
    stage_run(&s, &r, LIMIT_MS, "models", "import", model, "--model", "m", "--promote", "--timeout", "40",
              NULL);
    result_expect(&r, 0);
    stage_run(&s, &r, LIMIT_MS, "send", data, "--model", "m", "--rows-per-record", "40", NULL);
    result_expect(&r, 0);
    stage_run(&s, &r, LIMIT_MS, "tail", "predictions", "-n", "1", "--follow", "--json", "--images",
              "--image-rows", "5", NULL);
    result_expect(&r, 0);
    json_t *line = json_line(&r, 0), *rows = json_object_get(json_object_get(line, "value"), "rows");
    assert_int_equal(json_array_size(rows), 40);
    for (size_t i = 0; i < 5; i++) {
        char caption[32];
        snprintf(caption, sizeof caption, "-> %lld  (",
                 (long long)number_at(json_array_get(rows, i), "label"));
        assert_non_null(strstr(r.out, caption));
    }
    json_decref(line);
    const char *shades = strstr(r.out, "\n") + 1; /* behind the JSON line: where it is, then images */
    assert_non_null(strstr(shades, "predictions [0] @ "));
    assert_true(strstr(shades, "::") || strstr(shades, "..") || strstr(shades, "--"));
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 10000), 0);
    result_free(&r);
}

static void test_check(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    stage_open(&s, broker_shared());
    stage_run(&s, &r, LIMIT_MS, "check", NULL);
    result_expect(&r, 3);
    assert_non_null(strstr(r.out, "millrace topics create"));
    stage_run(&s, &r, LIMIT_MS, "topics", "create", NULL);
    result_expect(&r, 0);
    stage_run(&s, &r, LIMIT_MS, "check", "--json", NULL);
    result_expect(&r, 0);
    json_t *all = json_of(&r);
    assert_true(json_array_size(all) >= 14);
    json_decref(all);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topics),       cmocka_unit_test(test_send_and_tail),
        cmocka_unit_test(test_send_samples), cmocka_unit_test(test_tail_undecodable),
        cmocka_unit_test(test_too_large),    cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_check),        cmocka_unit_test(test_pictures_of_predictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
