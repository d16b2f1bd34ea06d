/* The operations of a role, tried. Who asks: `check`, and a session before its first turn. */
#include "worker/stream/rights.h"

#include <string.h>

#include "worker/stream/reader.h"
#include "worker/stream/transactor.h"

enum { SLICE_MS = 500 };

int rights_read(const struct settings *s, enum topic t, int timeout_ms, struct fail *why)
{
    struct reader_range end = {0, READER_END, READER_UNBOUNDED};
    struct reader *reader = NULL;
    struct record r;
    char topic[TOPIC_NAME];
    topic_full_name(s, t, topic);
    int rc = reader_open(&reader, s, topic, &end, 1, 0, timeout_ms, why);
    if (!rc && (rc = reader_next(reader, &r, timeout_ms, why)) == SOURCE_NONE)
        rc = fail(why, E_UNREACHABLE, "%s gave nothing for %d ms", topic, timeout_ms);
    reader_close(&reader);
    return rc < 0 ? rc : 0;
}

/* Asks for the group's offsets, without becoming a member. The first who asks for a group has its coordinator made: librdkafka 2.0.2 waits
 * for ever when offsets are sent to one that does not exist. */
static int group_look(const struct settings *s, const char *group, const char *input, int timeout_ms,
                      struct fail *why)
{
    const char *extra[] = {"group.id", group, NULL};
    struct client *c = NULL;
    int rc = client_open(&c, s, CLIENT_MEMBER, extra, NULL, why);
    if (rc)
        return rc;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, input, 0);
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    rd_kafka_resp_err_t err;
    do {
        err = rd_kafka_committed(c->rk, list, SLICE_MS);
        rd_kafka_message_t *m = err ? rd_kafka_consumer_poll(c->rk, 0) : NULL; /* tells what it waits for */
        if (m && client_wants_right(m->err))
            err = m->err;
        if (m)
            rd_kafka_message_destroy(m);
    } while (err && !client_wants_right(err) && now_us() < until_us);
    if (client_wants_right(err))
        rc = client_fail_right(why, "group", group, "Read");
    else if (err)
        rc = client_fail(c, err, why, "group %s", group);
    rd_kafka_topic_partition_list_destroy(list);
    client_close(&c);
    return rc;
}

int rights_write(const struct settings *s, const struct session_role *role, const int partitions[TOPICS],
                 int timeout_ms, struct fail *why)
{
    struct transactor t = {0};
    char id[600], input[TOPIC_NAME], group[300];
    snprintf(id, sizeof id, "%s%s.check", s->topics_prefix, s->worker_slot);
    memcpy(t.partitions, partitions, sizeof t.partitions);
    session_group(s, role, group);
    topic_full_name(s, role->input, input);
    int rc = group_look(s, group, input, timeout_ms, why);
    if (!rc)
        rc = transactor_open(&t, s, id, NULL, why);
    if (!rc && (rc = transactor_init(&t, timeout_ms, why)) == -E_RETRY)
        why->code = E_UNREACHABLE;
    if (!rc)
        rc = transactor_nothing(&t, role->outputs, group, input, why);
    transactor_close(&t);
    return rc ? -(int)why->code : 0;
}
