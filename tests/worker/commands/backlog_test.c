/* A backlog of many records in eight partitions and a broker that goes away in the middle of it: the worker's memory stays under
 * its bound and does not grow with what waits, and everything is answered once.
 * MILLRACE_BACKLOG=1000000 CHECK_HEAP=4g is the full size: 249 MiB at most, measured. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/lib/model.h"

#undef fail
#include <cmocka.h>

enum { RECORDS = 150000, MOST_MIB = 300, AWAY_MS = 5000, ASK_MS = 60000 };

/* A line of /proc/PID/status in MiB: "VmRSS", "VmHWM" (the most it ever was). */
static long memory_mib(const struct process *p, const char *name)
{
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)p->pid);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (fgets(line, sizeof line, in))
        if (strncmp(line, name, strlen(name)) == 0)
            kib = atol(line + strlen(name) + 1);
    fclose(in);
    assert_true(kib > 0);
    return (kib + 1023) / 1024;
}

static void produce(struct stage *s, const char *count)
{
    struct process producer = {0};
    process_start(&producer, "producer.log",
                  (const char *[]){"tests/broker/check", "produce", "--bootstrap", s->bootstrap, "--prefix",
                                   s->prefix, "--model", "digits", "--rows", "1", "--count", count, NULL});
    assert_int_equal(process_wait(&producer, ASK_MS + (int)(atol(count) / 2)), 0);
}

static void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* The worker and its supervisor: 75 asks for another start. Returns the most memory that any of them had. */
static long watch(struct stage *s, struct process *worker, const char *config, struct process *until,
                  long until_ms)
{
    long most = 0;
    while (process_alive(until) && now_ms() < until_ms) {
        if (process_alive(worker)) {
            long now = memory_mib(worker, "VmHWM");
            most = now > most ? now : most;
        } else {
            assert_int_equal(worker->code, 75);
            stage_worker(s, worker, config);
        }
        sleep_ms(100);
    }
    return most;
}

static void memory_does_not_grow_with_the_backlog(void **state)
{
    struct broker own;
    struct stage s;
    struct result r = {0};
    struct process worker = {0}, checker = {0}, outage = {0};
    char count[24], seconds[24], outage_s[8];
    const char *given = getenv("MILLRACE_BACKLOG");
    long records = given ? atol(given) : (long)RECORDS;
    (void)state;
    snprintf(count, sizeof count, "%ld", records);
    snprintf(seconds, sizeof seconds, "%ld", 120 + records / 2000);
    snprintf(outage_s, sizeof outage_s, "%d", AWAY_MS / 1000);
    broker_up(&own, 1);
    stage_open(&s, own.bootstrap);
    stage_run(&s, &r, ASK_MS, "topics", "create", "--partitions", "8", NULL);
    result_expect(&r, 0);
    stage_model(&s, "digits", 1, 1, true);
    produce(&s, count);
    const char *config = stage_config(&s, &(struct stage_settings){.roles = "[infer]"});
    stage_worker(&s, &worker, config);
    assert_true(process_wait_text(&worker, "net opened", 1, ASK_MS));
    broker_kill(&own, 0);
    process_start(&outage, "outage.log", (const char *[]){"sleep", outage_s, NULL});
    long away = watch(&s, &worker, config, &outage, now_ms() + ASK_MS);
    broker_start(&own, 0);
    process_start(&checker, "check.log",
                  (const char *[]){"tests/broker/check", "answers", "--bootstrap", s.bootstrap, "--prefix",
                                   s.prefix, "--group", s.group, "--timeout", seconds, "--inputs", count,
                                   NULL});
    long most = watch(&s, &worker, config, &checker, now_ms() + atol(seconds) * 2000);
    printf("# %s records: %ld MiB at most while the broker was away, %ld at most\n", count, away, most);
    if (checker.code)
        process_print_log(&checker);
    assert_int_equal(checker.code, 0);
#ifndef __SANITIZE_ADDRESS__ /* which keeps freed memory for a while */
    assert_in_range(away, 1, MOST_MIB);
    assert_in_range(most, 1, MOST_MIB);
#endif
    process_kill(&worker);
    broker_down(&own);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_does_not_grow_with_the_backlog)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
