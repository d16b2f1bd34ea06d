/* An answer that fits what the worker believes of its topic and that the broker refuses all the same: the transaction is aborted, the
 * limit is learnt, the record becomes a dead letter and what is behind it is answered. The topic has the broker's default of 1 MiB. */
#include <librdkafka/rdkafka.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/broker.h"
#include "tests/lib/records.h"
#include "worker/stream/client.h"

#undef fail
#include <cmocka.h>

enum { ASK_MS = 20000, PARTITIONS = 4 };

static const char wide[] = "network: wide\ninput: [3, 32, 32]\nlabels: 200\nlayers:\n  - maxpool: {size: 4}\n"
                           "  - dense: {units: 200}\n";

/* Makes the topic before `topics create` does, which leaves it as it is. */
static void topic_make(struct stage *s, const char *name, const char *max_bytes)
{
    struct settings settings;
    struct fail why;
    struct client *c = NULL;
    char full[TOPIC_NAME], text[200];
    size_t count;
    stage_settings_load(s, &settings);
    snprintf(full, sizeof full, "%s%s", s->prefix, name);
    assert_int_equal(client_open(&c, &settings, CLIENT_ADMIN, NULL, NULL, &why), 0);
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(full, PARTITIONS, -1, text, sizeof text);
    assert_non_null(topic);
    assert_int_equal(rd_kafka_NewTopic_set_config(topic, "max.message.bytes", max_bytes), 0);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(c->rk);
    rd_kafka_CreateTopics(c->rk, &topic, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ASK_MS);
    assert_non_null(event);
    const rd_kafka_topic_result_t **made =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    assert_int_equal(count, 1);
    assert_int_equal(rd_kafka_topic_result_error(made[0]), 0);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(topic);
    client_close(&c);
    settings_free(&settings);
}

static void what_the_broker_refuses_is_too_large(void **state)
{
    struct stage s;
    struct process worker = {0};
    struct result r = {0};
    (void)state;
    stage_open(&s, broker_shared());
    topic_make(&s, "predictions", "1048588");
    stage_run(&s, &r, 30000, "topics", "create", NULL);
    result_expect(&r, 0);
    result_free(&r);
    stage_model_network(&s, "wide", 1, 1, true, wide);
    worker_begin(&s, &worker, NULL);
    struct request q = {.model = "wide", .channels = 3, .dtype = DTYPE_UINT8, .outputs = true};
    for (int i = 0; i < 3; i++) {
        static const char *const ids[] = {"before", "large", "behind"};
        q.id = ids[i];
        q.rows = i == 1 ? 1500 : 100; /* 800 bytes of outputs a row */
        request_send(&s, &q);
    }
    json_t *answers = topic_read(&s, "predictions", 2), *dead = topic_read(&s, "dead-letters", 1);
    assert_int_equal(rows_of(by_key(answers, "before")), 100);
    assert_int_equal(rows_of(by_key(answers, "behind")), 100);
    assert_string_equal(header_of(by_key(dead, "large"), "dlq.reason"), "too_large");
    assert_true(process_count_text(&worker, "transaction aborted") >= 1); /* it was the broker that said no */
    stage_check(&s, &r, 60, "--inputs", "3", NULL);
    result_expect(&r, 0);
    result_free(&r);
    json_decref(answers);
    json_decref(dead);
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 6000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_the_broker_refuses_is_too_large)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
