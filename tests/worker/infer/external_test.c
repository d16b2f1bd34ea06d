/* Requests that name their rows by a URI: answered as if they had brought them, or dead letters that say why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "worker/codec/record.h"

#undef fail
#include <cmocka.h>

#include "tests/lib/s3.h"
#include "tests/worker/infer/line.h"
#include "worker/models/store.h"
#include "worker/service/log.h"
#include "worker/stream/clock.h"

enum { ROWS = 5, FLOATS = ROWS * LINE_INPUT };

static void numbers(float data[FLOATS])
{
    for (int i = 0; i < FLOATS; i++)
        data[i] = (float)((i * 37) % 255) / 100 - 1;
}

/* A request for model "tiny" with floats at uri. sha256 NULL: of `data`. */
static void add_external(struct line *l, const char *id, const char *uri, const char *sha256,
                         const char *shape, const void *data, size_t size, int64_t deadline_at)
{
    struct fail why;
    struct bytes b = {0};
    char json[4096], deadline[40] = "null", own[SHA256_HEX];
    sha256_hex(data, size, own);
    if (deadline_at)
        snprintf(deadline, sizeof deadline, "%lld", (long long)deadline_at);
    snprintf(json, sizeof json,
             "{\"id\":\"%s\",\"model\":\"tiny\",\"external\":{\"uri\":\"%s\",\"sha256\":\"%s\",\"tensor\":{"
             "\"dtype\":"
             "\"FP32\",\"shape\":%s,\"data\":\"\"}},\"top_k\":4,\"return_outputs\":true,\"deadline_at\":%s}",
             id, uri, sha256 ? sha256 : own, shape, deadline);
    if (record_parse_json(&b, record_type_find("InferenceBatch"), json, strlen(json), &why))
        fail_msg("%s", why.text);
    line_add(l, id, (struct span){(const char *)b.data, b.size}, NULL, 0);
    bytes_free(&b);
}

static void add_inline(struct line *l, const char *id, const float *data)
{
    struct bytes b = {0};
    struct tensor_view t = {.dtype = DTYPE_FP32,
                            .shape = SHAPE(ROWS, 3, 8, 8),
                            .data = {(const char *)data, FLOATS * sizeof *data}};
    struct inference_head head = {
        .id = text_span(id), .model = text_span("tiny"), .top_k = 4, .return_outputs = true};
    inference_encode(&b, &head, &t, NULL);
    line_add(l, id, (struct span){(const char *)b.data, b.size}, NULL, 0);
    bytes_free(&b);
}

static void run(struct line *l)
{
    struct fail why = {0};
    line_must(line_run(l, &why), &why);
    assert_int_equal(l->out_count, l->count);
}

static void config_of(char config[1024], const char *prefix, const char *more)
{
    snprintf(config, 1024, "inference: {external_prefixes: ['%s']%s}\n", prefix, more);
}

static void same_rows(struct line *l, const char *a, const char *b)
{
    json_t *x = line_prediction(l, a), *y = line_prediction(l, b);
    assert_int_equal(json_array_size(json_object_get(x, "rows")), ROWS);
    assert_true(json_equal(json_object_get(x, "rows"), json_object_get(y, "rows")));
    json_decref(x), json_decref(y);
}

static void a_file_is_answered_as_its_rows(void **state)
{
    struct line l;
    float data[FLOATS];
    char config[1024], uri[600];
    numbers(data);
    snprintf(uri, sizeof uri, "file://%s", (const char *)*state);
    config_of(config, uri, "");
    line_open(&l, *state, config);
    snprintf(uri, sizeof uri, "file://%s", folder_path(*state, "rows.bin"));
    folder_write(folder_path(*state, "rows.bin"), data, sizeof data);
    add_inline(&l, "brought", data);
    add_external(&l, "named", uri, NULL, "[5,3,8,8]", data, sizeof data, 0);
    add_external(&l, "again", uri, NULL, "[5,3,8,8]", data, sizeof data, clock_ms() + 600000);
    run(&l);
    same_rows(&l, "named", "brought");
    same_rows(&l, "again", "brought");
    line_close(&l);
}

/* A row that is not finite is bad by itself; a request that is late is not read at all. */
static void rows_have_their_status(void **state)
{
    struct line l;
    float data[FLOATS];
    char config[1024], uri[600];
    numbers(data);
    data[LINE_INPUT + 3] = 0.0f / 0.0f;
    snprintf(uri, sizeof uri, "file://%s/", (const char *)*state);
    config_of(config, uri, "");
    line_open(&l, *state, config);
    folder_write(folder_path(*state, "nan.bin"), data, sizeof data);
    snprintf(uri, sizeof uri, "file://%s", folder_path(*state, "nan.bin"));
    add_external(&l, "nan", uri, NULL, "[5,3,8,8]", data, sizeof data, 0);
    add_external(&l, "late", "file:///nowhere", NULL, "[5,3,8,8]", data, sizeof data, clock_ms() - 1);
    run(&l);
    static const char *const wanted[] = {"OK", "BAD_INPUT", "OK", "OK", "OK"};
    json_t *nan = line_prediction(&l, "nan"), *late = line_prediction(&l, "late");
    for (size_t i = 0; i < ROWS; i++) {
        json_t *a = json_array_get(json_object_get(nan, "rows"), i),
               *b = json_array_get(json_object_get(late, "rows"), i);
        assert_string_equal(json_string_value(json_object_get(a, "status")), wanted[i]);
        assert_string_equal(json_string_value(json_object_get(b, "status")), "EXPIRED");
    }
    json_decref(nan), json_decref(late);
    line_close(&l);
}

static void refused(void **state)
{
    static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
    const struct {
        const char *id, *at, *sha256, *shape, *reason, *detail;
    } cases[] = {
        {"outside", "file:///etc/passwd", NULL, "[5,3,8,8]", "external_data",
         "below no folder of inference.external"},
        {"beside", "file://@2/rows.bin", NULL, "[5,3,8,8]", "external_data", "below no folder"},
        {"climbs", "file://@/sub/../../x", NULL, "[5,3,8,8]", "external_data", "below no folder"},
        {"other scheme", "http://@/rows.bin", NULL, "[5,3,8,8]", "external_data", "below no folder"},
        {"bucket", "s3://bucket/rows.bin", NULL, "[5,3,8,8]", "external_data", "below no folder"},
        {"missing", "file://@/sub/none.bin", NULL, "[5,3,8,8]", "external_data", "No such file"},
        {"folder", "file://@/sub", NULL, "[5,3,8,8]", "external_data", "below no folder"},
        {"wrong sum", "file://@/sub/rows.bin", zeros, "[5,3,8,8]", "external_data", "SHA-256 is"},
        {"too short", "file://@/sub/rows.bin", NULL, "[6,3,8,8]", "external_data", "want 4608"},
        {"too long", "file://@/sub/rows.bin", NULL, "[4,3,8,8]", "external_data", "at most 3072 bytes"},
        {"other model", "file://@/sub/rows.bin", NULL, "[5,3,8,9]", "bad_shape", "external.tensor.shape is"},
        {"huge", "file://@/sub/rows.bin", NULL, "[2000,3,8,8]", "too_large",
         "inference.external_max_mb is 1"},
        {"zero", "file://@/sub/rows.bin\\u0000", NULL, "[5,3,8,8]", "external_data", "none of them 0"},
    };
    struct line l;
    float data[FLOATS];
    char config[1024], uri[1000], sub[600];
    numbers(data);
    snprintf(sub, sizeof sub, "file://%s/sub", (const char *)*state);
    config_of(config, sub, ", external_max_mb: 1");
    line_open(&l, *state, config);
    mkdir(folder_path(*state, "sub"), 0700);
    folder_write(folder_path(*state, "sub/rows.bin"), data, sizeof data);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *at = strchr(cases[i].at, '@');
        snprintf(uri, sizeof uri, "%.*s%s%s", (int)(at ? at - cases[i].at : 999), cases[i].at,
                 at ? (const char *)*state : "", at ? at + 1 : "");
        add_external(&l, cases[i].id, uri, cases[i].sha256, cases[i].shape, data, sizeof data, 0);
    }
    add_inline(&l, "good", data);
    run(&l);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct line_output *o = line_find(&l, cases[i].id);
        assert_int_equal(o->topic, TOPIC_DEAD_LETTERS);
        struct span reason = line_header(o, "dlq.reason"), detail = line_header(o, "dlq.detail");
        if (strcmp(reason.data, cases[i].reason) != 0 || !strstr(detail.data, cases[i].detail))
            fail_msg("%s: expected %s \"%s\", got %s: %s", cases[i].id, cases[i].reason, cases[i].detail,
                     reason.data, detail.data);
    }
    line_close(&l);
}

/* A partition that goes ends the wait for a server that does not answer; the next owner reads the record again. */
static void waiting_ends_when_the_partition_goes(void **state)
{
    struct line l;
    struct fail why = {0};
    float data[FLOATS];
    char config[1024], endpoint[64];
    struct s3_server nobody = {.port = test_free_port()};
    numbers(data);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", nobody.port);
    snprintf(nobody.endpoint, sizeof nobody.endpoint, "%s", endpoint);
    s3_environment(&nobody);
    config_of(config, "s3://rows/", "");
    line_open(&l, *state, config);
    l.changed_after = 1;
    add_external(&l, "never", "s3://rows/x", NULL, "[5,3,8,8]", data, sizeof data, 0);
    add_inline(&l, "after", data);
    line_must(line_run(&l, &why), &why);
    assert_int_equal(l.out_count, 1);
    assert_string_equal(l.out[0].key, "after");
    line_close(&l);
}

static void a_bucket_is_read_too(void **state)
{
    static struct s3_server s3;
    struct line l;
    float data[FLOATS];
    char config[1024], sha[SHA256_HEX], uri[STORE_URI];
    struct fail why;
    numbers(data);
    s3_server_start(&s3);
    if (store_put("s3://models/rows", "a", "rows.bin", data, sizeof data, uri, sha, &why))
        fail_msg("%s", why.text);
    config_of(config, "s3://models/rows", "");
    line_open(&l, *state, config);
    add_inline(&l, "brought", data);
    add_external(&l, "named", uri, NULL, "[5,3,8,8]", data, sizeof data, 0);
    add_external(&l, "missing", "s3://models/rows/none", NULL, "[5,3,8,8]", data, sizeof data, 0);
    add_external(&l, "no bucket", "s3://models/other", NULL, "[5,3,8,8]", data, sizeof data, 0);
    run(&l);
    same_rows(&l, "named", "brought");
    assert_non_null(
        strstr(line_header(line_find(&l, "missing"), "dlq.detail").data, "there is no such object"));
    assert_non_null(strstr(line_header(line_find(&l, "no bucket"), "dlq.detail").data, "below no folder"));
    line_close(&l);
    process_kill(&s3.process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_answered_as_its_rows),
        cmocka_unit_test(rows_have_their_status),
        cmocka_unit_test(refused),
        cmocka_unit_test(waiting_ends_when_the_partition_goes),
        cmocka_unit_test(a_bucket_is_read_too),
    };
    log_open(LOG_TEXT, LOG_ERROR);
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
