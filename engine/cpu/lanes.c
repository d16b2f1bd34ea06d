/* Which instruction set's kernels this machine runs. The kernels are lanes_avx512.c, lanes_avx2.c and lanes_sse2.c. */
#include "engine/cpu/lanes.h"

static const struct lanes_set {
    const char *name;
    const struct kernel *kernels;
    const struct row_code *rows;
} sets[] = {{"AVX-512", lanes_avx512_kernels, &lanes_avx512_rows},
            {"AVX2", lanes_avx2_kernels, &lanes_avx2_rows},
            {"SSE2", lanes_sse2_kernels, &lanes_sse2_rows}};

static const struct lanes_set *best(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &sets[0];
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &sets[1] : &sets[2];
}

const struct kernel *lanes_choose(const char **name)
{
    if (name)
        *name = best()->name;
    return best()->kernels;
}

const struct row_code *lanes_rows(void)
{
    return best()->rows;
}
