/* One block of memory in 64-byte aligned pieces. What the pieces mean is the business of plan.c and net.c. */
#include "engine/arena.h"

#include <stdlib.h>
#include <string.h>

#include "engine/tensor.h"

enum { PIECE = TENSOR_ALIGN / sizeof(float) };

size_t arena_reserve(struct arena *a, size_t floats)
{
    size_t at = a->floats, rounded = (floats + PIECE - 1) / PIECE * PIECE;
    /* An overflow saturates: arena_alloc then refuses. */
    if (rounded < floats || at > SIZE_MAX - rounded)
        a->floats = SIZE_MAX;
    else
        a->floats = at + rounded;
    return at;
}

int arena_alloc(struct arena *a, struct fail *why)
{
    size_t bytes = a->floats * sizeof(float);
    if (a->floats > SIZE_MAX / sizeof(float) - TENSOR_ALIGN ||
        posix_memalign((void **)&a->data, TENSOR_ALIGN, bytes ? bytes : TENSOR_ALIGN)) {
        a->data = NULL;
        return fail(why, E_MEMORY, "no memory for %.1f MB of tensors: lower max_rows or the batch size",
                    (double)a->floats * sizeof(float) / 1e6);
    }
    arena_zero(a);
    return 0;
}

void arena_free(struct arena *a)
{
    free(a->data);
    *a = (struct arena){0};
}

void arena_zero(struct arena *a)
{
    if (a->data)
        memset(a->data, 0, a->floats * sizeof(float));
}
