/* A record that a writer was told is written is there. librdkafka's mock cluster makes the one moment that takes luck with a real
 * broker: a partition's first request is refused because nobody leads yet, and the second, on its way already, is taken. */
#include "worker/stream/writer.h"

/* clang-format off: the second needs the first */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
/* clang-format on */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/service/settings.h"
#include "worker/stream/reader.h"

#undef fail
#include <cmocka.h>

enum {
    BROKER = 1,
    PRODUCE = 0,
    ASK_MS = 20000,
    RECORDS = 4,
    SIZE = 700000 /* two do not go into one request */
};

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

static int count(struct settings *s, const char *topic)
{
    struct reader_range all = {0, READER_BEGINNING, RECORDS};
    struct reader *r = NULL;
    struct record record;
    struct fail why;
    int event, n = 0;
    check(reader_open(&r, s, topic, &all, 1, READER_BEGINNING, ASK_MS, &why), &why);
    while (n < RECORDS && (event = reader_next(r, &record, 2000, &why)) == SOURCE_RECORD)
        n++;
    reader_close(&r);
    return n;
}

static void a_refused_first_request_loses_nothing(void **state)
{
    static char value[SIZE];
    static const char topic[] = "millrace.inference";
    struct settings s;
    struct writer *w = NULL;
    struct fail why;
    char servers[200], name[64];
    (void)state;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, name, sizeof name);
    assert_non_null(rk);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(rk, 1);
    assert_non_null(cluster);
    assert_int_equal(rd_kafka_mock_topic_create(cluster, topic, 1, 1), 0);
    snprintf(servers, sizeof servers, "bootstrap.servers=%s", rd_kafka_mock_cluster_bootstraps(cluster));
    const char *pairs[] = {servers};
    check(settings_load(&s, NULL, pairs, 1, &why), &why);
    check(writer_open(&w, &s, ASK_MS, &why), &why);
    rd_kafka_mock_broker_push_request_error_rtts(cluster, BROKER, PRODUCE, 1,
                                                 RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 300);
    for (int i = 0; i < RECORDS; i++) {
        snprintf(name, sizeof name, "%d", i);
        check(writer_put(w, topic, 0, (struct span){name, strlen(name)}, (struct span){value, SIZE}, NULL, 0,
                         NULL, &why),
              &why);
    }
    check(writer_flush(w, ASK_MS, &why), &why);
    assert_int_equal(count(&s, topic), RECORDS);
    writer_close(&w);
    settings_free(&s);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(rk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_refused_first_request_loses_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
