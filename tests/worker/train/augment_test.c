/* Each augmentation by itself on images whose answer is known, and that what is drawn depends on (seed, epoch, row)
 * and on nothing else. Fixed seeds. */
#include "worker/train/augment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { C = 2, H = 6, W = 8, SIZE = C * H * W, ROWS = 400 };

static const struct shape shape = {3, {C, H, W}};

/* Every pixel another value, exact in float. */
static void ramp(float *x)
{
    for (int i = 0; i < SIZE; i++)
        x[i] = (float)(i + 1) / 256;
}

static void changed(const struct augment *a, int64_t row, float *x)
{
    float scratch[SIZE];
    ramp(x);
    augment_row(a, 5, 2, row, shape, true, x, scratch);
}

/* The image moved by (dy, dx) and mirrored, `fill` around it. */
static void expect_moved(float *to, int dy, int dx, bool flip_y, bool flip_x, float fill)
{
    float x[SIZE];
    ramp(x);
    for (int c = 0; c < C; c++)
        for (int i = 0; i < H; i++)
            for (int j = 0; j < W; j++) {
                int y = i - dy, z = j - dx;
                bool in = y >= 0 && y < H && z >= 0 && z < W;
                int sy = flip_y ? H - 1 - y : y, sx = flip_x ? W - 1 - z : z;
                to[(c * H + i) * W + j] = in ? x[(c * H + sy) * W + sx] : fill;
            }
}

/* Which of the moves it is; every one must be one of them. Counts each of the dy, dx. */
static void moves(const struct augment *a, int most_y, int most_x, int *seen_y, int *seen_x)
{
    for (int64_t row = 0; row < ROWS; row++) {
        float x[SIZE], expected[SIZE];
        int found = 0;
        changed(a, row, x);
        for (int dy = -most_y; dy <= most_y; dy++)
            for (int dx = -most_x; dx <= most_x; dx++) {
                expect_moved(expected, dy, dx, false, false, (float)a->fill);
                if (memcmp(x, expected, sizeof x) != 0)
                    continue;
                found++;
                seen_y[dy + most_y]++;
                seen_x[dx + most_x]++;
            }
        if (found != 1)
            fail_msg("row %d: %d whole moves give it", (int)row, found);
    }
}

static void nothing_changes_nothing(void **state)
{
    (void)state;
    struct augment a = {0};
    float x[SIZE], was[SIZE];
    assert_false(augment_any(&a));
    ramp(was);
    changed(&a, 3, x);
    assert_memory_equal(x, was, sizeof x);
}

static void flips_are_exact_and_even(void **state)
{
    (void)state;
    static const int flips[] = {FLIP_HORIZONTAL, FLIP_VERTICAL, FLIP_HORIZONTAL | FLIP_VERTICAL};
    for (int f = 0; f < 3; f++) {
        struct augment a = {.flip = flips[f]};
        int counts[4] = {0};
        for (int64_t row = 0; row < ROWS; row++) {
            float x[SIZE], expected[SIZE];
            int found = -1;
            changed(&a, row, x);
            for (int k = 0; k < 4; k++) {
                expect_moved(expected, 0, 0, k & 2, k & 1, 0);
                found = memcmp(x, expected, sizeof x) == 0 ? k : found;
            }
            assert_true(found >= 0);
            counts[found]++;
        }
        for (int k = 0; k < 4; k++) {
            int ways = a.flip == 3 ? 4 : 2;
            if ((k & ~a.flip) == 0)
                assert_in_range(counts[k], ROWS / ways - 60, ROWS / ways + 60);
            else
                assert_int_equal(counts[k], 0);
        }
    }
}

static void shifts_are_whole_pixels(void **state)
{
    (void)state;
    struct augment a = {.shift = 0.25, .fill = 0.75};
    int seen_y[3] = {0}, seen_x[5] = {0};
    moves(&a, 1, 2, seen_y, seen_x); /* a quarter of 6 and of 8 */
    for (int i = 0; i < 3; i++)
        assert_in_range(seen_y[i], ROWS / 3 - 50, ROWS / 3 + 50);
    for (int i = 0; i < 5; i++)
        assert_in_range(seen_x[i], ROWS / 5 - 40, ROWS / 5 + 40);
}

static void crops_are_of_the_padded_image(void **state)
{
    (void)state;
    struct augment a = {.crop_padding = 2};
    int seen_y[5] = {0}, seen_x[5] = {0};
    moves(&a, 2, 2, seen_y, seen_x);
    for (int i = 0; i < 5; i++) {
        assert_in_range(seen_y[i], ROWS / 5 - 40, ROWS / 5 + 40);
        assert_in_range(seen_x[i], ROWS / 5 - 40, ROWS / 5 + 40);
    }
}

/* A plane that rises by one a column: turned by t its slope along x is cos t, along y plus or minus sin t. */
static void rotation_turns_by_one_angle(void **state)
{
    (void)state;
    enum { N = 33 };
    struct shape s = {3, {1, N, N}};
    struct augment a = {.rotation = 30};
    static float x[N * N], scratch[N * N];
    double least = 1e9, most = -1e9;
    for (int64_t row = 0; row < 60; row++) {
        for (int i = 0; i < N * N; i++)
            x[i] = (float)(i % N - N / 2);
        augment_row(&a, 9, 0, row, s, false, x, scratch);
        int mid = N / 2;
        double along_x = (double)(x[mid * N + mid + 6] - x[mid * N + mid - 6]) / 12;
        double along_y = (double)(x[(mid + 6) * N + mid] - x[(mid - 6) * N + mid]) / 12;
        assert_true(fabs(along_x * along_x + along_y * along_y - 1) < 1e-3);
        assert_true(fabs((double)x[mid * N + mid]) < 1e-3); /* the centre stays */
        double degrees = atan2(along_y, along_x) * 180 / 3.14159265358979323846;
        least = fmin(least, degrees);
        most = fmax(most, degrees);
    }
    assert_true(least >= -30.01 && least < -22 && most <= 30.01 && most > 22);
}

static void scale_is_within_bounds(void **state)
{
    (void)state;
    enum { N = 33 };
    struct shape s = {3, {1, N, N}};
    struct augment a = {.scale = 0.5};
    static float x[N * N], scratch[N * N];
    double least = 1e9, most = 0;
    for (int64_t row = 0; row < 60; row++) {
        for (int i = 0; i < N * N; i++)
            x[i] = (float)(i % N - N / 2);
        augment_row(&a, 9, 0, row, s, false, x, scratch);
        int mid = N / 2;
        double by = 12 / (double)(x[mid * N + mid + 6] - x[mid * N + mid - 6]);
        least = fmin(least, by);
        most = fmax(most, by);
    }
    assert_true(least >= 0.499 && least < 0.65 && most <= 1.501 && most > 1.35);
}

static void brightness_multiplies(void **state)
{
    (void)state;
    struct augment a = {.brightness = 0.5};
    double least = 1e9, most = 0;
    for (int64_t row = 0; row < 100; row++) {
        float x[SIZE], was[SIZE];
        ramp(was);
        changed(&a, row, x);
        double by = (double)(x[10] / was[10]);
        for (int i = 0; i < SIZE; i++)
            assert_true(fabs((double)x[i] - (double)was[i] * by) < 1e-6);
        least = fmin(least, by);
        most = fmax(most, by);
    }
    assert_true(least >= 0.5 && least < 0.6 && most <= 1.5 && most > 1.4);
}

static void contrast_keeps_the_mean(void **state)
{
    (void)state;
    struct augment a = {.contrast = 0.5};
    for (int64_t row = 0; row < 100; row++) {
        float x[SIZE], was[SIZE], scratch[SIZE];
        double sum = 0, before = 0;
        ramp(was);
        ramp(x);
        augment_row(&a, 5, 2, row, shape, false, x, scratch);
        for (int i = 0; i < SIZE; i++) {
            sum += (double)x[i];
            before += (double)was[i];
        }
        assert_true(fabs(sum - before) / SIZE < 1e-6);
        double by = (double)(x[SIZE - 1] - x[0]) / (double)(was[SIZE - 1] - was[0]);
        assert_true(by >= 0.499 && by <= 1.501);
    }
}

static void noise_has_its_deviation(void **state)
{
    (void)state;
    struct augment a = {.noise = 0.1};
    double sum = 0, squares = 0;
    int beyond = 0, n = 0;
    for (int64_t row = 0; row < ROWS; row++) {
        float x[SIZE] = {0}, scratch[SIZE];
        augment_row(&a, 5, 0, row, shape, false, x, scratch);
        for (int i = 0; i < SIZE; i++, n++) {
            sum += (double)x[i];
            squares += (double)x[i] * (double)x[i];
            beyond += fabs((double)x[i]) > 0.2;
        }
    }
    assert_true(fabs(sum / n) < 0.002);
    assert_true(fabs(sqrt(squares / n) - 0.1) < 0.002);
    assert_true(fabs((double)beyond / n - 0.0455) < 0.006); /* two deviations */
}

static void cutout_is_one_square(void **state)
{
    (void)state;
    struct augment a = {.cutout = 3, .fill = 0.5};
    int whole = 0;
    for (int64_t row = 0; row < ROWS; row++) {
        float x[SIZE], was[SIZE];
        int top = H, low = -1, left = W, right = -1, cells = 0;
        ramp(was);
        changed(&a, row, x);
        for (int i = 0; i < H * W; i++) {
            assert_true((x[i] == was[i]) == (x[i + H * W] == was[i + H * W])); /* in all channels alike */
            if (x[i] == was[i])
                continue;
            assert_true(x[i] == 0.5f);
            top = i / W < top ? i / W : top;
            low = i / W > low ? i / W : low;
            left = i % W < left ? i % W : left;
            right = i % W > right ? i % W : right;
            cells++;
        }
        assert_int_equal(cells, (low - top + 1) * (right - left + 1));
        assert_in_range(cells, 4, 9);
        whole += cells == 9;
    }
    assert_in_range(whole, ROWS / 3, ROWS);
}

static void bytes_stay_within_bounds(void **state)
{
    (void)state;
    struct augment a = {.noise = 1, .brightness = 1, .contrast = 1};
    for (int64_t row = 0; row < 50; row++) {
        float x[SIZE];
        changed(&a, row, x);
        for (int i = 0; i < SIZE; i++)
            assert_true(x[i] >= 0 && x[i] <= 1);
    }
}

static const struct augment everything = {.flip = 3,
                                          .shift = 0.2,
                                          .crop_padding = 1,
                                          .rotation = 20,
                                          .scale = 0.2,
                                          .brightness = 0.3,
                                          .contrast = 0.3,
                                          .noise = 0.05,
                                          .cutout = 2};

static void draws_depend_on_seed_epoch_and_row(void **state)
{
    (void)state;
    float first[SIZE], x[SIZE], scratch[SIZE];
    static const struct {
        uint64_t seed;
        int64_t epoch, row;
    } others[] = {{6, 2, 3}, {5, 3, 3}, {5, 2, 4}};
    changed(&everything, 3, first);
    for (int64_t row = 0; row < 10; row++)
        changed(&everything, row, x); /* what was done meanwhile does not matter */
    changed(&everything, 3, x);
    assert_memory_equal(x, first, sizeof x);
    for (int i = 0; i < 3; i++) {
        ramp(x);
        augment_row(&everything, others[i].seed, others[i].epoch, others[i].row, shape, true, x, scratch);
        assert_memory_not_equal(x, first, sizeof x);
    }
}

/* Noise that is turned on does not turn images another way. */
static void one_setting_leaves_the_others(void **state)
{
    (void)state;
    struct augment flips = {.flip = FLIP_HORIZONTAL}, both = {.flip = FLIP_HORIZONTAL, .noise = 1e-6};
    for (int64_t row = 0; row < 50; row++) {
        float a[SIZE], b[SIZE];
        changed(&flips, row, a);
        changed(&both, row, b);
        for (int i = 0; i < SIZE; i++)
            assert_true(fabs((double)(a[i] - b[i])) < 1e-4);
    }
}

/* The same bytes in every build: a change of this is a change of what every job trains on. */
static void bits_are_kept(void **state)
{
    (void)state;
    static const char expected[] = "6b8bac5d7ef5b391e904cecd8505607c8f82b9c1890abbcd5e8df7bdf8edc9a2";
    unsigned char digest[32];
    char hex[65] = "";
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    for (int64_t row = 0; row < 20; row++) {
        float x[SIZE];
        changed(&everything, row, x);
        for (int i = 0; i < SIZE; i++) { /* to 1e-5: compilers may contract products */
            int32_t v = (int32_t)lround((double)x[i] * 1e5);
            EVP_DigestUpdate(md, &v, sizeof v);
        }
    }
    EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(hex, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changes_nothing),       cmocka_unit_test(flips_are_exact_and_even),
        cmocka_unit_test(shifts_are_whole_pixels),       cmocka_unit_test(crops_are_of_the_padded_image),
        cmocka_unit_test(rotation_turns_by_one_angle),   cmocka_unit_test(scale_is_within_bounds),
        cmocka_unit_test(brightness_multiplies),         cmocka_unit_test(contrast_keeps_the_mean),
        cmocka_unit_test(noise_has_its_deviation),       cmocka_unit_test(cutout_is_one_square),
        cmocka_unit_test(bytes_stay_within_bounds),      cmocka_unit_test(draws_depend_on_seed_epoch_and_row),
        cmocka_unit_test(one_setting_leaves_the_others), cmocka_unit_test(bits_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
