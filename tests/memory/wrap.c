/* Linked into millrace-memory, the program in which the n-th allocation of ours fails (linker's --wrap, so that calls of libraries
 * are neither counted nor failed): MEMORY_FAIL=N chooses the call. Says so on stderr when it comes, and at the end how many calls there were;
 * memory_test.c reads both. */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long calls;
static long chosen; /* 0: none */

static void say(const char *format, long n)
{
    char line[64];
    int size = snprintf(line, sizeof line, format, n);
    if (write(STDERR_FILENO, line, (size_t)size) != size)
        _exit(99); /* nobody would know what this run proves */
}

static void say_count(void)
{
    say("alloc: %ld calls\n", calls);
}

__attribute__((constructor)) static void begin(void)
{
    const char *n = getenv("MEMORY_FAIL");
    chosen = n ? atol(n) : 0;
    if (n)
        atexit(say_count);
}

static bool fails(void)
{
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (n != chosen)
        return false;
    say("alloc: call %ld fails\n", n);
    errno = ENOMEM;
    return true;
}

#define WRAP(type, name, parameters, arguments)       \
    type __real_##name parameters;                    \
    type __wrap_##name parameters;                    \
    type __wrap_##name parameters                     \
    {                                                 \
        return fails() ? 0 : __real_##name arguments; \
    }

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t count, size_t size), (count, size))
WRAP(void *, realloc, (void *old, size_t size), (old, size))
WRAP(char *, strdup, (const char *text), (text))
WRAP(char *, strndup, (const char *text, size_t size), (text, size))
WRAP(FILE *, open_memstream, (char **text, size_t *size), (text, size))

int __real_posix_memalign(void **out, size_t align, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size)
{
    return fails() ? ENOMEM : __real_posix_memalign(out, align, size);
}

/* What asprintf is under -D_FORTIFY_SOURCE, and what it is else. */
int __wrap___asprintf_chk(char **out, int flag, const char *format, ...);
int __wrap___asprintf_chk(char **out, int flag, const char *format, ...)
{
    va_list args;
    (void)flag;
    if (fails())
        return -1;
    va_start(args, format);
    int n = vasprintf(out, format, args);
    va_end(args);
    return n;
}

int __wrap_asprintf(char **out, const char *format, ...);
int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list args;
    if (fails())
        return -1;
    va_start(args, format);
    int n = vasprintf(out, format, args);
    va_end(args);
    return n;
}
