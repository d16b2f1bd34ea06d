/* Drawn images: the same bytes for ever, whatever the order of drawing; all classes; strokes brighter than their
 * ground; other seeds, other images. A SHA-256 that changes is a data set that changes for everyone. */
#include "worker/data/draw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/models/store.h"

#include <cmocka.h>

enum { ROWS = 100, PIXELS = 3 * 32 * 32 };

static void draw(const char *kind, struct shape s, uint64_t seed, int64_t first, int64_t count,
                 uint8_t *pixels, int32_t *labels)
{
    struct fail why = {0};
    if (draw_rows(draw_find(kind), s, seed, first, count, pixels, labels, &why))
        fail_msg("%s", why.text);
}

static void assert_drawn(const char *kind, struct shape s, const char *wanted)
{
    static uint8_t bytes[ROWS * (PIXELS + 1)];
    int32_t labels[ROWS];
    char hex[SHA256_HEX];
    size_t size = ROWS * (size_t)shape_size(s);
    draw(kind, s, 1, 0, ROWS, bytes, labels);
    for (int i = 0; i < ROWS; i++)
        bytes[size + (size_t)i] = (uint8_t)labels[i];
    sha256_hex(bytes, size + ROWS, hex);
    assert_string_equal(hex, wanted);
}

/* 100 rows of seed 1, then their labels as bytes. */
static void the_bytes_stay(void **state)
{
    (void)state;
    assert_drawn("digits", SHAPE(1, 28, 28),
                 "73405b28dcfd51791e021683d2c28140bb2121c38e48ea774c4eb0a88b3052e4");
    assert_drawn("digits", SHAPE(3, 32, 32),
                 "e11abedc0600243ccb75c825c0c8b68bc2671c14eef9c4759c98768ff2271632");
    assert_drawn("shapes", SHAPE(3, 32, 32),
                 "c327328ba8a4dffafa6b941753e2c5651d66706c75b6ba6174a8ec44434bef3b");
}

static void a_row_depends_on_its_number_alone(void **state)
{
    (void)state;
    static uint8_t all[ROWS * PIXELS], one[PIXELS], other[PIXELS];
    int32_t labels[ROWS], label;
    for (int k = 0; draw_at(k); k++) {
        const char *kind = draw_at(k)->name;
        struct shape s = SHAPE(3, 32, 32);
        draw(kind, s, 5, 1000, ROWS, all, labels);
        for (int i = ROWS - 1; i >= 0; i -= 7) {
            draw(kind, s, 5, 1000 + i, 1, one, &label);
            assert_int_equal(label, labels[i]);
            assert_memory_equal(one, all + i * PIXELS, PIXELS);
            draw(kind, s, 6, 1000 + i, 1, other, &label);
            assert_memory_not_equal(one, other, PIXELS);
        }
    }
}

static void all_classes_come(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    static uint8_t pixels[MANY * PIXELS];
    static int32_t labels[MANY];
    for (int k = 0; draw_at(k); k++) {
        int seen[10] = {0};
        draw(draw_at(k)->name, SHAPE(3, 32, 32), 9, 0, MANY, pixels, labels);
        for (int i = 0; i < MANY; i++) {
            assert_in_range(labels[i], 0, 9);
            seen[labels[i]]++;
        }
        for (int c = 0; c < 10; c++) /* 500 expected, deviation 21 */
            assert_in_range(seen[c], 400, 600);
    }
}

/* The brightest hundredth is well above the median: ink on ground, in every single image. */
static void strokes_are_brighter_than_their_ground(void **state)
{
    (void)state;
    static uint8_t pixels[ROWS * PIXELS];
    int32_t labels[ROWS];
    draw("digits", SHAPE(1, 28, 28), 3, 0, ROWS, pixels, labels);
    for (int i = 0; i < ROWS; i++) {
        int count[256] = {0}, below = 0, median = 0, top = 255;
        for (int p = 0; p < 28 * 28; p++)
            count[pixels[i * 28 * 28 + p]]++;
        for (median = 0; (below += count[median]) < 28 * 28 / 2;)
            median++;
        for (below = 0; (below += count[top]) < 28 * 28 / 100;)
            top--;
        assert_true(top >= median + 50);
    }
}

static void other_shapes_are_refused(void **state)
{
    (void)state;
    struct fail why;
    assert_null(draw_find("letters"));
    assert_int_equal(draw_rows(draw_find("digits"), SHAPE(3, 28, 28), 1, 0, 0, NULL, NULL, &why), -E_USAGE);
    assert_non_null(strstr(why.text, "1x28x28 or 3x32x32"));
    assert_int_equal(draw_rows(draw_find("shapes"), SHAPE(1, 28, 28), 1, 0, 0, NULL, NULL, &why), -E_USAGE);
    assert_int_equal(draw_rows(draw_find("shapes"), SHAPE(3072), 1, 0, 0, NULL, NULL, &why), -E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_stay),           cmocka_unit_test(a_row_depends_on_its_number_alone),
        cmocka_unit_test(all_classes_come),         cmocka_unit_test(strokes_are_brighter_than_their_ground),
        cmocka_unit_test(other_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
