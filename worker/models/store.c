/* Names in the artefact store, and the SHA-256 of what comes out of it; reading and writing is done by one of two forms
 * (store_form.h). What the bytes mean is the callers' affair (trainer.c, follower.c).
 * Next to read: store_file.c, then registry.c, the table of what is in the store. */
#include "worker/models/store.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "worker/codec/model_spec.h"
#include "worker/models/store_form.h"

#define MAX_BYTES ((size_t)4 << 30)

void sha256_hex(const void *bytes, size_t size, char out[SHA256_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    EVP_Digest(bytes, size, digest, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static bool name_good(const char *name, size_t size)
{
    if (size < 1 || size > 255 || (name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.'))))
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '-';
        if (!good)
            return false;
    }
    return true;
}

int model_name_check(const char *name, struct fail *why)
{
    if (!model_name_valid(text_span(name)))
        return fail(why, E_BAD_REQUEST, "model name \"%.120s\": %s", name, MODEL_NAME_RULE);
    return 0;
}

static const struct store_form *form_of(const char *uri)
{
    static const struct store_form *const forms[] = {&store_file, &store_s3};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strncmp(uri, forms[i]->scheme, strlen(forms[i]->scheme)) == 0)
            return forms[i];
    return NULL;
}

int store_name_check(const char *store, struct fail *why)
{
    const struct store_form *form = form_of(store);
    if (!form)
        return fail(why, E_CONFIG,
                    "models.store: expected file:///FOLDER or s3://BUCKET/PREFIX, got '%.200s'", store);
    size_t size = strlen(store);
    if (size >= STORE_URI - 400)
        return fail(why, E_CONFIG, "models.store: %zu bytes are too long, at most %d are taken", size,
                    STORE_URI - 401);
    return form->name(store, why);
}

/* The form of a store, and its name without slashes at the end: "file:///var/lib/models/" -> "file:///var/lib/models" */
static int store_open(const char *store, const struct store_form **form, char root[STORE_URI],
                      struct fail *why)
{
    int rc = store_name_check(store, why);
    if (rc)
        return rc;
    *form = form_of(store);
    size_t size = strlen(store), least = strlen((*form)->scheme) + 1;
    memcpy(root, store, size + 1);
    while (size > least && root[size - 1] == '/')
        root[--size] = 0;
    return 0;
}

int store_check(const char *store, struct fail *why)
{
    const struct store_form *form;
    char root[STORE_URI];
    int rc = store_open(store, &form, root, why);
    return rc ? rc : form->check(root, why);
}

/* "NAME" or "FOLDER/NAME" */
static int artefact_name_check(const char *name, struct fail *why)
{
    const char *slash = strchr(name, '/');
    const char *last = slash ? slash + 1 : name;
    if ((slash && !name_good(name, (size_t)(slash - name))) || !name_good(last, strlen(last)) ||
        strlen(name) > 255)
        return fail(why, E_FAILED, "artefact name \"%.260s\": NAME or FOLDER/NAME of A-Z a-z 0-9 . _ -",
                    name);
    return 0;
}

int store_put(const char *store, const char *model, const char *name, const void *bytes, size_t size,
              char uri[STORE_URI], char sha256[SHA256_HEX], struct fail *why)
{
    const struct store_form *form;
    char root[STORE_URI], own[SHA256_HEX + 8];
    int rc = store_open(store, &form, root, why);
    if (rc || (rc = model_name_check(model, why)))
        return rc;
    sha256_hex(bytes, size, sha256);
    if (!name) {
        snprintf(own, sizeof own, "%s.onnx", sha256);
        name = own;
    }
    if ((rc = artefact_name_check(name, why)))
        return rc;
    int n = snprintf(uri, STORE_URI, "%s/%s/%s", root, model, name);
    if (n < 0 || (size_t)n >= STORE_URI)
        return fail(why, E_IO, "%.200s...: the path is too long (%d bytes)", root, n);
    return form->put(uri, bytes, size, sha256, why);
}

bool store_uri_below(const char *uri, const char *prefix)
{
    size_t n = strlen(prefix), scheme = strcspn(uri, ":");
    while (n > scheme + 3 && prefix[n - 1] == '/')
        n--;
    if (!form_of(uri) || strlen(uri) >= STORE_URI || strncmp(uri, prefix, n) != 0 || uri[n] != '/')
        return false;
    return !strstr(uri + n, "/../") && !strstr(uri + n, "/./");
}

/* The form of a store in which this uri lies. */
static int uri_open(const char *store, const char *uri, const struct store_form **form, struct fail *why)
{
    char root[STORE_URI];
    int rc = store_open(store, form, root, why);
    if (!rc && !store_uri_below(uri, root))
        rc = fail(why, E_FILE, "%.300s is not in the model store %.150s (models.store)", uri, store);
    return rc;
}

static int object_get(const struct store_form *form, const char *uri, const char *sha256, size_t max_bytes,
                      const struct store_stop *stop, void **bytes, size_t *size, struct fail *why)
{
    char have[SHA256_HEX];
    void *at;
    size_t got;
    int rc = form->get(uri, max_bytes, stop, &at, &got, why);
    if (rc)
        return rc;
    sha256_hex(at, got, have);
    if (*sha256 && strcasecmp(have, sha256) != 0) {
        free(at);
        return fail(why, E_FILE, "%.250s: SHA-256 is %s, expected %s: the file was damaged or replaced", uri,
                    have, sha256);
    }
    *bytes = at;
    *size = got;
    return 0;
}

int store_get(const char *store, const char *uri, const char *sha256, void **bytes, size_t *size,
              struct fail *why)
{
    const struct store_form *form;
    int rc = uri_open(store, uri, &form, why);
    return rc ? rc : object_get(form, uri, sha256, MAX_BYTES, NULL, bytes, size, why);
}

int store_read(const char *uri, const char *sha256, size_t max_bytes, const struct store_stop *stop,
               void **bytes, size_t *size, struct fail *why)
{
    const struct store_form *form = form_of(uri);
    int rc = form ? form->name(uri, why)
                  : fail(why, E_FILE, "%.300s: expected file:///PATH or s3://BUCKET/KEY", uri);
    return rc ? rc : object_get(form, uri, sha256, max_bytes, stop, bytes, size, why);
}

int store_delete(const char *store, const char *uri, struct fail *why)
{
    const struct store_form *form;
    int rc = uri_open(store, uri, &form, why);
    return rc ? rc : form->delete (uri, why);
}

int store_list(const char *store, const char *model, const char *folder, store_visit *visit, void *arg,
               struct fail *why)
{
    const struct store_form *form;
    char root[STORE_URI], uri[2 * STORE_URI];
    int rc = store_open(store, &form, root, why);
    if (rc || (rc = model_name_check(model, why)))
        return rc;
    snprintf(uri, sizeof uri, "%s/%s/%.200s", root, model, folder);
    return form->list(uri, visit, arg, why);
}
