/* The life of versions on a real broker: numbers are never given twice, a new version is held against the champion on the same
 * rows, people approve, reject and retire, and all of it is in the topics and the store alone. */
#include "engine/files/onnx.h"

#include "tests/lib/model.h"
#include "tests/worker/train/place.h"

#include "tests/lib/graphs.h"

static const char *model_file(const char *name)
{
    struct fail why;
    struct graph *g = graph_lenet();
    void *bytes;
    size_t size;
    const char *path = test_path(name);
    if (onnx_print(g, &bytes, &size, &why))
        fail_msg("%s", why.text);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    free(bytes);
    graph_free(&g);
    return path;
}

static const char *config_of(struct place *p, const char *slot, const char *roles)
{
    return stage_config(&p->s, &(struct stage_settings){.slot = slot,
                                                        .roles = roles,
                                                        .kafka = "  session.timeout.ms: 6000\n"
                                                                 "  heartbeat.interval.ms: 500\n",
                                                        .rest = "engine: {backend: cpu, threads: 1}\n"
                                                                "log: {format: text, level: debug}\n"});
}

static void start_import(struct place *p, struct process *import, const char *log, const char *file)
{
    process_start(import, log,
                  (const char *const[]){test_millrace(), "models", "import", file, "--model", "digits", "-c",
                                        p->s.config, "--timeout", "60", NULL});
}

static void versions_expect(struct place *p, const char *count)
{
    stage_checker(&p->s, &p->r, 60, "models", "--model", "digits", "--versions", count, NULL);
    result_expect(&p->r, 0);
}

/* Imports are answered by the trainer that has a job in hand. */
static void two_imports_and_a_training_at_once(void **state)
{
    (void)state;
    struct place p;
    struct process one = {0}, two = {0};
    char job_id[200];
    place_open(&p);
    const char *file = model_file("import.onnx");
    place_worker(&p);
    submit_detached(&p, p.job, job_id);
    start_import(&p, &one, "one.log", file);
    start_import(&p, &two, "two.log", file);
    assert_int_equal(process_wait(&one, LIMIT_MS), 0);
    assert_int_equal(process_wait(&two, LIMIT_MS), 0);
    assert_true(process_wait_text(&p.worker, "version made", 1, LIMIT_MS));
    versions_expect(&p, "3");
    metrics_check(&p, job_id);
    place_close(&p);
}

/* Whichever it notices first: its session is over, or its transaction is refused. */
static bool has_left(void *worker)
{
    return process_count_text(worker, "session is opened again") ||
           process_count_text(worker, "job left as it was committed");
}

/* A trainer that slept while another took its job over wakes up, goes on to the end and wants to publish: its number is not
 * given a second time, nor is its version. */
static void a_zombie_makes_no_version(void **state)
{
    (void)state;
    struct place p;
    struct process other = {0};
    char job_id[200];
    place_open(&p);
    const char *file = model_file("import.onnx");
    p.job = test_write(test_path("quiet.yaml"),
                       "model: digits\nnetwork: lenet\nvalidation_rate: 0.1\ncheckpoint_every: 2000000000\n"
                       "hyperparameters: {learning_rate: 0.02, batch_size: 32, epochs: 8, seed: 1}\n");
    stage_worker(&p.s, &p.worker, config_of(&p, "a", "[train]"));
    assert_true(process_wait_text(&p.worker, "trainer is ready", 1, LIMIT_MS));
    submit_detached(&p, p.job, job_id);
    assert_true(process_wait_text(&p.worker, "data set read", 1, LIMIT_MS));
    process_signal(&p.worker, SIGSTOP);
    stage_worker(&p.s, &other, config_of(&p, "b", "[train]"));
    assert_true(process_wait_text(&other, "version made", 1, LIMIT_MS));
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "import", file, "--model", "digits", NULL);
    result_expect(&p.r, 0);
    assert_non_null(strstr(p.r.out, "digits@2"));
    process_signal(&p.worker, SIGCONT);
    assert_true(wait_until(has_left, &p.worker, LIMIT_MS));
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "import", file, "--model", "digits", NULL);
    result_expect(&p.r, 0);
    assert_non_null(strstr(p.r.out, "digits@3"));
    versions_expect(&p, "3");
    assert_int_equal(process_count_text(&p.worker, "version made"), 0);
    metrics_check(&p, job_id);
    process_kill(&other);
    process_kill(&p.worker);
    place_close(&p);
}

/* Version 1 is a champion with weights of a seed and no metric in its event: only its answers can tell. */
static void the_champion_is_judged_on_the_same_rows(void **state)
{
    (void)state;
    struct place p;
    place_open(&p);
    stage_model(&p.s, "digits", 1, 7, true);
    place_worker(&p);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", job_file("good.yaml", "digits", 2), "--dataset", p.ranges,
              "--json", NULL);
    result_expect(&p.r, 0);
    json_t *v = json_of(&p.r);
    assert_int_equal(number_at(v, "version"), 2);
    assert_true(json_is_true(json_object_get(v, "promoted")));
    json_decref(v);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "show", "digits@2", NULL);
    result_expect(&p.r, 0);
    assert_non_null(strstr(p.r.out, "the champion's, version 1, on the same rows 0."));
    const char *bad = test_write(test_path("bad.yaml"),
                                 "model: digits\nnetwork: lenet\nvalidation_rate: 0.1\n"
                                 "hyperparameters: {learning_rate: 1e-7, batch_size: 32, epochs: 1}\n"
                                 "promote: {metric: val_loss, minimize: true, automatic: true}\n");
    stage_run(&p.s, &p.r, LIMIT_MS, "train", bad, "--dataset", p.ranges, "--json", NULL);
    result_expect(&p.r, 0);
    v = json_of(&p.r);
    assert_int_equal(number_at(v, "version"), 3);
    assert_true(json_is_false(json_object_get(v, "promoted")));
    json_decref(v);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "show", "digits@3", "--json", NULL);
    result_expect(&p.r, 0);
    v = json_of(&p.r);
    assert_non_null(strstr(text_at(v, "reason"), "not better"));
    assert_int_equal(json_array_size(json_object_get(v, "dataset")), 1);
    assert_int_equal(json_array_size(json_object_get(v, "aliases")), 0);
    assert_string_equal(text_at(json_object_get(v, "hyperparameters"), "seed"),
                        "1"); /* the job left it out */
    assert_int_equal(strlen(text_at(v, "dataset_sha256")), 64);
    assert_int_equal(strlen(text_at(v, "sha256")), 64);
    assert_true(json_is_real(json_object_get(json_object_get(v, "metrics"), "val_loss")));
    json_decref(v);
    place_close(&p);
}

static void models(struct place *p, int code, const char *word, const char *operand, const char *says)
{
    stage_run(&p->s, &p->r, LIMIT_MS, "models", word, operand, "--reason", "a test", NULL);
    result_expect(&p->r, code);
    if (!strstr(code ? p->r.err : p->r.out, says))
        fail_msg("models %s %s: \"%s\" is expected in %s%s", word, operand, says, p->r.out, p->r.err);
}

static void people_judge(void **state)
{
    (void)state;
    struct place p = {0};
    stage_open(&p.s, broker_shared());
    stage_run(&p.s, &p.r, LIMIT_MS, "topics", "create", NULL);
    result_expect(&p.r, 0);
    stage_model(&p.s, "m", 1, 1, true);
    stage_model(&p.s, "m", 2, 2, false);
    models(&p, 0, "approve", "m@2", "m@2 is APPROVED now");
    models(&p, 0, "reject", "m@2", "m@2 is REJECTED now");
    models(&p, 1, "promote", "m@2", "m@2 is REJECTED");
    models(&p, 0, "approve", "m@2", "m@2 is APPROVED now");
    models(&p, 1, "reject", "m@1", "m@champion means version 1");
    models(&p, 1, "retire", "m@1", "m@champion means version 1");
    models(&p, 0, "promote", "m@2", "m@champion means version 2 now");
    models(&p, 0, "retire", "m@1", "m@1 is RETIRED now");
    models(&p, 1, "approve", "m@1", "for good");
    models(&p, 1, "rollback", "m", "m@1 is RETIRED");
    models(&p, 1, "approve", "m@3", "there is no version m@3");
    models(&p, 2, "approve", "m", "NAME@VERSION");
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "promote", "m@2", "--alias", "challenger", "--traffic", "0.1",
              NULL);
    result_expect(&p.r, 0);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", NULL);
    result_expect(&p.r, 0);
    assert_non_null(strstr(p.r.out, "challenger (10 %), champion"));
    assert_non_null(strstr(p.r.out, "RETIRED"));
    assert_non_null(strstr(p.r.out, " s  ")); /* its age */
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "show", "m@1", "--json", NULL);
    json_t *v = json_of(&p.r); /* the event repeats the whole record */
    assert_string_equal(text_at(v, "event"), "RETIRED");
    assert_string_equal(text_at(v, "reason"), "a test");
    assert_int_equal(strlen(text_at(v, "sha256")), 64);
    assert_int_equal(json_array_size(json_object_get(json_object_get(v, "input"), "shape")), 3);
    json_decref(v);
    result_free(&p.r);
}

static void send(struct place *p, const char *rows)
{
    stage_run(&p->s, &p->r, LIMIT_MS, "send", p->data, "--model", "digits", NULL);
    result_expect(&p->r, 0);
    stage_check(&p->s, &p->r, 90, "--inputs", rows, NULL);
    result_expect(&p->r, 0);
}

static char *output(struct place *p, const char *command, const char *word, const char *operand)
{
    stage_run(&p->s, &p->r, LIMIT_MS, command, "--json", word, operand, NULL);
    result_expect(&p->r, 0);
    return strdup(p->r.out);
}

/* All state folders deleted: everything is known again from topics and store. */
static void topics_and_store_are_all(void **state)
{
    (void)state;
    struct place p;
    char *before[3], *after;
    place_open(&p);
    const char *file = model_file("import.onnx");
    p.config = config_of(&p, "a", "[infer, train]");
    place_worker(&p);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", job_file("short.yaml", "digits", 1), "--dataset", p.ranges,
              NULL);
    result_expect(&p.r, 0);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "import", file, "--model", "digits", NULL);
    result_expect(&p.r, 0);
    send(&p, "94"); /* 1500 rows, 16 a record */
    stage_run(&p.s, &p.r, LIMIT_MS, "rescore", "digits@2", "--from", "0", "--to", "50", NULL);
    result_expect(&p.r, 0);
    before[0] = output(&p, "models", NULL, NULL);
    before[1] = output(&p, "jobs", NULL, NULL);
    before[2] = output(&p, "models", "show", "digits@1");
    process_kill(&p.worker);
    char folder[300];
    snprintf(folder, sizeof folder, "%s/state", p.s.dir);
    result_runl(&p.r, LIMIT_MS, "rm", "-r", folder, NULL);
    result_expect(&p.r, 0);
    place_worker(&p);
    for (int i = 0; i < 3; i++) {
        after = output(&p, i == 1 ? "jobs" : "models", i == 2 ? "show" : NULL, i == 2 ? "digits@1" : NULL);
        assert_string_equal(after, before[i]);
        free(before[i]);
        free(after);
    }
    send(&p, "188");
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "import", file, "--model", "digits", NULL);
    result_expect(&p.r, 0);
    assert_non_null(strstr(p.r.out, "digits@3"));
    stage_run(&p.s, &p.r, LIMIT_MS, "rescore", "digits@2", "--from", "0", "--to", "50", "--json", NULL);
    result_expect(&p.r, 0);
    assert_non_null(strstr(p.r.out, "\"records\":0,\"rows\":0,\"already\":50"));
    versions_expect(&p, "3");
    place_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(people_judge),
        cmocka_unit_test(the_champion_is_judged_on_the_same_rows),
        cmocka_unit_test(two_imports_and_a_training_at_once),
        cmocka_unit_test(topics_and_store_are_all),
        cmocka_unit_test(a_zombie_makes_no_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
