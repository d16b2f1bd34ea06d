/* `replay` on a real broker: what comes back byte for byte, what is passed over, and that no kill sends a letter twice. The
 * independent checker looks at the same topics. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/records.h"
#include "worker/stream/scan.h"
#include "worker/stream/writer.h"

#undef fail
#include <cmocka.h>

enum { LIMIT_MS = 60000, LETTERS = 12000, MOST = 2 * LETTERS };

static void must(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

/* ---- writing ---- */

struct pen {
    struct settings settings;
    struct writer *w;
    struct stage *s;
};

static void pen_open(struct pen *p, struct stage *s)
{
    struct fail why;
    p->s = s;
    stage_settings_load(s, &p->settings);
    must(writer_open(&p->w, &p->settings, LIMIT_MS, &why), &why);
}

static void pen_close(struct pen *p)
{
    struct fail why;
    must(writer_flush(p->w, LIMIT_MS, &why), &why);
    writer_close(&p->w);
    settings_free(&p->settings);
}

static void put(struct pen *p, enum topic t, int partition, struct span key, struct span value,
                const struct header *headers, int count)
{
    char topic[TOPIC_NAME];
    struct fail why;
    topic_full_name(&p->settings, t, topic);
    must(writer_put(p->w, topic, partition, key, value, headers, count, NULL, &why), &why);
}

/* A dead letter as a worker would write it, of record `offset` of partition 0. */
static void letter(struct pen *p, const char *source, const char *reason, int offset, const char *more)
{
    char topic[300], at[16], key[24];
    snprintf(topic, sizeof topic, "%s%s", p->s->prefix, source);
    snprintf(at, sizeof at, "%d", offset);
    snprintf(key, sizeof key, "k%d", offset);
    struct header headers[] = {
        {"dlq.topic", text_span(topic)},
        {"dlq.partition", text_span("0")},
        {"dlq.offset", text_span(at)},
        {"dlq.timestamp", text_span("1")},
        {"dlq.stage", text_span("decode")},
        {"dlq.reason", text_span(reason)},
        {"dlq.detail", text_span("a test\x1b[1m")},
        {"dlq.attempts", text_span("1")},
        {"dlq.worker", text_span("a")},
        {more, text_span("1")},
    };
    put(p, TOPIC_DEAD_LETTERS, offset % 2, text_span(key), text_span("v"), headers, more ? 10 : 9);
}

/* ---- reading: a record as text, so that two can be compared byte for byte ---- */

struct log {
    char *all[MOST];
    int64_t offsets[MOST];
    int count;
};

static void print_span(FILE *f, struct span s)
{
    if (!s.data)
        fputs("null", f);
    for (size_t i = 0; s.data && i < s.size; i++)
        fprintf(f, "%02x", (unsigned char)s.data[i]);
    putc('|', f);
}

static int see(void *arg, const struct record *r, struct fail *why)
{
    struct log *log = arg;
    size_t size;
    (void)why;
    assert_true(log->count < MOST);
    FILE *f = open_memstream(&log->all[log->count], &size);
    print_span(f, r->key);
    print_span(f, r->value);
    for (int i = 0; i < r->header_count; i++) {
        fprintf(f, "%s=", r->headers[i].name);
        print_span(f, r->headers[i].value);
    }
    fclose(f);
    log->offsets[log->count++] = r->offset;
    return 0;
}

static struct log *look(struct stage *s, enum topic t)
{
    struct log *log = calloc(1, sizeof *log);
    struct settings settings;
    struct fail why;
    char topic[TOPIC_NAME];
    stage_settings_load(s, &settings);
    must(topic_scan(&settings, topic_full_name(&settings, t, topic), LIMIT_MS, see, log, &why), &why);
    settings_free(&settings);
    return log;
}

static int count_of(const struct log *log, const char *text)
{
    int n = 0;
    for (int i = 0; i < log->count; i++)
        n += strcmp(log->all[i], text) == 0;
    return n;
}

static void log_free(struct log *log)
{
    for (int i = 0; i < log->count; i++)
        free(log->all[i]);
    free(log);
}

/* ---- running ---- */

static void replay(struct stage *s, struct result *r, const char *a, const char *b, const char *c)
{
    stage_run(s, r, LIMIT_MS, "replay", "--json", a, b, c, NULL);
}

static void expect_sent(const struct result *r, int code, int sent, int already, int refused)
{
    char text[100];
    result_expect(r, code);
    snprintf(text, sizeof text, "{\"sent\":%d,\"already\":%d,\"refused\":%d}\n", sent, already, refused);
    assert_string_equal(r->out, text);
}

static void check_answers(struct stage *s, struct result *r, const char *inputs, const char *poison)
{
    stage_check(s, r, 60, "--inputs", inputs, "--poison", poison, NULL);
    result_expect(r, 0);
}

/* ---- cases ---- */

static void records_come_back_byte_for_byte(void **state)
{
    static const char bytes[] = {0, 1, 'x', (char)0xff, 0};
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process worker = {0};
    struct pen pen;
    stage_begin(&s);
    pen_open(&pen, &s);
    struct header own[] = {{"mine", {bytes, sizeof bytes}}, {"mine", {"", 0}}, {"none", {NULL, 0}}};
    put(&pen, TOPIC_INFERENCE, 0, (struct span){NULL, 0}, (struct span){bytes, sizeof bytes}, own, 3);
    put(&pen, TOPIC_INFERENCE, 1, (struct span){"", 0}, (struct span){NULL, 0}, NULL, 0);
    put(&pen, TOPIC_INFERENCE, 3, (struct span){bytes, sizeof bytes}, (struct span){"", 0}, own, 1);
    pen_close(&pen);
    worker_begin(&s, &worker, NULL);
    request_send(&s, &(struct request){
                         .id = "early", .model = "late", .rows = 2, .channels = 3, .dtype = DTYPE_UINT8});
    check_answers(&s, &r, "4", "4");
    struct log *before = look(&s, TOPIC_INFERENCE);
    assert_int_equal(before->count, 4);

    stage_model(&s, "late", 1, 7, true);
    replay(&s, &r, "--reason", "unknown_model", NULL);
    expect_sent(&r, 0, 1, 0, 0);
    check_answers(&s, &r, "5", "4"); /* the request is answered now */
    json_t *answers = topic_read(&s, "predictions", 1);
    assert_int_equal(rows_of(json_array_get(answers, 0)), 2);
    json_decref(answers);
    replay(&s, &r, "--all", NULL, NULL);
    expect_sent(&r, 0, 3, 1, 0);
    check_answers(&s, &r, "8", "7"); /* poison stays poison */
    struct log *after = look(&s, TOPIC_INFERENCE), *letters = look(&s, TOPIC_DEAD_LETTERS);
    assert_int_equal(after->count, 8);
    for (int i = 0; i < before->count; i++) {
        char *back;
        assert_true(asprintf(&back, "%sdlq.attempts=31|", before->all[i]) > 0);
        assert_int_equal(count_of(after, before->all[i]), 1);
        assert_int_equal(count_of(after, back), 1);
        free(back);
    }
    int attempts = 0;
    for (int i = 0; i < letters->count; i++)
        attempts += strstr(letters->all[i], "dlq.attempts=32|") != NULL;
    assert_int_equal(attempts, 3);
    assert_int_equal(letters->count, 4 + 4 + 3); /* letters, markers, and poison once more */
    log_free(before);
    log_free(after);
    log_free(letters);

    replay(&s, &r, "--reason", "bad_avro,truncated", NULL);
    result_expect(&r, 0);
    process_kill(&worker);
    result_free(&r);
}

static void letters_are_chosen(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct pen pen;
    stage_begin(&s);
    pen_open(&pen, &s);
    for (int i = 0; i < 6; i++)
        letter(&pen, "inference", i % 3 ? "crash" : "unknown_model", i, NULL);
    letter(&pen, "samples", "bad_image", 6, NULL);
    pen_close(&pen);
    stage_run(&s, &r, LIMIT_MS, "replay", "--dry-run", NULL);
    result_expect(&r, 0);
    assert_non_null(strstr(r.out, "waiting   inference 0/3"));
    assert_non_null(strstr(r.out, "bad_image: a test [1m\n")); /* no escape reaches the terminal */
    assert_non_null(strstr(r.out, "7 would be sent; 0 were sent before, 0 cannot be sent\n"));
    replay(&s, &r, "--all", "--older-than", "1h");
    expect_sent(&r, 0, 0, 0, 0);
    replay(&s, &r, "--newer-than", "1h", "--reason=unknown_model");
    expect_sent(&r, 0, 2, 0, 0);
    replay(&s, &r, "-n", "3", NULL);
    result_expect(&r, 0);
    assert_non_null(strstr(r.out, "{\"sent\":3,"));
    replay(&s, &r, "--dry-run", NULL, NULL);
    json_t *list = json_loads(r.out, 0, NULL);
    assert_int_equal(json_array_size(list), 7);
    int waiting = 0;
    for (size_t i = 0; i < 7; i++)
        waiting +=
            strcmp(json_string_value(json_object_get(json_array_get(list, i), "state")), "waiting") == 0;
    assert_int_equal(waiting, 2);
    json_decref(list);
    replay(&s, &r, "--all", NULL, NULL);
    expect_sent(&r, 0, 2, 5, 0);
    replay(&s, &r, "--all", NULL, NULL);
    expect_sent(&r, 0, 0, 7, 0);
    struct log *samples = look(&s, TOPIC_SAMPLES), *requests = look(&s, TOPIC_INFERENCE);
    assert_int_equal(samples->count, 1);
    assert_int_equal(requests->count, 6);
    log_free(samples);
    log_free(requests);

    stage_run(&s, &r, LIMIT_MS, "tail", "dead-letters", NULL); /* a marker is a record like others */
    result_expect(&r, 0);
    assert_non_null(strstr(r.out,
                           "\"headers\":{\"dlq.replayed.partition\":\"1\",\"dlq.replayed.offset\":\"0\"},"
                           "\"value\":null}"));
    result_free(&r);
}

/* Named, and the others go. */
static void what_was_cut_is_refused(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct pen pen;
    stage_begin(&s);
    pen_open(&pen, &s);
    letter(&pen, "inference", "too_large", 0, "dlq.truncated");
    letter(&pen, "inference", "too_large", 2, NULL);
    letter(&pen, "models", "crash", 4, NULL); /* nothing is put into the registry because a header says so */
    pen_close(&pen);
    replay(&s, &r, "--all", NULL, NULL);
    expect_sent(&r, 1, 1, 0, 2);
    assert_non_null(strstr(r.err, "2 dead letters cannot be sent again"));
    assert_non_null(strstr(r.err, "dlq.truncated"));
    assert_non_null(strstr(r.err, "models"));
    struct log *requests = look(&s, TOPIC_INFERENCE);
    assert_int_equal(requests->count, 1);
    log_free(requests);
    result_free(&r);
}

struct watched {
    struct stage *s;
    int more_than, count;
};

static int count(void *arg, const struct record *r, struct fail *why)
{
    struct watched *w = arg;
    (void)r, (void)why;
    return ++w->count > w->more_than; /* ends the scan: it would follow the writer to its end */
}

static bool has_more(void *arg)
{
    struct watched *w = arg;
    struct settings settings;
    struct fail why;
    char topic[TOPIC_NAME];
    w->count = 0;
    stage_settings_load(w->s, &settings);
    int rc =
        topic_scan(&settings, topic_full_name(&settings, TOPIC_INFERENCE, topic), LIMIT_MS, count, w, &why);
    settings_free(&settings);
    return rc == 1;
}

static void start(struct stage *s, struct process *p, const char *log)
{
    process_start(p, log, (const char *const[]){test_millrace(), "replay", "--all", "-c", s->config, NULL});
}

/* Killed three times in the middle, then two at once, of which the later one goes on. */
static void kills_send_no_letter_twice(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process one = {0}, two = {0};
    struct pen pen;
    stage_begin(&s);
    pen_open(&pen, &s);
    for (int i = 0; i < LETTERS; i++)
        letter(&pen, "inference", "crash", i, NULL);
    pen_close(&pen);
    struct watched w = {&s, 0, 0};
    for (int kills = 0; kills < 3; kills++) {
        start(&s, &one, "one.log");
        assert_true(wait_until(has_more, &w, LIMIT_MS));
        process_kill(&one);
        struct log *out = look(&s, TOPIC_INFERENCE);
        assert_true(out->count < LETTERS); /* it was killed in the middle */
        w.more_than = out->count;
        log_free(out);
    }
    start(&s, &one, "one.log");
    assert_true(wait_until(has_more, &w, LIMIT_MS));
    start(&s, &two, "two.log");
    int first = process_wait(&one, LIMIT_MS), second = process_wait(&two, LIMIT_MS);
    assert_true(first == 78 || first == 0);
    assert_int_equal(second, 0);
    replay(&s, &r, "--all", NULL, NULL);
    expect_sent(&r, 0, 0, LETTERS, 0);
    struct log *out = look(&s, TOPIC_INFERENCE);
    static char seen[LETTERS];
    assert_int_equal(out->count, LETTERS);
    for (int i = 0; i < out->count; i++) {
        char key[24] = "";
        for (size_t k = 0; k < 10 && out->all[i][2 * k] != '|'; k++) {
            unsigned byte;
            assert_int_equal(sscanf(out->all[i] + 2 * k, "%2x", &byte), 1);
            key[k] = (char)byte;
        }
        int n = atoi(key + 1);
        assert_true(n >= 0 && n < LETTERS && !seen[n]);
        seen[n] = 1;
    }
    log_free(out);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back_byte_for_byte),
        cmocka_unit_test(letters_are_chosen),
        cmocka_unit_test(what_was_cut_is_refused),
        cmocka_unit_test(kills_send_no_letter_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
