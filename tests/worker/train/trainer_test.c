/* The trainer between topics in memory: what a job leaves behind, the same whatever kills the worker and
 * when; jobs that fail, stop, import, and come twice. Fixed seeds, printed. */
#include "tests/worker/train/memory_stage.h"

static void one_job(void **state)
{
    (void)state;
    struct stage *s = stage_open(1);
    struct training_job job = job_make("j1");
    struct registry *r = NULL;
    struct outcome o;
    struct fail why;
    submit(&job);
    life(s, 0);
    outcome_of("j1", &o);
    assert_true(o.metrics >= 4 + 2); /* start, four epochs at least, end */
    assert_int_equal(o.created, 1);
    assert_int_equal(o.promoted, 1);
    assert_int_equal(o.completed, 1);
    assert_int_equal(o.version, 1);
    assert_int_equal(s->m.committed[0], 1);
    artefact_exists(s, o.sha256);
    assert_int_equal(registry_load(&r, &s->m.settings, 1000, &why), 0);
    const struct model_version_event *v = registry_version(r, "m", 1),
                                     *a = registry_alias(r, "m", "champion");
    assert_non_null(v);
    assert_non_null(a);
    assert_int_equal(a->version, 1);
    assert_int_equal(a->previous_version, 0);
    assert_string_equal(a->sha256, v->sha256);
    assert_int_equal(v->dataset_count, 2);
    assert_int_equal(strlen(v->dataset_sha256), 64);
    assert_int_equal(v->input_rank, 3);
    assert_true(v->hyperparameter_count == 5 && v->metric_count > 4);
    assert_string_equal(v->hyperparameters[4].key, "seed"); /* the job left it out */
    assert_string_equal(v->hyperparameters[4].value, "1");
    for (int t = TOPIC_METRICS; t <= TOPIC_CHECKPOINTS; t++) {
        const struct memory_record *first = &s->m.topics[t].records[0];
        assert_true(header_is(first, "src.topic", "jobs"));
        assert_true(header_is(first, "src.partition", "0"));
        assert_true(header_is(first, "src.offset", "0"));
        assert_true(header_is(first, "millrace.schema", "1"));
    }
    registry_free(&r);
    stage_close(s);
}

/* Killed at every call in turn, and once more in the next life. */
static void kills_change_nothing(void **state)
{
    (void)state;
    struct outcome whole, o;
    struct stage *s = stage_open(1);
    struct training_job job = job_make("j1");
    submit(&job);
    life(s, 0);
    outcome_of("j1", &whole);
    int calls = s->m.calls;
    stage_close(s);
    assert_true(calls > 60);
    for (int k = 1; k <= calls; k++) {
        s = stage_open(1);
        job = job_make("j1");
        submit(&job);
        life(s, k);
        life(s, 1 + k / 2);
        life(s, 0);
        outcome_of("j1", &o);
        if (o.metrics != whole.metrics || o.created != 1 || o.promoted != 1 || o.completed != 1 ||
            strcmp(o.sha256, whole.sha256) != 0 || s->m.committed[0] != 1)
            fail_msg("killed at call %d of %d: metrics %d of %d, created %d, completed %d, sha256 %s and %s",
                     k, calls, o.metrics, whole.metrics, o.created, o.completed, o.sha256, whole.sha256);
        stage_close(s);
    }
}

static void failures_leave_the_worker_alive(void **state)
{
    (void)state;
    struct stage *s = stage_open(1);
    struct text_pair unknown[] = {{"learning_rte", "1"}};
    struct offset_range gone = {"samples", 0, 0, 8};
    struct outcome o;
    struct training_job job = job_make("unknown-key");
    job.hyperparameters = unknown;
    job.hyperparameter_count = 1;
    submit(&job);
    job = job_make("no-network");
    job.network = "lanet";
    submit(&job);
    s->m.topics[TOPIC_SAMPLES].start[0] = 2;
    job = job_make("gone");
    job.dataset = &gone;
    job.dataset_count = 1;
    submit(&job);
    job = job_make("bad-base");
    job.network = "";
    job.base_version = 9;
    submit(&job);
    job = job_make("good");
    job.dataset[0].start_offset = 2;
    submit(&job);
    life(s, 0);
    static const char *const ids[] = {"unknown-key", "no-network", "gone", "bad-base"};
    static const char *const said[] = {"learning_rate", "lenet", "begins at", "no version 9"};
    for (int i = 0; i < 4; i++) {
        outcome_of(ids[i], &o);
        if (o.failed != 1 || o.created || !strstr(o.reason, said[i]))
            fail_msg("%s: failed %d, created %d, reason %s", ids[i], o.failed, o.created, o.reason);
    }
    outcome_of("good", &o);
    assert_int_equal(o.completed, 1);
    assert_int_equal(s->m.committed[0], 5);
    stage_close(s);
}

static void poison_is_a_dead_letter(void **state)
{
    (void)state;
    struct stage *s = stage_open(1);
    struct training_job job = job_make("");
    memory_append(TOPIC_JOBS, 0, (struct span){"m", 1}, (struct span){"\x01garbage", 8}, NULL, 0);
    memory_append(TOPIC_JOBS, 0, (struct span){"m", 1}, (struct span){NULL, 0}, NULL, 0);
    submit(&job);
    life(s, 0);
    const struct memory_topic *dead = &s->m.topics[TOPIC_DEAD_LETTERS];
    assert_int_equal(dead->count, 3);
    assert_memory_equal(dead->records[0].value.data, "\x01garbage", 8);
    assert_true(header_is(&dead->records[0], "dlq.stage", "train"));
    assert_true(header_is(&dead->records[1], "dlq.reason", "empty"));
    assert_true(header_is(&dead->records[2], "dlq.reason", "bad_request"));
    assert_int_equal(s->m.committed[0], 3);
    stage_close(s);
}

static void the_same_job_twice(void **state)
{
    (void)state;
    struct stage *s = stage_open(1);
    struct training_job job = job_make("j1");
    struct outcome o;
    submit(&job);
    submit(&job);
    life(s, 0);
    submit(&job);
    life(s, 0);
    outcome_of("j1", &o);
    assert_int_equal(o.created, 1);
    assert_int_equal(o.completed, 1);
    assert_int_equal(s->m.committed[0], 3);
    stage_close(s);
}

static void the_better_becomes_champion(void **state)
{
    (void)state;
    struct stage *s = stage_open(1);
    struct text_pair poor[] = {{"epochs", "1"}, {"batch_size", "0"}, {"learning_rate", "0"}};
    struct outcome o;
    struct training_job job = job_make("poor");
    job.hyperparameters = poor;
    job.hyperparameter_count = 3;
    submit(&job);
    job = job_make("better");
    submit(&job);
    job = job_make("poor-again");
    job.hyperparameters = poor;
    job.hyperparameter_count = 3;
    submit(&job);
    job = job_make("not-much-better");
    job.promote_min_improvement = 0.5;
    submit(&job);
    life(s, 0);
    static const struct {
        const char *id;
        int promoted;
    } wanted[] = {{"poor", 1}, {"better", 1}, {"poor-again", 0}, {"not-much-better", 0}};
    for (int i = 0; i < 4; i++) {
        outcome_of(wanted[i].id, &o);
        assert_int_equal(o.created, 1);
        assert_int_equal(o.promoted, wanted[i].promoted);
        assert_int_equal(o.version, i + 1);
    }
    stage_close(s);
}

/* ---- STOP and IMPORT while a job runs: they are produced at its twentieth call ---- */

static struct training_job *late;
static int late_count;

static void produce_late(struct memory *m)
{
    if (m->calls != 20)
        return;
    for (int i = 0; i < late_count; i++)
        submit(&late[i]);
    usleep(210000); /* control looks five times a second */
}

static void long_job(struct training_job *job)
{
    static struct text_pair hyper[] = {{"epochs", "400"}, {"batch_size", "16"}, {"learning_rate", "0.1"}};
    job->hyperparameters = hyper;
    job->hyperparameter_count = 3;
    job->checkpoint_every = 0;
}

static void stop_while_it_runs(void **state)
{
    (void)state;
    struct stage *s = stage_open(1);
    struct training_job job = job_make("long"), queued = job_make("queued"), stops[2];
    struct outcome o;
    long_job(&job);
    stops[0] = queued, stops[0].action = ACTION_STOP;
    stops[1] = job, stops[1].action = ACTION_STOP;
    late = stops;
    late_count = 2;
    submit(&job);
    submit(&queued);
    s->m.on_call = produce_late;
    life(s, 0);
    outcome_of("long", &o);
    assert_int_equal(o.stopped, 1);
    assert_int_equal(o.created, 0);
    assert_true(o.last_step > 0 && o.last_step < 400 * 16);
    outcome_of("queued", &o);
    assert_int_equal(o.stopped, 1);
    assert_int_equal(o.metrics, 1);
    assert_int_equal(o.created, 0);
    assert_int_equal(s->m.committed[0], 4);
    stage_close(s);
}

static void stop_worker_later(struct memory *m)
{
    m->stopping |= m->calls == 60;
}

/* A worker that is asked to stop leaves its job at the step it has reached, not at the last epoch's end; the next one goes
 * on from there to the same weights. */
static void a_job_is_left_where_it_stands(void **state)
{
    (void)state;
    struct outcome whole, o;
    struct training_job job;
    struct region mem = {0};
    struct job_checkpoint c = {0};
    struct fail why;
    for (int stopped = 0; stopped < 2; stopped++) {
        struct stage *s = stage_open(1);
        job = job_make("j1");
        job.checkpoint_every = 0; /* an epoch: 16 steps */
        submit(&job);
        s->m.on_call = stopped ? stop_worker_later : NULL;
        life(s, 0);
        if (stopped) {
            const struct memory_topic *t = &s->m.topics[TOPIC_CHECKPOINTS];
            assert_int_equal(job_checkpoint_decode(&c, t->records[t->count - 1].value, &mem, &why), 0);
            assert_int_equal(c.state, JOB_TRAINING);
            assert_int_equal(s->m.committed[0], 0); /* the job's record is the next one's */
            assert_true(c.step > 0 && c.step % 16 != 0);
            s->m.stopping = false;
            life(s, 0);
        }
        outcome_of("j1", stopped ? &o : &whole);
        stage_close(s);
    }
    assert_int_equal(o.completed, 1);
    assert_int_equal(o.created, 1);
    assert_string_equal(o.sha256, whole.sha256);
    assert_true(o.metrics >= whole.metrics); /* one more, of the step it was left at */
    region_free(&mem);
}

static void import_while_it_runs(void **state)
{
    (void)state;
    struct stage *s = stage_open(1);
    struct training_job first = job_make("first"), job = job_make("long"), imports[2];
    struct outcome o, made;
    char uri[STORE_URI];
    submit(&first);
    life(s, 0);
    outcome_of("first", &made);
    snprintf(uri, sizeof uri, "%s/m/%s.onnx", s->store, made.sha256);
    imports[0] = job_make("import");
    imports[0].action = ACTION_IMPORT;
    imports[0].artifact_uri = uri;
    imports[0].sha256 = made.sha256;
    imports[1] = imports[0];
    imports[1].job_id = "import-missing";
    imports[1].artifact_uri = "file:///nowhere/x.onnx";
    late = imports;
    late_count = 2;
    job.checkpoint_every = 7;
    submit(&job);
    s->m.on_call = produce_late;
    life(s, 0);
    outcome_of("import", &o);
    assert_int_equal(o.created, 1);
    assert_int_equal(o.completed, 1);
    assert_int_equal(o.version, 2);
    assert_string_equal(o.sha256, made.sha256);
    outcome_of("import-missing", &o);
    assert_int_equal(o.failed, 1);
    outcome_of("long", &o);
    assert_int_equal(o.completed, 1);
    assert_int_equal(o.version, 3);
    assert_string_equal(o.sha256, made.sha256); /* the same training gives the same file */
    assert_int_equal(s->m.committed[0], 4);
    stage_close(s);
}

/* The import's model belongs to another partition of the same worker: it does not wait for the running job. */
static void import_into_another_partition(void **state)
{
    (void)state;
    struct stage *s = stage_open(3);
    struct training_job first = job_make("first"), job = job_make("long"), import;
    struct outcome o, made;
    char uri[STORE_URI], sha256[SHA256_HEX], name[2] = "n";
    void *bytes;
    size_t size;
    struct fail why;
    s->m.partition = partition_of("m", 3);
    submit(&first);
    life(s, 0);
    outcome_of("first", &made);
    snprintf(uri, sizeof uri, "%s/m/%s.onnx", s->store, made.sha256);
    assert_int_equal(store_get(s->store, uri, made.sha256, &bytes, &size, &why), 0);
    while (partition_of(name, 3) == s->m.partition)
        name[0]++;
    assert_int_equal(store_put(s->store, name, NULL, bytes, size, uri, sha256, &why), 0);
    free(bytes);
    import = job_make("import");
    import.action = ACTION_IMPORT;
    import.model = name;
    import.artifact_uri = uri;
    import.sha256 = sha256;
    late = &import;
    late_count = 1;
    submit(&job);
    s->m.on_call = produce_late;
    life(s, 0);
    outcome_of("import", &o);
    assert_int_equal(o.created, 0); /* not ours */
    job.job_id = "long2";
    submit(&job);
    s->m.also = partition_of(name, 3);
    s->m.on_call = NULL;
    life(s, 0);
    outcome_of("import", &o);
    assert_int_equal(o.created, 1);
    assert_int_equal(o.version, 1);
    outcome_of("long2", &o);
    assert_int_equal(o.completed, 1);
    stage_close(s);
}

static void import_when_idle(void **state)
{
    (void)state;
    struct stage *s = stage_open(1);
    struct training_job first = job_make("first"), import = job_make("import");
    struct outcome o, made;
    char uri[STORE_URI];
    submit(&first);
    life(s, 0);
    outcome_of("first", &made);
    snprintf(uri, sizeof uri, "%s/m/%s.onnx", s->store, made.sha256);
    import.action = ACTION_IMPORT;
    import.artifact_uri = uri;
    import.sha256 = made.sha256;
    submit(&import);
    life(s, 0);
    life(s, 0);
    outcome_of("import", &o);
    assert_int_equal(o.created, 1);
    assert_int_equal(o.version, 2);
    stage_close(s);
}

static void wrong_partition_is_passed_on(void **state)
{
    (void)state;
    struct stage *s = stage_open(3);
    struct training_job job = job_make("j1");
    struct outcome o;
    int32_t right = partition_of("m", 3), wrong = (right + 1) % 3;
    submit_to(&job, wrong);
    s->m.partition = wrong;
    life(s, 0);
    outcome_of("j1", &o);
    assert_int_equal(o.metrics, 0);
    assert_int_equal(s->m.committed[wrong], 1);
    s->m.partition = right;
    life(s, 0);
    outcome_of("j1", &o);
    assert_int_equal(o.completed, 1);
    assert_int_equal(s->m.committed[right], 1);
    stage_close(s);
}

static void few_checkpoints_stay(void **state)
{
    (void)state;
    struct stage *s = stage_open(1);
    struct training_job job = job_make("j1");
    char command[160], line[16] = "";
    submit(&job);
    life(s, 0);
    snprintf(command, sizeof command, "ls %s/m/checkpoints | wc -l", s->folder);
    FILE *f = popen(command, "r");
    assert_non_null(fgets(line, sizeof line, f));
    pclose(f);
    assert_int_equal(atoi(line), 2);
    stage_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_job),
        cmocka_unit_test(kills_change_nothing),
        cmocka_unit_test(failures_leave_the_worker_alive),
        cmocka_unit_test(poison_is_a_dead_letter),
        cmocka_unit_test(the_same_job_twice),
        cmocka_unit_test(the_better_becomes_champion),
        cmocka_unit_test(stop_while_it_runs),
        cmocka_unit_test(a_job_is_left_where_it_stands),
        cmocka_unit_test(import_while_it_runs),
        cmocka_unit_test(import_into_another_partition),
        cmocka_unit_test(import_when_idle),
        cmocka_unit_test(wrong_partition_is_passed_on),
        cmocka_unit_test(few_checkpoints_stay),
    };
    log_open(LOG_TEXT, LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
