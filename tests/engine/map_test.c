/* The functions of one value on every instruction set that this machine has, and at one lane, against double precision
 * of libm: how many units in the last place they are off, at the edges of their ranges and over them. That all kernels
 * agree with ref on ordinary numbers is optest's business. */
#include "engine/backend_ops.h" /* before cmocka.h, which makes a macro of fail */
#include "engine/cpu/lanes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { VALUES = 1 << 14 };

struct function {
    const char *name;
    struct map map;
    double (*exact)(double x);
    double ulps; /* of the exact result, at least of `least` */
    double least, low, high;
};

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double elu(double x)
{
    return x < 0 ? expm1(x) : x;
}

static double gelu(double x)
{
    return x * erfc(-x * sqrt(0.5)) / 2;
}

static double silu(double x)
{
    return x * sigmoid(x);
}

static double hard_swish(double x)
{
    return x * fmin(1, fmax(0, x / 6 + 0.5));
}

static const struct function functions[] = {
    {"exp", {MAP_EXP, 0, 0}, exp, 2, FLT_MIN, -104, 88.7},
    {"exp, around 0", {MAP_EXP, 0, 0}, exp, 2, FLT_MIN, -1, 1},
    {"tanh", {MAP_TANH, 0, 0}, tanh, 4, FLT_MIN, -12, 12},
    {"tanh, around 0", {MAP_TANH, 0, 0}, tanh, 4, FLT_MIN, -1e-3, 1e-3},
    {"sigmoid", {MAP_SIGMOID, 0, 0}, sigmoid, 4, FLT_MIN, -80, 80},
    {"softplus", {MAP_SOFTPLUS, 0, 0}, softplus, 4, FLT_MIN, -80, 80},
    {"elu", {MAP_ELU, 1, 0}, elu, 4, FLT_MIN, -90, 5},
    {"silu", {MAP_SILU, 0, 0}, silu, 5, FLT_MIN, -80, 80},
    {"gelu", {MAP_GELU, 0, 0}, gelu, 8, 0.125, -9, 9}, /* below that the last places of 1 - erf are missing */
    {"hard swish", {MAP_HARD_SWISH, 0, 0}, hard_swish, 6, 0.125, -5, 8},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

/* One row of VALUES / LANES elements at sixteen lanes has the same memory as any: VALUES numbers. */
static void run(const struct kernel *kernel, bool lanes, const struct map *map, const float *x, float *y,
                int n)
{
    struct geometry g = {.map = *map};
    struct call c = {.out = {y}, .in = {x}, .g = &g, .row = lanes ? n / LANES : n, .rows = lanes ? LANES : 1};
    kernel[OP_MAP].run(&c, 0, lanes ? kernel[OP_MAP].items(&c) : 1, NULL);
}

static double unit(double exact, double least)
{
    double size = fmax(fabs(exact), least);
    return ldexp(1, ilogb(size) - 23);
}

static void check(const struct kernel *kernel, bool lanes, const char *set, const struct function *f)
{
    static float x[VALUES], y[VALUES]; /* tests are single-threaded */
    double worst = 0;
    int at = 0;
    for (int i = 0; i < VALUES; i++)
        x[i] = (float)(f->low + (f->high - f->low) * i / (VALUES - 1));
    run(kernel, lanes, &f->map, x, y, VALUES);
    for (int i = 0; i < VALUES; i++) {
        double exact = f->exact((double)x[i]), off = fabs((double)y[i] - exact) / unit(exact, f->least);
        if (!isnan(worst) && !(off <= worst)) {
            worst = off;
            at = i;
        }
    }
    if (!(worst <= f->ulps))
        fail_msg("%s, %s: at %.9g the result is %.9g, exactly %.9g, %.2f units off", f->name, set,
                 (double)x[at], (double)y[at], f->exact((double)x[at]), worst);
}

/* Infinite, no numbers, zeros with their sign; 0 where a result is not finite for every function. */
static void check_edges(const struct kernel *kernel, bool lanes, const char *set)
{
    float x[LANES] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 89, -110, 1e30f, -1e30f, 1e-40f}, y[LANES];
    run(kernel, lanes, &(struct map){MAP_EXP, 0, 0}, x, y, LANES);
    if (!isnan(y[0]) || y[1] != INFINITY || y[2] != 0 || y[3] != 1 || y[4] != 1 || y[5] != INFINITY ||
        y[6] != 0 || y[7] != INFINITY || y[8] != 0 || y[9] != 1)
        fail_msg("exp at its edges, %s", set);
    run(kernel, lanes, &(struct map){MAP_TANH, 0, 0}, x, y, LANES);
    if (!isnan(y[0]) || y[1] != 1 || y[2] != -1 || y[3] != 0 || !signbit(y[4]) || y[5] != 1 || y[6] != -1)
        fail_msg("tanh at its edges, %s", set);
    run(kernel, lanes, &(struct map){MAP_SIGMOID, 0, 0}, x, y, LANES);
    if (!isnan(y[0]) || y[1] != 1 || y[2] != 0 || y[3] != 0.5f || y[5] != 1 || y[8] != 0)
        fail_msg("sigmoid at its edges, %s", set);
    run(kernel, lanes, &(struct map){MAP_SOFTPLUS, 0, 0}, x, y, LANES);
    if (!isnan(y[0]) || y[1] != INFINITY || y[2] != 0 || y[5] != 89 || y[7] != 1e30f || y[8] != 0)
        fail_msg("softplus at its edges, %s", set);
    run(kernel, lanes, &(struct map){MAP_ELU, 2, 0}, x, y, LANES);
    if (!isnan(y[0]) || y[1] != INFINITY || y[2] != -2 || y[3] != 0 || y[7] != 1e30f || y[8] != -2)
        fail_msg("elu at its edges, %s", set);
    run(kernel, lanes, &(struct map){MAP_GELU, 0, 0}, x, y, LANES);
    if (!isnan(y[0]) || y[1] != INFINITY || y[3] != 0 || y[5] != 89 || y[6] != 0)
        fail_msg("gelu at its edges, %s", set);
}

static void check_set(const struct kernel *kernel, bool lanes, const char *set)
{
    for (int i = 0; i < FUNCTIONS; i++)
        check(kernel, lanes, set, &functions[i]);
    check_edges(kernel, lanes, set);
}

static void functions_are_exact_to_a_few_units(void **state)
{
    struct backend *be = NULL;
    struct fail why;
    (void)state;
    assert_int_equal(backend_open(&be, "cpu1", 1, &why), 0);
    check_set(be->ops->kernels, false, "one lane");
    backend_close(&be);
    check_set(lanes_sse2_kernels, true, "SSE2");
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        check_set(lanes_avx2_kernels, true, "AVX2");
    else
        print_message("skipped: this machine has no AVX2\n");
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        check_set(lanes_avx512_kernels, true, "AVX-512");
    else
        print_message("skipped: this machine has no AVX-512\n");
}

/* A vector's last values, that do not fill it, get the bits that they have inside one. */
static void a_tail_has_the_same_bits(void **state)
{
    struct backend *be = NULL;
    struct fail why;
    float x[37], whole[37], part[37];
    (void)state;
    assert_int_equal(backend_open(&be, "cpu1", 1, &why), 0);
    for (int i = 0; i < 37; i++)
        x[i] = (float)(i - 18) / 7;
    for (int fn = MAP_RELU; fn < MAP_FNS; fn++) {
        struct map map = {(enum map_fn)fn, -0.5f, 0.75f};
        run(be->ops->kernels, false, &map, x, whole, 37);
        for (int i = 0; i < 37; i++)
            run(be->ops->kernels, false, &map, x + i, part + i, 1);
        assert_memory_equal(part, whole, sizeof whole);
    }
    backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_exact_to_a_few_units),
        cmocka_unit_test(a_tail_has_the_same_bits),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
