/* What augment.h says, one function a stage. Which rows, and when: dataset.c. */
#include "worker/train/augment.h"

#include <math.h>
#include <string.h>

#include "engine/rng.h"

enum { STREAM_AUGMENT = 0x6175676d, FIX = 16, ONE = 1 << FIX }; /* 16.16 fixed point */

#define SPREAD 1.2247448713915890 /* sqrt(3 / 2): eight uniforms of [-1/2, 1/2) have the variance 8 / 12 */

/* What is drawn for one row: all of it, whatever is used, so that one setting does not change another's draws. */
struct draw {
    bool flip_x, flip_y;
    double shift_y, shift_x; /* -1 .. 1 of the largest */
    double crop_y, crop_x;   /* -1 .. 1 */
    double angle, scale, brightness, contrast;
    double cut_y, cut_x; /* 0 .. 1 */
};

static double either_way(struct rng *r)
{
    return 2 * rng_uniform(r) - 1;
}

static struct draw draw_make(struct rng *r)
{
    struct draw d;
    d.flip_x = rng_uniform(r) < 0.5;
    d.flip_y = rng_uniform(r) < 0.5;
    d.shift_y = either_way(r);
    d.shift_x = either_way(r);
    d.crop_y = either_way(r);
    d.crop_x = either_way(r);
    d.angle = either_way(r);
    d.scale = either_way(r);
    d.brightness = either_way(r);
    d.contrast = either_way(r);
    d.cut_y = rng_uniform(r);
    d.cut_x = rng_uniform(r);
    return d;
}

bool augment_needs_image(const struct augment *a)
{
    return a->flip || a->shift > 0 || a->crop_padding || a->rotation > 0 || a->scale > 0 || a->cutout;
}

bool augment_any(const struct augment *a)
{
    return augment_needs_image(a) || a->brightness > 0 || a->contrast > 0 || a->noise > 0;
}

/* From a place in the result to one in the source, both as distances from the centre in 16.16:
 * (x, y) -> (xx x + xy y + x0, yx x + yy y + y0). */
struct map {
    int64_t xx, xy, x0, yx, yy, y0;
};

/* A share of -1 .. 1 as one of the whole numbers -most .. most, each as likely. */
static int64_t whole(double share, int64_t most)
{
    int64_t v = (int64_t)floor((share + 1) / 2 * (double)(2 * most + 1)) - most;
    return v > most ? most : v;
}

/* source = R(-angle) (place - shift) / scale, mirrored. */
static struct map map_make(const struct augment *a, const struct draw *d, int64_t h, int64_t w)
{
    double angle = d->angle * a->rotation * (3.14159265358979323846 / 180), by = 1 + d->scale * a->scale;
    int64_t c = llround(cos(angle) / by * ONE), s = llround(sin(angle) / by * ONE);
    int64_t dx = whole(d->shift_x, (int64_t)(a->shift * (double)w)) + whole(d->crop_x, a->crop_padding);
    int64_t dy = whole(d->shift_y, (int64_t)(a->shift * (double)h)) + whole(d->crop_y, a->crop_padding);
    struct map m = {c, s, -(c * dx + s * dy), -s, c, s * dx - c * dy};
    if ((a->flip & FLIP_HORIZONTAL) && d->flip_x)
        m.xx = -m.xx, m.xy = -m.xy, m.x0 = -m.x0;
    if ((a->flip & FLIP_VERTICAL) && d->flip_y)
        m.yx = -m.yx, m.yy = -m.yy, m.y0 = -m.y0;
    return m;
}

static float pixel(const float *plane, int64_t h, int64_t w, int64_t y, int64_t x, float fill)
{
    return y >= 0 && y < h && x >= 0 && x < w ? plane[y * w + x] : fill;
}

/* Bilinear at (sy, sx), 16.16 from the first pixel's centre. */
static float sample(const float *plane, int64_t h, int64_t w, int64_t sy, int64_t sx, float fill)
{
    int64_t y = sy >> FIX, x = sx >> FIX;
    float fy = (float)(sy & (ONE - 1)) / ONE, fx = (float)(sx & (ONE - 1)) / ONE;
    if (fy == 0 && fx == 0)
        return pixel(plane, h, w, y, x, fill);
    float top = (1 - fx) * pixel(plane, h, w, y, x, fill) + fx * pixel(plane, h, w, y, x + 1, fill);
    float low = (1 - fx) * pixel(plane, h, w, y + 1, x, fill) + fx * pixel(plane, h, w, y + 1, x + 1, fill);
    return (1 - fy) * top + fy * low;
}

static void geometry(const struct map *m, struct shape s, float fill, float *x, float *scratch)
{
    int64_t channels = s.dim[0], h = s.dim[1], w = s.dim[2], at = 0;
    int64_t mid_y = (h - 1) * (ONE / 2), mid_x = (w - 1) * (ONE / 2);
    memcpy(scratch, x, sizeof(float) * (size_t)(channels * h * w));
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < h; i++)
            for (int64_t j = 0; j < w; j++) { /* distances in half pixels are whole numbers */
                int64_t v = 2 * i - (h - 1), u = 2 * j - (w - 1);
                int64_t sx = mid_x + (m->xx * u + m->xy * v) / 2 + m->x0;
                int64_t sy = mid_y + (m->yx * u + m->yy * v) / 2 + m->y0;
                x[at++] = sample(scratch + c * h * w, h, w, sy, sx, fill);
            }
}

/* x' = (x b - m) c + m, m the mean of x b */
static void light(const struct augment *a, const struct draw *d, int64_t n, float *x)
{
    float b = (float)(1 + d->brightness * a->brightness), c = (float)(1 + d->contrast * a->contrast);
    double sum = 0;
    if (!(a->brightness > 0 || a->contrast > 0))
        return;
    for (int64_t i = 0; i < n; i++) {
        x[i] *= b;
        sum += (double)x[i];
    }
    float m = (float)(sum / (double)n);
    for (int64_t i = 0; a->contrast > 0 && i < n; i++)
        x[i] = (x[i] - m) * c + m;
}

/* The sum of eight 16-bit uniforms: whole numbers, so no library's logarithm decides about bits. */
static void noise(struct rng *r, float deviation, int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t sum = 0;
        for (int k = 0; k < 2; k++)
            for (uint64_t bits = rng_next(r), j = 0; j < 4; j++, bits >>= 16)
                sum += (int64_t)(bits & 0xffff);
        x[i] += deviation * (float)((double)(2 * sum - 8 * 65535) / (2 * 65536) * SPREAD);
    }
}

/* A square whose centre is anywhere in the image; what lies outside is cut off. */
static void cutout(const struct augment *a, const struct draw *d, struct shape s, float *x)
{
    int64_t h = s.dim[1], w = s.dim[2];
    int64_t top = (int64_t)(d->cut_y * (double)h) - a->cutout / 2;
    int64_t left = (int64_t)(d->cut_x * (double)w) - a->cutout / 2;
    for (int64_t c = 0; c < s.dim[0]; c++)
        for (int64_t i = top < 0 ? 0 : top; i < h && i < top + a->cutout; i++)
            for (int64_t j = left < 0 ? 0 : left; j < w && j < left + a->cutout; j++)
                x[(c * h + i) * w + j] = (float)a->fill;
}

void augment_row(const struct augment *a, uint64_t seed, int64_t epoch, int64_t row, struct shape shape,
                 bool clamp, float *x, float *scratch)
{
    struct rng r = rng_seed(rng_hash(seed, (uint64_t)epoch, (uint64_t)row, STREAM_AUGMENT));
    struct draw d = draw_make(&r);
    int64_t n = shape_size(shape);
    if (a->flip || a->shift > 0 || a->crop_padding || a->rotation > 0 || a->scale > 0) {
        struct map m = map_make(a, &d, shape.dim[1], shape.dim[2]);
        geometry(&m, shape, (float)a->fill, x, scratch);
    }
    light(a, &d, n, x);
    if (a->noise > 0)
        noise(&r, (float)a->noise, n, x);
    for (int64_t i = 0; clamp && i < n; i++)
        x[i] = x[i] < 0 ? 0 : x[i] > 1 ? 1 : x[i];
    if (a->cutout)
        cutout(a, &d, shape, x);
}
