/* The fp32 peak of the core that runs this, by the thread's CPU time: what shares of it are shares of. */
#ifndef TESTS_BENCH_PEAK_H
#define TESTS_BENCH_PEAK_H

#include <time.h>

static inline double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Independent multiply-adds in registers. */
typedef float peak_vec __attribute__((vector_size(64)));

#define PEAK_LOOP                                                          \
    peak_vec a[12], x = (peak_vec){0} + 0.999f, y = (peak_vec){0} + 1e-3f; \
    for (int i = 0; i < 12; i++)                                           \
        a[i] = (peak_vec){0} + (float)i;                                   \
    for (int n = 0; n < 1000000; n++)                                      \
        for (int i = 0; i < 12; i++)                                       \
            a[i] = a[i] * x + y;                                           \
    for (int i = 1; i < 12; i++)                                           \
        a[0] += a[i];                                                      \
    return a[0][0];

__attribute__((target("avx512f"), optimize("O3,fp-contract=fast"))) static float peak_512(void)
{
    PEAK_LOOP
}
__attribute__((target("avx2,fma"), optimize("O3,fp-contract=fast"))) static float peak_256(void)
{
    PEAK_LOOP
}

/* Floating-point operations a second. */
static inline double measure_peak(void)
{
    double best = 0;
    volatile float keep = 0;
    for (int i = 0; i < 20; i++) {
        double begin = cpu_seconds();
        keep = __builtin_cpu_supports("avx512f") ? peak_512() : peak_256();
        double flops = 2.0 * 16 * 12 * 1e6 / (cpu_seconds() - begin);
        best = flops > best ? flops : best;
    }
    (void)keep;
    return best;
}

#undef PEAK_LOOP

#endif
