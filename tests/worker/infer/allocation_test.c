/* Between a record's bytes and the outputs that a sink gets nothing is allocated once the first batches have been made: not for a
 * row, not for a record, not for a batch. Allocations of the whole process are counted while the runner goes over an array of
 * records; what librdkafka allocates for a message of its own is not ours to count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/allocations.h"
#include "tests/lib/process.h"
#include "worker/infer/runner.h"
#include "worker/stream/clock.h"

#undef fail
#include <cmocka.h>

/* ---- a source and a sink of nothing but memory ---- */

enum { WARM_UP = 3, BATCHES = 8, BATCH_ROWS = 512, SIDE = 8, CLASSES = 12, INPUT = 3 * SIDE * SIDE };

static const char network[] = "network: small\ninput: [3, 8, 8]\nlabels: 12\nlayers:\n"
                              "  - conv: {filters: 4, kernel: 3, activation: relu}\n  - dense: {units: 12}\n";

struct array {
    struct source source;
    struct sink sink;
    struct span value;
    int64_t next, records;
    struct batch batch;
    int batches;
    int64_t answers;
    long before, after; /* allocations at the end of the warm-up and of the last full batch */
};

static struct array *of_source(struct source *s)
{
    return (struct array *)((char *)s - offsetof(struct array, source));
}

static struct array *of_sink(struct sink *s)
{
    return (struct array *)((char *)s - offsetof(struct array, sink));
}

static int next(struct source *src, struct record *out, int timeout_ms, struct fail *why)
{
    struct array *a = of_source(src);
    (void)timeout_ms, (void)why;
    if (a->next == a->records)
        return SOURCE_END;
    *out = (struct record){.topic = "inference",
                           .partition = (int32_t)(a->next % 4),
                           .offset = a->next / 4,
                           .timestamp_ms = clock_ms(),
                           .key = {"key", 3},
                           .value = a->value};
    a->next++;
    return SOURCE_RECORD;
}

static int seal(struct source *src, struct batch *b, enum seal how, struct fail *why)
{
    (void)src, (void)b, (void)how, (void)why;
    return 0;
}

static bool changed(struct source *src)
{
    (void)src;
    return false;
}

static int take(struct sink *sink, struct batch **out, struct fail *why)
{
    (void)why;
    *out = &of_sink(sink)->batch;
    return 0;
}

static int put(struct sink *sink, struct batch **b, struct fail *why)
{
    struct array *a = of_sink(sink);
    (void)why;
    for (int i = 0; i < (*b)->output_count; i++)
        a->answers += (*b)->outputs[i].topic == TOPIC_PREDICTIONS;
    batch_reset(*b);
    *b = NULL;
    if (++a->batches == WARM_UP)
        a->before = allocations_now();
    if (a->batches == BATCHES)
        a->after = allocations_now();
    return 0;
}

static int wait(struct sink *sink, struct fail *why)
{
    (void)sink, (void)why;
    return 0;
}

static size_t limit(struct sink *sink, enum topic topic)
{
    (void)sink, (void)topic;
    return (size_t)1 << 24;
}

static const struct source_ops source_ops = {next, seal, changed, NULL, NULL};
static const struct sink_ops sink_ops = {take, put, wait, limit};

/* One request of that many rows. */
static void encode(struct bytes *to, int rows, enum dtype dtype)
{
    struct tensor_view t = {
        .name = {"", 0}, .dtype = dtype, .shape = {.rank = 4, .dim = {rows, 3, SIDE, SIDE}}};
    size_t size = (size_t)rows * INPUT * dtype_size(dtype);
    char *data = calloc(1, size);
    struct span *ids = calloc((size_t)rows, sizeof *ids);
    assert_true(data && ids);
    for (int i = 0; i < rows; i++)
        ids[i] = text_span("a row's id");
    t.data = (struct span){data, size};
    struct inference_head head = {.id = text_span("id"),
                                  .model = text_span("small"),
                                  .created_at = 1,
                                  .top_k = 3,
                                  .return_outputs = true};
    inference_encode(to, &head, &t, ids);
    assert_false(to->failed);
    free(data);
    free(ids);
}

static void run(struct model *m, struct backend *be, int rows, enum dtype dtype)
{
    struct settings s = {0};
    struct fail why;
    struct bytes value = {0};
    encode(&value, rows, dtype);
    struct array a = {.source.ops = &source_ops,
                      .sink.ops = &sink_ops,
                      .value = {(char *)value.data, value.size},
                      .records = (int64_t)BATCHES * BATCH_ROWS / rows};
    struct runner_options o = {.settings = &s, .stop_at_end = true};
    assert_int_equal(setting_defaults(settings_table, &s, &why), 0);
    s.batch_max_rows = BATCH_ROWS;
    s.commit_max_delay_ms = 5000;
    assert_int_equal(router_open(&o.router, be, BATCH_ROWS, NULL, m, NULL, &why), 0);
    if (runner_work(&a.source, &a.sink, &o, &why))
        fail_msg("%s", why.text);
    assert_int_equal(a.answers, a.records);
    assert_true(a.batches >= BATCHES);
    assert_true(!COUNTS_ALLOCATIONS || a.before > 0);
    if (a.after != a.before)
        fail_msg("%d rows a record: %ld allocations in %d batches", rows, a.after - a.before,
                 BATCHES - WARM_UP);
    router_close(&o.router);
    region_free(&a.batch.mem);
    bytes_free(&value);
    setting_free(settings_table, &s);
}

static void test_nothing_is_allocated_for_rows_records_and_batches(void **state)
{
    (void)state;
    static const int sizes[] = {1, 16, 256};
    struct model *m = NULL;
    struct backend *be = NULL;
    struct fail why;
    const char *path = test_write(test_path("small.yaml"), network);
    assert_int_equal(model_read(&m, path, &why), 0);
    assert_int_equal(backend_open(&be, "cpu", 2, &why), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        run(m, be, sizes[i], DTYPE_UINT8);
        run(m, be, sizes[i], DTYPE_FP32);
    }
    backend_close(&be);
    model_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_allocated_for_rows_records_and_batches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
