/* The course of a run: best epoch, class weights, micro-batches, pace of metrics, time; the health rules one by one and in
 * runs that are ill; checkpoints cut at every length. Fixed seeds. */
#include "tests/worker/train/small_run.h"

struct told { /* what a run's records said */
    int records;
    double val_loss[200];
    int epochs;
    double health[HEALTH_RULES]; /* the last action, 0: never */
};

static int on_told(void *arg, struct loss_metric *m, struct fail *why)
{
    struct told *t = arg;
    (void)why;
    t->records++;
    if (!isnan(m->val_loss) && t->epochs < 200)
        t->val_loss[t->epochs++] = m->val_loss;
    for (int i = 0; i < m->metric_count; i++)
        for (int k = 0; k < HEALTH_RULES; k++)
            if (strcmp(m->metrics[i].key, health_name((enum health_rule)k)) == 0)
                t->health[k] = m->metrics[i].value;
    return 0;
}

static struct run_watch told_watch(struct told *t)
{
    *t = (struct told){0};
    return (struct run_watch){.metric = on_told, .arg = t};
}

/* All parameters, one after another; free it. */
static float *params_of(struct run *r, int64_t *count)
{
    int64_t at = 0;
    struct fail why;
    float *all = malloc(sizeof(float) * (size_t)run_param_floats(r));
    assert_non_null(all);
    for (int i = 0; i < net_param_count(run_net(r)); i++) {
        assert_int_equal(net_param_get(run_net(r), i, all + at, &why), 0);
        at += shape_size(net_param_shape(run_net(r), i));
    }
    assert_int_equal(at, run_param_floats(r));
    *count = at;
    return all;
}

/* A run with these settings, to its end. */
static struct run *trained(struct bench *b, const struct text_pair *more, int count, struct told *t)
{
    struct fail why = {0};
    struct run_watch w = told_watch(t);
    bench_open(b, more, count);
    struct run *r = bench_run(b);
    if (run_train(r, &w, &why))
        fail_msg("%s", why.text);
    return r;
}

static void the_best_epoch_is_restored(void **state)
{
    (void)state;
    struct text_pair more[] = {{"epochs", "14"}, {"restore_best", "true"}, {"learning_rate", "1.5"}};
    struct bench b, c;
    struct told t, u;
    int64_t n, m;
    int best = 0;
    struct run *r = trained(&b, more, 3, &t);
    for (int i = 1; i < t.epochs; i++)
        best = t.val_loss[i] < t.val_loss[best] ? i : best;
    assert_true(best < 13); /* else it would be the last, and nothing would be tested */
    assert_int_equal(run_state(r)->best_epoch, best + 1);
    double kept = run_state(r)->validation.loss / run_state(r)->validation.weight;
    assert_true(kept == t.val_loss[best]);
    /* A run that ends there has the same weights. */
    char epochs[12];
    snprintf(epochs, sizeof epochs, "%d", best + 1);
    struct text_pair shorter[] = {{"epochs", epochs}, {"learning_rate", "1.5"}};
    struct run *s = trained(&c, shorter, 2, &u);
    float *x = params_of(r, &n), *y = params_of(s, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, sizeof *x * (size_t)n);
    free(x);
    free(y);
    run_close(&r);
    run_close(&s);
    bench_close(&b);
    bench_close(&c);
}

static void balanced_weights_are_those_of_the_classes(void **state)
{
    (void)state;
    struct bench b, c;
    struct told t, u;
    int64_t counts[10], all = 0, n, m;
    char text[400] = "";
    struct text_pair balanced = {"class_weights", "balanced"}, given = {"class_weights", text};
    struct run *r = trained(&b, &balanced, 1, &t);
    dataset_classes(b.data, DATASET_TRAIN, counts, 10);
    for (int i = 0; i < 10; i++)
        all += counts[i];
    for (int i = 0; i < 10; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.9g", i ? ", " : "",
                 (double)(float)((double)all / (10.0 * (double)counts[i])));
    struct run *s = trained(&c, &given, 1, &u);
    float *x = params_of(r, &n), *y = params_of(s, &m);
    assert_memory_equal(x, y, sizeof *x * (size_t)n);
    free(x);
    free(y);
    run_close(&r);
    run_close(&s);
    bench_close(&b);
    bench_close(&c);
}

/* Gradients of a step are sums over its micro-batches: their size changes nothing but the order of sums. */
static void micro_batches_add_up(void **state)
{
    (void)state;
    struct text_pair small[] = {{"epochs", "1"}, {"micro_batch_size", "5"}}, whole[] = {{"epochs", "1"}};
    struct bench b, c;
    struct told t, u;
    int64_t n, m;
    double worst = 0;
    struct run *r = trained(&b, small, 2, &t), *s = trained(&c, whole, 1, &u);
    assert_int_equal(net_max_rows(run_net(r)), 5);
    assert_int_equal(net_max_rows(run_net(s)), 32);
    float *x = params_of(r, &n), *y = params_of(s, &m);
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)(x[i] - y[i])));
    assert_true(worst < 1e-4 && n == m);
    free(x);
    free(y);
    run_close(&r);
    run_close(&s);
    bench_close(&b);
    bench_close(&c);
}

static void metrics_keep_their_pace(void **state)
{
    (void)state;
    struct text_pair every[] = {{"metrics_every", "1"}}, third[] = {{"metrics_every", "3"}};
    struct bench b;
    struct told t;
    struct run *r = trained(&b, every, 1, &t);
    int64_t steps = run_total_steps(r), an_epoch = steps / 6;
    assert_int_equal(t.records, steps);
    run_close(&r);
    bench_close(&b);
    r = trained(&b, third, 1, &t);
    /* every third, unless fewer than three steps are left to the epoch's own */
    assert_int_equal(t.records, 6 * ((an_epoch - 3) / 3 + 1));
    run_close(&r);
    bench_close(&b);
}

static void time_ends_it(void **state)
{
    (void)state;
    struct text_pair more[] = {{"epochs", "1000000"}, {"learning_rate", "0.001"}};
    struct bench b;
    struct told t;
    struct run_watch w = told_watch(&t);
    struct fail why;
    bench_open(&b, more, 2);
    b.job.max_runtime_s = 1;
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0);
    assert_true(run_state(r)->step < run_total_steps(r));
    assert_true(run_state(r)->elapsed_s >= 1 && run_state(r)->elapsed_s < 30);
    assert_true(t.epochs >= 1); /* it ends with a validation */
    run_close(&r);
    bench_close(&b);
}

/* ---- rules ---- */

static const struct health_settings all_warn = {
    .action = {HEALTH_STOP, HEALTH_WARN, HEALTH_WARN, HEALTH_WARN, HEALTH_WARN, HEALTH_WARN}, .patience = 3};

static const struct health_look well = {.norm = 1, .first = 0.1, .last = 0.2, .largest = 1, .dead = 0.1};

static unsigned step_of(struct health_state *s, struct health_look look)
{
    return health_step(&all_warn, s, &look, 1, 64);
}

static void rules_of_a_step(void **state)
{
    (void)state;
    struct health_state s = health_begin();
    struct health_look look = well;
    for (int i = 0; i < 10; i++)
        assert_int_equal(step_of(&s, well), 0);
    look.norm = 99; /* not yet a hundred times the mean */
    assert_int_equal(step_of(&s, look), 0);
    for (int i = 0; i < 60; i++)
        assert_int_equal(step_of(&s, well), 0);
    look.norm = 120;
    assert_int_equal(step_of(&s, look), 1u << HEALTH_EXPLODING);
    assert_int_equal(step_of(&s, look), 0); /* told once ... */
    assert_int_equal(step_of(&s, well), 0);
    assert_int_equal(step_of(&s, look), 1u << HEALTH_EXPLODING); /* ... until it was well again */
    assert_int_equal(step_of(&s, well), 0);
    look = well;
    look.largest = 2e6;
    assert_int_equal(step_of(&s, look), 1u << HEALTH_EXPLODING);
    look.largest = NAN;
    assert_int_equal(step_of(&s, look), 1u << HEALTH_NON_FINITE);
    s = health_begin();
    assert_int_equal(health_step(&all_warn, &s, &well, INFINITY, 64), 1u << HEALTH_NON_FINITE);
    s = health_begin();
    look = well;
    look.first = 1e-7;
    assert_int_equal(step_of(&s, look), 0);
    assert_int_equal(step_of(&s, look), 0);
    assert_int_equal(step_of(&s, look), 1u << HEALTH_VANISHING);
    look = well;
    look.dead = 0.6;
    assert_int_equal(step_of(&s, look), 0);
    assert_int_equal(step_of(&s, look), 0);
    assert_int_equal(step_of(&s, look), 1u << HEALTH_DEAD_RELU);
    s = health_begin();
    for (int i = 0; i < 10; i++) /* too few rows to say that a unit is dead */
        assert_int_equal(health_step(&all_warn, &s, &look, 1, 8), 0);
}

static void rules_of_an_epoch(void **state)
{
    (void)state;
    struct health_state s = health_begin();
    static const double falling[] = {3, 2, 1.5, 1.6, 1.7, 1.55, 1.4};
    for (int i = 0; i < 7; i++)
        assert_int_equal(health_epoch(&all_warn, &s, falling[i], NAN), i == 5 ? 1u << HEALTH_NOT_FALLING : 0);
    s = health_begin();
    static const double loss[] = {3, 2, 1, 0.9, 0.8, 0.7, 0.6}, val[] = {3, 2, 1.5, 1.6, 1.5, 1.7, 1.4};
    for (int i = 0; i < 7; i++)
        assert_int_equal(health_epoch(&all_warn, &s, loss[i], val[i]), i == 5 ? 1u << HEALTH_OVERFITTING : 0);
    struct health_settings off = {.patience = 1};
    s = health_begin();
    for (int i = 0; i < 5; i++)
        assert_int_equal(health_epoch(&off, &s, 3 + i, 3 + i), 0);
    assert_int_equal(health_step(&off, &s, &(struct health_look){.norm = 1e9, .largest = 1}, 1, 64), 0);
}

/* Twelve layers of sigmoids from small weights: hardly a gradient comes back to the first. */
static void deep_sigmoids_vanish(void **state)
{
    (void)state;
    char text[1400] = "network: deep\ninput: [1, 4, 4]\nlabels: 10\nlayers:\n";
    struct bench b;
    struct told t;
    struct run_watch w = told_watch(&t);
    struct fail why;
    for (int i = 0; i < 12; i++)
        strcat(text, "  - dense: {units: 24, activation: sigmoid}\n");
    strcat(text, "  - dense: {units: 10}\n");
    bench_open(&b, NULL, 0);
    graph_free(&b.graph);
    assert_int_equal(job_network(&b.graph, text, &why), 0);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0);
    assert_true(t.health[HEALTH_VANISHING] == HEALTH_WARN);
    assert_true(t.health[HEALTH_DEAD_RELU] == 0);
    run_close(&r);
    bench_close(&b);
}

static void dead_units_are_seen(void **state)
{
    (void)state;
    struct text_pair more[] = {{"metrics_every", "1"}, {"learning_rate", "0.01"}};
    struct bench b;
    struct told t;
    struct run_watch w = told_watch(&t);
    struct fail why;
    float low[24];
    int found = 0;
    for (int healthy = 0; healthy < 2; healthy++) {
        w = told_watch(&t);
        bench_open(&b, more, 2);
        struct run *r = bench_run(&b);
        for (int i = 0; i < 24; i++)
            low[i] = healthy ? 0.1f : -1000;
        for (int i = 0; i < net_param_count(run_net(r)); i++)
            if (strcmp(net_param_name(run_net(r), i), "dense1.bias") == 0 && ++found)
                assert_int_equal(net_param_set(run_net(r), i, low, &why), 0);
        assert_int_equal(run_train(r, &w, &why), 0);
        assert_true(t.health[HEALTH_DEAD_RELU] == (healthy ? 0 : HEALTH_WARN));
        run_close(&r);
        bench_close(&b);
    }
    assert_int_equal(found, 2);
}

/* Labels that say nothing can only be learnt by heart. */
static void learning_by_heart_is_stopped(void **state)
{
    (void)state;
    struct text_pair more[] = {{"epochs", "150"}, {"health_overfitting", "stop"}, {"health_patience", "4"}};
    static float pixels[ROWS][SIZE];
    static int32_t labels[ROWS];
    struct rows rows = {.dtype = DTYPE_FP32,
                        .row_shape = SHAPE(1, 4, 4),
                        .count = ROWS,
                        .row_size = sizeof pixels[0],
                        .data = pixels,
                        .labels = labels};
    struct dataset_options o = {.validation_rate = 0.2};
    struct bench b;
    struct told t;
    struct run_watch w = told_watch(&t);
    struct fail why;
    struct rng rng = rng_seed(4);
    bench_open(&b, more, 3);
    for (int i = 0; i < ROWS; i++) {
        labels[i] = (int32_t)rng_below(&rng, 10);
        for (int k = 0; k < SIZE; k++)
            pixels[i][k] = (float)rng_normal(&rng);
    }
    dataset_free(&b.data);
    assert_int_equal(dataset_new(&b.data, &o, &why), 0);
    assert_int_equal(dataset_add_rows(b.data, &rows, "noise", &why), 0);
    assert_int_equal(dataset_finish(b.data, b.graph, loss_find("cross_entropy"), &why), 0);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), 0); /* the version is made */
    assert_int_equal(run_stopped_by(r), HEALTH_OVERFITTING);
    assert_true(t.health[HEALTH_OVERFITTING] == HEALTH_STOP);
    assert_true(run_state(r)->epoch < 150 && run_state(r)->epoch > 4);
    run_close(&r);
    bench_close(&b);
}

static void a_well_run_is_left_alone(void **state)
{
    (void)state;
    struct bench b;
    struct told t;
    struct run *r = trained(&b, NULL, 0, &t);
    for (int i = 0; i < HEALTH_RULES; i++)
        assert_true(t.health[i] == 0);
    assert_int_equal(run_stopped_by(r), -1);
    run_close(&r);
    bench_close(&b);
}

/* ---- checkpoints ---- */

static void damaged_bytes_are_refused(void **state)
{
    (void)state;
    struct text_pair more = {"restore_best", "true"};
    struct bench b;
    struct seen seen = {.stop_at = 25}; /* behind two epochs: the best one is in it */
    struct run_watch w = watch_of(&seen);
    struct fail why = {0};
    void *bytes, *again;
    size_t size, again_size;
    bool same_plan;
    bench_open(&b, &more, 1);
    struct run *r = bench_run(&b);
    assert_int_equal(run_train(r, &w, &why), -E_INTERRUPTED);
    assert_true(run_state(r)->best_epoch > 0);
    assert_int_equal(checkpoint_print(r, &bytes, &size, &why), 0);
    run_close(&r);
    r = bench_run(&b);
    for (size_t n = 0; n < size; n++) {
        char *cut = malloc(n ? n : 1); /* exactly: a sanitizer sees a byte too far */
        memcpy(cut, bytes, n);
        int rc = checkpoint_parse(r, "cut", cut, n, &same_plan, &why);
        free(cut);
        if (rc != -E_FILE)
            fail_msg("cut to %zu of %zu bytes: %d", n, size, rc);
    }
    for (size_t n = 0; n < size; n += 1 + n / 300) { /* all of the header, samples behind it */
        ((char *)bytes)[n] ^= 4;
        int rc = checkpoint_parse(r, "changed", bytes, size, &same_plan, &why);
        ((char *)bytes)[n] ^= 4;
        if (rc != -E_FILE)
            fail_msg("byte %zu changed: %d", n, rc);
    }
    assert_int_equal(run_state(r)->step, 0); /* nothing of them was taken */
    if (checkpoint_parse(r, "whole", bytes, size, &same_plan, &why))
        fail_msg("%s", why.text);
    assert_int_equal(run_state(r)->step, 25);
    assert_int_equal(checkpoint_print(r, &again, &again_size, &why), 0);
    assert_int_equal(again_size, size);
    assert_memory_equal(again, bytes, size);
    run_close(&r);
    free(bytes);
    free(again);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_epoch_is_restored),
        cmocka_unit_test(balanced_weights_are_those_of_the_classes),
        cmocka_unit_test(micro_batches_add_up),
        cmocka_unit_test(metrics_keep_their_pace),
        cmocka_unit_test(time_ends_it),
        cmocka_unit_test(rules_of_a_step),
        cmocka_unit_test(rules_of_an_epoch),
        cmocka_unit_test(deep_sigmoids_vanish),
        cmocka_unit_test(dead_units_are_seen),
        cmocka_unit_test(learning_by_heart_is_stopped),
        cmocka_unit_test(a_well_run_is_left_alone),
        cmocka_unit_test(damaged_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
