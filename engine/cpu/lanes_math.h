/* Vectors of LANES_WIDTH floats, and the functions of one value for them: for all kernels at lanes. Included by
 * lanes_tile.h, which comes first. */
#ifndef ENGINE_CPU_LANES_MATH_H
#define ENGINE_CPU_LANES_MATH_H

#include <stddef.h>
#include <string.h>

#include "engine/cpu/lanes.h"
#include "engine/formula.h"

typedef float vec __attribute__((vector_size(LANES_WIDTH * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES_WIDTH * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

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

INLINE vec vec_relu(vec v)
{
    return (vec)((ivec)v & ~(v < 0)); /* NaN < 0 is false: it stays */
}

INLINE vec vec_clip(vec v, float low, float high)
{
    vec l = (vec){0} + low, h = (vec){0} + high;
    v = choose(v < l, l, v);
    return choose(v > h, h, v);
}

static __attribute__((noinline)) void apply_each(const struct map *map, vec *v)
{
    float each[LANES_WIDTH];
    memcpy(each, v, sizeof each);
    for (int l = 0; l < LANES_WIDTH; l++)
        each[l] = formula_map(map, each[l]);
    memcpy(v, each, sizeof each);
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
    default:
        apply_each(map, &v);
        return v;
    }
}

INLINE void vec_put(float *at, vec v, bool add)
{
    if (add)
        v += load(at);
    store(at, v);
}

#endif
