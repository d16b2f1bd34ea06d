/* What digits.c and shapes.c share: coverage by distance, colours, noise. Geometry is in double, so that a
 * different rounding of the last bit does not change a pixel. */
#ifndef WORKER_DATA_CANVAS_H
#define WORKER_DATA_CANVAS_H

#include "engine/rng.h"
#include "worker/data/draw.h"

enum { CANVAS_SIDE = 32, CANVAS_PIXELS = CANVAS_SIDE * CANVAS_SIDE, CANVAS_CHANNELS = 3 };

struct point {
    double x, y; /* pixels; a pixel's centre is at + 0.5 */
};

/* [v * scale + shift]: x = xx * x + xy * y + x0, y likewise. */
struct affine {
    double xx, xy, x0, yx, yy, y0;
};

struct point affine_apply(const struct affine *a, struct point p);
/* Uniform. Two draws never in one argument or initialiser list: their order would be the compiler's. */
double rng_between(struct rng *r, double low, double high);
struct rng canvas_rng(const char *kind, struct shape s, uint64_t seed, int64_t row);

/* near[y * side + x] = min(itself, squared distance of that pixel's centre to the segment a b), for the
 * pixels within `reach` of it. */
void canvas_segment(double *near, int side, struct point a, struct point b, double reach);

/* pixel = ground + cover * (ink - ground) + noise, rounded and cut to 0..255. `ground` is [C][side * side],
 * cover [side * side] in 0..1, ink [C]; sigma is the noise's standard deviation in levels. */
void canvas_finish(uint8_t *pixels, int channels, int side, const double *ground, const double *cover,
                   const double *ink, double sigma, struct rng *r);

int32_t digits_draw(struct shape s, uint64_t seed, int64_t row, uint8_t *pixels);
bool digits_draws(struct shape s);
int32_t shapes_draw(struct shape s, uint64_t seed, int64_t row, uint8_t *pixels);
bool shapes_draws(struct shape s);

#endif
