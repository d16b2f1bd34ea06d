/* Reads a model file of either kind: by its extension, else by its first bytes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/graph.h"

#define FILE_MOST ((int64_t)2 << 30) /* protobuf's own limit */

static int read_all(int fd, const char *path, char *to, size_t size, struct fail *why)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, to + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(why, E_FILE, "%s: %s", path, strerror(errno));
        if (n == 0)
            return fail(why, E_FILE, "%s: ends at byte %zu of %zu", path, done, size);
        done += (size_t)n;
    }
    return 0;
}

static int read_file(const char *path, char **bytes, size_t *size, struct fail *why)
{
    struct stat info;
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(why, E_FILE, "%s: %s", path, strerror(errno));
    if (fstat(fd, &info))
        rc = fail(why, E_FILE, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        rc = fail(why, E_FILE, "%s: not a file", path);
    else if (info.st_size > FILE_MOST)
        rc = fail(why, E_FILE, "%s: %lld bytes, expected at most 2 GB", path, (long long)info.st_size);
    else if (!(*bytes = malloc((size_t)info.st_size + 1)))
        rc = fail(why, E_MEMORY, "%s: no memory for %lld bytes", path, (long long)info.st_size);
    else
        rc = read_all(fd, path, *bytes, *size = (size_t)info.st_size, why);
    close(fd);
    if (rc) {
        free(*bytes);
        *bytes = NULL;
    }
    return rc;
}

static bool ends_in(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n >= m && !strcmp(path + n - m, end);
}

int graph_read(struct graph **out, const char *path, struct fail *why)
{
    char *bytes = NULL;
    size_t size = 0;
    int rc = read_file(path, &bytes, &size, why);
    if (rc)
        return rc;
    bool yaml = ends_in(path, ".yaml") || ends_in(path, ".yml");
    /* An ONNX file begins with field 1, ir_version, a varint. */
    bool onnx = ends_in(path, ".onnx") || (!yaml && size > 2 && bytes[0] == 0x08);
    if (yaml)
        rc = network_parse(out, path, bytes, size, why);
    else if (onnx)
        rc = onnx_parse(out, path, bytes, size, why);
    else
        rc = fail(why, E_FILE, "%s: neither an ONNX file (.onnx) nor a network file (.yaml)", path);
    free(bytes);
    return rc;
}
