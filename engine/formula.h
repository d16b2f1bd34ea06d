/* Every scalar formula, once: for the reference, the cpu kernels and nvcc. `real` is float unless the includer
 * says otherwise (ref's double build). No state, no memory: numbers in, a number out. */
#ifndef ENGINE_FORMULA_H
#define ENGINE_FORMULA_H

#include <math.h>
#include <stdint.h>

#include "engine/op.h"

#ifdef FORMULA_DOUBLE
typedef double real;
#define FORMULA_EXP   exp
#define FORMULA_TANH  tanh
#define FORMULA_LOG1P log1p
#else
typedef float real;
#define FORMULA_EXP   expf
#define FORMULA_TANH  tanhf
#define FORMULA_LOG1P log1pf
#endif

#ifdef __CUDACC__
#define FORMULA static __host__ __device__ inline
#else
#define FORMULA static inline
#endif

/* NaN stays NaN, as in PyTorch. */
FORMULA real formula_relu(real x)
{
    return x < 0 ? 0 : x;
}

/* 1 / (1 + e^-x), written so that neither branch overflows. */
FORMULA real formula_sigmoid(real x)
{
    real e = FORMULA_EXP(x < 0 ? x : -x);
    return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

FORMULA real formula_map(enum map_fn fn, real x)
{
    switch (fn) {
    case MAP_RELU:
        return formula_relu(x);
    case MAP_TANH:
        return FORMULA_TANH(x);
    case MAP_SIGMOID:
        return formula_sigmoid(x);
    default:
        return x;
    }
}

/* dx from dy and y = f(x). Relu's slope at 0 is 0; NaN lets the gradient through, as in PyTorch. */
FORMULA real formula_map_back(enum map_fn fn, real dy, real y)
{
    switch (fn) {
    case MAP_RELU:
        return y <= 0 ? 0 : dy;
    case MAP_TANH:
        return dy * (1 - y * y);
    case MAP_SIGMOID:
        return dy * y * (1 - y);
    default:
        return dy;
    }
}

/* Does x replace the largest so far? The first of equals stays; NaN always takes over, as in PyTorch. */
FORMULA int formula_max_takes(real x, real largest)
{
    return x > largest || x != x;
}

/* What an average pool divides by at an output pixel: the window cut to the input, or, with count_padding, to
 * the input and its padding. */
FORMULA int formula_span(int begin, int end, int low, int high)
{
    return (end < high ? end : high) - (begin > low ? begin : low);
}

FORMULA int formula_pool_divisor(const struct window *win, int p, int q)
{
    int h = p * win->stride_h - win->pad_top, w = q * win->stride_w - win->pad_left;
    if (win->count_padding)
        return formula_span(h, h + win->R, -win->pad_top, win->H + win->pad_bottom) *
               formula_span(w, w + win->S, -win->pad_left, win->W + win->pad_right);
    return formula_span(h, h + win->R, 0, win->H) * formula_span(w, w + win->S, 0, win->W);
}

/* Is an element kept? `hash` is rng_hash(seed, step, layer, row << 32 | element). */
FORMULA int formula_keeps(uint64_t hash, double rate)
{
    return (double)(hash >> 11) * 0x1p-53 >= rate;
}

/* Binary cross entropy of a logit: max(x, 0) - x t + log(1 + e^-|x|); its gradient is sigmoid(x) - t. */
FORMULA real formula_log_loss(real x, real t)
{
    return (x > 0 ? x : 0 * x) - x * t + FORMULA_LOG1P(FORMULA_EXP(x > 0 ? -x : x));
}

/* The gradient that a step takes: the mean, then decay. */
FORMULA real formula_decayed(real dw, real w, real scale, real l1, real l2)
{
    return dw * scale + l1 * (real)((w > 0) - (w < 0)) + l2 * w;
}

#endif
