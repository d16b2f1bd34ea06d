/* begin, produce, offsets, commit, abort: once each, and again while that helps. Who calls: committer.c, clear.c, lone_sink.c. */
#include "worker/stream/transactor.h"

#include <stdlib.h>
#include <time.h>

#include "worker/stream/parts.h"

enum {
    CALL_MS = 1000,
    FIRST_REPORT_MS = 2000,
    LATE_REPORT_MS = 500,
    LIMIT = 17825792 - 4096,
    LETTER = 65536
};

int64_t transaction_timeout_ms(const struct settings *s)
{
    const char *text = setting_map_get(&s->kafka, "transaction.timeout.ms");
    long long ms = text ? atoll(text) : 0;
    return ms > 0 ? ms : 10000;
}

/* ---- delivery reports ---- */

static void learn(struct transactor *t, enum topic topic, size_t size)
{
    if (size > 0 && size <= t->limits[topic])
        t->limits[topic] = size - 1;
}

static void on_delivered(void *transactor, const rd_kafka_message_t *m)
{
    struct transactor *t = transactor;
    enum topic topic = (enum topic)(intptr_t)m->_private;
    size_t size = m->len + m->key_len;
    t->delivered++;
    if (!m->err && t->marks)
        marks_note(t->marks, topic, m->partition, m->offset);
    if (!m->err || m->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE || m->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
        return;
    bool large = m->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    if (large)
        learn(t, topic, size);
    if (!t->refused.code) {
        if (client_wants_right(m->err))
            client_fail_right(&t->refused, "topic", rd_kafka_topic_name(m->rkt), "Write");
        else
            client_fail(NULL, m->err, &t->refused, "a record of %zu bytes for %s was refused", size,
                        rd_kafka_topic_name(m->rkt));
        t->refused_err = m->err;
    }
    if (large && topic == TOPIC_DEAD_LETTERS && m->len <= LETTER) {
        t->hopeless = true;
        fail(&t->refused, E_FAILED,
             "the dead-letter topic refuses records of 64 KiB: raise its max.message.bytes");
    }
}

/* ---- opening ---- */

int transactor_open(struct transactor *t, const struct settings *s, const char *id, struct watchdog *watchdog,
                    struct fail *why)
{
    const char *extra[] = {"transactional.id", t->id, NULL};
    struct client template = {.owner = t, .delivered = on_delivered};
    t->settings = s;
    snprintf(t->id, sizeof t->id, "%s", id);
    t->timeout_ms = transaction_timeout_ms(s);
    t->give_up_us = INT64_MAX;
    t->watchdog = watchdog;
    for (int i = 0; i < TOPICS; i++)
        t->limits[i] = LIMIT;
    int rc = client_open(&t->producer, s, CLIENT_PRODUCER, extra, &template, why);
    for (enum topic i = 0; !rc && i < TOPICS; i++) {
        char full[TOPIC_NAME];
        t->topics[i] = rd_kafka_topic_new(t->producer->rk, topic_full_name(s, i, full), NULL);
        if (!t->topics[i])
            rc = client_fail(t->producer, rd_kafka_last_error(), why, "topic %s", full);
    }
    return rc;
}

void transactor_close(struct transactor *t)
{
    for (int i = 0; i < TOPICS; i++)
        if (t->topics[i])
            rd_kafka_topic_destroy(t->topics[i]);
    if (t->producer)
        rd_kafka_purge(t->producer->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    client_close(&t->producer);
}

/* ---- the calls, each once; `call` repeats and classifies ---- */

struct offered {
    const rd_kafka_topic_partition_list_t *offsets;
    const rd_kafka_consumer_group_metadata_t *group;
};

typedef rd_kafka_error_t *step(rd_kafka_t *rk, const struct offered *offered);

static rd_kafka_error_t *step_init(rd_kafka_t *rk, const struct offered *offered)
{
    (void)offered;
    return rd_kafka_init_transactions(rk, CALL_MS);
}

static rd_kafka_error_t *step_begin(rd_kafka_t *rk, const struct offered *offered)
{
    (void)offered;
    return rd_kafka_begin_transaction(rk);
}

static rd_kafka_error_t *step_offsets(rd_kafka_t *rk, const struct offered *offered)
{
    return rd_kafka_send_offsets_to_transaction(rk, offered->offsets, offered->group, CALL_MS);
}

static rd_kafka_error_t *step_commit(rd_kafka_t *rk, const struct offered *offered)
{
    (void)offered;
    return rd_kafka_commit_transaction(rk, CALL_MS);
}

static rd_kafka_error_t *step_abort(rd_kafka_t *rk, const struct offered *offered)
{
    (void)offered;
    return rd_kafka_abort_transaction(rk, CALL_MS);
}

/* E_RETRY: it would have to be repeated for longer than limit_ms. */
static int call(struct transactor *t, const char *name, step *once, const struct offered *offered,
                int64_t limit_ms, struct fail *why)
{
    int64_t began_us = now_us();
    int rc;
    if (t->watchdog)
        watchdog_arm(t->watchdog, name, 2 * t->timeout_ms);
    for (;;) {
        rd_kafka_error_t *error = once(t->producer->rk, offered);
        if (error && rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED) {
            rd_kafka_error_destroy(error);
            rc = client_fail_right(why, "transactional id", t->id, "Write");
            break;
        }
        rc = error ? client_fail_transaction(error, name, why) : 0;
        if (rc != -E_RETRY)
            break;
        rd_kafka_poll(t->producer->rk, 0);
        if (client_refused(t->producer, why)) {
            rc = -E_DENIED;
            break;
        }
        t->tainted |= once != step_init;
        if (now_us() - began_us > limit_ms * 1000 || now_us() > t->give_up_us) {
            rc = fail_prefix(why, "given up after %lld ms", (long long)((now_us() - began_us) / 1000));
            break;
        }
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    if (t->watchdog)
        watchdog_disarm(t->watchdog);
    return rc;
}

/* A call of a transaction that was begun: one that must be repeated no more leaves its state unknown. */
static int call_begun(struct transactor *t, const char *name, step *once, const struct offered *offered,
                      struct fail *why)
{
    int rc = call(t, name, once, offered, t->timeout_ms, why);
    if (rc == -E_RETRY)
        why->code = E_REBUILD;
    return rc ? -(int)why->code : 0;
}

int transactor_init(struct transactor *t, int timeout_ms, struct fail *why)
{
    return call(t, "init_transactions", step_init, NULL, timeout_ms, why);
}

int transactor_begin(struct transactor *t, struct fail *why)
{
    t->produced = t->delivered = 0;
    t->refused.code = E_OK;
    t->refused_err = 0;
    t->hopeless = false;
    return call_begun(t, "begin_transaction", step_begin, NULL, why);
}

int transactor_offsets(struct transactor *t, const rd_kafka_topic_partition_list_t *offsets,
                       const rd_kafka_consumer_group_metadata_t *group, struct fail *why)
{
    return call_begun(t, "send_offsets_to_transaction", step_offsets, &(struct offered){offsets, group}, why);
}

int transactor_commit(struct transactor *t, struct fail *why)
{
    return call_begun(t, "commit_transaction", step_commit, NULL, why);
}

int transactor_abort(struct transactor *t, struct fail *why)
{
    int64_t until_us = now_us() + FIRST_REPORT_MS * 1000;
    while (t->produced && !t->delivered && now_us() < until_us)
        rd_kafka_poll(t->producer->rk, 10);
    int rc = call_begun(t, "abort_transaction", step_abort, NULL, why);
    until_us = now_us() + LATE_REPORT_MS * 1000;
    while (!rc && t->delivered < t->produced && now_us() < until_us) /* they would count for the next one */
        rd_kafka_poll(t->producer->rk, 10);
    return rc;
}

/* begin_transaction is refused within a transaction, and says of one that failed why it did. */
int transactor_failed(struct transactor *t, struct fail *why)
{
    rd_kafka_error_t *error = rd_kafka_begin_transaction(t->producer->rk);
    if (error && rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__STATE &&
        !rd_kafka_error_txn_requires_abort(error) && !rd_kafka_error_is_fatal(error)) {
        rd_kafka_error_destroy(error);
        return 0;
    }
    struct fail found;
    int rc = error ? client_fail_transaction(error, "records of nothing", &found)
                   : fail(&found, E_REBUILD, "a transaction was not open any more");
    if (rc == -E_ABORT)
        return 0;
    *why = found;
    return rc;
}

/* ---- producing ---- */

static rd_kafka_error_t *produce_once(struct transactor *t, const struct output *o)
{
    int32_t partition = o->partition < 0 ? -1 : o->partition % t->partitions[o->topic];
    return client_produce(t->producer, t->topics[o->topic], partition, o->key, o->value, NULL, o->headers,
                          o->header_count, (void *)(intptr_t)o->topic);
}

int transactor_produce(struct transactor *t, const struct output *o, struct fail *why)
{
    int64_t until_us = now_us() + t->timeout_ms * 1000;
    for (;;) {
        rd_kafka_error_t *error = produce_once(t, o);
        if (!error) {
            t->produced++;
            return 0;
        }
        rd_kafka_resp_err_t err = rd_kafka_error_code(error);
        if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL && now_us() < until_us && now_us() < t->give_up_us) {
            rd_kafka_error_destroy(error);
            rd_kafka_poll(t->producer->rk, 20);
            continue;
        }
        size_t size = o->value.size + o->key.size;
        if (err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
            learn(t, o->topic, size);
        if (client_wants_right(err)) {
            rd_kafka_error_destroy(error);
            return client_fail_right(why, "topic", rd_kafka_topic_name(t->topics[o->topic]), "Write");
        }
        int rc = fail(why, rd_kafka_error_is_fatal(error) ? E_REBUILD : E_ABORT,
                      "a record of %zu bytes for %s: %s", size, topic_short_name(o->topic),
                      rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        return rc;
    }
}
