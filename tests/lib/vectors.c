/* Reads tests/vectors. How they are made: tests/vectors/make_vectors.py. */
#include "tests/lib/vectors.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct span file_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: cannot be opened", path);
    fseek(f, 0, SEEK_END);
    size_t size = (size_t)ftell(f);
    char *data = malloc(size);
    rewind(f);
    if (!data || fread(data, 1, size, f) != size)
        fail_msg("%s: cannot be read", path);
    fclose(f);
    return (struct span){data, size};
}

int vectors_load(struct vector *out)
{
    glob_t g;
    if (glob("tests/vectors/*.bin", 0, NULL, &g) != 0 || g.gl_pathc > VECTORS_MOST)
        fail_msg("tests/vectors: expected 1 to %d vectors (run from the repository's root)", VECTORS_MOST);
    for (size_t i = 0; i < g.gl_pathc; i++) {
        char path[128], type[64];
        struct vector *v = &out[i];
        snprintf(v->name, sizeof v->name, "%s", strrchr(g.gl_pathv[i], '/') + 1);
        *strrchr(v->name, '.') = 0;
        snprintf(type, sizeof type, "%.*s", (int)strcspn(v->name, "."), v->name);
        v->type = record_type_find(type);
        if (!v->type)
            fail_msg("%s belongs to no record type", g.gl_pathv[i]);
        snprintf(path, sizeof path, "tests/vectors/%s.json", v->name);
        v->value = file_read(g.gl_pathv[i]);
        v->json = file_read(path);
    }
    int count = (int)g.gl_pathc;
    globfree(&g);
    return count;
}

void vectors_free(struct vector *all, int count)
{
    for (int i = 0; i < count; i++) {
        free((char *)(uintptr_t)all[i].value.data);
        free((char *)(uintptr_t)all[i].json.data);
    }
}

const struct vector *vector_find(const struct vector *all, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    fail_msg("tests/vectors/%s.bin: missing", name);
    return NULL;
}
