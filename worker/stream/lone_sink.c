/* begin, produce, commit: a batch at a time. The worker's own transactions, which move offsets too, are committer.c's; what the
 * errors mean is client_fail_transaction's. */
#include "worker/stream/lone_sink.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/service/log.h"
#include "worker/stream/client.h"

enum { CALL_MS = 1000, FIRST_REPORT_MS = 2000, GIVE_UP_MS = 10000, LIMIT = 17825792 - 4096 };

struct lone_sink {
    struct sink base;
    struct client *producer;
    rd_kafka_topic_t *topics[TOPICS];
    int partitions[TOPICS];
    struct batch batch;
    bool out;     /* the batch is with the caller */
    bool tainted; /* a call was repeated: the answer to the first may come yet and end the next transaction */
    int64_t delivered;   /* reports of the transaction under way */
    struct fail refused; /* a record that would be refused again */
};

static void on_delivered(void *owner, const rd_kafka_message_t *m)
{
    struct lone_sink *k = owner;
    k->delivered++;
    bool final = m->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
                 m->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (final && !k->refused.code)
        client_fail(NULL, m->err, &k->refused, "a record of %zu bytes for %s was refused",
                    m->len + m->key_len, rd_kafka_topic_name(m->rkt));
}

typedef rd_kafka_error_t *step(rd_kafka_t *rk);

static rd_kafka_error_t *step_init(rd_kafka_t *rk)
{
    return rd_kafka_init_transactions(rk, CALL_MS);
}

static rd_kafka_error_t *step_commit(rd_kafka_t *rk)
{
    return rd_kafka_commit_transaction(rk, CALL_MS);
}

static rd_kafka_error_t *step_abort(rd_kafka_t *rk)
{
    return rd_kafka_abort_transaction(rk, CALL_MS);
}

/* The same call again while librdkafka says retriable. */
static int call(struct lone_sink *k, const char *name, step *once, int timeout_ms, struct fail *why)
{
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        rd_kafka_error_t *error = once(k->producer->rk);
        int rc = error ? client_fail_transaction(error, name, why) : 0;
        if (rc != -E_RETRY || now_us() > until_us)
            return rc;
        k->tainted |= once != step_init;
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
}

/* ---- a transaction ---- */

static int produce(struct lone_sink *k, const struct output *o, struct fail *why)
{
    int64_t until_us = now_us() + GIVE_UP_MS * 1000;
    int32_t partition = o->partition < 0 ? -1 : o->partition % k->partitions[o->topic];
    for (;;) {
        rd_kafka_error_t *error = client_produce(k->producer, k->topics[o->topic], partition, o->key,
                                                 o->value, NULL, o->headers, o->header_count, NULL);
        if (!error)
            return 0;
        rd_kafka_resp_err_t err = rd_kafka_error_code(error);
        bool fatal = rd_kafka_error_is_fatal(error);
        rd_kafka_error_destroy(error);
        if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL && now_us() < until_us) {
            rd_kafka_poll(k->producer->rk, 20);
            continue;
        }
        return fail(why, fatal ? E_REBUILD : E_ABORT, "a record of %zu bytes for %s: %s",
                    o->key.size + o->value.size, rd_kafka_topic_name(k->topics[o->topic]),
                    rd_kafka_err2str(err));
    }
}

/* Ends what is open; not 0, and E_REBUILD in `why`, when that did not succeed. */
static int abort_open(struct lone_sink *k, bool produced, struct fail *why)
{
    struct fail ended;
    int64_t until_us = now_us() + FIRST_REPORT_MS * 1000;
    while (produced && !k->delivered && now_us() < until_us) /* else the abort is fatal: streaming.md */
        rd_kafka_poll(k->producer->rk, 10);
    int rc = call(k, "abort_transaction", step_abort, GIVE_UP_MS, &ended);
    if (rc)
        *why = ended, why->code = E_REBUILD;
    return rc ? -E_REBUILD : 0;
}

static int taken_over(struct fail *why)
{
    return fail(why, E_SLOT_TAKEN, "another process began the same work and goes on with it");
}

static int transact(struct lone_sink *k, const struct batch *b, struct fail *why)
{
    bool produced = false;
    if (k->tainted)
        return fail(why, E_REBUILD, "a transaction call had to be repeated: a new producer is needed");
    k->delivered = 0;
    k->refused.code = E_OK;
    rd_kafka_error_t *error = rd_kafka_begin_transaction(k->producer->rk);
    int rc = error ? client_fail_transaction(error, "begin_transaction", why) : 0;
    bool begun = !rc;
    for (int i = 0; !rc && i < b->output_count; i++) {
        rc = produce(k, &b->outputs[i], why);
        produced |= !rc;
    }
    if (!rc)
        rc = call(k, "commit_transaction", step_commit, GIVE_UP_MS, why);
    if (!rc)
        return 0;
    if (begun && fail_class(why->code) == FAIL_ABORT)
        abort_open(k, produced, why);
    if (k->refused.code) {
        *why = k->refused;
        return -(int)why->code;
    }
    if (why->code == E_FENCED || client_is_fenced(k->producer))
        return taken_over(why);
    if (why->code == E_RETRY || why->code == E_UNREACHABLE)
        why->code = E_REBUILD;
    return -(int)why->code;
}

/* A transaction of which nothing stays: it ends what a broker that lost a marker left open, and what the next commit would take
 * along. clear.c says how that comes. */
static int clear(struct lone_sink *k, unsigned outputs, struct fail *why)
{
    static const struct output nothing = {.key = {"", 0}, .value = {"", 0}};
    bool produced = false;
    rd_kafka_error_t *error = rd_kafka_begin_transaction(k->producer->rk);
    if (error)
        return client_fail_transaction(error, "begin_transaction", why);
    int rc = 0;
    for (enum topic t = 0; t < TOPICS; t++)
        for (int p = 0; !rc && outputs & 1u << t && p < k->partitions[t]; p++) {
            struct output o = nothing;
            o.topic = t;
            o.partition = p;
            rc = produce(k, &o, why);
            produced |= !rc;
        }
    rd_kafka_resp_err_t err = rc ? 0 : rd_kafka_flush(k->producer->rk, GIVE_UP_MS);
    if (err)
        rc = client_fail(k->producer, err, why, "records of nothing");
    int aborted = abort_open(k, produced, why);
    return rc ? -(int)why->code : aborted;
}

/* ---- the sink ---- */

static int op_take(struct sink *base, struct batch **out, struct fail *why)
{
    struct lone_sink *k = (struct lone_sink *)base;
    if (k->out)
        return fail(why, E_FAILED, "there is one batch, and it is in use");
    k->out = true;
    *out = &k->batch;
    return 0;
}

static int op_put(struct sink *base, struct batch **b, struct fail *why)
{
    struct lone_sink *k = (struct lone_sink *)base;
    int rc = (*b)->output_count ? transact(k, *b, why) : 0;
    batch_reset(*b);
    k->out = false;
    *b = NULL;
    return rc;
}

static int op_wait(struct sink *base, struct fail *why)
{
    (void)base, (void)why;
    return 0; /* op_put waited */
}

static size_t op_limit(struct sink *base, enum topic topic)
{
    (void)base, (void)topic;
    return LIMIT;
}

static const struct sink_ops ops = {op_take, op_put, op_wait, op_limit};

struct sink *lone_sink_base(struct lone_sink *k)
{
    return &k->base;
}

/* ---- opening ---- */

static int producer_open(struct lone_sink *k, const struct settings *s, const char *name, unsigned outputs,
                         int timeout_ms, struct fail *why)
{
    char id[600], full[TOPIC_NAME];
    const char *extra[] = {"transactional.id", id, NULL};
    struct client template = {.owner = k, .delivered = on_delivered};
    snprintf(id, sizeof id, "%s%s", s->topics_prefix, name);
    int rc = client_open(&k->producer, s, CLIENT_PRODUCER, extra, &template, why);
    for (enum topic t = 0; !rc && t < TOPICS; t++) {
        k->topics[t] = rd_kafka_topic_new(k->producer->rk, topic_full_name(s, t, full), NULL);
        if (!k->topics[t])
            rc = client_fail(k->producer, rd_kafka_last_error(), why, "topic %s", full);
    }
    if (!rc)
        rc = call(k, "init_transactions", step_init, timeout_ms, why);
    if (!rc)
        rc = clear(k, outputs, why);
    if (!rc)
        return 0;
    if (why->code == E_FENCED || (k->producer && client_is_fenced(k->producer)))
        return taken_over(why);
    if (rc == -E_RETRY)
        why->code = E_UNREACHABLE;
    return -(int)why->code;
}

int lone_sink_open(struct lone_sink **out, const struct settings *s, const char *name, unsigned outputs,
                   int timeout_ms, struct fail *why)
{
    struct lone_sink *k = calloc(1, sizeof *k);
    if (!k)
        return fail(why, E_MEMORY, "a sink");
    k->base.ops = &ops;
    int rc = topics_look(s, timeout_ms, k->partitions, why);
    for (enum topic t = 0; !rc && t < TOPICS; t++)
        if (!k->partitions[t])
            rc = fail(why, E_FAILED, "topic %s%s does not exist: `millrace topics create` makes it",
                      s->topics_prefix, topic_short_name(t));
    if (!rc)
        rc = producer_open(k, s, name, outputs, timeout_ms, why);
    if (rc)
        lone_sink_close(&k);
    *out = k;
    return rc;
}

void lone_sink_close(struct lone_sink **sink)
{
    struct lone_sink *k = *sink;
    if (!k)
        return;
    for (int t = 0; t < TOPICS; t++)
        if (k->topics[t])
            rd_kafka_topic_destroy(k->topics[t]);
    if (k->producer)
        rd_kafka_purge(k->producer->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    client_close(&k->producer);
    region_free(&k->batch.mem);
    free(k);
    *sink = NULL;
}
