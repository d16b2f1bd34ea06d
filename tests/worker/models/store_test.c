/* The store on a temporary folder: what was put is whole, what was changed is noticed, nothing outside is
 * touched. */
#include "worker/models/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    char folder[64], store[STORE_URI];
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    strcpy(p->folder, "/tmp/millrace-store-XXXXXX");
    if (!p || !mkdtemp(p->folder))
        return -1;
    snprintf(p->store, sizeof p->store, "file://%s/deep/store", p->folder);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", p->folder);
    int rc = system(command);
    free(p);
    return rc;
}

static void sha_of_known_text(void **state)
{
    (void)state;
    char hex[SHA256_HEX];
    sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void put_get_delete(void **state)
{
    struct place *p = *state;
    struct fail why;
    char uri[STORE_URI], sha[SHA256_HEX], wanted[STORE_URI + 100];
    void *bytes;
    size_t size;
    assert_int_equal(store_check(p->store, &why), 0);
    assert_int_equal(store_put(p->store, "digits", NULL, "abc", 3, uri, sha, &why), 0);
    snprintf(wanted, sizeof wanted, "%s/digits/%s.onnx", p->store, sha);
    assert_string_equal(uri, wanted);
    assert_int_equal(store_get(p->store, uri, sha, &bytes, &size, &why), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "abc", 3);
    free(bytes);
    assert_int_equal(store_delete(p->store, uri, &why), 0);
    assert_int_equal(store_delete(p->store, uri, &why), 0);
    assert_int_equal(store_get(p->store, uri, sha, &bytes, &size, &why), -E_FILE);
}

static void equal_file_stays_and_damage_heals(void **state)
{
    struct place *p = *state;
    struct fail why;
    struct stat first, second;
    char uri[STORE_URI], sha[SHA256_HEX];
    void *bytes;
    size_t size;
    assert_int_equal(store_put(p->store, "digits", NULL, "abcd", 4, uri, sha, &why), 0);
    assert_int_equal(stat(uri + 7, &first), 0);
    assert_int_equal(store_put(p->store, "digits", NULL, "abcd", 4, uri, sha, &why), 0);
    assert_int_equal(stat(uri + 7, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino);
    FILE *f = fopen(uri + 7, "w");
    fputs("abcx", f);
    fclose(f);
    assert_int_equal(store_get(p->store, uri, sha, &bytes, &size, &why), -E_FILE);
    assert_non_null(strstr(why.text, sha));
    assert_int_equal(store_put(p->store, "digits", NULL, "abcd", 4, uri, sha, &why), 0);
    assert_int_equal(store_get(p->store, uri, sha, &bytes, &size, &why), 0);
    free(bytes);
}

static void outside_is_refused(void **state)
{
    struct place *p = *state;
    struct fail why;
    char uri[STORE_URI + 64], out[STORE_URI], sha[SHA256_HEX];
    void *bytes;
    size_t size;
    const char *tails[] = {"/../x", "/digits/../../../etc/passwd", "x/y"};
    for (int i = 0; i < 3; i++) {
        snprintf(uri, sizeof uri, "%s%s", p->store, tails[i]);
        assert_int_equal(store_get(p->store, uri, "", &bytes, &size, &why), -E_FILE);
        assert_int_equal(store_delete(p->store, uri, &why), -E_FILE);
    }
    assert_int_equal(store_get(p->store, "file:///etc/passwd", "", &bytes, &size, &why), -E_FILE);
    assert_int_equal(store_put(p->store, "..", NULL, "a", 1, out, sha, &why), -E_BAD_REQUEST);
    assert_int_equal(store_put(p->store, "a/b", NULL, "a", 1, out, sha, &why), -E_BAD_REQUEST);
    assert_int_equal(store_put(p->store, "a", "../b", "a", 1, out, sha, &why), -E_FAILED);
    assert_int_equal(store_put("gs://bucket", "a", NULL, "a", 1, out, sha, &why), -E_CONFIG);
}

static int count_visit(void *arg, const char *uri, const char *name, struct fail *why)
{
    (void)uri, (void)why;
    *(int *)arg += strncmp(name, "job-", 4) == 0 ? 1 : 1000;
    return 0;
}

static void list_visits_whole_files(void **state)
{
    struct place *p = *state;
    struct fail why;
    char uri[STORE_URI], sha[SHA256_HEX];
    int count = 0;
    assert_int_equal(store_list(p->store, "digits", "checkpoints", count_visit, &count, &why), 0);
    assert_int_equal(count, 0);
    assert_int_equal(store_put(p->store, "digits", "checkpoints/job-1", "a", 1, uri, sha, &why), 0);
    assert_int_equal(store_put(p->store, "digits", "checkpoints/job-2", "b", 1, uri, sha, &why), 0);
    assert_int_equal(store_list(p->store, "digits", "checkpoints", count_visit, &count, &why), 0);
    assert_int_equal(count, 2);
}

static void unwritable_is_said(void **state)
{
    struct place *p = *state;
    struct fail why;
    char store[STORE_URI], path[STORE_URI];
    snprintf(path, sizeof path, "%s/plain", p->folder);
    fclose(fopen(path, "w"));
    snprintf(store, sizeof store, "file://%s/plain", p->folder);
    assert_int_equal(store_check(store, &why), -E_IO);
    assert_non_null(strstr(why.text, path));
}

/* The store's trouble is not the file's: what reads again later must be able to tell. */
static void trouble_is_not_damage(void **state)
{
    struct place *p = *state;
    struct fail why;
    char path[STORE_URI + 8], uri[STORE_URI + 8];
    void *bytes;
    size_t size;
    snprintf(path, sizeof path, "%s/loop", p->store + strlen("file://"));
    snprintf(uri, sizeof uri, "%s/loop", p->store);
    assert_int_equal(store_check(p->store, &why), 0);
    assert_int_equal(store_get(p->store, uri, "", &bytes, &size, &why), -E_FILE);
    assert_int_equal(symlink(path, path), 0);
    assert_int_equal(store_get(p->store, uri, "", &bytes, &size, &why), -E_IO);
    assert_int_equal(unlink(path), 0);
}

static void names(void **state)
{
    (void)state;
    struct fail why;
    char name[130];
    memset(name, 'a', 101);
    name[101] = 0;
    assert_int_equal(model_name_check(name, &why), -E_BAD_REQUEST);
    name[100] = 0;
    assert_int_equal(model_name_check(name, &why), 0);
    const char *bad[] = {"", ".", "..", "a b", "a@b", "a/b", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(model_name_check(bad[i], &why), -E_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha_of_known_text),
        cmocka_unit_test_setup_teardown(put_get_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(equal_file_stays_and_damage_heals, setup, teardown),
        cmocka_unit_test_setup_teardown(outside_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(list_visits_whole_files, setup, teardown),
        cmocka_unit_test_setup_teardown(unwritable_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(trouble_is_not_damage, setup, teardown),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
