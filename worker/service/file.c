/* Mapped files and files that appear whole. What is in them is for others to say.
 * Next to read: worker/data/format.h, worker/codec/container.c. */
#include "worker/service/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Under a sanitizer the bytes are a heap block of exactly their size, so that it sees a byte too far. */
#if defined(__SANITIZE_ADDRESS__)
static void *map_bytes(int fd, size_t size)
{
    char *base = malloc(size);
    size_t done = 0;
    for (ssize_t n = 1; base && n > 0 && done < size; done += (size_t)(n > 0 ? n : 0))
        n = pread(fd, base + done, size - done, (off_t)done);
    if (done == size)
        return base;
    free(base);
    return NULL;
}

static void unmap_bytes(void *base, size_t size)
{
    (void)size;
    free(base);
}
#else
static void *map_bytes(int fd, size_t size)
{
    void *base = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    return base == MAP_FAILED ? NULL : base;
}

static void unmap_bytes(void *base, size_t size)
{
    munmap(base, size);
}
#endif

static int map_descriptor(struct file_map *m, int fd, const char *path, struct fail *why)
{
    struct stat st;
    if (fstat(fd, &st))
        return fail(why, E_FILE, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(why, E_FILE, "%s: not a regular file", path);
    if (st.st_size == 0)
        return fail(why, E_FILE, "%s: the file is empty", path);
    m->base = map_bytes(fd, (size_t)st.st_size);
    if (!m->base)
        return fail(why, E_MEMORY, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size,
                    strerror(errno));
    m->size = (size_t)st.st_size;
    return 0;
}

int file_map_open(struct file_map *m, const char *path, struct fail *why)
{
    *m = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(why, errno == EACCES ? E_DENIED : E_FILE, "%s: %s", path, strerror(errno));
    int rc = map_descriptor(m, fd, path, why);
    close(fd);
    if (rc == 0 && !(m->path = strdup(path)))
        rc = fail(why, E_MEMORY, "%s: out of memory", path);
    if (rc)
        file_map_close(m);
    return rc;
}

void file_map_close(struct file_map *m)
{
    if (m->base)
        unmap_bytes((void *)m->base, m->size);
    free(m->path);
    *m = (struct file_map){0};
}

static int out_fail(const struct file_out *out, struct fail *why)
{
    int error = errno;
    return fail(why, E_IO, "%s: cannot write: %s%s", out->part, strerror(error),
                error == ENOSPC || error == EDQUOT ? "; make room and run it again" : "");
}

int file_out_open(struct file_out *out, const char *path, struct fail *why)
{
    struct stat st;
    *out = (struct file_out){0};
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fail(why, E_USAGE, "%s: is there and is not a regular file", path);
    out->path = strdup(path);
    if (!out->path || asprintf(&out->part, "%s.part", path) < 0) {
        out->part = NULL;
        file_out_close(out);
        return fail(why, E_MEMORY, "%s: out of memory", path);
    }
    out->stream = fopen(out->part, "wbe");
    if (!out->stream) {
        enum fail_code code = errno == EACCES ? E_DENIED : errno == ENOENT ? E_FILE : E_IO;
        int rc = fail(why, code, "%s: cannot make it: %s", out->part, strerror(errno));
        file_out_close(out);
        return rc;
    }
    return 0;
}

int file_out_write(struct file_out *out, const void *bytes, size_t size, struct fail *why)
{
    if (size && fwrite(bytes, 1, size, out->stream) != size)
        return out_fail(out, why);
    return 0;
}

int file_out_patch(struct file_out *out, long at, const void *bytes, size_t size, struct fail *why)
{
    if (fseek(out->stream, at, SEEK_SET))
        return out_fail(out, why);
    int rc = file_out_write(out, bytes, size, why);
    if (rc == 0 && fseek(out->stream, 0, SEEK_END))
        rc = out_fail(out, why);
    return rc;
}

/* The rename is durable when the folder is. A folder that cannot be opened for reading is left to itself. */
static int sync_folder(const struct file_out *out, struct fail *why)
{
    const char *slash = strrchr(out->path, '/');
    char *folder = slash ? strndup(out->path, (size_t)(slash - out->path) + 1) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, rc = 0;
    if (fd >= 0 && fsync(fd) && errno != EINVAL)
        rc = out_fail(out, why);
    if (fd >= 0)
        close(fd);
    free(folder);
    return rc;
}

int file_out_commit(struct file_out *out, struct fail *why)
{
    if (fflush(out->stream) || fsync(fileno(out->stream)))
        return out_fail(out, why);
    int closed = fclose(out->stream);
    out->stream = NULL;
    if (closed || rename(out->part, out->path))
        return out_fail(out, why);
    free(out->part);
    out->part = NULL;
    /* From here on the file has its name; out_fail wants one. */
    struct file_out named = {.path = out->path, .part = out->path};
    return sync_folder(&named, why);
}

void file_out_close(struct file_out *out)
{
    if (out->stream)
        fclose(out->stream);
    if (out->part)
        unlink(out->part);
    free(out->part);
    free(out->path);
    *out = (struct file_out){0};
}
