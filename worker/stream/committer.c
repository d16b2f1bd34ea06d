/* The committer's part of a session: sealed batches in, transactions out, in the order of the seals.
 *
 * begin, produce all, send the batches' own offsets with the group metadata of their epoch, commit. Several
 * batches go into one transaction; a batch of an epoch that is over is dropped. What an error means:
 * client_fail_transaction. What an abort leads to: assignment_rewind. */
#include <stdlib.h>

#include "worker/service/bug.h"
#include "worker/service/log.h"
#include "worker/stream/parts.h"

enum { MOST = 64 };

struct transaction {
    struct batch *batches[MOST];
    int count;
    int64_t rows, bytes;
    rd_kafka_topic_partition_list_t *offsets;
    struct assignment *assignment;
};

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
        int rc = transactor_produce(&s->tx, &b->outputs[i], why);
        if (rc)
            return rc;
    }
    rd_kafka_poll(s->tx.producer->rk, 0);
    return 0;
}

static int send_offsets(struct session *s, struct transaction *t, struct fail *why)
{
    rd_kafka_consumer_group_metadata_t *group = t->assignment->group, *late = NULL;
    if (has_bug(position))
        rd_kafka_position(s->consumer->rk, t->offsets);
    if (has_bug(late_metadata))
        group = late = rd_kafka_consumer_group_metadata(s->consumer->rk);
    int rc = transactor_offsets(&s->tx, t->offsets, group, why);
    if (late)
        rd_kafka_consumer_group_metadata_destroy(late);
    return rc;
}

/* ---- a transaction ---- */

static void settle(struct session *s, struct batch **b, bool committed)
{
    (*b)->committed_us = committed ? now_us() - (*b)->sealed_us : 0;
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
    return s->is_broken || past || now_us() > s->tx.give_up_us;
}

/* Adds what is sealed already, and what will be within the delay unless there is nothing to wait for, up to the limits. A batch
 * of another epoch is carried over. */
static int fill(struct session *s, struct transaction *t, struct batch **carried, struct fail *why)
{
    const struct settings *set = s->settings;
    int64_t until_us = t->batches[0]->sealed_us + t->batches[0]->wait_us;
    int rc = 0;
    int most = s->role->batches / 2; /* the other half is for the work thread, so that it goes on meanwhile */
    most = most < 1 ? 1 : most > MOST ? MOST : most;
    while (!rc && t->count < most && t->rows < set->commit_max_rows && t->bytes < set->commit_max_bytes) {
        bool starved = handoff_is_empty(&s->sink.free); /* the work thread waits for this transaction */
        bool at_once = starved || t->batches[t->count - 1]->hurry;
        struct batch *b = handoff_take(&s->sealed, at_once ? 0 : until_us);
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
static bool abort_transaction(struct session *s, const struct fail *reason)
{
    struct fail why;
    if (!has_bug(behind_abort))
        s->building = s->valid = 0;
    log_event(LOG_WARN, "transaction aborted", "role", s->role->name, "text", reason->text, NULL);
    if (transactor_abort(&s->tx, &why)) {
        session_break(s, &(struct fail){E_REBUILD, "an abort did not succeed"});
        return false;
    }
    s->rewind_wanted = true;
    return true;
}

/* What ends the session: the first reason stays. A refusal is final, so the transaction is ended here: left open it would hold
 * up every read_committed reader for its timeout. */
static void give_up(struct session *s, bool begun, struct fail *why)
{
    if (why->code == E_REBUILD && client_is_fenced(s->tx.producer))
        why->code = E_FENCED;
    session_break(s, why);
    if (begun && why->code == E_DENIED)
        abort_transaction(s, why);
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
    int rc = transactor_begin(&s->tx, &why);
    begun = !rc;
    if (rc)
        t.batches[t.count++] = first;
    else
        rc = add(s, &t, first, &why);
    if (!rc)
        rc = fill(s, &t, carried, &why);
    if (!rc && t.offsets->cnt && !has_bug(auto_commit))
        rc = send_offsets(s, &t, &why);
    if (!rc && bug_aborts(now_us()))
        rc = fail(&why, E_ABORT, "aborted on purpose");
    if (!rc)
        rc = transactor_commit(&s->tx, &why);
    if (rc && s->tx.hopeless) /* stop, do not skip */
        session_break(s, &s->tx.refused);
    if (rc && s->tx.refused.code)
        fail_prefix(&why, "%s", s->tx.refused.text);
    bool aborted = rc && begun && fail_class(why.code) == FAIL_ABORT;
    if (aborted)
        aborted = abort_transaction(s, &why);
    else if (rc)
        give_up(s, begun, &why);
    if ((!rc || aborted) &&
        s->tx.tainted) /* the answer to the first call may come yet and end the next transaction */
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
            rd_kafka_poll(s->tx.producer->rk, 0);
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
