/* A loss curve in characters: as many lines as asked, a falling loss falls, gaps are bridged. */
#include "worker/commands/curve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct curve *c, int64_t step, double loss)
{
    struct loss_metric m = {
        .state = JOB_TRAINING, .step = step, .total_steps = 100, .loss = loss, .at = step};
    m.val_loss = m.accuracy = m.val_accuracy = m.learning_rate = m.samples_per_second = NAN;
    assert_true(curve_add(c, &m));
}

static char *print(const struct curve *c, int width, int height, int *lines)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    *lines = curve_print(c, width, height, out);
    fclose(out);
    return text;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

static void falls(void **state)
{
    (void)state;
    struct curve c;
    int lines;
    curve_open(&c);
    add(&c, 10, 2.0);
    add(&c, 50, 1.0); /* between: bridged */
    add(&c, 100, 0.0);
    char *text = print(&c, 10, 4, &lines);
    assert_int_equal(lines, 4);
    assert_int_equal(count(text, "\n"), 4);
    /* the first four columns are 4 blocks high, the next five 2, the last is the baseline */
    assert_int_equal(count(text, "\u2588"), 4 * 4 + 5 * 2);
    assert_int_equal(count(text, "\u2581"), 1);
    assert_non_null(strstr(text, "2 "));
    free(text);
    curve_free(&c);
}

static void nothing_is_nothing(void **state)
{
    (void)state;
    struct curve c;
    int lines;
    curve_open(&c);
    add(&c, 1, NAN);
    char *text = print(&c, 10, 4, &lines);
    assert_int_equal(lines, 0);
    assert_string_equal(text, "");
    free(text);
    curve_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(falls), cmocka_unit_test(nothing_is_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
