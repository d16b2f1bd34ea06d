/* Nodes that are computed while a file is read: integer arithmetic on shapes, in which the number of rows stays a
 * symbol, and operators on constants. Exporters wrap a reshape into Shape, Gather, Unsqueeze and Concat; weights
 * come transposed or scaled. What becomes a layer is for others. Next to read: onnx_shapes.c, which uses the numbers;
 * onnx_fold_float.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"

/* ---- constants made while reading ---- */

static struct onnx_made *new_made(struct onnx_reader *r, size_t bytes, struct fail *why)
{
    if (bytes > r->room) {
        fail(why, E_UNSUPPORTED, "its constants, once computed, are far larger than the file");
        return NULL;
    }
    struct onnx_made *m = calloc(1, sizeof *m);
    if (!m) {
        fail(why, E_MEMORY, "no memory for a constant");
        return NULL;
    }
    r->room -= bytes;
    m->next = r->made;
    r->made = m;
    return m;
}

static void define_made(struct onnx_reader *r, const Onnx__NodeProto *n, const Onnx__TensorProto *tensor,
                        const struct onnx_ints *ints)
{
    struct onnx_value made = {.node = GRAPH_INPUT, .uses = 1, .tensor = tensor, .ints = ints};
    onnx_define_alias(r, n, &made);
}

float *onnx_define_floats(struct onnx_reader *r, const Onnx__NodeProto *n, struct shape shape,
                          struct fail *why)
{
    char text[96];
    int64_t size = shape_size(shape);
    if (size < 0) {
        fail(why, E_UNSUPPORTED, "computes a constant of shape %s", shape_text(shape, text, sizeof text));
        return NULL;
    }
    struct onnx_made *m = new_made(r, (size_t)size * sizeof(float) + sizeof *m, why);
    if (!m)
        return NULL;
    if (!(m->floats = malloc((size_t)(size ? size : 1) * sizeof *m->floats))) {
        fail(why, E_MEMORY, "no memory for a constant");
        return NULL;
    }
    onnx__tensor_proto__init(&m->tensor);
    memcpy(m->dims, shape.dim, sizeof m->dims);
    m->tensor.has_data_type = true;
    m->tensor.data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    m->tensor.n_dims = (size_t)shape.rank;
    m->tensor.dims = m->dims;
    m->tensor.n_float_data = (size_t)size;
    m->tensor.float_data = m->floats;
    define_made(r, n, &m->tensor, NULL);
    return m->floats;
}

int onnx_define_ints(struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_ints *ints,
                     struct fail *why)
{
    struct onnx_made *m = new_made(r, sizeof *m, why);
    if (!m)
        return why ? -(int)why->code : -E_MEMORY;
    m->ints = *ints;
    define_made(r, n, NULL, &m->ints);
    return 0;
}

/* The tensor itself, or with another shape over the same numbers. */
int onnx_define_tensor(struct onnx_reader *r, const Onnx__NodeProto *n, const Onnx__TensorProto *tensor,
                       const struct shape *shape, struct fail *why)
{
    if (!shape) {
        define_made(r, n, tensor, NULL);
        return 0;
    }
    struct onnx_made *m = new_made(r, sizeof *m, why);
    if (!m)
        return why ? -(int)why->code : -E_MEMORY;
    m->tensor = *tensor;
    memcpy(m->dims, shape->dim, sizeof m->dims);
    m->tensor.n_dims = (size_t)shape->rank;
    m->tensor.dims = m->dims;
    define_made(r, n, &m->tensor, NULL);
    return 0;
}

void onnx_made_free(struct onnx_reader *r)
{
    while (r->made) {
        struct onnx_made *next = r->made->next;
        free(r->made->floats);
        free(r->made);
        r->made = next;
    }
}

/* ---- integers ---- */

bool onnx_is_ints(const struct onnx_value *v)
{
    return v && (v->ints || (v->tensor && (v->tensor->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT64 ||
                                           v->tensor->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT32)));
}

int onnx_want_ints(const struct onnx_value *v, const char *what, struct onnx_ints *out, struct fail *why)
{
    int64_t numbers[ONNX_INTS];
    int rc = onnx_want_constant(v, what, why);
    if (rc)
        return rc;
    if (v->ints) {
        *out = *v->ints;
        return 0;
    }
    *out = (struct onnx_ints){.rank = v->tensor->n_dims > 0};
    if ((rc = onnx_tensor_ints(v->tensor, numbers, ONNX_INTS, &out->count, why)))
        return rc;
    for (int i = 0; i < out->count; i++)
        out->v[i].n = numbers[i];
    return 0;
}

int onnx_want_numbers(const struct onnx_value *v, const char *what, int64_t *out, int max, int *count,
                      struct fail *why)
{
    struct onnx_ints ints;
    int rc = onnx_want_ints(v, what, &ints, why);
    if (rc)
        return rc;
    if (ints.count > max)
        return fail(why, E_UNSUPPORTED, "%s has %d numbers, at most %d are supported", what, ints.count, max);
    for (int i = 0; i < ints.count; i++) {
        if (ints.v[i].rows)
            return fail(why, E_UNSUPPORTED, "%s depends on the number of rows", what);
        out[i] = ints.v[i].n;
    }
    *count = ints.count;
    return 0;
}

int onnx_want_floats(const struct onnx_value *v, const char *what, float **out, struct shape *shape,
                     struct fail *why)
{
    int rc = onnx_want_constant(v, what, why);
    if (rc || v->tensor)
        return rc ? rc : onnx_tensor_floats(v->tensor, out, shape, why);
    if (!(*out = calloc(ONNX_INTS, sizeof **out)))
        return fail(why, E_MEMORY, "no memory for %d numbers", ONNX_INTS);
    *shape = v->ints->rank ? SHAPE(v->ints->count) : (struct shape){0};
    for (int i = 0; i < v->ints->count; i++) {
        (*out)[i] = (float)v->ints->v[i].n;
        if (v->ints->v[i].rows) {
            free(*out);
            *out = NULL;
            return fail(why, E_UNSUPPORTED, "%s depends on the number of rows", what);
        }
    }
    return 0;
}

int onnx_want_float(const struct onnx_value *v, const char *what, float *out, struct fail *why)
{
    struct shape shape;
    float *data = NULL;
    int rc = onnx_want_floats(v, what, &data, &shape, why);
    if (!rc && shape_size(shape) != 1)
        rc = fail(why, E_FILE, "%s has %lld numbers, expected one", what, (long long)shape_size(shape));
    if (!rc)
        *out = data[0];
    free(data);
    return rc;
}

/* ---- operators on integers ---- */

static int overflow(struct fail *why)
{
    return fail(why, E_UNSUPPORTED, "integers of a shape beyond 64 bits");
}

/* One of + - * / on n or n times the rows: what cannot be said without the number of rows is refused. */
static int combine(char sign, struct onnx_int a, struct onnx_int b, struct onnx_int *out, struct fail *why)
{
    bool same = a.rows == b.rows, exact = b.n && a.n % b.n == 0 && b.n != -1;
    out->rows = a.rows;
    if (sign == '*' && !(a.rows && b.rows)) {
        out->rows = a.rows || b.rows;
        return __builtin_mul_overflow(a.n, b.n, &out->n) ? overflow(why) : 0;
    }
    if (sign == '+' && same)
        return __builtin_add_overflow(a.n, b.n, &out->n) ? overflow(why) : 0;
    if (sign == '-' && same) {
        if (__builtin_sub_overflow(a.n, b.n, &out->n))
            return overflow(why);
        out->rows = a.rows && out->n;
        return 0;
    }
    if (sign == '/' && b.n && b.n != -1 && (!a.rows || exact) && (a.rows || !b.rows)) {
        out->rows = a.rows && !b.rows;
        out->n = a.n / b.n;
        return 0;
    }
    return fail(why, E_UNSUPPORTED, "integer arithmetic with the number of rows that has no constant result");
}

int onnx_fold_int_arithmetic(struct onnx_reader *r, const Onnx__NodeProto *n, char sign, struct fail *why)
{
    struct onnx_ints a, b, out;
    int rc;
    if ((rc = onnx_want_ints(onnx_input(r, n, 0), "an input", &a, why)) ||
        (rc = onnx_want_ints(onnx_input(r, n, 1), "an input", &b, why)))
        return rc;
    if (a.count != b.count && a.count != 1 && b.count != 1)
        return fail(why, E_FILE, "%d and %d integers do not broadcast", a.count, b.count);
    out.rank = a.rank > b.rank ? a.rank : b.rank;
    out.count = a.count == 1 ? b.count : a.count;
    for (int i = 0; i < out.count; i++)
        if ((rc = combine(sign, a.v[a.count == 1 ? 0 : i], b.v[b.count == 1 ? 0 : i], &out.v[i], why)))
            return rc;
    return onnx_define_ints(r, n, &out, why);
}

/* Shape of an activation or of a constant; opset 15 may want a part of it. */
int onnx_import_shape(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    const struct onnx_value *x = onnx_input(r, n, 0);
    struct onnx_ints all = {.rank = 1}, out = {.rank = 1};
    struct shape s = {0};
    int64_t start = 0, end = INT32_MAX;
    int rc;
    if (!x)
        return fail(why, E_FILE, "has no input");
    if ((rc = onnx_attribute_int(n, "start", &start, why)) || (rc = onnx_attribute_int(n, "end", &end, why)))
        return rc;
    if (x->ints)
        s = x->ints->rank ? SHAPE(x->ints->count) : s;
    else if (x->tensor && (rc = onnx_tensor_shape(x->tensor, &s, why)))
        return rc;
    else if (!x->tensor) {
        s = onnx_row(r, x);
        if (r->lead)
            all.v[all.count++] = (struct onnx_int){.n = 1, .rows = true};
    }
    for (int i = 0; i < s.rank; i++)
        all.v[all.count++].n = s.dim[i];
    start = start < 0 ? start + all.count : start;
    end = end < 0 ? end + all.count : end;
    for (int64_t i = start < 0 ? 0 : start; i < end && i < all.count; i++)
        out.v[out.count++] = all.v[i];
    return onnx_define_ints(r, n, &out, why);
}

static int gather_ints(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_ints x, out;
    int64_t at[ONNX_INTS];
    const struct onnx_value *indices = onnx_input(r, n, 1);
    int count, rc;
    if ((rc = onnx_want_ints(onnx_input(r, n, 0), "its input", &x, why)) ||
        (rc = onnx_want_numbers(indices, "the list of indices", at, ONNX_INTS, &count, why)))
        return rc;
    out.rank = indices->ints ? indices->ints->rank : indices->tensor->n_dims > 0;
    out.count = count;
    for (int i = 0; i < count; i++) {
        int64_t k = at[i] < 0 ? at[i] + x.count : at[i];
        if (k < 0 || k >= x.count)
            return fail(why, E_FILE, "index %lld of %d numbers", (long long)at[i], x.count);
        out.v[i] = x.v[k];
    }
    return onnx_define_ints(r, n, &out, why);
}

int onnx_fold_gather(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return onnx_is_ints(onnx_input(r, n, 0)) ? gather_ints(r, n, why) : onnx_fold_gather_floats(r, n, why);
}

int onnx_fold_concat(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_ints out = {.rank = 1}, part;
    int rc;
    if (!onnx_is_ints(onnx_input(r, n, 0)))
        return onnx_fold_concat_floats(r, n, why);
    for (size_t i = 0; i < n->n_input; i++) {
        if ((rc = onnx_want_ints(onnx_input(r, n, i), "an input", &part, why)))
            return rc;
        if (out.count + part.count > ONNX_INTS)
            return fail(why, E_UNSUPPORTED, "more than %d integers", ONNX_INTS);
        memcpy(out.v + out.count, part.v, (size_t)part.count * sizeof part.v[0]);
        out.count += part.count;
    }
    return onnx_define_ints(r, n, &out, why);
}

int onnx_fold_slice(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_ints x, out = {.rank = 1};
    struct onnx_slice s;
    int rc;
    if (!onnx_is_ints(onnx_input(r, n, 0)))
        return fail(why, E_UNSUPPORTED, "slices a constant, which is supported for integers only");
    if ((rc = onnx_want_ints(onnx_input(r, n, 0), "its input", &x, why)) ||
        (rc = onnx_read_slice(r, n, 1, &s, why)))
        return rc;
    if (s.count != 1 || (s.axis[0] != 0 && s.axis[0] != -1))
        return fail(why, E_UNSUPPORTED, "slices a list of integers over another axis than 0");
    int64_t begin = onnx_slice_bound(s.start[0], x.count, s.step[0]),
            end = onnx_slice_bound(s.end[0], x.count, s.step[0]);
    for (int64_t i = begin; s.step[0] > 0 ? i < end : i > end; i += s.step[0])
        out.v[out.count++] = x.v[i];
    return onnx_define_ints(r, n, &out, why);
}

/* Reshape, Squeeze, Unsqueeze, Flatten of integers, which are a number or a list here. */
static int fold_int_view(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_ints x;
    int64_t dims[SHAPE_DIMS];
    int count = 1, rc = onnx_want_ints(onnx_input(r, n, 0), "its input", &x, why);
    if (rc)
        return rc;
    if (!strcmp(n->op_type, "Reshape") &&
        (rc = onnx_want_numbers(onnx_input(r, n, 1), "the shape", dims, SHAPE_DIMS, &count, why)))
        return rc;
    bool squeeze = !strcmp(n->op_type, "Squeeze");
    if (count > 1 || (squeeze && x.count != 1))
        return fail(why, E_UNSUPPORTED, "integers with more than one dimension");
    x.rank = squeeze ? 0 : count;
    return onnx_define_ints(r, n, &x, why);
}

int onnx_fold_view(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    const struct onnx_value *x = onnx_input(r, n, 0);
    struct shape from, to;
    int rc;
    if (onnx_is_ints(x))
        return fold_int_view(r, n, why);
    if ((rc = onnx_want_constant(x, "its input", why)) || (rc = onnx_tensor_shape(x->tensor, &from, why)) ||
        (rc = onnx_view_shape(r, n, from, 0, &to, why)))
        return rc;
    return onnx_define_tensor(r, n, x->tensor, &to, why);
}

/* To the type that it has, integers to integers, or integers to floats. */
int onnx_fold_cast(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    const struct onnx_value *x = onnx_input(r, n, 0);
    struct onnx_ints ints;
    struct shape shape;
    float *from = NULL;
    int64_t to = 0;
    int rc = onnx_attribute_int(n, "to", &to, why);
    if (rc || (rc = onnx_want_constant(x, "its input", why)))
        return rc;
    bool to_ints = to == ONNX__TENSOR_PROTO__DATA_TYPE__INT64 || to == ONNX__TENSOR_PROTO__DATA_TYPE__INT32;
    bool to_floats = to > 0 && to < INT32_MAX && onnx_type_is_float((int32_t)to);
    if (x->tensor && (x->tensor->data_type == to || (to_floats && onnx_type_is_float(x->tensor->data_type))))
        return onnx_define_tensor(r, n, x->tensor, NULL, why);
    if (!onnx_is_ints(x) || (!to_ints && !to_floats))
        return fail(why, E_UNSUPPORTED,
                    "casts a constant to type %lld; supported are integers to FLOAT or INT64", (long long)to);
    if (to_ints)
        return (rc = onnx_want_ints(x, "its input", &ints, why)) ? rc : onnx_define_ints(r, n, &ints, why);
    if ((rc = onnx_want_floats(x, "its input", &from, &shape, why)))
        return rc;
    float *floats = onnx_define_floats(r, n, shape, why);
    if (floats)
        memcpy(floats, from, (size_t)shape_size(shape) * sizeof *floats);
    free(from);
    return floats ? 0 : why ? -(int)why->code : -E_MEMORY;
}
