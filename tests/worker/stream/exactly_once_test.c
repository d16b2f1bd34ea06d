/* The promise on a real broker, looked at by the independent checker: whatever is killed, every record is answered once, in order,
 * and the group's offsets end at the end. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/rng.h"
#include "tests/lib/model.h"

#undef fail
#include <cmocka.h>

enum {
    SEED = 20261,
    FILE_ROWS = 3000,
    ROWS_PER_RECORD = 4,
    FILE_RECORDS = FILE_ROWS / ROWS_PER_RECORD,
    KILLS = 5,
    ROUNDS = 4
};

static const char *digits(void)
{
    static char path[300];
    struct result r = {0};
    if (!path[0]) {
        snprintf(path, sizeof path, "%s", test_path("digits.npz"));
        result_runl(&r, 60000, test_millrace(), "make-data", "digits", "--shape", "3x32x32", "--rows", "3000",
                    "--seed", "1", "--output", path, NULL);
        result_expect(&r, 0);
        result_free(&r);
    }
    return path;
}

/* Sends the file several times over without waiting for an answer. */
static void send_all(struct stage *s, int times)
{
    struct result r = {0};
    char repeat[16];
    snprintf(repeat, sizeof repeat, "%d", times);
    stage_run(s, &r, 60000, "send", digits(), "--model", "digits", "--rows-per-record", "4", "--repeat",
              repeat, NULL);
    result_expect(&r, 0);
    result_free(&r);
}

static void stage_begin(struct stage *s, const char *bootstrap)
{
    struct result r = {0};
    stage_open(s, bootstrap);
    stage_run(s, &r, 30000, "topics", "create", NULL);
    result_expect(&r, 0);
    result_free(&r);
    stage_model(s, "digits", 1, 1, true);
}

static void check(struct stage *s, int inputs, int timeout_s)
{
    struct result r = {0};
    char count[16];
    snprintf(count, sizeof count, "%d", inputs);
    stage_check(s, &r, timeout_s, "--inputs", count, NULL);
    result_expect(&r, 0);
    result_free(&r);
}

static void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* SIGKILL at random moments while it scores; each time the same slot goes on. */
static void five_kills_leave_one_answer_for_each_record(void **state)
{
    struct stage s;
    struct process worker = {0};
    struct rng rng = rng_seed(SEED);
    (void)state;
    printf("seed %d\n", SEED);
    stage_begin(&s, broker_shared());
    const char *config = stage_config(&s, &(struct stage_settings){.slot = "a", .roles = "[infer]"});
    for (int kill = 0; kill < KILLS; kill++) {
        stage_worker(&s, &worker, config);
        assert_true(process_wait_text(&worker, "partitions assigned", 1, 30000));
        send_all(&s, 2);
        sleep_ms((int)rng_below(&rng, 400)); /* where it strikes does not matter, only that it varies */
        process_kill(&worker);
    }
    stage_worker(&s, &worker, config);
    check(&s, KILLS * 2 * FILE_RECORDS, 60);
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 6000), 0);
}

/* SIGTERM under load: out within 5 s, and the next one finds exactly what is left. */
static void a_stop_under_load_loses_and_repeats_nothing(void **state)
{
    struct stage s;
    struct process worker = {0};
    (void)state;
    stage_begin(&s, broker_shared());
    const char *config = stage_config(&s, &(struct stage_settings){.slot = "a", .roles = "[infer]"});
    for (int round = 0; round < 3; round++) {
        stage_worker(&s, &worker, config);
        assert_true(process_wait_text(&worker, "partitions assigned", 1, 30000));
        send_all(&s, 2);
        process_signal(&worker, SIGTERM);
        long began = now_ms();
        assert_int_equal(process_wait(&worker, 8000), 0);
        assert_in_range(now_ms() - began, 0, 5500);
    }
    stage_worker(&s, &worker, config);
    check(&s, 3 * 2 * FILE_RECORDS, 60);
    process_kill(&worker);
}

static void two_workers_share_the_partitions(void **state)
{
    struct stage s;
    struct process a = {0}, b = {0};
    (void)state;
    stage_begin(&s, broker_shared());
    stage_worker(&s, &a,
                 stage_config(&s, &(struct stage_settings){
                                      .slot = "a", .roles = "[infer]", .worker = "  membership: dynamic\n"}));
    assert_true(process_wait_text(&a, "partitions assigned", 1, 30000));
    send_all(&s, 1);
    stage_worker(&s, &b,
                 stage_config(&s, &(struct stage_settings){
                                      .slot = "b", .roles = "[infer]", .worker = "  membership: dynamic\n"}));
    assert_true(process_wait_text(&b, "\"partitions assigned\",\"role\":\"infer\",\"count\":2", 1, 30000));
    send_all(&s, 2);
    process_kill(&b); /* its partitions go over to the other */
    send_all(&s, 1);
    check(&s, 4 * FILE_RECORDS, 60);
    process_kill(&a);
}

/* Partitions change hands while records are pulled: the first record of a new epoch once fell between the two. */
static void workers_come_and_go(void **state)
{
    struct stage s;
    struct process a = {0}, b = {0};
    (void)state;
    stage_begin(&s, broker_shared());
    struct stage_settings set = {.slot = "a", .roles = "[infer]", .worker = "  membership: dynamic\n"};
    stage_worker(&s, &a, stage_config(&s, &set));
    assert_true(process_wait_text(&a, "partitions assigned", 1, 30000));
    set.slot = "b";
    const char *config = stage_config(&s, &set);
    for (int round = 0; round < ROUNDS; round++) {
        send_all(&s, 2);
        stage_worker(&s, &b, config);
        assert_true(process_wait_text(&b, "partitions assigned", 1, 30000));
        send_all(&s, 2);
        process_signal(&b, SIGTERM);
        assert_int_equal(process_wait(&b, 8000), 0);
    }
    check(&s, ROUNDS * 4 * FILE_RECORDS, 60);
    process_kill(&a);
}

static void a_second_worker_of_a_slot_leaves(void **state)
{
    struct stage s;
    struct process first = {0}, second = {0};
    (void)state;
    stage_begin(&s, broker_shared());
    const char *config = stage_config(&s, &(struct stage_settings){.slot = "a", .roles = "[infer]"});
    stage_worker(&s, &first, config);
    assert_true(process_wait_text(&first, "partitions assigned", 1, 30000));
    stage_worker(&s, &second, config);
    assert_int_equal(process_wait(&second, 10000), 78);
    assert_int_equal(process_count_text(&second, "another live worker owns slot a"), 1);
    assert_true(process_alive(&first));
    process_kill(&first);
}

static void a_broker_that_dies_twice_is_waited_for(void **state)
{
    struct stage s;
    struct process worker = {0};
    struct broker own;
    (void)state;
    broker_up(&own, 1);
    stage_begin(&s, own.bootstrap);
    stage_worker(&s, &worker, stage_config(&s, &(struct stage_settings){.slot = "a", .roles = "[infer]"}));
    assert_true(process_wait_text(&worker, "partitions assigned", 1, 30000));
    for (int round = 0; round < 2; round++) {
        send_all(&s, 3);
        broker_kill(&own, 0);
        broker_start(&own, 0);
    }
    send_all(&s, 1);
    /* The second outage may meet a session that is being opened anew: its waits (10 s a transaction, 40 s for stable
     * offsets) add up, on a busy machine too. */
    check(&s, 7 * FILE_RECORDS, 180);
    assert_true(process_alive(&worker));
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 8000), 0);
    broker_down(&own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_kills_leave_one_answer_for_each_record),
        cmocka_unit_test(a_stop_under_load_loses_and_repeats_nothing),
        cmocka_unit_test(two_workers_share_the_partitions),
        cmocka_unit_test(workers_come_and_go),
        cmocka_unit_test(a_second_worker_of_a_slot_leaves),
        cmocka_unit_test(a_broker_that_dies_twice_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
