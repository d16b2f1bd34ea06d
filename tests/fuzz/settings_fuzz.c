/* libFuzzer target for the worker's configuration: `make fuzz-settings`. The input is the file and behind zero bytes the -X
 * overrides. What is accepted prints as YAML, loads again from that, and prints the same. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/heap.h"
#include "worker/service/settings.h"
#include "worker/service/text.h"

enum { OVERRIDES = 8, FACTOR = 1024, BASE = 8 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Loads from a file that is in memory alone. */
static int load(struct settings *s, const char *text, size_t size, const char *const *overrides, int count,
                struct fail *why)
{
    char path[64];
    int fd = memfd_create("settings", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, text, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    heap_begin();
    int rc = settings_load(s, path, overrides, count, why);
    heap_end(size, FACTOR, BASE);
    close(fd);
    must(rc == -(int)why->code);
    must(rc == 0 || (fail_class(why->code) == FAIL_STOP && fail_exit(why->code) <= 4 && why->text[0]));
    return rc;
}

static char *print(const struct settings *s, size_t *size)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, size);
    settings_print(s, f);
    fclose(f);
    return text;
}

static void differ(const char *how, const char *first, const char *second)
{
    fprintf(stderr, "%s:\n%s\n----\n%s\n", how, first, second);
    abort();
}

/* What came by -X may be any bytes; YAML holds UTF-8 alone. */
static bool is_utf8(const char *const *overrides, int count)
{
    for (int i = 0; i < count; i++)
        if (!text_is_utf8(overrides[i], strlen(overrides[i])))
            return false;
    return true;
}

static void use(struct settings *s)
{
    struct settings again;
    struct fail why = {.code = E_OK};
    size_t one, two;
    char *first = print(s, &one);
    if (strstr(first, "${")) { /* of -X or a variable's own value: a file has no way to say it */
        free(first);
        return;
    }
    if (load(&again, first, one, NULL, 0, &why))
        differ("what was printed does not load", first, why.text);
    char *second = print(&again, &two);
    if (one != two || memcmp(first, second, one) != 0)
        differ("what was printed prints as something else", first, second);
    settings_free(&again);
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    const char *overrides[OVERRIDES];
    struct settings s;
    struct fail why = {.code = E_OK};
    int count = 0;
    memcpy(text, data, size);
    text[size] = 0;
    size_t file = strlen(text);
    for (size_t at = file + 1; at < size && count < OVERRIDES; at += strlen(text + at) + 1)
        overrides[count++] = text + at;
    if (load(&s, text, file, overrides, count, &why) == 0 && is_utf8(overrides, count))
        use(&s);
    settings_free(&s); /* a load that failed leaves it empty */
    free(text);
    return 0;
}
