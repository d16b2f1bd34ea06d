/* `score --saliency` and requests with `explain`, without a broker: maps equal net_explain of the answer's output to the bit,
 * whichever rows come together; rows that are not scored have none; requests that do not ask get null. The stream's are in
 * worker_test.c. */
#include "engine/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/process.h"
#include "worker/codec/container.h"
#include "worker/data/rows.h"

#undef fail
#include <cmocka.h>

#include <math.h>

enum { ROWS = 37, INPUTS = 2 * 8 * 7, OUTPUTS = 4, BAD_ROW = 20 };

static const char network[] =
    "network: small\ninput: [2, 8, 7]\nmean: [0.5, 0.4]\nstd: [0.25, 0.5]\nlayers:\n"
    "  - conv: {filters: 6, kernel: 3, activation: relu}\n  - maxpool: {size: 2}\n"
    "  - dense: {units: 9, activation: tanh}\n  - dense: {units: 4}\n";

static float pixel(int row, int i)
{
    return row == BAD_ROW && i == 3 ? NAN : (float)((row * 31 + i * 17 + row * i) % 101) / 50 - 1;
}

static void must(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

static float *rows_make(void)
{
    float *x = malloc(ROWS * INPUTS * sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < ROWS * INPUTS; i++)
        x[i] = pixel(i / INPUTS, i % INPUTS);
    return x;
}

static int files_make(void **state)
{
    struct fail why;
    float *x = rows_make();
    struct rows r = {.dtype = DTYPE_FP32, .row_shape = SHAPE(2, 8, 7), .count = ROWS, .data = x};
    r.row_size = INPUTS * sizeof *x;
    (void)state;
    test_write(test_path("net.yaml"), network);
    must(rows_write(&r, test_path("rows.npy"), &why), &why);
    free(x);
    return 0;
}

/* The maps of all rows for the outputs named, by the engine alone. */
static float *maps_expected(const int32_t *outputs)
{
    struct fail why;
    struct graph *g = NULL;
    struct backend *be = NULL;
    struct net *net = NULL;
    struct net_options o = {.mode = NET_EXPLAIN, .max_rows = 64, .seed = 1};
    float *maps = calloc(ROWS * INPUTS, sizeof *maps), *x = rows_make();
    assert_non_null(maps);
    must(graph_read(&g, test_path("net.yaml"), &why), &why);
    must(backend_open(&be, "cpu", 1, &why), &why);
    must(net_open(&net, be, g, &o, &why), &why);
    memcpy(net_input(net), x, ROWS * INPUTS * sizeof *x);
    must(net_explain(net, ROWS, outputs, maps, &why), &why);
    net_close(&net);
    backend_close(&be);
    graph_free(&g);
    free(x);
    return maps;
}

static void run_score(const char *input, const char *output, const char *saliency)
{
    struct result r = {0};
    const char *argv[] = {test_millrace(), "score", test_path("net.yaml"),          "--input", input,
                          "--output",      output,  saliency ? "--saliency" : NULL, saliency,  NULL};
    result_run(&r, 60000, NULL, argv);
    result_expect(&r, 0);
    result_free(&r);
}

static void a_file_of_maps_equals_the_engine(void **state)
{
    struct fail why;
    struct rows outputs, maps;
    int32_t top[ROWS];
    (void)state;
    run_score(test_path("rows.npy"), test_path("y.npy"), test_path("s.npy"));
    must(rows_read(&outputs, test_path("y.npy"), &why), &why);
    must(rows_read(&maps, test_path("s.npy"), &why), &why);
    assert_int_equal(maps.count, ROWS);
    assert_int_equal(maps.dtype, DTYPE_FP32);
    assert_true(shape_equal(maps.row_shape, SHAPE(2, 8, 7)));
    float y[ROWS * OUTPUTS], got[INPUTS];
    memcpy(y, outputs.data, sizeof y);
    for (int i = 0; i < ROWS; i++) {
        top[i] = 0;
        for (int k = 1; k < OUTPUTS; k++)
            top[i] = y[i * OUTPUTS + k] > y[i * OUTPUTS + top[i]] ? k : top[i];
    }
    float *want = maps_expected(top);
    for (int i = 0; i < ROWS; i++) {
        memcpy(got, (const char *)maps.data + (size_t)i * sizeof got, sizeof got);
        for (int k = 0; k < INPUTS && i == BAD_ROW; k++)
            assert_true(isnan(got[k]));
        if (i != BAD_ROW)
            assert_memory_equal(got, want + i * INPUTS, sizeof got);
    }
    free(want);
    rows_close(&outputs);
    rows_close(&maps);
}

/* Requests of one row each: the odd ones ask. */
static void requests_write(const char *path)
{
    struct fail why;
    struct container_writer *w = NULL;
    float *x = rows_make();
    must(container_create(&w, path, record_type_find("InferenceBatch"), &why), &why);
    for (int i = 0; i < ROWS; i++) {
        struct bytes b = {0};
        struct tensor_view t = {.dtype = DTYPE_FP32,
                                .shape = SHAPE(1, 2, 8, 7),
                                .data = {(char *)(x + i * INPUTS), INPUTS * sizeof *x}};
        struct inference_head head = {
            .id = text_span("r"), .model = text_span("small"), .return_outputs = true, .explain = i % 2};
        inference_encode(&b, &head, &t, NULL);
        must(container_append(w, b.data, b.size, &why), &why);
        bytes_free(&b);
    }
    must(container_finish(&w, &why), &why);
    free(x);
}

static void requests_get_maps_where_they_ask(void **state)
{
    struct fail why;
    struct container *c = NULL;
    struct span value;
    int rows = 0;
    (void)state;
    requests_write(test_path("requests.avro"));
    run_score(test_path("requests.avro"), test_path("answers.avro"), NULL);
    float *want = maps_expected(NULL);
    must(container_open(&c, test_path("answers.avro"), record_type_find("Prediction"), &why), &why);
    while (container_next(c, &value, &why) == 1) {
        struct tensor_view outputs, saliency;
        uint8_t status;
        int64_t n;
        assert_int_equal(record_type_find("Prediction")->validate(value, &why), 0);
        must(prediction_read_tensors(value, &outputs, &saliency, &status, 1, &n, &why), &why);
        assert_int_equal(n, 1);
        assert_int_equal(outputs.data.size, OUTPUTS * sizeof(float));
        if (rows % 2 == 0) {
            assert_null(saliency.data.data);
        } else {
            assert_true(shape_equal(saliency.shape, SHAPE(1, 2, 8, 7)));
            assert_int_equal(saliency.data.size, INPUTS * sizeof(float));
            assert_memory_equal(saliency.data.data, want + rows * INPUTS, saliency.data.size);
        }
        rows++;
    }
    assert_int_equal(rows, ROWS);
    container_close(&c);
    free(want);
}

static void wrong_command_lines_leave_no_file(void **state)
{
    struct result r = {0};
    const char *rows = test_path("rows.npy"), *net = test_path("net.yaml"), *out = test_path("o.avro");
    (void)state;
    result_runl(&r, 60000, test_millrace(), "score", net, "--input", rows, "--output", out, "--saliency",
                rows, NULL);
    result_expect(&r, 2);
    assert_non_null(strstr(r.err, "--saliency"));
    result_runl(&r, 60000, test_millrace(), "score", net, "--input", rows, "--output", out, "--saliency",
                test_path("s.avro"), NULL);
    result_expect(&r, 2);
    assert_non_null(strstr(r.err, ".npy"));
    result_runl(&r, 60000, test_millrace(), "score", net, "--input", rows, "--output", test_path("z.npy"),
                "--saliency", test_path("z.npy"), NULL);
    result_expect(&r, 2);
    assert_non_null(strstr(r.err, "is the output file"));
    result_free(&r);
    assert_int_equal(access(out, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_maps_equals_the_engine),
        cmocka_unit_test(requests_get_maps_where_they_ask),
        cmocka_unit_test(wrong_command_lines_leave_no_file),
    };
    return cmocka_run_group_tests(tests, files_make, NULL);
}
