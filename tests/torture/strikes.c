/* The faults of strikes.h that need signals alone. Pauses are parts of the faults, drawn from the run's seed; whatever is
 * waited for is a condition. */
#include "tests/torture/strikes.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TERM_MS = 6000, ASSIGNED_MS = 60000 };

void strike_kill_worker(struct run *r)
{
    run_pause(run_between(r, 200, 3000));
    int i = run_between(r, 0, r->fault->workers - 1);
    process_kill(&r->workers[i]);
    run_worker(r, i, false);
    watch_mark(r->watch);
}

void strike_kill_broker(struct run *r)
{
    int node = r->fault->brokers == 1 ? 0 : run_between(r, 1, r->fault->brokers);
    run_pause(run_between(r, 200, 3000));
    broker_kill(&r->broker, node);
    run_pause(run_between(r, 0, 5000));
    broker_start(&r->broker, node);
    run_recover(r);
}

void strike_stop_worker(struct run *r)
{
    int i = run_between(r, 0, r->fault->workers - 1);
    run_pause(run_between(r, 200, 2000));
    process_signal(&r->workers[i], SIGSTOP);
    watch_mark(r->watch);
    run_pause(SESSION_MS + run_between(r, 500, 3000));
    process_signal(&r->workers[i], SIGCONT);
    run_pause(run_between(r, 200, 2000));
}

void strike_come_and_go(struct run *r)
{
    int extra = RUN_WORKERS - 1;
    int before = process_count_text(&r->workers[extra], "partitions assigned");
    run_worker(r, extra, r->strikes % 2 == 0);
    assert_true(process_wait_text(&r->workers[extra], "partitions assigned", before + 1, ASSIGNED_MS));
    run_pause(run_between(r, 0, 1000));
    process_signal(&r->workers[extra], SIGTERM);
    assert_int_equal(process_wait(&r->workers[extra], TERM_MS), 0);
    run_recover(r);
}

void strike_term_worker(struct run *r)
{
    int i = r->strikes % r->fault->workers;
    run_pause(run_between(r, 200, 2000));
    process_signal(&r->workers[i], SIGTERM);
    assert_int_equal(process_wait(&r->workers[i], TERM_MS), 0);
    run_worker(r, i, run_between(r, 0, 1));
    run_recover(r);
}

void strike_wait(struct run *r)
{
    run_pause(run_between(r, 200, 1000));
}

void strike_any(struct run *r)
{
    static void (*const all[])(struct run *) = {strike_kill_worker, strike_kill_worker, strike_term_worker,
                                                strike_kill_broker, strike_stop_worker, strike_come_and_go,
                                                strike_network};
    all[run_between(r, 0, (int)(sizeof all / sizeof all[0]) - 1)](r);
}
