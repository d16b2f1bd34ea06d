/* What a death leaves in the file of records in flight: a crash suspects them, everything else does not. */
#include "worker/infer/inflight.h"

#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#undef fail
#include <cmocka.h>

#include "tests/lib/folder.h"
#include "worker/service/log.h"

enum { PARTITIONS = 4 };

/* A source that stands somewhere. */
struct standing {
    struct source base;
    int64_t position[PARTITIONS];
};

static int64_t position(struct source *src, int32_t partition)
{
    return partition < PARTITIONS ? ((struct standing *)src)->position[partition] : SOURCE_NOT_OURS;
}

static struct standing standing_at(int64_t zero, int64_t one)
{
    static const struct source_ops ops = {.position = position};
    return (struct standing){{&ops}, {zero, one, SOURCE_NOT_OURS, SOURCE_NOT_OURS}};
}

/* The limit of a batch that begins with this record. */
static int limit_at(struct inflight *f, int32_t partition, int64_t offset)
{
    inflight_clear(f);
    inflight_add(f, &(struct record){.partition = partition, .offset = offset});
    int limit = inflight_limit(f);
    assert_true(inflight_is_careful(f) == (limit < INT_MAX));
    inflight_clear(f);
    return limit;
}

static struct inflight *reopen(const char *folder)
{
    struct inflight *f = NULL;
    struct fail why = {0};
    if (inflight_open(&f, folder_path(folder, "inflight"), &why))
        fail_msg("%s", why.text);
    return f;
}

static void add(struct inflight *f, int32_t partition, int64_t first, int count)
{
    for (int i = 0; i < count; i++)
        inflight_add(f, &(struct record){.partition = partition, .offset = first + i});
}

/* A process that notes records and ends by `number` (0: by itself, nothing in flight). */
static void die(const char *folder, int number, int32_t partition, int64_t first, int count, int more)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct inflight *f = reopen(folder);
        inflight_arm(f);
        add(f, partition, first, count);
        add(f, 1, 500, more);
        if (number)
            raise(number);
        inflight_clear(f);
        inflight_close(&f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(number ? WTERMSIG(status) : WEXITSTATUS(status), number);
}

static void a_fresh_file_suspects_nobody(void **state)
{
    struct inflight *f = reopen(*state);
    assert_int_equal(limit_at(f, 0, 0), INT_MAX);
    inflight_close(&f);
    die(*state, 0, 0, 10, 5, 0);
    f = reopen(*state);
    assert_int_equal(limit_at(f, 0, 12), INT_MAX);
    inflight_close(&f);
}

static void only_crash_signals_count(void **state)
{
    static const struct {
        int number;
        bool counts;
    } signals[] = {{SIGKILL, false}, {SIGTERM, false}, {SIGINT, false}, {SIGSEGV, true},
                   {SIGBUS, true},   {SIGFPE, true},   {SIGILL, true},  {SIGABRT, true}};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        unlink(folder_path(*state, "inflight"));
        die(*state, signals[i].number, 0, 10, 8, 0);
        struct inflight *f = reopen(*state);
        assert_int_equal(limit_at(f, 0, 10), signals[i].counts ? 4 : INT_MAX);
        inflight_close(&f);
    }
}

/* A suspicion outlives deaths that count nothing, and ends when the records are behind the source, of every partition. */
static void suspects_stay_until_they_are_passed(void **state)
{
    unlink(folder_path(*state, "inflight"));
    die(*state, SIGSEGV, 0, 10, 7, 3);
    die(*state, SIGKILL, 0, 10, 1, 0);
    struct inflight *f = reopen(*state);
    struct standing elsewhere = standing_at(SOURCE_NOT_OURS, SOURCE_NOT_OURS), half = standing_at(17, 502),
                    behind = standing_at(17, 503);
    assert_int_equal(limit_at(f, 0, 10), 5);
    inflight_passed(f, &elsewhere.base); /* nothing is known of partitions that are not ours */
    assert_int_equal(limit_at(f, 0, 10), 5);
    inflight_passed(f, &half.base);
    assert_int_equal(limit_at(f, 0, 10), INT_MAX);
    assert_int_equal(limit_at(f, 1, 502), 5);
    inflight_passed(f, &behind.base);
    assert_int_equal(limit_at(f, 1, 502), INT_MAX);
    inflight_close(&f);
}

/* Neighbours are not held up; a batch that a suspect has begun stays small whatever joins it. */
static void only_batches_with_suspects_stay_small(void **state)
{
    unlink(folder_path(*state, "inflight"));
    die(*state, SIGSEGV, 0, 10, 4, 0);
    struct inflight *f = reopen(*state);
    static const int64_t others[] = {9, 14};
    for (int i = 0; i < 2; i++)
        assert_int_equal(limit_at(f, 0, others[i]), INT_MAX);
    assert_int_equal(limit_at(f, 1, 11), INT_MAX);
    for (int64_t offset = 10; offset < 14; offset++)
        assert_int_equal(limit_at(f, 0, offset), 2);
    add(f, 0, 13, 2);
    assert_int_equal(inflight_limit(f), 2);
    inflight_close(&f);
}

static int condemned(const char *folder, int32_t partition, int64_t offset)
{
    struct inflight *f = reopen(folder);
    int crashes = inflight_condemned(f, &(struct record){.partition = partition, .offset = offset});
    inflight_close(&f);
    return crashes;
}

static void two_crashes_alone_condemn(void **state)
{
    unlink(folder_path(*state, "inflight"));
    die(*state, SIGSEGV, 0, 10, 2, 0);
    assert_int_equal(condemned(*state, 0, 10), 0);
    die(*state, SIGSEGV, 0, 11, 1, 0);
    assert_int_equal(condemned(*state, 0, 11), 0);
    die(*state, SIGSEGV, 0, 12, 1, 0); /* another one: it begins anew */
    assert_int_equal(condemned(*state, 0, 12), 0);
    die(*state, SIGABRT, 0, 12, 1, 0);
    assert_int_equal(condemned(*state, 0, 12), 2);
    assert_int_equal(condemned(*state, 0, 11), 0);
    assert_int_equal(condemned(*state, 1, 12), 0);
    struct standing behind = standing_at(13, 0);
    struct inflight *f = reopen(*state);
    inflight_passed(f, &behind.base);
    inflight_close(&f);
    assert_int_equal(condemned(*state, 0, 12), 0);
}

static void what_is_not_ours_is_begun_anew(void **state)
{
    char noise[70000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)(i * 151 + 77);
    for (size_t n = 0; n <= sizeof noise; n += 17500) {
        folder_write(folder_path(*state, "inflight"), noise, n);
        struct inflight *f = reopen(*state);
        assert_int_equal(limit_at(f, 0, 0), INT_MAX);
        inflight_close(&f);
    }
    struct inflight *f = NULL;
    struct fail why;
    assert_int_equal(inflight_open(&f, folder_path(*state, "no/such/folder"), &why), -E_CONFIG);
    assert_null(f);
}

static void more_partitions_than_room_are_counted(void **state)
{
    unlink(folder_path(*state, "inflight"));
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct inflight *f = reopen(*state);
        inflight_arm(f);
        for (int p = 0; p < 2000; p++)
            add(f, p, 7, 1);
        raise(SIGSEGV);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    struct inflight *f = reopen(*state);
    assert_int_equal(limit_at(f, 0, 7), 1000);
    assert_int_equal(limit_at(f, 1999, 7), 1000); /* it was not noted: then all are suspects */
    inflight_close(&f);
}

static void nothing_is_noted(void **state)
{
    struct record r = {0};
    (void)state;
    inflight_arm(NULL);
    inflight_add(NULL, &r);
    inflight_clear(NULL);
    inflight_passed(NULL, NULL);
    assert_int_equal(inflight_limit(NULL), INT_MAX);
    assert_int_equal(inflight_condemned(NULL, &r), 0);
    assert_false(inflight_is_careful(NULL));
    assert_false(inflight_is_suspect(NULL, &r));
}

/* A note that found the disk full would be a SIGBUS, blamed on the record at hand. */
static void its_room_on_the_disk_is_taken_at_once(void **state)
{
    const char *folder = *state;
    struct stat st;
    struct inflight *f = reopen(folder);
    assert_int_equal(stat(folder_path(folder, "inflight"), &st), 0);
    assert_true(st.st_size > 0 && (int64_t)st.st_blocks * 512 >= st.st_size);
    inflight_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_file_suspects_nobody),
        cmocka_unit_test(only_crash_signals_count),
        cmocka_unit_test(suspects_stay_until_they_are_passed),
        cmocka_unit_test(only_batches_with_suspects_stay_small),
        cmocka_unit_test(two_crashes_alone_condemn),
        cmocka_unit_test(what_is_not_ours_is_begun_anew),
        cmocka_unit_test(more_partitions_than_room_are_counted),
        cmocka_unit_test(nothing_is_noted),
        cmocka_unit_test(its_room_on_the_disk_is_taken_at_once),
    };
    log_open(LOG_TEXT, LOG_ERROR);
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
