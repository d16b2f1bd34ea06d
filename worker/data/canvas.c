/* Coverage by distance, colours and noise; the kinds decide what is drawn.
 * Next to read: digits.c. */
#include "worker/data/canvas.h"

#include <math.h>
#include <string.h>

struct point affine_apply(const struct affine *a, struct point p)
{
    return (struct point){a->xx * p.x + a->xy * p.y + a->x0, a->yx * p.x + a->yy * p.y + a->y0};
}

double rng_between(struct rng *r, double low, double high)
{
    return low + (high - low) * rng_uniform(r);
}

struct rng canvas_rng(const char *kind, struct shape s, uint64_t seed, int64_t row)
{
    uint64_t name = 0, size = 0;
    for (const char *c = kind; *c; c++)
        name = name * 31 + (unsigned char)*c;
    for (int i = 0; i < s.rank; i++)
        size = size * 1024 + (uint64_t)s.dim[i];
    return rng_seed(rng_hash(name, size, seed, (uint64_t)row));
}

static int between(double v, int low, int high)
{
    return v < low ? low : v > high ? high : (int)v;
}

/* d^2 = |p - a - t (b - a)|^2 with t = clamp((p - a).(b - a) / |b - a|^2, 0, 1) */
void canvas_segment(double *near, int side, struct point a, struct point b, double reach)
{
    int x0 = between(fmin(a.x, b.x) - reach, 0, side), x1 = between(fmax(a.x, b.x) + reach + 1, 0, side);
    int y0 = between(fmin(a.y, b.y) - reach, 0, side), y1 = between(fmax(a.y, b.y) + reach + 1, 0, side);
    double ux = b.x - a.x, uy = b.y - a.y, length2 = ux * ux + uy * uy;
    double scale = length2 > 0 ? 1 / length2 : 0;
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
            double px = x + 0.5 - a.x, py = y + 0.5 - a.y;
            double t = (px * ux + py * uy) * scale;
            t = t < 0 ? 0 : t > 1 ? 1 : t;
            double dx = px - t * ux, dy = py - t * uy, d2 = dx * dx + dy * dy;
            double *at = &near[y * side + x];
            *at = d2 < *at ? d2 : *at;
        }
}

/* The sum of four random bytes is near enough to a normal distribution: mean 510, deviation 147.8. */
static double byte_noise(uint32_t bits)
{
    uint32_t pairs = (bits & 0x00ff00ffu) + ((bits >> 8) & 0x00ff00ffu);
    return ((double)((pairs & 0xffff) + (pairs >> 16)) - 510) * (1 / 147.8);
}

void canvas_finish(uint8_t *pixels, int channels, int side, const double *ground, const double *cover,
                   const double *ink, double sigma, struct rng *r)
{
    int size = side * side;
    for (int c = 0; c < channels; c++)
        for (int i = 0; i < size; i += 2) {
            uint64_t bits = rng_next(r);
            for (int k = i; k < i + 2; k++, bits >>= 32) {
                double g = ground[c * size + k];
                double v = g + cover[k] * (ink[c] - g) + sigma * byte_noise((uint32_t)bits);
                pixels[c * size + k] = (uint8_t)between(v + 0.5, 0, 255);
            }
        }
}
