/* The torture run: workers score a stream while faults strike by a seeded schedule; at the end the independent
 * checker (tests/broker/check) counts what was lost, repeated, out of order, wrongly refused or left open.
 * One case for each row of `faults`; README.md says what each is and how to replay one.
 *   TORTURE_SIZE  ci (default), full, or 1/N of full    TORTURE_SEED  of the schedule    TORTURE_ONLY  "T1 T4"
 * Next to read: strikes.h, then run.h. */
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

enum { SEED = 20265, DRAIN_S = 120, DRAINED_PER_S = 500, START_MS = 60000 };
/* Flat: between the first look, at an idle worker, and the last, behind a backlog, lie the consumer's queue (64 MB, a setting)
 * and the batches; and connections to brokers. */
enum { PEAK_MB = 300, GROWN_MB = 192, GROWN_DESCRIPTORS = 24 };

static const struct fault faults[] = {
    {.name = "T1",
     .text = "worker killed (SIGKILL)",
     .brokers = 0,
     .workers = 1,
     .ci = {25, 60000},
     .full = {500, 2000000},
     .strike_ms = 2000,
     .strike = strike_kill_worker,
     .resume_ms = 2000},
    {.name = "T2",
     .text = "broker killed and started again",
     .brokers = 1,
     .workers = 1,
     .ci = {8, 20000},
     .full = {200, 500000},
     .strike_ms = 12000,
     .strike = strike_kill_broker},
    {.name = "T3",
     .text = "one of three brokers killed",
     .brokers = 3,
     .workers = 1,
     .ci = {4, 10000},
     .full = {100, 250000},
     .strike_ms = 12000,
     .strike = strike_kill_broker},
    {.name = "T4",
     .text = "worker stopped past its session (SIGSTOP), then continued",
     .brokers = 0,
     .workers = 2,
     .ci = {3, 20000},
     .full = {50, 250000},
     .strike_ms = 11000,
     .strike = strike_stop_worker},
    {.name = "T5",
     .text = "network: delay, slices, half-open, reset, 1 MB/s, black hole",
     .brokers = 1,
     .workers = 1,
     .ci = {12, 20000},
     .full = {300, 500000},
     .strike_ms = 7000,
     .strike = strike_network,
     .open = network_open,
     .close = network_close},
    {.name = "T6",
     .text = "workers join and leave, static and dynamic",
     .brokers = 0,
     .workers = 2,
     .ci = {10, 20000},
     .full = {200, 400000},
     .strike_ms = 6000,
     .strike = strike_come_and_go},
    {.name = "T7",
     .text = "one record in twenty is poison, in 20 ways",
     .brokers = 0,
     .workers = 1,
     .ci = {1, 20000},
     .full = {1, 1000000},
     .strike_ms = 0,
     .strike = strike_wait,
     .poison_every = 20},
    {.name = "T8",
     .text = "records that crash the program",
     .brokers = 0,
     .workers = 1,
     .ci = {3, 20000},
     .full = {50, 250000},
     .strike_ms = 8000,
     .strike = strike_crash,
     .open = crash_open},
    {.name = "T9",
     .text = "disk full, EIO, slow fsync while it trains and serves",
     .brokers = 0,
     .workers = 1,
     .ci = {10, 20000},
     .full = {200, 400000},
     .strike_ms = 4000,
     .strike = strike_disk,
     .open = disk_open,
     .close = disk_close},
    {.name = "T10",
     .text = "SIGTERM under load, rolling, static and dynamic",
     .brokers = 0,
     .workers = 2,
     .ci = {10, 20000},
     .full = {200, 400000},
     .strike_ms = 4000,
     .strike = strike_term_worker},
    {.name = "T11",
     .text = "one transaction in three aborted",
     .brokers = 0,
     .workers = 1,
     .ci = {1, 20000},
     .full = {1, 500000},
     .strike_ms = 0,
     .strike = strike_wait,
     .open = abort_open,
     .close = abort_close},
    {.name = "T12",
     .text = "mixture of all",
     .brokers = 1,
     .workers = 2,
     .ci = {8, 20000},
     .full = {2000, 4000000},
     .strike_ms = 8000,
     .strike = strike_any,
     .poison_every = 20,
     .open = network_open,
     .close = network_close},
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

static void stage_begin(struct run *r)
{
    struct result result = {0};
    stage_run(&r->stage, &result, START_MS, "topics", "create", "--partitions", "4", "--replication",
              r->fault->brokers == 3 ? "3" : "1", NULL);
    result_expect(&result, 0);
    result_free(&result);
    stage_model(&r->stage, "digits", 1, 1, true);
}

static void run_open(struct run *r, const struct fault *f, uint64_t seed)
{
    *r = (struct run){.fault = f, .amount = amount_of(f), .rng = rng_seed(seed)};
    if (f->brokers)
        broker_up(&r->broker, f->brokers);
    stage_open(&r->stage, f->brokers ? r->broker.bootstrap : broker_shared());
    if (f->open)
        f->open(r);
    stage_begin(r);
    for (int i = 0; i < f->workers; i++)
        run_worker(r, i, false);
    for (int i = 0; i < f->workers; i++)
        assert_true(process_wait_text(&r->workers[i], "partitions assigned", 1, START_MS));
    r->watch = watch_open(&r->stage);
}

static void run_end(struct run *r)
{
    for (int i = 0; i < RUN_WORKERS; i++)
        process_kill(&r->workers[i]);
    process_kill(&r->producer);
    watch_close(&r->watch);
    if (r->fault->brokers)
        broker_down(&r->broker);
}

static bool has_answers(void *watch)
{
    return watch_answers(watch) > 0;
}

static void run_strikes(struct run *r)
{
    assert_true(wait_until(has_answers, r->watch, START_MS));
    r->first = run_look(r);
    for (; r->strikes < r->amount.strikes; r->strikes++) {
        long began_ms = now_ms();
        r->fault->strike(r);
        run_revive(r);
        run_look(r);
        if (getenv("TORTURE_VERBOSE"))
            printf("# %s strike %d: %ld ms, %ld answers seen, %d recoveries\n", r->fault->name,
                   r->strikes + 1, now_ms() - began_ms, watch_answers(r->watch), watch_recoveries(r->watch));
    }
    run_hurry(r);
    assert_int_equal(process_wait(&r->producer, START_MS + (int)(r->amount.records / 10)), 0);
    run_revive(r);
}

/* The checker waits until all is answered, for as long as a slow machine takes; its last line says what it saw. */
static void run_check(struct run *r, struct result *result)
{
    char count[24];
    int drain_s = DRAIN_S + (int)(r->amount.records / DRAINED_PER_S);
    snprintf(count, sizeof count, "%ld", r->amount.records);
    stage_check(&r->stage, result, drain_s, "--inputs", count, "--poison-file", r->poison_file, NULL);
    r->last = run_look(r);
}

static void recoveries_print(struct watch *w)
{
    int count = watch_recoveries(w);
    if (count)
        printf("%d recoveries, p50 %ld ms, p95 %ld ms", count, watch_recovery_ms(w, 0.5),
               watch_recovery_ms(w, 0.95));
    else
        printf("no recovery measured");
}

static void run_report(struct run *r, uint64_t seed, const struct result *result)
{
    const char *last = strrchr(result->out ? result->out : "", '\n');
    for (; last && last > result->out && last[-1] != '\n'; last--)
        ;
    int words = last ? (int)strcspn(last, "\n") : 0;
    printf("# %-3s %s: seed %llu, %d strikes, %ld records; ", r->fault->name, r->fault->text,
           (unsigned long long)seed, r->strikes, r->amount.records);
    recoveries_print(r->watch);
    printf("; worker %ld -> %ld MB (peak %ld), %d -> %d descriptors%s; %s%.*s\n", r->first.rss_mb,
           r->last.rss_mb, r->peak_mb, r->first.descriptors, r->last.descriptors, r->note,
           result->code ? "VIOLATED: " : "", words ? words : 24, words ? last : "no answer of the checker");
    fflush(stdout);
}

static void run_judge(struct run *r, const struct result *result)
{
    const struct fault *f = r->fault;
    result_expect(result, 0);
    if (r->peak_mb > PEAK_MB || r->last.rss_mb > r->first.rss_mb + GROWN_MB)
        fail_msg("memory is not flat: %ld -> %ld MB, peak %ld", r->first.rss_mb, r->last.rss_mb, r->peak_mb);
    if (r->last.descriptors > r->first.descriptors + GROWN_DESCRIPTORS)
        fail_msg("descriptors are not flat: %d -> %d", r->first.descriptors, r->last.descriptors);
    if (f->resume_ms && watch_recovery_ms(r->watch, 0.95) > f->resume_ms)
        fail_msg("p95 of recovery is %ld ms, %d are promised", watch_recovery_ms(r->watch, 0.95),
                 f->resume_ms);
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
    run_strikes(&r);
    run_check(&r, &result);
    if (f->close)
        f->close(&r);
    run_report(&r, seed, &result);
    run_judge(&r, &result);
    result_free(&result);
    run_end(&r);
}

/* --list: the names of the faults, one a line. */
int main(int argc, char **argv)
{
    const char *only = given("TORTURE_ONLY", "");
    struct CMUnitTest tests[FAULTS];
    size_t count = 0;
    for (int i = 0; argc > 1 && !strcmp(argv[1], "--list") && i < FAULTS; i++)
        puts(faults[i].name);
    if (argc > 1)
        return 0;
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
