/* The committer's part of a session: sealed batches in, transactions out, in the order of the seals.
 *
 * begin, produce all, send the batches' own offsets with the group metadata of their epoch, commit. Several
 * batches go into one transaction; a batch of an epoch that is over is dropped. What an error means:
 * client_fail_transaction. What an abort leads to: assignment_rewind. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/service/bug.h"
#include "worker/service/log.h"
#include "worker/stream/parts.h"

enum { CALL_MS = 1000, FIRST_REPORT_MS = 2000, MOST = 64 };

struct transaction {
    struct batch *batches[MOST];
    int count;
    int64_t rows, bytes, outputs;
    rd_kafka_topic_partition_list_t *offsets;
    struct assignment *assignment;
};

int64_t transaction_timeout_ms(const struct session *s)
{
    const char *text = setting_map_get(&s->settings->kafka, "transaction.timeout.ms");
    long long ms = text ? atoll(text) : 0;
    return ms > 0 ? ms : 10000;
}

void committer_delivered(void *session, const rd_kafka_message_t *m)
{
    struct session *s = session;
    s->delivered++;
    if (!m->err && s->marks)
        marks_note(s->marks, (enum topic)(intptr_t)m->_private, m->partition, m->offset);
    if (!m->err || m->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE || m->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
        return;
    enum topic t = (enum topic)(intptr_t)m->_private;
    size_t size = m->len + m->key_len;
    if (m->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE && size > 0 && size <= s->limits[t])
        s->limits[t] = size - 1;
    if (!s->refused.code)
        client_fail(NULL, m->err, &s->refused, "an answer of %zu bytes for %s was refused", size,
                    rd_kafka_topic_name(m->rkt));
    /* A dead letter that is cut already and refused all the same: stop, do not skip. */
    if (t == TOPIC_DEAD_LETTERS && m->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE && m->len <= 65536)
        session_break(s,
                      &(struct fail){E_FAILED, "the dead-letter topic refuses records of 64 KiB: raise its "
                                               "max.message.bytes"});
}

/* ---- the transaction calls, each once; `call` repeats and classifies ---- */

typedef rd_kafka_error_t *step(struct session *s, struct transaction *t);

static rd_kafka_error_t *step_begin(struct session *s, struct transaction *t)
{
    (void)t;
    return rd_kafka_begin_transaction(s->producer->rk);
}

static rd_kafka_error_t *step_offsets(struct session *s, struct transaction *t)
{
    rd_kafka_consumer_group_metadata_t *group = t->assignment->group, *late = NULL;
    if (has_bug(position))
        rd_kafka_position(s->consumer->rk, t->offsets);
    if (has_bug(late_metadata))
        group = late = rd_kafka_consumer_group_metadata(s->consumer->rk);
    rd_kafka_error_t *error =
        rd_kafka_send_offsets_to_transaction(s->producer->rk, t->offsets, group, CALL_MS);
    if (late)
        rd_kafka_consumer_group_metadata_destroy(late);
    return error;
}

static rd_kafka_error_t *step_commit(struct session *s, struct transaction *t)
{
    (void)t;
    return rd_kafka_commit_transaction(s->producer->rk, CALL_MS);
}

static rd_kafka_error_t *step_abort(struct session *s, struct transaction *t)
{
    (void)t;
    return rd_kafka_abort_transaction(s->producer->rk, CALL_MS);
}

/* The same call again while librdkafka says retriable, for the time of the transaction at most. */
static int call(struct session *s, struct transaction *t, const char *name, step *once, struct fail *why)
{
    int64_t began_us = now_us(), limit_ms = transaction_timeout_ms(s);
    int rc;
    watchdog_arm(s->watchdog, name, 2 * limit_ms);
    for (;;) {
        rd_kafka_error_t *error = once(s, t);
        rc = error ? client_fail_transaction(error, name, why) : 0;
        if (rc != -E_RETRY)
            break;
        s->tainted = true;
        if (now_us() - began_us > limit_ms * 1000 || now_us() > s->give_up_us) {
            rc = fail_prefix(why, "given up after %lld ms", (long long)((now_us() - began_us) / 1000));
            why->code = E_REBUILD;
            rc = -E_REBUILD;
            break;
        }
        struct timespec pause = {0, 5000000};
        nanosleep(&pause, NULL);
    }
    watchdog_disarm(s->watchdog);
    return rc;
}

/* ---- producing ---- */

static rd_kafka_error_t *produce_once(struct session *s, const struct output *o)
{
    int32_t partition = o->partition < 0 ? -1 : o->partition % s->partitions[o->topic];
    return client_produce(s->producer, s->topics[o->topic], partition, o->key, o->value, NULL, o->headers,
                          o->header_count, (void *)(intptr_t)o->topic);
}

static int produce(struct session *s, const struct output *o, struct fail *why)
{
    int64_t until_us = now_us() + transaction_timeout_ms(s) * 1000;
    for (;;) {
        rd_kafka_error_t *error = produce_once(s, o);
        if (!error)
            return 0;
        rd_kafka_resp_err_t err = rd_kafka_error_code(error);
        if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL && now_us() < until_us && now_us() < s->give_up_us) {
            rd_kafka_error_destroy(error);
            rd_kafka_poll(s->producer->rk, 20);
            continue;
        }
        size_t size = o->value.size + o->key.size;
        if (err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE && size <= s->limits[o->topic])
            s->limits[o->topic] = size - 1;
        int rc = fail(why, rd_kafka_error_is_fatal(error) ? E_REBUILD : E_ABORT,
                      "an answer of %zu bytes for %s: %s", size, topic_short_name(o->topic),
                      rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        return rc;
    }
}

static void merge_offsets(struct session *s, struct transaction *t, const struct batch *b)
{
    for (int i = 0; i < b->offset_count; i++) {
        rd_kafka_topic_partition_t *p =
            rd_kafka_topic_partition_list_find(t->offsets, s->input, b->offsets[i].partition);
        if (!p)
            p = rd_kafka_topic_partition_list_add(t->offsets, s->input, b->offsets[i].partition);
        p->offset = b->offsets[i].offset;
    }
}

static int add(struct session *s, struct transaction *t, struct batch *b, struct fail *why)
{
    t->batches[t->count++] = b;
    t->rows += b->rows;
    t->bytes += b->bytes;
    merge_offsets(s, t, b);
    for (int i = 0; i < b->output_count; i++) {
        int rc = produce(s, &b->outputs[i], why);
        if (rc)
            return rc;
        t->outputs++;
    }
    rd_kafka_poll(s->producer->rk, 0);
    return 0;
}

/* ---- a transaction ---- */

static void settle(struct session *s, struct batch **b, bool committed)
{
    if (committed) {
        batch_count_up(*b);
        lag_note(s, *b);
    }
    assignment_release(&(*b)->assignment);
    batch_reset(*b);
    handoff_put(&s->sink.free, b);
    pthread_mutex_lock(&s->lock);
    s->settled++;
    if (!committed)
        s->dropped = s->settled;
    pthread_cond_broadcast(&s->settled_changed);
    pthread_mutex_unlock(&s->lock);
}

static bool is_over(struct session *s, const struct batch *b)
{
    bool past = b->assignment->epoch != s->valid && !has_bug(late_metadata);
    return s->is_broken || past || now_us() > s->give_up_us;
}

/* Adds what is sealed already or will be within the delay, up to the limits. A batch of another epoch is
 * carried over. */
static int fill(struct session *s, struct transaction *t, struct batch **carried, struct fail *why)
{
    const struct settings *set = s->settings;
    int64_t until_us = t->batches[0]->sealed_us + set->commit_max_delay_ms * 1000;
    int rc = 0;
    int most = s->role->batches / 2; /* the other half is for the work thread, so that it goes on meanwhile */
    most = most < 1 ? 1 : most > MOST ? MOST : most;
    while (!rc && t->count < most && t->rows < set->commit_max_rows && t->bytes < set->commit_max_bytes &&
           !t->batches[t->count - 1]->hurry) {
        bool starved = handoff_is_empty(&s->sink.free); /* the work thread waits for this transaction */
        struct batch *b = handoff_take(&s->sealed, starved ? 0 : until_us);
        if (!b)
            break;
        if (b->assignment != t->assignment || is_over(s, b)) {
            *carried = b;
            break;
        }
        rc = add(s, t, b, why);
    }
    return rc;
}

/* Aborts what is open; false: its end is not known. The epoch is closed first, so that nothing built behind this transaction
 * can commit. */
static bool abort_transaction(struct session *s, struct transaction *t, const struct fail *reason)
{
    struct fail why;
    int64_t until_us = now_us() + FIRST_REPORT_MS * 1000;
    if (!has_bug(behind_abort))
        s->building = s->valid = 0;
    log_event(LOG_WARN, "transaction aborted", "role", s->role->name, "text", reason->text, NULL);
    while (t->outputs && !s->delivered &&
           now_us() < until_us) /* an abort that overtakes the first produce is fatal */
        rd_kafka_poll(s->producer->rk, 10);
    if (call(s, t, "abort_transaction", step_abort, &why)) {
        session_break(s, &(struct fail){E_REBUILD, "an abort did not succeed"});
        return false;
    }
    s->rewind_wanted = true;
    return true;
}

/* What ends the session: the first reason stays. A refusal is final, so the transaction is ended here: left open it would hold
 * up every read_committed reader for its timeout. */
static void give_up(struct session *s, struct transaction *t, bool begun, struct fail *why)
{
    if (why->code == E_REBUILD && client_is_fenced(s->producer))
        why->code = E_FENCED;
    session_break(s, why);
    if (begun && why->code == E_DENIED)
        abort_transaction(s, t, why);
}

static void measure(struct session_metrics *m, enum metric_transaction outcome, int64_t rows, int64_t took_us)
{
    if (!m)
        return;
    counter_add(&m->transactions[outcome], 1);
    if (outcome != METRIC_COMMITTED)
        return;
    histogram_observe(&m->commit_us, took_us);
    histogram_observe(&m->transaction_rows, rows);
}

static void transact(struct session *s, struct batch *first, struct batch **carried)
{
    struct transaction t = {.assignment = assignment_hold(first->assignment)};
    struct fail why = {0};
    bool begun = false;
    int64_t began_us = now_us();
    t.offsets = rd_kafka_topic_partition_list_new(16);
    s->delivered = 0;
    s->refused.code = E_OK;
    int rc = call(s, &t, "begin_transaction", step_begin, &why);
    begun = !rc;
    if (rc)
        t.batches[t.count++] = first;
    else
        rc = add(s, &t, first, &why);
    if (!rc)
        rc = fill(s, &t, carried, &why);
    if (!rc && t.offsets->cnt && !has_bug(auto_commit))
        rc = call(s, &t, "send_offsets_to_transaction", step_offsets, &why);
    if (!rc && bug_aborts(now_us()))
        rc = fail(&why, E_ABORT, "aborted on purpose");
    if (!rc)
        rc = call(s, &t, "commit_transaction", step_commit, &why);
    if (rc && s->refused.code)
        fail_prefix(&why, "%s", s->refused.text);
    bool aborted = rc && begun && fail_class(why.code) == FAIL_ABORT;
    if (aborted)
        aborted = abort_transaction(s, &t, &why);
    else if (rc)
        give_up(s, &t, begun, &why);
    if ((!rc || aborted) &&
        s->tainted) /* the answer to the first call may come yet and end the next transaction */
        session_break(s, &(struct fail){E_REBUILD, "a transaction call had to be repeated: new producer"});
    if (rc && !has_bug(behind_abort))
        s->cleared = false;
    measure(s->role->metrics, rc ? aborted ? METRIC_ABORTED : METRIC_UNCERTAIN : METRIC_COMMITTED, t.rows,
            now_us() - began_us);
    for (int i = 0; i < t.count; i++)
        settle(s, &t.batches[i], rc == 0);
    rd_kafka_topic_partition_list_destroy(t.offsets);
    assignment_release(&t.assignment);
}

void *committer_main(void *session)
{
    struct session *s = session;
    struct batch *carried = NULL;
    for (;;) {
        struct batch *b = carried ? carried : handoff_take(&s->sealed, now_us() + 500000);
        carried = NULL;
        if (!b && handoff_is_closed(&s->sealed))
            return NULL;
        if (!b && s->cleared)
            rd_kafka_poll(s->producer->rk, 0);
        else if (!b)
            continue;
        else if (is_over(s, b))
            settle(s, &b, false);
        else if (!b->offset_count && !b->output_count)
            settle(s, &b, true);
        else
            transact(s, b, &carried);
    }
}
