/* A fixed set of threads waiting for work. Between operations that follow each other at once they spin, for microseconds: a
 * sleeping thread takes longer to wake than most operations of a small net take. Then they sleep. Who is not awake when an
 * operation begins is not waited for. */
#include "engine/cpu/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS = 4000 }; /* of a pause each: about 50 us */

struct member {
    struct pool *pool;
    pthread_t id;
    int thread;
};

/* The state of an operation in one word, so that a member joins either an operation that is open or none. */
enum { OPEN = 1, MEMBER = 2, MEMBERS = 0xfffe, TURN = 0x10000 };

/* Where a thread begins: items that whoever comes takes piece by piece. A cache line each. */
struct share {
    _Alignas(64) atomic_int_fast64_t next;
    int64_t end;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    struct member *members; /* [threads - 1] */
    struct share *shares;   /* [threads] */
    int threads, started;
    bool closing;               /* guarded by the lock */
    atomic_uint_fast64_t state; /* turn * TURN + members at work * MEMBER + (open to members ? OPEN : 0) */
    pool_work work;             /* these three stand while the operation is open or a member at work */
    void *context;
    int64_t piece;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void take_share(struct pool *pool, struct share *share, int thread)
{
    while (atomic_load(&share->next) < share->end) {
        int64_t begin = atomic_fetch_add(&share->next, pool->piece);
        int64_t end = begin + pool->piece < share->end ? begin + pool->piece : share->end;
        if (begin < end)
            pool->work(pool->context, thread, begin, end);
    }
}

/* The thread's own share, then what others have left. */
static void take_pieces(struct pool *pool, int thread)
{
    for (int i = 0; i < pool->threads; i++)
        take_share(pool, &pool->shares[(thread + i) % pool->threads], thread);
}

static void deal(struct pool *pool, int64_t items)
{
    for (int i = 0; i < pool->threads; i++) {
        atomic_store(&pool->shares[i].next, items * i / pool->threads);
        pool->shares[i].end = items * (i + 1) / pool->threads;
    }
}

/* Joins the operation that is open, if it is another than `seen`, and notes it there. */
static bool join(struct pool *pool, uint_fast64_t *seen)
{
    uint_fast64_t s = atomic_load(&pool->state);
    while ((s & OPEN) && s / TURN != *seen)
        if (atomic_compare_exchange_weak(&pool->state, &s, s + MEMBER)) {
            *seen = s / TURN;
            return true;
        }
    return false;
}

static void leave(struct pool *pool)
{
    uint_fast64_t s = atomic_fetch_sub(&pool->state, MEMBER) - MEMBER;
    if (s & (OPEN | MEMBERS))
        return;
    pthread_mutex_lock(&pool->lock); /* the caller may be about to sleep */
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->lock);
}

/* False when the pool closes. */
static bool wait_join(struct pool *pool, uint_fast64_t *seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (join(pool, seen))
            return true;
        relax();
    }
    bool joined = false;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing && !(joined = join(pool, seen)))
        pthread_cond_wait(&pool->start, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return joined;
}

static void *member_main(void *argument)
{
    struct member *m = argument;
    uint_fast64_t seen = 0;
    while (wait_join(m->pool, &seen)) {
        take_pieces(m->pool, m->thread);
        leave(m->pool);
    }
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
    size_t shares = (size_t)threads * sizeof *pool->shares;
    if (!pool || !(pool->members = calloc((size_t)threads, sizeof *pool->members)) ||
        !(pool->shares = aligned_alloc(_Alignof(struct share), shares))) {
        free(pool ? pool->members : NULL);
        free(pool);
        return fail(why, E_MEMORY, "no memory for %d threads", threads);
    }
    memset(pool->shares, 0, shares);
    pool->threads = threads;
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
    free(pool->shares);
    free(pool);
    *poolp = NULL;
}

void pool_run(struct pool *pool, int64_t items, int64_t piece, pool_work work, void *context)
{
    if (!pool->started || items <= piece) {
        work(context, 0, 0, items);
        return;
    }
    pool->work = work;
    pool->context = context;
    pool->piece = piece;
    deal(pool, items);
    pthread_mutex_lock(&pool->lock); /* a member that found nothing sleeps by now, or will see this */
    atomic_store(&pool->state, (atomic_load(&pool->state) / TURN + 1) * TURN + OPEN);
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
    take_pieces(pool, 0);
    uint_fast64_t s = atomic_fetch_sub(&pool->state, OPEN) - OPEN;
    for (int i = 0; i < SPINS && (s & MEMBERS); i++) {
        relax();
        s = atomic_load(&pool->state);
    }
    if (!(s & MEMBERS))
        return;
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->state) & MEMBERS)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
