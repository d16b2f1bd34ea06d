/* Sessions on a real broker, in this process, so that calls of librdkafka can be made to go wrong at a chosen moment: what
 * a session that is opened anew costs, and what a record outside its queue must not bring. The work is echo.h's; a reader of
 * committed answers counts them. Errors one by one: mock_test.c. */
#include "worker/stream/session.h"

#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/lib/model.h"
#include "tests/worker/stream/echo.h"
#include "worker/stream/clock.h"
#include "worker/stream/reader.h"
#include "worker/stream/writer.h"

#undef fail
#include <cmocka.h>

enum { RECORDS = 400, PARTITIONS = 4, ASK_MS = 60000, SESSION_MS = 45000, WINDOW_MS = 3000, ANY = -1 };

/* ---- calls that go wrong: the linker finds these before librdkafka's own ---- */

static atomic_int commits_to_fail; /* answered by an error of which nothing is known */
static atomic_int forwards_to_skip, offsets_to_delay;
static atomic_bool in_window; /* a transaction has produced, and its offsets are not sent yet */

static void *own(const char *name)
{
    void *real = dlsym(RTLD_NEXT, name);
    if (!real)
        abort();
    return real;
}

rd_kafka_error_t *rd_kafka_commit_transaction(rd_kafka_t *rk, int ms)
{
    rd_kafka_error_t *(*real)(rd_kafka_t *, int) = own("rd_kafka_commit_transaction");
    if (atomic_fetch_sub(&commits_to_fail, 1) > 0)
        return rd_kafka_error_new(RD_KAFKA_RESP_ERR__STATE, "a test says so");
    return real(rk, ms);
}

void rd_kafka_queue_forward(rd_kafka_queue_t *from, rd_kafka_queue_t *to)
{
    void (*real)(rd_kafka_queue_t *, rd_kafka_queue_t *) = own("rd_kafka_queue_forward");
    if (atomic_fetch_sub(&forwards_to_skip, 1) <= 0)
        real(from, to);
}

rd_kafka_error_t *rd_kafka_send_offsets_to_transaction(rd_kafka_t *rk,
                                                       const rd_kafka_topic_partition_list_t *offsets,
                                                       const rd_kafka_consumer_group_metadata_t *group,
                                                       int ms)
{
    rd_kafka_error_t *(*real)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *,
                              const rd_kafka_consumer_group_metadata_t *, int) =
        own("rd_kafka_send_offsets_to_transaction");
    if (atomic_fetch_sub(&offsets_to_delay, 1) > 0) {
        in_window = true;
        nanosleep(&(struct timespec){WINDOW_MS / 1000, 0}, NULL);
    }
    return real(rk, offsets, group, ms);
}

/* ---- a session in a thread ---- */

struct play {
    struct stage stage;
    struct settings settings;
    struct metrics *metrics;
    pthread_t thread;
    atomic_bool stop;
    struct fail why;
    int rc;
};

static void *session_main(void *arg)
{
    struct play *p = arg;
    const struct session_role role = {.name = "infer",
                                      .input = TOPIC_INFERENCE,
                                      .outputs = 1u << TOPIC_PREDICTIONS,
                                      .batches = 8,
                                      .metrics = &p->metrics->infer};
    p->rc = session_run(&p->settings, &role, echo_work, NULL, &p->stop, &p->why);
    return NULL;
}

/* more: one further setting, or NULL. */
static void play_open(struct play *p, const char *membership, const char *more)
{
    struct result r = {0};
    char slot[64], session[64];
    *p = (struct play){0};
    stage_open(&p->stage, broker_shared());
    stage_run(&p->stage, &r, ASK_MS, "topics", "create", "--partitions", "4", NULL);
    result_expect(&r, 0);
    result_free(&r);
    snprintf(slot, sizeof slot, "worker.membership=%s", membership);
    snprintf(session, sizeof session, "session.timeout.ms=%d", SESSION_MS);
    const char *overrides[] = {slot, session, more};
    if (settings_load(&p->settings, p->stage.config, overrides, more ? 3 : 2, &p->why) ||
        metrics_open(&p->metrics, &p->why))
        fail_msg("%s", p->why.text);
}

/* The inputs of one partition, or of the others. */
static void produce(struct play *p, int partition, bool others)
{
    struct writer *w = NULL;
    char topic[TOPIC_NAME];
    topic_full_name(&p->settings, TOPIC_INFERENCE, topic);
    assert_int_equal(writer_open(&w, &p->settings, ASK_MS, &p->why), 0);
    for (int i = 0; i < RECORDS; i++)
        if ((i % PARTITIONS == partition) != others)
            assert_int_equal(writer_put(w, topic, i % PARTITIONS, (struct span){(char *)&i, sizeof i},
                                        (struct span){"value", 5}, NULL, 0, NULL, &p->why),
                             0);
    assert_int_equal(writer_flush(w, ASK_MS, &p->why), 0);
    writer_close(&w);
}

/* Waits until every input has an answer, then looks whether one has two. Returns the milliseconds it took. */
static long answers_check(struct play *p)
{
    struct reader *reader = NULL;
    char topic[TOPIC_NAME];
    int seen[RECORDS] = {0}, answered = 0, more = 0;
    long began_ms = now_ms();
    topic_full_name(&p->settings, TOPIC_PREDICTIONS, topic);
    assert_int_equal(reader_open(&reader, &p->settings, topic, NULL, 0, READER_BEGINNING, ASK_MS, &p->why),
                     0);
    long took_ms = 0;
    for (int quiet = 0; quiet < 10 && now_ms() - began_ms < 2 * ASK_MS;) {
        struct record r;
        int i;
        if (reader_next(reader, &r, 200, &p->why) != SOURCE_RECORD) {
            quiet = answered == RECORDS ? quiet + 1 : 0; /* what comes twice comes late */
            continue;
        }
        assert_int_equal(r.key.size, sizeof i);
        memcpy(&i, r.key.data, sizeof i);
        assert_in_range(i, 0, RECORDS - 1);
        answered += seen[i] == 0;
        more += seen[i]++ > 0;
        took_ms = now_ms() - began_ms;
    }
    reader_close(&reader);
    assert_int_equal(answered, RECORDS);
    assert_int_equal(more, 0);
    return took_ms;
}

static void play_close(struct play *p)
{
    p->stop = true;
    pthread_join(p->thread, NULL);
    assert_int_equal(p->rc, 0);
    settings_free(&p->settings);
    metrics_close(&p->metrics);
}

/* ---- cases ---- */

/* Its partitions must not wait for the session timeout of the member that it was. */
static void opened_anew(const char *membership)
{
    struct play p;
    play_open(&p, membership, NULL);
    produce(&p, ANY, true);
    commits_to_fail = 1;
    assert_int_equal(pthread_create(&p.thread, NULL, session_main, &p), 0);
    long took_ms = answers_check(&p);
    printf("# %s: answered after %ld ms, one session opened anew\n", membership, took_ms);
    assert_int_equal(p.metrics->infer.rebuilds[E_REBUILD], 1);
    assert_in_range(took_ms, 0, SESSION_MS - 5000);
    play_close(&p);
}

static void a_static_member_that_is_opened_anew_goes_on(void **state)
{
    (void)state;
    opened_anew("static");
}

static void a_dynamic_member_that_is_opened_anew_goes_on(void **state)
{
    (void)state;
    opened_anew("dynamic");
}

static bool is_in_window(void *unused)
{
    (void)unused;
    return in_window;
}

/* The last partition is forwarded and its records are in a transaction when those of the others come out of consumer_poll: what
 * the transaction commits must not be read again. */
static void a_stray_record_waits_for_the_transaction_under_way(void **state)
{
    struct play p;
    (void)state;
    play_open(&p, "dynamic", NULL);
    produce(&p, PARTITIONS - 1, false);
    forwards_to_skip = PARTITIONS - 1;
    offsets_to_delay = 1;
    assert_int_equal(pthread_create(&p.thread, NULL, session_main, &p), 0);
    assert_true(wait_until(is_in_window, NULL, ASK_MS));
    produce(&p, PARTITIONS - 1, true);
    answers_check(&p);
    assert_int_equal(p.metrics->infer.rebuilds[E_REBUILD], 0);
    play_close(&p);
}

/* A record and offsets of this producer are open, and its coordinator knows of no transaction: neither may be committed with
 * what the session commits, nor hold it up. */
static void what_a_lost_marker_left_open_is_ended(void **state)
{
    struct play p;
    struct result r = {0};
    char id[200];
    (void)state;
    play_open(&p, "dynamic", NULL);
    produce(&p, ANY, true);
    snprintf(id, sizeof id, "%sa.infer", p.stage.prefix);
    stage_checker(&p.stage, &r, ASK_MS / 1000, "hang", "--transactional-id", id, NULL);
    result_expect(&r, 0);
    result_free(&r);
    assert_int_equal(pthread_create(&p.thread, NULL, session_main, &p), 0);
    answers_check(&p);
    play_close(&p);
}

/* A producer of somebody else that has an open transaction in a topic of answers. */
static rd_kafka_t *stranger_open(const struct play *p)
{
    char text[300], topic[TOPIC_NAME];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    topic_full_name(&p->settings, TOPIC_PREDICTIONS, topic);
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", p->stage.bootstrap, text, sizeof text), 0);
    assert_int_equal(rd_kafka_conf_set(conf, "transactional.id", p->stage.prefix, text, sizeof text), 0);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(rk);
    assert_null(rd_kafka_init_transactions(rk, ASK_MS));
    assert_null(rd_kafka_begin_transaction(rk));
    assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_VALUE("stranger", 8), RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(rk, ASK_MS), 0);
    return rk;
}

static bool is_ready(void *play)
{
    return ((struct play *)play)->metrics->infer.ready;
}

/* Its own records of nothing are not passed while a stranger's transaction lies in front of them: it tries again, then goes on. */
static void a_transaction_of_somebody_else_is_not_waited_for(void **state)
{
    struct play p;
    (void)state;
    play_open(&p, "dynamic", "transaction.timeout.ms=2000");
    rd_kafka_t *stranger = stranger_open(&p);
    produce(&p, ANY, true);
    assert_int_equal(pthread_create(&p.thread, NULL, session_main, &p), 0);
    assert_true(wait_until(is_ready, &p, ASK_MS / 2));
    assert_null(rd_kafka_abort_transaction(stranger, ASK_MS));
    rd_kafka_destroy(stranger);
    answers_check(&p);
    assert_int_equal(p.metrics->infer.rebuilds[E_REBUILD], 0);
    play_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transaction_of_somebody_else_is_not_waited_for),
        cmocka_unit_test(what_a_lost_marker_left_open_is_ended),
        cmocka_unit_test(a_static_member_that_is_opened_anew_goes_on),
        cmocka_unit_test(a_dynamic_member_that_is_opened_anew_goes_on),
        cmocka_unit_test(a_stray_record_waits_for_the_transaction_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
