/* A rolling restart of three workers under load: each is asked to stop (SIGTERM), is out within 5 s, and is started again before
 * the next; nothing is lost, repeated or out of order. With static membership a restart moves no partition; with dynamic
 * membership the others take them over at once. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/model.h"

#undef fail
#include <cmocka.h>

enum { WORKERS = 3, ROUNDS = 2, ASK_MS = 60000, OUT_MS = 5500 };

static void rolling(const char *membership)
{
    static const char *const slots[WORKERS] = {"a", "b", "c"};
    struct stage s;
    struct result r = {0};
    struct process workers[WORKERS] = {{0}}, producer = {0};
    const char *configs[WORKERS];
    char line[64];
    stage_open(&s, broker_shared());
    stage_run(&s, &r, ASK_MS, "topics", "create", "--partitions", "6", NULL);
    result_expect(&r, 0);
    stage_model(&s, "digits", 1, 1, true);
    snprintf(line, sizeof line, "  membership: %s\n", membership);
    for (int i = 0; i < WORKERS; i++) {
        configs[i] =
            stage_config(&s, &(struct stage_settings){.slot = slots[i], .roles = "[infer]", .worker = line});
        stage_worker(&s, &workers[i], configs[i]);
    }
    for (int i = 0; i < WORKERS; i++)
        assert_true(process_wait_text(&workers[i], "partitions assigned", 1, ASK_MS));
    process_start(&producer, "producer.log",
                  (const char *[]){"tests/broker/check", "produce", "--bootstrap", s.bootstrap, "--prefix",
                                   s.prefix, "--model", "digits", "--rows", "1", "--count", "15000", "--rate",
                                   "500", NULL});
    for (int i = 0; i < ROUNDS * WORKERS; i++) {
        struct process *w = &workers[i % WORKERS];
        assert_true(process_wait_text(w, "net opened", 1, ASK_MS)); /* it has answered something */
        long began_ms = now_ms();
        process_signal(w, SIGTERM);
        assert_int_equal(process_wait(w, 2 * OUT_MS), 0);
        long took_ms = now_ms() - began_ms;
        printf("# %s: worker %s out in %ld ms\n", membership, slots[i % WORKERS], took_ms);
        assert_in_range(took_ms, 0, OUT_MS);
        stage_worker(&s, w, configs[i % WORKERS]);
        assert_true(process_wait_text(w, "partitions assigned", 1, ASK_MS));
    }
    assert_int_equal(process_wait(&producer, ASK_MS), 0);
    stage_check(&s, &r, 60, "--inputs", "15000", NULL);
    result_expect(&r, 0);
    for (int i = 0; i < WORKERS; i++)
        process_kill(&workers[i]);
    result_free(&r);
}

static void static_members_restart_one_by_one(void **state)
{
    (void)state;
    rolling("static");
}

static void dynamic_members_restart_one_by_one(void **state)
{
    (void)state;
    rolling("dynamic");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(static_members_restart_one_by_one),
        cmocka_unit_test(dynamic_members_restart_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
