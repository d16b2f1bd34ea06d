/* Shapes and tensors: open structs, passed by value, views that own nothing.
 * The letters used for dimensions everywhere in engine/ and gpu/:
 *   N rows   C channels in   H W height and width of the input   K channels out (filters)
 *   R S height and width of a filter   P Q height and width of the output */
#ifndef ENGINE_TENSOR_H
#define ENGINE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/fail.h"

enum { SHAPE_DIMS = 8, TENSOR_ALIGN = 64 };

struct shape {
    int rank;
    int64_t dim[SHAPE_DIMS]; /* dim[0] is N wherever a leading dimension of rows exists */
};

/* Names of the Open Inference Protocol (KServe v2), in the order of the Avro enum DType. */
enum dtype {
    DTYPE_UNKNOWN,
    DTYPE_BOOL,
    DTYPE_UINT8,
    DTYPE_INT8,
    DTYPE_INT16,
    DTYPE_INT32,
    DTYPE_INT64,
    DTYPE_FP16,
    DTYPE_BF16,
    DTYPE_FP32,
    DTYPE_FP64,
    DTYPES
};

/* A float32 view into an arena of its net's backend: a device address under cuda. */
struct tensor {
    float *data;
    struct shape shape;
};

#define SHAPE(...) \
    ((struct shape){.rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}})

/* Product of the dimensions, 1 for rank 0; -1 when one is negative or the product exceeds 2^40. */
int64_t shape_size(struct shape s);
bool shape_equal(struct shape a, struct shape b);
/* "[64, 3, 32, 32]" into out, cut to size; returns out. */
const char *shape_text(struct shape s, char *out, size_t size);

size_t dtype_size(enum dtype t);      /* bytes of one element; 0 for DTYPE_UNKNOWN */
const char *dtype_name(enum dtype t); /* "FP32" */

/* Converts n elements at `from` (little endian, unaligned allowed) by value to float32. Returns
 * the number of non-finite results. BOOL is 0 or 1. */
int64_t dtype_to_float(enum dtype t, const void *from, int64_t n, float *to);

#endif
