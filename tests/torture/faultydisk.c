/* Preloaded into a worker: its disk fails while the supervisor says so. See faultydisk.h. */
#include "tests/torture/faultydisk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SLOW_MS = 300 };

static _Atomic int *word;
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);

static void *next(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f)
        abort();
    return f;
}

__attribute__((constructor)) static void begin(void)
{
    static _Atomic int none;
    const char *path = getenv("FAULTYDISK_WORD");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, sizeof *word, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    word = at == MAP_FAILED ? &none : at;
    if (fd >= 0)
        close(fd);
    *(void **)&real_write = next("write");
    *(void **)&real_fsync = next("fsync");
}

/* A file or folder below the root: not a socket, not a pipe, not the log. */
static int is_meant(int fd)
{
    char link[64], path[1024];
    const char *root = getenv("FAULTYDISK_ROOT");
    struct stat st;
    if (!root || fstat(fd, &st) || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    return n > 0 && (size_t)n > strlen(root) && strncmp(path, root, strlen(root)) == 0;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    int fault = word ? *word : FAULTY_NOT;
    if ((fault == FAULTY_FULL || fault == FAULTY_WRITE) && is_meant(fd)) {
        errno = fault == FAULTY_FULL ? ENOSPC : EIO;
        return -1;
    }
    return real_write ? real_write(fd, bytes, size)
                      : ((ssize_t(*)(int, const void *, size_t))next("write"))(fd, bytes, size);
}

int fsync(int fd)
{
    int fault = *word;
    if (fault == FAULTY_SYNC && is_meant(fd)) {
        errno = EIO;
        return -1;
    }
    if (fault == FAULTY_SLOW && is_meant(fd)) {
        struct timespec t = {0, SLOW_MS * 1000000L};
        nanosleep(&t, NULL);
    }
    return real_fsync(fd);
}
