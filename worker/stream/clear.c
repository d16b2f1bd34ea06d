/* A transaction of which nothing stays, before a session's first one and after each that did not commit.
 *
 * The marker that ends a transaction can be lost: Kafka 4.3.1 takes a partition that has no leader at the moment, as all have
 * while a single broker starts, for one that was deleted, leaves its marker out and calls the transaction complete
 * (KRaftMetadataCache.getPartitionLeaderEndpoint, TransactionMarkerChannelManager.addTxnMarkersToBrokerQueue [M]). What was
 * aborted is then still open in that partition: readers of what is committed stop in front of it, a group's offsets stay
 * unstable, and the next commit of the same producer takes it along. So the producer writes a record to every partition that
 * its role writes to, offers offsets to its group, aborts, and waits until readers pass these records: their markers are
 * there, and have ended what was open.
 *
 * What a commit left open the next commit ends, as it should: so none of this while nothing but commits is known. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/service/log.h"
#include "worker/stream/parts.h"

enum { ASK_MS = 5000, SETTLE_MS = 100, PAUSE_MS = 5, ATTEMPTS = 2 };

/* Where a record of nothing lies. */
struct mark {
    enum topic topic;
    int32_t partition;
    int64_t offset;
};

struct marks {
    int count, most;
    struct mark list[];
};

void marks_note(struct marks *marks, enum topic topic, int32_t partition, int64_t offset)
{
    if (marks->count < marks->most)
        marks->list[marks->count++] = (struct mark){topic, partition, offset};
}

static struct marks *marks_new(const struct session *s)
{
    int most = 0;
    for (enum topic t = 0; t < TOPICS; t++)
        most += s->role->outputs & 1u << t ? s->tx.partitions[t] : 0;
    struct marks *marks = calloc(1, sizeof *marks + (size_t)most * sizeof marks->list[0]);
    if (marks)
        marks->most = most;
    return marks;
}

/* Until the broker has taken every record, or the transaction failed: then they would lie in the queue for ever. */
static int wait_delivered(struct transactor *t, struct fail *why)
{
    int64_t until_us = now_us() + t->timeout_ms * 1000;
    while (t->delivered < t->produced) {
        int rc = transactor_failed(t, why);
        if (rc)
            return rc;
        if (now_us() > until_us)
            return client_fail(t->producer, RD_KAFKA_RESP_ERR__TIMED_OUT, why, "records of nothing");
        rd_kafka_flush(t->producer->rk, PAUSE_MS); /* which does not linger */
    }
    return transactor_failed(t, why);
}

static int produce_everywhere(struct transactor *t, unsigned outputs, struct fail *why)
{
    struct output nothing = {.key = {"", 0}, .value = {"", 0}};
    int rc = 0;
    for (enum topic topic = 0; topic < TOPICS; topic++)
        for (int p = 0; !rc && outputs & 1u << topic && p < t->partitions[topic]; p++) {
            nothing.topic = topic;
            nothing.partition = p;
            rc = transactor_produce(t, &nothing, why);
        }
    return rc ? rc : wait_delivered(t, why);
}

/* The group's partition becomes part of the transaction; the group knows no such member and refuses the offsets, so that not
 * even another loss could make them stay. */
static int offer_offsets(struct transactor *t, const char *group, const char *input, struct fail *why)
{
    int rc = 0;
    rd_kafka_consumer_group_metadata_t *nobody =
        rd_kafka_consumer_group_metadata_new_with_genid(group, INT32_MAX, "nobody", NULL);
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(offsets, input, 0)->offset = 0;
    if (t->watchdog)
        watchdog_arm(t->watchdog, "offsets of nothing", 2 * t->timeout_ms);
    rd_kafka_error_t *refused =
        rd_kafka_send_offsets_to_transaction(t->producer->rk, offsets, nobody, ASK_MS);
    if (t->watchdog)
        watchdog_disarm(t->watchdog);
    rd_kafka_resp_err_t err = refused ? rd_kafka_error_code(refused) : 0;
    if (err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
        rc = client_fail_right(why, "group", group, "Read");
    else if (client_wants_right(err))
        rc = client_fail_right(why, "topic", input, "Read");
    if (refused)
        rd_kafka_error_destroy(refused);
    rd_kafka_topic_partition_list_destroy(offsets);
    rd_kafka_consumer_group_metadata_destroy(nobody);
    return rc;
}

static int nothing_once(struct transactor *t, unsigned outputs, const char *group, const char *input,
                        struct fail *why)
{
    struct fail ended;
    int rc = transactor_begin(t, why);
    if (rc)
        return rc;
    rc = produce_everywhere(t, outputs, why);
    if (!rc && group)
        rc = offer_offsets(t, group, input, why);
    int aborted = transactor_abort(t, rc ? &ended : why);
    rc = rc ? rc : aborted;
    if (!rc && t->refused.code) {
        *why = t->refused;
        rc = -(int)why->code;
    }
    return rc;
}

/* The broker does not say which of several topics may not be written to, and a producer whose first transaction was refused is of
 * no use any more: each is tried with a new one. */
static bool is_denied(const struct transactor *t, enum topic topic)
{
    struct transactor one = {0};
    struct fail why;
    memcpy(one.partitions, t->partitions, sizeof one.partitions);
    bool denied = !transactor_open(&one, t->settings, t->id, t->watchdog, &why) &&
                  !transactor_init(&one, ASK_MS, &why) &&
                  nothing_once(&one, 1u << topic, NULL, NULL, &why) == -E_DENIED;
    transactor_close(&one);
    return denied;
}

int transactor_nothing(struct transactor *t, unsigned outputs, const char *group, const char *input,
                       struct fail *why)
{
    int rc = nothing_once(t, outputs, group, input, why);
    for (enum topic topic = 0; rc == -E_DENIED && topic < TOPICS; topic++)
        if (outputs & 1u << topic && is_denied(t, topic))
            return client_fail_right(why, "topic", rd_kafka_topic_name(t->topics[topic]), "Write");
    return rc;
}

/* Whether readers of what is committed pass every mark by then. */
static bool are_passed(struct session *s, int64_t until_us)
{
    struct fail unread;
    for (int i = 0; i < s->tx.marks->count; i++) {
        const struct mark *m = &s->tx.marks->list[i];
        const char *topic = rd_kafka_topic_name(s->tx.topics[m->topic]);
        int64_t low, stable = -1;
        while (client_offsets(s->consumer, topic, m->partition, ASK_MS, &low, &stable, &unread) ||
               stable <= m->offset) {
            if (*s->stop || s->is_broken || now_us() > until_us)
                return false;
            nanosleep(&(struct timespec){0, PAUSE_MS * 1000000}, NULL);
        }
    }
    return true;
}

/* The second attempt is for markers that this very transaction lost. What readers do not pass then is held up by a producer of
 * somebody else, and its transaction has a time to end. */
static int clear(struct session *s, struct fail *why)
{
    for (int i = 0; i < ATTEMPTS; i++) {
        s->tx.marks->count = 0;
        int rc = transactor_nothing(&s->tx, s->role->outputs, s->group, s->input, why);
        bool passed = !rc && are_passed(s, now_us() + s->tx.timeout_ms * 1000);
        if (rc || passed)
            return rc;
        if (*s->stop || s->is_broken)
            return fail(why, E_INTERRUPTED, "stopped while a transaction was under way");
        log_event(LOG_WARN, "an aborted transaction stays open", "role", s->role->name, NULL);
    }
    return 0;
}

int session_clear(struct session *s, struct fail *why)
{
    if (s->cleared)
        return 0;
    while (!session_wait_settled(s, now_us() + SETTLE_MS * 1000)) /* the committer has the producer yet */
        if (*s->stop || s->is_broken)
            return fail(why, E_INTERRUPTED, "stopped while a transaction was under way");
    s->tx.marks = marks_new(s);
    int rc = s->tx.marks ? clear(s, why) : fail(why, E_MEMORY, "marks of a transaction of nothing");
    free(s->tx.marks);
    s->tx.marks = NULL;
    if (!rc && s->tx.tainted)
        rc = fail(why, E_REBUILD, "a transaction call had to be repeated: new producer");
    if (rc && client_is_fenced(s->tx.producer))
        why->code = E_FENCED;
    else if (rc == -E_RETRY || rc == -E_ABORT || rc == -E_FAILED || rc == -E_UNREACHABLE)
        why->code = E_REBUILD;
    s->cleared = !rc;
    return rc ? -(int)why->code : 0;
}
