/* A quota of lines a second for each event. The events of a program are few and written in its source, so they get a place each in
 * a small table that is never emptied; what finds no place is not limited. Two threads that meet at the turn of a second may
 * write a line too many: the quota is for readers, not for accounts. But what is left out is counted exactly. */
#include "worker/service/log_quota.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "worker/service/log.h"

enum { EVENTS = 128 };

static struct quota {
    _Atomic(const char *) event;
    atomic_int_fast64_t second; /* that `written` is of */
    atomic_int written;
    atomic_long left_out; /* not told yet */
} log_quotas[EVENTS];

static atomic_int log_lines_most; /* in a second; 0: no limit */

void log_limit(int lines)
{
    atomic_store(&log_lines_most, lines);
}

static int64_t second_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static uint32_t hash(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 16777619u;
    return h;
}

static struct quota *quota_of(const char *event)
{
    uint32_t at = hash(event);
    for (int i = 0; i < EVENTS; i++) {
        struct quota *q = &log_quotas[(at + (uint32_t)i) % EVENTS];
        const char *there = NULL;
        if (atomic_compare_exchange_strong(&q->event, &there, event) || strcmp(there, event) == 0)
            return q;
    }
    return NULL;
}

bool log_quota_take(const char *event, long *left_out)
{
    int most = atomic_load(&log_lines_most);
    struct quota *q = most ? quota_of(event) : NULL;
    if (!q)
        return true;
    int64_t now = second_now();
    if (atomic_exchange(&q->second, now) != now)
        atomic_store(&q->written, 0);
    if (atomic_fetch_add(&q->written, 1) >= most) {
        atomic_fetch_add(&q->left_out, 1);
        return false;
    }
    *left_out = atomic_exchange(&q->left_out, 0);
    return true;
}

long log_quota_silent(const char **event)
{
    int64_t now = second_now();
    if (!atomic_load(&log_lines_most))
        return 0;
    for (int i = 0; i < EVENTS; i++) {
        struct quota *q = &log_quotas[i];
        if (!atomic_load(&q->left_out) || atomic_load(&q->second) == now)
            continue;
        long n = atomic_exchange(&q->left_out, 0);
        if (n) {
            *event = atomic_load(&q->event);
            return n;
        }
    }
    return 0;
}
