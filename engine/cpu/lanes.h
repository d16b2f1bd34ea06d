/* Kernels at sixteen lanes, a table for each instruction set, chosen by cpuid in cpu.c. */
#ifndef ENGINE_CPU_LANES_H
#define ENGINE_CPU_LANES_H

#include <stddef.h>

#include "engine/backend_ops.h"

enum { LANES = 16 };

extern const struct kernel lanes_avx512_kernels[OPS], lanes_avx2_kernels[OPS], lanes_sse2_kernels[OPS];

/* What single rows (one lane) take of an instruction set: lanes_row.h. */
struct row_code {
    void (*conv)(const struct call *c, int64_t begin, int64_t end, void *scratch);
    void (*finish)(const struct call *c, int64_t n, int k, int p, int rows, float *from, ptrdiff_t pitch);
    size_t (*scratch)(const struct geometry *g); /* bytes, of conv; the same for every instruction set */
};
extern const struct row_code lanes_avx512_rows, lanes_avx2_rows, lanes_sse2_rows;

/* The best that this machine has; `name` may be NULL. */
const struct kernel *lanes_choose(const char **name);
const struct row_code *lanes_rows(void);

/* Blocks of sixteen rows. */
static inline int lanes_blocks(int rows)
{
    return (rows + LANES - 1) / LANES;
}

/* Most kernels cut a block into units, lines of the output or channels, so that threads can share a single one (or a group
 * into slices). Items are units, block after block: this is what a run of them has of one block, units from..to-1. */
struct stretch {
    int64_t block;
    int from, to;
};

/* The first stretch of items *begin..end-1, which moves on behind it. */
static inline struct stretch stretch_next(int64_t *begin, int64_t end, int64_t units)
{
    struct stretch s = {.block = *begin / units, .from = (int)(*begin % units)};
    s.to = (int)(s.from + (end - *begin) < units ? s.from + (end - *begin) : units);
    *begin += s.to - s.from;
    return s;
}

#endif
