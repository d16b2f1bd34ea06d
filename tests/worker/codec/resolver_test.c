/* Records of producers whose schemas are not ours, as Avro's Python library writes them (tests/vectors/writers), resolved and
 * compared with what that library or its script says they are; schemas and records that are wrong in one place; what a
 * resolver must not do. */
#include "worker/codec/resolver.h"

#include <glob.h>
#include <jansson.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/codec/wire.h"

enum { CASES = 64 };

struct writer_case {
    char name[80]; /* "InferenceBatch.floats" */
    const struct record_type *type;
    struct span schema, value, json;
};

static struct writer_case all[CASES];
static int count;

static struct span file_read(const char *name, const char *ending)
{
    char path[160];
    snprintf(path, sizeof path, "tests/vectors/writers/%s%s", name, ending);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: cannot be opened", path);
    fseek(f, 0, SEEK_END);
    size_t size = (size_t)ftell(f);
    char *data = malloc(size ? size : 1);
    rewind(f);
    if (!data || fread(data, 1, size, f) != size)
        fail_msg("%s: cannot be read", path);
    fclose(f);
    return (struct span){data, size};
}

static int load(void **state)
{
    glob_t g;
    (void)state;
    if (glob("tests/vectors/writers/*.bin", 0, NULL, &g) != 0 || g.gl_pathc > CASES)
        return -1;
    for (; count < (int)g.gl_pathc; count++) {
        struct writer_case *c = &all[count];
        char type[64];
        snprintf(c->name, sizeof c->name, "%s", strrchr(g.gl_pathv[count], '/') + 1);
        *strrchr(c->name, '.') = 0;
        snprintf(type, sizeof type, "%.*s", (int)strcspn(c->name, "."), c->name);
        c->type = record_type_find(type);
        c->schema = file_read(c->name, ".avsc");
        c->value = file_read(c->name, ".bin");
        c->json = file_read(c->name, ".json");
    }
    globfree(&g);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    for (int i = 0; i < count; i++) {
        free((char *)(uintptr_t)all[i].schema.data);
        free((char *)(uintptr_t)all[i].value.data);
        free((char *)(uintptr_t)all[i].json.data);
    }
    return 0;
}

static struct resolver *open_case(const struct writer_case *c)
{
    struct resolver *r = NULL;
    struct fail why = {0};
    if (resolver_open(&r, c->schema, record_schema(c->type, 1), &why))
        fail_msg("%s: %s", c->name, why.text);
    return r;
}

static void test_becomes_what_python_says(void **state)
{
    struct bytes to = {0};
    (void)state;
    assert_true(count >= 7 * 6 + 9);
    for (int i = 0; i < count; i++) {
        struct resolver *r = open_case(&all[i]);
        struct fail why = {0};
        struct bytes text = {0};
        struct span payload;
        if (resolver_run(r, all[i].value, &to, &payload, &why) ||
            record_print_json(&text, all[i].type, 1, payload, &why))
            fail_msg("%s: %s: %s", all[i].name, fail_name(why.code), why.text);
        json_t *got = json_loadb((char *)text.data, text.size, JSON_DECODE_ANY, NULL);
        json_t *wanted = json_loadb(all[i].json.data, all[i].json.size, JSON_DECODE_ANY, NULL);
        if (!got || !wanted || !json_equal(got, wanted))
            fail_msg("%s: became\n%.*s\nexpected\n%.*s", all[i].name, (int)text.size, text.data,
                     (int)all[i].json.size, all[i].json.data);
        json_decref(got);
        json_decref(wanted);
        bytes_free(&text);
        resolver_close(&r);
    }
    bytes_free(&to);
}

/* A record that ends early reads nothing behind its end and is "truncated"; one with a byte more is "trailing_bytes". */
static void test_cut_at_every_byte(void **state)
{
    struct bytes to = {0};
    (void)state;
    for (int i = 0; i < count; i++) {
        struct resolver *r = open_case(&all[i]);
        struct span payload;
        struct fail why;
        bool same = strstr(all[i].name, ".bare") != NULL; /* not looked at: the validators do that */
        for (size_t n = 1; !same && n < all[i].value.size; n++) {
            char *cut = malloc(n);
            memcpy(cut, all[i].value.data, n);
            int rc = resolver_run(r, (struct span){cut, n}, &to, &payload, &why);
            if (rc != -E_TRUNCATED)
                fail_msg("%s cut to %zu bytes: %d %s", all[i].name, n, rc, rc ? why.text : "");
            free(cut);
        }
        char *more = calloc(1, all[i].value.size + 1);
        memcpy(more, all[i].value.data, all[i].value.size);
        int rc = resolver_run(r, (struct span){more, all[i].value.size + 1}, &to, &payload, &why);
        assert_int_equal(rc, same ? 0 : -E_TRAILING_BYTES);
        free(more);
        resolver_close(&r);
    }
    bytes_free(&to);
}

/* Our own schema, defaults and documentation left out: the bytes are handed on where they lie. */
static void test_same_schema_copies_nothing(void **state)
{
    int seen = 0;
    (void)state;
    for (int i = 0; i < count; i++) {
        if (!strstr(all[i].name, ".bare"))
            continue;
        struct resolver *r = open_case(&all[i]);
        struct bytes to = {0};
        struct span payload;
        assert_int_equal(resolver_run(r, all[i].value, &to, &payload, NULL), 0);
        assert_ptr_equal(payload.data, all[i].value.data);
        assert_int_equal(payload.size, all[i].value.size);
        assert_null(to.data);
        assert_string_equal(resolver_gap(r), "");
        resolver_close(&r);
        seen++;
    }
    assert_int_equal(seen, 7);
}

static void test_nothing_is_allocated_once_the_buffer_has_grown(void **state)
{
    (void)state;
    for (int i = 0; i < count; i++) {
        struct resolver *r = open_case(&all[i]);
        struct bytes to = {0};
        struct span payload;
        assert_int_equal(resolver_run(r, all[i].value, &to, &payload, NULL), 0);
        unsigned char *data = to.data;
        size_t capacity = to.capacity, in_use = mallinfo2().uordblks;
        for (int again = 0; again < 10; again++)
            assert_int_equal(resolver_run(r, all[i].value, &to, &payload, NULL), 0);
        assert_ptr_equal(to.data, data);
        assert_int_equal(to.capacity, capacity);
        assert_int_equal(mallinfo2().uordblks, in_use);
        resolver_close(&r);
        bytes_free(&to);
    }
}

/* ---- schemas that are refused ---- */

static const char READER[] =
    "{\"type\":\"record\",\"name\":\"R\",\"fields\":["
    "{\"name\":\"a\",\"type\":\"long\",\"default\":7},{\"name\":\"b\",\"type\":\"bytes\"}]}";

static void expect_refused(const char *writer, const char *word)
{
    struct resolver *r = NULL;
    struct fail why = {0};
    int rc = resolver_open(&r, text_span(writer), READER, &why);
    if (rc != -E_UNKNOWN_SCHEMA || !strstr(why.text, word))
        fail_msg("%.200s: %d, \"%s\" without \"%s\"", writer, rc, why.text, word);
    assert_null(r);
}

#define FIELDS(f) \
    "{\"type\":\"record\",\"name\":\"W\",\"fields\":[{\"name\":\"b\",\"type\":\"bytes\"}," f "]}"

static void test_schemas_that_crash_others_are_refused(void **state)
{
    (void)state;
    expect_refused("{", "JSON");
    expect_refused("7", "type");
    expect_refused("\"nothing\"", "not defined");
    expect_refused("[]", "union");
    expect_refused("\"string\"", "where ours has record");
    expect_refused("{\"type\":\"record\",\"name\":\"W\"}", "fields");
    expect_refused("{\"type\":\"record\",\"fields\":[]}", "name");
    expect_refused(FIELDS("{\"name\":\"x\",\"type\":[\"null\",\"W\"]}"), "inside itself");
    expect_refused(FIELDS("{\"name\":\"x\",\"type\":{\"type\":\"array\",\"items\":\"W\"}}"), "inside itself");
    expect_refused(FIELDS("{\"name\":\"x\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":-1}}"),
                   "fixed");
    expect_refused(
        FIELDS("{\"name\":\"x\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":99999999999}}"),
        "fixed");
    expect_refused(FIELDS("{\"name\":\"x\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":\"4\"}}"),
                   "fixed");
    expect_refused(FIELDS("{\"name\":\"x\",\"type\":{\"type\":\"array\",\"items\":\"null\"}}"), "no bytes");
    expect_refused(
        FIELDS("{\"name\":\"x\",\"type\":{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"E\","
               "\"fields\":[{\"name\":\"n\",\"type\":\"null\"}]}}}"),
        "no bytes");
    expect_refused(FIELDS("{\"name\":\"x\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[]}}"),
                   "symbols");
    expect_refused(FIELDS("{\"name\":\"x\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[7]}}"),
                   "symbol");
    expect_refused(FIELDS("{\"name\":\"x\",\"type\":[[\"null\"]]}"), "union inside");
    expect_refused(FIELDS("{\"type\":\"long\"}"), "without a name");
    expect_refused(FIELDS("{\"name\":\"x\"}"), "missing");
    expect_refused(FIELDS("{\"name\":\"x\",\"type\":{\"type\":\"fixed\",\"name\":\"W\",\"size\":4}}"),
                   "twice");
    expect_refused("{\"type\":\"record\",\"name\":\"W\",\"fields\":[{\"name\":\"a\",\"type\":\"long\"}]}",
                   "b: is missing");
    expect_refused(FIELDS("{\"name\":\"a\",\"type\":\"double\"}"), "a: double where ours has long");
    expect_refused(FIELDS("{\"name\":\"a\",\"type\":\"string\"}"), "a: string");
    expect_refused("{\"type\":\"record\",\"name\":\"W\",\"fields\":[{\"name\":\"b\",\"type\":{\"type\":"
                   "\"array\",\"items\":"
                   "\"double\"}}]}",
                   "b: array where ours has bytes");
}

/* 40 arrays inside each other; and records of records, each twice, which double with every step. */
static void test_deep_and_wide_schemas_are_refused(void **state)
{
    char text[8000];
    size_t n = 0;
    (void)state;
    n += (size_t)sprintf(text, "{\"type\":\"record\",\"name\":\"W\",\"fields\":[{\"name\":\"x\",\"type\":");
    for (int i = 0; i < 40; i++)
        n += (size_t)sprintf(text + n, "{\"type\":\"array\",\"items\":");
    n += (size_t)sprintf(text + n, "\"int\"");
    for (int i = 0; i < 40; i++)
        text[n++] = '}';
    sprintf(text + n, "}]}");
    expect_refused(text, "deep");
    n = 0;
    for (int i = 0; i < 200; i++) /* as text: thousands of brackets */
        n += (size_t)sprintf(text + n, "[");
    expect_refused(text, "JSON");
}

/* Records that refer to each other again and again: as a tree 2^12 of them, all passed over at once. */
static void test_many_uses_of_a_type_cost_nothing(void **state)
{
    char text[8000], name[16] = "\"null\"";
    size_t n = 0;
    struct resolver *r = NULL;
    struct fail why = {0};
    struct bytes to = {0};
    struct span payload;
    (void)state;
    n += (size_t)sprintf(text, "{\"type\":\"record\",\"name\":\"W\",\"fields\":[");
    for (int i = 0; i < 60; i++) {
        n += (size_t)sprintf(text + n,
                             "{\"name\":\"x%d\",\"type\":{\"type\":\"record\",\"name\":\"T%d\",\"fields\":["
                             "{\"name\":\"l\",\"type\":%s},{\"name\":\"r\",\"type\":%s}]}},",
                             i, i, name, name);
        sprintf(name, "\"T%d\"", i);
    }
    sprintf(text + n, "{\"name\":\"b\",\"type\":\"bytes\"}]}");
    if (resolver_open(&r, text_span(text), READER, &why))
        fail_msg("%s", why.text);
    assert_int_equal(resolver_run(r, (struct span){"\2!", 2}, &to, &payload, &why), 0);
    assert_int_equal(payload.size, 3);
    assert_memory_equal(payload.data, "\16\2!", 3);
    bytes_free(&to);
    resolver_close(&r);
}

/* ---- records that are wrong ---- */

/* long a (default 7), bytes b; the writer has a union that fits in parts, an enum and an array before them. */
static const char WRITER[] =
    "{\"type\":\"record\",\"name\":\"W\",\"fields\":["
    "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}},"
    "{\"name\":\"l\",\"type\":{\"type\":\"array\",\"items\":\"long\"}},"
    "{\"name\":\"f\",\"type\":{\"type\":\"array\",\"items\":\"double\"}},"
    "{\"name\":\"a\",\"type\":[\"null\",\"int\",\"long\"]},"
    "{\"name\":\"b\",\"type\":[\"string\",{\"type\":\"array\",\"items\":\"float\"}]}]}";

static void expect_verdict(const char *bytes, size_t size, enum fail_code code, const char *word)
{
    struct resolver *r = NULL;
    struct fail why = {0};
    struct bytes to = {0};
    struct span payload;
    char *exact = malloc(size); /* a sanitizer sees a byte too far */
    memcpy(exact, bytes, size);
    assert_int_equal(resolver_open(&r, text_span(WRITER), READER, &why), 0);
    assert_non_null(strstr(resolver_gap(r), "null"));
    int rc = resolver_run(r, (struct span){exact, size}, &to, &payload, &why);
    if (rc != -(int)code || (rc && !strstr(why.text, word)))
        fail_msg("expected %s with \"%s\", got %d %s", fail_name(code), word, rc, why.text);
    free(exact);
    bytes_free(&to);
    resolver_close(&r);
}

#define VERDICT(bytes, code, word) expect_verdict(bytes, sizeof bytes - 1, code, word)

static void test_verdicts(void **state)
{
    (void)state;
    /*       e   l   f   a       b */
    VERDICT("\2\0\0\2\6\0\2!", E_OK, "");
    VERDICT("\4\0\0\2\6\0\2!", E_BAD_AVRO, "e: enum");
    VERDICT("\2\0\0\0\0\2!", E_BAD_AVRO, "null has no place");
    VERDICT("\2\0\0\6\6\0\2!", E_BAD_AVRO, "union branch 3");
    VERDICT("\2\0\0\1\6\0\2!", E_BAD_AVRO, "union branch -1");
    VERDICT("\2\4\2\0\0\2\6\0\2!", E_TRUNCATED, "f: "); /* 2 items announced, then other things */
    VERDICT("\2\376\377\377\377\17\2\0\0\2\6\0\2!", E_TRUNCATED, "l: "); /* 2^31 items */
    VERDICT("\2\1\2\2\0\0\2\6\0\2!", E_OK, "");                          /* -1 items in 1 byte */
    VERDICT("\2\1\6\2\0\0\2\6\0\2!", E_BAD_AVRO, "block's byte size");
    VERDICT("\2\0\2\0\0\0\0\0\0\0\0\0\2\6\0\2!", E_OK, ""); /* one double passed over */
    VERDICT("\2\0\2\0\0\0\0", E_TRUNCATED, "f: ");
    VERDICT("\2\0\0\2\376\377\377\377\377\17\0\2!", E_BAD_AVRO, "does not fit");
    VERDICT("\2\0\0\2\6\2\2\0\0\200?\0", E_OK, ""); /* one float */
    VERDICT("\2\0\0\2\6\2\4\0\0\200?\0", E_TRUNCATED, "b: ");
    VERDICT("\2\0\0\2\6\0\3!", E_BAD_AVRO, "a length of -2");
    VERDICT("\2\0\0\2\6\0\2!!", E_TRAILING_BYTES, "1 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_becomes_what_python_says),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_same_schema_copies_nothing),
        cmocka_unit_test(test_nothing_is_allocated_once_the_buffer_has_grown),
        cmocka_unit_test(test_schemas_that_crash_others_are_refused),
        cmocka_unit_test(test_deep_and_wide_schemas_are_refused),
        cmocka_unit_test(test_many_uses_of_a_type_cost_nothing),
        cmocka_unit_test(test_verdicts),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
