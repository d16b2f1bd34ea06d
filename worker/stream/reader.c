/* Reading partitions without a group, by librdkafka's simple consumer: no coordinator and no group permission
 * are needed. The worker's own consumption, with a group and epochs, is source.c. */
#include "worker/stream/reader.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/codec/framing.h"
#include "worker/stream/client.h"
#include "worker/stream/message.h"

struct reading {
    int32_t partition;
    int64_t start, end; /* half open; READER_UNBOUNDED */
    int64_t next;       /* what is before is read */
    bool at_end;        /* of the range or, for now, of the log */
};

struct reader {
    struct source base;
    struct client *client;
    char topic[TOPIC_NAME];
    rd_kafka_topic_t *handle;
    rd_kafka_queue_t *queue;
    struct reading *readings;
    int count;
    bool bounded, announced; /* SOURCE_END was returned since the last record */
    struct message_holder held;
    struct framing *framing;
};

static int partitions_get(struct client *c, const struct settings *s, const char *topic, int timeout_ms,
                          int *count, struct fail *why)
{
    const struct rd_kafka_metadata *m;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(c->rk, topic, NULL);
    if (!handle)
        return client_fail(c, rd_kafka_last_error(), why, "topic %s", topic);
    rd_kafka_resp_err_t err = client_metadata(c, handle, &m, timeout_ms);
    rd_kafka_topic_destroy(handle);
    if (err)
        return client_fail(c, err, why, "no broker answered at %s within %d ms (is it running?)",
                           client_servers(s), timeout_ms);
    int rc = 0;
    if (m->topic_cnt != 1 || m->topics[0].err || m->topics[0].partition_cnt < 1) {
        rd_kafka_resp_err_t why_not =
            m->topic_cnt == 1 ? m->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        if (why_not == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            rc = client_fail_right(why, "topic", topic, "Describe");
        else
            rc = fail(why, E_FAILED, "topic %s does not exist (%s): `millrace topics create` makes it", topic,
                      rd_kafka_err2str(why_not));
    } else {
        *count = m->topics[0].partition_cnt;
    }
    rd_kafka_metadata_destroy(m);
    return rc;
}

int topic_partitions(const struct settings *s, const char *topic, int timeout_ms, int *count,
                     struct fail *why)
{
    struct client *c = NULL;
    int rc = client_open(&c, s, CLIENT_READER, NULL, NULL, why); /* a producer would have the topic made */
    if (!rc)
        rc = partitions_get(c, s, topic, timeout_ms, count, why);
    client_close(&c);
    return rc;
}

int topic_offsets(const struct settings *s, const char *topic, int32_t partition, int timeout_ms,
                  int64_t *start, int64_t *end, struct fail *why)
{
    struct client *c = NULL;
    int rc = client_open(&c, s, CLIENT_READER, NULL, NULL, why);
    if (!rc)
        rc = client_offsets(c, topic, partition, timeout_ms, start, end, why);
    client_close(&c);
    return rc;
}

/* Turns READER_BEGINNING and READER_END into offsets and refuses a range that the log no longer or not yet
 * has. */
static int reading_resolve(struct reader *r, struct reading *g, int timeout_ms, struct fail *why)
{
    int64_t low, high;
    int rc = client_offsets(r->client, r->topic, g->partition, timeout_ms, &low, &high, why);
    if (rc)
        return rc;
    if (g->start == READER_BEGINNING)
        g->start = low;
    else if (g->start == READER_END)
        g->start = high;
    if (g->end == READER_END)
        g->end = high;
    if (g->start < low)
        return fail(why, E_FAILED,
                    "%s [%d]: the range begins at offset %lld, but the log begins at %lld: older records "
                    "were deleted",
                    r->topic, (int)g->partition, (long long)g->start, (long long)low);
    if (g->end != READER_UNBOUNDED && g->end > high)
        return fail(why, E_FAILED, "%s [%d]: the range ends at offset %lld, but the log's stable end is %lld",
                    r->topic, (int)g->partition, (long long)g->end, (long long)high);
    g->next = g->start;
    g->at_end = g->start >= g->end;
    return 0;
}

static int readings_make(struct reader *r, const struct settings *s, const struct reader_range *ranges,
                         int count, int64_t start, int timeout_ms, struct fail *why)
{
    int partitions = 0;
    int rc = partitions_get(r->client, s, r->topic, timeout_ms, &partitions, why);
    if (rc)
        return rc;
    r->count = ranges ? count : partitions;
    r->readings = calloc((size_t)r->count + 1, sizeof *r->readings);
    if (!r->readings)
        return fail(why, E_MEMORY, "%d partitions", r->count);
    r->bounded = ranges != NULL;
    for (int i = 0; i < r->count; i++) {
        struct reading *g = &r->readings[i];
        *g = ranges ? (struct reading){.partition = ranges[i].partition,
                                       .start = ranges[i].start,
                                       .end = ranges[i].end}
                    : (struct reading){.partition = i, .start = start, .end = READER_UNBOUNDED};
        if (g->partition < 0 || g->partition >= partitions)
            return fail(why, E_FAILED, "topic %s has %d partitions, a range names partition %d", r->topic,
                        partitions, (int)g->partition);
        rc = reading_resolve(r, g, timeout_ms, why);
        if (rc)
            return rc;
        r->bounded = r->bounded && g->end != READER_UNBOUNDED;
    }
    return 0;
}

static int readings_start(struct reader *r, struct fail *why)
{
    r->queue = rd_kafka_queue_new(r->client->rk);
    r->handle = rd_kafka_topic_new(r->client->rk, r->topic, NULL);
    if (!r->handle)
        return client_fail(r->client, rd_kafka_last_error(), why, "topic %s", r->topic);
    for (int i = 0; i < r->count; i++) {
        struct reading *g = &r->readings[i];
        if (g->at_end)
            continue;
        if (rd_kafka_consume_start_queue(r->handle, g->partition, g->start, r->queue))
            return client_fail(r->client, rd_kafka_last_error(), why, "reading %s [%d]", r->topic,
                               (int)g->partition);
    }
    return 0;
}

static int source_op_next(struct source *src, struct record *out, int timeout_ms, struct fail *why)
{
    return reader_next((struct reader *)src, out, timeout_ms, why);
}

static int source_op_seal(struct source *src, struct batch *b, enum seal how, struct fail *why)
{
    (void)src, (void)b, (void)how, (void)why;
    return 0;
}

static bool source_op_changed(struct source *src)
{
    (void)src;
    return false;
}

static const struct source_ops ops = {source_op_next, source_op_seal, source_op_changed, NULL, NULL};

int reader_open(struct reader **out, const struct settings *s, const char *topic,
                const struct reader_range *ranges, int count, int64_t start, int timeout_ms, struct fail *why)
{
    static const char *const extra[] = {"enable.partition.eof", "true", NULL};
    struct reader *r = calloc(1, sizeof *r);
    if (!r)
        return fail(why, E_MEMORY, "reader of %s", topic);
    r->base.ops = &ops;
    snprintf(r->topic, sizeof r->topic, "%s", topic);
    int rc = framing_open(&r->framing, s, why);
    if (!rc)
        rc = client_open(&r->client, s, CLIENT_READER, extra, NULL, why);
    if (!rc)
        rc = readings_make(r, s, ranges, count, start, timeout_ms, why);
    if (!rc)
        rc = readings_start(r, why);
    if (rc)
        reader_close(&r);
    *out = r;
    return rc;
}

void reader_close(struct reader **reader)
{
    struct reader *r = *reader;
    if (!r)
        return;
    message_free(&r->held);
    for (int i = 0; r->handle && i < r->count; i++)
        rd_kafka_consume_stop(r->handle, r->readings[i].partition);
    if (r->queue)
        rd_kafka_queue_destroy(r->queue);
    if (r->handle)
        rd_kafka_topic_destroy(r->handle);
    client_close(&r->client);
    framing_close(&r->framing);
    free(r->readings);
    free(r);
    *reader = NULL;
}

struct source *reader_source(struct reader *r)
{
    return &r->base;
}

static struct reading *reading_of(struct reader *r, int32_t partition)
{
    for (int i = 0; i < r->count; i++)
        if (r->readings[i].partition == partition)
            return &r->readings[i];
    return NULL;
}

static bool all_at_end(const struct reader *r)
{
    for (int i = 0; i < r->count; i++)
        if (!r->readings[i].at_end)
            return false;
    return true;
}

/* A message that is no record: the end of a partition, or an error. Lost brokers are waited for. */
static int reader_event(struct reader *r, rd_kafka_message_t *m, struct fail *why)
{
    struct reading *g = reading_of(r, m->partition);
    int rc = SOURCE_NONE;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (g) {
            g->next = m->offset > g->next ? m->offset : g->next;
            g->at_end = g->end == READER_UNBOUNDED || g->next >= g->end;
        }
    } else if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
               m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) {
        rc = fail(why, E_FAILED,
                  "%s [%d]: records from offset %lld on were deleted while they were being read", r->topic,
                  (int)m->partition, g ? (long long)g->next : -1LL);
    } else if (client_wants_right(m->err)) {
        rc = client_fail_right(why, "topic", r->topic, "Read");
    } else if (m->err != RD_KAFKA_RESP_ERR__TRANSPORT && m->err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        struct fail what;
        if (client_fail(r->client, m->err, &what, "reading %s [%d]", r->topic, (int)m->partition) ==
            -E_DENIED)
            rc = fail(why, E_DENIED, "%s", what.text);
    }
    rd_kafka_message_destroy(m);
    return rc;
}

/* Takes a record over when it lies in its range. */
static int reader_record(struct reader *r, rd_kafka_message_t *m, struct record *out, struct fail *why)
{
    struct reading *g = reading_of(r, m->partition);
    if (!g || m->offset < g->next || m->offset >= g->end) {
        if (g && m->offset >= g->end)
            g->at_end = true;
        rd_kafka_message_destroy(m);
        return SOURCE_NONE;
    }
    g->next = m->offset + 1;
    g->at_end = g->next >= g->end;
    r->announced = false;
    int rc = message_hold(&r->held, m, out, why);
    out->framing = r->framing;
    return rc ? rc : SOURCE_RECORD;
}

int reader_next(struct reader *r, struct record *out, int timeout_ms, struct fail *why)
{
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    message_release(&r->held);
    for (;;) {
        if (all_at_end(r) && (r->bounded || !r->announced)) {
            r->announced = true;
            return SOURCE_END;
        }
        int64_t left_us = until_us - now_us();
        rd_kafka_message_t *m = rd_kafka_consume_queue(r->queue, left_us > 0 ? (int)(left_us / 1000) : 0);
        if (!m && left_us <= 0)
            return SOURCE_NONE;
        if (!m)
            continue;
        int rc = m->err ? reader_event(r, m, why) : reader_record(r, m, out, why);
        if (rc != SOURCE_NONE)
            return rc;
    }
}

int reader_caught_up(struct reader *r, int timeout_ms, bool *yes, struct fail *why)
{
    *yes = true;
    for (int i = 0; i < r->count; i++) {
        struct reading *g = &r->readings[i];
        int64_t low, high;
        int rc = client_offsets(r->client, r->topic, g->partition, timeout_ms, &low, &high, why);
        if (rc)
            return rc;
        if (g->next < (high < g->end ? high : g->end))
            *yes = false;
    }
    return 0;
}

int reader_stable_ends(struct reader *r, int timeout_ms, int64_t *sum, struct fail *why)
{
    *sum = 0;
    for (int i = 0; i < r->count; i++) {
        int64_t low, high;
        int rc = client_offsets(r->client, r->topic, r->readings[i].partition, timeout_ms, &low, &high, why);
        if (rc)
            return rc;
        *sum += high;
    }
    return 0;
}
