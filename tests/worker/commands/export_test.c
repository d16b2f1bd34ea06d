/* Models in a bucket of a real S3 server, from end to end: imported by a worker, served, and exported again. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/safetensors.h"
#include "engine/graph.h"
#include "tests/lib/folder.h"
#include "tests/lib/records.h"
#include "tests/lib/s3.h"
#include "worker/models/store.h"

#undef fail
#include <cmocka.h>

enum { LIMIT_MS = 60000 };

/* The stage's configuration again, with a place in the bucket as its store. */
static void store_in_bucket(struct stage *s)
{
    size_t size;
    char *text = (char *)folder_read(s->config, &size), *rest, *config;
    text = realloc(text, size + 1);
    text[size] = 0;
    char *at = strstr(text, "models: {");
    assert_non_null(at);
    *at = 0;
    rest = strchr(at + 1, '\n');
    assert_true(asprintf(&config,
                         "%smodels: {store: 's3://models/%s'}%s"
                         "inference: {external_prefixes: ['s3://models/rows']}\n",
                         text, s->group, rest) > 0);
    snprintf(s->config, sizeof s->config, "%s", test_write(test_path("s3.yaml"), config));
    free(config);
    free(text);
}

static void export_to(struct stage *s, struct result *r, const char *model, const char *format,
                      const char *file)
{
    stage_run(s, r, LIMIT_MS, "models", "export", model, "--format", format, "--output", file, NULL);
}

static void same_bytes(const char *a, const char *b)
{
    size_t size, other;
    unsigned char *x = folder_read(a, &size), *y = folder_read(b, &other);
    assert_int_equal(size, other);
    assert_memory_equal(x, y, size);
    free(x);
    free(y);
}

/* Every parameter of the file, named and shaped as in config/lenet.yaml, can be imported for that network again. */
static void holds_lenet(const char *path, const char *onnx)
{
    struct safetensors *st = NULL;
    struct graph *g = NULL;
    struct fail why;
    size_t size;
    int n = 0;
    unsigned char *bytes = folder_read(path, &size);
    if (safetensors_parse(&st, path, bytes, size, &why) || graph_read(&g, onnx, &why))
        fail_msg("%s", why.text);
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].param_count; k++, n++) {
            const struct graph_param *p = &g->nodes[i].params[k];
            int at = safetensors_index(st, p->name);
            assert_true(at >= 0);
            assert_true(shape_equal(safetensors_shape(st, at), p->shape));
            assert_memory_equal(safetensors_data(st, at), p->data, (size_t)shape_size(p->shape) * 4);
        }
    assert_int_equal(n, 10);
    assert_int_equal(safetensors_count(st), n);
    assert_string_equal(safetensors_metadata(st, "model"), "lenet");
    safetensors_free(&st);
    graph_free(&g);
    free(bytes);
}

/* A request for two rows that lie in the bucket. */
static void send_external(struct stage *s, const char *id, const char *model)
{
    struct bytes b = {0};
    struct fail why;
    char uri[STORE_URI], sha256[SHA256_HEX], json[2048];
    float rows[2 * 3 * 32 * 32] = {1, 2, 3};
    if (store_put("s3://models/rows", "a", "rows.bin", rows, sizeof rows, uri, sha256, &why))
        fail_msg("%s", why.text);
    snprintf(json, sizeof json,
             "{\"id\":\"%s\",\"model\":\"%s\",\"external\":{\"uri\":\"%s\",\"sha256\":\"%s\",\"tensor\":{"
             "\"dtype\":"
             "\"FP32\",\"shape\":[2,3,32,32],\"data\":\"\"}}}",
             id, model, uri, sha256);
    if (record_parse_json(&b, record_type_find("InferenceBatch"), json, strlen(json), &why))
        fail_msg("%s", why.text);
    stage_put(s, "inference", 0, id, b.data, b.size);
    bytes_free(&b);
}

static void test_import_serve_export(void **state)
{
    (void)state;
    static struct s3_server s3;
    struct stage s;
    struct result r = {0};
    struct process worker = {0};
    const char *onnx = test_path("out.onnx"), *again = test_path("again.onnx"),
               *weights = test_path("out.safetensors");
    s3_server_start(&s3);
    stage_open(&s, broker_shared());
    store_in_bucket(&s);
    result_expect((stage_run(&s, &r, LIMIT_MS, "topics", "create", NULL), &r), 0);
    result_expect((stage_run(&s, &r, LIMIT_MS, "check", NULL), &r), 0);
    stage_model(&s, "lenet", 1, 1, true); /* lenet@1, into the bucket */
    export_to(&s, &r, "lenet", "onnx", onnx);
    result_expect(&r, 0);
    assert_string_equal(strtok(r.out, " "), "lenet@1");
    export_to(&s, &r, "lenet@1", "safetensors", weights);
    result_expect(&r, 0);
    holds_lenet(weights, onnx);

    stage_worker(&s, &worker, s.config);
    stage_run(&s, &r, LIMIT_MS, "models", "import", weights, "--network", "lenet", "--model", "lenet",
              "--promote", "--timeout", "40", NULL);
    result_expect(&r, 0);
    request_send(
        &s, &(struct request){.id = "q", .model = "lenet@2", .rows = 2, .channels = 3, .dtype = DTYPE_UINT8});
    send_external(&s, "e", "lenet");
    json_t *all = topic_read(&s, "predictions", 2);
    assert_int_equal(rows_of(by_key(all, "e")), 2);
    is_status(by_key(all, "e"), 1, "OK");
    assert_int_equal(rows_of(by_key(all, "q")), 2);
    is_status(by_key(all, "q"), 0, "OK");
    json_decref(all);
    export_to(&s, &r, "lenet@2", "safetensors", test_path("again.safetensors"));
    result_expect(&r, 0);
    holds_lenet(test_path("again.safetensors"), onnx); /* the weights went around to the bit */
    export_to(&s, &r, "lenet@1", "onnx", again);
    same_bytes(onnx, again);
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 10000), 0);
    process_kill(&s3.process);
    result_free(&r);
}

static void test_what_cannot_be_exported(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    const char *file = test_path("never.onnx");
    stage_begin(&s);
    export_to(&s, &r, "nobody", "onnx", file);
    result_expect(&r, 1);
    assert_non_null(strstr(r.err, "nobody"));
    export_to(&s, &r, "lenet@@", "onnx", file);
    result_expect(&r, 2);
    export_to(&s, &r, "lenet", "onnx", "/proc/none/x.onnx");
    assert_int_not_equal(r.code, 0);
    assert_non_null(strstr(r.err, "/proc/none/x.onnx"));
    stage_run(&s, &r, LIMIT_MS, "models", "export", "lenet", "--output", test_path("file.onnx"), "--json",
              NULL);
    result_expect(&r, 0);
    json_t *told = json_loads(r.out, 0, NULL);
    char path[600];
    const char *sha = json_string_value(json_object_get(told, "sha256"));
    snprintf(path, sizeof path, "%s/store/lenet/%s.onnx", s.dir, sha);
    same_bytes(path, test_path("file.onnx"));
    folder_write(path, "x", 1); /* a file that was damaged is no export */
    json_decref(told);
    export_to(&s, &r, "lenet", "onnx", file);
    result_expect(&r, 3);
    assert_non_null(strstr(r.err, "SHA-256 is"));
    assert_int_equal(access(file, F_OK), -1);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import_serve_export),
        cmocka_unit_test(test_what_cannot_be_exported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
