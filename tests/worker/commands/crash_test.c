/* Records that crash the process, on a real broker: a supervisor starts the worker again and again; in the end the records are dead
 * letters and every other one is answered, once. The program under test is millrace-hooks (worker/infer/hook.h). */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/broker.h"
#include "tests/lib/records.h"
#include "worker/stream/writer.h"

#undef fail
#include <cmocka.h>

enum { RECORDS = 200, PARTITIONS = 4, ASK_MS = 20000 };

static const struct culprit {
    int at;
    const char *id;
    int signal;
} culprits[] = {{60, "hook-crash-take", SIGILL}, {141, "hook-crash-compute", SIGABRT}};

enum { CULPRITS = sizeof culprits / sizeof *culprits };

static const char *id_of(int i, char id[32])
{
    for (int c = 0; c < CULPRITS; c++)
        if (culprits[c].at == i)
            return culprits[c].id;
    snprintf(id, 32, "q%d", i);
    return id;
}

/* One producer for all, over all partitions, so that one fetch brings many. */
static void send_all(struct stage *s)
{
    struct settings settings;
    struct fail why;
    struct writer *w = NULL;
    char topic[TOPIC_NAME], id[32];
    static const char row[3 * 32 * 32];
    stage_settings_load(s, &settings);
    topic_full_name(&settings, TOPIC_INFERENCE, topic);
    assert_int_equal(writer_open(&w, &settings, ASK_MS, &why), 0);
    for (int i = 0; i < RECORDS; i++) {
        struct bytes b = {0};
        struct span key = text_span(id_of(i, id));
        struct tensor_view t = {
            .dtype = DTYPE_UINT8, .shape = SHAPE(1, 3, 32, 32), .data = {row, sizeof row}};
        struct inference_head head = {.id = key, .model = text_span("lenet"), .top_k = 1};
        inference_encode(&b, &head, &t, NULL);
        assert_int_equal(writer_put(w, topic, i % PARTITIONS, key, (struct span){(char *)b.data, b.size},
                                    NULL, 0, NULL, &why),
                         0);
        bytes_free(&b);
    }
    assert_int_equal(writer_flush(w, ASK_MS, &why), 0);
    writer_close(&w);
    settings_free(&settings);
}

static bool has_ended(void *worker)
{
    return !process_alive(worker);
}

/* Starts the worker until it lives on with everything answered; returns how often it crashed. */
static int supervise(struct stage *s, struct process *worker, const char *config)
{
    char program[600];
    int crashes = 0;
    snprintf(program, sizeof program, "%s-hooks", test_millrace());
    setenv("MILLRACE", program, 1);
    for (;; crashes++) {
        struct result r = {0};
        stage_worker(s, worker, config);
        while (!wait_until(has_ended, worker, 1000))
            if (stage_check(s, &r, 1, "--inputs", "200", NULL) == 0)
                break;
        result_free(&r);
        if (process_alive(worker))
            break;
        if (worker->code != 128 + SIGILL && worker->code != 128 + SIGABRT)
            process_print_log(worker);
        assert_true(worker->code == 128 + SIGILL || worker->code == 128 + SIGABRT);
        assert_in_range(crashes, 0, 20);
    }
    unsetenv("MILLRACE");
    return crashes;
}

static void records_that_crash_become_dead_letters(void **state)
{
    struct stage s;
    struct process worker = {0};
    struct result r = {0};
    char id[32];
    (void)state;
    stage_begin(&s);
    send_all(&s);
    int crashes =
        supervise(&s, &worker, stage_config(&s, &(struct stage_settings){.slot = "a", .roles = "[infer]"}));
    assert_true(crashes >= 2 * CULPRITS); /* alone twice, each of them */
    json_t *dead = topic_read(&s, "dead-letters", CULPRITS),
           *answers = topic_read(&s, "predictions", RECORDS - CULPRITS);
    for (int c = 0; c < CULPRITS; c++)
        assert_string_equal(header_of(by_key(dead, culprits[c].id), "dlq.reason"), "crash");
    for (int i = 0; i < RECORDS; i++)
        if (id_of(i, id) == id)
            is_status(by_key(answers, id), 0, "OK");
    stage_check(&s, &r, 60, "--inputs", "200", "--poison", "2", NULL);
    result_expect(&r, 0);
    result_free(&r);
    json_decref(dead);
    json_decref(answers);
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 6000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(records_that_crash_become_dead_letters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
