/* The settings parser: defaults, every type, bounds, nearest keys, places, ${VAR}, printing and reading back. */
#include "engine/setting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

struct sample {
    int64_t rows;
    double rate;
    bool on;
    char *name, *password;
    int mode;
    unsigned roles;
    struct setting_ints kernel;
    struct setting_strings prefixes;
    struct setting_map kafka;
};

static const struct setting table[] = {
    {"batch.max_rows", SETTING_INT, offsetof(struct sample, rows), "1024", 1, 65536, NULL, "rows of a batch",
     false},
    {"batch.rate", SETTING_REAL, offsetof(struct sample, rate), "0.1", 0, 1, NULL, "a share", false},
    {"on", SETTING_BOOL, offsetof(struct sample, on), "false", 0, 0, NULL, "a switch", false},
    {"name", SETTING_STRING, offsetof(struct sample, name), "mill", 0, 20, NULL, "a name", false},
    {"password", SETTING_STRING, offsetof(struct sample, password), "", 0, 100, NULL, "a secret", true},
    {"mode", SETTING_CHOICE, offsetof(struct sample, mode), "static", 0, 0, "static|dynamic", "membership",
     false},
    {"roles", SETTING_SET, offsetof(struct sample, roles), "[infer, train]", 0, 0, "infer|train", "roles",
     false},
    {"kernel", SETTING_INTS, offsetof(struct sample, kernel), "3", 1, 9, NULL, "sizes", false},
    {"prefixes", SETTING_STRINGS, offsetof(struct sample, prefixes), "", 0, 0, NULL, "prefixes", false},
    {"kafka", SETTING_MAP, offsetof(struct sample, kafka), "", 0, 0, NULL, "handed on", false},
    {0}};

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

static int read_text(struct sample *s, const char *text, struct fail *why)
{
    struct yaml_doc *doc = NULL;
    int rc = yaml_parse(&doc, "m.yaml", text, strlen(text), true, why);
    if (!rc)
        rc = setting_read(table, s, doc, yaml_root(doc), why);
    yaml_doc_free(&doc);
    return rc;
}

static void defaults_are_the_fallbacks(void **state)
{
    struct sample s;
    struct fail why;
    (void)state;
    check(setting_defaults(table, &s, &why), &why);
    assert_int_equal(s.rows, 1024);
    assert_true(s.rate == 0.1 && !s.on);
    assert_string_equal(s.name, "mill");
    assert_string_equal(s.password, "");
    assert_int_equal(s.mode, 0);
    assert_int_equal(s.roles, 3);
    assert_true(s.kernel.count == 1 && s.kernel.v[0] == 3);
    assert_int_equal(s.prefixes.count, 0);
    assert_int_equal(s.kafka.count, 0);
    setting_free(table, &s);
}

static const char full[] =
    "batch:\n  max_rows: 7\n  rate: 1e-3\non: true\nname: 'a: b'\npassword: hush\nmode: dynamic\n"
    "roles: [train]\nkernel: [1, 2]\nprefixes: [x, 'y, z']\n"
    "kafka:\n  bootstrap.servers: h:1\n  sasl.password: deep\n";

static void assert_full(const struct sample *s, const char *password)
{
    assert_int_equal(s->rows, 7);
    assert_true(s->rate == 1e-3 && s->on);
    assert_string_equal(s->name, "a: b");
    assert_string_equal(s->password, password);
    assert_int_equal(s->mode, 1);
    assert_int_equal(s->roles, 2);
    assert_true(s->kernel.count == 2 && s->kernel.v[1] == 2);
    assert_int_equal(s->prefixes.count, 2);
    assert_string_equal(s->prefixes.v[1], "y, z");
    assert_string_equal(setting_map_get(&s->kafka, "bootstrap.servers"), "h:1");
}

static void every_type_is_read_and_copied(void **state)
{
    struct sample s, copy = {0};
    struct fail why;
    (void)state;
    check(setting_defaults(table, &s, &why), &why);
    check(read_text(&s, full, &why), &why);
    assert_full(&s, "hush");
    assert_int_equal(s.kafka.pairs[1].line, 13);
    check(setting_copy(table, &copy, &s, &why), &why);
    check(setting_copy(table, &copy, &s, &why), &why); /* over itself: frees what it held */
    setting_free(table, &s);
    assert_full(&copy, "hush");
    assert_string_equal(setting_map_get(&copy.kafka, "sasl.password"), "deep");
    setting_free(table, &copy);
}

static char *written(const struct sample *s, bool comments)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    setting_write(table, s, comments, f);
    fclose(f);
    return text;
}

static void what_is_written_reads_back_but_for_secrets(void **state)
{
    struct sample s, back;
    struct fail why;
    (void)state;
    check(setting_defaults(table, &s, &why), &why);
    check(read_text(&s, full, &why), &why);
    char *text = written(&s, true);
    assert_null(strstr(text, "hush"));
    assert_null(strstr(text, "deep"));
    assert_non_null(strstr(text, "batch:\n  # rows of a batch\n  max_rows: 7\n"));
    check(setting_defaults(table, &back, &why), &why);
    check(read_text(&back, text, &why), &why);
    assert_full(&back, "***");
    free(text);
    setting_free(table, &s);
    setting_free(table, &back);
}

static void help_names_every_key(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    (void)state;
    assert_non_null(f);
    setting_help(table, f);
    fclose(f);
    for (const struct setting *s = table; s->key; s++) {
        assert_non_null(strstr(text, s->key));
        assert_non_null(strstr(text, s->help));
    }
    assert_non_null(strstr(text, "1..65536"));
    free(text);
}

struct bad {
    const char *text, *says;
};

static const struct bad bads[] = {
    {"batch: {max_row: 5}\n", "m.yaml:1:9: unknown key batch.max_row, nearest is batch.max_rows"},
    {"bach: 5\n", "m.yaml:1:1: unknown key bach"},
    {"batch: 5\n", "m.yaml:1:8: batch: expected a mapping"},
    {"batch:\n  max_rows: five\n", "m.yaml:2:13: batch.max_rows: expected a whole number, found \"five\""},
    {"batch:\n  max_rows: 1.5\n", "expected a whole number"},
    {"batch:\n  max_rows: 0\n", "m.yaml:2:13: batch.max_rows: 0 is not in 1..65536"},
    {"batch:\n  max_rows: 99999999999999999999\n", "too large"},
    {"batch:\n  max_rows: [1]\n", "expected one value, found a list"},
    {"batch:\n  max_rows: {a: 1}\n", "expected a value, found a mapping"},
    {"batch:\n  rate: nan\n", "expected a number"},
    {"batch:\n  rate: 1.5\n", "batch.rate: 1.5 is not in 0..1"},
    {"on: maybe\n", "m.yaml:1:5: on: expected true or false"},
    {"name: abcdefghijklmnopqrstuvwxyz\n", "name: 26 characters, expected 0 to 20"},
    {"mode: statik\n", "nearest is static; expected one of static|dynamic"},
    {"roles: [infer, dance]\n", "roles: \"dance\" is unknown"},
    {"kernel: [1, 2, 3, 4, 5, 6, 7, 8, 9]\n", "kernel: 9 numbers"},
    {"kernel: 10\n", "kernel: 10 is not in 1..9"},
    {"prefixes: [[a]]\n", "expected a list of plain values"},
    {"kafka: 5\n", "expected a mapping"},
    {"kafka:\n  a: [1]\n", "m.yaml:2:6: kafka.a: expected one value"},
    {"on: true\non: false\n", "m.yaml:2:1: key on is there twice, first in line 1"},
    {"a: *b\n", "m.yaml:1:4: aliases"},
    {"on: !!bool true\n", "anchors and tags"},
    {"---\non: true\n---\non: true\n", "a second document"},
    {"on: true\n  name: x\n", "m.yaml:2:7"},
    {"{a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: b", "nested deeper"},
    {"{{a: b}: c}\n", "a key must be a plain word"},
    {"[[[[[[[[[[[[[[[[[[[[", "nested deeper"},
    {"name: \"\\0\"\n", "a zero byte"},
    {"name: ${MILLRACE_TEST_UNSET}\n", "m.yaml:1:7: environment variable MILLRACE_TEST_UNSET is not set"},
    {"name: ${MILLRACE_TEST_UNSET:?say it}\n", "MILLRACE_TEST_UNSET: say it"},
    {"name: ${A-B}\n", "expected ${VAR}"},
    {"name: ${A\n", "without \"}\""},
};

static void errors_have_their_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct sample s;
        struct fail why = {0};
        check(setting_defaults(table, &s, &why), &why);
        int rc = read_text(&s, bads[i].text, &why);
        if (rc != -E_CONFIG)
            fail_msg("case %zu returned %d: %s", i, rc, bads[i].text);
        if (!strstr(why.text, bads[i].says))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, why.text, bads[i].says);
        setting_free(table, &s);
    }
}

static void variables_are_replaced(void **state)
{
    struct sample s;
    struct fail why;
    (void)state;
    setenv("MILLRACE_TEST_SET", "wheel", 1);
    unsetenv("MILLRACE_TEST_UNSET");
    check(setting_defaults(table, &s, &why), &why);
    check(read_text(&s, "name: a-${MILLRACE_TEST_SET}-${MILLRACE_TEST_UNSET:-z:-z}\n", &why), &why);
    assert_string_equal(s.name, "a-wheel-z:-z");
    check(read_text(&s, "batch: {max_rows: '${MILLRACE_TEST_UNSET:-12}'}\n", &why), &why);
    assert_int_equal(s.rows, 12);
    check(read_text(&s, "", &why), &why);
    check(read_text(&s, "batch:\nkafka:\n", &why), &why);
    assert_int_equal(s.rows, 12);
    setting_free(table, &s);
}

static void single_keys_are_set_from_text(void **state)
{
    struct sample s;
    struct fail why;
    (void)state;
    check(setting_defaults(table, &s, &why), &why);
    check(setting_set(table, &s, "batch.max_rows", "64", "-X", &why), &why);
    check(setting_set(table, &s, "kernel", "5, 6", "-X", &why), &why);
    check(setting_set(table, &s, "roles", "[infer]", "-X", &why), &why);
    check(setting_set(table, &s, "prefixes", "[a, b]", "-X", &why), &why);
    check(setting_set(table, &s, "name", "", "-X", &why), &why);
    check(setting_set(table, &s, "kafka.bootstrap.servers", "h:2", "-X", &why), &why);
    check(setting_set(table, &s, "kafka.bootstrap.servers", "h:3", "-X", &why), &why);
    assert_int_equal(s.rows, 64);
    assert_true(s.kernel.count == 2 && s.kernel.v[1] == 6);
    assert_int_equal(s.roles, 1);
    assert_int_equal(s.prefixes.count, 2);
    assert_string_equal(s.name, "");
    assert_int_equal(s.kafka.count, 1);
    assert_string_equal(setting_map_get(&s.kafka, "bootstrap.servers"), "h:3");
    assert_int_equal(setting_set(table, &s, "batch.max_rows", "x", "-X", &why), -E_CONFIG);
    assert_non_null(strstr(why.text, "-X: batch.max_rows"));
    assert_int_equal(setting_set(table, &s, "batch.maxrows", "1", "-X", &why), -E_CONFIG);
    assert_non_null(strstr(why.text, "nearest is batch.max_rows"));
    setting_free(table, &s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_fallbacks),
        cmocka_unit_test(every_type_is_read_and_copied),
        cmocka_unit_test(what_is_written_reads_back_but_for_secrets),
        cmocka_unit_test(help_names_every_key),
        cmocka_unit_test(errors_have_their_place),
        cmocka_unit_test(variables_are_replaced),
        cmocka_unit_test(single_keys_are_set_from_text),
    };
    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
