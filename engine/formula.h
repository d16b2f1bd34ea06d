/* Every scalar formula, once: for the reference, the cpu kernels and nvcc. `real` is float unless the includer
 * says otherwise (ref's double build). No state, no memory: numbers in, a number out. */
#ifndef ENGINE_FORMULA_H
#define ENGINE_FORMULA_H

#include <math.h>
#include <stdint.h>

#include "engine/everywhere.h"
#include "engine/op.h"

#ifdef FORMULA_DOUBLE
typedef double real;
#define FORMULA_EXP   exp
#define FORMULA_TANH  tanh
#define FORMULA_LOG1P log1p
#define FORMULA_EXPM1 expm1
#define FORMULA_ERF   erf
#define FORMULA_LOG   log
#define FORMULA_SQRT  sqrt
#else
typedef float real;
#define FORMULA_EXP   expf
#define FORMULA_TANH  tanhf
#define FORMULA_LOG1P log1pf
#define FORMULA_EXPM1 expm1f
#define FORMULA_ERF   erff
#define FORMULA_LOG   logf
#define FORMULA_SQRT  sqrtf
#endif

#define FORMULA EVERYWHERE

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

/* x limited to low..high; NaN stays NaN. Where low > high it is high, as in numpy. */
FORMULA real formula_clip(real x, real low, real high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

/* x / 2 (1 + erf(x / sqrt 2)), https://arxiv.org/abs/1606.08415; and its tanh form */
FORMULA real formula_gelu(real x)
{
    return x * (real)0.5 * (1 + FORMULA_ERF(x * (real)0.70710678118654752));
}

FORMULA real formula_gelu_tanh(real x)
{
    real u = (real)0.79788456080286536 * (x + (real)0.044715 * x * x * x); /* sqrt(2 / pi) */
    return x * (real)0.5 * (1 + FORMULA_TANH(u));
}

/* The results of functions and their defaults are ONNX's. */
FORMULA real formula_map(const struct map *map, real x)
{
    real a = (real)map->a, b = (real)map->b;
    switch (map->fn) {
    case MAP_RELU:
        return formula_relu(x);
    case MAP_TANH:
        return FORMULA_TANH(x);
    case MAP_SIGMOID:
        return formula_sigmoid(x);
    case MAP_RELU6:
        return formula_clip(x, 0, 6);
    case MAP_HARD_SWISH:
        return x * formula_clip(x / 6 + (real)0.5, 0, 1);
    case MAP_GELU:
        return formula_gelu(x);
    case MAP_GELU_TANH:
        return formula_gelu_tanh(x);
    case MAP_SOFTPLUS: /* log(1 + e^x) */
        return formula_relu(x) + FORMULA_LOG1P(FORMULA_EXP(x > 0 ? -x : x));
    case MAP_SILU:
        return x * formula_sigmoid(x);
    case MAP_LEAKY_RELU:
        return x < 0 ? a * x : x;
    case MAP_ELU:
        return x < 0 ? a * FORMULA_EXPM1(x) : x;
    case MAP_CLIP:
        return formula_clip(x, a, b);
    case MAP_HARD_SIGMOID:
        return formula_clip(a * x + b, 0, 1);
    case MAP_EXP:
        return FORMULA_EXP(x);
    case MAP_LOG:
        return FORMULA_LOG(x);
    case MAP_SQRT:
        return FORMULA_SQRT(x);
    case MAP_ABS:
        return x < 0 ? -x : x;
    case MAP_NEG:
        return -x;
    default:
        return x;
    }
}

/* f'(x) = (1 + erf(x / sqrt 2)) / 2 + x phi(x), phi the normal density */
FORMULA real formula_gelu_slope(real x)
{
    real density = (real)0.39894228040143268 * FORMULA_EXP(-x * x / 2);
    return (real)0.5 * (1 + FORMULA_ERF(x * (real)0.70710678118654752)) + x * density;
}

FORMULA real formula_gelu_tanh_slope(real x)
{
    real u = (real)0.79788456080286536 * (x + (real)0.044715 * x * x * x), t = FORMULA_TANH(u);
    real du = (real)0.79788456080286536 * (1 + 3 * (real)0.044715 * x * x);
    return (real)0.5 * (1 + t) + x * (real)0.5 * (1 - t * t) * du;
}

FORMULA real formula_silu_slope(real x)
{
    real s = formula_sigmoid(x);
    return s + x * s * (1 - s);
}

/* What map_slope (op.h) says. */
FORMULA enum map_slope formula_slope(const struct map *map)
{
    switch (map->fn) {
    case MAP_HARD_SWISH:
    case MAP_GELU:
    case MAP_GELU_TANH:
    case MAP_SILU:
    case MAP_LOG:
    case MAP_ABS:
        return SLOPE_OF_X;
    case MAP_LEAKY_RELU:
    case MAP_ELU: /* with a negative alpha both sides of 0 have results of one sign */
        return map->a >= 0 ? SLOPE_OF_Y : SLOPE_OF_X;
    default:
        return SLOPE_OF_Y;
    }
}

/* dx from dy and x, for functions whose slope y does not tell (map_slope, op.h). */
FORMULA real formula_map_back_x(const struct map *map, real dy, real x)
{
    switch (map->fn) {
    case MAP_HARD_SWISH:
        return x <= -3 ? 0 : x >= 3 ? dy : dy * (x / 3 + (real)0.5);
    case MAP_GELU:
        return dy * formula_gelu_slope(x);
    case MAP_GELU_TANH:
        return dy * formula_gelu_tanh_slope(x);
    case MAP_SILU:
        return dy * formula_silu_slope(x);
    case MAP_LOG:
        return dy / x;
    case MAP_ABS:
        return x < 0 ? -dy : x > 0 ? dy : 0 * dy;
    default:
        return dy;
    }
}

/* dx from dy and v, which is y = f(x), or x where map_slope says so. Where f has a kink the slope is the flatter side's;
 * NaN lets the gradient through: both as in PyTorch's relu, leaky relu and hardtanh. */
FORMULA real formula_map_back(const struct map *map, real dy, real v)
{
    real a = (real)map->a, b = (real)map->b;
    switch (map->fn) {
    case MAP_RELU:
        return v <= 0 ? 0 : dy;
    case MAP_TANH:
        return dy * (1 - v * v);
    case MAP_SIGMOID:
        return dy * v * (1 - v);
    case MAP_RELU6:
        return v <= 0 || v >= 6 ? 0 : dy;
    case MAP_SOFTPLUS: /* sigmoid(x) = 1 - e^-y */
        return -dy * FORMULA_EXPM1(-v);
    case MAP_LEAKY_RELU: /* for either x or y */
        return v <= 0 ? a * dy : dy;
    case MAP_ELU:
        return v <= 0 ? (a >= 0 ? v + a : a * FORMULA_EXP(v)) * dy : dy;
    case MAP_CLIP:
        return v <= a || v >= b ? 0 : dy;
    case MAP_HARD_SIGMOID:
        return v <= 0 || v >= 1 ? 0 : a * dy;
    case MAP_EXP:
        return dy * v;
    case MAP_SQRT:
        return dy / (2 * v);
    case MAP_NEG:
        return -dy;
    default:
        return formula_map_back_x(map, dy, v);
    }
}

FORMULA real formula_zip(enum zip_fn fn, real a, real b)
{
    switch (fn) {
    case ZIP_ADD:
        return a + b;
    case ZIP_SUB:
        return a - b;
    case ZIP_MUL:
        return a * b;
    case ZIP_DIV:
        return a / b;
    default:
        return a < 0 ? a * b : a; /* prelu */
    }
}

/* da (side 0) or db (side 1) from dy */
FORMULA real formula_zip_back(enum zip_fn fn, int side, real dy, real a, real b)
{
    switch (fn) {
    case ZIP_ADD:
        return dy;
    case ZIP_SUB:
        return side ? -dy : dy;
    case ZIP_MUL:
        return side ? dy * a : dy * b;
    case ZIP_DIV:
        return side ? -dy * a / (b * b) : dy / b;
    default:
        return side ? (a > 0 ? 0 : dy * a) : (a > 0 ? dy : dy * b);
    }
}

/* Does x replace the greatest (least) so far? NaN does, and is not replaced: the first NaN is the result. */
FORMULA int formula_reduce_takes(enum reduce_fn fn, int last, real x, real sofar)
{
    if (sofar != sofar)
        return 0;
    if (x != x || (last && x == sofar))
        return 1;
    return fn == REDUCE_MAX || fn == REDUCE_ARGMAX ? x > sofar : x < sofar;
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

/* A step of splitmix64 (https://prng.di.unimi.it/splitmix64.c), and the hash of four numbers (rng.h) by it. */
FORMULA uint64_t formula_splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

FORMULA uint64_t formula_hash(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    uint64_t in[4] = {a, b, c, d}, h = 0;
    for (int i = 0; i < 4; i++) {
        h ^= in[i];
        h = formula_splitmix(&h);
    }
    return h;
}

/* Is an element kept? `hash` is rng_hash(seed, step, layer, row << 32 | element). */
FORMULA int formula_keeps(uint64_t hash, double rate)
{
    return (double)(hash >> 11) * 0x1p-53 >= rate;
}

/* Binary cross entropy of a logit, where positive targets weigh p:
 *   -(1 - t) log(1 - sigmoid(x)) - p t log(sigmoid(x)),   -log(sigmoid(x)) = max(-x, 0) + log(1 + e^-|x|)
 * and its gradient. */
FORMULA real formula_log_loss(real x, real t, real p)
{
    real rest = FORMULA_LOG1P(FORMULA_EXP(x > 0 ? -x : x));
    return (1 - t) * ((x > 0 ? x : 0) + rest) + p * t * ((x > 0 ? 0 : -x) + rest);
}

FORMULA real formula_log_loss_back(real x, real t, real p)
{
    return (1 - t + p * t) * formula_sigmoid(x) - p * t;
}

/* What decay adds to a weight's gradient. */
FORMULA real formula_decay(real w, real l1, real l2)
{
    return (w > 0 ? l1 : w < 0 ? -l1 : 0) + l2 * w;
}

#endif
