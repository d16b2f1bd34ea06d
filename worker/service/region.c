/* Region memory: a list of blocks, each at least 64 KiB. What may be kept in one is its owner's affair. */
#include "worker/service/region.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 65536, ALIGN = 16 };

struct region_block {
    struct region_block *next;
    size_t size;
    _Alignas(ALIGN) unsigned char bytes[];
};

static struct region_block *block_new(size_t size)
{
    struct region_block *b = malloc(sizeof *b + size);
    if (b) {
        b->next = NULL;
        b->size = size;
    }
    return b;
}

/* Makes a block with room for `size` the current one: the next one kept from before, or a new one in front of
 * it. */
static int region_grow(struct region *r, size_t size)
{
    struct region_block **link = r->current ? &r->current->next : &r->first;
    if (!*link || (*link)->size < size) {
        struct region_block *b = block_new(size > BLOCK ? size : BLOCK);
        if (!b)
            return -1;
        b->next = *link;
        *link = b;
    }
    r->current = *link;
    r->used = 0;
    return 0;
}

void *region_alloc(struct region *r, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size_t need = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if ((!r->current || r->current->size - r->used < need) && region_grow(r, need))
        return NULL;
    void *p = r->current->bytes + r->used;
    r->used += need;
    r->total += need;
    return p;
}

void *region_zalloc(struct region *r, size_t size)
{
    void *p = region_alloc(r, size);
    if (p)
        memset(p, 0, size);
    return p;
}

void *region_copy(struct region *r, const void *bytes, size_t size)
{
    char *p = size < SIZE_MAX / 4 ? region_alloc(r, size + 1) : NULL;
    if (p) {
        if (size)
            memcpy(p, bytes, size);
        p[size] = 0;
    }
    return p;
}

char *region_format(struct region *r, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *p = n >= 0 ? region_alloc(r, (size_t)n + 1) : NULL;
    if (p)
        vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return p;
}

void region_reset(struct region *r)
{
    r->current = r->first;
    r->used = r->total = 0;
}

void region_free(struct region *r)
{
    while (r->first) {
        struct region_block *next = r->first->next;
        free(r->first);
        r->first = next;
    }
    *r = (struct region){0};
}
