/* A canary on a real broker: a version that was trained on shuffled labels is promoted as the challenger of a good one, under load,
 * with and without kills of the worker. It is rolled back within a stated number of rows, only its share of the keys met it, and
 * every record is answered once, by the shadow too where that has its key; what the bad version answered is then scored again. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/rng.h"
#include "tests/lib/folder.h"
#include "tests/lib/records.h"
#include "worker/infer/canary.h"

#undef fail
#include <cmocka.h>

enum { TRAIN_ROWS = 4000, CIFAR = 3073, ASK_MS = 60000 };
enum { RECORDS = 1500, ROWS = 8, MIN_ROWS = 300, BATCH_ROWS = 64 };

/* What one life of a worker lets a bad challenger answer: its rows until it is judged, and the batch that reached them. */
enum { MOST_ROWS = MIN_ROWS + BATCH_ROWS + ROWS };

static const double share = 0.25, shadow_share = 0.5;

static void millrace(const char *const argv[])
{
    struct result r = {0};
    result_run(&r, 4 * ASK_MS, NULL, argv);
    result_expect(&r, 0);
    result_free(&r);
}

static void draw(const char *path, const char *rows, const char *seed)
{
    millrace((const char *[]){test_millrace(), "make-data", "digits", "--output", path, "--rows", rows,
                              "--seed", seed, NULL});
}

static void train(const char *data, const char *model)
{
    const char *job =
        test_write(test_path("job.yaml"),
                   "model: digits\nnetwork: lenet\nloss: cross_entropy\nhyperparameters: {optimizer: sgd, "
                   "learning_rate: 0.02, momentum: 0.9, batch_size: 64, epochs: 4, seed: 1}\n");
    millrace(
        (const char *[]){test_millrace(), "train", job, "--local", "--data", data, "--output", model, NULL});
}

/* The same pictures, each with the label of another. */
static void shuffle_labels(const char *from, const char *to)
{
    static uint32_t order[TRAIN_ROWS];
    static unsigned char labels[TRAIN_ROWS];
    struct rng rng = rng_seed(7);
    size_t size;
    unsigned char *bytes = folder_read(from, &size);
    assert_int_equal(size, TRAIN_ROWS * CIFAR);
    for (uint32_t i = 0; i < TRAIN_ROWS; i++) {
        order[i] = i;
        labels[i] = bytes[i * CIFAR];
    }
    rng_shuffle(&rng, order, TRAIN_ROWS);
    for (uint32_t i = 0; i < TRAIN_ROWS; i++)
        bytes[i * CIFAR] = labels[order[i]];
    folder_write(to, bytes, size);
    free(bytes);
}

/* good.onnx, bad.onnx and requests.bin, for all tests. */
static int make_models(void **state)
{
    (void)state;
    draw(test_path("good.bin"), "4000", "1");
    shuffle_labels(test_path("good.bin"), test_path("bad.bin"));
    train(test_path("good.bin"), test_path("good.onnx"));
    train(test_path("bad.bin"), test_path("bad.onnx"));
    draw(test_path("requests.bin"), "12000", "2");
    return 0;
}

/* digits@1, the champion, is good, digits@2 bad, digits@3 good again, the shadow. */
static void import_versions(struct stage *s)
{
    static const char *const files[] = {"good.onnx", "bad.onnx", "good.onnx"};
    struct result r = {0};
    for (int i = 0; i < 3; i++) {
        stage_run(s, &r, ASK_MS, "models", "import", test_path(files[i]), "--model", "digits", "--timeout",
                  "30", i ? NULL : "--promote", NULL);
        result_expect(&r, 0);
    }
    stage_run(s, &r, ASK_MS, "models", "promote", "digits@2", "--alias", "challenger", "--traffic", "0.25",
              NULL);
    result_expect(&r, 0);
    stage_run(s, &r, ASK_MS, "models", "promote", "digits@3", "--alias", "shadow", "--traffic", "0.5", NULL);
    result_expect(&r, 0);
    result_free(&r);
}

static double number(json_t *record, const char *field)
{
    json_t *value = json_object_get(json_object_get(record, "value"), field);
    if (json_is_string(value)) /* a timestamp in words */
        fail_msg("%s is \"%s\"", field, json_string_value(value));
    return json_number_value(value);
}

static const char *key_of(json_t *record)
{
    return json_string_value(json_object_get(record, "key"));
}

/* The newest event of digits@challenger. */
static double rolled_back_at(struct stage *s)
{
    json_t *all = topic_now(s, "models"), *one, *last = NULL;
    size_t i;
    json_array_foreach(all, i, one)
    {
        if (strcmp(key_of(one), "digits@challenger") == 0)
            last = one;
        if (strcmp(key_of(one), "digits@champion") == 0)
            assert_int_equal(number(one, "version"), 1);
    }
    assert_non_null(last);
    json_t *value = json_object_get(last, "value");
    assert_string_equal(json_string_value(json_object_get(value, "event")), "ROLLED_BACK");
    assert_int_equal(number(last, "version"), 2);
    assert_true(number(last, "traffic") == 0);
    printf("# %s\n", json_string_value(json_object_get(value, "reason")));
    double at = number(last, "at");
    json_decref(all);
    return at;
}

/* Who answered what, and how many rows the challenger did. */
static void look_at_answers(struct stage *s, double rolled_back_ms, int lives)
{
    json_t *all = topic_now(s, "predictions"), *one;
    int challenged = 0, of_its_keys = 0;
    size_t i;
    assert_int_equal(json_array_size(all), RECORDS);
    json_array_foreach(all, i, one)
    {
        const char *key = key_of(one);
        bool challenger = number(one, "version") == 2;
        bool its_key = canary_place("digits", text_span(key), (struct span){0}) < share;
        of_its_keys += its_key;
        assert_true(challenger || number(one, "version") == 1);
        if (!challenger)
            continue;
        challenged += ROWS;
        if (!its_key)
            fail_msg("%s is none of the challenger's keys", key);
        if (number(one, "produced_at") > rolled_back_ms + 2000)
            fail_msg("%s was answered by the challenger %g ms behind the event", key,
                     number(one, "produced_at") - rolled_back_ms);
    }
    printf("# the challenger answered %d of the %d rows of its keys, %d lives\n", challenged,
           of_its_keys * ROWS, lives);
    /* Rows of a transaction that was aborted count, and are answered again: on a slow machine fewer than MIN_ROWS are seen here. */
    if (challenged < MIN_ROWS / 4 || challenged > lives * MOST_ROWS)
        fail_msg("the challenger answered %d rows, %d..%d are right", challenged, MIN_ROWS / 4,
                 lives * MOST_ROWS);
    assert_true(of_its_keys * ROWS > 2 * lives * MOST_ROWS); /* else nothing was proved */
    json_decref(all);
}

static void look_at_shadows(struct stage *s)
{
    json_t *answers = topic_now(s, "predictions"), *shadows = topic_now(s, "predictions.shadow"), *one;
    json_t *seen = json_object();
    size_t i, expected = 0;
    json_array_foreach(answers, i, one) expected +=
        canary_place("digits", text_span(key_of(one)), (struct span){0}) >= 1 - shadow_share;
    json_array_foreach(shadows, i, one)
    {
        assert_int_equal(number(one, "version"), 3);
        assert_null(json_object_get(seen, key_of(one)));
        json_object_set_new(seen, key_of(one), json_true());
        assert_true(canary_place("digits", text_span(key_of(one)), (struct span){0}) >= 1 - shadow_share);
    }
    assert_in_range(expected, RECORDS / 3, RECORDS - RECORDS / 3);
    assert_int_equal(json_array_size(shadows), expected);
    json_decref(answers), json_decref(shadows), json_decref(seen);
}

/* Answers that replace those of version 2. */
static size_t replaced(struct stage *s)
{
    json_t *all = topic_now(s, "predictions"), *one;
    size_t i, count = 0;
    json_array_foreach(all, i, one) count += number(one, "supersedes") == 2;
    json_decref(all);
    return count;
}

static bool some_are_replaced(void *stage)
{
    return replaced(stage) > 0;
}

/* What the bad version answered is answered again by the good one, and nothing else is; a killed run is run again. */
static void score_again(struct stage *s, const char *config, bool kills)
{
    const char *const command[] = {test_millrace(), "rescore", "digits@1", "--served", "2", "-c",
                                   config,          NULL};
    struct process rescore = {0};
    struct result r = {0};
    if (kills) {
        process_start(&rescore, "rescore.log", command);
        assert_true(wait_until(some_are_replaced, s, ASK_MS));
        process_kill(&rescore);
        printf("# rescore was killed behind %zu answers\n", replaced(s));
    }
    millrace(command);
    json_t *all = topic_now(s, "predictions"), *one, *bad = json_object();
    size_t i, first = 0, again = 0;
    json_array_foreach(all, i, one)
    {
        bool replaces = number(one, "supersedes") == 2;
        first += !replaces;
        again += replaces;
        if (replaces) { /* a key is of one record here: it is taken out once */
            assert_int_equal(number(one, "version"), 1);
            if (json_object_del(bad, key_of(one)))
                fail_msg("%s was not the bad version's, or is answered a third time", key_of(one));
        } else if (number(one, "version") == 2) {
            json_object_set_new(bad, key_of(one), json_true());
        }
    }
    assert_int_equal(first, RECORDS);
    assert_true(again > 0);
    if (json_object_size(bad))
        fail_msg("%zu records of the bad version were not answered again", json_object_size(bad));
    printf("# %zu records were answered again\n", again);
    stage_check(s, &r, 60, "--inputs", "1500", NULL);
    result_expect(&r, 0);
    result_free(&r);
    json_decref(bad), json_decref(all);
}

static void bad_version(bool kills)
{
    struct stage s;
    struct result r = {0};
    struct process worker = {0}, producer = {0};
    char rest[200];
    stage_open(&s, broker_shared());
    stage_run(&s, &r, ASK_MS, "topics", "create", NULL);
    result_expect(&r, 0);
    snprintf(rest, sizeof rest,
             "batch: {max_rows: %d}\ncanary: {min_rows: %d, min_s: 3600, max_p99_ratio: 1000}\n", BATCH_ROWS,
             MIN_ROWS);
    const char *config = stage_config(&s, &(struct stage_settings){.slot = "a", .rest = rest});
    stage_worker(&s, &worker, config);
    import_versions(&s);
    process_start(&producer, "send.log",
                  (const char *[]){test_millrace(), "send", test_path("requests.bin"), "-c", config,
                                   "--model", "digits", "--rows-per-record", "8", "--rate", "3000",
                                   "--encoding", "u8", NULL});
    assert_true(process_wait_text(&worker, "canary begins", 1, ASK_MS));
    if (kills) {
        process_kill(&worker);
        stage_worker(&s, &worker, config);
        assert_true(process_wait_text(&worker, "canary rolled back", 1, ASK_MS));
        process_kill(&worker); /* perhaps before the event is committed */
        stage_worker(&s, &worker, config);
    }
    assert_int_equal(process_wait(&producer, ASK_MS), 0);
    stage_check(&s, &r, 60, "--inputs", "1500", NULL);
    result_expect(&r, 0);
    look_at_answers(&s, rolled_back_at(&s), kills ? 3 : 1);
    look_at_shadows(&s);
    score_again(&s, config, kills);
    process_kill(&worker);
    result_free(&r);
}

static void a_bad_version_is_rolled_back(void **state)
{
    (void)state;
    bad_version(false);
}

static void a_bad_version_is_rolled_back_whatever_is_killed(void **state)
{
    (void)state;
    bad_version(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_version_is_rolled_back),
        cmocka_unit_test(a_bad_version_is_rolled_back_whatever_is_killed),
    };
    return cmocka_run_group_tests(tests, make_models, NULL);
}
