/* Two living workers of one slot on two machines (two state folders, so that no lock keeps the second out), under load: within
 * a minute exactly one lives, the other has ended with 78, and every record is answered once. On one machine the lock decides:
 * tests/worker/stream/exactly_once_test.c. */
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

enum { ASK_MS = 60000, DECIDED_MS = 60000, STAYS_MS = 5000 };

/* The same configuration with another state folder. */
static const char *other_machine(const char *config)
{
    char text[4096], moved[4200], name[300];
    FILE *in = fopen(config, "r");
    assert_non_null(in);
    size_t size = fread(text, 1, sizeof text - 1, in);
    fclose(in);
    text[size] = 0;
    char *at = strstr(text, "/state\n");
    assert_non_null(at);
    snprintf(moved, sizeof moved, "%.*s/state-of-another%s", (int)(at - text), text, at + strlen("/state"));
    snprintf(name, sizeof name, "%s.other", config);
    return test_write(test_keep(strdup(name)), moved);
}

struct pair {
    struct process workers[2];
};

static bool has_ended(void *worker)
{
    return !process_alive(worker);
}

static bool one_has_ended(void *pair)
{
    struct pair *p = pair;
    return !process_alive(&p->workers[0]) || !process_alive(&p->workers[1]);
}

static void two_owners(const char *membership)
{
    struct stage s;
    struct result r = {0};
    struct pair p = {0};
    struct process producer = {0};
    char line[64];
#ifdef __SANITIZE_ADDRESS__
    print_message("skipped: a fenced client of librdkafka leaks, and the sanitizer's exit code takes the "
                  "place of 78\n");
    skip();
#endif
    stage_open(&s, broker_shared());
    stage_run(&s, &r, ASK_MS, "topics", "create", "--partitions", "4", NULL);
    result_expect(&r, 0);
    stage_model(&s, "digits", 1, 1, true);
    snprintf(line, sizeof line, "  membership: %s\n", membership);
    const char *config = stage_config(&s, &(struct stage_settings){.roles = "[infer]", .worker = line});
    const char *configs[] = {config, other_machine(config)};
    process_start(&producer, "producer.log",
                  (const char *[]){"tests/broker/check", "produce", "--bootstrap", s.bootstrap, "--prefix",
                                   s.prefix, "--model", "digits", "--rows", "1", "--count", "12000", "--rate",
                                   "400", NULL});
    stage_worker(&s, &p.workers[0], configs[0]);
    assert_true(process_wait_text(&p.workers[0], "net opened", 1, ASK_MS));
    stage_worker(&s, &p.workers[1], configs[1]);
    long began_ms = now_ms();
    assert_true(wait_until(one_has_ended, &p, DECIDED_MS));
    int gone = process_alive(&p.workers[0]), stays = !gone;
    printf("# %s: worker %d ended with %d after %ld ms\n", membership, gone + 1, p.workers[gone].code,
           now_ms() - began_ms);
    if (p.workers[gone].code != 78)
        process_print_log(&p.workers[gone]);
    assert_int_equal(p.workers[gone].code, 78);
    assert_int_equal(process_wait(&producer, ASK_MS), 0);
    stage_check(&s, &r, 60, "--inputs", "12000", NULL);
    result_expect(&r, 0);
    assert_false(wait_until(has_ended, &p.workers[stays], STAYS_MS));
    process_signal(&p.workers[stays], SIGTERM);
    assert_int_equal(process_wait(&p.workers[stays], 8000), 0);
    result_free(&r);
}

static void of_two_static_owners_one_lives(void **state)
{
    (void)state;
    two_owners("static");
}

static void of_two_dynamic_owners_one_lives(void **state)
{
    (void)state;
    two_owners("dynamic");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_two_static_owners_one_lives),
        cmocka_unit_test(of_two_dynamic_owners_one_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
