/* The demo in a small size: its last line, and that nothing of it is left behind, on Ctrl-C too. */
#include <dirent.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/process.h"

/* Processes whose command line names this test's folder, where the demo keeps everything. */
static int left_behind(void)
{
    DIR *proc = opendir("/proc");
    int n = 0;
    assert_non_null(proc);
    for (struct dirent *e; (e = readdir(proc));) {
        char path[300], line[8192];
        if (e->d_name[0] < '0' || e->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%s/cmdline", e->d_name);
        FILE *f = fopen(path, "r");
        size_t size = f ? fread(line, 1, sizeof line - 1, f) : 0;
        if (f)
            fclose(f);
        line[size] = 0;
        for (size_t i = 0; i < size; i++)
            line[i] = line[i] ? line[i] : ' ';
        if (strstr(line, test_dir())) {
            fprintf(stderr, "left behind: %s\n", line);
            n++;
        }
    }
    closedir(proc);
    return n;
}

static bool nothing_left(void *context)
{
    (void)context;
    return left_behind() == 0;
}

static const char *last_line(char *text)
{
    char *last = text;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        last = line;
    return last;
}

static int set_up(void **state)
{
    (void)state;
    setenv("TMPDIR", test_dir(), 1);
    setenv("MILLRACE", test_millrace(), 1);
    setenv("DEMO_TRAIN_ROWS", "3000", 1);
    setenv("DEMO_SCORE_ROWS", "500", 1);
    unsetenv("KAFKA_BOOTSTRAP");
    return 0;
}

static void it_ends_with_its_figures_and_leaves_nothing(void **state)
{
    struct result r = {0};
    regex_t line;
    (void)state;
    assert_int_equal(
        regcomp(&line,
                "^demo: trained digits@1 to 0\\.[0-9]{2} accuracy, scored 500 rows at [0-9]+ rows/s, "
                "exactly once$",
                REG_EXTENDED | REG_NOSUB),
        0);
    result_runl(&r, 180000, "compose/demo", NULL);
    result_expect(&r, 0);
    const char *last = last_line(r.out);
    if (regexec(&line, last, 0, NULL, 0))
        fail_msg("the last line is: %s", last);
    assert_true(wait_until(nothing_left, NULL, 10000));
    regfree(&line);
    result_free(&r);
}

static void it_stops_everything_on_ctrl_c(void **state)
{
    struct process demo = {0};
    (void)state;
    process_start(&demo, "demo.log", (const char *const[]){"compose/demo", NULL});
    assert_true(process_wait_text(&demo, "is taken by worker", 1, 120000));
    kill(-demo.pid, SIGINT); /* as a terminal does: to the whole group */
    int code = process_wait(&demo, 20000);
    assert_true(code == 130 || code == 1); /* or the command that was running said it was interrupted */
    assert_true(wait_until(nothing_left, NULL, 15000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_with_its_figures_and_leaves_nothing),
        cmocka_unit_test(it_stops_everything_on_ctrl_c),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
