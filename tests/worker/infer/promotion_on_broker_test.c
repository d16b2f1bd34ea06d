/* Promotions under load with three workers: no record is lost or repeated, and every answer is of the version that was the champion
 * when it was made, or up to 2 s before. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/records.h"

#undef fail
#include <cmocka.h>

enum { WORKERS = 3, VERSIONS = 4, ASK_MS = 60000, LATE_MS = 2000 };

/* When version i + 1 became the champion, in ms since 1970. */
struct reign {
    double from[VERSIONS + 1]; /* the last one: for ever */
};

static double number(json_t *record, const char *field)
{
    json_t *value = json_object_get(json_object_get(record, "value"), field);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void read_reigns(struct stage *s, struct reign *reign)
{
    json_t *all = topic_now(s, "models"), *one;
    size_t i;
    int seen = 0;
    json_array_foreach(all, i, one)
    {
        if (strcmp(json_string_value(json_object_get(one, "key")), "digits@champion") != 0)
            continue;
        assert_int_equal(number(one, "version"), seen + 1);
        reign->from[seen++] = number(one, "at");
    }
    assert_int_equal(seen, VERSIONS);
    reign->from[VERSIONS] = 1e15;
    json_decref(all);
}

static void look_at_answers(struct stage *s, const struct reign *reign)
{
    json_t *all = topic_now(s, "predictions"), *one;
    int answered[VERSIONS] = {0};
    double latest_ms = 0;
    size_t i;
    json_array_foreach(all, i, one)
    {
        int version = (int)number(one, "version");
        double at = number(one, "produced_at");
        assert_in_range(version, 1, VERSIONS);
        double late_ms = at - reign->from[version];
        if (at < reign->from[version - 1] || late_ms > LATE_MS)
            fail_msg("version %d answered at %.0f, it was the champion from %.0f to %.0f", version, at,
                     reign->from[version - 1], reign->from[version]);
        latest_ms = late_ms > latest_ms ? late_ms : latest_ms;
        answered[version - 1]++;
    }
    for (int v = 0; v < VERSIONS; v++) {
        printf("# version %d answered %d requests\n", v + 1, answered[v]);
        assert_true(answered[v] > 0);
    }
    printf("# the last answer of a version came %.0f ms behind its end\n", latest_ms);
    json_decref(all);
}

static void promotions_under_load(void **state)
{
    static const char *const slots[WORKERS] = {"a", "b", "c"};
    struct process workers[WORKERS] = {{0}}, producer = {0};
    struct result r = {0};
    struct reign reign;
    struct stage s;
    char spec[32];
    (void)state;
    stage_open(&s, broker_shared());
    stage_run(&s, &r, ASK_MS, "topics", "create", "--partitions", "6", NULL);
    result_expect(&r, 0);
    for (int v = 1; v <= VERSIONS; v++)
        stage_model(&s, "digits", v, (unsigned)v, v == 1);
    for (int i = 0; i < WORKERS; i++)
        stage_worker(&s, &workers[i],
                     stage_config(&s, &(struct stage_settings){.slot = slots[i], .roles = "[infer]"}));
    for (int i = 0; i < WORKERS; i++)
        assert_true(process_wait_text(&workers[i], "partitions assigned", 1, ASK_MS));
    process_start(&producer, "producer.log",
                  (const char *[]){"tests/broker/check", "produce", "--bootstrap", s.bootstrap, "--prefix",
                                   s.prefix, "--model", "digits", "--rows", "1", "--count", "12000", "--rate",
                                   "400", NULL});
    for (int v = 2; v <= VERSIONS; v++) {
        for (int i = 0; i < WORKERS; i++) /* each has answered with the version before */
            assert_true(process_wait_text(&workers[i], "net opened", v - 1, ASK_MS));
        snprintf(spec, sizeof spec, "digits@%d", v);
        stage_run(&s, &r, ASK_MS, "models", "promote", spec, NULL);
        result_expect(&r, 0);
        assert_true(process_alive(&producer)); /* else this was no promotion under load */
    }
    assert_int_equal(process_wait(&producer, ASK_MS), 0);
    stage_check(&s, &r, 60, "--inputs", "12000", NULL);
    result_expect(&r, 0);
    read_reigns(&s, &reign);
    look_at_answers(&s, &reign);
    for (int i = 0; i < WORKERS; i++) { /* no batch waited for a version's net, but for the first one's */
        assert_true(process_wait_text(&workers[i], "\"beside\":\"yes\"", VERSIONS - 1, 1000));
        assert_false(process_wait_text(&workers[i], "\"beside\":\"no\"", 2, 0));
        process_kill(&workers[i]);
    }
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promotions_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
