/* One allocation carved into aligned tensors: parameters, gradients, moments, activations.
 * Zeroing, norm, checkpoint and comparison are each one call on the whole block.
 * Two passes: `arena_reserve` every piece, `arena_alloc` once, then the pieces have addresses. */
#ifndef ENGINE_ARENA_H
#define ENGINE_ARENA_H

#include <stddef.h>

#include "engine/fail.h"

struct arena {
    float *data;   /* NULL until arena_alloc; 64-byte aligned; zeroed */
    size_t floats; /* reserved so far, every piece rounded up to 16 floats */
};

/* Returns the piece's offset in floats. */
size_t arena_reserve(struct arena *a, size_t floats);
int arena_alloc(struct arena *a, struct fail *why);
void arena_free(struct arena *a); /* accepts an arena never allocated */
void arena_zero(struct arena *a);

#endif
