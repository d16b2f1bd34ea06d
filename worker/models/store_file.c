/* The artefact store as a folder: file:///FOLDER. Whole files under names that are given once; which names, and what
 * their SHA-256 must be, is store.c's affair. Next to read: store_s3.c, the same in a bucket. */
#include "worker/models/store_form.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/models/store.h"
#include "worker/service/bug.h"

#define SCHEME "file://"

static const char *path_of(const char *uri)
{
    return uri + strlen(SCHEME);
}

static int file_name(const char *store, struct fail *why)
{
    if (store[strlen(SCHEME)] != '/')
        return fail(why, E_CONFIG, "models.store: %.200s: file:///FOLDER is expected (an absolute path)",
                    store);
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
static int path_write(const char *folder, const char *path, const void *bytes, size_t size, struct fail *why)
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

static int path_read(const char *path, size_t max_bytes, void **bytes, size_t *size, struct fail *why)
{
    struct stat st;
    char *at = NULL;
    size_t got = 0;
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return fail(why, E_FILE, "%s: %s", path, strerror(errno));
    if (fd < 0) /* of the store, the process or the machine, not of the file: worth another try */
        return fail(why, E_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > max_bytes) {
        rc = fail(why, E_FILE, "%s: not a plain file of at most %zu bytes", path, max_bytes);
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

static int file_check(const char *store, struct fail *why)
{
    char folder[STORE_URI], path[STORE_URI + 16];
    snprintf(folder, sizeof folder, "%s", path_of(store));
    int rc = folder_make(folder, why);
    if (rc)
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
    if (stat(path, &st) || (uint64_t)st.st_size != size || path_read(path, size, &bytes, &got, NULL))
        return false;
    sha256_hex(bytes, got, have);
    free(bytes);
    return got == size && strcmp(have, sha256) == 0;
}

static int file_put(const char *uri, const void *bytes, size_t size, const char *sha256, struct fail *why)
{
    char folder[STORE_URI];
    const char *path = path_of(uri);
    if (file_equal(path, size, sha256))
        return 0;
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    int rc = folder_make(folder, why);
    return rc ? rc : path_write(folder, path, bytes, size, why);
}

static int file_get(const char *uri, size_t max_bytes, const struct store_stop *stop, void **bytes,
                    size_t *size, struct fail *why)
{
    (void)stop;
    return path_read(path_of(uri), max_bytes, bytes, size, why);
}

static int file_delete(const char *uri, struct fail *why)
{
    return unlink(path_of(uri)) && errno != ENOENT ? io_fail("cannot delete", path_of(uri), why) : 0;
}

static int file_list(const char *folder_uri, store_visit *visit, void *arg, struct fail *why)
{
    char uri[STORE_URI + 320];
    int rc = 0;
    DIR *dir = opendir(path_of(folder_uri));
    if (!dir)
        return errno == ENOENT ? 0 : io_fail("cannot open the folder", path_of(folder_uri), why);
    for (struct dirent *e; !rc && (e = readdir(dir));) {
        snprintf(uri, sizeof uri, "%s/%s", folder_uri, e->d_name);
        if (e->d_name[0] != '.')
            rc = visit(arg, uri, e->d_name, why);
    }
    closedir(dir);
    return rc;
}

const struct store_form store_file = {
    .scheme = SCHEME,
    .name = file_name,
    .check = file_check,
    .put = file_put,
    .get = file_get,
    .delete = file_delete,
    .list = file_list,
};
