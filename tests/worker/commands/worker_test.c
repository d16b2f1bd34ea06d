/* The worker at its edges, on a real broker: records that are wrong in every way this version knows, sizes, deadlines, promotion
 * under load, topics that are missing or empty. Verdicts are read back with `tail`, counts by the independent checker. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "tests/lib/broker.h"
#include "tests/lib/records.h"

#undef fail
#include <cmocka.h>

enum { IMAGE = 3 * 32 * 32 };

static void every_wrong_record_becomes_a_dead_letter_with_its_reason(void **state)
{
    struct stage s;
    struct process worker = {0};
    static const struct {
        const char *key, *reason;
    } want[] = {{"tombstone", "empty"},     {"garbage", "bad_avro"},     {"cut", "truncated"},
                {"long", "trailing_bytes"}, {"channels", "bad_shape"},   {"nobody", "unknown_model"},
                {"name", "bad_request"},    {"nobody7", "unknown_model"}};
    struct bytes b = {0};
    char image[IMAGE] = {0};
    struct tensor_view t = {.dtype = DTYPE_UINT8, .shape = SHAPE(1, 3, 32, 32), .data = {image, IMAGE}};
    struct inference_head head = {.id = text_span("x"), .model = text_span("lenet")};
    (void)state;
    stage_begin(&s);
    worker_begin(&s, &worker, NULL);
    stage_put(&s, "inference", 0, "tombstone", NULL, 0);
    stage_put(&s, "inference", 0, "garbage", "\x01\x01\x01\x01", 4);
    inference_encode(&b, &head, &t, NULL);
    stage_put(&s, "inference", 0, "cut", b.data, b.size - 1000);
    bytes_free(&b);
    inference_encode(&b, &head, &t, NULL);
    bytes_free(&b);
    inference_encode(&b, &head, &t, NULL);
    unsigned char *longer = calloc(1, b.size + 1);
    memcpy(longer, b.data, b.size);
    stage_put(&s, "inference", 0, "long", longer, b.size + 1);
    free(longer);
    bytes_free(&b);
    request_send(&s, &(struct request){
                         .id = "channels", .model = "lenet", .rows = 2, .channels = 1, .dtype = DTYPE_UINT8});
    request_send(&s, &(struct request){
                         .id = "nobody", .model = "nobody", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    request_send(
        &s, &(struct request){.id = "name", .model = "a b", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    request_send(&s,
                 &(struct request){
                     .id = "nobody7", .model = "lenet@7", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    request_send(
        &s, &(struct request){
                .id = "good", .model = "lenet", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8, .top_k = 3});
    int count = sizeof want / sizeof want[0];
    json_t *dead = topic_read(&s, "dead-letters", count), *good = topic_read(&s, "predictions", 1);
    for (int i = 0; i < count; i++) {
        json_t *d = by_key(dead, want[i].key);
        assert_string_equal(header_of(d, "dlq.reason"), want[i].reason);
        assert_string_equal(header_of(d, "dlq.partition"), "0");
        assert_string_equal(header_of(d, "dlq.worker"), "a");
    }
    is_status(by_key(good, "good"), 0, "OK");
    assert_int_equal(json_array_size(json_object_get(row_of(by_key(good, "good"), 0), "top_k")), 3);
    json_decref(dead);
    json_decref(good);
    process_kill(&worker);
}

static void rows_have_their_own_verdicts(void **state)
{
    struct stage s;
    struct process worker = {0};
    (void)state;
    stage_begin(&s);
    worker_begin(&s, &worker, NULL);
    request_send(&s, &(struct request){.id = "late",
                                       .model = "lenet",
                                       .rows = 2,
                                       .channels = 3,
                                       .dtype = DTYPE_UINT8,
                                       .deadline_at = 1});
    request_send(&s, &(struct request){.id = "nan",
                                       .model = "lenet",
                                       .rows = 2,
                                       .channels = 3,
                                       .dtype = DTYPE_FP32,
                                       .first = 0.0f / 0.0f});
    request_send(&s, &(struct request){
                         .id = "none", .model = "lenet", .rows = 0, .channels = 3, .dtype = DTYPE_UINT8});
    request_send(&s, &(struct request){.id = "version",
                                       .model = "lenet@1",
                                       .rows = 1,
                                       .channels = 3,
                                       .dtype = DTYPE_FP32,
                                       .outputs = true});
    json_t *all = topic_read(&s, "predictions", 4);
    is_status(by_key(all, "late"), 0, "EXPIRED");
    is_status(by_key(all, "late"), 1, "EXPIRED");
    is_status(by_key(all, "nan"), 0, "BAD_INPUT");
    assert_int_equal(rows_of(by_key(all, "none")), 0);
    is_status(by_key(all, "version"), 0, "OK");
    json_t *outputs = json_object_get(json_object_get(by_key(all, "version"), "value"), "outputs");
    assert_int_equal(json_array_size(outputs), 1);
    json_decref(all);
    process_kill(&worker);
}

/* The map is a tensor of the input's shape beside the rows; whoever does not ask gets null, and what cannot fit is refused. */
static void requests_that_ask_get_saliency_maps(void **state)
{
    struct stage s;
    struct process worker = {0};
    (void)state;
    stage_begin(&s);
    worker_begin(&s, &worker, NULL);
    request_send(&s, &(struct request){.id = "asks",
                                       .model = "lenet",
                                       .rows = 2,
                                       .channels = 3,
                                       .dtype = DTYPE_FP32,
                                       .explain = true,
                                       .first = 1});
    request_send(&s, &(struct request){
                         .id = "plain", .model = "lenet", .rows = 2, .channels = 3, .dtype = DTYPE_FP32});
    request_send(&s, &(struct request){.id = "huge",
                                       .model = "lenet",
                                       .rows = 3000,
                                       .channels = 3,
                                       .dtype = DTYPE_UINT8,
                                       .explain = true});
    json_t *all = topic_read(&s, "predictions", 2), *dead = topic_read(&s, "dead-letters", 1);
    json_t *map = json_object_get(json_object_get(by_key(all, "asks"), "value"), "saliency");
    json_t *shape = json_object_get(map, "shape");
    static const int want[4] = {2, 3, 32, 32};
    assert_int_equal(json_array_size(shape), 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(json_integer_value(json_array_get(shape, (size_t)i)), want[i]);
    assert_string_equal(json_string_value(json_object_get(map, "dtype")), "FP32");
    assert_int_equal(json_string_length(json_object_get(map, "data")), (2 * IMAGE * 4 + 2) / 3 * 4);
    is_status(by_key(all, "asks"), 1, "OK");
    assert_true(json_is_null(json_object_get(json_object_get(by_key(all, "plain"), "value"), "saliency")));
    assert_string_equal(header_of(by_key(dead, "huge"), "dlq.reason"), "too_large");
    json_decref(all);
    json_decref(dead);
    process_kill(&worker);
}

static void large_records_are_answered_in_pieces(void **state)
{
    struct stage s;
    struct process worker = {0};
    (void)state;
    stage_begin(&s);
    worker_begin(&s, &worker, NULL);
    request_send(&s, &(struct request){
                         .id = "5000", .model = "lenet", .rows = 5000, .channels = 3, .dtype = DTYPE_UINT8});
    request_send(&s, &(struct request){
                         .id = "5001", .model = "lenet", .rows = 1250, .channels = 3, .dtype = DTYPE_FP32});
    json_t *all = topic_read(&s, "predictions", 2); /* both are 15 MB */
    assert_int_equal(rows_of(by_key(all, "5000")), 5000);
    assert_int_equal(rows_of(by_key(all, "5001")), 1250);
    for (int i = 0; i < 5000; i++)
        is_status(by_key(all, "5000"), i, "OK");
    json_decref(all);
    process_kill(&worker);
}

static void a_promotion_swaps_without_restart_or_loss(void **state)
{
    struct stage s;
    struct process worker = {0};
    struct result r = {0};
    long versions[3] = {0};
    size_t i;
    json_t *one;
    (void)state;
    stage_begin(&s);
    worker_begin(&s, &worker, NULL);
    for (int n = 0; n < 10; n++)
        request_send(&s,
                     &(struct request){
                         .id = "before", .model = "lenet", .rows = 3, .channels = 3, .dtype = DTYPE_UINT8});
    stage_model(&s, "lenet", 2, 2, true);
    assert_true(
        process_wait_text(&worker, "model promoted", 1, 3000)); /* contract: within 2 s of being stable */
    for (int n = 0; n < 10; n++)
        request_send(&s,
                     &(struct request){
                         .id = "after", .model = "lenet", .rows = 3, .channels = 3, .dtype = DTYPE_UINT8});
    json_t *all = topic_read(&s, "predictions", 20);
    json_array_foreach(all, i, one)
    {
        json_t *value = json_object_get(one, "value");
        long v = (long)json_integer_value(json_object_get(value, "version"));
        assert_in_range(v, 1, 2);
        if (strcmp(json_string_value(json_object_get(value, "id")), "after") == 0)
            assert_int_equal(v, 2);
        versions[v]++;
    }
    assert_true(versions[1] > 0); /* some were answered before */
    stage_check(&s, &r, 30, "--inputs", "20", NULL);
    result_expect(&r, 0);
    result_free(&r);
    json_decref(all);
    process_kill(&worker);
}

static void a_model_promoted_just_before_a_request_is_never_unknown(void **state)
{
    struct stage s;
    struct process worker = {0};
    char name[32];
    (void)state;
    stage_begin(&s);
    worker_begin(&s, &worker, NULL);
    for (int n = 0; n < 5; n++) {
        snprintf(name, sizeof name, "fresh%d", n);
        stage_model(&s, name, 1, (unsigned)n + 10, true);
        request_send(
            &s, &(struct request){.id = name, .model = name, .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    }
    json_t *all = topic_read(&s, "predictions", 5);
    for (int n = 0; n < 5; n++) {
        snprintf(name, sizeof name, "fresh%d", n);
        is_status(by_key(all, name), 0, "OK");
    }
    json_decref(all);
    process_kill(&worker);
}

/* Where unknown models are waited for, so is the file of a known one: put back, it is noticed. */
static void a_missing_artefact_is_said_and_waited_for(void **state)
{
    struct stage s;
    struct process worker = {0};
    char folder[300], aside[300];
    (void)state;
    stage_begin(&s);
    snprintf(folder, sizeof folder, "%s/store/lenet", s.dir);
    snprintf(aside, sizeof aside, "%s/aside", s.dir);
    assert_int_equal(rename(folder, aside), 0);
    stage_worker(&s, &worker,
                 stage_config(&s, &(struct stage_settings){.slot = "a",
                                                           .roles = "[infer]",
                                                           .rest = "inference: {unknown_model: wait}\n"}));
    request_send(
        &s, &(struct request){.id = "q", .model = "lenet", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    assert_true(process_wait_text(&worker, "a model cannot be served", 1, 30000));
    assert_true(process_wait_text(&worker, "waiting for a model", 1, 5000));
    assert_int_equal(rename(aside, folder), 0);
    json_t *all = topic_read(&s, "predictions", 1);
    is_status(by_key(all, "q"), 0, "OK");
    json_decref(all);
    process_kill(&worker);
}

/* A net that needs more memory than there is concerns those who ask for it, not the others. */
static void a_model_too_large_for_the_machine_leaves_the_others(void **state)
{
    struct stage s;
    struct process worker = {0};
    (void)state;
    stage_begin(&s);
    stage_model_network(&s, "giant", 1, 1, true,
                        "network: giant\ninput: [3, 16384, 16384]\nlabels: 10\nlayers:\n"
                        "  - conv: {filters: 2, kernel: 1}\n  - maxpool: {size: 1024}\n"
                        "  - maxpool: {size: 16}\n  - dense: {units: 10}\n");
    worker_begin(&s, &worker, NULL);
    request_send(
        &s, &(struct request){.id = "g", .model = "giant", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    request_send(
        &s, &(struct request){.id = "l", .model = "lenet", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    json_t *all = topic_read(&s, "predictions", 1);
    is_status(by_key(all, "l"), 0, "OK");
    json_decref(all);
    all = topic_read(&s, "dead-letters", 1);
    assert_string_equal(header_of(by_key(all, "g"), "dlq.reason"), "unknown_model");
    json_decref(all);
    process_kill(&worker);
}

static void missing_topics_are_waited_for(void **state)
{
    struct stage s;
    struct process worker = {0};
    struct result r = {0};
    (void)state;
    stage_open(&s, broker_shared());
    stage_worker(&s, &worker, stage_config(&s, &(struct stage_settings){.slot = "a"}));
    assert_true(process_wait_text(&worker, "topics create", 1, 20000));
    stage_run(&s, &r, 30000, "topics", "create", NULL);
    result_expect(&r, 0);
    result_free(&r);
    assert_true(process_wait_text(&worker, "partitions assigned", 2, 30000)); /* both roles */
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 6000), 0);
}

static void an_absent_broker_is_waited_for_until_a_stop(void **state)
{
    struct stage s;
    struct process worker = {0};
    char address[64];
    (void)state;
    snprintf(address, sizeof address, "127.0.0.1:%d", test_free_port());
    stage_open(&s, address);
    stage_worker(&s, &worker, stage_config(&s, &(struct stage_settings){.slot = "a"}));
    assert_true(process_wait_text(&worker, "waiting for", 1, 20000));
    process_signal(&worker, SIGINT);
    assert_int_equal(process_wait(&worker, 6000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wrong_record_becomes_a_dead_letter_with_its_reason),
        cmocka_unit_test(rows_have_their_own_verdicts),
        cmocka_unit_test(requests_that_ask_get_saliency_maps),
        cmocka_unit_test(large_records_are_answered_in_pieces),
        cmocka_unit_test(a_promotion_swaps_without_restart_or_loss),
        cmocka_unit_test(a_model_promoted_just_before_a_request_is_never_unknown),
        cmocka_unit_test(a_missing_artefact_is_said_and_waited_for),
        cmocka_unit_test(a_model_too_large_for_the_machine_leaves_the_others),
        cmocka_unit_test(missing_topics_are_waited_for),
        cmocka_unit_test(an_absent_broker_is_waited_for_until_a_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
