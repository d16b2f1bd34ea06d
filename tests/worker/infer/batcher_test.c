/* The rules of batcher.h against a simulated worker: time is a number here, a batch costs what the test says, records arrive at a
 * rate, and what is looked at is the latency that would have come out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/rng.h"
#include "worker/infer/batcher.h"

#undef fail
#include <cmocka.h>

enum { MOST = 1024, RECORD_ROWS = 4, SEED = 7 };

/* A worker whose batches take pass_us + row_us n, and whose transactions take commit_us each, one after the other: what is sealed
 * while one is under way goes into the next. */
struct world {
    double pass_us, row_us, commit_us, gap_us; /* gap: between two records */
    double begin_us, end_us;                   /* records arrive in between */
};

struct committer {
    double end_us; /* of the transaction under way */
    bool pending;  /* another follows it */
};

/* When a batch that is sealed now is committed. */
static double commit(struct committer *c, double now_us, double commit_us)
{
    if (c->pending && now_us >= c->end_us) {
        c->end_us += commit_us;
        c->pending = false;
    }
    if (now_us >= c->end_us)
        return c->end_us = now_us + commit_us;
    c->pending = true;
    return c->end_us + commit_us;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Runs it and returns the p99 of the answers' latencies in the second half, in ms. */
static double run(struct batcher *b, const struct world *w, double *mean_rows)
{
    int64_t records = (int64_t)((w->end_us - w->begin_us) / w->gap_us), next = 0, batches = 0, rows = 0;
    double *took_us = calloc((size_t)records + 1, sizeof *took_us), now_us = w->begin_us;
    struct committer committer = {0};
    struct rng r = rng_seed(SEED);
    assert_non_null(took_us);
    while (next < records) {
        double first_us = w->begin_us + (double)next * w->gap_us;
        now_us = now_us > first_us ? now_us : first_us;
        double close_us = now_us + (double)b->delay_us, began_us = now_us;
        int64_t from = next, n = 0;
        while (next < records && n < b->rows && w->begin_us + (double)next * w->gap_us <= close_us) {
            double at_us = w->begin_us + (double)next++ * w->gap_us;
            now_us = now_us > at_us ? now_us : at_us;
            n += RECORD_ROWS;
        }
        bool full = n >= b->rows;
        now_us = full ? now_us : close_us;
        double cost_us = (w->pass_us + w->row_us * (double)n) * (0.95 + 0.1 * rng_uniform(&r));
        now_us += cost_us;
        batcher_ran(b, (int64_t)(began_us - first_us), n, (int64_t)cost_us, full);
        double committed_us = commit(&committer, now_us, w->commit_us);
        batcher_committed(b, (int64_t)(committed_us - now_us));
        for (int64_t i = from; i < next; i++)
            took_us[i] = committed_us - (w->begin_us + (double)i * w->gap_us);
        batches++;
        rows += n;
    }
    *mean_rows = (double)rows / (double)batches;
    qsort(took_us + records / 2, (size_t)(records - records / 2), sizeof *took_us, by_value);
    double p99 = took_us[records / 2 + (int64_t)(0.99 * (double)(records - records / 2))] / 1000;
    free(took_us);
    return p99;
}

static void test_without_a_target_limits_are_the_settings(void **state)
{
    (void)state;
    struct batcher b;
    batcher_open(&b, MOST, 20, 0);
    for (int i = 0; i < 100; i++) {
        batcher_ran(&b, 900000, MOST, 900000, i % 2);
        batcher_committed(&b, 900000);
        assert_int_equal(b.rows, MOST);
        assert_int_equal(b.delay_us, 20000);
    }
}

static void test_learns_the_cost_by_size(void **state)
{
    (void)state;
    struct batcher b;
    batcher_open(&b, MOST, 20, 50);
    for (int i = 0; i < 200; i++) {
        int64_t rows = 16 + 97 * i % 900;
        batcher_ran(&b, 0, rows, 300 + 9 * rows, false);
    }
    assert_true(batcher_cost_us(&b, 100) > 1150 && batcher_cost_us(&b, 100) < 1250);
    assert_true(batcher_cost_us(&b, 1000) > 9200 && batcher_cost_us(&b, 1000) < 9400);
    for (int i = 0; i < 400; i++) { /* the machine has become three times slower */
        int64_t rows = 16 + 97 * i % 900;
        batcher_ran(&b, 0, rows, 900 + 27 * rows, false);
    }
    assert_true(batcher_cost_us(&b, 1000) > 27000 && batcher_cost_us(&b, 1000) < 29000);
}

/* Half of what the worker can do, a delay of the settings that is far too long: the target holds all the same. */
static void test_holds_the_target_below_the_limit(void **state)
{
    (void)state;
    const double targets_ms[] = {20, 30, 100};
    for (size_t i = 0; i < sizeof targets_ms / sizeof *targets_ms; i++) {
        struct world w = {.pass_us = 200, .row_us = 9, .commit_us = 4000, .gap_us = 72, .end_us = 20e6};
        struct batcher b;
        double rows, p99;
        batcher_open(&b, MOST, 500, targets_ms[i]);
        p99 = run(&b, &w, &rows);
        printf("target %.0f ms: p99 %.1f ms, %.0f rows a batch\n", targets_ms[i], p99, rows);
        assert_true(p99 > 4 && p99 < targets_ms[i]);
        batcher_open(&b, MOST, 500, 0);
        p99 = run(&b, &w, &rows);
        assert_true(p99 > 30); /* so the first two targets had something to do */
    }
}

/* A worker whose passes cost a lot each can only keep up with large batches: they must grow although the target is past. */
static void test_grows_under_a_backlog(void **state)
{
    (void)state;
    struct world w = {.pass_us = 3000, .row_us = 5, .commit_us = 1000, .gap_us = 40, .end_us = 20e6};
    struct batcher b;
    double rows;
    batcher_open(&b, MOST, 20, 10);
    double p99 = run(&b, &w, &rows);
    printf("backlog: p99 %.1f ms, %.0f rows a batch\n", p99, rows);
    assert_true(rows > 200); /* 4 rows in 40 us: below 60 rows a batch no pass of 3 ms keeps up */
    assert_true(p99 < 500);  /* without growth it would be seconds, and rise to the end */
    for (int i = 0; i < 40; i++)
        batcher_ran(&b, 0, 16, 3080, false);
    assert_true(b.rows < 200); /* and shrink when it is over */
}

static void test_never_leaves_its_bounds(void **state)
{
    (void)state;
    struct rng r = rng_seed(SEED);
    struct batcher b;
    batcher_open(&b, 100, 20, 5);
    for (int i = 0; i < 100000; i++) {
        batcher_ran(&b, (int64_t)rng_next(&r) >> (rng_next(&r) % 64), (int64_t)rng_below(&r, 65536),
                    (int64_t)(rng_next(&r) >> 1 >> (rng_next(&r) % 63)), rng_below(&r, 2));
        if (rng_below(&r, 3) == 0)
            batcher_committed(&b, (int64_t)(rng_next(&r) >> 1 >> (rng_next(&r) % 63)));
        assert_in_range(b.rows, 1, 100);
        assert_in_range(b.delay_us, 0, 20000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_target_limits_are_the_settings),
        cmocka_unit_test(test_learns_the_cost_by_size),
        cmocka_unit_test(test_holds_the_target_below_the_limit),
        cmocka_unit_test(test_grows_under_a_backlog),
        cmocka_unit_test(test_never_leaves_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
