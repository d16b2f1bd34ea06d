/* Producing without a transaction, for commands. The worker's own outputs go through committer.c. */
#include "worker/stream/writer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/codec/framing.h"
#include "worker/codec/wire.h"
#include "worker/stream/client.h"
#include "worker/stream/reader.h"

enum { HANDLES = 16, ROOM_BYTES = 32 * 1024 * 1024 }; /* half of queue.buffering.max.kbytes, client.c */

struct destination {
    rd_kafka_topic_t *handle; /* a cold first message waits a second for its topic on 2.0.2 */
    bool framed;              /* confluent */
    unsigned char frame[FRAME_BYTES];
};

struct writer {
    const struct settings *settings;
    struct client *client;
    struct framing *framing;
    struct bytes framed; /* the value at hand behind its frame */
    struct destination destinations[HANDLES];
    int count;
    int64_t queued_bytes; /* not acknowledged yet */
    struct fail refused;  /* the first delivery that failed */
};

/* One request at a time. With several under way, a partition that nobody leads for a moment (a topic that was just made) refuses
 * the first and takes the second: a broker that knows nothing of a producer yet takes any sequence number, and librdkafka then
 * holds the first for delivered, too. A transactional producer has written to each partition before it hurries (clear.c). */
static const char *const in_turn[] = {"max.in.flight.requests.per.connection", "1", NULL};

static void on_delivered(void *owner, const rd_kafka_message_t *m)
{
    struct writer *w = owner;
    struct written *where = m->_private;
    w->queued_bytes -= (int64_t)m->len;
    if (m->err) {
        if (!w->refused.code)
            client_fail(NULL, m->err, &w->refused, "a record of %zu bytes for %s was refused", m->len,
                        rd_kafka_topic_name(m->rkt));
    } else if (where) {
        where->partition = m->partition;
        where->offset = m->offset;
    }
}

int writer_open(struct writer **out, const struct settings *s, int timeout_ms, struct fail *why)
{
    struct writer *w = calloc(1, sizeof *w);
    struct client template = {.owner = w, .delivered = on_delivered};
    const struct rd_kafka_metadata *m;
    if (!w)
        return fail(why, E_MEMORY, "writer");
    w->settings = s;
    int rc = framing_open(&w->framing, s, why);
    if (!rc)
        rc = client_open(&w->client, s, CLIENT_PRODUCER, in_turn, &template, why);
    if (!rc) {
        rd_kafka_resp_err_t err = client_metadata(w->client, NULL, &m, timeout_ms);
        if (err)
            rc = client_fail(w->client, err, why, "no broker answered at %s within %d ms (is it running?)",
                             client_servers(s), timeout_ms);
        else
            rd_kafka_metadata_destroy(m);
    }
    if (rc)
        writer_close(&w);
    *out = w;
    return rc;
}

void writer_close(struct writer **w)
{
    if (!*w)
        return;
    if ((*w)->client) /* what was not flushed is given up */
        rd_kafka_purge((*w)->client->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    for (int i = 0; i < (*w)->count; i++)
        rd_kafka_topic_destroy((*w)->destinations[i].handle);
    client_close(&(*w)->client);
    framing_close(&(*w)->framing);
    bytes_free(&(*w)->framed);
    free(*w);
    *w = NULL;
}

/* Of a topic; made, and its schema looked up, when it is new. */
static int destination_of(struct writer *w, const char *topic, struct destination **out, struct fail *why)
{
    for (int i = 0; i < w->count; i++)
        if (strcmp(rd_kafka_topic_name(w->destinations[i].handle), topic) == 0) {
            *out = &w->destinations[i];
            return 0;
        }
    struct destination d = {0};
    int ours = topic_find(w->settings, topic);
    const struct record_type *t = ours < 0 ? NULL : record_type_of_topic(topic_short_name((enum topic)ours));
    d.framed = t && framing_is_confluent(w->framing, t);
    int rc = d.framed ? framing_frame(w->framing, t, topic, NULL, d.frame, why) : 0;
    if (rc)
        return rc;
    if (w->count == HANDLES || !(d.handle = rd_kafka_topic_new(w->client->rk, topic, NULL)))
        return fail(why, E_FAILED, "topic %s: no handle: %s", topic, rd_kafka_err2str(rd_kafka_last_error()));
    *out = &w->destinations[w->count++];
    **out = d;
    return 0;
}

int writer_put(struct writer *w, const char *topic, int32_t partition, struct span key, struct span value,
               const struct header *headers, int header_count, struct written *where, struct fail *why)
{
    struct destination *d = NULL;
    int rc = destination_of(w, topic, &d, why);
    if (rc)
        return rc;
    if (d->framed) {
        w->framed.size = 0;
        bytes_put(&w->framed, d->frame, FRAME_BYTES);
        bytes_put(&w->framed, value.data, value.size);
        if (w->framed.failed)
            return fail(why, E_MEMORY, "a record of %zu bytes for %s", value.size, topic);
        value = (struct span){(const char *)w->framed.data, w->framed.size};
    }
    if (where)
        where->partition = -1;
    for (;;) {
        rd_kafka_error_t *error = client_produce(w->client, d->handle, partition, key, value,
                                                 d->framed ? NULL : "1", headers, header_count, where);
        if (!error)
            break;
        rd_kafka_resp_err_t err = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return client_fail(w->client, err, why, "a record of %zu bytes for %s", value.size, topic);
        rd_kafka_poll(w->client->rk, 20);
    }
    w->queued_bytes += (int64_t)value.size;
    rd_kafka_poll(w->client->rk, 0);
    if (!w->refused.code)
        return 0;
    *why = w->refused;
    return -(int)why->code;
}

bool writer_has_room(struct writer *w, int timeout_ms)
{
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    while (w->queued_bytes >= ROOM_BYTES && now_us() < until_us)
        rd_kafka_poll(w->client->rk, 10);
    return w->queued_bytes < ROOM_BYTES;
}

int writer_waiting(const struct writer *w)
{
    return rd_kafka_outq_len(w->client->rk);
}

int writer_flush(struct writer *w, int timeout_ms, struct fail *why)
{
    rd_kafka_resp_err_t err = rd_kafka_flush(w->client->rk, timeout_ms);
    if (w->refused.code) {
        *why = w->refused;
        return -(int)why->code;
    }
    return err ? client_fail(w->client, err, why, "%d records were not acknowledged within %d ms",
                             rd_kafka_outq_len(w->client->rk), timeout_ms)
               : 0;
}

int writer_wait_stable(const struct settings *s, const char *topic, const struct written *at, int timeout_ms,
                       struct fail *why)
{
    struct reader_range range = {at->partition, at->offset, READER_UNBOUNDED};
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    struct reader *r = NULL;
    int64_t low, high = 0;
    if (at->partition < 0)
        return fail(why, E_FAILED, "%s: the record was not acknowledged", topic);
    /* The log's stable end may still be before the record: wait for it, then read the record itself. */
    while (high <= at->offset) {
        int rc = topic_offsets(s, topic, at->partition, timeout_ms, &low, &high, why);
        if (rc)
            return rc;
        if (now_us() > until_us)
            return fail(why, E_UNREACHABLE,
                        "%s [%d]: offset %lld is not stable yet: a transaction before it is open", topic,
                        (int)at->partition, (long long)at->offset);
        struct timespec pause = {0, 20000000};
        if (high <= at->offset)
            nanosleep(&pause, NULL);
    }
    int rc = reader_open(&r, s, topic, &range, 1, READER_BEGINNING, timeout_ms, why);
    struct record got;
    while (!rc && (rc = reader_next(r, &got, 100, why)) >= 0) {
        if (rc == SOURCE_RECORD && got.offset >= at->offset) {
            rc = 0;
            break;
        }
        rc = now_us() > until_us
                 ? fail(why, E_UNREACHABLE, "%s: offset %lld was not seen", topic, (long long)at->offset)
                 : 0;
    }
    reader_close(&r);
    return rc;
}
