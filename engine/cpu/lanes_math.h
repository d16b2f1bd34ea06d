/* Vectors of LANES_WIDTH floats and exponentials of them, for all kernels at lanes. Included by lanes_map.h. */
#ifndef ENGINE_CPU_LANES_MATH_H
#define ENGINE_CPU_LANES_MATH_H

#include <immintrin.h> /* a file that sets a target includes it before that */
#include <stddef.h>
#include <string.h>

#include "engine/cpu/lanes.h"
#include "engine/formula.h"

typedef float vec __attribute__((vector_size(LANES_WIDTH * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES_WIDTH * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

/* A loop over vectors that gcc unrolls early enough for arrays of them to stay in registers. With a plain `for` they
 * live in memory between one such loop and the next. */
#ifdef __clang__
#define EACH(i, count) _Pragma("unroll") for (int i = 0; i < (count); i++)
#else
#define EACH(i, count) _Pragma("GCC unroll 48") for (int i = 0; i < (count); i++)
#endif

INLINE vec load(const float *at)
{
    return *(const vec *)at;
}

INLINE void store(float *at, vec v)
{
    *(vec *)at = v;
}

/* All ones in the mask: yes. */
INLINE vec choose(ivec mask, vec yes, vec no)
{
    return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask));
}

/* formula_max_takes for a vector: all ones where x replaces the largest so far. */
INLINE ivec takes(vec x, vec largest)
{
    return (x > largest) | (x != x);
}

/* In a fixed order: halves are added until one is left. */
INLINE float sum_lanes(vec v)
{
    float each[LANES_WIDTH];
    memcpy(each, &v, sizeof each);
    for (int half = LANES_WIDTH / 2; half; half /= 2)
        for (int l = 0; l < half; l++)
            each[l] += each[l + half];
    return each[0];
}

INLINE void vec_put(float *at, vec v, bool add)
{
    if (add)
        v += load(at);
    store(at, v);
}

/* The larger; b where either is NaN or both are zeros, which is what the instruction does. */
INLINE vec vec_larger(vec a, vec b)
{
#if LANES_WIDTH == 16
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES_WIDTH == 8
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return (vec)_mm_max_ps((__m128)a, (__m128)b);
#endif
}

INLINE vec vec_smaller(vec a, vec b)
{
#if LANES_WIDTH == 16
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif LANES_WIDTH == 8
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return (vec)_mm_min_ps((__m128)a, (__m128)b);
#endif
}

/* NaN where a or b is, else v. */
INLINE vec vec_unless_nan(vec v, vec a, vec b)
{
#if LANES_WIDTH == 16
    __mmask16 nan = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_UNORD_Q);
    return (vec)_mm512_mask_mov_ps((__m512)v, nan, _mm512_set1_ps(NAN));
#elif LANES_WIDTH == 8
    return (vec)_mm256_or_ps((__m256)v,
                             _mm256_cmp_ps((__m256)a, (__m256)b, _CMP_UNORD_Q)); /* all ones: a NaN */
#else
    return (vec)_mm_or_ps((__m128)v, _mm_cmpunord_ps((__m128)a, (__m128)b));
#endif
}

INLINE vec vec_relu(vec v)
{
    return vec_larger((vec){0}, v); /* NaN stays */
}

INLINE vec vec_clip(vec v, float low, float high)
{
    return vec_smaller(high - (vec){0}, vec_larger(low - (vec){0}, v));
}

/* ---- exponentials ---- */

INLINE vec vec_of(float v)
{
    return v - (vec){0}; /* - 0 changes nothing, -0 + 0 would be 0 */
}

INLINE vec vec_abs(vec v)
{
    return (vec)((ivec)v & INT32_MAX);
}

/* x = n ln 2 + r, |r| <= ln 2 / 2; returns e^r - 1 (Cephes expf's polynomial: 0.7 units in the last place of e^r).
 * Adding 1.5 * 2^23 rounds to a whole number, which then stands in the lowest bits. */
INLINE vec exp_parts(vec x, ivec *n)
{
    vec shifted = x * 1.44269504f + 12582912.0f, whole = shifted - 12582912.0f;
    vec r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vec p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    *n = (ivec)shifted - 0x4b400000;
    return p * (r * r) + r;
}

INLINE vec vec_power(ivec n) /* 2^n for -126..127 */
{
    return (vec)((n + 127) << 23);
}

/* e^x, also where it is infinite, 0 or too small for all its bits; NaN stays. */
INLINE vec vec_exp(vec x)
{
    ivec n;
    vec p = exp_parts(vec_clip(x, -105, 89), &n) + 1;
    ivec half = n >> 1; /* 2^n itself may not be a float */
    return p * vec_power(half) * vec_power(n - half);
}

/* e^x - 1 for x <= 80 */
INLINE vec vec_expm1(vec x)
{
    ivec n;
    vec p = exp_parts(vec_clip(x, -80, 80), &n), scale = vec_power(n);
    return p * scale + (scale - 1);
}

/* |tanh x| = m / (m + 2), m = e^2|x| - 1 */
INLINE vec vec_tanh(vec x)
{
    ivec sign = (ivec)x & INT32_MIN;
    vec m = vec_expm1(vec_clip(2 * vec_abs(x), 0, 20));
    return (vec)((ivec)(m / (m + 2)) | sign);
}

INLINE vec vec_sigmoid(vec x)
{
    vec e = vec_exp(-vec_abs(x)), y = 1 / (1 + e);
    return choose(x < 0, e * y, y);
}

/* log(1 + e) = 2 artanh(s), s = e / (2 + e), for 0 <= e <= 1 */
INLINE vec vec_log1p(vec e)
{
    vec s = e / (2 + e), z = s * s, p = vec_of(1.0f / 15);
    p = p * z + 1.0f / 13;
    p = p * z + 1.0f / 11;
    p = p * z + 1.0f / 9;
    p = p * z + 1.0f / 7;
    p = p * z + 1.0f / 5;
    p = p * z + 1.0f / 3;
    return 2 * (s + s * z * p);
}

INLINE vec vec_softplus(vec x)
{
    return vec_relu(x) + vec_log1p(vec_exp(-vec_abs(x)));
}

/* The share of a normal distribution below x: erfc(-x / sqrt 2) / 2 by the Chebyshev fit of Numerical Recipes 6.2,
 * whose relative error is below 1.2e-7. */
INLINE vec vec_normal(vec x)
{
    vec z = vec_abs(x) * 0.70710678f, t = 1 / (1 + 0.5f * z);
    vec p = 0.17087277f * t - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    p = p * t - 1.26551223f;
    vec tail = 0.5f * t * vec_exp(p - z * z);
    return choose(x < 0, tail, 1 - tail);
}

#endif
