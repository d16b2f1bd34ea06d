/* safetensors: what is written is read back; every lie of a header is refused in words; broken files never
 * crash. tests/golden/onnx holds files by other code: onnx_golden_test.c reads them. */
#include "engine/files/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/rng.h"

static const float weights[6] = {1, -2, 3.5f, 0, 1e-30f, 7};
static const unsigned char image[3] = {0, 128, 255};

static void *print_two(size_t *size)
{
    const struct safetensors_entry entries[] = {
        {"fc.weight", DTYPE_FP32, SHAPE(2, 3), weights},
        {"picture \"x\"", DTYPE_UINT8, SHAPE(3), image},
        {"nothing", DTYPE_INT64, SHAPE(0, 4), NULL},
        {"scalar", DTYPE_FP32, {0}, weights + 2},
    };
    const char *const metadata[] = {"step", "12", "note", "grüße"};
    void *bytes;
    struct fail why = {0};
    assert_int_equal(safetensors_print(entries, 4, metadata, 2, &bytes, size, &why), 0);
    return bytes;
}

static void round_trip(void **state)
{
    size_t size, again_size;
    struct safetensors *st;
    struct fail why = {0};
    void *bytes = print_two(&size), *again = print_two(&again_size);
    (void)state;
    assert_int_equal(size, again_size);
    assert_memory_equal(bytes, again, size);
    assert_int_equal(safetensors_parse(&st, "two.safetensors", bytes, size, &why), 0);
    assert_int_equal(safetensors_count(st), 4);
    assert_int_equal(safetensors_index(st, "picture \"x\""), 1);
    assert_int_equal(safetensors_index(st, "absent"), -1);
    assert_string_equal(safetensors_name(st, 0), "fc.weight");
    assert_true(shape_equal(safetensors_shape(st, 0), SHAPE(2, 3)));
    assert_int_equal(safetensors_shape(st, 3).rank, 0);
    assert_int_equal(safetensors_dtype(st, 2), DTYPE_INT64);
    assert_memory_equal(safetensors_data(st, 0), weights, sizeof weights);
    assert_memory_equal(safetensors_data(st, 1), image, sizeof image);
    assert_memory_equal(safetensors_data(st, 3), weights + 2, sizeof(float));
    assert_string_equal(safetensors_metadata(st, "note"), "grüße");
    assert_null(safetensors_metadata(st, "absent"));
    /* The data begins where a mapping of it is aligned. */
    assert_int_equal((size_t)((const char *)safetensors_data(st, 0) - (const char *)bytes) % 8, 0);
    safetensors_free(&st);
    assert_null(st);
    safetensors_free(&st);
    free(bytes);
    free(again);
}

/* What print refuses: two of one name, the reserved name, a type the format lacks, text that is not UTF-8. */
static void unwritable(void **state)
{
    const struct safetensors_entry bad[][2] = {
        {{"a", DTYPE_FP32, SHAPE(1), weights}, {"a", DTYPE_FP32, SHAPE(1), weights}},
        {{"a", DTYPE_FP32, SHAPE(1), weights}, {"__metadata__", DTYPE_FP32, SHAPE(1), weights}},
        {{"a", DTYPE_FP32, SHAPE(1), weights}, {"b", DTYPE_UNKNOWN, SHAPE(1), weights}},
        {{"a", DTYPE_FP32, SHAPE(1), weights}, {"b", DTYPE_FP32, SHAPE(-1), weights}},
        {{"a", DTYPE_FP32, SHAPE(1), weights}, {"\xff", DTYPE_FP32, SHAPE(1), weights}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        void *bytes;
        size_t size;
        struct fail why = {0};
        assert_int_equal(safetensors_print(bad[i], 2, NULL, 0, &bytes, &size, &why), -E_FAILED);
        assert_null(bytes);
        assert_non_null(strstr(why.text, "safetensors"));
    }
}

/* ---- lies: a header, data of 16 bytes, and the words that the refusal holds ---- */

static const struct {
    const char *header;
    enum fail_code code;
    const char *words;
} lies[] = {
    {"[]", E_FILE, "not a JSON object"},
    {"{\"a\":", E_FILE, "byte"},
    {"{\"a\":1}", E_FILE, "not an object"},
    {"{\"a\":{\"shape\":[4],\"data_offsets\":[0,16]}}", E_FILE, "dtype"},
    {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[16],\"data_offsets\":[0,16]}}", E_UNSUPPORTED, "F8_E4M3"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,16]}}", E_FILE, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}}", E_FILE, "dimension 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4.0],\"data_offsets\":[0,16]}}", E_FILE, "dimension 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,4],\"data_offsets\":[0,16]}}", E_UNSUPPORTED, "9"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967297],\"data_offsets\":[0,16]}}", E_FILE, "many"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,16]}}", E_FILE, "many"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4]}}", E_FILE, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0]}}", E_FILE, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}", E_FILE, "outside"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[-16,0]}}", E_FILE, "outside"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[0,32]}}", E_FILE, "outside"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,16]}}", E_FILE, "takes 12 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}", E_FILE, "end at byte 12"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[4,16]}}", E_FILE, "hole"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[4,16]}}",
     E_FILE, "overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
     E_FILE, "duplicate"},
    {"{\"__metadata__\":{\"k\":1},\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", E_FILE,
     "k"},
    {"{\"__metadata__\":[],\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", E_FILE,
     "metadata"},
    {"{}", E_FILE, "end at byte 0"},
};

static void refused(const void *bytes, size_t size, enum fail_code code, const char *words)
{
    struct safetensors *st = (void *)1;
    struct fail why = {0};
    /* In memory of exactly its size, so that a sanitizer sees a byte too far. */
    void *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    int rc = safetensors_parse(&st, "liar", copy, size, &why);
    if (rc != -(int)code || !strstr(why.text, words) || !strstr(why.text, "liar"))
        fail_msg("expected %s with \"%s\", got %d: %s", fail_name(code), words, rc, why.text);
    assert_null(st);
    free(copy);
}

static void lying_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        unsigned char file[1024] = {0};
        size_t length = strlen(lies[i].header);
        file[0] = (unsigned char)length;
        file[1] = (unsigned char)(length >> 8);
        memcpy(file + 8, lies[i].header, length);
        refused(file, 8 + length + 16, lies[i].code, lies[i].words);
    }
    refused("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, E_FILE, "header length");
    refused("\x03\0\0\0\0\0\0\0{}", 10, E_FILE, "header length");
    refused("\0\0\0\0\0\0\0\0", 8, E_FILE, "header length");
    refused("\0\0\0", 3, E_FILE, "too few");
}

static void other_orders_are_read(void **state)
{
    static const char header[] = "{\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]},"
                                 "\"a\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}   ";
    unsigned char file[256] = {sizeof header - 1};
    struct safetensors *st;
    struct fail why = {0};
    (void)state;
    memcpy(file + 8, header, sizeof header - 1);
    assert_int_equal(safetensors_parse(&st, "x", file, 8 + sizeof header - 1 + 16, &why), 0);
    assert_string_equal(safetensors_name(st, 0), "b");
    assert_ptr_equal(safetensors_data(st, 0), file + 8 + sizeof header - 1 + 8);
    safetensors_free(&st);
}

/* Reads what a parse that succeeded promises. */
static void touch(const struct safetensors *st)
{
    volatile unsigned sum = 0;
    for (int i = 0; i < safetensors_count(st); i++) {
        const unsigned char *p = safetensors_data(st, i);
        size_t n = (size_t)shape_size(safetensors_shape(st, i)) * dtype_size(safetensors_dtype(st, i));
        for (size_t k = 0; k < n; k++)
            sum += p[k];
    }
    (void)sum;
}

static void parse_damaged(const unsigned char *bytes, size_t size)
{
    struct safetensors *st;
    struct fail why = {0};
    unsigned char *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    if (safetensors_parse(&st, "damaged", copy, size, &why))
        assert_true(why.text[0]);
    else
        touch(st);
    safetensors_free(&st);
    free(copy);
}

static void damaged_files(void **state)
{
    enum { SEED = 20, FLIPS = 2000 };
    size_t size;
    unsigned char *bytes = print_two(&size);
    struct rng r = rng_seed(SEED);
    (void)state;
    print_message("seed %d\n", SEED);
    for (size_t n = 0; n < size; n++)
        refused(bytes, n, E_FILE, "");
    for (int i = 0; i < FLIPS; i++) {
        size_t at = rng_below(&r, (uint32_t)size);
        unsigned char was = bytes[at];
        bytes[at] = (unsigned char)rng_next(&r);
        parse_damaged(bytes, size);
        bytes[at] = was;
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),    cmocka_unit_test(unwritable),
        cmocka_unit_test(lying_headers), cmocka_unit_test(other_orders_are_read),
        cmocka_unit_test(damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
