/* How far the group is behind the log's end on the partitions of this worker, for the metrics. The end is what the newest fetch
 * response said, so nothing is asked of the broker. Counts offsets, as every tool for Kafka does: a transaction's marker at the
 * end of a partition stays until a record follows it. */
#include <stdlib.h>

#include "worker/stream/parts.h"

enum { EVERY_MS = 500 };

void lag_begin(struct session *s, const struct assignment *a)
{
    struct lag *l = &s->lag;
    l->count = 0;
    if (!s->role->metrics)
        return;
    struct partition_lag *p = realloc(l->committed, (size_t)(a->count + 1) * sizeof *p);
    if (!p)
        return; /* a figure is missing; the work goes on */
    l->committed = p;
    l->count = a->count;
    for (int i = 0; i < a->count; i++)
        p[i] = (struct partition_lag){a->positions[i].partition, a->positions[i].next};
}

void lag_note(struct session *s, const struct batch *b)
{
    struct lag *l = &s->lag;
    pthread_mutex_lock(&s->lock);
    for (int k = 0; k < b->offset_count; k++)
        for (int i = 0; i < l->count; i++)
            if (l->committed[i].partition == b->offsets[k].partition)
                l->committed[i].lag = b->offsets[k].offset;
    pthread_mutex_unlock(&s->lock);
}

/* A copy of what is committed, so that librdkafka is not asked under the lock. */
static struct partition_lag *copy(struct session *s, int *count)
{
    pthread_mutex_lock(&s->lock);
    *count = s->lag.count;
    struct partition_lag *p = malloc((size_t)(*count + 1) * sizeof *p);
    for (int i = 0; p && i < *count; i++)
        p[i] = s->lag.committed[i];
    pthread_mutex_unlock(&s->lock);
    return p;
}

void lag_tell(struct session *s)
{
    int count;
    if (!s->role->metrics || now_us() < s->lag.next_us)
        return;
    s->lag.next_us = now_us() + EVERY_MS * 1000;
    struct partition_lag *p = s->valid ? copy(s, &count) : NULL;
    if (!p) { /* between two assignments no partition is ours */
        metrics_lag(s->role->metrics, NULL, 0);
        return;
    }
    for (int i = 0; i < count; i++) {
        int64_t low = 0, high = 0;
        bool known =
            rd_kafka_get_watermark_offsets(s->consumer->rk, s->input, p[i].partition, &low, &high) == 0;
        p[i].lag = known && high > p[i].lag ? high - p[i].lag : 0;
    }
    metrics_lag(s->role->metrics, p, count);
    free(p);
}

void lag_close(struct session *s)
{
    metrics_lag(s->role->metrics, NULL, 0);
    free(s->lag.committed);
    s->lag = (struct lag){0};
}
