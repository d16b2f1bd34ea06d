/* ref's backend_ops around kernels.h; included by ref.c and ref64.c, which choose `real` and the name. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/plan.h"

static int ref_open(struct backend *be, const struct backend_options *o, struct fail *why)
{
    (void)o;
    (void)why;
    be->threads = 1;
    snprintf(be->text, sizeof be->text, "%s: naive loops, 1 thread", be->ops->name);
    snprintf(be->arithmetic, sizeof be->arithmetic, "%s", be->ops->name);
    return 0;
}

static void ref_close(struct backend *be)
{
    (void)be;
}

static void *ref_alloc(struct backend *be, size_t elements, struct fail *why)
{
    void *memory = calloc(elements + 1, sizeof(real));
    (void)be;
    if (!memory)
        fail(why, E_MEMORY, "no memory for %zu values", elements);
    return memory;
}

static void ref_free(struct backend *be, void *memory)
{
    (void)be;
    free(memory);
}

static void ref_upload(struct backend *be, void *to, const float *from, int64_t n)
{
    (void)be;
    for (int64_t i = 0; i < n; i++)
        ((real *)to)[i] = (real)from[i];
}

static void ref_upload_bytes(struct backend *be, void *to, const unsigned char *from, int64_t n)
{
    (void)be;
    memcpy(to, from, (size_t)n);
}

static void ref_download(struct backend *be, float *to, const void *from, int64_t n)
{
    (void)be;
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)((const real *)from)[i];
}

static void ref_zero(struct backend *be, void *at, int64_t elements)
{
    (void)be;
    memset(at, 0, (size_t)elements * sizeof(real));
}

static void ref_run(struct backend *be, enum op op, const struct call *c, void *scratch)
{
    const struct kernel *k = &ref_kernels[op];
    (void)be;
    k->run(c, 0, k->items ? k->items(c) : c->rows, scratch);
}
