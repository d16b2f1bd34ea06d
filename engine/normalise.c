/* Rows to network input. The formula is in normalise.h; types other than UINT8 are tensor.c's affair. */
#include "engine/normalise.h"

#include <math.h>

/* (x / 255 - mean) / std, rounded to float once. */
static float formula(int x, float mean, float std)
{
    return (float)((x / 255.0 - (double)mean) / (double)std);
}

int normalise_make(struct normalise *n, struct shape row, const float *mean, const float *std, int count,
                   struct fail *why)
{
    int64_t size = shape_size(row);
    if (row.rank < 1 || size < 1)
        return fail(why, E_NETWORK, "normalisation: a row needs at least one value");
    n->channels = (int)row.dim[0];
    n->plane = size / row.dim[0];
    n->identity = count == 0;
    if (count && count != 1 && count != n->channels)
        return fail(why, E_NETWORK,
                    "mean and std have %d values, the input has %d channels: give one a channel", count,
                    n->channels);
    if (count > NORMALISE_CHANNELS || (count > 1 && n->channels > NORMALISE_CHANNELS))
        return fail(why, E_NETWORK, "mean and std for %d channels: at most %d are supported", n->channels,
                    NORMALISE_CHANNELS);
    n->identity = count <= 1; /* one table serves every channel */
    for (int c = 0; c < (n->identity ? 1 : n->channels); c++) {
        float m = count ? mean[c] : 0, s = count ? std[c] : 1;
        if (!isfinite(m) || !isfinite(s) || !(s > 0))
            return fail(why, E_NETWORK,
                        "mean %g and std %g of channel %d: finite numbers and std above 0 are wanted",
                        (double)m, (double)s, c);
        for (int x = 0; x < 256; x++)
            n->table[c][x] = formula(x, m, s);
    }
    return 0;
}

int64_t normalise_row(const struct normalise *n, enum dtype dtype, const void *from, float *to)
{
    if (dtype != DTYPE_UINT8)
        return dtype_to_float(dtype, from, n->channels * n->plane, to);
    const unsigned char *x = from;
    for (int c = 0; c < n->channels; c++) {
        const float *table = n->table[n->identity ? 0 : c];
        for (int64_t i = 0; i < n->plane; i++)
            *to++ = table[*x++];
    }
    return 0;
}
