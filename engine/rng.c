/* xoshiro256** and what is drawn from it. Distribution code that needs libm is here too. */
#include "engine/rng.h"

#include <math.h>

#include "engine/formula.h"

struct rng rng_seed(uint64_t seed)
{
    struct rng r;
    for (int i = 0; i < 4; i++)
        r.s[i] = formula_splitmix(&seed);
    return r;
}

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    /* Lemire's multiplication with rejection, https://arxiv.org/abs/1805.10941 */
    uint32_t floor = (0u - n) % n;
    for (;;) {
        uint64_t product = (uint64_t)(uint32_t)(rng_next(r) >> 32) * n;
        if ((uint32_t)product >= floor)
            return (uint32_t)(product >> 32);
    }
}

double rng_uniform(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

double rng_normal(struct rng *r)
{
    double u = 1.0 - rng_uniform(r), v = rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v);
}

void rng_shuffle(struct rng *r, uint32_t *index, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = rng_below(r, i), t = index[i - 1];
        index[i - 1] = index[j];
        index[j] = t;
    }
}

uint64_t rng_hash(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return formula_hash(a, b, c, d);
}
