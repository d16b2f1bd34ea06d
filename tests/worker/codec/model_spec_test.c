/* How models are named: what is taken apart how, and what is no name. */
#include "worker/codec/model_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h> /* behind our headers: it has a macro called fail */

static const char hundred[] =
    "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggghhhhhhhhhh"
    "iiiiiiiiiijjjjjjjjjj";

static void test_good(void **state)
{
    static const struct {
        const char *text, *name, *alias; /* alias NULL: none */
        int64_t version;
    } rows[] = {
        {"digits", "digits", NULL, 0},
        {"digits@champion", "digits", "champion", 0},
        {"a.b_c-D9@7", "a.b_c-D9", NULL, 7},
        {"m@007", "m", NULL, 7},
        {"m@999999999999999999", "m", NULL, 999999999999999999},
        {"m@v7", "m", "v7", 0},
        {hundred, hundred, NULL, 0},
        {"..a", "..a", NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct model_spec s;
        struct span text = {rows[i].text, strlen(rows[i].text)};
        assert_int_equal(model_spec_parse(&s, text, NULL), 0);
        assert_int_equal(s.name.size, strlen(rows[i].name));
        assert_memory_equal(s.name.data, rows[i].name, s.name.size);
        assert_int_equal(s.version, rows[i].version);
        assert_int_equal(s.alias.data != NULL, rows[i].alias != NULL);
        if (rows[i].alias) {
            assert_int_equal(s.alias.size, strlen(rows[i].alias));
            assert_memory_equal(s.alias.data, rows[i].alias, s.alias.size);
        }
    }
}

static void test_bad(void **state)
{
    static const char *const rows[] = {
        "",
        "@",
        "@1",
        "m@",
        "m@0",
        "m@-1",
        "m@1x",
        "m@_a",
        "m@1000000000000000000",
        "a/b",
        "a b",
        "m@a@b",
        "m@1@2",
        ".",
        "..",
        "...",
        "m@..",
        "m\n",
        "caf\xc3\xa9",
        "m@a b",
        "m@99999999999999999999",
    };
    char long_name[102];
    struct model_spec s;
    struct fail why;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        why.text[0] = 0;
        if (model_spec_parse(&s, (struct span){rows[i], strlen(rows[i])}, &why) != -E_BAD_REQUEST)
            fail_msg("\"%s\" was accepted", rows[i]);
        assert_non_null(strstr(why.text, "expected"));
    }
    memset(long_name, 'a', sizeof long_name);
    assert_int_equal(model_spec_parse(&s, (struct span){long_name, 101}, &why), -E_BAD_REQUEST);
    assert_int_equal(model_spec_parse(&s, (struct span){NULL, 0}, &why), -E_BAD_REQUEST);
    assert_int_equal(model_spec_parse(&s, (struct span){"a\0b", 3}, &why), -E_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
