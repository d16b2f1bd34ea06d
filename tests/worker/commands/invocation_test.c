/* Command lines taken apart by a table made for the purpose. */
#include "worker/commands/invocation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

struct options {
    int64_t rows, n;
    char *name, *needed;
    bool loud;
    int kind;
};

static const struct setting table[] = {
    {"rows", SETTING_INT, offsetof(struct options, rows), "16", 1, 100, NULL, "rows", false},
    {"n", SETTING_INT, offsetof(struct options, n), "0", 0, 9, NULL, "a letter", false},
    {"name", SETTING_STRING, offsetof(struct options, name), "", 0, 20, NULL, "a name", false},
    {"loud", SETTING_BOOL, offsetof(struct options, loud), "false", 0, 0, NULL, "loud", false},
    {"kind", SETTING_CHOICE, offsetof(struct options, kind), "a", 0, 0, "a|bee", "a kind", false},
    {0},
};
static const struct setting table_needed[] = {
    {"output", SETTING_STRING, offsetof(struct options, needed), NULL, 1, 20, NULL, "where to", false},
    {0},
};

static const struct command plain = {.name = "plain",
                                     .operands = "FILE [FILE]",
                                     .min_operands = 1,
                                     .max_operands = 2,
                                     .options = table,
                                     .options_size = sizeof(struct options)};
static const struct command served = {.name = "served",
                                      .max_operands = -1,
                                      .options = table,
                                      .options_size = sizeof(struct options),
                                      .needs_settings = true};
static const struct command wanting = {
    .name = "wanting", .options = table_needed, .options_size = sizeof(struct options)};
static const struct command bare = {.name = "bare"};

static int parse(struct invocation *in, const struct command *c, const char *line, struct fail *why)
{
    static char words[512];
    char *argv[32], *save = NULL;
    int argc = 0;
    strcpy(words, line);
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    return invocation_parse(in, c, argc, argv, why);
}

static void test_good(void **state)
{
    (void)state;
    struct invocation in;
    struct fail why;
    assert_int_equal(parse(&in, &plain, "one --rows 5 -n3 --name=x=y two --loud --kind bee", &why), 0);
    const struct options *o = in.cx.options;
    assert_int_equal(o->rows, 5);
    assert_int_equal(o->n, 3);
    assert_string_equal(o->name, "x=y");
    assert_true(o->loud);
    assert_int_equal(o->kind, 1);
    assert_int_equal(in.cx.argc, 2);
    assert_string_equal(in.cx.argv[0], "one");
    assert_string_equal(in.cx.argv[1], "two");
    assert_false(in.cx.json);
    assert_int_equal(in.cx.timeout_ms, 10000);
    invocation_free(&in);
}

static void test_defaults_and_ends(void **state)
{
    (void)state;
    struct invocation in;
    struct fail why;
    assert_int_equal(parse(&in, &plain, "--loud=false --json - -- --rows", &why), 0);
    const struct options *o = in.cx.options;
    assert_int_equal(o->rows, 16);
    assert_string_equal(o->name, "");
    assert_false(o->loud);
    assert_true(in.cx.json);
    assert_string_equal(in.cx.argv[0], "-");
    assert_string_equal(in.cx.argv[1], "--rows");
    invocation_free(&in);
    assert_int_equal(parse(&in, &bare, "", &why), 0);
    invocation_free(&in);
    assert_int_equal(parse(&in, &wanting, "--help", &why), 0); /* before anything is missed */
    assert_true(in.help);
    invocation_free(&in);
}

static void test_settings_options(void **state)
{
    (void)state;
    struct invocation in;
    struct fail why;
    assert_int_equal(parse(&in, &served, "-c f.yaml -X a=b -Xc=d=e --timeout 2.5", &why), 0);
    assert_string_equal(in.config, "f.yaml");
    assert_int_equal(in.override_count, 2);
    assert_string_equal(in.overrides[0], "a=b");
    assert_string_equal(in.overrides[1], "c=d=e");
    assert_int_equal(in.cx.timeout_ms, 2500);
    invocation_free(&in);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const struct command *command;
        const char *line, *text;
    } cases[] = {
        {&plain, "", "expected FILE [FILE]"},
        {&plain, "a b c", "unexpected 'c'"},
        {&plain, "a --row 5", "did you mean --rows?"},
        {&plain, "a --quite-another", "millrace help plain"},
        {&plain, "a --rows", "--rows wants a value"},
        {&plain, "a --rows x", "--rows"},
        {&plain, "a --rows 0", "--rows"},
        {&plain, "a --rows 101", "101"},
        {&plain, "a --kind c", "--kind"},
        {&plain, "a --loud=perhaps", "--loud"},
        {&plain, "a --n 3", "unknown option --n"},
        {&plain, "a -z", "unknown option -z"},
        {&plain, "a -c f", "reads no configuration"},
        {&plain, "a --timeout 3", "reads no configuration"},
        {&served, "--timeout 0", "--timeout"},
        {&served, "--timeout nan", "--timeout"},
        {&served, "-X", "-X wants a value"},
        {&wanting, "", "--output is needed: where to"},
        {&bare, "x", "unexpected 'x'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct invocation in, zero = {0};
        struct fail why = {0};
        int rc = parse(&in, cases[i].command, cases[i].line, &why);
        if (!rc || !strstr(why.text, cases[i].text))
            print_error("%s %s: wanted '%s', got %d '%s'\n", cases[i].command->name, cases[i].line,
                        cases[i].text, rc, why.text);
        assert_int_equal(rc, -E_USAGE);
        assert_int_equal(why.code, E_USAGE);
        assert_non_null(strstr(why.text, cases[i].text));
        assert_memory_equal(&in, &zero, sizeof in);
    }
}

/* What the table of the program promises: names and texts that fit into help, options that parse. */
static void test_table(void **state)
{
    (void)state;
    int count = 0;
    for (const struct command *const *c = command_table; *c; c++, count++) {
        assert_ptr_equal(command_find((*c)->name), *c);
        assert_true(strlen((*c)->name) <= 10 && (*c)->summary && strlen((*c)->summary) < 90);
        assert_true((*c)->min_operands == 0 || (*c)->operands);
        assert_true((*c)->max_operands == -1 || (*c)->max_operands >= (*c)->min_operands);
        char room[4096];
        struct fail why = {0};
        if (!(*c)->options)
            continue;
        assert_true((*c)->options_size <= sizeof room);
        memset(room, 0, sizeof room);
        int rc = setting_defaults((*c)->options, room, &why);
        assert_string_equal(rc ? why.text : "", "");
        setting_free((*c)->options, room);
        for (const struct setting *row = (*c)->options; row->key; row++) {
            assert_true(row->help && *row->help);
            for (const struct setting *other = common_options; other->key; other++)
                assert_string_not_equal(row->key, other->key);
            for (const struct setting *other = settings_options; other->key; other++)
                assert_true(!(*c)->needs_settings || strcmp(row->key, other->key) != 0);
        }
    }
    assert_true(count > 5);
    struct fail why;
    assert_int_equal(command_unknown("chekc", &why), -E_USAGE);
    assert_non_null(strstr(why.text, "did you mean 'check'?"));
    assert_int_equal(command_unknown("zzzzzzzz", &why), -E_USAGE);
    assert_non_null(strstr(why.text, "millrace help"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_defaults_and_ends),
        cmocka_unit_test(test_settings_options),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
