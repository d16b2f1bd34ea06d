/* Rows into memory: what is kept, what is refused and where it is said to be, and a split that depends on the
 * row alone. Fixed seeds. */
#include "engine/normalise.h"
#include "engine/rng.h"
#include "worker/models/store.h"
#include "worker/train/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 2000, SIZE = 16 };

struct table {
    uint8_t pixels[ROWS][SIZE];
    int32_t labels[ROWS];
};

static struct table *table_make(uint64_t seed)
{
    struct table *t = malloc(sizeof *t);
    struct rng r = rng_seed(seed);
    assert_non_null(t);
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < SIZE; j++)
            t->pixels[i][j] = (uint8_t)rng_below(&r, 256);
        t->labels[i] = (int32_t)rng_below(&r, 10);
    }
    return t;
}

static struct graph *graph_make(void)
{
    struct graph *g = NULL;
    struct graph_node *n;
    struct fail why;
    assert_int_equal(graph_new(&g, "small", SHAPE(1, 4, 4), &why), 0);
    assert_int_equal(graph_add(&n, g, "dense", NULL, &why), 0);
    *(int64_t *)n->settings = 10; /* units */
    assert_int_equal(graph_finish(g, &why), 0);
    return g;
}

static struct dataset *dataset_make(double validation, double test)
{
    struct dataset *d = NULL;
    struct dataset_options o = {.validation_rate = validation, .test_rate = test};
    struct fail why;
    assert_int_equal(dataset_new(&d, &o, &why), 0);
    return d;
}

static void add_rows(struct dataset *d, const struct table *t, int first, int count)
{
    struct rows rows = {.dtype = DTYPE_UINT8,
                        .row_shape = SHAPE(1, 4, 4),
                        .count = count,
                        .row_size = SIZE,
                        .data = t->pixels[first],
                        .labels = t->labels + first};
    struct fail why;
    assert_int_equal(dataset_add_rows(d, &rows, "table", &why), 0);
}

static void finish(struct dataset *d)
{
    struct graph *g = graph_make();
    struct fail why;
    assert_int_equal(dataset_finish(d, g, loss_find("cross_entropy"), &why), 0);
    graph_free(&g);
}

/* The same rule, computed from the words of the header. */
static enum dataset_part part_expected(const uint8_t *row, int32_t label, double validation, double test)
{
    uint8_t both[SIZE + 4];
    char hex[SHA256_HEX];
    memcpy(both, row, SIZE);
    for (int i = 0; i < 4; i++)
        both[SIZE + i] = (uint8_t)((uint32_t)label >> (8 * i));
    sha256_hex(both, sizeof both, hex);
    hex[16] = 0;
    double u = (double)strtoull(hex, NULL, 16) / 0x1p64;
    return u < test ? DATASET_TEST : u < test + validation ? DATASET_VALIDATION : DATASET_TRAIN;
}

static void split_follows_the_rule(void **state)
{
    (void)state;
    struct table *t = table_make(7);
    struct dataset *d = dataset_make(0.2, 0.1);
    int64_t counts[DATASET_PARTS] = {0};
    add_rows(d, t, 0, ROWS);
    finish(d);
    for (int i = 0; i < ROWS; i++) {
        enum dataset_part p = part_expected(t->pixels[i], t->labels[i], 0.2, 0.1);
        assert_int_equal(dataset_index(d, p)[counts[p]++], i);
    }
    for (int p = 0; p < DATASET_PARTS; p++)
        assert_int_equal(dataset_count(d, (enum dataset_part)p), counts[p]);
    assert_in_range(counts[DATASET_VALIDATION], ROWS / 5 - 80, ROWS / 5 + 80);
    assert_in_range(counts[DATASET_TEST], ROWS / 10 - 60, ROWS / 10 + 60);
    dataset_free(&d);
    free(t);
}

static void digest_is_of_rows_in_order(void **state)
{
    (void)state;
    struct table *t = table_make(8);
    uint8_t all[100 * (SIZE + 4)];
    char expected[SHA256_HEX], one[65], pieces[65];
    for (int i = 0; i < 100; i++) {
        memcpy(all + i * (SIZE + 4), t->pixels[i], SIZE);
        memcpy(all + i * (SIZE + 4) + SIZE, &t->labels[i], 4);
    }
    sha256_hex(all, sizeof all, expected);
    struct dataset *d = dataset_make(0.1, 0);
    add_rows(d, t, 0, 100);
    finish(d);
    dataset_sha256(d, one);
    dataset_free(&d);
    d = dataset_make(0.5, 0);
    for (int i = 0; i < 100; i += 10)
        add_rows(d, t, i, 10);
    finish(d);
    dataset_sha256(d, pieces);
    dataset_free(&d);
    assert_string_equal(one, expected);
    assert_string_equal(pieces, expected);
    free(t);
}

static void bytes_are_normalised_when_filled(void **state)
{
    (void)state;
    struct table *t = table_make(9);
    struct dataset *d = dataset_make(0, 0);
    struct graph *g = graph_make();
    struct fail why;
    uint32_t index[2] = {5, 3};
    float x[2 * SIZE];
    int32_t labels[2];
    add_rows(d, t, 0, 10);
    g->channels_normalised = 1;
    g->mean[0] = 0.5f;
    g->std[0] = 0.25f;
    assert_int_equal(dataset_finish(d, g, loss_find("cross_entropy"), &why), 0);
    struct target target = dataset_fill(d, index, 2, &(struct dataset_batch){.x = x, .labels = labels});
    assert_null(target.targets);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(target.labels[i], t->labels[index[i]]);
        for (int j = 0; j < SIZE; j++) {
            float wanted = ((float)t->pixels[index[i]][j] / 255.0f - 0.5f) / 0.25f;
            assert_true(fabsf(x[i * SIZE + j] - wanted) <= 1e-6f);
        }
    }
    graph_free(&g);
    dataset_free(&d);
    free(t);
}

static struct bytes sample_bytes(enum dtype dtype, struct shape shape, const void *data,
                                 const int32_t *labels)
{
    struct bytes b = {0};
    struct tensor_view v = {.name = {"", 0}, .dtype = dtype, .shape = shape};
    v.data = (struct span){data, (size_t)shape_size(shape) * dtype_size(dtype)};
    sample_encode(&b, &v, labels, NULL);
    assert_false(b.failed);
    return b;
}

static int add_sample(struct dataset *d, struct bytes b, int64_t offset, struct fail *why)
{
    struct record r = {
        .topic = "t.samples", .partition = 2, .offset = offset, .value = {(char *)b.data, b.size}};
    int rc = dataset_add_record(d, &r, &(struct payload_wait){0}, why);
    bytes_free(&b);
    return rc;
}

static void records_and_files_give_the_same(void **state)
{
    (void)state;
    struct table *t = table_make(10);
    struct dataset *a = dataset_make(0.1, 0), *b = dataset_make(0.1, 0);
    struct fail why;
    char x[65], y[65];
    add_rows(a, t, 0, 64);
    for (int i = 0; i < 64; i += 16)
        assert_int_equal(
            add_sample(b, sample_bytes(DTYPE_UINT8, SHAPE(16, 1, 4, 4), t->pixels[i], t->labels + i), i,
                       &why),
            0);
    finish(a);
    finish(b);
    dataset_sha256(a, x);
    dataset_sha256(b, y);
    assert_string_equal(x, y);
    assert_int_equal(dataset_rows(b), 64);
    assert_int_equal(dataset_dtype(b), DTYPE_UINT8);
    dataset_free(&a);
    dataset_free(&b);
    free(t);
}

static void wrong_records_say_where(void **state)
{
    (void)state;
    struct dataset *d = dataset_make(0.1, 0);
    struct fail why = {0};
    uint8_t bytes[32] = {0};
    float numbers[16] = {0};
    int32_t labels[2] = {1, 2};
    assert_int_equal(add_sample(d, sample_bytes(DTYPE_UINT8, SHAPE(2, 1, 4, 4), bytes, labels), 4, &why), 0);
    assert_int_equal(add_sample(d, sample_bytes(DTYPE_UINT8, SHAPE(2, 1, 2, 8), bytes, labels), 5, &why),
                     -E_JOB);
    assert_non_null(strstr(why.text, "t.samples/2 offset 5"));
    assert_non_null(strstr(why.text, "[1, 2, 8]"));
    assert_int_equal(add_sample(d, sample_bytes(DTYPE_FP32, SHAPE(1, 1, 4, 4), numbers, labels), 6, &why),
                     -E_JOB);
    assert_non_null(strstr(why.text, "FP32"));
    assert_int_equal(add_sample(d, sample_bytes(DTYPE_UINT8, SHAPE(2, 1, 4, 4), bytes, NULL), 7, &why),
                     -E_JOB);
    assert_non_null(strstr(why.text, "labels"));
    struct bytes cut = sample_bytes(DTYPE_UINT8, SHAPE(2, 1, 4, 4), bytes, labels);
    cut.size -= 3;
    assert_int_equal(add_sample(d, cut, 8, &why), -E_JOB);
    assert_non_null(strstr(why.text, "offset 8"));
    assert_int_equal(add_sample(d, (struct bytes){0}, 9, &why), -E_JOB);
    assert_int_equal(dataset_rows(d), 2);
    dataset_free(&d);
    d = dataset_make(0.1, 0);
    numbers[7] = NAN;
    assert_int_equal(add_sample(d, sample_bytes(DTYPE_FP32, SHAPE(1, 1, 4, 4), numbers, labels), 1, &why),
                     -E_JOB);
    assert_non_null(strstr(why.text, "finite"));
    dataset_free(&d);
}

static int finish_with(const struct table *t, int rows, const char *loss, struct shape shape,
                       struct fail *why)
{
    struct dataset *d = dataset_make(0.1, 0);
    struct graph *g = graph_make();
    struct rows r = {.dtype = DTYPE_UINT8,
                     .row_shape = shape,
                     .count = rows,
                     .row_size = SIZE,
                     .data = t->pixels,
                     .labels = t->labels};
    assert_int_equal(dataset_add_rows(d, &r, "table", why), 0);
    int rc = dataset_finish(d, g, loss_find(loss), why);
    graph_free(&g);
    dataset_free(&d);
    return rc;
}

static void what_does_not_fit_the_network(void **state)
{
    (void)state;
    struct table *t = table_make(11);
    struct fail why;
    assert_int_equal(finish_with(t, 0, "cross_entropy", SHAPE(1, 4, 4), &why), -E_JOB);
    assert_int_equal(finish_with(t, 50, "cross_entropy", SHAPE(1, 2, 8), &why), -E_JOB);
    assert_non_null(strstr(why.text, "[1, 2, 8]"));
    assert_int_equal(finish_with(t, 50, "mse", SHAPE(1, 4, 4), &why), -E_JOB);
    t->labels[33] = 10;
    assert_int_equal(finish_with(t, 50, "cross_entropy", SHAPE(1, 4, 4), &why), -E_JOB);
    assert_non_null(strstr(why.text, "row 33"));
    t->labels[33] = -1;
    assert_int_equal(finish_with(t, 50, "cross_entropy", SHAPE(1, 4, 4), &why), -E_JOB);
    free(t);
}

/* A label that is no class may be there where the job leaves its rows out. */
static void ignored_labels_are_no_class(void **state)
{
    (void)state;
    struct table *t = table_make(11);
    struct fail why = {0};
    struct rows r = {.dtype = DTYPE_UINT8,
                     .row_shape = SHAPE(1, 4, 4),
                     .count = 50,
                     .row_size = SIZE,
                     .data = t->pixels,
                     .labels = t->labels};
    t->labels[33] = -7;
    for (int ignored = -8; ignored <= -7; ignored++) {
        struct dataset_options o = {.validation_rate = 0.1, .ignores = true, .ignored_label = ignored};
        struct dataset *d = NULL;
        struct graph *g = graph_make();
        assert_int_equal(dataset_new(&d, &o, &why), 0);
        assert_int_equal(dataset_add_rows(d, &r, "table", &why), 0);
        assert_int_equal(dataset_finish(d, g, loss_find("cross_entropy"), &why), ignored == -7 ? 0 : -E_JOB);
        graph_free(&g);
        dataset_free(&d);
    }
    free(t);
}

static void targets_of_several_labels(void **state)
{
    static const struct {
        float target;
        const char *loss, *said;
    } cases[] = {
        {1, "log_loss", NULL},
        {1.5f, "log_loss", "row 3 has the target 1.5"},
        {1.5f, "mse", NULL},
        {0, "cross_entropy", "labels"},
    };
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct table *t = table_make(11);
        struct fail why = {0};
        float targets[50 * 10] = {0};
        struct rows r = {.dtype = DTYPE_UINT8,
                         .row_shape = SHAPE(1, 4, 4),
                         .count = 50,
                         .row_size = SIZE,
                         .data = t->pixels,
                         .targets = targets,
                         .target_size = 10};
        struct dataset *d = dataset_make(0.1, 0);
        struct graph *g = graph_make();
        targets[3 * 10 + 4] = cases[i].target;
        assert_int_equal(dataset_add_rows(d, &r, "table", &why), 0);
        int rc = dataset_finish(d, g, loss_find(cases[i].loss), &why);
        assert_int_equal(rc, cases[i].said ? -E_JOB : 0);
        assert_true(!cases[i].said || strstr(why.text, cases[i].said));
        graph_free(&g);
        dataset_free(&d);
        free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_follows_the_rule),           cmocka_unit_test(digest_is_of_rows_in_order),
        cmocka_unit_test(bytes_are_normalised_when_filled), cmocka_unit_test(records_and_files_give_the_same),
        cmocka_unit_test(wrong_records_say_where),          cmocka_unit_test(what_does_not_fit_the_network),
        cmocka_unit_test(ignored_labels_are_no_class),      cmocka_unit_test(targets_of_several_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
