/* From rows as they travel to a network's input: UINT8 becomes (x / 255 - mean) / std by channel, every other
 * type is converted by value and taken as already normalised (contract.md). One function for inference and
 * training alike, so that a model is served what it was trained on, bit for bit. */
#ifndef ENGINE_NORMALISE_H
#define ENGINE_NORMALISE_H

#include "engine/tensor.h"

enum { NORMALISE_CHANNELS = 16 };

struct normalise {
    int channels;  /* of a row; more than NORMALISE_CHANNELS are possible only without mean and std */
    int64_t plane; /* H * W */
    bool identity; /* one table serves every channel */
    float table[NORMALISE_CHANNELS][256]; /* what each byte becomes, by channel */
};

/* `row` is the shape of one row, [C, H, W] or [K]. count 0: mean 0 and std 1; else one a channel or one for
 * all. */
int normalise_make(struct normalise *n, struct shape row, const float *mean, const float *std, int count,
                   struct fail *why);
/* One row of `dtype` at `from` to `to`. Returns the number of values that are not finite. */
int64_t normalise_row(const struct normalise *n, enum dtype dtype, const void *from, float *to);

#endif
