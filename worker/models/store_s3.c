/* The artefact store as a bucket: s3://BUCKET/PREFIX. Which names, and what their SHA-256 must be, is store.c's affair;
 * signatures and tries are s3.c's. An object appears whole: a PUT that breaks off leaves nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker/models/s3.h"
#include "worker/models/store_form.h"

static int bucket_name(const char *store, struct fail *why)
{
    char bucket[64];
    const char *key;
    return s3_uri_split(store, bucket, &key, why);
}

static int bucket_check(const char *store, struct fail *why)
{
    struct s3 s3;
    struct timespec now;
    char uri[STORE_URI];
    int rc = s3_open(&s3, why);
    if (rc)
        return rc;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(uri, sizeof uri, "%s/.check-%d-%ld%09ld", store, getpid(), (long)now.tv_sec, now.tv_nsec);
    rc = s3_put(&s3, uri, "check", 5, false, why);
    return rc ? rc : s3_delete(&s3, uri, why);
}

/* Credentials that are missing for now say nothing of the object: E_IO, worth another try. */
static int bucket_open(struct s3 *s3, struct fail *why)
{
    int rc = s3_open(s3, why);
    if (!rc)
        return 0;
    if (why)
        why->code = E_IO;
    return -E_IO;
}

static bool object_equal(const struct s3 *s3, const char *uri, size_t size, const char *sha256)
{
    void *bytes = NULL;
    size_t got = 0;
    char have[SHA256_HEX];
    if (s3_get(s3, uri, size, &bytes, &got, NULL))
        return false;
    sha256_hex(bytes, got, have);
    free(bytes);
    return got == size && strcmp(have, sha256) == 0;
}

static int object_put(const char *uri, const void *bytes, size_t size, const char *sha256, struct fail *why)
{
    struct s3 s3;
    size_t there = 0;
    int rc = bucket_open(&s3, why);
    if (rc)
        return rc;
    rc = s3_size(&s3, uri, &there, why);
    if (rc && rc != -E_FILE)
        return rc;
    bool fresh = rc != 0;
    if (!fresh && there == size && object_equal(&s3, uri, size, sha256))
        return 0;
    return s3_put(&s3, uri, bytes, size, fresh, why);
}

static int object_get(const char *uri, size_t max_bytes, const struct store_stop *stop, void **bytes,
                      size_t *size, struct fail *why)
{
    struct s3 s3;
    int rc = bucket_open(&s3, why);
    s3.stop = stop;
    return rc ? rc : s3_get(&s3, uri, max_bytes, bytes, size, why);
}

static int object_delete(const char *uri, struct fail *why)
{
    struct s3 s3;
    int rc = bucket_open(&s3, why);
    return rc ? rc : s3_delete(&s3, uri, why);
}

static int folder_list(const char *folder_uri, store_visit *visit, void *arg, struct fail *why)
{
    struct s3 s3;
    int rc = bucket_open(&s3, why);
    return rc ? rc : s3_list(&s3, folder_uri, visit, arg, why);
}

const struct store_form store_s3 = {
    .scheme = "s3://",
    .name = bucket_name,
    .check = bucket_check,
    .put = object_put,
    .get = object_get,
    .delete = object_delete,
    .list = folder_list,
};
