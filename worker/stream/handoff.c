/* A list of batches between two threads. How many there are is bounded by the pool, not here. */
#include <errno.h>
#include <time.h>

#include "worker/stream/parts.h"

void handoff_open(struct handoff *h)
{
    pthread_condattr_t attr;
    *h = (struct handoff){0};
    pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->changed, &attr);
    pthread_condattr_destroy(&attr);
}

void handoff_close(struct handoff *h)
{
    pthread_mutex_lock(&h->lock);
    h->closed = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

void handoff_free(struct handoff *h)
{
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
}

void handoff_put(struct handoff *h, struct batch **b)
{
    pthread_mutex_lock(&h->lock);
    (*b)->next = NULL;
    if (h->last)
        h->last->next = *b;
    else
        h->first = *b;
    h->last = *b;
    *b = NULL;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

struct batch *handoff_take(struct handoff *h, int64_t until_us)
{
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
    pthread_mutex_lock(&h->lock);
    while (!h->first && !h->closed) {
        if (until_us == INT64_MAX)
            pthread_cond_wait(&h->changed, &h->lock);
        else if (pthread_cond_timedwait(&h->changed, &h->lock, &until) == ETIMEDOUT)
            break;
    }
    struct batch *b = h->first;
    if (b) {
        h->first = b->next;
        if (!h->first)
            h->last = NULL;
        b->next = NULL;
    }
    pthread_mutex_unlock(&h->lock);
    return b;
}

bool handoff_is_closed(struct handoff *h)
{
    pthread_mutex_lock(&h->lock);
    bool closed = h->closed;
    pthread_mutex_unlock(&h->lock);
    return closed;
}

bool handoff_is_empty(struct handoff *h)
{
    pthread_mutex_lock(&h->lock);
    bool empty = !h->first;
    pthread_mutex_unlock(&h->lock);
    return empty;
}
