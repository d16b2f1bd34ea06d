/* begin, produce, commit: a batch at a time. The worker's own transactions, which move offsets too, are committer.c's; what the
 * errors mean is client_fail_transaction's. */
#include "worker/stream/lone_sink.h"

#include <stdlib.h>

#include "worker/service/log.h"
#include "worker/stream/transactor.h"

enum { ATTEMPTS = 5 };

struct lone_sink {
    struct sink base;
    struct transactor tx;
    struct batch batch;
    bool out; /* the batch is with the caller */
};

/* ---- a transaction ---- */

static int taken_over(struct fail *why)
{
    return fail(why, E_SLOT_TAKEN, "another process began the same work and goes on with it");
}

/* A record that would be refused again. */
static bool is_refused(const struct transactor *t)
{
    return t->refused_err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || t->refused.code == E_DENIED;
}

static int transact(struct transactor *t, const struct batch *b, struct fail *why)
{
    struct fail ended;
    if (t->tainted)
        return fail(why, E_REBUILD, "a transaction call had to be repeated: a new producer is needed");
    int rc = transactor_begin(t, why);
    bool begun = !rc;
    for (int i = 0; !rc && i < b->output_count; i++)
        rc = transactor_produce(t, &b->outputs[i], why);
    if (!rc)
        rc = transactor_commit(t, why);
    if (!rc)
        return 0;
    if (begun && (fail_class(why->code) == FAIL_ABORT || why->code == E_DENIED) &&
        transactor_abort(t, &ended))
        *why = ended, why->code = E_REBUILD;
    if (is_refused(t)) {
        *why = t->refused;
        return -(int)why->code;
    }
    if (why->code == E_FENCED || client_is_fenced(t->producer))
        return taken_over(why);
    if (why->code == E_UNREACHABLE)
        why->code = E_REBUILD;
    return -(int)why->code;
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
    int rc = (*b)->output_count ? transact(&k->tx, *b, why) : 0;
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
    return ((struct lone_sink *)base)->tx.limits[topic];
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
    char id[600];
    snprintf(id, sizeof id, "%s%s", s->topics_prefix, name);
    int rc = transactor_open(&k->tx, s, id, NULL, why);
    if (!rc && (rc = transactor_init(&k->tx, timeout_ms, why)) == -E_RETRY)
        why->code = E_UNREACHABLE;
    if (!rc)
        rc = transactor_nothing(&k->tx, outputs, NULL, NULL, why);
    if (!rc)
        return 0;
    if (why->code == E_FENCED || (k->tx.producer && client_is_fenced(k->tx.producer)))
        return taken_over(why);
    return -(int)why->code;
}

int lone_sink_open(struct lone_sink **out, const struct settings *s, const char *name, unsigned outputs,
                   int timeout_ms, struct fail *why)
{
    struct lone_sink *k = calloc(1, sizeof *k);
    if (!k)
        return fail(why, E_MEMORY, "a sink");
    k->base.ops = &ops;
    int rc = topics_look(s, timeout_ms, k->tx.partitions, why);
    for (enum topic t = 0; !rc && t < TOPICS; t++)
        if (!k->tx.partitions[t])
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
    transactor_close(&k->tx);
    region_free(&k->batch.mem);
    free(k);
    *sink = NULL;
}

int lone_sink_insist(int (*attempt)(void *arg, struct fail *why), void *arg,
                     const volatile sig_atomic_t *stop, struct fail *why)
{
    for (int left = ATTEMPTS;; left--) {
        int rc = attempt(arg, why);
        bool again = rc && (fail_class(why->code) == FAIL_ABORT || fail_class(why->code) == FAIL_REBUILD);
        if (!again || *stop)
            return rc;
        if (left == 1)
            return -(int)(why->code = E_RESTART);
        log_event(LOG_WARN, "a transaction did not end well: looking at what was written", "text", why->text,
                  NULL);
    }
}
