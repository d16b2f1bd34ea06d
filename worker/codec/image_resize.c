/* Resizing in two passes, columns first, as Pillow does it (src/libImaging/Resample.c, 8 bits a channel): each output is a weighted
 * mean of the inputs that a triangle around its centre covers, the triangle's half width being the larger of 1 and the scale. Weights
 * are whole numbers in units of 2^-22, and both passes round to bytes, so that no floating point is left in the pixels' way. */
#include <math.h>

#include "worker/codec/image_parts.h"

enum { WEIGHT_BITS = 22 };

/* The inputs and weights of every output of one pass: for output i, `count` inputs from `first` on, weights behind them. */
struct pass {
    int32_t *table; /* [outputs][2 + taps] */
    int taps;
};

static double triangle(double x)
{
    x = x < 0 ? -x : x;
    return x < 1 ? 1 - x : 0;
}

/* w_k = tri((k + first - centre + 1/2) / width) / sum, centre = (i + 1/2) * scale, width = max(scale, 1) */
static void weigh(int32_t *row, int i, int inputs, double scale, double width)
{
    double centre = (i + 0.5) * scale, sum = 0;
    int first = (int)(centre - width + 0.5), end = (int)(centre + width + 0.5);
    first = first < 0 ? 0 : first;
    end = end > inputs ? inputs : end;
    for (int k = first; k < end; k++)
        sum += triangle((k - centre + 0.5) * (1 / width));
    row[0] = first;
    row[1] = end - first;
    for (int k = first; k < end; k++) {
        double w = triangle((k - centre + 0.5) * (1 / width));
        row[2 + k - first] = (int32_t)(0.5 + (sum != 0 ? w / sum : w) * (1 << WEIGHT_BITS));
    }
}

static int pass_make(struct pass *p, struct image_decoder *d, int inputs, int outputs, struct fail *why)
{
    double scale = (double)inputs / outputs, width = scale < 1 ? 1 : scale;
    p->taps = (int)ceil(width) * 2 + 1;
    size_t row = 2 + (size_t)p->taps;
    d->weights =
        image_reserve(d->weights, &d->weight_capacity, (size_t)outputs * row * sizeof *d->weights, why);
    p->table = d->weights;
    if (!p->table)
        return -E_MEMORY;
    for (int i = 0; i < outputs; i++)
        weigh(p->table + (size_t)i * row, i, inputs, scale, width);
    return 0;
}

/* One output: `from` is the first input of the line, inputs lie `step` bytes apart. Weights are not negative and sum up to at most
 * one and some rounding, so that only the top needs a bound. */
static unsigned char mean(const int32_t *row, const unsigned char *from, size_t step)
{
    uint32_t sum = 1u << (WEIGHT_BITS - 1);
    from += (size_t)row[0] * step;
    for (int k = 0; k < row[1]; k++)
        sum += (uint32_t)row[2 + k] * from[(size_t)k * step];
    sum >>= WEIGHT_BITS;
    return (unsigned char)(sum > 255 ? 255 : sum);
}

/* [height][d->width][channels] into [height][width][channels]. */
static void pass_columns(const struct pass *p, const struct image_decoder *d, int channels, int width)
{
    size_t from = (size_t)d->width * (size_t)channels;
    unsigned char *to = d->columns;
    for (int y = 0; y < d->height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                *to++ = mean(p->table + (size_t)x * (2 + (size_t)p->taps), d->pixels + (size_t)y * from + c,
                             (size_t)channels);
}

/* [d->height][width][channels] into planes [channels][height][width]. */
static void pass_rows(const struct pass *p, const struct image_decoder *d, int channels, int width,
                      int height, unsigned char *out)
{
    size_t line = (size_t)width * (size_t)channels;
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                *out++ = mean(p->table + (size_t)y * (2 + (size_t)p->taps),
                              d->columns + (size_t)x * (size_t)channels + c, line);
}

int image_resize(struct image_decoder *d, int channels, int width, int height, unsigned char *out,
                 struct fail *why)
{
    struct pass p;
    size_t size = (size_t)d->height * (size_t)width * (size_t)channels;
    d->columns = image_reserve(d->columns, &d->column_capacity, size, why);
    int rc = d->columns ? pass_make(&p, d, d->width, width, why) : -E_MEMORY;
    if (rc)
        return rc;
    pass_columns(&p, d, channels, width);
    rc = pass_make(&p, d, d->height, height, why);
    if (!rc)
        pass_rows(&p, d, channels, width, height, out);
    return rc;
}
