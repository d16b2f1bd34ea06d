/* Images in characters, looked at character by character; progress that is quiet where it should be. */
#include "worker/service/terminal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *drawn(const struct image *images, int count, int columns, enum image_style style)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    image_print(images, count, columns, style, f);
    fclose(f);
    return text;
}

static void test_ascii(void **state)
{
    (void)state;
    static const float pixels[] = {0, 1, 0, 1, /* a line is the mean of two rows of pixels */
                                   0, 1, 1, 0, NAN, 0.5f, 2, -1, NAN, 0.5f, 2, -1};
    struct image im = {1, 4, 4, pixels, "four"};
    char *text = drawn(&im, 1, 4, IMAGE_ASCII);
    assert_string_equal(text, " @++\n +@ \nfour\n");
    free(text);
}

static void test_side_by_side(void **state)
{
    (void)state;
    static const float tall[] = {1, 1, 1, 1, 1, 1, 1, 1}, flat[] = {0, 0, 0, 0};
    struct image two[] = {{1, 4, 2, tall, "a caption too long"}, {1, 2, 2, flat, "b"}};
    char *text = drawn(two, 2, 2, IMAGE_ASCII);
    assert_string_equal(text, "@@    \n@@    \na   b \n");
    free(text);
}

static void test_colour(void **state)
{
    (void)state;
    static const float pixels[] = {1, 0, 0, 0, 0, 1}; /* C=3, H=2, W=1: red above blue */
    struct image im = {3, 2, 1, pixels, ""};
    char *text = drawn(&im, 1, 1, IMAGE_TRUECOLOR);
    assert_non_null(strstr(text, "\033[38;2;255;0;0m\033[48;2;0;0;255m\xe2\x96\x80\033[0m\n"));
    free(text);
    text = drawn(&im, 1, 1, IMAGE_256);
    assert_non_null(strstr(text, "\033[38;5;196m\033[48;5;21m\xe2\x96\x80\033[0m\n"));
    free(text);
}

static void test_nothing_to_draw(void **state)
{
    (void)state;
    struct image none = {0};
    char *text = drawn(&none, 1, 4, IMAGE_TRUECOLOR);
    assert_string_equal(text, "    \n");
    free(text);
}

static void test_style(void **state)
{
    (void)state;
    setenv("TERM", "xterm", 1);
    setenv("COLORTERM", "truecolor", 1);
    assert_int_equal(image_style(true), IMAGE_TRUECOLOR);
    assert_int_equal(image_style(false), IMAGE_ASCII);
    unsetenv("COLORTERM");
    assert_int_equal(image_style(true), IMAGE_256);
    setenv("TERM", "dumb", 1);
    assert_int_equal(image_style(true), IMAGE_ASCII);
}

static void test_abreast(void **state)
{
    (void)state;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(terminal_columns(pipes[1]), 80);
    assert_int_equal(image_abreast(pipes[1], 24), 3);
    assert_int_equal(image_abreast(pipes[1], 1000), 1);
    assert_int_equal(image_abreast(pipes[1], 1), IMAGES_ABREAST);
    close(pipes[0]);
    close(pipes[1]);
}

/* Where stderr is no terminal nothing is drawn for work that takes less than ten seconds. */
static void test_progress_without_terminal(void **state)
{
    (void)state;
    struct progress p;
    FILE *f = tmpfile();
    assert_non_null(f);
    int kept = dup(STDERR_FILENO);
    dup2(fileno(f), STDERR_FILENO);
    progress_open(&p, "sent", "rows", 100);
    for (int i = 0; i <= 100; i++)
        progress_set(&p, i, NULL);
    off_t quiet = lseek(fileno(f), 0, SEEK_END);
    p.drawn -= 11; /* as if eleven seconds had passed */
    progress_set(&p, 50, "and a note");
    progress_close(&p);
    dup2(kept, STDERR_FILENO);
    close(kept);
    char text[200] = "";
    assert_true(pread(fileno(f), text, sizeof text - 1, 0) > 0);
    fclose(f);
    assert_int_equal(quiet, 0);
    assert_string_equal(text, "sent 50 of 100 rows, and a note\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ascii),
        cmocka_unit_test(test_side_by_side),
        cmocka_unit_test(test_colour),
        cmocka_unit_test(test_nothing_to_draw),
        cmocka_unit_test(test_style),
        cmocka_unit_test(test_abreast),
        cmocka_unit_test(test_progress_without_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
