/* What the files of a data set share. Internal to worker/train/dataset*.c. */
#ifndef WORKER_TRAIN_DATASET_PARTS_H
#define WORKER_TRAIN_DATASET_PARTS_H

#include <openssl/evp.h>

#include "engine/normalise.h"
#include "worker/codec/image.h"
#include "worker/train/dataset.h"

enum { DATASET_MAX_ROWS = 1 << 30 };

struct list_of_rows {
    uint32_t *v;
    int64_t count;
};

struct dataset {
    struct dataset_options options;
    enum dtype dtype; /* of the first row */
    struct shape shape;
    int64_t row_floats, count, capacity, bad_records;
    size_t row_size;
    struct cache rows;
    int32_t *labels; /* NULL where rows have targets */
    float *targets;
    int64_t target_size; /* 0: labels */
    uint8_t *part;       /* [capacity], enum dataset_part */
    struct list_of_rows parts[DATASET_PARTS];
    EVP_MD *sha256_type;
    EVP_MD_CTX *all, *one;
    char sha256[65];
    struct normalise normalise;
    float mean[NORMALISE_CHANNELS], std[NORMALISE_CHANNELS];
    int channels_normalised; /* 0: neither mean nor std */
    struct image_decoder images;
};

/* The rows of one record or file, in one form. */
struct dataset_chunk {
    enum dtype dtype;
    struct shape shape; /* of one row */
    int64_t rows, target_size;
    const unsigned char *data;
    int64_t first; /* number of its first row in the file or record, for messages */
};

bool dataset_grow(void *array, int64_t count, size_t size);
/* Against the graph and the rows before; the first chunk says what is asked of the next. RECORD codes. */
int dataset_chunk_check(struct dataset *d, const struct dataset_chunk *c, struct fail *why);
/* Room for so many rows and their answers behind the last. */
int dataset_reserve(struct dataset *d, int64_t rows, struct fail *why);
/* All rows of a chunk, or none: their answers are in place behind the last row's. RECORD codes. */
int dataset_chunk_take(struct dataset *d, const struct dataset_chunk *c, struct fail *why);
/* Where `resize` is on: UINT8 rows of another height and width than the graph's are brought to it, into the room
 * behind the last row; the chunk is changed to say so. */
int dataset_resize(struct dataset *d, struct dataset_chunk *c, struct fail *why);

#endif
