/* Has librdkafka look at its queue again while a backlog is worked off.
 *
 * Before 2.2.0 a consumer whose queue has reached queued.max.messages.kbytes fetches no more until something else wakes the
 * broker's thread, which then decides anew: a second, when nothing does (rdkafka_fetcher.c, rd_kafka_toppar_fetch_decide;
 * rdkafka_broker.c, rd_kafka_broker_consumer_serve, of 2.0.2). A fast worker empties any queue of a decent size in that time
 * and starves. An answer on the same connection wakes the thread, so a small question is asked now and then. From 2.2.0 on
 * fetch.queue.backoff.ms does this (client.c). */
#include "worker/stream/parts.h"

enum { EVERY_MS = 40, ASK_MS = 100 };

void refetch_poke(struct session *s)
{
    int64_t low, high;
    if (rd_kafka_version() >= FETCH_BACKOFF_VERSION || !s->valid || s->all_read || now_us() < s->poke_us ||
        s->current->count == 0)
        return;
    s->poke_us = now_us() + EVERY_MS * 1000;
    rd_kafka_query_watermark_offsets(s->consumer->rk, s->input, s->current->positions[0].partition, &low,
                                     &high, ASK_MS);
}
