/* The rows of enum map_fn for vectors: formula_map and formula_map_back (formula.h), whose results these are but for a
 * few units in the last place. For sixteen lanes, and at width 4 for one (elementwise.c). Included by lanes_tile.h. */
#ifndef ENGINE_CPU_LANES_MAP_H
#define ENGINE_CPU_LANES_MAP_H

#include "engine/cpu/lanes_math.h"

INLINE vec gelu_tanh(vec x)
{
    return vec_tanh(0.79788456f * (x + 0.044715f * x * x * x));
}

/* Those that cost a division or an exponential at least; one by one where this has no vector of it. By value: through
 * memory a vector that lies across two cache lines costs more than its exponential. */
static __attribute__((noinline)) vec map_slowly(const struct map *map, vec v)
{
    float each[LANES_WIDTH];
    switch (map->fn) {
    case MAP_TANH:
        return vec_tanh(v);
    case MAP_SIGMOID:
        return vec_sigmoid(v);
    case MAP_GELU:
        return v * vec_normal(v);
    case MAP_GELU_TANH:
        return v * 0.5f * (1 + gelu_tanh(v));
    case MAP_SOFTPLUS:
        return vec_softplus(v);
    case MAP_SILU:
        return v * vec_sigmoid(v);
    case MAP_ELU:
        return choose(v < 0, map->a * vec_expm1(vec_clip(v, -80, 0)), v);
    case MAP_EXP:
        return vec_exp(v);
    default:
        memcpy(each, &v, sizeof each);
        for (int l = 0; l < LANES_WIDTH; l++)
            each[l] = formula_map(map, each[l]);
        memcpy(&v, each, sizeof each);
        return v;
    }
}

INLINE vec vec_map(const struct map *map, vec v)
{
    switch (map->fn) {
    case MAP_IDENTITY:
        return v;
    case MAP_RELU:
        return vec_relu(v);
    case MAP_RELU6:
        return vec_clip(v, 0, 6);
    case MAP_CLIP:
        return vec_clip(v, map->a, map->b);
    case MAP_LEAKY_RELU:
        return choose(v < 0, map->a * v, v);
    case MAP_HARD_SIGMOID:
        return vec_clip(map->a * v + map->b, 0, 1);
    case MAP_HARD_SWISH:
        return v * vec_clip(v * (1.0f / 6) + 0.5f, 0, 1);
    case MAP_ABS:
        return vec_abs(v);
    case MAP_NEG:
        return -v;
    default:
        return map_slowly(map, v);
    }
}

static __attribute__((noinline)) vec slope_slowly(const struct map *map, vec dy, vec v)
{
    float each[LANES_WIDTH], grad[LANES_WIDTH];
    vec s;
    switch (map->fn) {
    case MAP_GELU:
        return dy * (vec_normal(v) + v * 0.39894228f * vec_exp(-v * v / 2));
    case MAP_GELU_TANH:
        s = gelu_tanh(v);
        return dy * (0.5f * (1 + s) +
                     v * 0.5f * (1 - s * s) * (0.79788456f + 3 * 0.79788456f * 0.044715f * v * v));
    case MAP_SOFTPLUS:
        return dy * (-vec_expm1(-v));
    case MAP_SILU:
        s = vec_sigmoid(v);
        return dy * (s + v * s * (1 - s));
    default:
        memcpy(each, &v, sizeof each);
        memcpy(grad, &dy, sizeof grad);
        for (int l = 0; l < LANES_WIDTH; l++)
            grad[l] = formula_map_back(map, grad[l], each[l]);
        memcpy(&dy, grad, sizeof grad);
        return dy;
    }
}

/* formula_map_back: v is y, or x where map_slope says so. */
INLINE vec vec_map_back(const struct map *map, vec dy, vec v)
{
    const vec zero = {0};
    switch (map->fn) {
    case MAP_IDENTITY:
        return dy;
    case MAP_RELU:
        return choose(v <= 0, zero, dy);
    case MAP_TANH:
        return dy * (1 - v * v);
    case MAP_SIGMOID:
        return dy * v * (1 - v);
    case MAP_RELU6:
        return choose((v <= 0) | (v >= 6), zero, dy);
    case MAP_CLIP:
        return choose((v <= map->a) | (v >= map->b), zero, dy);
    case MAP_LEAKY_RELU:
        return choose(v <= 0, map->a * dy, dy);
    case MAP_HARD_SIGMOID:
        return choose((v <= 0) | (v >= 1), zero, map->a * dy);
    case MAP_HARD_SWISH:
        return choose(v <= -3, zero, choose(v >= 3, dy, dy * (v * (1.0f / 3) + 0.5f)));
    case MAP_ELU:
        if (map->a >= 0)
            return choose(v <= 0, (v + map->a) * dy, dy);
        break;
    case MAP_EXP:
        return dy * v;
    case MAP_NEG:
        return -dy;
    default:
        break;
    }
    return slope_slowly(map, dy, v);
}

/* y = f(x) over n values; the last ones that do not fill a vector as part of one, so that their bits are the same.
 * `add` adds to y. */
INLINE void map_values(const struct map *map, const float *x, float *y, int64_t n, bool add)
{
    int64_t i = 0;
    for (; i + LANES_WIDTH <= n; i += LANES_WIDTH)
        vec_put(y + i, vec_map(map, load(x + i)), add);
    if (i < n) {
        float from[LANES_WIDTH] = {0}, to[LANES_WIDTH] = {0};
        memcpy(from, x + i, (size_t)(n - i) * sizeof *from);
        memcpy(to, y + i, (size_t)(n - i) * sizeof *to);
        vec_put(to, vec_map(map, load(from)), add);
        memcpy(y + i, to, (size_t)(n - i) * sizeof *to);
    }
}

INLINE void map_slopes(const struct map *map, const float *dy, const float *v, float *dx, int64_t n, bool add)
{
    int64_t i = 0;
    for (; i + LANES_WIDTH <= n; i += LANES_WIDTH)
        vec_put(dx + i, vec_map_back(map, load(dy + i), load(v + i)), add);
    if (i < n) {
        float from[2][LANES_WIDTH] = {{0}}, to[LANES_WIDTH] = {0};
        memcpy(from[0], dy + i, (size_t)(n - i) * sizeof *to);
        memcpy(from[1], v + i, (size_t)(n - i) * sizeof *to);
        memcpy(to, dx + i, (size_t)(n - i) * sizeof *to);
        vec_put(to, vec_map_back(map, load(from[0]), load(from[1])), add);
        memcpy(dx + i, to, (size_t)(n - i) * sizeof *to);
    }
}

/* The two with loops of their own for the functions that cost least; x and y may be the same. */
#define WITH_MAP(map, call)                                    \
    switch ((map)->fn) {                                       \
    case MAP_RELU: {                                           \
        const struct map one = {MAP_RELU, 0, 0};               \
        call;                                                  \
        break;                                                 \
    }                                                          \
    case MAP_RELU6: {                                          \
        const struct map one = {MAP_RELU6, 0, 0};              \
        call;                                                  \
        break;                                                 \
    }                                                          \
    case MAP_LEAKY_RELU: {                                     \
        const struct map one = {MAP_LEAKY_RELU, (map)->a, 0};  \
        call;                                                  \
        break;                                                 \
    }                                                          \
    case MAP_CLIP: {                                           \
        const struct map one = {MAP_CLIP, (map)->a, (map)->b}; \
        call;                                                  \
        break;                                                 \
    }                                                          \
    case MAP_HARD_SWISH: {                                     \
        const struct map one = {MAP_HARD_SWISH, 0, 0};         \
        call;                                                  \
        break;                                                 \
    }                                                          \
    default: {                                                 \
        const struct map one = *(map);                         \
        call;                                                  \
    }                                                          \
    }

static inline void map_all(const struct map *map, const float *x, float *y, int64_t n, bool add)
{
    WITH_MAP(map, map_values(&one, x, y, n, add))
}

static inline void map_all_back(const struct map *map, const float *dy, const float *v, float *dx, int64_t n,
                                bool add)
{
    WITH_MAP(map, map_slopes(&one, dy, v, dx, n, add))
}

#endif
