/* The torture run: workers score a stream while faults strike by a seeded schedule; at the end the independent
 * checker (tests/broker/check) counts what was lost, repeated, out of order, wrongly refused or left open.
 * One case for each row of `faults`; README.md says what each is and how to replay one.
 *   TORTURE_SIZE  ci (default), full, or 1/N of full    TORTURE_SEED  of the schedule    TORTURE_ONLY  "T1 T4"
 * Next to read: strikes.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/model.h"
#include "tests/torture/strikes.h"

#undef fail
#include <cmocka.h>

enum { SEED = 20265, DRAIN_S = 120, START_MS = 60000 };

static const struct fault faults[] = {
    /*              CI          full                     records/s */
    {"T1", "worker killed (SIGKILL)", 1, 1, {25, 60000}, {500, 2000000}, 0, strike_kill_worker},
    {"T2", "broker killed and started again", 1, 1, {8, 20000}, {200, 500000}, 0, strike_kill_broker},
    {"T3", "one of three brokers killed", 3, 1, {4, 10000}, {100, 250000}, 0, strike_kill_broker},
    {"T4",
     "worker stopped past its session (SIGSTOP), then continued",
     1,
     2,
     {3, 20000},
     {50, 250000},
     0,
     strike_stop_worker},
    {"T6", "workers join and leave", 1, 2, {10, 20000}, {200, 400000}, 0, strike_come_and_go},
    {"T7", "one record in twenty is poison", 1, 1, {1, 20000}, {1, 1000000}, 20, strike_wait},
    {"T10", "SIGTERM under load, rolling", 1, 2, {10, 20000}, {200, 400000}, 0, strike_term_worker},
    {"T12", "mixture of all", 1, 2, {16, 30000}, {4000, 4000000}, 20, strike_any},
};

enum { FAULTS = sizeof faults / sizeof faults[0] };

/* ---- sizes ---- */

static const char *given(const char *name, const char *otherwise)
{
    const char *text = getenv(name);
    return text && *text ? text : otherwise;
}

static struct amount amount_of(const struct fault *f)
{
    const char *size = given("TORTURE_SIZE", "ci");
    int part = 1;
    if (!strcmp(size, "ci"))
        return f->ci;
    if (strcmp(size, "full") && (sscanf(size, "1/%d", &part) != 1 || part < 1))
        fail_msg("TORTURE_SIZE=%s: expected ci, full or 1/N", size);
    int strikes = f->full.strikes / part;
    return (struct amount){strikes > 0 ? strikes : 1, f->full.records / part};
}

/* ---- one run ---- */

static void run_open(struct run *r, const struct fault *f, uint64_t seed)
{
    struct result result = {0};
    *r = (struct run){.fault = f, .amount = amount_of(f), .rng = rng_seed(seed)};
    broker_up(&r->broker, f->brokers);
    stage_open(&r->stage, r->broker.bootstrap);
    stage_run(&r->stage, &result, START_MS, "topics", "create", "--partitions", "4", "--replication",
              f->brokers == 3 ? "3" : "1", NULL);
    result_expect(&result, 0);
    result_free(&result);
    stage_model(&r->stage, "digits", 1, 1, true);
    for (int i = 0; i < f->workers; i++)
        run_worker(r, i, false);
    for (int i = 0; i < f->workers; i++)
        assert_true(process_wait_text(&r->workers[i], "partitions assigned", 1, START_MS));
    r->watch = watch_open(&r->stage);
}

static void run_close(struct run *r)
{
    for (int i = 0; i < RUN_WORKERS; i++)
        process_kill(&r->workers[i]);
    process_kill(&r->producer);
    watch_close(&r->watch);
    broker_down(&r->broker);
}

/* The checker waits until all is answered, DRAIN_S at most; its last line says what it saw. */
static int run_check(struct run *r, struct result *result)
{
    char count[24];
    snprintf(count, sizeof count, "%ld", r->amount.records);
    return r->fault->poison_every ? stage_check(&r->stage, result, DRAIN_S, "--inputs", count,
                                                "--poison-file", r->poison_file, NULL)
                                  : stage_check(&r->stage, result, DRAIN_S, "--inputs", count, NULL);
}

static void run_report(struct run *r, uint64_t seed, const struct result *result)
{
    const char *last = strrchr(result->out ? result->out : "", '\n');
    for (; last && last > result->out && last[-1] != '\n'; last--)
        ;
    printf("# %-3s %s: seed %llu, %d strikes, %ld records; recovery p50 %ld ms, p95 %ld ms; %s%s",
           r->fault->name, r->fault->text, (unsigned long long)seed, r->strikes, r->amount.records,
           watch_recovery_ms(r->watch, 0.5), watch_recovery_ms(r->watch, 0.95),
           result->code ? "VIOLATED: " : "", last ? last : "no answer of the checker\n");
    fflush(stdout);
}

static void torture(void **state)
{
    const struct fault *f = *state;
    uint64_t seed = strtoull(given("TORTURE_SEED", "0"), NULL, 0);
    struct result result = {0};
    struct run r;
    seed = seed ? seed : SEED;
    run_open(&r, f, seed);
    run_produce(&r);
    for (; r.strikes < r.amount.strikes; r.strikes++) {
        long began_ms = now_ms();
        f->strike(&r);
        run_revive(&r);
        if (getenv("TORTURE_VERBOSE"))
            printf("# %s strike %d: %ld ms, %ld answers seen\n", f->name, r.strikes + 1, now_ms() - began_ms,
                   watch_answers(r.watch));
    }
    assert_int_equal(process_wait(&r.producer, START_MS + (int)(r.amount.records / 10)), 0);
    run_check(&r, &result);
    run_report(&r, seed, &result);
    result_expect(&result, 0);
    result_free(&result);
    run_close(&r);
}

int main(void)
{
    const char *only = given("TORTURE_ONLY", "");
    struct CMUnitTest tests[FAULTS];
    size_t count = 0;
    for (int i = 0; i < FAULTS; i++) {
        char word[16], list[128];
        snprintf(word, sizeof word, " %s ", faults[i].name);
        snprintf(list, sizeof list, " %s ", only);
        if (!*only || strstr(list, word))
            tests[count++] = (struct CMUnitTest){
                .name = faults[i].name, .test_func = torture, .initial_state = (void *)(uintptr_t)&faults[i]};
    }
    return _cmocka_run_group_tests("torture", tests, count, NULL, NULL);
}
