/* Tensors on the wire: read as views into the record, then judged. Conversion to float is the engine's
 * (dtype_to_float); whether a shape suits a model is the router's affair. */
#include "worker/codec/wire.h"

#include <inttypes.h>

enum { TENSOR_SMALLEST = 4 }; /* empty name, dtype, empty shape, empty data */

struct tensor_view wire_tensor(struct wire *r, const char *name, int64_t index)
{
    struct tensor_view t = {0};
    struct wire_blocks b = {0};
    wire_enter(r, name, index);
    t.name = wire_string(r, "name");
    t.dtype = (enum dtype)wire_enum(r, "dtype", DTYPES);
    while (wire_next(r, "shape", &b, 1)) {
        int64_t n = wire_long(r, "shape");
        if (t.shape.rank < SHAPE_DIMS)
            t.shape.dim[t.shape.rank] = n;
        if (t.shape.rank <= SHAPE_DIMS) /* one too many is kept as a mark for wire_check_tensor */
            t.shape.rank++;
    }
    t.data = wire_bytes(r, "data");
    wire_leave(r);
    return t;
}

int64_t wire_tensors(struct wire *r, const char *name, struct tensor_view *first)
{
    struct wire_blocks b = {0};
    int64_t count = 0;
    for (; wire_next(r, name, &b, TENSOR_SMALLEST); count++) {
        struct tensor_view t = wire_tensor(r, name, count);
        if (count == 0)
            *first = t;
    }
    return count;
}

/* product(shape) * sizeof(dtype) == size of data, every step checked for overflow. */
void wire_check_tensor(struct wire *r, const char *name, const struct tensor_view *t, bool has_data)
{
    char text[128];
    wire_enter(r, name, -1);
    int64_t n = t->shape.rank <= SHAPE_DIMS ? shape_size(t->shape) : -1;
    size_t item = dtype_size(t->dtype);
    if (t->shape.rank == 0)
        wire_refuse(r, "shape", E_BAD_SHAPE, "has no dimensions, expected at least the number of rows");
    else if (t->shape.rank > SHAPE_DIMS)
        wire_refuse(r, "shape", E_BAD_SHAPE, "has more than %d dimensions", SHAPE_DIMS);
    else if (n < 0)
        wire_refuse(r, "shape", E_BAD_SHAPE, "%s has a negative dimension or is too large",
                    shape_text(t->shape, text, sizeof text));
    else if (item == 0)
        wire_refuse(r, "dtype", E_BAD_DTYPE, "%s is no number type", dtype_name(t->dtype));
    else if (has_data && (uint64_t)n * item != t->data.size)
        wire_refuse(r, "data", E_BAD_SHAPE, "%zu bytes, shape %s of %s wants %" PRIu64, t->data.size,
                    shape_text(t->shape, text, sizeof text), dtype_name(t->dtype), (uint64_t)n * item);
    else if (!has_data && t->data.size)
        wire_refuse(r, "data", E_BAD_REQUEST, "%zu bytes beside an external uri, expected none",
                    t->data.size);
    wire_leave(r);
}
