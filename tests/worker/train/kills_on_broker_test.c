/* The trainer killed at random steps on a real broker, over a data set with aborted transactions and bad samples: the
 * same weights as in one go, every metric once, one version, each bad sample one dead letter. A data set from several
 * topics with compacted gaps is counted right. A STOP that was sent while no worker ran. A zombie's last transaction.
 * MILLRACE_TEST_KILLS (10) and MILLRACE_TEST_SEED name how many and which; the seed is printed. */
#include "engine/rng.h"
#include "worker/codec/record.h"

#include "tests/worker/train/place.h"

#include <librdkafka/rdkafka.h>
#include <time.h>
#include <unistd.h>

enum { BAD = 3, WAIT_MS = 30000 };

/* ---- a producer of our own ---- */

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, key, value, text, sizeof text) != RD_KAFKA_CONF_OK)
        fail_msg("%s", text);
}

static rd_kafka_t *producer(const char *bootstrap, const char *transactional)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    set(conf, "bootstrap.servers", bootstrap);
    set(conf, "linger.ms", "1");
    if (transactional)
        set(conf, "transactional.id", transactional);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!rk)
        fail_msg("%s", text);
    if (transactional)
        assert_null(rd_kafka_init_transactions(rk, WAIT_MS));
    return rk;
}

static void put(rd_kafka_t *rk, const char *topic, const char *key, const void *value, size_t size)
{
    assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_KEY(key, key ? strlen(key) : 0),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t)value, size),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                     0);
}

/* One good row, of a colour that no drawn digit has. */
static void sample_of(struct bytes *b, unsigned char colour, int32_t label)
{
    static unsigned char row[3 * 32 * 32];
    struct tensor_view v = {.name = {"", 0}, .dtype = DTYPE_UINT8, .shape = SHAPE(1, 3, 32, 32)};
    memset(row, colour, sizeof row);
    v.data = (struct span){(char *)row, sizeof row};
    b->size = 0;
    sample_encode(b, &v, &label, NULL);
}

/* Rows that were never committed, and records that nobody can train on. */
static void spoil(struct place *p)
{
    char topic[100];
    struct bytes b = {0};
    snprintf(topic, sizeof topic, "%ssamples", p->s.prefix);
    rd_kafka_t *rk = producer(p->s.bootstrap, topic);
    for (int turn = 0; turn < 2; turn++) {
        assert_null(rd_kafka_begin_transaction(rk));
        for (int i = 0; i < 20; i++) {
            sample_of(&b, (unsigned char)i, 1);
            put(rk, topic, NULL, b.data, b.size);
        }
        assert_int_equal(rd_kafka_flush(rk, WAIT_MS), 0);
        assert_null(rd_kafka_abort_transaction(rk, WAIT_MS));
    }
    assert_null(rd_kafka_begin_transaction(rk));
    sample_of(&b, 7, 10); /* LeNet knows 0 to 9 */
    put(rk, topic, "label", b.data, b.size);
    put(rk, topic, "cut", b.data, b.size / 2);
    put(rk, topic, "none", NULL, 0);
    assert_null(rd_kafka_commit_transaction(rk, WAIT_MS));
    rd_kafka_destroy(rk);
    bytes_free(&b);
}

/* ---- kills ---- */

static int from_environment(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

static int dead_letters(struct place *p)
{
    int n = 0;
    stage_run(&p->s, &p->r, LIMIT_MS, "tail", "dead-letters", "-o", "beginning", NULL);
    result_expect(&p->r, 0);
    for (const char *at = p->r.out; (at = strchr(at, '\n')); at++)
        n++;
    return n;
}

static const char lenet[] = "network: lenet\n";
static const char normed[] =
    "network: |\n  network: normed\n  input: [3, 32, 32]\n  labels: 10\n  layers:\n"
    "    - conv: {filters: 8, kernel: 3, stride: 2}\n    - batchnorm: {activation: relu}\n"
    "    - maxpool: {size: 2}\n    - dropout: {rate: 0.1}\n    - dense: {units: 10}\n";

static const struct kind {
    const char *name, *network, *optimizer;
} kinds[] = {
    {"lenet", lenet, "learning_rate: 0.02, momentum: 0.9"},
    {"normed-momentum", normed, "learning_rate: 0.02, momentum: 0.9, augment_crop_padding: 2"},
    {"normed-adam", normed, "optimizer: adam, learning_rate: 0.002, restore_best: true"},
};

static void killed(struct place *p, const struct kind *kind, struct rng *r, int kills)
{
    char text[800], job_id[200], waited[300], made[65], local[65], key[60];
    int rounds = 0;
    snprintf(text, sizeof text,
             "model: %s\n%svalidation_rate: 0.1\ntest_rate: 0.1\ncheckpoint_every: 7\n"
             "hyperparameters: {%s, batch_size: 32, epochs: %d, seed: 1, bad_samples: skip}\n",
             kind->name, kind->network, kind->optimizer, 8 + kills);
    p->job = test_write(test_path("kind.yaml"), text);
    int before = dead_letters(p);
    submit_detached(p, p->job, job_id);
    snprintf(waited, sizeof waited, "checkpoint job=%s", job_id);
    for (; rounds < kills; rounds++) {
        place_worker(p);
        int steps = 1 + (int)rng_below(r, 4); /* checkpoints to wait for, and then some time */
        if (rounds % 3 == 2)
            process_wait_text(&p->worker, "job begins", 1, LIMIT_MS); /* while it reads, or goes on */
        else
            assert_true(process_wait_text(&p->worker, waited, steps, LIMIT_MS));
        usleep(rng_below(r, 60000));
        process_kill(&p->worker);
    }
    place_worker(p);
    assert_true(process_wait_text(&p->worker, "version made", 1, LIMIT_MS));
    metrics_check(p, job_id);
    snprintf(key, sizeof key, "%s@1", kind->name);
    sha_of_version(p, key, made);
    sha_of_local(p, local);
    assert_string_equal(made, local);
    snprintf(key, sizeof key, "%s@2", kind->name);
    stage_run(&p->s, &p->r, LIMIT_MS, "models", "show", key, NULL);
    assert_int_not_equal(p->r.code, 0);
    assert_int_equal(dead_letters(p) - before, BAD);
    process_kill(&p->worker);
    print_message("%s: %d kills\n", kind->name, rounds);
}

/* The ranges as the job file's words say them, now that the topic holds more than `send` wrote. */
static void whole_topic(struct place *p)
{
    p->ranges = test_write(test_path("whole.json"), "[{\"topic\": \"samples\"}]");
}

static void test_killed_at_random(void **state)
{
    (void)state;
    struct place p;
    int seed = from_environment("MILLRACE_TEST_SEED", 20260107);
    int kills = from_environment("MILLRACE_TEST_KILLS", 10), count = sizeof kinds / sizeof *kinds;
    struct rng r = rng_seed((uint64_t)seed);
    print_message("seed %d, %d kills\n", seed, kills);
    place_open(&p);
    spoil(&p);
    whole_topic(&p);
    for (int i = 0; i < count; i++)
        killed(&p, &kinds[i], &r, (kills + count - 1 - i) / count);
    place_close(&p);
}

/* ---- counting ---- */

static void compacted_make(const char *bootstrap, const char *topic)
{
    rd_kafka_t *rk = producer(bootstrap, NULL);
    char text[256];
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, 1, 1, text, sizeof text);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    assert_non_null(t);
    rd_kafka_NewTopic_set_config(t, "cleanup.policy", "compact");
    rd_kafka_NewTopic_set_config(t, "segment.ms", "100");
    rd_kafka_NewTopic_set_config(t, "min.cleanable.dirty.ratio", "0.001");
    rd_kafka_NewTopic_set_config(t, "max.compaction.lag.ms", "100");
    rd_kafka_CreateTopics(rk, &t, 1, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, WAIT_MS);
    assert_non_null(e);
    assert_int_equal(rd_kafka_event_error(e), 0);
    rd_kafka_event_destroy(e);
    rd_kafka_queue_destroy(q);
    rd_kafka_NewTopic_destroy(t);
    rd_kafka_destroy(rk);
}

/* Records of a topic as a reader sees them. */
static int records(struct place *p, const char *topic)
{
    const char *const words[] = {"kcat", "-C",  "-e", "-q",   "-b", p->s.bootstrap,
                                 "-t",   topic, "-f", "%k\n", NULL};
    int n = 0;
    result_run(&p->r, LIMIT_MS, NULL, words);
    result_expect(&p->r, 0);
    for (const char *at = p->r.out; (at = strchr(at, '\n')); at++)
        n++;
    return n;
}

/* Twenty keys, each written three times, and what closes the segment: the cleaner leaves one of each. */
static int compacted_fill(struct place *p, const char *topic)
{
    rd_kafka_t *rk = producer(p->s.bootstrap, NULL);
    struct bytes b = {0};
    char key[20];
    int left = 0;
    compacted_make(p->s.bootstrap, topic);
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "k%d", i % 20);
        sample_of(&b, (unsigned char)(100 + i), i % 10);
        put(rk, topic, key, b.data, b.size);
        assert_int_equal(rd_kafka_flush(rk, WAIT_MS), 0);
    }
    for (int tries = 0; tries < 60; tries++) { /* until the cleaner has been here; it comes every 15 s */
        put(rk, topic, "roll", b.data, b.size);
        assert_int_equal(rd_kafka_flush(rk, WAIT_MS), 0);
        sleep(1);
        if ((left = records(p, topic)) < 45)
            break;
    }
    rd_kafka_destroy(rk);
    bytes_free(&b);
    assert_true(left < 45); /* there are gaps now */
    return left;
}

static json_t *metric_of(struct place *p, const char *job_id, const char *state, json_t **job)
{
    json_t *m, *found = NULL;
    size_t i;
    stage_run(&p->s, &p->r, LIMIT_MS, "jobs", "show", job_id, "--json", NULL);
    result_expect(&p->r, 0);
    *job = json_of(&p->r);
    json_array_foreach(json_object_get(*job, "metrics"), i, m) if (strcmp(text_at(m, "state"), state) == 0)
        found = m;
    assert_non_null(found);
    return json_object_get(found, "metrics");
}

static void test_rows_are_counted_as_read(void **state)
{
    (void)state;
    struct place p;
    char topic[100], ranges[300], job_id[200];
    json_t *job;
    place_open(&p);
    spoil(&p);
    snprintf(topic, sizeof topic, "%scompacted", p.s.prefix);
    int left = compacted_fill(&p, topic);
    snprintf(ranges, sizeof ranges,
             "[{\"topic\": \"samples\", \"start_offset\": \"earliest\", \"end_offset\": \"latest\"}, "
             "{\"topic\": \"%s\"}]",
             topic);
    p.ranges = test_write(test_path("two.json"), ranges);
    p.job = test_write(test_path("count.yaml"),
                       "model: counted\nnetwork: lenet\n"
                       "hyperparameters: {epochs: 1, batch_size: 64, bad_samples: skip}\n");
    submit_detached(&p, p.job, job_id);
    place_worker(&p);
    assert_true(process_wait_text(&p.worker, "version made", 1, LIMIT_MS));
    json_t *m = metric_of(&p, job_id, "DOWNLOADING", &job);
    assert_int_equal(json_number_value(json_object_get(m, "bad_records")), BAD);
    assert_int_equal(json_number_value(json_object_get(m, "rows")), ROWS + left);
    json_decref(job);
    stage_run(&p.s, &p.r, LIMIT_MS, "jobs", "show", job_id, NULL);
    result_expect(&p.r, 0);
    assert_non_null(strstr(p.r.out, "bad records 3"));
    assert_non_null(strstr(p.r.out, "TAKEN FOR"));
    assert_non_null(strstr(p.r.out, "PRECISION"));
    place_close(&p);
}

/* ---- control ---- */

static void test_stop_before_the_worker_is_back(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skipped: steps under this sanitizer take longer than the test waits\n");
    skip();
#endif
    struct place p;
    char job_id[200];
    json_t *job;
    place_open(&p);
    place_worker(&p);
    submit_detached(&p, job_file("long.yaml", "digits", 5000), job_id);
    assert_true(process_wait_text(&p.worker, "checkpoint job=", 2, LIMIT_MS));
    process_kill(&p.worker);
    stage_run(&p.s, &p.r, LIMIT_MS, "jobs", "stop", job_id, "--timeout", "1", NULL);
    result_expect(&p.r, 4); /* nobody answers; the request stands */
    place_worker(&p);
    assert_true(process_wait_text(&p.worker, "state=STOPPED", 1, LIMIT_MS));
    stage_run(&p.s, &p.r, LIMIT_MS, "jobs", "show", job_id, "--json", NULL);
    result_expect(&p.r, 0);
    job = json_of(&p.r);
    assert_string_equal(text_at(job, "state"), "STOPPED");
    assert_true(number_at(job, "step") >= 14); /* two checkpoints of seven steps are kept */
    json_decref(job);
    place_close(&p);
}

/* A transaction of a worker that died is still open when another one takes over: it is waited for, not overlooked. */
static void test_open_transactions_are_waited_for(void **state)
{
    (void)state;
    struct place p;
    char topic[100], job_id[200];
    place_open(&p);
    snprintf(topic, sizeof topic, "%scheckpoints", p.s.prefix);
    rd_kafka_t *rk = producer(p.s.bootstrap, "zombie");
    submit_detached(&p, job_file("short.yaml", "digits", 1), job_id);
    struct job_checkpoint c = {.job_id = job_id,
                               .model = "digits",
                               .state = JOB_STOPPED,
                               .sequence = 3,
                               .artifact_uri = "",
                               .sha256 = "",
                               .failure_reason = "",
                               .worker = "zombie"};
    struct bytes b = {0};
    job_checkpoint_encode(&b, &c);
    assert_null(rd_kafka_begin_transaction(rk));
    put(rk, topic, job_id, b.data, b.size);
    assert_int_equal(rd_kafka_flush(rk, WAIT_MS), 0);
    place_worker(&p);
    usleep(2500000); /* long enough for a trainer that does not look to begin the job */
    assert_null(rd_kafka_commit_transaction(rk, WAIT_MS));
    assert_true(process_wait_text(&p.worker, "the job has ended", 1, LIMIT_MS));
    assert_false(process_wait_text(&p.worker, "job begins", 1, 0));
    rd_kafka_destroy(rk);
    bytes_free(&b);
    place_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_random),
        cmocka_unit_test(test_rows_are_counted_as_read),
        cmocka_unit_test(test_stop_before_the_worker_is_back),
        cmocka_unit_test(test_open_transactions_are_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
