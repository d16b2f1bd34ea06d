/* Transpose, Concat, Gather, Slice, ReduceMean and ArgMax: operators over chosen dimensions of a row.
 * Next to read: onnx_shapes.c, for those that move nothing. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

/* ---- attributes ---- */

int onnx_read_perm(const Onnx__NodeProto *n, int rank, int64_t *perm, struct fail *why)
{
    bool seen[SHAPE_DIMS + 1] = {0};
    for (int i = 0; i < rank; i++)
        perm[i] = rank - 1 - i;
    int rc = onnx_attribute_ints(n, "perm", rank, 0, rank - 1, perm, why);
    for (int i = 0; i < rank && !rc; i++) {
        if (seen[perm[i]])
            rc = fail(why, E_FILE, "perm has %lld twice", (long long)perm[i]);
        seen[perm[i]] = true;
    }
    return rc;
}

/* One list of Slice: attribute until operator set 9, then input `at`. *count 0: absent. */
static int slice_list(const struct onnx_reader *r, const Onnx__NodeProto *n, const char *name, size_t at,
                      int64_t *out, int *count, struct fail *why)
{
    const Onnx__AttributeProto *a = onnx_attribute(n, name);
    const struct onnx_value *v = onnx_input(r, n, at);
    *count = 0;
    if (v)
        return onnx_want_numbers(v, name, out, SHAPE_DIMS, count, why);
    if (!a)
        return 0;
    if (a->n_ints > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "%s has %zu numbers, at most %d are supported", name, a->n_ints,
                    SHAPE_DIMS);
    *count = (int)a->n_ints;
    return onnx_attribute_ints(n, name, *count, INT64_MIN, INT64_MAX, out, why);
}

int onnx_read_slice(const struct onnx_reader *r, const Onnx__NodeProto *n, int rank, struct onnx_slice *s,
                    struct fail *why)
{
    int ends, axes, steps, rc;
    if ((rc = slice_list(r, n, "starts", 1, s->start, &s->count, why)) ||
        (rc = slice_list(r, n, "ends", 2, s->end, &ends, why)) ||
        (rc = slice_list(r, n, "axes", 3, s->axis, &axes, why)) ||
        (rc = slice_list(r, n, "steps", 4, s->step, &steps, why)))
        return rc;
    if (!s->count || ends != s->count || (axes && axes != s->count) || (steps && steps != s->count))
        return fail(why, E_FILE, "%d starts, %d ends, %d axes, %d steps", s->count, ends, axes, steps);
    for (int i = 0; i < s->count; i++) {
        s->axis[i] = axes ? s->axis[i] : i;
        s->step[i] = steps ? s->step[i] : 1;
        if (s->axis[i] < -rank || s->axis[i] >= rank)
            return fail(why, E_FILE, "axis %lld of %d dimensions", (long long)s->axis[i], rank);
        if (!s->step[i] || s->step[i] < -INT32_MAX || s->step[i] > INT32_MAX)
            return fail(why, E_FILE, "a step of %lld", (long long)s->step[i]);
    }
    return 0;
}

int64_t onnx_slice_bound(int64_t bound, int64_t size, int64_t step)
{
    int64_t least = step > 0 ? 0 : -1, most = step > 0 ? size : size - 1;
    if (bound < 0)
        bound += size;
    return bound < least ? least : bound > most ? most : bound;
}
