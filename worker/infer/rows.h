/* The rows of one request, one after the other, as an intake of the model takes them: bytes as they are, images decoded and
 * resized to bytes, other types as floats. The runner's own: one thread. */
#ifndef WORKER_INFER_ROWS_H
#define WORKER_INFER_ROWS_H

#include "worker/codec/image.h"
#include "worker/infer/router.h"
#include "worker/models/model.h"
#include "worker/service/settings.h"

/* Whether the request's tensor is the model's input by name and shape. E_BAD_REQUEST, E_BAD_SHAPE. */
int rows_check(const struct inference *request, const struct model *m, struct fail *why);
/* UINT8 tensors and images are bytes. */
enum intake_kind rows_kind(const struct inference *request);

struct rows {
    const struct model *model;
    struct image_decoder *decoder;
    bool reject_non_finite;
    enum payload_kind kind;
    struct tensor_view tensor;
    struct list images;
    size_t row_size; /* bytes of a row of the tensor */
    int64_t next;
};

/* `request` is a tensor whose shape suits the model, or images, which are decoded with `decoder`. Borrows its data. */
void rows_open(struct rows *r, const struct inference *request, const struct model *m,
               enum non_finite setting, struct image_decoder *decoder);
/* Writes the next row to `in`, as row `at`: ROW_OK, or ROW_BAD_INPUT with the reason in *why; negative: no memory. */
int rows_next(struct rows *r, struct intake *in, int at, struct fail *why);

#endif
