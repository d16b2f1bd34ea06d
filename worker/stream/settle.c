/* Waiting until a topic's past is decided: what was written up to now is committed or aborted. For whoever takes a dead
 * worker's partition over and must know what it had done (worker/train). */
#include <time.h>

#include "worker/stream/client.h"
#include "worker/stream/reader.h"

enum { PAUSE_MS = 20 };

static int wait_stable(struct client *stable, const char *topic, int32_t partition, int64_t end,
                       int64_t until_us, bool (*stop)(void *arg), void *arg, struct fail *why)
{
    for (;;) {
        int64_t low, at;
        int rc = client_offsets(stable, topic, partition, 10000, &low, &at, why);
        if (rc || at >= end)
            return rc;
        if (stop && stop(arg))
            return fail(why, E_INTERRUPTED, "stopped while %s was not settled", topic);
        if (now_us() > until_us)
            return fail(why, E_UNREACHABLE,
                        "%s [%d]: a transaction is open at offset %lld; waiting until it ends or times out",
                        topic, (int)partition, (long long)at);
        nanosleep(&(struct timespec){0, PAUSE_MS * 1000000}, NULL);
    }
}

int topic_settle(const struct settings *s, const char *topic, int timeout_ms, bool (*stop)(void *arg),
                 void *arg, struct fail *why)
{
    static const char *const uncommitted[] = {"isolation.level", "read_uncommitted", NULL};
    struct client *all = NULL, *stable = NULL;
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    int partitions = 0, rc = topic_partitions(s, topic, timeout_ms, &partitions, why);
    if (!rc)
        rc = client_open(&all, s, CLIENT_READER, uncommitted, NULL, why);
    if (!rc)
        rc = client_open(&stable, s, CLIENT_READER, NULL, NULL, why);
    for (int32_t p = 0; !rc && p < partitions; p++) {
        int64_t low, end;
        rc = client_offsets(all, topic, p, timeout_ms, &low, &end, why);
        if (!rc)
            rc = wait_stable(stable, topic, p, end, until_us, stop, arg, why);
    }
    client_close(&all);
    client_close(&stable);
    return rc;
}
