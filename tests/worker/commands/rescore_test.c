/* `rescore` on a real broker: which requests are answered again, by what, and that no kill and no second run makes a second
 * answer. The independent checker looks at the same topics. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/model.h"
#include "worker/data/rows.h"
#include "worker/stream/scan.h"

#undef fail
#include <cmocka.h>

enum {
    LIMIT_MS = 60000,
    PER_RECORD = 16,
    RECORDS = 60,
    ROWS = RECORDS * PER_RECORD,
    CLASSES = 10,
    MOST = 20000
};

struct seen {
    int32_t partition;
    int64_t offset, version, supersedes;
};

struct predictions {
    struct seen all[MOST];
    int count, again;     /* again: with supersedes */
    const float *outputs; /* [ROWS][CLASSES] that answers of `version` must have; NULL: not looked at */
    int64_t version;
};

static void must(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

static int64_t number(const struct record *r, const char *name)
{
    struct span v = record_header(r, name);
    char text[24] = "";
    assert_non_null(v.data);
    snprintf(text, sizeof text, "%.*s", (int)v.size, v.data);
    return strtoll(text, NULL, 10);
}

/* The record's key is "q-N"; its rows are the file's from 16 N on. */
static void check_outputs(const struct predictions *p, const struct record *r)
{
    struct tensor_view outputs, saliency;
    struct fail why;
    uint8_t statuses[PER_RECORD];
    int64_t rows;
    char key[24];
    snprintf(key, sizeof key, "%.*s", (int)r->key.size, r->key.data);
    long at = strtol(key + 2, NULL, 10) % RECORDS * PER_RECORD;
    must(prediction_read_tensors(r->value, &outputs, &saliency, statuses, PER_RECORD, &rows, &why), &why);
    assert_int_equal(rows, PER_RECORD);
    assert_int_equal(outputs.data.size, PER_RECORD * CLASSES * sizeof(float));
    assert_memory_equal(outputs.data.data, p->outputs + at * CLASSES, outputs.data.size);
}

static int see(void *arg, const struct record *r, struct fail *why)
{
    struct predictions *p = arg;
    struct prediction_head head;
    must(prediction_read_head(r->value, &head, why), why);
    assert_true(p->count < MOST);
    p->all[p->count++] = (struct seen){(int32_t)number(r, "src.partition"), number(r, "src.offset"),
                                       head.version, head.supersedes};
    p->again += head.supersedes != 0;
    if (p->outputs && head.supersedes && head.version == p->version)
        check_outputs(p, r);
    return 0;
}

static struct predictions *look(struct stage *s, const float *outputs, int64_t version)
{
    struct predictions *p = calloc(1, sizeof *p);
    struct settings settings;
    struct fail why;
    char topic[TOPIC_NAME];
    assert_non_null(p);
    p->outputs = outputs;
    p->version = version;
    stage_settings_load(s, &settings);
    must(topic_scan(&settings, topic_full_name(&settings, TOPIC_PREDICTIONS, topic), LIMIT_MS, see, p, &why),
         &why);
    settings_free(&settings);
    return p;
}

/* How many answers a request has from a version that replaces another; partition -1, offset -1: all of them. */
static int again(const struct predictions *p, int32_t partition, int64_t offset, int64_t version,
                 int64_t supersedes)
{
    int n = 0;
    for (int i = 0; i < p->count; i++) {
        const struct seen *s = &p->all[i];
        n += (partition < 0 || s->partition == partition) && (offset < 0 || s->offset == offset) &&
             s->version == version && s->supersedes == supersedes;
    }
    return n;
}

static const char *data_file(struct result *r)
{
    const char *path = test_path("rows.npz");
    char rows[16];
    snprintf(rows, sizeof rows, "%d", ROWS);
    result_runl(r, LIMIT_MS, test_millrace(), "make-data", "digits", "--output", path, "--rows", rows,
                "--seed", "3", NULL);
    result_expect(r, 0);
    return path;
}

/* RECORDS records a time, evenly over the partitions. */
static void send(struct stage *s, struct result *r, const char *model, const char *repeat,
                 const char *deadline)
{
    stage_run(s, r, LIMIT_MS, "send", test_path("rows.npz"), "--model", model, "--id-prefix", "q",
              "--return-outputs", "--repeat", repeat, "--deadline-ms", deadline, NULL);
    result_expect(r, 0);
}

static void wait_answered(struct stage *s, struct result *r, int inputs)
{
    char count[16];
    snprintf(count, sizeof count, "%d", inputs);
    stage_check(s, r, 60, "--inputs", count, NULL);
    result_expect(r, 0);
}

static void open_served_at(const char *bootstrap, struct stage *s, struct result *r, struct process *worker,
                           const char *rest)
{
    stage_open(s, bootstrap);
    stage_run(s, r, LIMIT_MS, "topics", "create", "--partitions", "3", NULL);
    result_expect(r, 0);
    data_file(r);
    stage_model(s, "m", 1, 11, true);
    stage_model(s, "m", 2, 22, false);
    stage_model(s, "m", 3, 33, false);
    stage_model(s, "other", 1, 44, true);
    const char *config = stage_config(s, &(struct stage_settings){.roles = "[infer]", .rest = rest});
    snprintf(s->config, sizeof s->config, "%s", config);
    stage_worker(s, worker, config);
}

static void open_served(struct stage *s, struct result *r, struct process *worker, const char *rest)
{
    open_served_at(broker_shared(), s, r, worker, rest);
}

static void run(struct stage *s, struct result *r, const char *version, const char *a, const char *b,
                const char *c, const char *d)
{
    stage_run(s, r, LIMIT_MS, "rescore", version, "--json", a, b, c, d, NULL);
}

static void expect_records(const struct result *r, int records, int already)
{
    char text[100];
    result_expect(r, 0);
    snprintf(text, sizeof text, "\"records\":%d,\"rows\":%d,\"already\":%d,", records, records * PER_RECORD,
             already);
    if (!strstr(r->out, text))
        fail_msg("%s is expected in %s", text, r->out);
}

/* Rows of the file through version `model`, by `score`. */
static const float *scored(struct stage *s, struct result *r, const char *model, struct rows *keep)
{
    struct fail why;
    const char *path = test_path("y.npy");
    stage_run(s, r, LIMIT_MS, "score", model, "--input", test_path("rows.npz"), "--output", path, NULL);
    result_expect(r, 0);
    must(rows_read(keep, path, &why), &why);
    assert_int_equal(keep->count, ROWS);
    return keep->data;
}

static void a_range_is_answered_again(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process worker = {0};
    struct rows y;
    open_served(&s, &r, &worker, NULL);
    send(&s, &r, "m", "1", "0");
    send(&s, &r, "other", "1", "0");
    wait_answered(&s, &r, 2 * RECORDS);
    const float *outputs = scored(&s, &r, "m@2", &y);
    run(&s, &r, "m@2", "--from", "5", "--to", "9");
    expect_records(&r, 3 * 4, 0);
    run(&s, &r, "m@2", "--from", "0", "--to", "10");
    expect_records(&r, 3 * 6, 3 * 4);
    run(&s, &r, "m@2", "--from", "0", "--to", "10");
    expect_records(&r, 0, 3 * 10);
    stage_run(&s, &r, LIMIT_MS, "rescore", "m@2", "--json", "--from", "10", "--to", "11", "-p", "1", NULL);
    expect_records(&r, 1, 0);
    struct predictions *p = look(&s, outputs, 2);
    assert_int_equal(p->again, 31);
    for (int32_t part = 0; part < 3; part++)
        for (int64_t offset = 0; offset < 10; offset++)
            assert_int_equal(again(p, part, offset, 2, 1), 1);
    assert_int_equal(again(p, 1, 10, 2, 1), 1);
    free(p);

    run(&s, &r, "m@3", "--from", "8", "--to", "end"); /* of what is not m's: nothing */
    expect_records(&r, 3 * 12, 0);
    p = look(&s, NULL, 0);
    assert_int_equal(again(p, -1, -1, 3, 2), 3 * 2 + 1); /* the newest answer is replaced */
    assert_int_equal(again(p, -1, -1, 3, 1), 3 * 12 - 7);
    free(p);
    run(&s, &r, "m@1", "--from", "0", "--to", "1"); /* back: version 1's first answers are not counted */
    expect_records(&r, 3, 0);
    run(&s, &r, "m@2", "--from", "0", "--to", "1"); /* at most one for each offset and version */
    expect_records(&r, 0, 3);
    wait_answered(&s, &r, 2 * RECORDS);
    stage_run(&s, &r, LIMIT_MS, "models", "--workers", NULL); /* rescore's predictions are nobody's seat */
    result_expect(&r, 0);
    assert_non_null(strstr(r.out, "WORKER"));
    const char *seat = strstr(r.out, "a                            other@1");
    assert_non_null(seat);
    assert_non_null(strstr(seat, " s ago"));
    stage_run(&s, &r, LIMIT_MS, "models", "--workers", "--json", NULL);
    result_expect(&r, 0);
    assert_non_null(strstr(r.out, "\"workers\":[{\"worker\":\"a\",\"answered_at\":"));
    process_kill(&worker);
    rows_close(&y);
    result_free(&r);
}

static void a_bad_version_s_requests_are_found(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process worker = {0};
    open_served(&s, &r, &worker, NULL);
    send(&s, &r, "m", "1", "0");
    wait_answered(&s, &r, RECORDS);
    stage_run(&s, &r, LIMIT_MS, "models", "promote", "m@2", NULL);
    result_expect(&r, 0);
    send(&s, &r, "m@2", "1", "1"); /* too late for all of them, or for most */
    send(&s, &r, "m@2", "1", "0");
    send(&s, &r, "m@1", "1", "0");
    stage_put(&s, "inference", 0, "q-0", "no avro", 7);
    stage_check(&s, &r, 60, "--inputs", "241", "--poison", "1", NULL);
    result_expect(&r, 0);
    run(&s, &r, "m@3", "--served", "2", NULL, NULL);
    expect_records(&r, 2 * RECORDS, 0);
    struct rows y;
    const float *outputs = scored(&s, &r, "m@3", &y); /* the late ones are scored now */
    struct predictions *p = look(&s, outputs, 3);
    assert_int_equal(p->again, 2 * RECORDS);
    assert_int_equal(again(p, -1, -1, 3, 2), 2 * RECORDS);
    free(p);
    rows_close(&y);
    run(&s, &r, "m@3", "--served", "2", NULL, NULL);
    expect_records(&r, 0, 2 * RECORDS);
    stage_check(&s, &r, 60, "--inputs", "241", "--poison", "1", NULL);
    result_expect(&r, 0);
    process_kill(&worker);
    result_free(&r);
}

/* What the version cannot answer keeps the answer it has; no dead letter comes of it. */
static void what_cannot_be_answered_keeps_its_answer(void **state)
{
    static const char wide[] = "network: wide\ninput: [3, 16, 16]\nlayers:\n  - dense: {units: 10}\n";
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process worker = {0};
    open_served(&s, &r, &worker, NULL);
    stage_model_network(&s, "m", 4, 5, false, wide);
    send(&s, &r, "m", "1", "0");
    wait_answered(&s, &r, RECORDS);
    run(&s, &r, "m@4", "--from", "0", "--to", "2");
    result_expect(&r, 1);
    assert_non_null(strstr(r.out, "\"records\":0,\"rows\":0,\"already\":0,\"refused\":6,\"lost\":0"));
    assert_non_null(strstr(r.err, "6 records keep the answer they have"));
    assert_non_null(strstr(r.err, "tensors[0].shape"));
    wait_answered(&s, &r, RECORDS);
    process_kill(&worker);
    result_free(&r);
}

struct watched {
    struct stage *s;
    int more_than, again;
};

static int count(void *arg, const struct record *r, struct fail *why)
{
    struct watched *w = arg;
    struct prediction_head head;
    must(prediction_read_head(r->value, &head, why), why);
    w->again += head.supersedes != 0;
    return w->again > w->more_than; /* ends the scan: it would follow the writer to its end */
}

static bool has_more(void *arg)
{
    struct watched *w = arg;
    struct settings settings;
    struct fail why;
    char topic[TOPIC_NAME];
    w->again = 0;
    stage_settings_load(w->s, &settings);
    int rc =
        topic_scan(&settings, topic_full_name(&settings, TOPIC_PREDICTIONS, topic), LIMIT_MS, count, w, &why);
    settings_free(&settings);
    return rc == 1;
}

static void start(struct stage *s, struct process *p, const char *log)
{
    process_start(
        p, log,
        (const char *const[]){test_millrace(), "rescore", "m@2", "--from", "0", "-c", s->config, NULL});
}

/* Killed four times in the middle, each time when another part of the answers is out; then two at once, of which the later one
 * goes on. */
static void kills_make_no_second_answer(void **state)
{
    enum { TIMES = 20, ALL = TIMES * RECORDS };
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process worker = {0}, one = {0}, two = {0};
    open_served(&s, &r, &worker, "batch:\n  max_rows: 16\n"); /* a transaction a record */
    send(&s, &r, "m", "20", "0");
    wait_answered(&s, &r, ALL);
    struct watched w = {&s, 0, 0};
    for (int kills = 0; kills < 4; kills++) {
        start(&s, &one, "one.log");
        assert_true(wait_until(has_more, &w, LIMIT_MS));
        process_kill(&one);
        struct predictions *p = look(&s, NULL, 0);
        assert_true(p->again < ALL); /* it was killed in the middle */
        w.more_than = p->again + 100;
        free(p);
    }
    start(&s, &one, "one.log");
    assert_true(wait_until(has_more, &w, LIMIT_MS));
    start(&s, &two, "two.log");
    int first = process_wait(&one, LIMIT_MS), second = process_wait(&two, LIMIT_MS);
    assert_true(first == 78 || first == 0);
    assert_true(second == 0);
    run(&s, &r, "m@2", "--from", "0", NULL, NULL);
    expect_records(&r, 0, ALL);
    struct predictions *p = look(&s, NULL, 0);
    assert_int_equal(p->again, ALL);
    assert_int_equal(p->count, 2 * ALL);
    free(p);
    wait_answered(&s, &r, ALL); /* the checker counts answers of each offset and version */
    process_kill(&worker);
    result_free(&r);
}

/* The broker is killed in the middle: rescore goes on with what comes back, or says that it could not and is run again. */
static void a_killed_broker_makes_no_second_answer(void **state)
{
    enum { TIMES = 20, ALL = TIMES * RECORDS };
    (void)state;
    struct broker b;
    struct stage s;
    struct result r = {0};
    struct process worker = {0}, rescore = {0};
    broker_up(&b, 1);
    open_served_at(b.bootstrap, &s, &r, &worker, "batch:\n  max_rows: 16\n");
    send(&s, &r, "m", "20", "0");
    wait_answered(&s, &r, ALL);
    struct watched w = {&s, 50, 0};
    start(&s, &rescore, "rescore.log");
    assert_true(wait_until(has_more, &w, LIMIT_MS));
    broker_kill(&b, 1);
    assert_true(process_alive(&rescore)); /* it was in the middle */
    broker_start(&b, 1);
    int code = process_wait(&rescore, 4 * LIMIT_MS);
    struct predictions *p = look(&s, NULL, 0);
    printf("# rescore ended with %d, %d of %d records were answered again\n", code, p->again, ALL);
    assert_true(code == 0 ? p->again == ALL : code == 1 || code == 4 || code == 75);
    free(p);
    run(&s, &r, "m@2", "--from", "0", NULL, NULL);
    result_expect(&r, 0);
    p = look(&s, NULL, 0);
    assert_int_equal(p->again, ALL);
    assert_int_equal(p->count, 2 * ALL);
    free(p);
    wait_answered(&s, &r, ALL);
    process_kill(&worker);
    broker_down(&b);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_answered_again),
        cmocka_unit_test(a_bad_version_s_requests_are_found),
        cmocka_unit_test(what_cannot_be_answered_keeps_its_answer),
        cmocka_unit_test(kills_make_no_second_answer),
        cmocka_unit_test(a_killed_broker_makes_no_second_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
