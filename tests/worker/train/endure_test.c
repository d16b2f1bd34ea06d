/* Jobs of every kind of setting between topics in memory, the worker killed at each call in turn: the same weights,
 * each metric once, each dead letter once. Lost and damaged checkpoints, a full disk, health rules. Fixed seeds. */
#include "tests/worker/train/memory_stage.h"
#include "worker/train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char normed[] = "network: normed\ninput: [1, 4, 4]\nlabels: 10\nlayers:\n"
                             "  - conv: {filters: 4, kernel: 3}\n  - batchnorm: {activation: relu}\n"
                             "  - dropout: {rate: 0.1}\n  - dense: {units: 10}\n";

enum { BAD = 5 };

/* Five records that nobody can train on, between the good ones; aborted and compacted records are gaps. */
static void bad_produce(void)
{
    static const int32_t far[] = {10};
    uint8_t row[SIZE] = {0};
    for (int i = 0; i < BAD; i++) {
        struct bytes b = {0};
        struct tensor_view v = {.name = {"", 0}, .dtype = DTYPE_UINT8, .shape = SHAPE(1, 1, 4, 4)};
        v.data = (struct span){(char *)row, sizeof row};
        sample_encode(&b, &v, far, NULL);
        size_t size = i == 0 ? 3 : b.size; /* the first is cut */
        memory->topics[TOPIC_SAMPLES].end[i % 2] += 7;
        memory_append(TOPIC_SAMPLES, i % 2, (struct span){"k", 1}, (struct span){(char *)b.data, size}, NULL,
                      0);
        bytes_free(&b);
    }
    samples_produce();
}

static struct training_job kind_make(const char *id, struct text_pair *hyper, const char *net)
{
    struct training_job job = job_make(id);
    job.hyperparameters = hyper;
    for (job.hyperparameter_count = 0; hyper[job.hyperparameter_count].key;)
        job.hyperparameter_count++;
    job.network = net;
    return job;
}

static struct text_pair everything[] = {{"epochs", "5"},
                                        {"batch_size", "32"},
                                        {"micro_batch_size", "16"},
                                        {"optimizer", "adam"},
                                        {"learning_rate", "0.02"},
                                        {"bad_samples", "skip"},
                                        {"mean", "auto"},
                                        {"std", "auto"},
                                        {"class_weights", "balanced"},
                                        {"restore_best", "true"},
                                        {"metrics_every", "2"},
                                        {"augment_flip", "horizontal"},
                                        {"augment_crop_padding", "1"},
                                        {"augment_noise", "0.05"},
                                        {NULL, NULL}};
static struct text_pair momentum[] = {{"epochs", "4"},     {"batch_size", "16"},    {"learning_rate", "0.05"},
                                      {"momentum", "0.9"}, {"bad_samples", "skip"}, {NULL, NULL}};
/* A rate that is far too high, until the rules have lowered it. */
static struct text_pair wild[] = {{"epochs", "4"},
                                  {"batch_size", "16"},
                                  {"learning_rate", "1"},
                                  {"weight_decay_l2", "10"}, /* weights grow ninefold a step */
                                  {"bad_samples", "skip"},
                                  {"health_non_finite", "lower"},
                                  {"health_exploding", "lower"},
                                  {NULL, NULL}};

static struct stage *scene(struct training_job *job, struct text_pair *hyper, const char *net)
{
    struct stage *s = stage_open(1);
    bad_produce();
    *job = kind_make("j1", hyper, net);
    job->test_rate = 0.1;
    submit(job);
    return s;
}

static void dead_letters_expect(const struct stage *s)
{
    const struct memory_topic *dead = &s->m.topics[TOPIC_DEAD_LETTERS];
    if (dead->count != BAD)
        fail_msg("%d dead letters, expected %d", dead->count, BAD);
    for (int i = 0; i < BAD; i++) {
        assert_true(header_is(&dead->records[i], "dlq.topic", "samples"));
        assert_true(header_is(&dead->records[i], "dlq.stage", "train"));
        assert_memory_equal(dead->records[i].key.data, "k", 1);
    }
    assert_true(header_is(&dead->records[1], "dlq.reason", "bad_request"));
}

static void killed_at_every_call(struct text_pair *hyper, const char *net)
{
    struct training_job job;
    struct outcome whole, o;
    struct stage *s = scene(&job, hyper, net);
    life(s, 0);
    outcome_of("j1", &whole);
    if (!whole.completed)
        fail_msg("%s", whole.reason);
    dead_letters_expect(s);
    int calls = s->m.calls;
    stage_close(s);
    for (int k = 1; k <= calls; k++) {
        s = scene(&job, hyper, net);
        life(s, k);
        life(s, 1 + k / 3);
        life(s, 0);
        outcome_of("j1", &o);
        if (o.metrics != whole.metrics || o.created != 1 || o.completed != 1 ||
            strcmp(o.sha256, whole.sha256) != 0)
            fail_msg("killed at call %d of %d: metrics %d of %d, created %d, completed %d, sha256 %s and %s",
                     k, calls, o.metrics, whole.metrics, o.created, o.completed, o.sha256, whole.sha256);
        dead_letters_expect(s);
        stage_close(s);
    }
}

static void kills_with_every_setting(void **state)
{
    (void)state;
    killed_at_every_call(everything, normed);
}

static void kills_with_momentum_and_batch_norm(void **state)
{
    (void)state;
    killed_at_every_call(momentum, normed);
}

static double number_of(const struct loss_metric *m, const char *key)
{
    for (int i = 0; i < m->metric_count; i++)
        if (strcmp(m->metrics[i].key, key) == 0)
            return m->metrics[i].value;
    return NAN;
}

/* The metric that `is` says yes to, decoded into mem; the last one. */
static struct loss_metric metric_where(struct region *mem, enum job_state state)
{
    struct loss_metric found = {.sequence = 0}, m;
    struct fail why;
    for (int i = 0; i < memory->topics[TOPIC_METRICS].count; i++) {
        assert_int_equal(loss_metric_decode(&m, memory->topics[TOPIC_METRICS].records[i].value, mem, &why),
                         0);
        if (m.state == state)
            found = m;
    }
    assert_true(found.sequence > 0);
    return found;
}

static void what_was_read_and_reached_is_told(void **state)
{
    (void)state;
    struct training_job job;
    struct region mem = {0};
    struct stage *s = scene(&job, everything, normed);
    life(s, 0);
    struct loss_metric m = metric_where(&mem, JOB_DOWNLOADING);
    double train = number_of(&m, "train_rows"), sum = 0;
    char key[40];
    assert_true(number_of(&m, "rows") == 2 * ROWS); /* counted, whatever the offsets say */
    assert_true(number_of(&m, "bad_records") == BAD);
    assert_true(train + number_of(&m, "val_rows") + number_of(&m, "test_rows") == 2 * ROWS);
    for (int k = 0; k < 10; k++) {
        snprintf(key, sizeof key, "train_rows.%d", k);
        sum += number_of(&m, key);
    }
    assert_true(sum == train);
    m = metric_where(&mem, JOB_COMPLETED);
    double rows = 0, right = 0;
    for (int k = 0; k < 10; k++) {
        double are = 0, taken = 0, hits = 0, cell;
        for (int j = 0; j < 10; j++) {
            snprintf(key, sizeof key, "confusion.%d.%d", k, j);
            are += isnan(cell = number_of(&m, key)) ? 0 : cell;
            snprintf(key, sizeof key, "confusion.%d.%d", j, k);
            taken += isnan(cell = number_of(&m, key)) ? 0 : cell;
        }
        snprintf(key, sizeof key, "confusion.%d.%d", k, k);
        hits = isnan(number_of(&m, key)) ? 0 : number_of(&m, key);
        snprintf(key, sizeof key, "recall.%d", k);
        assert_true(fabs(number_of(&m, key) - (are > 0 ? hits / are : 0)) < 1e-12);
        snprintf(key, sizeof key, "precision.%d", k);
        assert_true(fabs(number_of(&m, key) - (taken > 0 ? hits / taken : 0)) < 1e-12);
        snprintf(key, sizeof key, "f1.%d", k);
        assert_true(fabs(number_of(&m, key) - (are + taken > 0 ? 2 * hits / (are + taken) : 0)) < 1e-12);
        rows += are;
        right += hits;
    }
    assert_true(rows == number_of(&m, "test_rows"));
    assert_true(fabs(right / rows - number_of(&m, "test_accuracy")) < 1e-12);
    region_free(&mem);
    stage_close(s);
}

static void too_many_bad_records_fail_it(void **state)
{
    (void)state;
    struct text_pair few[] = {
        {"epochs", "1"}, {"bad_samples", "skip"}, {"bad_samples_max", "4"}, {NULL, NULL}};
    struct text_pair none[] = {{"epochs", "1"}, {NULL, NULL}};
    struct training_job job;
    struct outcome o;
    struct stage *s = scene(&job, few, network);
    life(s, 0);
    outcome_of("j1", &o);
    assert_int_equal(o.failed, 1);
    assert_non_null(strstr(o.reason, "bad_samples_max"));
    assert_int_equal(s->m.topics[TOPIC_DEAD_LETTERS].count, 0);
    stage_close(s);
    s = scene(&job, none, network);
    life(s, 0);
    outcome_of("j1", &o);
    assert_int_equal(o.failed, 1);
    assert_non_null(strstr(o.reason, "offset"));
    stage_close(s);
}

/* ---- checkpoints that are lost ---- */

static int checkpoints(const struct stage *s, char names[8][400])
{
    char folder[128];
    int n = 0;
    snprintf(folder, sizeof folder, "%s/m/checkpoints", s->folder);
    DIR *dir = opendir(folder);
    struct dirent *e;
    while (dir && (e = readdir(dir)))
        if (e->d_name[0] != '.' && n < 8)
            snprintf(names[n++], 400, "%s/%s", folder, e->d_name);
    if (dir)
        closedir(dir);
    return n;
}

static long step_of(const char *name)
{
    return strtol(strrchr(name, '-') + 1, NULL, 10);
}

/* how 0: the newest is cut; 1: a byte of it differs; 2: it is gone; 3: all are cut. */
static void damage(const struct stage *s, int how)
{
    char names[8][400];
    int n = checkpoints(s, names), newest = 0;
    assert_true(n == 2);
    newest = step_of(names[1]) > step_of(names[0]);
    for (int i = 0; i < n; i++) {
        if (i != newest && how != 3)
            continue;
        if (how == 2) {
            assert_int_equal(unlink(names[i]), 0);
        } else if (how == 1) {
            FILE *f = fopen(names[i], "r+");
            assert_non_null(f);
            fseek(f, -5, SEEK_END);
            int c = fgetc(f);
            fseek(f, -5, SEEK_END);
            fputc(c ^ 1, f);
            fclose(f);
        } else {
            assert_int_equal(truncate(names[i], 700), 0);
        }
    }
}

static void damaged_checkpoints_are_not_loaded(void **state)
{
    (void)state;
    struct training_job job;
    struct outcome whole, o;
    struct stage *s = scene(&job, everything, normed);
    life(s, 0);
    outcome_of("j1", &whole);
    int calls = s->m.calls;
    stage_close(s);
    steps_go_back = true;
    for (int how = 0; how < 4; how++) {
        s = scene(&job, everything, normed);
        life(s, calls * 3 / 4);
        damage(s, how);
        life(s, 0);
        outcome_of("j1", &o); /* checks that sequences are 1..N */
        if (o.completed != 1 || o.created != 1 || strcmp(o.sha256, whole.sha256) != 0)
            fail_msg("damage %d: completed %d, created %d, sha256 %s and %s: %s", how, o.completed, o.created,
                     o.sha256, whole.sha256, o.reason);
        assert_true(o.metrics > whole.metrics); /* steps were done and told of once more */
        stage_close(s);
    }
    steps_go_back = false;
}

/* The disk is full when a checkpoint is to be written: that job FAILED with a reason, the next one is trained. */
static void a_full_disk_fails_the_job(void **state)
{
    (void)state;
    struct training_job job, next;
    struct rlimit was, small;
    struct outcome o;
    struct stage *s = scene(&job, everything, normed);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    life(s, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    outcome_of("j1", &o);
    assert_int_equal(o.failed, 1);
    assert_int_equal(o.created, 0);
    assert_non_null(strstr(o.reason, s->folder));
    next = kind_make("j2", everything, normed);
    submit(&next);
    life(s, 0);
    outcome_of("j2", &o);
    assert_int_equal(o.completed, 1);
    stage_close(s);
}

static int checkpoints_refused, models_refused; /* how many of the next ones */

/* In place of the C library's: the store's last step of writing a file. */
int rename(const char *from, const char *to)
{
    bool model = strstr(to, ".onnx") != NULL;
    int *refused = model ? &models_refused : &checkpoints_refused;
    if (*refused > 0) {
        --*refused;
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* The first tries of each kind of file find no room: the job goes on without those checkpoints, its metrics wait for the next
 * one, and what comes out is what comes out of a disk with room. */
static void a_disk_that_is_full_for_a_while(void **state)
{
    (void)state;
    struct training_job job;
    struct outcome whole, o;
    struct stage *s = scene(&job, everything, normed);
    life(s, 0);
    outcome_of("j1", &whole);
    stage_close(s);
    s = scene(&job, everything, normed);
    s->m.settings.training_store_patience_ms = 600000;
    checkpoints_refused = models_refused = 2;
    life(s, 0);
    outcome_of("j1", &o); /* checks that sequences are 1..N */
    assert_int_equal(checkpoints_refused + models_refused, 0);
    assert_int_equal(o.completed, 1);
    assert_int_equal(o.created, 1);
    assert_string_equal(o.sha256, whole.sha256);
    assert_int_equal(o.metrics, whole.metrics);
    stage_close(s);
}

/* ---- control and health ---- */

static void a_stop_that_was_there_first(void **state)
{
    (void)state;
    struct training_job job, stop;
    struct outcome o;
    struct stage *s = scene(&job, everything, normed);
    life(s, 60); /* it has begun, and the worker died */
    stop = job;
    stop.action = ACTION_STOP;
    submit(&stop);
    life(s, 0);
    outcome_of("j1", &o);
    assert_int_equal(o.stopped, 1);
    assert_int_equal(o.completed, 0);
    assert_int_equal(s->m.committed[0], 2);
    stage_close(s);
}

static void health_lowers_the_rate(void **state)
{
    (void)state;
    struct training_job job;
    struct outcome whole, o;
    struct region mem = {0};
    struct stage *s = scene(&job, wild, network);
    steps_go_back = true;
    life(s, 0);
    outcome_of("j1", &whole);
    if (!whole.completed)
        fail_msg("%s", whole.reason);
    int lowered = 0;
    double first = 0, last = 0;
    for (int i = 0; i < memory->topics[TOPIC_METRICS].count; i++) {
        struct loss_metric m;
        struct fail why;
        assert_int_equal(loss_metric_decode(&m, memory->topics[TOPIC_METRICS].records[i].value, &mem, &why),
                         0);
        lowered += number_of(&m, "health.non_finite") == 2 || number_of(&m, "health.exploding") == 2;
        first = first > 0 || isnan(m.learning_rate) ? first : m.learning_rate;
        last = isnan(m.learning_rate) ? last : m.learning_rate;
    }
    assert_in_range(lowered, 1, 10);
    assert_true(fabs(last - first / (1 << lowered)) < 1e-12);
    region_free(&mem);
    int calls = s->m.calls;
    stage_close(s);
    for (int k = 5; k < calls; k += 7) {
        s = scene(&job, wild, network);
        life(s, k);
        life(s, 0);
        outcome_of("j1", &o);
        if (o.metrics != whole.metrics || strcmp(o.sha256, whole.sha256) != 0 || o.failed != whole.failed)
            fail_msg("killed at %d: metrics %d of %d, %s", k, o.metrics, whole.metrics, o.reason);
        stage_close(s);
    }
    steps_go_back = false;
}

static void health_stops_it(void **state)
{
    (void)state;
    struct text_pair stop[] = {{"epochs", "30"},
                               {"learning_rate", "1e6"},
                               {"weight_decay_l2", "1e6"},
                               {"bad_samples", "skip"},
                               {NULL, NULL}};
    struct training_job job;
    struct region mem = {0};
    struct outcome o;
    struct stage *s = scene(&job, stop, network);
    life(s, 0);
    outcome_of("j1", &o);
    assert_int_equal(o.failed, 1);
    assert_non_null(strstr(o.reason, "health.non_finite"));
    struct loss_metric m = metric_where(&mem, JOB_FAILED);
    assert_true(number_of(&m, "health.non_finite") == 3);
    region_free(&mem);
    stage_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kills_with_every_setting),
        cmocka_unit_test(kills_with_momentum_and_batch_norm),
        cmocka_unit_test(what_was_read_and_reached_is_told),
        cmocka_unit_test(too_many_bad_records_fail_it),
        cmocka_unit_test(damaged_checkpoints_are_not_loaded),
        cmocka_unit_test(a_full_disk_fails_the_job),
        cmocka_unit_test(a_disk_that_is_full_for_a_while),
        cmocka_unit_test(a_stop_that_was_there_first),
        cmocka_unit_test(health_lowers_the_rate),
        cmocka_unit_test(health_stops_it),
    };
    log_open(LOG_TEXT, LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
