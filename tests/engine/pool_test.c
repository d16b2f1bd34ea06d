/* The pool: every item of an operation is done once and by a thread that there is, in operations that follow each other at
 * once and in some that members slept before. */
#include "engine/cpu/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "engine/rng.h"

#undef fail
#include <cmocka.h>

enum { MOST = 40, OPERATIONS = 20000, SEED = 11 };

struct done {
    int threads;
    atomic_int times[MOST];
    atomic_int strangers;
};

static void note(void *context, int thread, int64_t begin, int64_t end)
{
    struct done *d = context;
    if (thread < 0 || thread >= d->threads)
        d->strangers++;
    for (int64_t i = begin; i < end; i++)
        d->times[i]++;
}

static void operations(int threads)
{
    struct pool *pool = NULL;
    struct fail why;
    struct rng r = rng_seed(SEED);
    assert_int_equal(pool_open(&pool, threads, &why), 0);
    for (int turn = 0; turn < OPERATIONS; turn++) {
        struct done d = {.threads = threads};
        int items = 1 + (int)rng_below(&r, MOST), piece = 1 + (int)rng_below(&r, 4);
        if (turn % 1000 == 999) /* until members sleep: the longest that they spin */
            nanosleep(&(struct timespec){0, 2000000}, NULL);
        pool_run(pool, items, piece, note, &d);
        for (int i = 0; i < MOST; i++)
            assert_int_equal(d.times[i], i < items);
        assert_int_equal(d.strangers, 0);
    }
    pool_close(&pool);
    assert_null(pool);
}

static void every_item_is_done_once(void **state)
{
    (void)state;
    printf("# seed %d\n", SEED);
    for (int threads = 1; threads <= 4; threads++)
        operations(threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_item_is_done_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
