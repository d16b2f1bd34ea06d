/* Synthetic labelled images, `make-data`. Row i is a pure function of kind, shape, seed and i: the same bytes
 * whatever the threads, the order of drawing or the rows asked for. UINT8, C order, ten classes that are
 * equally frequent on average. A change of what is drawn changes the data sets of everyone: the test holds
 * SHA-256s. */
#ifndef WORKER_DATA_DRAW_H
#define WORKER_DATA_DRAW_H

#include "engine/tensor.h"

struct draw_kind {
    const char *name;           /* "digits" */
    const char *summary;        /* one line for help */
    const char *shapes;         /* "1x28x28 or 3x32x32" */
    struct shape default_shape; /* (C, H, W) */
    bool (*draws)(struct shape s);
    /* One image into `pixels` (C*H*W bytes); returns its label, 0..9. */
    int32_t (*draw)(struct shape s, uint64_t seed, int64_t row, uint8_t *pixels);
};

const struct draw_kind *draw_find(const char *name); /* NULL: unknown */
const struct draw_kind *draw_at(int i);              /* NULL behind the last */

/* Rows first .. first + count - 1. E_USAGE: a shape that the kind does not draw, with those it does. */
int draw_rows(const struct draw_kind *kind, struct shape s, uint64_t seed, int64_t first, int64_t count,
              uint8_t *pixels, int32_t *labels, struct fail *why);

#endif
