/* Error codes and texts. What to do about a class is its thread's affair.
 * Next to read: setting.h, where most texts with a place in a file come from. */
#include "engine/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    enum fail_class class;
    int exit;
    const char *name;
} table[E_CODES] = {[E_OK] = {FAIL_STOP, 0, "ok"},
#define X(code, class, exit, name) [code] = {class, exit, name},
                    FAIL_TABLE(X)
#undef X
};

/* Callers name what there was no memory for; that there was none is said here where they did not. */
static void say_memory(struct fail *why)
{
    size_t n = strlen(why->text);
    if (!strstr(why->text, "memory"))
        snprintf(why->text + n, sizeof why->text - n, ": out of memory");
}

int fail(struct fail *why, enum fail_code code, const char *format, ...)
{
    if (why) {
        va_list args;
        va_start(args, format);
        why->code = code;
        vsnprintf(why->text, sizeof why->text, format, args);
        va_end(args);
        if (code == E_MEMORY)
            say_memory(why);
    }
    return -(int)code;
}

int fail_prefix(struct fail *why, const char *format, ...)
{
    char old[sizeof why->text];
    va_list args;
    memcpy(old, why->text, sizeof old);
    va_start(args, format);
    int n = vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    int room = (int)sizeof why->text - n - (int)sizeof ": "; /* what does not fit is cut */
    if (n >= 0 && room > 0)
        snprintf(why->text + n, sizeof why->text - (size_t)n, ": %.*s", room, old);
    return -(int)why->code;
}

static enum fail_code known(enum fail_code code)
{
    return code < E_CODES ? code : E_FAILED;
}

enum fail_class fail_class(enum fail_code code)
{
    return table[known(code)].class;
}

int fail_exit(enum fail_code code)
{
    return table[known(code)].exit;
}

const char *fail_name(enum fail_code code)
{
    return table[known(code)].name;
}
