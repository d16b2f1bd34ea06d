/* Preloaded into a worker: keeps a log of which of its temporary files are on the disk for sure, so that whoever kills it can take
 * away what a loss of power would (the page cache outlives SIGKILL, fsync would prove nothing). Lines are "new PATH", "sync PATH
 * BYTES" and "rename OLD NEW"; the file is named by POWERLOSS_LOG. teeth.c reads it: power_loss. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE = 2048 };

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One write to the end of the file: lines of several threads do not mix. */
static void note(const char *format, ...)
{
    char line[LINE];
    const char *path = getenv("POWERLOSS_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    va_list args;
    if (fd < 0)
        return;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0 && n < LINE && write(fd, line, (size_t)n) != n)
        abort(); /* a log with holes would let a bug pass */
    close(fd);
}

static void *next(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f)
        abort();
    return f;
}

int mkostemp(char *template, int flags)
{
    int fd = ((int (*)(char *, int))next("mkostemp"))(template, flags);
    if (fd >= 0)
        note("new %s\n", template);
    return fd;
}

static void note_sync(int fd)
{
    char link[64], path[1024];
    struct stat st;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
        return;
    path[n] = 0;
    note("sync %s %lld\n", path, (long long)st.st_size);
}

int fsync(int fd)
{
    int rc = ((int (*)(int))next("fsync"))(fd);
    if (rc == 0)
        note_sync(fd);
    return rc;
}

int rename(const char *from, const char *to)
{
    int rc = ((int (*)(const char *, const char *))next("rename"))(from, to);
    if (rc == 0)
        note("rename %s %s\n", from, to);
    return rc;
}
