/* A generator whose whole state is a value: copy it, store it in a checkpoint, compare it.
 * xoshiro256** of Blackman and Vigna (https://prng.di.unimi.it/), seeded through splitmix64. */
#ifndef ENGINE_RNG_H
#define ENGINE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

struct rng rng_seed(uint64_t seed);
uint64_t rng_next(struct rng *r);              /* 64 random bits */
uint32_t rng_below(struct rng *r, uint32_t n); /* 0 .. n-1 without bias; n > 0 */
double rng_uniform(struct rng *r);             /* [0, 1), 53 bits */
double rng_normal(struct rng *r);              /* mean 0, variance 1 (Box-Muller, no state kept) */
/* Fisher-Yates over n indices. */
void rng_shuffle(struct rng *r, uint32_t *index, uint32_t n);
/* A stateless hash of four numbers, for dropout masks and splits: splitmix64 over each in turn. */
uint64_t rng_hash(uint64_t a, uint64_t b, uint64_t c, uint64_t d);

#endif
