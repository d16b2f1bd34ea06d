/* Operators on float constants, computed while a file is read: transposed, scaled, joined, gathered weights.
 * Next to read: onnx_fold.c, for integers and for where the results are kept. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"

/* A constant's numbers; free them. */
static int read_floats(const struct onnx_reader *r, const Onnx__NodeProto *n, size_t i, float **data,
                       struct shape *s, struct fail *why)
{
    return onnx_want_floats(onnx_input(r, n, i), "an input", data, s, why);
}

static int memory_or(struct fail *why)
{
    return why ? -(int)why->code : -E_MEMORY;
}

/* NumPy's rule: dimensions from the right are equal or one of them is 1. */
int onnx_broadcast(struct shape a, struct shape b, struct shape *out, struct fail *why)
{
    char one[96], two[96];
    out->rank = a.rank > b.rank ? a.rank : b.rank;
    for (int i = 1; i <= out->rank; i++) {
        int64_t x = i <= a.rank ? a.dim[a.rank - i] : 1, y = i <= b.rank ? b.dim[b.rank - i] : 1;
        if (x != y && x != 1 && y != 1)
            return fail(why, E_FILE, "shapes %s and %s do not broadcast", shape_text(a, one, sizeof one),
                        shape_text(b, two, sizeof two));
        out->dim[out->rank - i] = x == 1 ? y : x;
    }
    return 0;
}

/* Where element `at` of the result lies in an operand of shape s. */
static int64_t broadcast_at(struct shape out, struct shape s, int64_t at)
{
    int64_t from = 0, step = 1;
    for (int i = 1; i <= out.rank; i++) {
        int64_t d = out.dim[out.rank - i], k = at % d;
        at /= d;
        if (i <= s.rank) {
            from += s.dim[s.rank - i] == 1 ? 0 : k * step;
            step *= s.dim[s.rank - i];
        }
    }
    return from;
}

static float combine(char sign, float a, float b)
{
    return sign == '+' ? a + b : sign == '-' ? a - b : sign == '*' ? a * b : a / b;
}

int onnx_fold_arithmetic(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    static const struct {
        const char *name;
        char sign;
    } signs[] = {{"Add", '+'}, {"Sub", '-'}, {"Mul", '*'}, {"Div", '/'}};
    char sign = '+';
    float *a = NULL, *b = NULL, *y = NULL;
    struct shape sa, sb, out;
    int rc;
    for (int i = 0; i < 4; i++)
        if (!strcmp(signs[i].name, n->op_type))
            sign = signs[i].sign;
    if (onnx_is_ints(onnx_input(r, n, 0)) && onnx_is_ints(onnx_input(r, n, 1)))
        return onnx_fold_int_arithmetic(r, n, sign, why);
    if ((rc = read_floats(r, n, 0, &a, &sa, why)) || (rc = read_floats(r, n, 1, &b, &sb, why)) ||
        (rc = onnx_broadcast(sa, sb, &out, why)))
        goto out;
    if (!(y = onnx_define_floats(r, n, out, why)))
        rc = memory_or(why);
    for (int64_t i = 0, size = shape_size(out); y && i < size; i++)
        y[i] = combine(sign, a[broadcast_at(out, sa, i)], b[broadcast_at(out, sb, i)]);
out:
    free(a);
    free(b);
    return rc;
}

int onnx_fold_transpose(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    int64_t perm[SHAPE_DIMS], step[SHAPE_DIMS + 1];
    struct shape s, out;
    float *x = NULL, *y = NULL;
    int rc = read_floats(r, n, 0, &x, &s, why);
    if (rc || (rc = onnx_read_perm(n, s.rank, perm, why)))
        goto out;
    out = s;
    step[s.rank] = 1;
    for (int i = s.rank; i-- > 0;)
        step[i] = step[i + 1] * s.dim[i];
    for (int i = 0; i < s.rank; i++)
        out.dim[i] = s.dim[perm[i]];
    if (!(y = onnx_define_floats(r, n, out, why)))
        rc = memory_or(why);
    for (int64_t at = 0, size = shape_size(out); y && at < size; at++) {
        int64_t from = 0, left = at;
        for (int i = out.rank; i-- > 0; left /= out.dim[i])
            from += left % out.dim[i] * step[perm[i] + 1];
        y[at] = x[from];
    }
out:
    free(x);
    return rc;
}

/* Elements before, in and behind one axis. */
static void around(struct shape s, int64_t axis, int64_t *outer, int64_t *inner)
{
    *outer = *inner = 1;
    for (int i = 0; i < s.rank; i++)
        *(i < axis ? outer : inner) *= i == axis ? 1 : s.dim[i];
}

int onnx_fold_gather_floats(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    int64_t axis = 0, at[ONNX_INTS], outer, inner;
    const struct onnx_value *indices = onnx_input(r, n, 1);
    struct shape s, out;
    float *x = NULL, *y = NULL;
    int count, rc = read_floats(r, n, 0, &x, &s, why);
    if (rc || (rc = onnx_read_axis(n, s.rank, &axis, why)) ||
        (rc = onnx_want_numbers(indices, "the list of indices", at, ONNX_INTS, &count, why)))
        goto out;
    out = s;
    out.dim[axis] = count;
    if (indices->ints ? !indices->ints->rank : !indices->tensor->n_dims) {
        memmove(out.dim + axis, out.dim + axis + 1, (size_t)(s.rank - 1 - axis) * sizeof out.dim[0]);
        out.rank--;
    }
    around(s, axis, &outer, &inner);
    for (int i = 0; i < count && !rc; i++)
        if (at[i] < -s.dim[axis] || at[i] >= s.dim[axis])
            rc = fail(why, E_FILE, "index %lld of %lld", (long long)at[i], (long long)s.dim[axis]);
    if (!rc && !(y = onnx_define_floats(r, n, out, why)))
        rc = memory_or(why);
    for (int64_t o = 0; y && o < outer; o++)
        for (int i = 0; i < count; i++) {
            int64_t k = at[i] < 0 ? at[i] + s.dim[axis] : at[i];
            memcpy(y + (o * count + i) * inner, x + (o * s.dim[axis] + k) * inner, (size_t)inner * sizeof *y);
        }
out:
    free(x);
    return rc;
}

/* The shape of what is joined: equal but in one dimension. */
static int joined_shape(struct onnx_reader *r, const Onnx__NodeProto *n, int64_t *axis, struct shape *out,
                        struct fail *why)
{
    int64_t sum = 0;
    int rc;
    for (size_t i = 0; i < n->n_input; i++) {
        const struct onnx_value *v = onnx_input(r, n, i);
        struct shape s;
        if ((rc = onnx_want_constant(v, "an input", why)))
            return rc;
        if (!v->tensor)
            return fail(why, E_UNSUPPORTED, "mixes integers of a shape with numbers");
        if ((rc = onnx_tensor_shape(v->tensor, &s, why)) ||
            (!i && (rc = onnx_read_axis(n, s.rank, axis, why))))
            return rc;
        if (!i)
            *out = s;
        if (s.rank == out->rank)
            sum += out->dim[*axis] = s.dim[*axis];
        if (!shape_equal(s, *out))
            return fail(why, E_FILE, "its inputs differ in more than dimension %lld", (long long)*axis);
    }
    out->dim[*axis] = sum;
    return 0;
}

int onnx_fold_concat_floats(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    int64_t axis = 0, outer, inner, done = 0;
    struct shape out, s;
    int rc = joined_shape(r, n, &axis, &out, why);
    if (rc)
        return rc;
    float *y = onnx_define_floats(r, n, out, why);
    if (!y)
        return memory_or(why);
    around(out, axis, &outer, &inner);
    for (size_t i = 0; i < n->n_input; i++) {
        float *x = NULL;
        if ((rc = read_floats(r, n, i, &x, &s, why)))
            return rc;
        int64_t part = s.dim[axis] * inner;
        for (int64_t o = 0; o < outer; o++)
            memcpy(y + o * out.dim[axis] * inner + done, x + o * part, (size_t)part * sizeof *y);
        done += part;
        free(x);
    }
    return 0;
}
