/* The checker's teeth: the program with one bug each (worker/service/bug.h) under a short schedule of faults, and the program
 * without it under the same. The first must fail the independent checker, the second must pass it, else the first proves nothing.
 *     teeth --list           the names of all runs
 *     teeth NAME             one of them; its last line of stdout is the verdict, its code 0 when the verdict is the right one
 * tests/teeth/run does all, two at a time. Next to read: schedules.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/teeth/schedules.h"

static const struct tooth {
    const char *bug; /* NULL: the control */
    const char *program;
    schedule *run;
    const char *text;
} teeth[] = {
    {"auto-commit", "bugs/auto-commit/millrace", schedule_kills, "worker killed"},
    {"position", "bugs/position/millrace", schedule_kills, "worker killed"},
    {NULL, "millrace", schedule_kills, "worker killed"},
    {"late-metadata", "bugs/late-metadata/millrace", schedule_rebalances, "workers join and leave"},
    {NULL, "millrace", schedule_rebalances, "workers join and leave"},
    {"behind-abort", "bugs/behind-abort/millrace", schedule_stream, "one transaction in three aborted"},
    {NULL, "bugs/none/millrace", schedule_stream, "one transaction in three aborted"},
    {"verdict", "bugs/verdict/millrace", schedule_poison, "one record in ten is poison"},
    {NULL, "millrace", schedule_poison, "one record in ten is poison"},
    {"unsynced", "bugs/unsynced/millrace", schedule_powerloss, "trainer killed, unsynced bytes cut off"},
    {NULL, "millrace", schedule_powerloss, "trainer killed, unsynced bytes cut off"},
};

enum { TEETH = sizeof teeth / sizeof teeth[0] };

/* "position"; a control is called by the bug it stands beside. */
static void name_of(int i, char name[40])
{
    snprintf(name, 40, "%s%s", teeth[i].bug ? "" : "control-of-",
             teeth[i].bug ? teeth[i].bug : teeth[i - 1].bug);
}

/* "checked 100 records..., 7 violations" -> 7 */
static long violations(const struct result *r)
{
    const char *word = r->out ? strstr(r->out, " violations") : NULL;
    for (const char *later; word && (later = strstr(word + 1, " violations"));)
        word = later;
    while (word && word > r->out && word[-1] >= '0' && word[-1] <= '9')
        word--;
    return word ? atol(word) : -1;
}

static void bite(void **state)
{
    const struct tooth *t = *state;
    struct result r = {0};
    char program[600];
    long began_ms = now_ms();
    snprintf(program, sizeof program, "%.*s%s", (int)(strlen(test_millrace()) - strlen("millrace")),
             test_millrace(), t->program);
    setenv("MILLRACE", program, 1);
    t->run(&r);
    long found = violations(&r);
    bool right = t->bug ? r.code == 1 && found > 0 : r.code == 0 && found == 0;
    if (!right)
        result_print(&r);
    printf("%s: %s %ld violations in %ld s\n", t->text,
           !t->bug ? right ? "passes:" : "FAILS without the bug:"
           : right ? "caught:"
                   : "NOT caught:",
           found, (now_ms() - began_ms) / 1000);
    fflush(stdout);
    result_free(&r);
    assert_true(right);
}

int main(int argc, char **argv)
{
    char name[40];
    for (int i = 0; i < TEETH; i++) {
        name_of(i, name);
        const struct CMUnitTest test = {
            .name = name, .test_func = bite, .initial_state = (void *)(uintptr_t)&teeth[i]};
        if (argc == 2 && strcmp(argv[1], "--list") == 0)
            puts(name);
        else if (argc == 2 && strcmp(argv[1], name) == 0)
            return _cmocka_run_group_tests(name, &test, 1, NULL, NULL);
    }
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return 0;
    fprintf(stderr, "teeth: expected --list or one of the names it prints\n");
    return 2;
}
