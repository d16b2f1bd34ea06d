/* Kernels at sixteen lanes, a table for each instruction set, chosen by cpuid in cpu.c. */
#ifndef ENGINE_CPU_LANES_H
#define ENGINE_CPU_LANES_H

#include "engine/backend_ops.h"

enum { LANES = 16 };

extern const struct kernel lanes_avx512_kernels[OPS], lanes_avx2_kernels[OPS], lanes_sse2_kernels[OPS];

/* Blocks of sixteen rows. */
static inline int lanes_blocks(int rows)
{
    return (rows + LANES - 1) / LANES;
}

#endif
