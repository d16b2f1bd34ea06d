/* Requests as a producer would send them, answers as `tail` shows them. */
#include "tests/lib/records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/stream/clock.h"

#undef fail
#include <cmocka.h>

void stage_begin(struct stage *s)
{
    struct result r = {0};
    stage_open(s, broker_shared());
    stage_run(s, &r, 30000, "topics", "create", NULL);
    result_expect(&r, 0);
    result_free(&r);
    stage_model(s, "lenet", 1, 1, true);
}

void worker_begin(struct stage *s, struct process *p, const char *rest)
{
    stage_worker(s, p,
                 stage_config(s, &(struct stage_settings){.slot = "a", .roles = "[infer]", .rest = rest}));
    assert_true(process_wait_text(p, "partitions assigned", 1, 30000));
}

void request_send(struct stage *s, const struct request *q)
{
    struct bytes b = {0};
    size_t item = dtype_size(q->dtype), size = (size_t)q->rows * (size_t)q->channels * 1024 * item;
    char *data = calloc(1, size + 1);
    for (int i = 0; q->dtype == DTYPE_FP32 && i < q->rows; i++)
        memcpy(data + (size_t)i * (size_t)q->channels * 4096, &q->first, sizeof q->first);
    struct tensor_view t = {
        .dtype = q->dtype, .shape = SHAPE(q->rows, q->channels, 32, 32), .data = {data, size}};
    struct inference_head head = {.id = text_span(q->id),
                                  .model = text_span(q->model),
                                  .created_at = clock_ms(),
                                  .deadline_at = q->deadline_at,
                                  .top_k = q->top_k,
                                  .return_outputs = q->outputs,
                                  .explain = q->explain};
    inference_encode(&b, &head, &t, NULL);
    stage_put(s, "inference", 0, q->id, b.data, b.size);
    bytes_free(&b);
    free(data);
}

/* What `tail` printed, which it must have done well. */
static json_t *tail_lines(struct result *r)
{
    result_expect(r, 0);
    json_t *all = json_array();
    for (char *line = strtok(r->out, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *one = json_loads(line, 0, NULL);
        assert_non_null(one);
        json_array_append_new(all, one);
    }
    result_free(r);
    return all;
}

json_t *topic_now(struct stage *s, const char *topic)
{
    struct result r = {0};
    stage_run(s, &r, 60000, "tail", topic, "-o", "beginning", NULL);
    return tail_lines(&r);
}

json_t *topic_read(struct stage *s, const char *topic, int count)
{
    struct result r = {0};
    char n[16];
    snprintf(n, sizeof n, "%d", count);
    stage_run(s, &r, 60000, "tail", topic, "-n", n, "--follow", NULL);
    json_t *all = tail_lines(&r);
    assert_int_equal(json_array_size(all), count);
    return all;
}

json_t *by_key(json_t *all, const char *key)
{
    size_t i;
    json_t *one;
    json_array_foreach(all, i,
                       one) if (json_is_string(json_object_get(one, "key")) &&
                                strcmp(json_string_value(json_object_get(one, "key")), key) == 0) return one;
    fail_msg("no record with key %s", key);
    return NULL;
}

const char *header_of(json_t *record, const char *name)
{
    const char *value = json_string_value(json_object_get(json_object_get(record, "headers"), name));
    if (!value)
        fail_msg("no header %s in %s", name, json_dumps(record, JSON_COMPACT));
    return value;
}

json_t *row_of(json_t *record, int i)
{
    return json_array_get(json_object_get(json_object_get(record, "value"), "rows"), (size_t)i);
}

void is_status(json_t *record, int row, const char *status)
{
    assert_string_equal(json_string_value(json_object_get(row_of(record, row), "status")), status);
}

size_t rows_of(json_t *record)
{
    return json_array_size(json_object_get(json_object_get(record, "value"), "rows"));
}
