/* Augmentation: each time a training row is used it comes a little changed. What is drawn is a pure function of
 * (seed, epoch, row), so a run that goes on from a checkpoint sees what an uninterrupted one saw, whatever the
 * batches and threads. Geometry is in fixed point: the same bytes on every machine.
 *
 * In this order: flip; rotation and scale about the centre, shift and crop, as one map with bilinear sampling;
 * brightness, contrast, noise (UINT8 rows are clamped to 0..1 then); cutout. UINT8 rows are changed as x / 255,
 * before mean and std; other types as they come. Validation and test rows are never changed. */
#ifndef WORKER_TRAIN_AUGMENT_H
#define WORKER_TRAIN_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/tensor.h"

enum { FLIP_NONE, FLIP_HORIZONTAL = 1, FLIP_VERTICAL = 2 }; /* bits */

struct augment {
    int flip;             /* FLIP_* bits, each done to every other row */
    double shift;         /* up to this share of height and width, whole pixels, either way */
    int64_t crop_padding; /* pixels of `fill` put around the image before it is cut out at a random place */
    double rotation;      /* up to so many degrees either way */
    double scale;         /* by a factor of 1 - scale to 1 + scale */
    double brightness;    /* times 1 - b to 1 + b */
    double contrast;      /* distance from the row's mean, times 1 - c to 1 + c */
    double noise;         /* standard deviation of what is added, bell-shaped within 4.9 deviations */
    int64_t cutout;       /* side in pixels of a square at a random place that becomes `fill` */
    double fill;          /* what stands where no image is */
};

/* Whether anything is to be done; whether it needs rows of [C, H, W]. */
bool augment_any(const struct augment *a);
bool augment_needs_image(const struct augment *a);

/* One row of this shape in place; `scratch` holds as many floats. `clamp`: values are kept within 0..1. */
void augment_row(const struct augment *a, uint64_t seed, int64_t epoch, int64_t row, struct shape shape,
                 bool clamp, float *x, float *scratch);

#endif
