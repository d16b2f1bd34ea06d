/* The faults of strikes.h, each a function that strikes once and returns when its part is over. Pauses are parts
 * of the faults, drawn from the run's seed; whatever is waited for is a condition. */
#include "tests/torture/strikes.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { SESSION_MS = 6000, TERM_MS = 8000, ASSIGNED_MS = 60000 };

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static int between(struct run *r, int low, int high)
{
    return low + (int)rng_below(&r->rng, (uint64_t)(high - low + 1));
}

/* ---- workers and the producer ---- */

void run_worker(struct run *r, int i, bool dynamic)
{
    static const char *const slots[RUN_WORKERS] = {"a", "b", "c"};
    if (!r->configs[i])
        r->configs[i] = stage_config(
            &r->stage, &(struct stage_settings){.slot = slots[i],
                                                .roles = "[infer]",
                                                .worker = dynamic ? "  membership: dynamic\n" : "",
                                                .kafka = "  session.timeout.ms: 6000\n"
                                                         "  transaction.timeout.ms: 6000\n"});
    stage_worker(&r->stage, &r->workers[i], r->configs[i]);
}

void run_revive(struct run *r)
{
    for (int i = 0; i < r->fault->workers; i++)
        if (!process_alive(&r->workers[i])) {
            int code = r->workers[i].code;
            if (code != 0 && code != 75 && code != 128 + SIGKILL)
                process_print_log(&r->workers[i]);
            assert_true(code == 0 || code == 75 || code == 128 + SIGKILL);
            run_worker(r, i, false);
        }
}

/* Milliseconds that one strike takes, about: what the producer's rate is made of. */
static long strike_ms(const struct fault *f)
{
    return f->strike == strike_kill_worker   ? 2000
           : f->strike == strike_stop_worker ? 12000
           : f->strike == strike_wait        ? 5000
           : f->strike == strike_any         ? 4000
           : f->strike == strike_kill_broker ? 6000
                                             : 2500;
}

void run_produce(struct run *r)
{
    char count[24], rate[24], every[16];
    static int files;
    char name[32];
    snprintf(name, sizeof name, "poison-%d", ++files);
    r->poison_file = test_path(name);
    long seconds = (strike_ms(r->fault) * r->amount.strikes + 999) / 1000;
    snprintf(count, sizeof count, "%ld", r->amount.records);
    snprintf(rate, sizeof rate, "%ld", r->amount.records / seconds + 1);
    snprintf(every, sizeof every, "%d", r->fault->poison_every);
    process_start(&r->producer, "producer.log",
                  (const char *[]){"tests/broker/check", "produce", "--bootstrap", r->stage.bootstrap,
                                   "--prefix", r->stage.prefix, "--model", "digits", "--rows", "1", "--count",
                                   count, "--rate", rate, "--poison-every", every, "--poison-file",
                                   r->poison_file, NULL});
}

/* ---- strikes ---- */

void strike_kill_worker(struct run *r)
{
    pause_ms(between(r, 200, 3000));
    int i = between(r, 0, r->fault->workers - 1);
    process_kill(&r->workers[i]);
    run_worker(r, i, false);
    watch_mark(r->watch);
}

void strike_kill_broker(struct run *r)
{
    int node = r->fault->brokers == 1 ? 0 : between(r, 1, r->fault->brokers);
    pause_ms(between(r, 200, 3000));
    broker_kill(&r->broker, node);
    pause_ms(between(r, 0, 5000));
    broker_start(&r->broker, node);
    watch_mark(r->watch);
}

/* A zombie: stopped for longer than its session, another takes its partitions, then it wakes with its batches. */
void strike_stop_worker(struct run *r)
{
    int i = between(r, 0, r->fault->workers - 1);
    pause_ms(between(r, 200, 2000));
    process_signal(&r->workers[i], SIGSTOP);
    watch_mark(r->watch);
    pause_ms(SESSION_MS + between(r, 500, 3000));
    process_signal(&r->workers[i], SIGCONT);
}

void strike_come_and_go(struct run *r)
{
    int extra = RUN_WORKERS - 1;
    run_worker(r, extra, r->strikes % 2 == 0);
    assert_true(process_wait_text(&r->workers[extra], "partitions assigned", 1, ASSIGNED_MS));
    pause_ms(between(r, 0, 1000));
    process_signal(&r->workers[extra], SIGTERM);
    assert_int_equal(process_wait(&r->workers[extra], TERM_MS), 0);
    watch_mark(r->watch);
}

void strike_term_worker(struct run *r)
{
    int i = r->strikes % r->fault->workers;
    pause_ms(between(r, 200, 2000));
    process_signal(&r->workers[i], SIGTERM);
    assert_int_equal(process_wait(&r->workers[i], TERM_MS), 0);
    run_worker(r, i, false);
    watch_mark(r->watch);
}

void strike_wait(struct run *r)
{
    pause_ms(between(r, 200, 1000));
}

void strike_any(struct run *r)
{
    static void (*const all[])(struct run *) = {strike_kill_worker, strike_kill_worker, strike_term_worker,
                                                strike_kill_broker, strike_stop_worker};
    all[between(r, 0, (int)(sizeof all / sizeof all[0]) - 1)](r);
}
