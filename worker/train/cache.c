/* Memory first, a nameless mapped file then. What lies in it is dataset.c's affair. */
#include "worker/train/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FIRST = 1 << 16, FILE_STEP = 64 << 20 };

void cache_open(struct cache *c, const struct cache_limits *limits)
{
    *c = (struct cache){.limits = *limits, .fd = -1};
}

void cache_close(struct cache *c)
{
    if (c->fd >= 0) {
        munmap(c->base, c->capacity);
        close(c->fd);
    } else {
        free(c->base);
    }
    *c = (struct cache){.fd = -1};
}

static int grow_memory(struct cache *c, size_t capacity, struct fail *why)
{
    unsigned char *p = realloc(c->base, capacity);
    if (!p)
        return fail(why, E_JOB, "data set: no memory for %zu bytes", capacity);
    c->base = p;
    c->capacity = capacity;
    return 0;
}

/* Takes the blocks from the disk, or says that there are none. */
static int file_extend(int fd, size_t from, size_t to, const char *dir, struct fail *why)
{
    int error;
    do
        error = posix_fallocate(fd, (off_t)from, (off_t)(to - from));
    while (error == EINTR);
    return error ? fail(why, E_IO, "data set: no room for a cache of %zu bytes in %s: %s", to, dir,
                        strerror(error))
                 : 0;
}

static int file_make(const char *dir, struct fail *why)
{
    char path[4200];
    if ((size_t)snprintf(path, sizeof path, "%s/dataset-XXXXXX", dir) >= sizeof path)
        return fail(why, E_IO, "data set: the cache's folder has a name of %zu bytes", strlen(dir));
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return fail(why, E_IO, "data set: cannot make a cache file in %s: %s", dir, strerror(errno));
    unlink(path);
    return fd;
}

/* What is in memory goes to the file; the file takes its place. */
static int move_to_file(struct cache *c, size_t capacity, struct fail *why)
{
    int fd = file_make(c->limits.dir, why), rc = fd < 0 ? fd : 0;
    void *base = MAP_FAILED;
    if (!rc)
        rc = file_extend(fd, 0, capacity, c->limits.dir, why);
    if (!rc && (base = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        rc = fail(why, E_IO, "data set: cannot map %zu bytes: %s", capacity, strerror(errno));
    if (rc) {
        if (fd >= 0)
            close(fd);
        return rc;
    }
    if (c->used)
        memcpy(base, c->base, c->used);
    free(c->base);
    c->base = base;
    c->capacity = capacity;
    c->fd = fd;
    return 0;
}

static int grow_file(struct cache *c, size_t capacity, struct fail *why)
{
    int rc = file_extend(c->fd, c->capacity, capacity, c->limits.dir, why);
    if (rc)
        return rc;
    void *base = mremap(c->base, c->capacity, capacity, MREMAP_MAYMOVE);
    if (base == MAP_FAILED)
        return fail(why, E_IO, "data set: cannot map %zu bytes: %s", capacity, strerror(errno));
    c->base = base;
    c->capacity = capacity;
    return 0;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

int cache_reserve(struct cache *c, size_t bytes, struct fail *why)
{
    size_t memory = (size_t)c->limits.memory_bytes, most = (size_t)c->limits.file_bytes;
    if (bytes > SIZE_MAX / 4 - c->used)
        return fail(why, E_JOB, "data set: %zu bytes more are too many", bytes);
    size_t need = c->used + bytes, capacity = need + need / 2;
    if (need <= c->capacity)
        return 0;
    if (c->fd < 0 && (!memory || need <= memory)) {
        capacity = capacity < FIRST ? FIRST : capacity;
        return grow_memory(c, memory ? smaller(capacity, memory > need ? memory : need) : capacity, why);
    }
    if (need > most)
        return fail(why, E_JOB,
                    "data set: more than %zu bytes; training.cache_mb says how large the cache in %s may be",
                    most, c->limits.dir);
    capacity = smaller((need + FILE_STEP) / FILE_STEP * FILE_STEP, most > need ? most : need);
    return c->fd < 0 ? move_to_file(c, capacity, why) : grow_file(c, capacity, why);
}
