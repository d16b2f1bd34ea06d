/* A transaction of which nothing stays, before a session's first one and after each that did not commit.
 *
 * The marker that ends a transaction can be lost: Kafka 4.3.1 takes a partition that has no leader at the moment, as all have
 * while a single broker starts, for one that was deleted, leaves its marker out and calls the transaction complete
 * (KRaftMetadataCache.getPartitionLeaderEndpoint, TransactionMarkerChannelManager.addTxnMarkersToBrokerQueue [M]). What was
 * aborted is then still open in that partition: readers of what is committed stop in front of it, a group's offsets stay
 * unstable, and the next commit of the same producer takes it along. So the producer writes a record to every partition that
 * its role writes to, which needs their leaders, offers offsets to its group, and aborts: these markers end what was open.
 *
 * What a commit left open the next commit ends, as it should: so none of this while nothing but commits is known. */
#include "worker/stream/parts.h"

enum { ASK_MS = 5000, SETTLE_MS = 100 };

static rd_kafka_error_t *produce_everywhere(struct session *s)
{
    const struct span nothing = {"", 0};
    rd_kafka_error_t *error = NULL;
    for (enum topic t = 0; t < TOPICS; t++)
        for (int p = 0; !error && s->role->outputs & 1u << t && p < s->partitions[t]; p++)
            error = client_produce(s->producer, s->topics[t], p, nothing, nothing, NULL, NULL, 0,
                                   (void *)(intptr_t)t);
    rd_kafka_resp_err_t err = error ? 0 : rd_kafka_flush(s->producer->rk, (int)transaction_timeout_ms(s));
    return err ? rd_kafka_error_new(err, "%s", rd_kafka_err2str(err)) : error;
}

/* The group's partition becomes part of the transaction; the group knows no such member and refuses the offsets, so that not
 * even a second loss could make them stay. */
static void offer_offsets(struct session *s)
{
    char group[300];
    snprintf(group, sizeof group, "%s.%s", s->settings->worker_group, s->role->name);
    rd_kafka_consumer_group_metadata_t *nobody =
        rd_kafka_consumer_group_metadata_new_with_genid(group, INT32_MAX, "nobody", NULL);
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(offsets, s->input, 0)->offset = 0;
    rd_kafka_error_t *refused =
        rd_kafka_send_offsets_to_transaction(s->producer->rk, offsets, nobody, ASK_MS);
    if (refused)
        rd_kafka_error_destroy(refused);
    rd_kafka_topic_partition_list_destroy(offsets);
    rd_kafka_consumer_group_metadata_destroy(nobody);
}

int session_clear(struct session *s, struct fail *why)
{
    struct fail later;
    if (s->cleared)
        return 0;
    while (!session_wait_settled(s, now_us() + SETTLE_MS * 1000)) /* the committer has the producer yet */
        if (*s->stop || s->is_broken)
            return fail(why, E_INTERRUPTED, "stopped while a transaction was under way");
    s->refused.code = E_OK;
    watchdog_arm(s->watchdog, "a transaction of nothing", 2 * transaction_timeout_ms(s) + 4 * ASK_MS);
    rd_kafka_error_t *error = rd_kafka_begin_transaction(s->producer->rk);
    int rc = error ? client_fail_transaction(error, "begin_transaction", why) : 0;
    bool begun = !rc;
    if (begun && (error = produce_everywhere(s)))
        rc = client_fail_transaction(error, "records of nothing", why);
    if (!rc)
        offer_offsets(s);
    if (begun && (error = rd_kafka_abort_transaction(s->producer->rk, ASK_MS))) {
        int aborted = client_fail_transaction(error, "abort_transaction", rc ? &later : why);
        rc = rc ? rc : aborted;
    }
    if (!rc && s->refused.code) {
        *why = s->refused;
        rc = -(int)why->code;
    }
    watchdog_disarm(s->watchdog);
    if (rc && client_is_fenced(s->producer))
        why->code = E_FENCED;
    else if (rc && why->code != E_DENIED && why->code != E_FENCED && why->code != E_CONFIG)
        why->code = E_REBUILD;
    s->cleared = !rc;
    return rc ? -(int)why->code : 0;
}
