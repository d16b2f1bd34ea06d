/* What becomes of samples on their way into a data set: bad ones skipped whole and counted with their reason, images
 * decoded, sizes brought together, mean and deviation of the training rows, classes counted, and a set that is larger
 * than the memory it may take. Fixed seeds. */
#include "engine/rng.h"
#include "tests/lib/picture.h"
#include "worker/codec/image.h"
#include "worker/codec/wire.h"
#include "worker/train/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SIZE = 3 * 8 * 8, MOST = 32 };

struct bad { /* what on_bad was told of */
    int count;
    enum fail_code codes[MOST];
    int64_t offsets[MOST];
    char text[512]; /* of the last */
};

static int on_bad(void *arg, const struct record *r, const struct fail *reason, struct fail *why)
{
    struct bad *b = arg;
    assert_true(b->count < MOST);
    b->codes[b->count] = reason->code;
    snprintf(b->text, sizeof b->text, "%s", reason->text);
    b->offsets[b->count++] = r ? r->offset : -1; /* a row of a file */
    return r && r->offset == 999 ? (fail)(why, E_JOB, "enough") : 0;
}

static struct graph *graph_make(int outputs)
{
    struct graph *g = NULL;
    struct graph_node *n;
    struct fail why;
    assert_int_equal(graph_new(&g, "small", SHAPE(3, 8, 8), &why), 0);
    assert_int_equal(graph_add(&n, g, "dense", NULL, &why), 0);
    *(int64_t *)n->settings = outputs;
    assert_int_equal(graph_finish(g, &why), 0);
    return g;
}

static struct dataset *open_with(const struct graph *g, struct bad *bad, bool resize)
{
    struct dataset *d = NULL;
    struct dataset_options o = {.graph = g,
                                .loss = loss_find("cross_entropy"),
                                .resize = resize,
                                .on_bad = bad ? on_bad : NULL,
                                .on_bad_arg = bad};
    struct fail why;
    assert_int_equal(dataset_new(&d, &o, &why), 0);
    return d;
}

static int add_bytes(struct dataset *d, struct bytes *b, int64_t offset, struct fail *why)
{
    struct record r = {
        .topic = "t.samples", .partition = 1, .offset = offset, .value = {(char *)b->data, b->size}};
    return dataset_add_record(d, &r, &(struct payload_wait){0}, why);
}

static void add(struct dataset *d, enum dtype dtype, struct shape shape, const void *data,
                const int32_t *labels, int64_t offset)
{
    struct bytes b = {0};
    struct tensor_view v = {.name = {"", 0}, .dtype = dtype, .shape = shape};
    struct fail why;
    v.data = (struct span){data, (size_t)shape_size(shape) * dtype_size(dtype)};
    sample_encode(&b, &v, labels, NULL);
    if (add_bytes(d, &b, offset, &why))
        fail_msg("%s", why.text);
    bytes_free(&b);
}

static void noise(unsigned char *to, size_t n, uint64_t seed)
{
    struct rng r = rng_seed(seed);
    for (size_t i = 0; i < n; i++)
        to[i] = (unsigned char)rng_below(&r, 256);
}

static void bad_records_are_skipped_whole(void **state)
{
    (void)state;
    unsigned char rows[4][SIZE];
    static float numbers[2 * SIZE];
    static const int32_t labels[] = {0, 3, 4, 1}, wrong[] = {1, 5};
    struct bad bad = {0};
    struct graph *g = graph_make(5);
    struct dataset *d = open_with(g, &bad, false), *clean = open_with(g, NULL, false);
    struct bytes broken = {0};
    struct fail why;
    char with[65], without[65];
    noise(rows[0], sizeof rows, 3);
    add(d, DTYPE_UINT8, SHAPE(2, 3, 8, 8), rows[0], labels, 10);
    add(d, DTYPE_UINT8, SHAPE(2, 3, 8, 4), rows[0], labels, 11); /* another shape */
    add(d, DTYPE_FP32, SHAPE(1, 3, 8, 8), numbers, labels, 12);  /* another type */
    add(d, DTYPE_UINT8, SHAPE(2, 3, 8, 8), rows[2], wrong, 13);  /* the second label is none */
    add(d, DTYPE_UINT8, SHAPE(2, 3, 8, 8), rows[2], NULL, 14);   /* no label */
    assert_int_equal(add_bytes(d, &broken, 15, &why), 0);        /* a tombstone */
    bytes_put_long(&broken, 7);
    assert_int_equal(add_bytes(d, &broken, 16, &why), 0); /* cut */
    bytes_free(&broken);
    struct span image = {"no image", 8};
    sample_encode_images(&broken, &image, 1, labels);
    assert_int_equal(add_bytes(d, &broken, 17, &why), 0);
    bytes_free(&broken);
    add(d, DTYPE_UINT8, SHAPE(2, 3, 8, 8), rows[2], labels + 2, 18);
    static const enum fail_code codes[] = {E_BAD_SHAPE, E_BAD_DTYPE, E_BAD_REQUEST, E_BAD_REQUEST,
                                           E_EMPTY,     E_BAD_FRAME, E_BAD_IMAGE};
    assert_int_equal(bad.count, 7);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(bad.offsets[i], 11 + i);
        if (i != 5) /* which word the codec has for a cut record is its own affair */
            assert_int_equal(bad.codes[i], codes[i]);
        assert_int_equal(fail_class(bad.codes[i]), FAIL_RECORD);
    }
    assert_int_equal(dataset_bad_records(d), 7);
    assert_int_equal(dataset_rows(d), 4);
    add(clean, DTYPE_UINT8, SHAPE(4, 3, 8, 8), rows[0], labels, 0);
    assert_int_equal(dataset_finish(d, g, loss_find("cross_entropy"), &why), 0);
    assert_int_equal(dataset_finish(clean, g, loss_find("cross_entropy"), &why), 0);
    dataset_sha256(d, with);
    dataset_sha256(clean, without);
    assert_string_equal(with, without);
    dataset_free(&clean);
    dataset_free(&d);
    graph_free(&g);
}

/* Of a file each row is one by itself. */
static void bad_rows_of_files_are_skipped(void **state)
{
    (void)state;
    unsigned char rows[6][SIZE];
    static const int32_t labels[] = {0, 9, 4, 1, -1, 2}, good[] = {0, 4, 1, 2};
    struct bad bad = {0};
    struct graph *g = graph_make(5);
    struct dataset *d = open_with(g, &bad, false), *clean = open_with(g, NULL, false);
    struct fail why;
    char with[65], without[65];
    noise(rows[0], sizeof rows, 4);
    struct rows all = {.dtype = DTYPE_UINT8,
                       .row_shape = SHAPE(3, 8, 8),
                       .count = 6,
                       .row_size = SIZE,
                       .data = rows,
                       .labels = labels};
    assert_int_equal(dataset_add_rows(clean, &all, "all", &why), -E_JOB);
    assert_non_null(strstr(why.text, "row 1 has the label 9"));
    assert_int_equal(dataset_rows(clean), 0);
    assert_int_equal(dataset_add_rows(d, &all, "all", &why), 0);
    assert_int_equal(dataset_bad_records(d), 2);
    assert_int_equal(bad.count, 2);
    assert_int_equal(bad.codes[0], E_BAD_REQUEST);
    assert_non_null(
        strstr(bad.text, "row 4 has the label -1")); /* the last of them, by its place in the file */
    memmove(rows[1], rows[2], 2 * SIZE);
    memmove(rows[3], rows[5], SIZE);
    all.count = 4;
    all.labels = good;
    assert_int_equal(dataset_add_rows(clean, &all, "good", &why), 0);
    assert_int_equal(dataset_finish(d, g, loss_find("cross_entropy"), &why), 0);
    assert_int_equal(dataset_finish(clean, g, loss_find("cross_entropy"), &why), 0);
    dataset_sha256(d, with);
    dataset_sha256(clean, without);
    assert_string_equal(with, without);
    dataset_free(&clean);
    dataset_free(&d);
    graph_free(&g);
}

/* A bad record that came first says nothing about the others, and whoever takes them can end it. */
static void the_first_may_be_bad(void **state)
{
    (void)state;
    static float numbers[SIZE];
    static const int32_t labels[] = {1};
    struct bad bad = {0};
    struct graph *g = graph_make(5);
    struct dataset *d = open_with(g, &bad, false);
    struct bytes none = {0};
    struct fail why;
    unsigned char row[SIZE];
    noise(row, sizeof row, 4);
    numbers[7] = NAN;
    add(d, DTYPE_FP32, SHAPE(1, 3, 8, 8), numbers, labels, 1);
    assert_int_equal(bad.codes[0], E_NON_FINITE);
    add(d, DTYPE_UINT8, SHAPE(1, 3, 8, 8), row, labels, 2);
    assert_int_equal(dataset_rows(d), 1);
    assert_int_equal(dataset_dtype(d), DTYPE_UINT8);
    assert_int_equal(add_bytes(d, &none, 999, &why), -E_JOB);
    assert_string_equal(why.text, "enough");
    dataset_free(&d);
    graph_free(&g);
}

static void images_become_rows(void **state)
{
    (void)state;
    struct graph *g = graph_make(5);
    struct dataset *d = open_with(g, NULL, false);
    unsigned char *rgb = picture_pixels(21, 13), expected[2][SIZE];
    static const int32_t labels[] = {2, 4};
    struct bytes files[2] = {{0}, {0}}, record = {0};
    struct span spans[2];
    struct fail why;
    picture_png(&files[0], rgb, 21, 13, false);
    picture_jpeg(&files[1], rgb, 13, 21, 90);
    for (int i = 0; i < 2; i++) {
        struct image_decoder decoder = {.budget = IMAGE_RECORD_PIXELS};
        spans[i] = (struct span){(char *)files[i].data, files[i].size};
        assert_int_equal(image_decode(&decoder, spans[i], SHAPE(3, 8, 8), expected[i], &why), 0);
        image_decoder_free(&decoder);
    }
    sample_encode_images(&record, spans, 2, labels);
    for (int turn = 0; turn < 20; turn++) /* memory moves meanwhile */
        if (add_bytes(d, &record, turn, &why))
            fail_msg("%s", why.text);
    assert_int_equal(dataset_finish(d, g, loss_find("cross_entropy"), &why), 0);
    assert_int_equal(dataset_rows(d), 40);
    assert_int_equal(dataset_dtype(d), DTYPE_UINT8);
    for (int i = 0; i < 40; i++) {
        float x[SIZE];
        dataset_row(d, i, x);
        assert_int_equal(dataset_label(d, i), labels[i % 2]);
        for (int k = 0; k < SIZE; k++)
            assert_true(x[k] == (float)expected[i % 2][k] / 255.0f);
    }
    bytes_free(&record);
    bytes_free(&files[0]);
    bytes_free(&files[1]);
    free(rgb);
    dataset_free(&d);
    graph_free(&g);
}

/* What an image file of the same pixels becomes. */
static void sizes_are_brought_together(void **state)
{
    (void)state;
    struct graph *g = graph_make(5);
    struct dataset *d = open_with(g, NULL, true);
    unsigned char *rgb = picture_pixels(21, 13), planes[3 * 13 * 21], expected[SIZE];
    static const int32_t labels[] = {2};
    struct image_decoder decoder = {.budget = IMAGE_RECORD_PIXELS};
    struct bytes file = {0};
    struct fail why;
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 13 * 21; i++)
            planes[c * 13 * 21 + i] = rgb[3 * i + c];
    picture_png(&file, rgb, 21, 13, false);
    assert_int_equal(
        image_decode(&decoder, (struct span){(char *)file.data, file.size}, SHAPE(3, 8, 8), expected, &why),
        0);
    add(d, DTYPE_UINT8, SHAPE(1, 3, 13, 21), planes, labels, 1);
    add(d, DTYPE_UINT8, SHAPE(1, 3, 8, 8), expected, labels, 2); /* as it is */
    assert_int_equal(dataset_rows(d), 2);
    for (int i = 0; i < 2; i++) {
        float x[SIZE];
        dataset_row(d, i, x);
        for (int k = 0; k < SIZE; k++)
            assert_true(x[k] == (float)expected[k] / 255.0f);
    }
    image_decoder_free(&decoder);
    bytes_free(&file);
    free(rgb);
    dataset_free(&d);
    graph_free(&g);
}

static void moments_are_of_the_training_rows(void **state)
{
    (void)state;
    enum { N = 300 };
    static unsigned char rows[N][SIZE];
    static int32_t labels[N];
    struct graph *g = graph_make(5);
    struct dataset *d = NULL;
    struct dataset_options o = {.validation_rate = 0.3, .test_rate = 0.1};
    struct fail why;
    float mean[4], std[4];
    int channels = 0;
    noise(rows[0], sizeof rows, 8);
    for (int i = 0; i < N; i++) {
        labels[i] = i % 5;
        memset(rows[i] + 128, 77, 64); /* the third channel is one colour */
    }
    assert_int_equal(dataset_new(&d, &o, &why), 0);
    add(d, DTYPE_UINT8, SHAPE(N, 3, 8, 8), rows, labels, 1);
    assert_int_equal(dataset_moments(d, mean, std, 4, &channels, &why), 0);
    assert_int_equal(dataset_moments(d, mean, std, 2, &channels, &why), -E_JOB);
    assert_int_equal(channels, 3);
    assert_int_equal(dataset_finish(d, g, loss_find("cross_entropy"), &why), 0);
    int64_t n = dataset_count(d, DATASET_TRAIN), counts[5], all = 0;
    assert_in_range(n, 120, 240);
    for (int c = 0; c < 3; c++) {
        double sum = 0, squares = 0, values = (double)n * 64;
        for (int64_t i = 0; i < n; i++)
            for (int k = 0; k < 64; k++) {
                double x = rows[dataset_index(d, DATASET_TRAIN)[i]][c * 64 + k] / 255.0;
                sum += x;
                squares += x * x;
            }
        double m = sum / values, s = sqrt(squares / values - m * m);
        assert_true(fabs((double)mean[c] - m) < 1e-6);
        assert_true(fabs((double)std[c] - (c == 2 ? 1 : s)) < 1e-6);
    }
    dataset_classes(d, DATASET_TRAIN, counts, 5);
    for (int k = 0; k < 5; k++) {
        int64_t expected = 0;
        for (int64_t i = 0; i < n; i++)
            expected += labels[dataset_index(d, DATASET_TRAIN)[i]] == k;
        assert_int_equal(counts[k], expected);
        all += counts[k];
    }
    assert_int_equal(all, n);
    dataset_free(&d);
    graph_free(&g);
}

/* ---- larger than memory ---- */

static int entries(const char *dir)
{
    int n = 0;
    DIR *at = opendir(dir);
    assert_non_null(at);
    while (readdir(at))
        n++;
    closedir(at);
    return n - 2;
}

static int fill_limited(struct dataset **d, const struct cache_limits *limits, int records, struct fail *why)
{
    enum { N = 256 };
    static unsigned char rows[N][SIZE];
    static int32_t labels[N];
    struct dataset_options o = {.validation_rate = 0.1, .limits = *limits};
    int rc = dataset_new(d, &o, why);
    for (int i = 0; !rc && i < records; i++) {
        struct rows r = {.dtype = DTYPE_UINT8,
                         .row_shape = SHAPE(3, 8, 8),
                         .count = N,
                         .row_size = SIZE,
                         .data = rows,
                         .labels = labels};
        noise(rows[0], sizeof rows, (uint64_t)i);
        rc = dataset_add_rows(*d, &r, "rows", why);
    }
    return rc;
}

static void a_file_takes_what_memory_does_not(void **state)
{
    (void)state;
    enum { MB = 1 << 20 };
    char dir[] = "/tmp/millrace-cache-XXXXXX", one[65], two[65];
    struct graph *g = graph_make(5);
    struct dataset *memory, *file;
    struct fail why;
    assert_non_null(mkdtemp(dir));
    struct cache_limits none = {0}, little = {MB, 256 * (int64_t)MB, dir}, less = {MB, 2 * MB, dir};
    assert_int_equal(fill_limited(&memory, &none, 120, &why), 0);
    assert_int_equal(fill_limited(&file, &little, 120, &why), 0);
    assert_false(dataset_in_file(memory));
    assert_true(dataset_in_file(file));
    assert_int_equal(entries(dir), 0); /* nothing is left behind by whatever ends the process */
    assert_int_equal(dataset_finish(memory, g, loss_find("cross_entropy"), &why), 0);
    assert_int_equal(dataset_finish(file, g, loss_find("cross_entropy"), &why), 0);
    dataset_sha256(memory, one);
    dataset_sha256(file, two);
    assert_string_equal(one, two);
    for (int64_t i = 0; i < dataset_rows(memory); i += 1000) {
        float x[SIZE], y[SIZE];
        dataset_row(memory, i, x);
        dataset_row(file, i, y);
        assert_memory_equal(x, y, sizeof x);
    }
    dataset_free(&memory);
    dataset_free(&file);
    assert_int_equal(fill_limited(&file, &less, 120, &why), -E_JOB);
    assert_non_null(strstr(why.text, "training.cache_mb"));
    dataset_free(&file);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(fill_limited(&file, &little, 120, &why), -E_IO); /* the folder is gone */
    dataset_free(&file);
    graph_free(&g);
}

/* A disk without room is an error and not the end of the process. */
static void a_full_disk_is_said(void **state)
{
    (void)state;
    char dir[] = "/tmp/millrace-cache-XXXXXX";
    struct cache_limits limits = {1 << 20, (int64_t)1 << 30, dir};
    struct rlimit was, small;
    struct dataset *d;
    struct fail why;
    assert_non_null(mkdtemp(dir));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = 8 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = fill_limited(&d, &limits, 400, &why);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(rc, -E_IO);
    assert_non_null(strstr(why.text, dir));
    dataset_free(&d);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_records_are_skipped_whole),
        cmocka_unit_test(bad_rows_of_files_are_skipped),
        cmocka_unit_test(the_first_may_be_bad),
        cmocka_unit_test(images_become_rows),
        cmocka_unit_test(sizes_are_brought_together),
        cmocka_unit_test(moments_are_of_the_training_rows),
        cmocka_unit_test(a_file_takes_what_memory_does_not),
        cmocka_unit_test(a_full_disk_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
