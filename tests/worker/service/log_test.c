/* Log lines read back from stderr: whole JSON whatever is in them, one line an event from any thread. */
#include "worker/service/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct capture {
    int kept;
    FILE *file;
};

/* stderr goes to a file until capture_end, which returns what came (malloc'd). */
static void capture_begin(struct capture *c)
{
    c->file = tmpfile();
    assert_non_null(c->file);
    c->kept = dup(STDERR_FILENO);
    dup2(fileno(c->file), STDERR_FILENO);
}

static char *capture_end(struct capture *c)
{
    dup2(c->kept, STDERR_FILENO);
    close(c->kept);
    long n = lseek(fileno(c->file), 0, SEEK_END);
    char *text = calloc(1, (size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(pread(fileno(c->file), text, (size_t)n, 0), n);
    fclose(c->file);
    return text;
}

static void test_json_line(void **state)
{
    (void)state;
    struct capture c;
    log_open(LOG_JSON, LOG_INFO);
    capture_begin(&c);
    log_event(LOG_INFO, "promoted", "model", "dig\"its\n\xff", "version", log_text("%d", 3), "none", NULL,
              NULL);
    char *text = capture_end(&c);
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "info");
    assert_string_equal(json_string_value(json_object_get(line, "event")), "promoted");
    assert_string_equal(json_string_value(json_object_get(line, "model")), "dig\"its\n\xef\xbf\xbd");
    assert_int_equal(json_integer_value(json_object_get(line, "version")), 3);
    assert_string_equal(json_string_value(json_object_get(line, "none")), "");
    const char *at = json_string_value(json_object_get(line, "at"));
    int part[7];
    assert_int_equal(sscanf(at, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", part, part + 1, part + 2, part + 3, part + 4,
                            part + 5, part + 6),
                     7);
    assert_true(part[0] >= 2024);
    json_decref(line);
    free(text);
}

static void test_text_line(void **state)
{
    (void)state;
    struct capture c;
    log_open(LOG_TEXT, LOG_INFO);
    capture_begin(&c);
    log_event(LOG_WARN, "odd value", "a", "plain", "b", "two words\nand a line", "c", "", NULL);
    char *text = capture_end(&c);
    const char *after_time = strchr(text, ' ');
    assert_non_null(after_time);
    assert_string_equal(after_time, " warn  odd value a=plain b=\"two words\\nand a line\" c=\"\"\n");
    free(text);
}

static void test_level(void **state)
{
    (void)state;
    struct capture c;
    log_open(LOG_TEXT, LOG_WARN);
    capture_begin(&c);
    log_event(LOG_INFO, "not shown", NULL);
    log_event(LOG_DEBUG, "not shown", NULL);
    log_event(LOG_WARN, "shown", NULL);
    log_event(LOG_ERROR, "shown", NULL);
    char *text = capture_end(&c);
    assert_null(strstr(text, "not shown"));
    char *first = strstr(text, "shown");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "shown"));
    free(text);
}

/* Longer than a line may be: cut, and still a whole object on one line. */
static void test_too_long(void **state)
{
    (void)state;
    struct capture c;
    char *many = malloc(20001);
    assert_non_null(many);
    memset(many, '"', 20000);
    many[20000] = 0;
    log_open(LOG_JSON, LOG_INFO);
    for (int lead = 0; lead < 40; lead++) { /* the cut falls on every place of an escape and of a name */
        many[20000 - lead] = 0;
        capture_begin(&c);
        log_event(LOG_INFO, many + 12000 + lead, "detail", many, "after", "1", "another one", many, NULL);
        char *text = capture_end(&c);
        json_t *line = json_loads(text, 0, NULL);
        assert_non_null(line);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        json_decref(line);
        free(text);
    }
    free(many);
}

enum { THREADS = 4, LINES = 200 };

static void *say_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_event(LOG_INFO, "line", "thread", arg, "number", log_text("%d", i), "same", log_text("%d", i),
                  NULL);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct capture c;
    pthread_t threads[THREADS];
    static const char *const names[THREADS] = {"a", "b", "c", "d"};
    int next[THREADS] = {0};
    log_open(LOG_JSON, LOG_INFO);
    capture_begin(&c);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, say_lines, (void *)(uintptr_t)names[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    char *text = capture_end(&c), *save = NULL;
    for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        json_t *line = json_loads(l, 0, NULL);
        assert_non_null(line);
        int t = json_string_value(json_object_get(line, "thread"))[0] - 'a';
        assert_int_equal(json_integer_value(json_object_get(line, "number")), next[t]);
        assert_int_equal(json_integer_value(json_object_get(line, "same")), next[t]++);
        json_decref(line);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], LINES);
    free(text);
}

static json_t *next_line(char **save)
{
    char *l = strtok_r(NULL, "\n", save);
    return l ? json_loads(l, 0, NULL) : NULL;
}

static long field(json_t *line, const char *name)
{
    return (long)json_integer_value(json_object_get(line, name));
}

/* Lines of an event beyond its quota are left out, counted, and told; other events are not concerned. Every line is either
 * written or counted, however the seconds fall. */
static void test_limit(void **state)
{
    (void)state;
    struct capture c;
    enum { SAID = 500, MOST = 5 };
    long written = 0, counted = 0, others = 0;
    log_open(LOG_JSON, LOG_INFO);
    log_limit(MOST);
    capture_begin(&c);
    struct timespec began, now, pause = {0, 20000000};
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (int i = 0; i < SAID; i++)
        log_event(LOG_WARN, "storm", "number", log_text("%d", i), NULL);
    log_event(LOG_ERROR, "quiet", NULL);
    do { /* until the second is over, so that what was left out is told */
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec == began.tv_sec);
    log_event(LOG_ERROR, "quiet", NULL);
    clock_gettime(CLOCK_MONOTONIC, &now);
    log_limit(0);
    char *text = capture_end(&c), *save = text;
    for (json_t *line; (line = next_line(&save)); json_decref(line)) {
        const char *event = json_string_value(json_object_get(line, "event"));
        written += strcmp(event, "storm") == 0;
        others += strcmp(event, "quiet") == 0;
        counted += field(line, "left_out");
    }
    assert_int_equal(written + counted, SAID);
    assert_true(written >= MOST && written <= MOST * (now.tv_sec - began.tv_sec + 1));
    assert_int_equal(others, 2);
    free(text);
}

static void test_log_text_keeps_eight(void **state)
{
    (void)state;
    const char *texts[8];
    for (int i = 0; i < 8; i++)
        texts[i] = log_text("value %d", i);
    for (int i = 0; i < 8; i++) {
        char want[16];
        snprintf(want, sizeof want, "value %d", i);
        assert_string_equal(texts[i], want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_line), cmocka_unit_test(test_text_line),
        cmocka_unit_test(test_level),     cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_threads),   cmocka_unit_test(test_log_text_keeps_eight),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
