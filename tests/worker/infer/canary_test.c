/* The canary: which keys a challenger and a shadow get, what the verdict is for which counts, and what a runner does with it: a
 * worse challenger is rolled back and answers nothing behind the event, an equal one is promoted, shadow answers go beside. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include "worker/codec/record.h"

#undef fail
#include <cmocka.h>

#include "tests/worker/infer/line.h"

enum { ROWS = 8 };

/* ---- places of keys ---- */

static double place_of(const char *model, const char *key)
{
    return canary_place(model, text_span(key), (struct span){0});
}

static void keys_are_spread_evenly_and_stay_where_they_are(void **state)
{
    int below[10] = {0}, both = 0;
    char key[32];
    (void)state;
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        double place = place_of("digits", key);
        assert_true(place >= 0 && place < 1);
        below[(int)(place * 10)]++;
        both += place < 0.1 && place_of("letters", key) < 0.1;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(below[i], 1830, 2170); /* 2000, four standard deviations */
    assert_in_range(both, 140, 260);           /* another model has other keys */
    /* Pinned: workers of two releases must agree. */
    assert_true(fabs(place_of("digits", "key-1") - 0.54594206556905933) < 1e-12);
    assert_true(canary_place("digits", (struct span){0}, text_span("key-1")) == place_of("digits", "key-1"));
    assert_true(canary_place("digits", text_span("key-1"), text_span("id")) == place_of("digits", "key-1"));
}

/* ---- verdicts ---- */

struct counts {
    uint64_t rows, errors, classes[3], passes;
    int64_t pass_us, slow_us; /* one pass in eight takes slow_us, 0: all take pass_us */
};

struct verdict {
    const char *name;
    struct counts challenger, champion;
    int64_t age_s;
    enum canary_verdict want;
    const char *reason; /* begins with */
};

/* clang-format off */
static const struct verdict verdicts[] = {
    {"too few rows of the challenger", {999, 999, {0}, 0, 0, 0}, {9000, 0, {9000}, 0, 0, 0}, 99, CANARY_BAKING, ""},
    {"too few rows of the champion", {9000, 9000, {0}, 0, 0, 0}, {999, 0, {999}, 0, 0, 0}, 99, CANARY_BAKING, ""},
    {"equal, but too early", {1000, 0, {500, 500}, 0, 0, 0}, {9000, 0, {4500, 4500}, 0, 0, 0}, 59, CANARY_BAKING, ""},
    {"equal", {1000, 0, {500, 500}, 0, 0, 0}, {9000, 0, {4500, 4500}, 0, 0, 0}, 60, CANARY_PASS, "canary: passed after 1000 rows and 60 s"},
    {"errors at once", {1000, 11, {989}, 0, 0, 0}, {1000, 0, {1000}, 0, 0, 0}, 0, CANARY_BREACH, "canary: error rate 0.011 of 1000 rows"},
    {"errors that the champion has too", {1000, 30, {970}, 0, 0, 0}, {1000, 25, {975}, 0, 0, 0}, 60, CANARY_PASS, ""},
    {"nothing but errors", {1000, 1000, {0}, 0, 0, 0}, {1000, 0, {1000}, 0, 0, 0}, 0, CANARY_BREACH, "canary: error rate 1 "},
    {"other classes", {1000, 0, {900, 100}, 0, 0, 0}, {1000, 0, {500, 500}, 0, 0, 0}, 0, CANARY_BREACH, "canary: PSI of predicted classes 0.87"},
    {"slightly other classes", {1000, 0, {560, 440}, 0, 0, 0}, {1000, 0, {500, 500}, 0, 0, 0}, 60, CANARY_PASS, ""},
    {"a class that the champion never says", {1000, 0, {500, 0, 500}, 0, 0, 0}, {1000, 0, {500, 500}, 0, 0, 0}, 0, CANARY_BREACH, "canary: PSI"},
    {"three times as slow", {1000, 0, {1000}, 50, 3000, 0}, {1000, 0, {1000}, 50, 1000, 0}, 0, CANARY_BREACH, "canary: p99 of compute above"},
    {"three times as slow, seen once", {1000, 0, {1000}, 1, 3000, 0}, {1000, 0, {1000}, 50, 1000, 0}, 60, CANARY_PASS, ""},
    {"half again as slow", {1000, 0, {1000}, 50, 1500, 0}, {1000, 0, {1000}, 50, 1000, 0}, 60, CANARY_PASS, ""},
    {"slow now and then", {1000, 0, {1000}, 800, 1000, 9000}, {1000, 0, {1000}, 800, 1000, 0}, 0, CANARY_BREACH, "canary: p99 of compute above"},
    {"both slow now and then", {1000, 0, {1000}, 800, 1000, 9000}, {1000, 0, {1000}, 800, 1000, 9000}, 60, CANARY_PASS, ""},
    {"faster", {1000, 0, {1000}, 800, 100, 0}, {1000, 0, {1000}, 800, 1000, 0}, 60, CANARY_PASS, ""},
};
/* clang-format on */

static void fill_side(struct canary_side *s, const struct counts *c)
{
    *s = (struct canary_side){0};
    canary_refused(s, (int64_t)c->errors);
    for (int k = 0; k < 3; k++)
        for (uint64_t i = 0; i < c->classes[k]; i++)
            canary_row(s, true, k);
    assert_int_equal(s->rows, c->rows);
    for (uint64_t i = 0; i < c->passes; i++) {
        canary_pass(s, i + 1, c->slow_us && i % 8 == 0 ? c->slow_us : c->pass_us);
        canary_pass(s, i + 1, 1 << 30); /* the same pass again */
    }
}

static void verdicts_follow_the_counts(void **state)
{
    static struct canary_side challenger, champion;
    struct settings s = {.canary_min_rows = 1000,
                         .canary_min_s = 60,
                         .canary_max_psi = 0.2,
                         .canary_max_error_rate = 0.01,
                         .canary_max_p99_ratio = 2};
    (void)state;
    for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++) {
        const struct verdict *v = &verdicts[i];
        char reason[CANARY_REASON] = "";
        fill_side(&challenger, &v->challenger);
        fill_side(&champion, &v->champion);
        int got = (int)canary_judge(&s, &challenger, &champion, v->age_s * 1000, reason);
        if (got != (int)v->want || strncmp(reason, v->reason, strlen(v->reason)) != 0)
            fail_msg("%s: verdict %d, expected %d: \"%s\"", v->name, got, (int)v->want, reason);
    }
}

/* PSI by hand, with the half rows: shares (900.5, 100.5) / 1001 and (500.5, 500.5) / 1001. */
static void psi_is_what_the_formula_says(void **state)
{
    static struct canary_side a, e;
    double x = 900.5 / 1001, y = 100.5 / 1001;
    (void)state;
    fill_side(&a, &(struct counts){1000, 0, {900, 100}, 0, 0, 0});
    fill_side(&e, &(struct counts){1000, 0, {500, 500}, 0, 0, 0});
    double want = (x - 0.5) * log(x / 0.5) + (y - 0.5) * log(y / 0.5);
    assert_true(fabs(canary_psi(&a, &e) - want) < 1e-12);
    assert_true(fabs(canary_psi(&e, &a) - want) < 1e-12);
    assert_true(canary_psi(&a, &a) == 0);
}

/* A thousand classes and a thousand rows of each: two samples of one distribution differ much, and that is chance. */
static void chance_is_no_breach(void **state)
{
    static struct canary_side a, e;
    struct settings s = {.canary_min_rows = 1000, .canary_max_psi = 0.2, .canary_max_p99_ratio = 2};
    char reason[CANARY_REASON];
    struct rng rng;
    int breaches = 0;
    (void)state;
    for (int classes = 2; classes <= 1000; classes = classes * 5 / 2)
        for (unsigned seed = 0; seed < 40; seed++) {
            a = e = (struct canary_side){0};
            rng = rng_seed(seed);
            for (int i = 0; i < 1000; i++) {
                canary_row(&a, true, (int32_t)rng_below(&rng, (uint32_t)classes));
                canary_row(&e, true, (int32_t)rng_below(&rng, (uint32_t)classes));
            }
            breaches += canary_judge(&s, &a, &e, 0, reason) == CANARY_BREACH;
        }
    assert_int_equal(breaches, 0);
}

/* ---- the runner ---- */

static void add(struct line *l, int i, const char *model)
{
    static float data[ROWS * LINE_INPUT];
    char key[32];
    struct bytes b = {0};
    struct tensor_view t = {
        .dtype = DTYPE_FP32, .shape = SHAPE(ROWS, 3, 8, 8), .data = {(const char *)data, sizeof data}};
    snprintf(key, sizeof key, "%d", i);
    struct inference_head head = {.id = text_span(key), .model = text_span(model), .top_k = 1};
    struct rng rng;
    rng = rng_seed((uint64_t)i);
    for (int k = 0; k < ROWS * LINE_INPUT; k++)
        data[k] = (float)rng_normal(&rng);
    inference_encode(&b, &head, &t, NULL);
    line_add(l, key, (struct span){(const char *)b.data, b.size}, NULL, 0);
    bytes_free(&b);
}

static void run(struct line *l)
{
    struct fail why = {0};
    line_must(line_run(l, &why), &why);
    assert_int_equal(l->sealed_to, l->count);
}

static int64_t number(json_t *j, const char *name)
{
    json_t *value = json_object_get(j, name);
    assert_true(json_is_number(value));
    return (int64_t)json_number_value(value);
}

static void is_text(json_t *j, const char *name, const char *want)
{
    const char *text = json_string_value(json_object_get(j, name));
    if (!text || strcmp(text, want) != 0)
        fail_msg("%s is \"%s\", expected \"%s\"", name, text ? text : "(none)", want);
}

/* Version and variant of one answer. */
static void is_of(const struct line_output *o, int64_t version, const char *variant)
{
    json_t *j = line_json(o);
    assert_int_equal(number(j, "version"), version);
    is_text(j, "variant", variant);
    json_decref(j);
}

static void a_challenger_has_its_keys_and_no_others(void **state)
{
    struct line l;
    int challenged = 0;
    line_open(&l, *state, "batch: {max_rows: 64}\ncanary: {min_rows: 1000000}\n");
    line_other(&l, *state, 3, 0);
    l.traffic.challenger = 0.25;
    for (int i = 0; i < 200; i++)
        add(&l, i, i < 190 ? "tiny" : i < 195 ? "tiny@champion" : "tiny@challenger");
    run(&l);
    assert_int_equal(l.out_count, 200);
    for (int i = 0; i < 200; i++) {
        char key[32];
        snprintf(key, sizeof key, "%d", i);
        bool challenger = i < 190 ? place_of("tiny", key) < 0.25 : i >= 195;
        challenged += i < 190 && challenger;
        is_of(line_find(&l, key), challenger ? 2 : 1, challenger ? "challenger" : "champion");
    }
    assert_in_range(challenged, 25, 70); /* 47 */
    line_close(&l);
}

static int events_of(struct line *l, int from, const struct line_output *events[4])
{
    int n = 0;
    for (int i = from; i < l->out_count; i++)
        if (l->out[i].topic == TOPIC_MODELS && n < 4)
            events[n++] = &l->out[i];
    return n;
}

static void is_event(const struct line_output *o, const char *event, const char *alias, int64_t previous,
                     bool ends)
{
    char key[64];
    json_t *j = line_json(o);
    snprintf(key, sizeof key, "tiny@%s", alias);
    assert_string_equal(o->key, key);
    is_text(j, "event", event);
    is_text(j, "alias", alias);
    is_text(j, "sha256", "sha");
    assert_int_equal(number(j, "version"), 2);
    if (previous)
        assert_int_equal(number(j, "previous_version"), previous);
    assert_true(json_number_value(json_object_get(j, "traffic")) == (ends ? 0 : 1));
    assert_string_equal(line_header(o, "millrace.schema").data, "1");
    printf("# %s\n", json_string_value(json_object_get(j, "reason")));
    json_decref(j);
}

/* It says class 3 whatever it sees. */
static void a_worse_challenger_is_rolled_back_once(void **state)
{
    const struct line_output *events[4];
    struct line l;
    int rows = 0;
    line_open(&l, *state, "batch: {max_rows: 64}\ncanary: {min_rows: 200, min_s: 0, max_p99_ratio: 1000}\n");
    line_other(&l, *state, 3, 100);
    l.traffic.challenger = 0.5;
    for (int i = 0; i < 150; i++)
        add(&l, i, "tiny");
    run(&l);
    assert_int_equal(l.out_count, 151);
    assert_int_equal(events_of(&l, 0, events), 1);
    is_event(events[0], "ROLLED_BACK", "challenger", 0, true);
    for (int i = 0; i < l.out_count; i++) {
        if (l.out[i].topic == TOPIC_MODELS)
            continue;
        json_t *j = line_json(&l.out[i]);
        bool challenger = number(j, "version") == 2;
        rows += challenger ? ROWS : 0;
        if (&l.out[i] > events[0])
            assert_false(challenger); /* though the follower says nothing yet */
        json_decref(j);
    }
    printf("# rolled back after %d rows of the challenger\n", rows);
    assert_in_range(rows, 200, 200 + 64);
    /* The session begins again: what was not committed is told again, and the alias ends then. */
    add(&l, 150, "tiny");
    run(&l);
    assert_int_equal(events_of(&l, 151, events), 1);
    is_event(events[0], "ROLLED_BACK", "challenger", 0, true);
    l.traffic.challenger = 0;
    add(&l, 151, "tiny");
    run(&l);
    assert_int_equal(l.out_count, 154);
    line_close(&l);
}

static void an_equal_challenger_is_promoted(void **state)
{
    const struct line_output *events[4];
    struct line l;
    line_open(&l, *state, "batch: {max_rows: 64}\ncanary: {min_rows: 200, min_s: 0, max_p99_ratio: 1000}\n");
    line_other(&l, *state, 3, 0);
    l.traffic.challenger = 0.5;
    for (int i = 0; i < 100; i++)
        add(&l, i, "tiny");
    run(&l);
    assert_int_equal(events_of(&l, 0, events), 2);
    is_event(events[0], "PROMOTED", "champion", 1, false);
    is_event(events[1], "PROMOTED", "challenger", 0, true);
    line_close(&l);
}

/* Every row of it is answered NaN. */
static void scores_that_are_no_numbers_are_a_breach(void **state)
{
    const struct line_output *events[4];
    struct line l;
    line_open(&l, *state, "batch: {max_rows: 64}\ncanary: {min_rows: 200, min_s: 60, max_psi: 1000}\n");
    line_other(&l, *state, 0, NAN);
    l.traffic.challenger = 0.5;
    for (int i = 0; i < 100; i++)
        add(&l, i, "tiny");
    run(&l);
    assert_int_equal(events_of(&l, 0, events), 1);
    is_event(events[0], "ROLLED_BACK", "challenger", 0, true);
    line_close(&l);
}

static void shadow_answers_go_beside(void **state)
{
    struct line l;
    int shadows = 0;
    line_open(&l, *state, "batch: {max_rows: 64}\n");
    line_other(&l, *state, 3, 100);
    l.traffic.shadow = 0.25;
    for (int i = 0; i < 100; i++)
        add(&l, i, "tiny");
    run(&l);
    for (int i = 0; i < l.out_count; i++) {
        const struct line_output *o = &l.out[i];
        if (o->topic == TOPIC_SHADOW) {
            assert_true(place_of("tiny", o->key) >= 0.75);
            is_of(o, 2, "shadow");
            assert_string_equal(line_header(o, "src.offset").data, o->key);
            shadows++;
        } else {
            is_of(o, 1, "champion");
            shadows -= place_of("tiny", o->key) >= 0.75;
        }
    }
    assert_int_equal(shadows, 0);
    assert_in_range(l.out_count, 110, 145); /* 125 */
    line_close(&l);
}

static void what_cannot_be_loaded_is_left_out(void **state)
{
    struct line l;
    line_open(&l, *state, "");
    l.traffic.challenger = l.traffic.shadow = 1;
    for (int i = 0; i < 20; i++)
        add(&l, i, "tiny");
    run(&l);
    assert_int_equal(l.out_count, 20);
    for (int i = 0; i < 20; i++)
        is_of(&l.out[i], 1, "champion");
    line_close(&l);
}

/* As tiny@2 a network that takes smaller rows. */
static void other_of_another_shape(struct line *l, const char *folder)
{
    static const char yaml[] = "network: tiny\ninput: [3, 4, 4]\nlabels: 4\nlayers:\n  - dense: {units: 4}\n";
    struct fail why;
    folder_write(folder_path(folder, "small.yaml"), yaml, strlen(yaml));
    line_must(model_read(&l->other, folder_path(folder, "small.yaml"), &why), &why);
    l->other->version = 2;
}

static void requests_that_a_challenger_cannot_take_are_its_errors(void **state)
{
    const struct line_output *events[4];
    struct line l;
    int dead = 0;
    line_open(&l, *state, "batch: {max_rows: 64}\ncanary: {min_rows: 200, min_s: 60}\n");
    other_of_another_shape(&l, *state);
    l.traffic.challenger = 0.5;
    for (int i = 0; i < 100; i++)
        add(&l, i, "tiny");
    run(&l);
    assert_int_equal(l.out_count, 101);
    assert_int_equal(events_of(&l, 0, events), 1);
    is_event(events[0], "ROLLED_BACK", "challenger", 0, true);
    for (int i = 0; i < l.out_count; i++)
        dead += l.out[i].topic == TOPIC_DEAD_LETTERS;
    assert_in_range(dead * ROWS, 200,
                    200 + 2 * 64); /* a dead letter fills no batch: the champion's rows do */
    line_close(&l);
}

static void a_shadow_that_cannot_take_a_request_says_nothing(void **state)
{
    struct line l;
    line_open(&l, *state, "");
    other_of_another_shape(&l, *state);
    l.traffic.shadow = 1;
    for (int i = 0; i < 20; i++)
        add(&l, i, "tiny");
    run(&l);
    assert_int_equal(l.out_count, 20);
    for (int i = 0; i < 20; i++)
        is_of(&l.out[i], 1, "champion");
    line_close(&l);
}

/* As the champion it answers: the alias is what was asked for. A version that is asked for by its number has no stand-in. */
static void the_version_before_serves_on_where_a_champion_is_broken(void **state)
{
    struct line l;
    line_open(&l, *state, "");
    line_other(&l, *state, 3, 0);
    l.broken = true;
    add(&l, 0, "tiny");
    add(&l, 1, "tiny@champion");
    add(&l, 2, "tiny@1");
    run(&l);
    assert_int_equal(l.out_count, 3);
    is_of(line_find(&l, "0"), 2, "champion");
    is_of(line_find(&l, "1"), 2, "champion");
    assert_int_equal(line_find(&l, "2")->topic, TOPIC_DEAD_LETTERS);
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_spread_evenly_and_stay_where_they_are),
        cmocka_unit_test(verdicts_follow_the_counts),
        cmocka_unit_test(psi_is_what_the_formula_says),
        cmocka_unit_test(chance_is_no_breach),
        cmocka_unit_test(a_challenger_has_its_keys_and_no_others),
        cmocka_unit_test(a_worse_challenger_is_rolled_back_once),
        cmocka_unit_test(an_equal_challenger_is_promoted),
        cmocka_unit_test(scores_that_are_no_numbers_are_a_breach),
        cmocka_unit_test(shadow_answers_go_beside),
        cmocka_unit_test(requests_that_a_challenger_cannot_take_are_its_errors),
        cmocka_unit_test(a_shadow_that_cannot_take_a_request_says_nothing),
        cmocka_unit_test(what_cannot_be_loaded_is_left_out),
        cmocka_unit_test(the_version_before_serves_on_where_a_champion_is_broken),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
