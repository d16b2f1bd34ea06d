/* The harness itself: exit codes, deadlines, and a real broker that keeps its data through SIGKILL.
 * Leaves workers to the tests that are about them. Read tests/lib/broker.h next. */
#include "tests/lib/broker.h"

#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static void test_result_has_code_and_outputs(void **state)
{
    struct result r = {0};
    (void)state;
    result_run(&r, 10000, "abc", (const char *[]){"sh", "-c", "cat; echo no >&2; exit 3", NULL});
    assert_int_equal(r.code, 3);
    assert_string_equal(r.out, "abc");
    assert_int_equal(r.out_size, 3);
    assert_string_equal(r.err, "no\n");
    assert_int_equal(result_runl(&r, 10000, "sh", "-c", "kill -9 $$", NULL), 128 + SIGKILL);
    assert_int_equal(result_runl(&r, 10000, "/nonexistent/program", NULL), 127);
    result_free(&r);
}

static void test_result_kills_the_group_at_its_deadline(void **state)
{
    struct result r = {0};
    (void)state;
    long start = now_ms();
    assert_int_equal(result_runl(&r, 200, "sh", "-c", "sleep 1000 & echo $!; wait", NULL), -1);
    assert_true(now_ms() - start < 10000);
    /* Soon gone, or a zombie that nobody has reaped yet. */
    char command[160];
    snprintf(command, sizeof(command), "while grep -qs '^State:.[^ZX]' /proc/%d/status; do sleep 0.05; done",
             atoi(r.out));
    assert_true(atoi(r.out) > 1);
    result_runl(&r, 10000, "sh", "-c", command, NULL);
    result_expect(&r, 0);
    result_free(&r);
}

static void test_process_is_waited_for_by_its_words(void **state)
{
    struct process p = {0};
    (void)state;
    process_start(&p, "words.log",
                  (const char *[]){"sh", "-c", "echo one; echo two; echo one; sleep 1000", NULL});
    assert_true(process_wait_text(&p, "one\n", 2, 10000));
    assert_int_equal(process_count_text(&p, "two"), 1);
    assert_true(process_alive(&p));
    process_signal(&p, SIGTERM);
    assert_int_equal(process_wait(&p, 10000), 128 + SIGTERM);
    assert_false(process_alive(&p));
    process_kill(&p);
}

/* Produces `count` lines to the only partition of a topic and returns how many it then holds. */
static int produce_and_count(struct stage *s, int count)
{
    struct result r = {0};
    char script[1024];
    snprintf(script, sizeof(script),
             "seq %d | kcat -P -b %s -t %sx -p 0 -X acks=all -X topic.message.timeout.ms=30000 && "
             "kcat -C -q -b %s -t %sx -p 0 -o beginning -e | wc -l",
             count, s->bootstrap, s->prefix, s->bootstrap, s->prefix);
    result_runl(&r, 60000, "sh", "-c", script, NULL);
    result_expect(&r, 0);
    int n = atoi(r.out);
    result_free(&r);
    return n;
}

static void test_broker_keeps_its_data_through_kill(void **state)
{
    struct broker b;
    struct stage s;
    struct result r = {0};
    (void)state;
    broker_up(&b, 1);
    stage_open(&s, b.bootstrap);
    result_expect((stage_checker(&s, &r, 30, "topic", "--topic", "x", "--partitions", "1", NULL), &r), 0);
    assert_int_equal(produce_and_count(&s, 100), 100);
    broker_kill(&b, 0);
    assert_int_not_equal(result_runl(&r, 10000, "compose/kafka/kafka", "status", "--data", b.dir, NULL), 0);
    broker_start(&b, 0);
    assert_int_equal(produce_and_count(&s, 50), 150);
    broker_down(&b);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_result_has_code_and_outputs),
        cmocka_unit_test(test_result_kills_the_group_at_its_deadline),
        cmocka_unit_test(test_process_is_waited_for_by_its_words),
        cmocka_unit_test(test_broker_keeps_its_data_through_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
