/* Region memory: many small pieces that die together. A batch's outputs and a decoded record live in one.
 * Resetting keeps the blocks, so that a steady stream allocates nothing. One thread at a time. */
#ifndef WORKER_SERVICE_REGION_H
#define WORKER_SERVICE_REGION_H

#include <stddef.h>

struct region_block;

struct region {
    struct region_block *first, *current;
    size_t used;  /* bytes taken in current */
    size_t total; /* bytes handed out since the last reset */
};

/* All zero is a valid empty region. */
void *region_alloc(struct region *r, size_t size); /* 16-byte aligned, not zeroed; NULL: out of memory */
void *region_zalloc(struct region *r, size_t size);
void *region_copy(struct region *r, const void *bytes, size_t size); /* one byte longer, with a 0 behind */
char *region_format(struct region *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void region_reset(struct region *r); /* everything handed out is invalid; memory is kept */
void region_free(struct region *r);

#endif
