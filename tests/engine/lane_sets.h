/* The kernels at sixteen lanes that this machine can run. */
#ifndef TESTS_ENGINE_LANE_SETS_H
#define TESTS_ENGINE_LANE_SETS_H

#include "engine/cpu/lanes.h"

struct lanes {
    const char *name;
    const struct kernel *kernels;
};

/* The instruction sets that this machine has; how many. */
static inline int lane_sets(struct lanes sets[3])
{
    int n = 0;
    sets[n++] = (struct lanes){"SSE2", lanes_sse2_kernels};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets[n++] = (struct lanes){"AVX2", lanes_avx2_kernels};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        sets[n++] = (struct lanes){"AVX-512", lanes_avx512_kernels};
    return n;
}

#endif
