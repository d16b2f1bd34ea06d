/* A fixed set of threads waiting for work. They sleep between operations: no busy waiting. */
#include "engine/cpu/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct member {
    struct pool *pool;
    pthread_t id;
    int thread;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    struct member *members; /* [threads - 1] */
    int started, busy;
    uint64_t turn; /* counts operations; a member works once a turn */
    bool closing;
    pool_work work;
    void *context;
    int64_t items, piece;
    atomic_int_fast64_t next;
};

static void take_pieces(struct pool *pool, int thread)
{
    for (;;) {
        int64_t begin = atomic_fetch_add(&pool->next, pool->piece);
        if (begin >= pool->items)
            return;
        int64_t end = begin + pool->piece < pool->items ? begin + pool->piece : pool->items;
        pool->work(pool->context, thread, begin, end);
    }
}

static void *member_main(void *argument)
{
    struct member *m = argument;
    struct pool *pool = m->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->turn == seen && !pool->closing)
            pthread_cond_wait(&pool->start, &pool->lock);
        if (pool->closing)
            break;
        seen = pool->turn;
        pthread_mutex_unlock(&pool->lock);
        take_pieces(pool, m->thread);
        pthread_mutex_lock(&pool->lock);
        if (--pool->busy == 0)
            pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Members take no signals: those are for the program's own threads. */
static int start_members(struct pool *pool, int count, struct fail *why)
{
    sigset_t all, before;
    int error = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; !error && pool->started < count; pool->started += !error) {
        struct member *m = &pool->members[pool->started];
        *m = (struct member){.pool = pool, .thread = pool->started + 1};
        error = pthread_create(&m->id, NULL, member_main, m);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error ? fail(why, E_FAILED, "cannot start thread %d of %d: %s", pool->started + 2, count + 1,
                        strerror(error))
                 : 0;
}

int pool_open(struct pool **out, int threads, struct fail *why)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool || !(pool->members = calloc((size_t)threads, sizeof *pool->members))) {
        free(pool);
        return fail(why, E_MEMORY, "no memory for %d threads", threads);
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->done, NULL);
    int rc = start_members(pool, threads - 1, why);
    if (rc)
        pool_close(&pool);
    else
        *out = pool;
    return rc;
}

void pool_close(struct pool **poolp)
{
    struct pool *pool = *poolp;
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->started; i++)
        pthread_join(pool->members[i].id, NULL);
    pthread_cond_destroy(&pool->start);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    free(pool->members);
    free(pool);
    *poolp = NULL;
}

void pool_run(struct pool *pool, int64_t items, int64_t piece, pool_work work, void *context)
{
    if (!pool->started || items <= piece) {
        work(context, 0, 0, items);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->work = work;
    pool->context = context;
    pool->items = items;
    pool->piece = piece;
    atomic_store(&pool->next, 0);
    pool->busy = pool->started;
    pool->turn++;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
    take_pieces(pool, 0);
    pthread_mutex_lock(&pool->lock);
    while (pool->busy)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
