/* See schedules.h. Every number of strikes and every pause is fixed: the runs are short, what varies is the machine. */
#include "tests/teeth/schedules.h"

#include <librdkafka/rdkafka.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/model.h"

#undef fail
#include <cmocka.h>

enum {
    START_MS = 60000,
    DRAIN_MS = 150000,
    CHECK_S = 3,
    ENDED_S = 60,
    ASK_MS = 2000,
    PARTITIONS = 4,
    SESSION_MS = 6000,
    GUESTS = 4
};

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static void begin(struct stage *s)
{
    struct result r = {0};
    stage_open(s, broker_shared());
    stage_run(s, &r, START_MS, "topics", "create", NULL);
    result_expect(&r, 0);
    result_free(&r);
    stage_model(s, "digits", 1, 1, true);
}

/* A worker of the role infer with the sessions of the torture run; further sections of its configuration in `rest`. */
static const char *worker_config(struct stage *s, const char *slot, bool dynamic, const char *rest)
{
    return stage_config(s, &(struct stage_settings){.slot = slot,
                                                    .roles = "[infer]",
                                                    .worker = dynamic ? "  membership: dynamic\n" : "",
                                                    .kafka = "  session.timeout.ms: 6000\n"
                                                             "  heartbeat.interval.ms: 500\n"
                                                             "  transaction.timeout.ms: 6000\n",
                                                    .rest = rest});
}

static void worker_start(struct stage *s, struct process *p, const char *config)
{
    stage_worker(s, p, config);
    assert_true(process_wait_text(p, "partitions assigned", 1, START_MS));
}

/* Records of a foreign producer in the background. */
static void produce(struct stage *s, struct process *p, const char *count, const char *rate, const char *rows,
                    const char *poison_every)
{
    process_start(p, "producer.log",
                  (const char *[]){"tests/broker/check", "produce", "--bootstrap", s->bootstrap, "--prefix",
                                   s->prefix, "--model", "digits", "--rows", rows, "--count", count, "--rate",
                                   rate, "--poison-every", poison_every, "--poison-file", test_path("poison"),
                                   NULL});
}

/* ---- until all is read ---- */

struct group {
    rd_kafka_t *rk;
    rd_kafka_topic_partition_list_t *list;
};

static void group_open(struct group *g, struct stage *s)
{
    char name[128], text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    snprintf(name, sizeof name, "%s.infer", s->group);
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", s->bootstrap, text, sizeof text), 0);
    assert_int_equal(rd_kafka_conf_set(conf, "group.id", name, text, sizeof text), 0);
    assert_int_equal(rd_kafka_conf_set(conf, "log_level", "0", text, sizeof text), 0);
    assert_non_null(g->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text));
    g->list = rd_kafka_topic_partition_list_new(PARTITIONS);
    snprintf(name, sizeof name, "%sinference", s->prefix);
    for (int i = 0; i < PARTITIONS; i++)
        rd_kafka_topic_partition_list_add(g->list, name, i);
}

static void group_close(struct group *g)
{
    rd_kafka_topic_partition_list_destroy(g->list);
    rd_kafka_destroy(g->rk);
}

/* The group has committed the end of every partition: what is not answered now is lost, not late. */
static bool is_drained(void *group)
{
    struct group *g = group;
    pause_ms(200); /* the broker has other work */
    if (rd_kafka_committed(g->rk, g->list, ASK_MS))
        return false;
    for (int i = 0; i < g->list->cnt; i++) {
        const rd_kafka_topic_partition_t *p = &g->list->elems[i];
        int64_t low, high;
        if (p->err || rd_kafka_query_watermark_offsets(g->rk, p->topic, p->partition, &low, &high, ASK_MS))
            return false;
        if (p->offset < high)
            return false;
    }
    return true;
}

/* Waits for the producer and for the group, then asks the checker. */
static void finish(struct stage *s, struct process *producer, const char *count, bool poison,
                   struct result *checked)
{
    struct group g;
    assert_int_equal(process_wait(producer, DRAIN_MS), 0);
    group_open(&g, s);
    assert_true(wait_until(is_drained, &g, DRAIN_MS));
    group_close(&g);
    if (poison)
        stage_check(s, checked, CHECK_S, "--inputs", count, "--poison-file", test_path("poison"), NULL);
    else
        stage_check(s, checked, CHECK_S, "--inputs", count, NULL);
}

/* ---- schedules ---- */

void schedule_kills(struct result *checked)
{
    static const int lives_ms[] = {900, 1700, 600, 2100, 1200};
    struct stage s;
    struct process worker = {0}, producer = {0};
    begin(&s);
    const char *config = worker_config(&s, "a", false, NULL);
    produce(&s, &producer, "20000", "1200", "1", "0");
    for (size_t i = 0; i < sizeof lives_ms / sizeof *lives_ms; i++) {
        worker_start(&s, &worker, config);
        pause_ms(lives_ms[i]);
        process_kill(&worker);
    }
    worker_start(&s, &worker, config);
    finish(&s, &producer, "20000", false, checked);
    process_kill(&worker);
}

/* Backend ref takes a while over each batch, so that partitions change hands while one is computed. */
void schedule_rebalances(struct result *checked)
{
    static const char slow[] = "engine: {backend: ref, threads: 1}\nbatch: {max_rows: 64}\n";
    struct stage s;
    struct process a = {0}, b = {0}, guest = {0}, producer = {0};
    begin(&s);
    worker_start(&s, &a, worker_config(&s, "a", true, slow));
    worker_start(&s, &b, worker_config(&s, "b", true, slow));
    const char *config = worker_config(&s, "c", true, slow);
    produce(&s, &producer, "4000", "250", "2", "0");
    for (int i = 0; i < GUESTS; i++) {
        worker_start(&s, &guest, config);
        pause_ms(500);
        process_signal(&guest, SIGTERM);
        process_wait(&guest, START_MS);
    }
    process_signal(&b, SIGSTOP);
    pause_ms(SESSION_MS + 1000);
    process_signal(&b, SIGCONT);
    finish(&s, &producer, "4000", false, checked);
    process_kill(&a);
    process_kill(&b);
}

static void stream(struct result *checked, bool poison)
{
    struct stage s;
    struct process worker = {0}, producer = {0};
    begin(&s);
    worker_start(&s, &worker, worker_config(&s, "a", false, NULL));
    produce(&s, &producer, "20000", "2000", "1", poison ? "10" : "0");
    finish(&s, &producer, "20000", poison, checked);
    process_kill(&worker);
}

void schedule_stream(struct result *checked)
{
    stream(checked, false);
}

void schedule_poison(struct result *checked)
{
    stream(checked, true);
}

/* ---- a trainer that loses power ---- */

enum { ROWS_OF_SAMPLES = 1500, LIVES = 2 };

static void run(struct stage *s, struct result *r, const char *const words[])
{
    const char *argv[32] = {test_millrace()};
    int n = 1;
    while ((argv[n] = *words++))
        n++;
    (void)s;
    result_run(r, START_MS, NULL, argv);
    result_expect(r, 0);
}

/* Samples on a topic of one partition, and a job over them; its id. */
static void job_submit(struct stage *s, char id[200])
{
    struct result r = {0};
    const char *data = test_path("digits.npz"), *ranges = test_path("ranges.json");
    const char *job =
        test_write(test_path("job.yaml"),
                   "model: digits\nnetwork: lenet\nvalidation_rate: 0.1\ncheckpoint_every: 7\n"
                   "hyperparameters: {learning_rate: 0.02, momentum: 0.9, batch_size: 32, epochs: "
                   "6, seed: 1}\n");
    stage_open(s, broker_shared());
    run(s, &r, (const char *[]){"topics", "create", "-c", s->config, "--partitions", "1", NULL});
    run(s, &r,
        (const char *[]){"make-data", "digits", "--output", data, "--rows", "1500", "--seed", "1", "--shape",
                         "3x32x32", NULL});
    run(s, &r, (const char *[]){"send", "-c", s->config, data, "--samples", "--rows-per-record", "20", NULL});
    test_write(ranges, r.out);
    run(s, &r, (const char *[]){"train", "-c", s->config, job, "--dataset", ranges, "--detach", NULL});
    snprintf(id, 200, "%.*s", (int)strcspn(r.out, "\n"), r.out);
    result_free(&r);
}

static void trainer_start(struct stage *s, struct process *p, const char *config)
{
    char shim[600];
    snprintf(shim, sizeof shim, "%s", test_path("."));
    assert_true(readlink("/proc/self/exe", shim, sizeof shim) > 0);
    strcpy(strrchr(shim, '/'), "/powerloss.so");
    setenv("LD_PRELOAD", shim, 1);
    setenv("POWERLOSS_LOG", test_path("powerloss.log"), 1);
    stage_worker(s, p, config);
    unsetenv("LD_PRELOAD");
}

static bool has_job_ended(void *worker)
{
    return process_count_text(worker, "\"version made\"") || process_count_text(worker, "\"job ended\"") ||
           !process_alive(worker);
}

/* In this life; or the job has ended. */
static bool has_new_checkpoints(void *worker)
{
    return process_count_text(worker, "\"checkpoint\"") >= 3 || has_job_ended(worker);
}

void schedule_powerloss(struct result *checked)
{
    struct stage s;
    struct process worker = {0};
    char id[200];
    job_submit(&s, id);
    const char *config =
        stage_config(&s, &(struct stage_settings){.roles = "[train]",
                                                  .rest = "engine: {backend: cpu, threads: 1}\n"
                                                          "log: {level: debug}\n"});
    trainer_start(&s, &worker, config);
    for (int life = 0; life < LIVES; life++) {
        assert_true(wait_until(has_new_checkpoints, &worker, START_MS));
        if (has_job_ended(&worker))
            break;
        process_kill(&worker);
        power_loss(test_path("powerloss.log"));
        trainer_start(&s, &worker, config);
    }
    assert_true(wait_until(has_job_ended, &worker, START_MS));
    stage_checker(&s, checked, ENDED_S, "metrics", "--job", id, "--state", "COMPLETED", NULL);
    process_kill(&worker);
}

/* ---- the log of powerloss.so ---- */

enum { FILES = 512, PATH = 1024 };

struct file {
    char path[PATH];
    long long synced;
};

static struct file *find(struct file *files, int *count, const char *path)
{
    for (int i = 0; i < *count; i++)
        if (strcmp(files[i].path, path) == 0)
            return &files[i];
    if (*count == FILES)
        fail_msg("more than %d files in the log", FILES);
    struct file *f = &files[(*count)++];
    snprintf(f->path, sizeof f->path, "%s", path);
    f->synced = -1; /* not made by this process: left alone */
    return f;
}

static void replay(struct file *files, int *count, const char *line)
{
    char path[PATH], to[PATH];
    long long size;
    if (sscanf(line, "new %1023s", path) == 1)
        find(files, count, path)->synced = 0;
    else if (sscanf(line, "sync %1023s %lld", path, &size) == 2)
        find(files, count, path)->synced = size;
    else if (sscanf(line, "rename %1023s %1023s", path, to) == 2) {
        long long synced = find(files, count, path)->synced;
        find(files, count, path)->synced = -1;
        find(files, count, to)->synced = synced;
    }
}

int power_loss(const char *log)
{
    struct file *files = calloc(FILES, sizeof *files);
    char line[2 * PATH + 32];
    int count = 0, cut = 0;
    FILE *f = fopen(log, "re");
    assert_non_null(files);
    assert_non_null(f); /* nothing was logged: the shim was not loaded */
    while (fgets(line, sizeof line, f))
        replay(files, &count, line);
    fclose(f);
    for (int i = 0; i < count; i++) {
        FILE *it = files[i].synced >= 0 ? fopen(files[i].path, "r+e") : NULL;
        if (!it)
            continue;
        fseek(it, 0, SEEK_END);
        if (ftell(it) > files[i].synced) {
            assert_int_equal(truncate(files[i].path, files[i].synced), 0);
            cut++;
        }
        fclose(it);
    }
    free(files);
    unlink(log);
    return cut;
}
