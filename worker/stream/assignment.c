/* The poller's part of a session: which partitions are ours, from which offset, in which epoch.
 *
 * An epoch ends for the source first and for the committer later: a revoke lets sealed batches drain, an
 * abort closes both at once and rewinds. Everything built in an old epoch is dropped. Next to read:
 * kafka_source.c. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/service/log.h"
#include "worker/stream/parts.h"

enum { DRAIN_MS = 3000, HAND_OVER_NAP_MS = 5, SETTLE_MS = 100, ASK_MS = 2000, UNSTABLE_MORE_MS = 5000 };

struct assignment *assignment_hold(struct assignment *a)
{
    if (a)
        atomic_fetch_add(&a->references, 1);
    return a;
}

void assignment_release(struct assignment **a)
{
    if (*a && atomic_fetch_sub(&(*a)->references, 1) == 1) {
        if ((*a)->group)
            rd_kafka_consumer_group_metadata_destroy((*a)->group);
        if ((*a)->queue)
            rd_kafka_queue_destroy((*a)->queue);
        free(*a);
    }
    *a = NULL;
}

static struct assignment *assignment_new(struct session *s, const rd_kafka_topic_partition_list_t *from)
{
    struct assignment *a = calloc(1, sizeof *a + (size_t)from->cnt * sizeof a->positions[0]);
    if (!a)
        return NULL;
    atomic_init(&a->references, 1);
    a->epoch = ++s->epochs;
    a->group = rd_kafka_consumer_group_metadata(s->consumer->rk);
    a->queue = rd_kafka_queue_new(s->consumer->rk);
    a->count = from->cnt;
    for (int i = 0; i < from->cnt; i++)
        a->positions[i] = (struct position){from->elems[i].partition, from->elems[i].offset, -1, false};
    return a;
}

/* Makes an assignment the current one and opens its epoch. */
static void publish(struct session *s, struct assignment *a)
{
    pthread_mutex_lock(&s->lock);
    struct assignment *old = s->current;
    s->current = a;
    lag_begin(s, a);
    pthread_mutex_unlock(&s->lock);
    assignment_release(&old);
    s->valid = a->epoch;
    s->building = a->epoch;
    s->has_run = true;
}

static bool closing(struct session *s)
{
    return *s->stop || s->is_broken;
}

/* committed() of every partition; waits while another's open transaction makes an offset unstable or the broker is
 * away. No wait of that kind outlives a transaction's time by much: then the session begins anew, and that clears them. */
static int committed_get(struct session *s, rd_kafka_topic_partition_list_t *list, struct fail *why)
{
    int64_t wait_ms = s->tx.timeout_ms + UNSTABLE_MORE_MS, until_us = now_us() + wait_ms * 1000;
    for (bool told = false; !closing(s); told = true) {
        rd_kafka_resp_err_t err = rd_kafka_committed(s->consumer->rk, list, ASK_MS);
        for (int i = 0; !err && i < list->cnt; i++)
            err = list->elems[i].err;
        if (!err)
            return 0;
        int rc = session_fail_consumer(s, err, why, "committed offsets");
        if (rc == -E_DENIED || rc == -E_FENCED)
            return rc;
        if (now_us() > until_us) {
            s->cleared = false;
            return fail(why, E_REBUILD, "the offsets of %s stayed unstable for %lld ms", s->input,
                        (long long)wait_ms);
        }
        if (!told)
            log_event(LOG_WARN, "waiting for the group's offsets", "role", s->role->name, "text", why->text,
                      NULL);
    }
    return fail(why, E_INTERRUPTED, "stopped while asking for offsets");
}

/* Where a partition begins that this group has never committed; or proof that what it committed is still
 * there. */
static int start_resolve(struct session *s, rd_kafka_topic_partition_t *p, struct fail *why)
{
    const char *reset = setting_map_get(&s->settings->kafka, "auto.offset.reset");
    int64_t low, high;
    int rc;
    while ((rc = client_offsets(s->consumer, p->topic, p->partition, ASK_MS, &low, &high, why)))
        if (rc == -E_DENIED)
            return rc;
        else if (closing(s))
            return fail(why, E_INTERRUPTED, "stopped while asking where %s [%d] begins", p->topic,
                        (int)p->partition);
    if (p->offset < 0)
        p->offset = reset && (strcmp(reset, "latest") == 0 || strcmp(reset, "largest") == 0) ? high : low;
    if (p->offset >= low)
        return 0;
    return fail(why, E_FAILED,
                "%s [%d]: %lld records from offset %lld on were deleted by retention before they were read; "
                "`kafka-consumer-groups --reset-offsets` on group %s accepts the loss",
                p->topic, (int)p->partition, (long long)(low - p->offset), (long long)p->offset, s->group);
}

/* Fills the list with the offsets to read from. Asks again while the broker is away; an attempt that failed and was repeated
 * leaves nothing in `why`. */
static int offsets_find(struct session *s, rd_kafka_topic_partition_list_t *list, struct fail *why)
{
    struct fail last;
    int rc = committed_get(s, list, &last);
    for (int i = 0; !rc && i < list->cnt; i++)
        rc = start_resolve(s, &list->elems[i], &last);
    if (rc)
        *why = last;
    return rc;
}

/* Records must be on their way to the epoch's queue before they can arrive. */
static void forward(struct session *s, const rd_kafka_topic_partition_list_t *list, rd_kafka_queue_t *to)
{
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_queue_t *q =
            rd_kafka_queue_get_partition(s->consumer->rk, list->elems[i].topic, list->elems[i].partition);
        if (!q)
            continue;
        rd_kafka_queue_forward(q, to);
        rd_kafka_queue_destroy(q);
    }
}

static void assign(struct session *s, const rd_kafka_topic_partition_list_t *partitions)
{
    struct fail why = {0};
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_copy(partitions);
    struct assignment *a = NULL;
    rd_kafka_resp_err_t err = 0;
    if (session_clear(s, &why) || offsets_find(s, list, &why))
        goto out;
    if (!(a = assignment_new(s, list))) {
        fail(&why, E_MEMORY, "an assignment of %d partitions", list->cnt);
        goto out;
    }
    forward(s, list, a->queue);
    publish(s, a);
    if ((err = rd_kafka_assign(s->consumer->rk, list)))
        client_fail(s->consumer, err, &why, "assign %d partitions", list->cnt), why.code = E_REBUILD;
    metrics_wait(s->role->metrics, NULL);
    log_event(LOG_INFO, "partitions assigned", "role", s->role->name, "count", log_text("%d", list->cnt),
              "epoch", log_text("%llu", (unsigned long long)a->epoch), NULL);
out:
    if (why.code) {
        rd_kafka_assign(s->consumer->rk, NULL);
        session_break(s, &why);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* While the work thread writes down where it stands, in the old generation: until it comes back to the source. */
static void wait_handed_over(struct session *s, int64_t until_us)
{
    while (s->handing_over && now_us() < until_us && !s->is_broken)
        nanosleep(&(struct timespec){0, HAND_OVER_NAP_MS * 1000000}, NULL);
    s->handing_over = 0;
}

static void revoke(struct session *s)
{
    bool lost = rd_kafka_assignment_lost(s->consumer->rk);
    if (!lost && s->role->hands_over && s->record_out)
        s->handing_over = s->building; /* before the epoch ends for the source, which then looks here */
    s->building = 0;
    wait_handed_over(s, now_us() + DRAIN_MS * 1000);
    bool drained = !lost && session_wait_settled(s, now_us() + DRAIN_MS * 1000);
    s->valid = 0;
    rd_kafka_assign(s->consumer->rk, NULL);
    log_event(LOG_INFO, "partitions revoked", "role", s->role->name, "sealed",
              drained ? "committed" : "dropped", NULL);
}

void assignment_rebalance(void *session, rd_kafka_resp_err_t event,
                          rd_kafka_topic_partition_list_t *partitions)
{
    if (event == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        assign(session, partitions);
    else
        revoke(session);
}

/* After an abort or a stray record: every partition back to what is committed, once a transaction that is under way has
 * ended. The source accepts nothing until the seek has returned. */
void assignment_rewind(struct session *s)
{
    struct fail why = {0};
    rd_kafka_topic_partition_list_t *list = NULL;
    struct assignment *a = NULL;
    if (!atomic_exchange(&s->rewind_wanted, false))
        return;
    s->building = s->valid = 0;
    while (
        !session_wait_settled(s, now_us() + SETTLE_MS * 1000)) /* it may commit yet: not to be read again */
        if (closing(s))
            return;
    if (rd_kafka_assignment(s->consumer->rk, &list) || list->cnt == 0)
        goto out; /* a rebalance is under way: it begins at what is committed */
    if (session_clear(s, &why) || offsets_find(s, list, &why))
        goto out;
    if (!(a = assignment_new(s, list))) {
        fail(&why, E_MEMORY, "an assignment of %d partitions", list->cnt);
        goto out;
    }
    forward(s, list, a->queue);
    rd_kafka_error_t *error = rd_kafka_seek_partitions(s->consumer->rk, list, ASK_MS);
    if (error) {
        fail(&why, E_REBUILD, "seek: %s", rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        goto out;
    }
    for (int i = 0; i < list->cnt; i++)
        if (list->elems[i].err)
            fail(&why, E_REBUILD, "seek %s [%d]: %s", list->elems[i].topic, (int)list->elems[i].partition,
                 rd_kafka_err2str(list->elems[i].err));
    if (!why.code) {
        publish(s, a);
        a = NULL;
    }
out:
    assignment_release(&a);
    if (why.code)
        session_break(s, &why);
    if (list)
        rd_kafka_topic_partition_list_destroy(list);
}
