/* What is written reads back the same in every format; what numpy, gzip and Python's avro wrote reads as it was
 * meant (tests/golden/make_data_goldens.py); what is not read is refused in words. Runs from the repository's
 * root. */
#include "worker/data/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/rng.h"
#include "tests/lib/folder.h"
#include "worker/codec/container.h"

#include <cmocka.h>

#define GOLDEN "tests/golden/data/"

enum { ROWS = 37 }; /* two whole Avro records and a part */

/* ---- round trips ---- */

struct made {
    struct rows rows;
    unsigned char *data;
    int32_t labels[ROWS];
    float targets[ROWS * 3];
};

static void make_rows(struct made *m, enum dtype t, struct shape s, bool labels, bool targets)
{
    struct rng r = rng_seed(7);
    size_t row = (size_t)shape_size(s) * dtype_size(t);
    m->data = malloc(ROWS * row);
    assert_non_null(m->data);
    for (size_t i = 0; i < ROWS * row; i++)
        m->data[i] = (unsigned char)(t == DTYPE_BOOL ? rng_below(&r, 2) : rng_below(&r, 256));
    for (int i = 0; i < ROWS; i++)
        m->labels[i] = (int32_t)rng_below(&r, 10);
    for (int i = 0; i < ROWS * 3; i++)
        m->targets[i] = (float)rng_normal(&r);
    m->rows = (struct rows){.dtype = t, .row_shape = s, .count = ROWS, .row_size = row, .data = m->data};
    if (labels)
        m->rows.labels = m->labels;
    if (targets) {
        m->rows.targets = m->targets;
        m->rows.target_size = 3;
    }
}

static void assert_rows_equal(const struct rows *a, const struct rows *b)
{
    assert_int_equal(a->dtype, b->dtype);
    assert_true(shape_equal(a->row_shape, b->row_shape));
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->row_size, b->row_size);
    assert_memory_equal(a->data, b->data, (size_t)a->count * a->row_size);
    assert_int_equal(!a->labels, !b->labels);
    assert_int_equal(!a->targets, !b->targets);
    assert_int_equal(a->target_size, b->target_size);
    if (a->labels)
        assert_memory_equal(a->labels, b->labels, (size_t)a->count * sizeof *a->labels);
    if (a->targets)
        assert_memory_equal(a->targets, b->targets, (size_t)(a->count * a->target_size) * sizeof *a->targets);
}

static void read_good(struct rows *out, const char *path)
{
    struct fail why = {0};
    if (rows_read(out, path, &why))
        fail_msg("%s", why.text);
}

static void round_trip(const char *folder, const char *name, enum dtype t, struct shape s, bool labels,
                       bool targets)
{
    struct fail why = {0};
    struct made m;
    struct rows back;
    const char *path = folder_path(folder, name);
    make_rows(&m, t, s, labels, targets);
    if (rows_write(&m.rows, path, &why))
        fail_msg("%s", why.text);
    assert_int_equal(access(folder_path(folder, "x.part"), F_OK), -1);
    read_good(&back, path);
    assert_rows_equal(&m.rows, &back);
    rows_close(&back);
    assert_null(back.data);
    free(m.data);
}

static void every_format_comes_back(void **state)
{
    static const enum dtype npy[] = {DTYPE_BOOL,  DTYPE_UINT8, DTYPE_INT8, DTYPE_INT16, DTYPE_INT32,
                                     DTYPE_INT64, DTYPE_FP16,  DTYPE_FP32, DTYPE_FP64};
    for (size_t i = 0; i < sizeof npy / sizeof *npy; i++) {
        round_trip(*state, "a.npy", npy[i], SHAPE(3, 5, 4), false, false);
        round_trip(*state, "a.npz", npy[i], SHAPE(3, 5, 4), true, true);
        round_trip(*state, "a.avro", npy[i], SHAPE(3, 5, 4), true, false);
    }
    round_trip(*state, "b.npz", DTYPE_FP32, SHAPE(17), false, true);
    round_trip(*state, "c.npz", DTYPE_FP32, SHAPE(17), false, false);
    round_trip(*state, "b.avro", DTYPE_FP32, SHAPE(17), false, true);
    round_trip(*state, "c.avro", DTYPE_BF16, SHAPE(17), false, false);
    round_trip(*state, "a.bin", DTYPE_UINT8, SHAPE(3, 32, 32), true, false);
    round_trip(*state, "a-images-idx3-ubyte", DTYPE_UINT8, SHAPE(1, 28, 28), true, false);
    round_trip(*state, "b-images-idx4-ubyte", DTYPE_UINT8, SHAPE(3, 8, 9), true, false);
    round_trip(*state, "c-images-idx3-ubyte.gz", DTYPE_UINT8, SHAPE(1, 28, 28), true, false);
    round_trip(*state, "d.idx", DTYPE_UINT8, SHAPE(12), false, false);
    round_trip(*state, "D.IDX.GZ", DTYPE_UINT8, SHAPE(12), false, false);
}

/* The same rows make the same bytes. */
static void files_are_reproducible(void **state)
{
    static const char *const names[] = {"r.npz", "r.avro", "r-images-idx3-ubyte.gz"};
    for (int i = 0; i < 3; i++) {
        size_t a_size, b_size;
        round_trip(*state, names[i], DTYPE_UINT8, SHAPE(1, 9, 9), true, false);
        unsigned char *a = folder_read(folder_path(*state, names[i]), &a_size);
        round_trip(*state, names[i], DTYPE_UINT8, SHAPE(1, 9, 9), true, false);
        unsigned char *b = folder_read(folder_path(*state, names[i]), &b_size);
        assert_int_equal(a_size, b_size);
        assert_memory_equal(a, b, a_size);
        free(a);
        free(b);
    }
}

static void refuse_write(const char *folder, const char *name, struct rows *rows, const char *text)
{
    struct fail why = {0};
    const char *path = folder_path(folder, name);
    assert_int_equal(rows_write(rows, path, &why), -E_USAGE);
    if (!strstr(why.text, text) || !strstr(why.text, name))
        fail_msg("'%s' has no '%s'", why.text, text);
    assert_int_equal(access(path, F_OK), -1);
    char part[600];
    snprintf(part, sizeof part, "%s.part", path);
    assert_int_equal(access(part, F_OK), -1);
}

static void formats_refuse_what_they_cannot_hold(void **state)
{
    struct made m;
    make_rows(&m, DTYPE_UINT8, SHAPE(3, 32, 32), true, false);
    refuse_write(*state, "n.npy", &m.rows, "write .npz");
    refuse_write(*state, "n.idx", &m.rows, "train-images-idx3-ubyte");
    refuse_write(*state, "n.jpg", &m.rows, "written are .npy");
    m.labels[20] = 11;
    refuse_write(*state, "n.bin", &m.rows, "row 20 has label 11");
    m.labels[21] = 256;
    refuse_write(*state, "n-images-idx3-ubyte", &m.rows, "row 21 has label 256");
    m.rows.labels = NULL;
    refuse_write(*state, "n.bin", &m.rows, "labels");
    m.rows.row_shape = SHAPE(3, 1024);
    refuse_write(*state, "n.bin", &m.rows, "[3, 32, 32]");
    m.rows.dtype = DTYPE_BF16;
    m.rows.row_shape = SHAPE(3, 32, 16);
    refuse_write(*state, "n.npy", &m.rows, "BF16");
    refuse_write(*state, "n.idx", &m.rows, "UINT8");
    m.rows.dtype = DTYPE_UNKNOWN;
    refuse_write(*state, "n.npy", &m.rows, "no rows of such");
    free(m.data);
}

static void a_promised_count_is_kept(void **state)
{
    struct fail why = {0};
    struct made m;
    struct rows_writer *w = NULL;
    const char *path = folder_path(*state, "promised.npz");
    make_rows(&m, DTYPE_UINT8, SHAPE(4), true, false);
    assert_int_equal(rows_create(&w, path, &m.rows, &why), 0);
    assert_int_equal(rows_append(w, m.data, m.labels, NULL, ROWS - 1, &why), 0);
    assert_int_equal(rows_append(w, m.data, NULL, NULL, 1, &why), -E_FAILED);
    assert_int_equal(rows_append(w, m.data, m.labels, NULL, 2, &why), -E_FAILED);
    assert_int_equal(rows_finish(&w, &why), -E_FAILED);
    assert_non_null(strstr(why.text, "37 rows were promised, 36 came"));
    assert_null(w);
    assert_int_equal(access(path, F_OK), -1);
    free(m.data);
}

/* ---- files that others wrote ---- */

struct golden {
    const char *name;
    enum dtype dtype;
    struct shape shape;
    int64_t count;
    bool labels;
    int64_t target_size;
};

static const struct golden goldens[] = {
    {"x_b1.npy", DTYPE_BOOL, {3, {3, 4, 2}}, 5, false, 0},
    {"x_u1.npy", DTYPE_UINT8, {3, {3, 4, 2}}, 5, false, 0},
    {"x_i1.npy", DTYPE_INT8, {3, {3, 4, 2}}, 5, false, 0},
    {"x_i2.npy", DTYPE_INT16, {3, {3, 4, 2}}, 5, false, 0},
    {"x_i4.npy", DTYPE_INT32, {3, {3, 4, 2}}, 5, false, 0},
    {"x_i8.npy", DTYPE_INT64, {3, {3, 4, 2}}, 5, false, 0},
    {"x_f2.npy", DTYPE_FP16, {3, {3, 4, 2}}, 5, false, 0},
    {"x_f4.npy", DTYPE_FP32, {3, {3, 4, 2}}, 5, false, 0},
    {"x_f8.npy", DTYPE_FP64, {3, {3, 4, 2}}, 5, false, 0},
    {"v2.npy", DTYPE_FP32, {1, {6}}, 5, false, 0},
    {"v3.npy", DTYPE_FP32, {1, {6}}, 5, false, 0},
    {"one.npy", DTYPE_FP32, {1, {1}}, 5, false, 0},
    {"grey.npy", DTYPE_UINT8, {3, {1, 4, 3}}, 5, false, 0},
    {"none.npy", DTYPE_FP32, {1, {6}}, 0, false, 0},
    {"stored.npz", DTYPE_UINT8, {3, {3, 4, 2}}, 5, true, 0},
    {"deflated.npz", DTYPE_UINT8, {3, {3, 4, 2}}, 5, true, 0},
    {"targets.npz", DTYPE_FP32, {3, {3, 4, 2}}, 5, false, 2},
    {"small-images-idx3-ubyte", DTYPE_UINT8, {3, {1, 4, 3}}, 5, true, 0},
    {"packed-images-idx3-ubyte.gz", DTYPE_UINT8, {3, {1, 4, 3}}, 5, true, 0},
    {"alone.idx", DTYPE_UINT8, {3, {1, 4, 3}}, 5, false, 0},
    {"samples.avro", DTYPE_UINT8, {3, {3, 4, 2}}, 5, true, 0},
    {"deflated.avro", DTYPE_UINT8, {3, {3, 4, 2}}, 5, true, 0},
    {"requests.avro", DTYPE_UINT8, {3, {3, 4, 2}}, 5, false, 0},
};

static float wanted_value(enum dtype t, int64_t i)
{
    int64_t v = i * 7 % 251;
    return t == DTYPE_BOOL ? (float)(v != 0) : t == DTYPE_INT8 ? (float)(int8_t)v : (float)v;
}

static void check_golden(const struct golden *g)
{
    char path[200];
    struct rows r;
    float values[256];
    snprintf(path, sizeof path, GOLDEN "%s", g->name);
    read_good(&r, path);
    print_message("%s\n", g->name);
    assert_int_equal(r.dtype, g->dtype);
    assert_true(shape_equal(r.row_shape, g->shape));
    assert_int_equal(r.count, g->count);
    assert_int_equal(!r.labels, !g->labels);
    assert_int_equal(r.target_size, g->target_size);
    int64_t n = r.count * shape_size(r.row_shape);
    dtype_to_float(r.dtype, r.data, n, values);
    for (int64_t i = 0; i < n; i++)
        assert_true(values[i] == wanted_value(g->dtype, i));
    for (int64_t i = 0; r.labels && i < r.count; i++)
        assert_int_equal(r.labels[i], 3 * i % 10);
    for (int64_t i = 0; i < r.count * r.target_size; i++)
        assert_true(r.targets[i] == (float)i / 4);
    rows_close(&r);
}

static void others_files_read_as_meant(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++)
        check_golden(&goldens[i]);
}

static void refuse_read(const char *path, const char *text)
{
    struct fail why = {0};
    struct rows r = {.count = 123};
    assert_int_equal(rows_read(&r, path, &why), -E_FILE);
    assert_int_equal(r.count, 123);
    if (!strstr(why.text, text) || !strstr(why.text, path))
        fail_msg("'%s' has no '%s' or no name", why.text, text);
}

static void others_files_are_refused_in_words(void **state)
{
    (void)state;
    refuse_read(GOLDEN "fortran.npy", "Fortran order");
    refuse_read(GOLDEN "big.npy", "big endian");
    refuse_read(GOLDEN "object.npy", "objects");
    refuse_read(GOLDEN "unsigned.npy", "<u2");
    refuse_read(GOLDEN "complex.npy", "<c8");
    refuse_read(GOLDEN "structured.npy", "structured");
    refuse_read(GOLDEN "scalar.npy", "shape []");
    refuse_read(GOLDEN "nameless.npz", "it holds x_train.npy, y_train.npy");
    refuse_read(GOLDEN "mismatch.npz", "y.npy: shape [4], expected the first dimension to be 5");
    refuse_read(GOLDEN "small-labels-idx1-ubyte", "these are labels");
    refuse_read(GOLDEN "mixed.avro", "record 1 (row 2): labels or targets come for some");
    refuse_read(GOLDEN "other.avro", "no published record type");
    refuse_read("tests/golden", "neither a folder nor named .jpg, .jpeg or .png");
    refuse_read("/dev/null", "not a regular file");
    refuse_read("tests/golden/nothing.npy", "No such file");
    refuse_read("LICENSE.bin", "No such file");
    refuse_read("Makefile", "neither its name nor its first bytes");
}

static void name_and_content_must_agree(void **state)
{
    size_t size;
    unsigned char *bytes = folder_read(GOLDEN "stored.npz", &size);
    folder_write(folder_path(*state, "wrong.npy"), bytes, size);
    refuse_read(folder_path(*state, "wrong.npy"), "named as .npy, but holds .npz");
    folder_write(folder_path(*state, "nameless"), bytes, size);
    free(bytes);
    struct rows r;
    read_good(&r, folder_path(*state, "nameless"));
    assert_int_equal(r.count, 5);
    rows_close(&r);
    folder_write(folder_path(*state, "empty.npz"), "", 0);
    refuse_read(folder_path(*state, "empty.npz"), "empty");
}

/* ---- containers of other record types ---- */

static void containers_keep_bytes(void **state)
{
    struct fail why = {0};
    struct container_writer *w = NULL;
    struct container *c = NULL;
    const struct record_type *metric = record_type_find("LossMetric");
    struct bytes one = {0};
    struct span value;
    const char *path = folder_path(*state, "metrics.avro");
    struct loss_metric m = {
        .job_id = "j", .model = "digits", .failure_reason = "", .worker = "w", .loss = 0.5};
    loss_metric_encode(&one, &m);
    assert_int_equal(container_create(&w, path, metric, &why), 0);
    for (int i = 0; i < 5000; i++) /* several blocks */
        assert_int_equal(container_append(w, one.data, one.size, &why), 0);
    assert_int_equal(container_finish(&w, &why), 0);
    assert_int_equal(container_open(&c, path, record_type_find("Sample"), &why), -E_FILE);
    assert_non_null(strstr(why.text, "LossMetric, expected Sample"));
    assert_int_equal(container_open(&c, path, metric, &why), 0);
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(container_next(c, &value, &why), 1);
        assert_int_equal(container_index(c), i);
        assert_int_equal(value.size, one.size);
        assert_memory_equal(value.data, one.data, one.size);
    }
    assert_int_equal(container_next(c, &value, &why), 0);
    container_close(&c);
    bytes_free(&one);
    refuse_read(path, "rows are in Sample and InferenceBatch");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_comes_back),
        cmocka_unit_test(files_are_reproducible),
        cmocka_unit_test(formats_refuse_what_they_cannot_hold),
        cmocka_unit_test(a_promised_count_is_kept),
        cmocka_unit_test(others_files_read_as_meant),
        cmocka_unit_test(others_files_are_refused_in_words),
        cmocka_unit_test(name_and_content_must_agree),
        cmocka_unit_test(containers_keep_bytes),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
