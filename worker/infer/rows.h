/* The rows of one request, one after the other, as the model's network takes them: a tensor's converted and normalised, images
 * decoded, resized and normalised. The runner's own: one thread. */
#ifndef WORKER_INFER_ROWS_H
#define WORKER_INFER_ROWS_H

#include "worker/codec/image.h"
#include "worker/models/model.h"
#include "worker/service/settings.h"

/* Memory that images are decoded in, used again from request to request. Zeroed is valid. */
struct row_memory {
    struct image_decoder decoder;
    unsigned char *bytes; /* one row */
    size_t capacity;
};

void row_memory_free(struct row_memory *m);

struct rows {
    const struct model *model;
    struct row_memory *memory;
    bool reject_non_finite;
    enum payload_kind kind;
    struct tensor_view tensor;
    struct list images;
    size_t row_size; /* bytes of a row of the tensor, or of a decoded image */
    int64_t next;
};

/* `request` is a tensor whose shape suits the model, or images. Borrows its data. */
int rows_open(struct rows *r, const struct inference *request, const struct model *m, enum non_finite setting,
              struct row_memory *memory, struct fail *why);
/* Writes the next row to `to`: ROW_OK, or ROW_BAD_INPUT with the reason in *why; negative: no memory. */
int rows_next(struct rows *r, float *to, struct fail *why);

#endif
