/* The table of versions and aliases: last writer wins, deletion, resolution, records that do not belong. */
#include "worker/models/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static int apply(struct registry *r, const char *key, const struct model_version_event *e, struct fail *why)
{
    struct bytes b = {0};
    model_version_event_encode(&b, e);
    assert_false(b.failed);
    int rc = registry_apply(r, (struct span){key, strlen(key)}, (struct span){(char *)b.data, b.size}, why);
    bytes_free(&b);
    return rc;
}

static struct model_version_event event(enum version_event kind, int64_t version, const char *alias)
{
    return (struct model_version_event){.event_id = "e",
                                        .event = kind,
                                        .model = "digits",
                                        .version = version,
                                        .alias = alias,
                                        .traffic = 1,
                                        .artifact_uri = "file:///x",
                                        .format = "onnx",
                                        .sha256 = "",
                                        .job_id = "",
                                        .dataset_sha256 = "",
                                        .reason = "",
                                        .created_by = ""};
}

static void add(struct registry *r, enum version_event kind, int64_t version, const char *alias)
{
    struct model_version_event e = event(kind, version, alias);
    struct fail why;
    char key[64];
    if (*alias)
        snprintf(key, sizeof key, "digits@%s", alias);
    else
        snprintf(key, sizeof key, "digits@%d", (int)version);
    assert_int_equal(apply(r, key, &e, &why), 0);
}

static int64_t resolve(const struct registry *r, const char *spec, const char **variant)
{
    const struct model_version_event *v;
    struct fail why;
    int rc = registry_resolve(r, (struct span){spec, strlen(spec)}, &v, variant, &why);
    return rc ? rc : v->version;
}

static void versions_and_aliases(void **state)
{
    (void)state;
    struct registry *r;
    struct fail why;
    const char *variant;
    assert_int_equal(registry_new(&r, &why), 0);
    assert_int_equal(registry_max_version(r, "digits"), 0);
    assert_int_equal(resolve(r, "digits", &variant), -E_UNKNOWN_MODEL);
    for (int64_t v = 12; v > 0; v--)
        add(r, EVENT_CREATED, v, "");
    assert_int_equal(registry_max_version(r, "digits"), 12);
    assert_int_equal(resolve(r, "digits", &variant), -E_UNKNOWN_MODEL);
    add(r, EVENT_PROMOTED, 2, "champion");
    add(r, EVENT_PROMOTED, 11, "champion");
    add(r, EVENT_PROMOTED, 3, "shadow");
    assert_int_equal(resolve(r, "digits", &variant), 11);
    assert_string_equal(variant, "champion");
    assert_int_equal(resolve(r, "digits@shadow", &variant), 3);
    assert_string_equal(variant, "shadow");
    add(r, EVENT_REJECTED, 7, "");
    assert_int_equal(resolve(r, "digits@7", &variant), 7);
    assert_string_equal(variant, "");
    const char *none[] = {"digits@13", "digits@challenger", "letters"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(resolve(r, none[i], &variant), -E_UNKNOWN_MODEL);
    const char *bad[] = {"", "digits@", "@1", "digits@0", "digits@1@2", "digits@99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(resolve(r, bad[i], &variant), -E_BAD_REQUEST);
    registry_free(&r);
    assert_null(r);
}

static void alias_ends(void **state)
{
    (void)state;
    struct registry *r;
    struct fail why;
    const char *variant;
    assert_int_equal(registry_new(&r, &why), 0);
    add(r, EVENT_CREATED, 1, "");
    struct model_version_event e = event(EVENT_PROMOTED, 1, "champion");
    e.traffic = 0;
    assert_int_equal(apply(r, "digits@champion", &e, &why), 0);
    assert_int_equal(resolve(r, "digits", &variant), -E_UNKNOWN_MODEL);
    add(r, EVENT_ROLLED_BACK, 1, "champion");
    assert_int_equal(resolve(r, "digits", &variant), 1);
    assert_int_equal(registry_apply(r, (struct span){"digits@champion", 15}, (struct span){0}, &why), 0);
    assert_int_equal(resolve(r, "digits", &variant), -E_UNKNOWN_MODEL);
    assert_int_equal(resolve(r, "digits@1", &variant), 1);
    registry_free(&r);
}

static void wrong_records_change_nothing(void **state)
{
    (void)state;
    struct registry *r;
    struct fail why;
    assert_int_equal(registry_new(&r, &why), 0);
    add(r, EVENT_CREATED, 1, "");
    struct model_version_event e = event(EVENT_CREATED, 2, "");
    assert_int_equal(apply(r, "digits@1", &e, &why), -E_BAD_REQUEST);
    assert_non_null(strstr(why.text, "digits@1"));
    e.version = 0;
    assert_int_equal(apply(r, "digits@0", &e, &why), -E_BAD_REQUEST);
    e = event(EVENT_PROMOTED, 1, "champion");
    assert_int_equal(apply(r, "digits@1", &e, &why), -E_BAD_REQUEST);
    assert_true(registry_apply(r, (struct span){"digits@1", 8}, (struct span){"\x02", 1}, &why) < 0);
    assert_non_null(strstr(why.text, "digits@1"));
    assert_true(registry_apply(r, (struct span){"", 0}, (struct span){"", 0}, &why) < 0);
    assert_int_equal(registry_version(r, "digits", 1)->event, EVENT_CREATED);
    const char *key;
    assert_non_null(registry_at(r, 0, &key));
    assert_string_equal(key, "digits@1");
    assert_null(registry_at(r, 1, &key));
    registry_free(&r);
}

/* A record of a later schema may read as ours by chance: its header is looked at first. */
static void later_schemas_are_left_out(void **state)
{
    (void)state;
    struct registry *r;
    struct fail why;
    struct bytes b = {0};
    struct model_version_event e = event(EVENT_CREATED, 1, "");
    struct header h = {"millrace.schema", {"99", 2}};
    struct record record = {.topic = "models", .key = {"digits@1", 8}, .headers = &h, .header_count = 1};
    assert_int_equal(registry_new(&r, &why), 0);
    model_version_event_encode(&b, &e);
    record.value = (struct span){(char *)b.data, b.size};
    assert_int_equal(registry_apply_record(r, &record, &why), -E_UNKNOWN_SCHEMA);
    assert_null(registry_version(r, "digits", 1));
    h.value = (struct span){"1", 1};
    assert_int_equal(registry_apply_record(r, &record, &why), 0);
    assert_non_null(registry_version(r, "digits", 1));
    record.value = (struct span){0};
    assert_int_equal(registry_apply_record(r, &record, &why), 0);
    assert_null(registry_version(r, "digits", 1));
    bytes_free(&b);
    registry_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_and_aliases),
        cmocka_unit_test(alias_ends),
        cmocka_unit_test(wrong_records_change_nothing),
        cmocka_unit_test(later_schemas_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
