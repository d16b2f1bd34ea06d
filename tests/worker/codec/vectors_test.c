/* Every vector of every record type: our verdict, Avro C's reading printed as JSON, JSON back to bytes, and
 * each of them cut at every byte. The types' structs are looked at in record_test.c. */
#include "tests/lib/vectors.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* behind our headers: it has a macro called fail */

static struct vector all[VECTORS_MOST];
static int count;

static int load(void **state)
{
    (void)state;
    count = vectors_load(all);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    vectors_free(all, count);
    return 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void test_every_type_has_vectors(void **state)
{
    static const char *const cases[] = {"full", "defaults", "blocks"};
    (void)state;
    int types = 0;
    for (const struct record_type *t; (t = record_type_at(types)); types++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s.%s", t->name, cases[i]);
            assert_non_null(vector_find(all, count, name));
        }
    assert_int_equal(types, 7);
}

static void test_validate_accepts(void **state)
{
    (void)state;
    for (int i = 0; i < count; i++) {
        struct fail why = {0};
        if (all[i].type->validate(all[i].value, &why))
            fail_msg("%s: %s: %s", all[i].name, fail_name(why.code), why.text);
    }
}

static void test_json_is_what_python_says(void **state)
{
    (void)state;
    for (int i = 0; i < count; i++) {
        struct fail why = {0};
        struct bytes text = {0};
        if (record_print_json(&text, all[i].type, 1, all[i].value, &why))
            fail_msg("%s: %s", all[i].name, why.text);
        json_t *ours = json_loadb((char *)text.data, text.size, JSON_DECODE_ANY, NULL);
        json_t *theirs = json_loadb(all[i].json.data, all[i].json.size, JSON_DECODE_ANY, NULL);
        if (!ours || !theirs || !json_equal(ours, theirs))
            fail_msg("%s: printed\n%.*s\nexpected\n%.*s", all[i].name, (int)text.size, text.data,
                     (int)all[i].json.size, all[i].json.data);
        assert_null(memchr(text.data, '\n', text.size));
        json_decref(ours);
        json_decref(theirs);
        bytes_free(&text);
    }
}

static void test_json_parses_to_the_same_bytes(void **state)
{
    int compared = 0;
    (void)state;
    for (int i = 0; i < count; i++) {
        struct fail why = {0};
        struct bytes value = {0};
        if (record_parse_json(&value, all[i].type, all[i].json.data, all[i].json.size, &why))
            fail_msg("%s: %s", all[i].name, why.text);
        if (!ends_with(all[i].name, "blocks")) { /* those parse to the bytes of another vector */
            assert_int_equal(value.size, all[i].value.size);
            assert_memory_equal(value.data, all[i].value.data, value.size);
            compared++;
        }
        bytes_free(&value);
    }
    assert_true(compared >= 14);
}

/* A cut record never reads past its end (it lies in memory of its own size) and is always "truncated". */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    for (int i = 0; i < count; i++)
        for (size_t n = 0; n < all[i].value.size; n++) {
            struct fail why = {0};
            char *cut = malloc(n ? n : 1);
            memcpy(cut, all[i].value.data, n);
            int rc = all[i].type->validate((struct span){cut, n}, &why);
            if (rc != (n ? -E_TRUNCATED : -E_EMPTY))
                fail_msg("%s cut to %zu bytes: %s: %s", all[i].name, n, fail_name((enum fail_code) - rc),
                         why.text);
            free(cut);
        }
}

static void test_a_byte_more_is_trailing(void **state)
{
    (void)state;
    for (int i = 0; i < count; i++) {
        struct fail why = {0};
        char *more = calloc(1, all[i].value.size + 1);
        memcpy(more, all[i].value.data, all[i].value.size);
        assert_int_equal(all[i].type->validate((struct span){more, all[i].value.size + 1}, &why),
                         -E_TRAILING_BYTES);
        assert_int_equal(why.code, E_TRAILING_BYTES);
        free(more);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_has_vectors),   cmocka_unit_test(test_validate_accepts),
        cmocka_unit_test(test_json_is_what_python_says), cmocka_unit_test(test_json_parses_to_the_same_bytes),
        cmocka_unit_test(test_cut_at_every_byte),        cmocka_unit_test(test_a_byte_more_is_trailing),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
