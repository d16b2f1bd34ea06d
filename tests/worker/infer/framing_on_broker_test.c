/* Confluent framing with a real broker and a real schema registry: requests of producers in other languages answered as ours are,
 * ours read by them; frames that are wrong; a schema registry that is away at the start, in the middle, and comes back. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/records.h"
#include "tests/lib/schema_server.h"

#undef fail
#include <cmocka.h>

enum { EACH = 5 };

static struct schema_server server;

static int start(void **state)
{
    (void)state;
    schema_server_start(&server);
    return 0;
}

/* Sections of a worker's configuration. */
static const char *framed(const char *topics)
{
    char text[400];
    snprintf(text, sizeof text, "framing: {%s}\nschema_registry: {url: \"%s\"}\n", topics, server.url);
    return test_keep(strdup(text));
}

/* One of the programs in tests/foreign; the output is in r. */
static void foreign(struct result *r, const char *language, const char *mode, struct stage *s,
                    const char *model, int count)
{
    const char *of = strcmp(mode, "answers") == 0 ? "predictions" : "inference";
    static char node[300], classes[800];
    char topic[100], n[16];
    struct result got = {0};
    const char *argv[16], **a = argv;
    snprintf(topic, sizeof topic, "%s%s", s->prefix, of);
    snprintf(n, sizeof n, "%d", count);
    if (strcmp(language, "js") == 0) {
        result_expect((result_runl(&got, 300000, "tests/foreign/get", "node", NULL), &got), 0);
        snprintf(node, sizeof node, "%.*s", (int)strcspn(got.out, "\n"), got.out);
        setenv("FOREIGN_MODULES", node, 1);
        *a++ = "node";
        *a++ = "tests/foreign/confluent.js";
    } else if (strcmp(language, "java") == 0) {
        result_expect((result_runl(&got, 300000, "tests/foreign/get", "avro", NULL), &got), 0);
        int size = snprintf(classes, sizeof classes, "%.*s:", (int)strcspn(got.out, "\n"), got.out);
        result_expect((result_runl(&got, 300000, "compose/kafka/kafka", "jars", NULL), &got), 0);
        snprintf(classes + size, sizeof classes - (size_t)size, "%.*s/*", (int)strcspn(got.out, "\n"),
                 got.out);
        *a++ = "java";
        *a++ = "-XX:TieredStopAtLevel=1";
        *a++ = "-XX:+UseSerialGC";
        *a++ = "-cp";
        *a++ = classes;
        *a++ = "tests/foreign/Confluent.java";
    } else {
        *a++ = "tests/foreign/confluent.py";
    }
    const char *rest[] = {mode, s->bootstrap, server.url, topic, model ? model : n, model ? n : NULL, NULL};
    memcpy(a, rest, sizeof rest);
    result_run(r, 120000, NULL, argv);
    result_expect(r, 0);
    result_free(&got);
}

/* A worker with confluent requests, a model, and the answer that a raw request gets in another stage: the measure. */
static json_t *raw_answer(void)
{
    struct stage s;
    struct process worker = {0};
    stage_begin(&s);
    worker_begin(&s, &worker, NULL);
    const float first = 0.5f;
    static float data[2 * 3072];
    data[0] = data[3072] = first;
    struct bytes b = {0};
    struct tensor_view t = {
        .dtype = DTYPE_FP32, .shape = SHAPE(2, 3, 32, 32), .data = {(char *)data, sizeof data}};
    inference_encode(&b, &(struct inference_head){.id = {"raw", 3}, .model = {"lenet", 5}, .top_k = 1}, &t,
                     NULL);
    stage_put(&s, "inference", 0, "raw", b.data, b.size);
    json_t *all = topic_read(&s, "predictions", 1);
    process_kill(&worker);
    bytes_free(&b);
    return all;
}

static void expect_answers(json_t *all, json_t *measure, const char *who, int count)
{
    for (int i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s-%d", who, i);
        json_t *one = by_key(all, key);
        assert_int_equal(rows_of(one), 2);
        for (int row = 0; row < 2; row++)
            for (int f = 0; f < 3; f++) {
                const char *name = (const char *[]){"status", "label", "score"}[f];
                json_t *got = json_object_get(row_of(one, row), name);
                assert_true(json_equal(got, json_object_get(row_of(json_array_get(measure, 0), row), name)));
            }
    }
}

static void test_foreign_producers_are_answered(void **state)
{
    static const char *const languages[] = {"js", "java", "py"};
    struct stage s;
    struct process worker = {0};
    struct result r = {0};
    (void)state;
    json_t *measure = raw_answer();
    stage_begin(&s);
    worker_begin(&s, &worker, framed("inference: confluent"));
    for (int i = 0; i < 3; i++)
        foreign(&r, languages[i], "produce", &s, "lenet", EACH);
    json_t *all = topic_read(&s, "predictions", 3 * EACH);
    for (int i = 0; i < 3; i++)
        expect_answers(all, measure, languages[i], EACH);
    json_t *dead = topic_now(&s, "dead-letters");
    assert_int_equal(json_array_size(dead), 0);
    json_decref(dead);
    json_decref(all);
    json_decref(measure);
    result_free(&r);
    process_kill(&worker);
}

/* What `send` writes is read by everybody, and by tail. */
static void test_ours_is_read_by_foreigners(void **state)
{
    static const char *const languages[] = {"js", "java", "py"};
    struct stage s;
    struct result r = {0};
    const char *data = test_path("ours.npz");
    (void)state;
    stage_begin(&s);
    s.configs++;
    const char *config = stage_config(&s, &(struct stage_settings){.rest = framed("inference: confluent")});
    snprintf(s.config, sizeof s.config, "%s", config);
    result_runl(&r, 30000, test_millrace(), "make-data", "digits", "--output", data, "--rows", "20", "--seed",
                "1", NULL);
    result_expect(&r, 0);
    stage_run(&s, &r, 60000, "send", data, "--model", "lenet", "--rows-per-record", "4", "--id-prefix", "own",
              NULL);
    result_expect(&r, 0);
    for (int i = 0; i < 3; i++) {
        foreign(&r, languages[i], "read", &s, NULL, 5);
        int seen = 0;
        for (char *line = strtok(r.out, "\n"); line; line = strtok(NULL, "\n"), seen++) {
            json_t *one = json_loads(line, 0, NULL);
            assert_non_null(one);
            assert_non_null(strstr(json_string_value(json_object_get(one, "id")), "own-"));
            assert_string_equal(json_string_value(json_object_get(one, "dtype")), "UINT8");
            assert_int_equal(json_integer_value(json_object_get(one, "bytes")), 4 * 3072);
            json_decref(one);
        }
        assert_int_equal(seen, 5);
    }
    json_t *all = topic_read(&s, "inference", 5); /* through the configuration with confluent framing */
    json_t *first = json_array_get(all, 0);
    assert_string_equal(json_string_value(json_object_get(json_object_get(first, "value"), "model")),
                        "lenet");
    assert_null(json_object_get(json_object_get(first, "headers"), "millrace.schema"));
    json_decref(all);
    result_free(&r);
}

/* What the worker writes is framed as well where it is told to be: read by a foreigner, by tail, and by rescore, which writes it once
 * more. */
static void test_predictions_too(void **state)
{
    struct stage s;
    struct process worker = {0};
    struct result r = {0};
    (void)state;
    stage_begin(&s);
    stage_model(&s, "lenet", 2, 2, false);
    const char *rest = framed("inference: confluent, predictions: confluent");
    worker_begin(&s, &worker, rest);
    foreign(&r, "py", "produce", &s, "lenet", EACH);
    foreign(&r, "py", "answers", &s, NULL, EACH);
    int seen = 0;
    for (char *line = strtok(r.out, "\n"); line; line = strtok(NULL, "\n"), seen++) {
        json_t *one = json_loads(line, 0, NULL);
        assert_int_equal(json_integer_value(json_object_get(one, "version")), 1);
        assert_int_equal(json_array_size(json_object_get(one, "labels")), 2);
        json_decref(one);
    }
    assert_int_equal(seen, EACH);
    json_t *raw = topic_read(&s, "predictions", EACH); /* a reader that is not told sees the frame's zero */
    assert_non_null(json_object_get(json_array_get(raw, 0), "error"));
    json_decref(raw);
    snprintf(s.config, sizeof s.config, "%s", stage_config(&s, &(struct stage_settings){.rest = rest}));
    json_t *all = topic_read(&s, "predictions", EACH);
    assert_int_equal(rows_of(by_key(all, "py-0")), 2);
    json_decref(all);
    stage_run(&s, &r, 60000, "rescore", "lenet@2", "--from", "beginning", "--to", "end", NULL);
    result_expect(&r, 0);
    all = topic_read(&s, "predictions", 2 * EACH);
    int again = 0;
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *value = json_object_get(json_array_get(all, i), "value");
        again += json_integer_value(json_object_get(value, "version")) == 2 &&
                 json_integer_value(json_object_get(value, "supersedes")) == 1;
    }
    assert_int_equal(again, EACH);
    json_decref(all);
    stage_run(&s, &r, 60000, "models", "--workers", NULL);
    result_expect(&r, 0);
    assert_non_null(strstr(r.out, "lenet"));
    result_free(&r);
    process_kill(&worker);
}

/* ---- verdicts ---- */

static void put_frame(struct stage *s, const char *key, int magic, uint32_t id, const void *rest, size_t size)
{
    unsigned char value[4096] = {(unsigned char)magic, (unsigned char)(id >> 24), (unsigned char)(id >> 16),
                                 (unsigned char)(id >> 8), (unsigned char)id};
    memcpy(value + 5, rest, size);
    stage_put(s, "inference", 0, key, value, 5 + size);
}

static void expect_dead(json_t *dead, const char *key, const char *reason, const char *detail)
{
    json_t *one = by_key(dead, key);
    assert_string_equal(header_of(one, "dlq.reason"), reason);
    if (!strstr(header_of(one, "dlq.detail"), detail))
        fail_msg("%s: %s", key, header_of(one, "dlq.detail"));
}

static void test_frames_that_are_wrong(void **state)
{
    struct stage s;
    struct process worker = {0};
    (void)state;
    uint32_t other = schema_server_put(&server, "other-value",
                                       "{\"type\":\"record\",\"name\":\"Other\",\"fields\":"
                                       "[{\"name\":\"id\",\"type\":\"string\"}]}");
    uint32_t circle =
        schema_server_put(&server, "circle-value",
                          "{\"type\":\"record\",\"name\":\"Node\",\"fields\":[{\"name\":\"id\",\"type\":"
                          "\"string\"},{\"name\":\"next\",\"type\":[\"null\",\"Node\"]}]}");
    uint32_t ours =
        schema_server_put(&server, "x.inference-value", record_schema(record_type_find("InferenceBatch"), 1));
    stage_begin(&s);
    worker_begin(&s, &worker, framed("inference: confluent"));
    put_frame(&s, "magic", 1, ours, "abc", 3);
    stage_put(&s, "inference", 0, "short", "\0\0\0\1", 4);
    put_frame(&s, "nothing", 0, ours, "", 0);
    put_frame(&s, "nobody", 0, 4000000, "abc", 3);
    put_frame(&s, "other", 0, other, "\2a", 2);
    put_frame(&s, "circle", 0, circle, "\2a\0", 3);
    put_frame(&s, "cut", 0, ours, "\2a", 2);
    put_frame(&s, "nobody again", 0, 4000000, "abc", 3);
    json_t *dead = topic_read(&s, "dead-letters", 8);
    expect_dead(dead, "magic", "bad_frame", "begin with 1");
    expect_dead(dead, "short", "bad_frame", "4 bytes");
    expect_dead(dead, "nothing", "truncated", "nothing follows");
    expect_dead(dead, "nobody", "unknown_schema", "4000000");
    expect_dead(dead, "other", "unknown_schema", "model: is missing");
    expect_dead(dead, "circle", "unknown_schema", "inside itself");
    expect_dead(dead, "cut", "truncated", "");
    expect_dead(dead, "nobody again", "unknown_schema", "4000000");
    json_decref(dead);
    process_kill(&worker);
}

/* ---- a schema registry that is away ---- */

static void expect_no_letters(struct stage *s)
{
    json_t *dead = topic_now(s, "dead-letters");
    assert_int_equal(json_array_size(dead), 0);
    json_decref(dead);
}

static void put_good(struct stage *s, const char *key, uint32_t id)
{
    struct bytes b = {0};
    static float data[3072];
    struct tensor_view t = {
        .dtype = DTYPE_FP32, .shape = SHAPE(1, 3, 32, 32), .data = {(char *)data, sizeof data}};
    unsigned char frame[5] = {0, (unsigned char)(id >> 24), (unsigned char)(id >> 16),
                              (unsigned char)(id >> 8), (unsigned char)id};
    inference_encode(&b, &(struct inference_head){.id = text_span(key), .model = {"lenet", 5}, .top_k = 1},
                     &t, NULL);
    char *value = malloc(5 + b.size);
    memcpy(value, frame, 5);
    memcpy(value + 5, b.data, b.size);
    stage_put(s, "inference", 0, key, value, 5 + b.size);
    free(value);
    bytes_free(&b);
}

static void gate_open(struct schema_gate *gate, const char *const schemas[], int count)
{
    schema_server_start(&server); /* empty: the same schemas in the same order have the same ids */
    for (int i = 0; i < count; i++)
        assert_int_equal(
            schema_server_put(&server, (const char *[]){"away1-value", "away2-value"}[i], schemas[i]), i + 1);
    schema_gate_start(gate, &server);
}

/* No nginx either, so that nobody sees it before its schemas are there again. */
static void gate_shut(struct schema_gate *gate)
{
    process_signal(&gate->process, SIGTERM);
    assert_int_equal(process_wait(&gate->process, 10000), 0);
    process_kill(&server.process);
}

/* Away when the worker starts, and when a second id comes; what is known is served meanwhile. Nothing is lost or judged, the
 * partitions stay, and a stop is a stop. */
static void test_away_at_the_start_and_in_the_middle(void **state)
{
    const char *schema = record_schema(record_type_find("InferenceBatch"), 1);
    char other[12000], rest[600];
    const char *const schemas[] = {schema, other};
    struct schema_gate gate = {0};
    struct stage s;
    struct process worker = {0};
    (void)state;
    snprintf(other, sizeof other, "{\"doc\":\"another\",%s", strchr(schema, '{') + 1);
    process_kill(&server.process);
    gate_open(&gate, schemas, 1);
    gate_shut(&gate);
    snprintf(
        rest, sizeof rest,
        "framing: {inference: confluent}\nschema_registry: {url: \"%s\", token: \"%s\", ca_file: \"%s\"}\n",
        gate.bearer, GATE_TOKEN, gate.ca_file);
    stage_begin(&s);
    worker_begin(&s, &worker, rest);
    assert_true(process_wait_text(&worker, "the schema registry does not answer yet", 1, 10000));
    put_good(&s, "a", 1);
    assert_true(process_wait_text(&worker, "waiting for the schema registry", 1, 20000));
    expect_no_letters(&s);
    gate_open(&gate, schemas, 1);
    json_t *all = topic_read(&s, "predictions", 1);
    by_key(all, "a");
    json_decref(all);

    gate_shut(&gate);
    put_good(&s, "b", 1); /* known for as long as the worker lives */
    all = topic_read(&s, "predictions", 2);
    by_key(all, "b");
    json_decref(all);
    put_good(&s, "c", 2);
    assert_true(process_wait_text(&worker, "waiting for the schema registry", 2, 20000));
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 6000), 0);
    expect_no_letters(&s);

    worker_begin(&s, &worker, rest);
    assert_true(process_wait_text(&worker, "waiting for the schema registry", 1, 30000));
    gate_open(&gate, schemas, 2);
    all = topic_read(&s, "predictions", 3);
    by_key(all, "c");
    json_decref(all);
    expect_no_letters(&s);
    assert_int_equal(process_count_text(&worker, "session is opened again"), 0);
    assert_int_equal(process_count_text(&worker, GATE_TOKEN), 0);
    process_kill(&worker);
}

/* Refused at the start: the configuration is wrong, and the worker says so. */
static void test_refused_at_the_start(void **state)
{
    struct schema_gate gate = {0};
    struct stage s;
    struct process worker = {0};
    char rest[2000];
    (void)state;
    schema_gate_start(&gate, &server);
    stage_begin(&s);
    snprintf(rest, sizeof rest,
             "framing: {inference: confluent}\nschema_registry: {url: \"%s\", username: worker, password: "
             "wrong-secret, "
             "ca_file: \"%s\"}\n",
             gate.basic, gate.ca_file);
    stage_worker(&s, &worker, stage_config(&s, &(struct stage_settings){.roles = "[infer]", .rest = rest}));
    assert_int_equal(process_wait(&worker, 20000), 3);
    assert_int_equal(process_count_text(&worker, "HTTP 401"), 1);
    assert_int_equal(process_count_text(&worker, "secret"), 0);
    process_kill(&gate.process);
}

/* ---- training ---- */

static void test_samples_and_jobs(void **state)
{
    struct stage s;
    struct process worker = {0};
    struct result r = {0};
    const char *data = test_path("samples.npz");
    (void)state;
    stage_begin(&s);
    const char *rest = framed("samples: confluent, jobs: confluent");
    snprintf(s.config, sizeof s.config, "%s", stage_config(&s, &(struct stage_settings){.rest = rest}));
    stage_worker(&s, &worker, stage_config(&s, &(struct stage_settings){.roles = "[train]", .rest = rest}));
    result_runl(&r, 30000, test_millrace(), "make-data", "digits", "--output", data, "--rows", "200",
                "--seed", "1", NULL);
    result_expect(&r, 0);
    stage_run(&s, &r, 60000, "send", "--samples", data, NULL);
    result_expect(&r, 0);
    const char *ranges = test_write(test_path("ranges.json"), r.out);
    const char *job =
        test_write(test_path("job.yaml"), "model: framed\nnetwork: lenet\nloss: cross_entropy\n"
                                          "hyperparameters: {epochs: 1, batch_size: 32, seed: 1}\n");
    stage_run(&s, &r, 120000, "train", job, "--dataset", ranges, NULL);
    result_expect(&r, 0);
    stage_run(&s, &r, 60000, "jobs", "--json", NULL);
    result_expect(&r, 0);
    assert_non_null(strstr(r.out, "COMPLETED"));
    json_t *jobs = topic_now(&s, "jobs");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json_array_get(jobs, 0), "value"), "model")),
        "framed");
    json_decref(jobs);
    json_t *dead = topic_now(&s, "dead-letters");
    assert_int_equal(json_array_size(dead), 0);
    json_decref(dead);
    result_free(&r);
    process_kill(&worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_producers_are_answered),
        cmocka_unit_test(test_ours_is_read_by_foreigners),
        cmocka_unit_test(test_predictions_too),
        cmocka_unit_test(test_frames_that_are_wrong),
        cmocka_unit_test(test_samples_and_jobs),
        cmocka_unit_test(test_refused_at_the_start),
        cmocka_unit_test(test_away_at_the_start_and_in_the_middle),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
