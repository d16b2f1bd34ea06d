/* JSON strings and numbers, base64, UTF-8, numbers for people: against values worked out by hand. */
#include "worker/service/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static char *json_of(const char *bytes, size_t size)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    text_print_json(bytes, size, f);
    fclose(f);
    return text;
}

static void test_json_strings(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *json;
    } cases[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c\n\t\x7f", 8, "\"a\\\"b\\\\c\\n\\u0009\\u007f\""},
        {"nul\0in", 6, "\"nul\\u0000in\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xff\xc3", 2, "\"\\ufffd\\ufffd\""},                       /* no UTF-8, cut short */
        {"\xc0\x80", 2, "\"\\ufffd\\ufffd\""},                       /* overlong */
        {"\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\""},            /* surrogate */
        {"\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* beyond U+10FFFF */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = json_of(cases[i].bytes, cases[i].size);
        assert_string_equal(got, cases[i].json);
        free(got);
    }
}

static void test_base64(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                                           {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);
        text_print_base64(cases[i][0], strlen(cases[i][0]), f);
        fclose(f);
        assert_string_equal(text, cases[i][1]);
        free(text);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static const char *const good[] = {"0", "-0", "7", "-12", "1.5", "1e9", "1E-9", "0.25e+3"};
    static const char *const bad[] = {"",    "-",   "01", "1.", ".5",  "+1", "1e",
                                      "0x1", "nan", "1 ", " 1", "1e+", "inf"};
    int64_t v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(text_is_number(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(text_is_number(bad[i]));
    assert_true(text_to_int("-9223372036854775808", &v) && v == INT64_MIN);
    assert_false(text_to_int("9223372036854775808", &v));
    assert_false(text_to_int("", &v) || text_to_int(" 1", &v) || text_to_int("1x", &v) ||
                 text_to_int("+1", &v));
}

static void test_for_people(void **state)
{
    (void)state;
    char b[32];
    assert_string_equal(text_count(0, b, sizeof b), "0");
    assert_string_equal(text_count(999, b, sizeof b), "999");
    assert_string_equal(text_count(1000, b, sizeof b), "1 000");
    assert_string_equal(text_count(-1234567, b, sizeof b), "-1 234 567");
    assert_string_equal(text_count(-123, b, sizeof b), "-123");
    assert_string_equal(text_bytes(999, b, sizeof b), "999 B");
    assert_string_equal(text_bytes(1200, b, sizeof b), "1.2 kB");
    assert_string_equal(text_bytes(33554432, b, sizeof b), "34 MB");
    assert_string_equal(text_seconds(0.25, b, sizeof b), "0.2s");
    assert_string_equal(text_seconds(200, b, sizeof b), "3m 20s");
    assert_string_equal(text_seconds(3720, b, sizeof b), "1h 02m");
    assert_string_equal(text_seconds(-1, b, sizeof b), "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_strings),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
