/* Names, settings and creation of the topics. Reading and writing them: reader.h, writer.h. */
#include "worker/stream/topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/stream/client.h"

#define MIB "1048576"

static const struct {
    const char *name;
    bool spread; /* gets the partitions asked for; else one */
    bool jobs;   /* always four */
    const char *max_bytes;
    const char *cleanup;      /* cleanup.policy */
    const char *retention_ms; /* NULL: the broker's */
} table[TOPICS] = {
    [TOPIC_INFERENCE] = {"inference", true, false, "16777216", "delete", NULL},
    [TOPIC_PREDICTIONS] = {"predictions", true, false, "17825792", "delete", NULL},
    [TOPIC_SHADOW] = {"predictions.shadow", true, false, "17825792", "delete", NULL},
    [TOPIC_SAMPLES] = {"samples", true, false, "16777216", "delete", NULL},
    [TOPIC_JOBS] = {"jobs", false, true, MIB, "delete", NULL},
    [TOPIC_METRICS] = {"metrics", false, false, MIB, "delete", NULL},
    [TOPIC_MODELS] = {"models", false, false, MIB, "compact", NULL},
    [TOPIC_CHECKPOINTS] = {"checkpoints", false, false, MIB, "compact,delete", "2592000000"},
    [TOPIC_DEAD_LETTERS] = {"dead-letters", true, false, "17825792", "delete", NULL},
};

const char *topic_short_name(enum topic t)
{
    return table[t].name;
}

const char *topic_full_name(const struct settings *s, enum topic t, char out[TOPIC_NAME])
{
    snprintf(out, TOPIC_NAME, "%s%s", s->topics_prefix, table[t].name);
    return out;
}

int topic_find(const struct settings *s, const char *name)
{
    char full[TOPIC_NAME];
    for (int t = 0; t < TOPICS; t++)
        if (strcmp(name, table[t].name) == 0 || strcmp(name, topic_full_name(s, t, full)) == 0)
            return t;
    return -1;
}

static int metadata_get(struct client *c, const struct settings *s, int timeout_ms,
                        const struct rd_kafka_metadata **out, struct fail *why)
{
    rd_kafka_resp_err_t err = client_metadata(c, NULL, out, timeout_ms);
    if (!err)
        return 0;
    return client_fail(c, err, why,
                       "no broker answered at %s within %d ms (is it running? kafka.bootstrap.servers or "
                       "-X bootstrap.servers=HOST:PORT says where)",
                       client_servers(s), timeout_ms);
}

static void count_partitions(const struct settings *s, const struct rd_kafka_metadata *m,
                             int partitions[TOPICS])
{
    char full[TOPIC_NAME];
    for (int t = 0; t < TOPICS; t++) {
        partitions[t] = 0;
        topic_full_name(s, t, full);
        for (int i = 0; i < m->topic_cnt; i++)
            if (strcmp(m->topics[i].topic, full) == 0 && !m->topics[i].err)
                partitions[t] = m->topics[i].partition_cnt;
    }
}

int topics_look(const struct settings *s, int timeout_ms, int partitions[TOPICS], struct fail *why)
{
    struct client *c = NULL;
    const struct rd_kafka_metadata *m;
    int rc = client_open(&c, s, CLIENT_ADMIN, NULL, NULL, why);
    if (rc)
        return rc;
    rc = metadata_get(c, s, timeout_ms, &m, why);
    if (!rc) {
        count_partitions(s, m, partitions);
        rd_kafka_metadata_destroy(m);
    }
    client_close(&c);
    return rc;
}

static rd_kafka_NewTopic_t *new_topic(const struct settings *s, enum topic t, int partitions, int replication)
{
    char full[TOPIC_NAME], text[200];
    int n = table[t].spread ? partitions : table[t].jobs ? 4 : 1;
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(topic_full_name(s, t, full), n, replication, text, sizeof text);
    if (!topic)
        return NULL;
    rd_kafka_NewTopic_set_config(topic, "max.message.bytes", table[t].max_bytes);
    rd_kafka_NewTopic_set_config(topic, "cleanup.policy", table[t].cleanup);
    if (table[t].retention_ms)
        rd_kafka_NewTopic_set_config(topic, "retention.ms", table[t].retention_ms);
    return topic;
}

/* The answer of CreateTopics: an error for each topic; one that exists meanwhile is as good as made. */
static int created(rd_kafka_event_t *event, struct fail *why)
{
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    size_t n = 0;
    if (rd_kafka_event_error(event))
        return client_fail(NULL, rd_kafka_event_error(event), why, "topics create");
    const rd_kafka_topic_result_t **topics = rd_kafka_CreateTopics_result_topics(result, &n);
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t err = rd_kafka_topic_result_error(topics[i]);
        const char *text = rd_kafka_topic_result_error_string(topics[i]);
        if (err && err != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            return client_fail(NULL, err, why, "topic %s (%s)", rd_kafka_topic_result_name(topics[i]),
                               text ? text : "no reason given");
    }
    return 0;
}

static int create(struct client *c, rd_kafka_NewTopic_t **topics, size_t count, int timeout_ms,
                  struct fail *why)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(c->rk);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(c->rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    char text[200];
    rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, text, sizeof text);
    rd_kafka_AdminOptions_set_operation_timeout(options, timeout_ms, text, sizeof text);
    rd_kafka_CreateTopics(c->rk, topics, count, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms + 1000);
    int rc = event ? created(event, why)
                   : fail(why, E_UNREACHABLE, "topics create: no answer in %d ms", timeout_ms);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return rc;
}

/* A topic is made before every broker says so: who is told "created" may go and use it. */
static int wait_visible(struct client *c, const struct settings *s, int timeout_ms, struct fail *why)
{
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        const struct rd_kafka_metadata *m;
        int partitions[TOPICS], hidden = 0;
        int rc = metadata_get(c, s, timeout_ms, &m, why);
        if (rc)
            return rc;
        count_partitions(s, m, partitions);
        rd_kafka_metadata_destroy(m);
        for (int t = 0; t < TOPICS; t++)
            hidden += partitions[t] == 0;
        if (!hidden)
            return 0;
        if (now_us() > until_us)
            return fail(why, E_UNREACHABLE, "topics create: %d topics were made but are not seen after %d ms",
                        hidden, timeout_ms);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
}

int topics_create(const struct settings *s, int partitions, int replication, int timeout_ms,
                  struct topic_report report[TOPICS], struct fail *why)
{
    rd_kafka_NewTopic_t *topics[TOPICS];
    struct client *c = NULL;
    const struct rd_kafka_metadata *m = NULL;
    size_t missing = 0;
    int now[TOPICS];
    int rc = client_open(&c, s, CLIENT_ADMIN, NULL, NULL, why);
    if (!rc)
        rc = metadata_get(c, s, timeout_ms, &m, why);
    if (rc)
        goto out;
    count_partitions(s, m, now);
    for (enum topic t = 0; t < TOPICS; t++) {
        topic_full_name(s, t, report[t].name);
        report[t].existed = now[t] > 0;
        report[t].partitions = now[t] ? now[t] : table[t].spread ? partitions : table[t].jobs ? 4 : 1;
        if (now[t])
            continue;
        if (!(topics[missing] = new_topic(s, t, partitions, replication))) {
            rc = fail(why, E_USAGE, "topic %s cannot have %d partitions with replication %d", report[t].name,
                      partitions, replication);
            goto out;
        }
        missing++;
    }
    if (missing)
        rc = create(c, topics, missing, timeout_ms, why);
    if (missing && !rc)
        rc = wait_visible(c, s, timeout_ms, why);
out:
    rd_kafka_NewTopic_destroy_array(topics, missing);
    if (m)
        rd_kafka_metadata_destroy(m);
    client_close(&c);
    return rc;
}

/* The answer of DeleteTopics: one that is not there is as good as deleted. */
static int deleted(rd_kafka_event_t *event, struct fail *why)
{
    const rd_kafka_DeleteTopics_result_t *result = rd_kafka_event_DeleteTopics_result(event);
    size_t n = 0;
    if (rd_kafka_event_error(event))
        return client_fail(NULL, rd_kafka_event_error(event), why, "topics delete");
    const rd_kafka_topic_result_t **topics = rd_kafka_DeleteTopics_result_topics(result, &n);
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t err = rd_kafka_topic_result_error(topics[i]);
        if (err && err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            return client_fail(NULL, err, why, "topic %s", rd_kafka_topic_result_name(topics[i]));
    }
    return 0;
}

int topics_delete(const struct settings *s, int timeout_ms, struct fail *why)
{
    rd_kafka_DeleteTopic_t *topics[TOPICS];
    struct client *c = NULL;
    char full[TOPIC_NAME];
    int rc = client_open(&c, s, CLIENT_ADMIN, NULL, NULL, why);
    if (rc)
        return rc;
    for (enum topic t = 0; t < TOPICS; t++)
        topics[t] = rd_kafka_DeleteTopic_new(topic_full_name(s, t, full));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(c->rk);
    rd_kafka_DeleteTopics(c->rk, topics, TOPICS, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
    rc = event ? deleted(event, why)
               : fail(why, E_UNREACHABLE, "topics delete: no answer in %d ms", timeout_ms);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy_array(topics, TOPICS);
    client_close(&c);
    return rc;
}
