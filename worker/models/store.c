/* The artefact store as a folder: whole files under names that are given once. What the bytes mean is the
 * callers' affair (trainer.c, follower.c); a bucket form comes with the S3 store.
 * Next to read: registry.c, the table of what is in the store. */
#include "worker/models/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/codec/model_spec.h"
#include "worker/service/bug.h"

#define SCHEME    "file://"
#define MAX_BYTES ((uint64_t)4 << 30)

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

/* "file:///var/lib/models/" -> "/var/lib/models" */
static int store_folder(const char *store, char out[STORE_URI], struct fail *why)
{
    size_t scheme = strlen(SCHEME);
    if (strncmp(store, SCHEME "/", scheme + 1) != 0)
        return fail(why, E_CONFIG, "models.store: %.200s: file:///FOLDER is expected (an absolute path)",
                    store);
    size_t size = strlen(store + scheme);
    if (size >= STORE_URI - 400)
        return fail(why, E_CONFIG, "models.store: a path of %zu bytes is too long", size);
    memcpy(out, store + scheme, size + 1);
    while (size > 1 && out[size - 1] == '/')
        out[--size] = 0;
    return 0;
}

static int io_fail(const char *what, const char *path, struct fail *why)
{
    int code = errno;
    const char *hint = code == ENOSPC || code == EDQUOT ? "; free some space"
                       : code == EACCES || code == EROFS || code == EPERM
                           ? "; the worker's user needs to write there"
                           : "";
    return fail(why, E_IO, "%s: %s: %s%s", path, what, strerror(code), hint);
}

/* Makes every folder of the path; one that is there already is fine. */
static int folder_make(char *path, struct fail *why)
{
    for (char *p = path + 1;; p++) {
        if (*p != '/' && *p)
            continue;
        char kept = *p;
        *p = 0;
        int rc = mkdir(path, 0755);
        if (rc && errno != EEXIST)
            return io_fail("cannot make the folder", path, why);
        *p = kept;
        if (!kept)
            return 0;
    }
}

static int folder_sync(const char *path, struct fail *why)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return io_fail("cannot open the folder", path, why);
    int rc = fsync(fd) ? io_fail("fsync of the folder", path, why) : 0;
    close(fd);
    return rc;
}

static int write_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t n = write(fd, bytes, size < (1u << 30) ? size : (1u << 30));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

/* path is written whole or not at all: temporary name, fsync, rename, fsync of the folder. */
static int file_put(const char *folder, const char *path, const void *bytes, size_t size, struct fail *why)
{
    char temporary[STORE_URI + 16];
    int rc = 0;
    snprintf(temporary, sizeof temporary, "%s/.tmp-XXXXXX", folder);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return io_fail("cannot make a file", temporary, why);
    if (write_all(fd, bytes, size) || fchmod(fd, 0644) || (!has_bug(unsynced) && fsync(fd))) {
        rc = io_fail("cannot write", temporary, why);
        close(fd);
    } else if (close(fd)) {
        rc = io_fail("cannot close", temporary, why);
    } else if (rename(temporary, path)) {
        rc = io_fail("cannot rename to its name", path, why);
    }
    if (rc) {
        unlink(temporary);
        return rc;
    }
    return folder_sync(folder, why);
}

static int file_get(const char *path, void **bytes, size_t *size, struct fail *why)
{
    struct stat st;
    char *at = NULL;
    size_t got = 0;
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return fail(why, E_FILE, "%s: %s", path, strerror(errno));
    if (fd < 0) /* of the store, the process or the machine, not of the file: worth another try */
        return fail(why, E_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > MAX_BYTES) {
        rc = fail(why, E_FILE, "%s: not a plain file of at most 4 GiB", path);
        goto out;
    }
    at = malloc((size_t)st.st_size + 1);
    if (!at) {
        rc = fail(why, E_MEMORY, "%s: no memory for %lld bytes", path, (long long)st.st_size);
        goto out;
    }
    while (got < (size_t)st.st_size) {
        ssize_t n = read(fd, at + got, (size_t)st.st_size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = fail(why, n ? E_IO : E_FILE, "%s: %zu of %lld bytes could be read: %s", path, got,
                      (long long)st.st_size, n ? strerror(errno) : "the file became shorter");
            goto out;
        }
        got += (size_t)n;
    }
    *bytes = at;
    *size = got;
    at = NULL;
out:
    free(at);
    close(fd);
    return rc;
}

int store_check(const char *store, struct fail *why)
{
    char folder[STORE_URI], path[STORE_URI + 16];
    int rc = store_folder(store, folder, why);
    if (rc)
        return rc;
    if ((rc = folder_make(folder, why)))
        return rc;
    snprintf(path, sizeof path, "%s/.check-XXXXXX", folder);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return io_fail("cannot write in it", folder, why);
    if (write_all(fd, "check", 5))
        rc = io_fail("cannot write", path, why);
    close(fd);
    unlink(path);
    return rc;
}

static bool file_equal(const char *path, size_t size, const char *sha256)
{
    struct stat st;
    void *bytes;
    size_t got;
    char have[SHA256_HEX];
    if (stat(path, &st) || (uint64_t)st.st_size != size || file_get(path, &bytes, &got, NULL))
        return false;
    sha256_hex(bytes, got, have);
    free(bytes);
    return got == size && strcmp(have, sha256) == 0;
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
    char folder[STORE_URI], path[STORE_URI + 300], own[SHA256_HEX + 8];
    int rc = store_folder(store, folder, why);
    if (rc || (rc = model_name_check(model, why)))
        return rc;
    sha256_hex(bytes, size, sha256);
    if (!name) {
        snprintf(own, sizeof own, "%s.onnx", sha256);
        name = own;
    }
    if ((rc = artefact_name_check(name, why)))
        return rc;
    int n = snprintf(path, sizeof path, "%s/%s/%s", folder, model, name);
    if (n < 0 || (size_t)n + strlen(SCHEME) >= STORE_URI)
        return fail(why, E_IO, "%.200s...: the path is too long (%d bytes)", path, n);
    memcpy(uri, SCHEME, strlen(SCHEME));
    memcpy(uri + strlen(SCHEME), path, (size_t)n + 1);
    if (file_equal(path, size, sha256))
        return 0;
    char *slash = strrchr(path, '/');
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = 0;
    if ((rc = folder_make(folder, why)))
        return rc;
    return file_put(folder, path, bytes, size, why);
}

/* The path of an uri that lies in the store. */
static int uri_path(const char *store, const char *uri, char path[STORE_URI], struct fail *why)
{
    char folder[STORE_URI];
    int rc = store_folder(store, folder, why);
    if (rc)
        return rc;
    size_t n = strlen(folder), scheme = strlen(SCHEME);
    bool inside = strncmp(uri, SCHEME, scheme) == 0 && strlen(uri) < STORE_URI &&
                  strncmp(uri + scheme, folder, n) == 0 && (uri[scheme + n] == '/' || n == 1);
    if (!inside || strstr(uri, "/../") || strstr(uri, "/./"))
        return fail(why, E_FILE, "%.300s is not in the model store %.150s (models.store)", uri, store);
    strcpy(path, uri + scheme);
    return 0;
}

int store_get(const char *store, const char *uri, const char *sha256, void **bytes, size_t *size,
              struct fail *why)
{
    char path[STORE_URI], have[SHA256_HEX];
    void *at;
    size_t got;
    int rc = uri_path(store, uri, path, why);
    if (rc || (rc = file_get(path, &at, &got, why)))
        return rc;
    sha256_hex(at, got, have);
    if (*sha256 && strcmp(have, sha256) != 0) {
        free(at);
        return fail(why, E_FILE, "%s: SHA-256 is %s, expected %s: the file was damaged or replaced", path,
                    have, sha256);
    }
    *bytes = at;
    *size = got;
    return 0;
}

int store_delete(const char *store, const char *uri, struct fail *why)
{
    char path[STORE_URI];
    int rc = uri_path(store, uri, path, why);
    if (rc)
        return rc;
    return unlink(path) && errno != ENOENT ? io_fail("cannot delete", path, why) : 0;
}

int store_list(const char *store, const char *model, const char *folder, store_visit *visit, void *arg,
               struct fail *why)
{
    char path[STORE_URI], uri[STORE_URI + 320];
    int rc = store_folder(store, path, why);
    if (rc || (rc = model_name_check(model, why)))
        return rc;
    size_t n = strlen(path);
    snprintf(path + n, sizeof path - n, "/%s/%.200s", model, folder);
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? 0 : io_fail("cannot open the folder", path, why);
    for (struct dirent *e; !rc && (e = readdir(dir));) {
        snprintf(uri, sizeof uri, SCHEME "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            rc = visit(arg, uri, e->d_name, why);
    }
    closedir(dir);
    return rc;
}
