/* Broken files of every format: cut at every byte, and changed in seeded places. None crashes (the sanitizer
 * flavour sees reads too far); what is refused is E_FILE with a text, what is accepted can be read whole. Runs
 * from the repository's root. */
#include "worker/data/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/rng.h"
#include "tests/lib/folder.h"

#include <cmocka.h>

enum { FLIPS = 1000, SEED = 20260101 };

static const char *const files[] = {
    "x_f4.npy",
    "v2.npy",
    "v3.npy",
    "stored.npz",
    "deflated.npz",
    "targets.npz",
    "small-images-idx3-ubyte",
    "packed-images-idx3-ubyte.gz",
    "samples.avro",
    "deflated.avro",
    "requests.avro",
    "tiny.bin", /* made here */
};

enum { FILES = sizeof files / sizeof *files };

static unsigned char *load(const char *folder, const char *name, size_t *size)
{
    char path[200];
    if (strcmp(name, "tiny.bin") != 0) {
        snprintf(path, sizeof path, "tests/golden/data/%s", name);
        return folder_read(path, size);
    }
    (void)folder;
    *size = 2 * 3073;
    unsigned char *rows = calloc(1, *size);
    assert_non_null(rows);
    rows[3073] = 9;
    return rows;
}

/* Touches all that the reader promises. */
static unsigned touch(const struct rows *r)
{
    unsigned sum = 0;
    const unsigned char *bytes = r->data;
    assert_int_equal(r->row_size, (size_t)shape_size(r->row_shape) * dtype_size(r->dtype));
    for (size_t i = 0; i < (size_t)r->count * r->row_size; i++)
        sum += bytes[i];
    for (int64_t i = 0; r->labels && i < r->count; i++)
        sum += (unsigned)r->labels[i];
    for (int64_t i = 0; r->targets && i < r->count * r->target_size; i++)
        sum += r->targets[i] > 0;
    return sum;
}

/* 1: read; 0: refused as it must be. */
static int try_read(const char *path, const char *what, size_t at)
{
    struct rows r;
    struct fail why = {0};
    int rc = rows_read(&r, path, &why);
    if (rc == 0) {
        assert_int_equal(touch(&r), touch(&r));
        rows_close(&r);
        return 1;
    }
    if (rc != -E_FILE || why.code != E_FILE || !strstr(why.text, path))
        fail_msg("%s, byte %zu: code %d, text '%s'", what, at, -rc, why.text);
    return 0;
}

static void every_cut_is_refused(void **state)
{
    for (int f = 0; f < FILES; f++) {
        size_t size;
        unsigned char *bytes = load(*state, files[f], &size);
        char name[100];
        snprintf(name, sizeof name, "cut-%s", files[f]);
        const char *path = folder_path(*state, name);
        folder_write(path, bytes, size);
        assert_int_equal(try_read(path, files[f], size), 1);
        int read = 0;
        for (size_t cut = size; cut-- > 0;) {
            assert_int_equal(truncate(path, (off_t)cut), 0);
            read += try_read(path, files[f], cut);
        }
        /* A container cut between blocks and a .bin cut between rows are whole files of fewer rows. */
        int allowed = strstr(files[f], ".avro") ? 2 : strstr(files[f], ".bin") ? 1 : 0;
        print_message("%-28s %6zu cuts, %d of them whole files\n", files[f], size, read);
        assert_in_range(read, 0, allowed);
        free(bytes);
    }
}

static void changed_bytes_do_no_harm(void **state)
{
    print_message("seed %d\n", SEED);
    struct rng r = rng_seed(SEED);
    for (int f = 0; f < FILES; f++) {
        size_t size;
        int read = 0;
        unsigned char *bytes = load(*state, files[f], &size);
        char name[100];
        snprintf(name, sizeof name, "changed-%s", files[f]);
        const char *path = folder_path(*state, name);
        for (int i = 0; i < FLIPS; i++) {
            unsigned char *copy = malloc(size);
            assert_non_null(copy);
            memcpy(copy, bytes, size);
            for (uint32_t k = rng_below(&r, 3) + 1; k > 0; k--)
                copy[rng_below(&r, (uint32_t)size)] = (unsigned char)rng_below(&r, 256);
            folder_write(path, copy, size);
            read += try_read(path, files[f], (size_t)i);
            free(copy);
        }
        print_message("%-28s %d changed, %d still read\n", files[f], FLIPS, read);
        free(bytes);
    }
}

/* Sizes that a header claims and the file does not have: refused before memory is taken. */
static void claims_are_not_believed(void **state)
{
    struct fail why;
    struct rows r;
    static const unsigned char idx[] = {0, 0,    8,   3, 0x7f, 255,  255, 255, 0,
                                        0, 0x7f, 255, 0, 0,    0x7f, 255, 1,   2};
    const char *path = folder_path(*state, "huge-images-idx3-ubyte");
    folder_write(path, idx, sizeof idx);
    assert_int_equal(rows_read(&r, path, &why), -E_FILE);
    static const char npy[] = "\x93NUMPY\1\0\x76\0{'descr': '<f8', 'fortran_order': False, "
                              "'shape': (4611686018427387904, 4611686018427387904), }";
    char padded[128 + 8];
    memset(padded, ' ', sizeof padded);
    memcpy(padded, npy, sizeof npy - 1);
    path = folder_path(*state, "huge.npy");
    folder_write(path, padded, sizeof padded);
    assert_int_equal(rows_read(&r, path, &why), -E_FILE);
    assert_non_null(strstr(why.text, "8 bytes follow the header"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(claims_are_not_believed),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
