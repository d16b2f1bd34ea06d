/* Tensors and attributes of an ONNX node, checked before anything is used of them.
 * What an attribute means is its operator's affair. Next to read: onnx_operators.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"

const char *onnx_text(const char *text)
{
    return text ? text : "";
}

/* ---- tensors ---- */

static const char *type_name(int32_t type)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(&onnx__tensor_proto__data_type__descriptor, type);
    return v ? v->name : "unknown";
}

/* The types that are read, in ONNX's numbering: floats as numbers, integers as shapes and indices. */
static const struct type {
    int32_t type;
    enum dtype dtype;
    bool floats;
} types[] = {
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, DTYPE_FP32, true},
    {ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE, DTYPE_FP64, true},
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16, DTYPE_FP16, true},
    {ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16, DTYPE_BF16, true},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT64, DTYPE_INT64, false},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT32, DTYPE_INT32, false},
};

static const struct type *type_of(int32_t type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].type == type)
            return &types[i];
    return NULL;
}

bool onnx_type_is_float(int32_t type)
{
    const struct type *t = type_of(type);
    return t && t->floats;
}

/* Elements that the tensor's data holds. -1: not whole elements. */
static int64_t data_count(const Onnx__TensorProto *t)
{
    const struct type *type = type_of(t->data_type);
    size_t size = type ? dtype_size(type->dtype) : sizeof(float);
    if (t->has_raw_data)
        return t->raw_data.len % size ? -1 : (int64_t)(t->raw_data.len / size);
    if (!type || type->dtype == DTYPE_FP32)
        return (int64_t)t->n_float_data;
    if (type->dtype == DTYPE_FP64)
        return (int64_t)t->n_double_data;
    return (int64_t)(type->dtype == DTYPE_INT64 ? t->n_int64_data : t->n_int32_data);
}

int onnx_tensor_shape(const Onnx__TensorProto *t, struct shape *shape, struct fail *why)
{
    const char *name = onnx_text(t->name);
    char text[96];
    if (t->n_external_data || t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return fail(
            why, E_UNSUPPORTED,
            "tensor %.80s keeps its data in another file, which is refused: save the model as one file",
            name);
    if (t->segment)
        return fail(why, E_UNSUPPORTED, "tensor %.80s is stored in segments", name);
    if (t->n_dims > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "tensor %.80s has %zu dimensions, at most %d are supported", name,
                    t->n_dims, SHAPE_DIMS);
    *shape = (struct shape){.rank = (int)t->n_dims};
    for (size_t i = 0; i < t->n_dims; i++)
        shape->dim[i] = t->dims[i];
    int64_t size = shape_size(*shape), have = data_count(t);
    for (size_t i = 0; i < t->n_dims; i++) /* where one is 0 the others say nothing of the size */
        size = t->dims[i] > INT32_MAX ? -1 : size;
    if (size < 0)
        return fail(why, E_FILE, "tensor %.80s has the impossible shape %s", name,
                    shape_text(*shape, text, sizeof text));
    if (size != have)
        return fail(why, E_FILE, "tensor %.80s of shape %s wants %lld elements, its data holds %lld", name,
                    shape_text(*shape, text, sizeof text), (long long)size, (long long)have);
    return 0;
}

static int check_type(const Onnx__TensorProto *t, int32_t type, struct fail *why)
{
    if (t->data_type == type)
        return 0;
    return fail(why, E_UNSUPPORTED, "tensor %.80s has elements of type %s, expected %s", onnx_text(t->name),
                type_name(t->data_type), type_name(type));
}

/* Numbers that are not raw bytes; halves lie in integers. */
static void typed_floats(const Onnx__TensorProto *t, enum dtype dtype, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = dtype == DTYPE_FP32 || dtype == DTYPE_FP64 ? 0 : (uint16_t)t->int32_data[i];
        if (dtype == DTYPE_FP32)
            out[i] = t->float_data[i];
        else if (dtype == DTYPE_FP64)
            out[i] = (float)t->double_data[i];
        else
            dtype_to_float(dtype, &half, 1, out + i);
    }
}

int onnx_tensor_floats(const Onnx__TensorProto *t, float **out, struct shape *shape, struct fail *why)
{
    const struct type *type = type_of(t->data_type);
    if (!type || !type->floats)
        return fail(why, E_UNSUPPORTED, "tensor %.80s has elements of type %s, expected FLOAT",
                    onnx_text(t->name), type_name(t->data_type));
    int rc = onnx_tensor_shape(t, shape, why);
    if (rc)
        return rc;
    int64_t n = shape_size(*shape);
    if (!(*out = malloc((size_t)(n ? n : 1) * sizeof **out)))
        return fail(why, E_MEMORY, "no memory for tensor %.80s", onnx_text(t->name));
    if (t->has_raw_data)
        dtype_to_float(type->dtype, t->raw_data.data, n, *out);
    else
        typed_floats(t, type->dtype, n, *out);
    return 0;
}

/* Little endian, `size` bytes, with their sign. */
static int64_t read_int(const uint8_t *p, int size)
{
    uint64_t v = p[size - 1] & 0x80 ? UINT64_MAX : 0;
    for (int i = size - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return (int64_t)v;
}

int onnx_tensor_ints(const Onnx__TensorProto *t, int64_t *out, int max, int *count, struct fail *why)
{
    struct shape shape;
    bool narrow = t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT32;
    int size = narrow ? 4 : 8, rc = narrow ? 0 : check_type(t, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, why);
    if (rc || (rc = onnx_tensor_shape(t, &shape, why)))
        return rc;
    int64_t n = shape_size(shape);
    if (n > max)
        return fail(why, E_UNSUPPORTED, "tensor %.80s has %lld elements, at most %d are supported",
                    onnx_text(t->name), (long long)n, max);
    for (int64_t i = 0; i < n; i++)
        out[i] = t->has_raw_data ? read_int(t->raw_data.data + size * i, size)
                 : narrow        ? t->int32_data[i]
                                 : t->int64_data[i];
    *count = (int)n;
    return 0;
}

/* ---- attributes ---- */

const Onnx__AttributeProto *onnx_attribute(const Onnx__NodeProto *node, const char *name)
{
    for (size_t i = 0; i < node->n_attribute; i++)
        if (!strcmp(onnx_text(node->attribute[i]->name), name))
            return node->attribute[i];
    return NULL;
}

/* `present`: the attribute holds a value of the wanted kind, whatever it says its type is. */
static int check_kind(const Onnx__AttributeProto *a, int type, bool present, const char *kind,
                      struct fail *why)
{
    if (present && (!a->has_type || (int)a->type == type))
        return 0;
    return fail(why, E_FILE, "attribute %.60s is not %s", onnx_text(a->name), kind);
}

int onnx_attribute_int(const Onnx__NodeProto *node, const char *name, int64_t *out, struct fail *why)
{
    const Onnx__AttributeProto *a = onnx_attribute(node, name);
    int rc = a ? check_kind(a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, a->has_i || a->has_type,
                            "an integer", why)
               : 0;
    if (a && !rc)
        *out = a->i;
    return rc;
}

int onnx_attribute_float(const Onnx__NodeProto *node, const char *name, float *out, struct fail *why)
{
    const Onnx__AttributeProto *a = onnx_attribute(node, name);
    int rc = a ? check_kind(a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, a->has_f || a->has_type,
                            "a number", why)
               : 0;
    if (a && !rc && !isfinite(a->f))
        rc = fail(why, E_FILE, "attribute %.60s is not finite", name);
    if (a && !rc)
        *out = a->f;
    return rc;
}

int onnx_attribute_ints(const Onnx__NodeProto *node, const char *name, int count, int64_t min, int64_t max,
                        int64_t *out, struct fail *why)
{
    const Onnx__AttributeProto *a = onnx_attribute(node, name);
    if (!a)
        return 0;
    int rc = check_kind(a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, true, "a list of integers", why);
    if (rc)
        return rc;
    if (a->n_ints != (size_t)count)
        return fail(why, E_UNSUPPORTED, "attribute %.60s has %zu numbers, expected %d", name, a->n_ints,
                    count);
    for (int i = 0; i < count; i++) {
        if (a->ints[i] < min || a->ints[i] > max)
            return fail(why, E_UNSUPPORTED, "attribute %.60s holds %lld, supported are %lld to %lld", name,
                        (long long)a->ints[i], (long long)min, (long long)max);
        out[i] = a->ints[i];
    }
    return 0;
}

int onnx_attribute_text(const Onnx__NodeProto *node, const char *name, char *out, size_t size,
                        struct fail *why)
{
    const Onnx__AttributeProto *a = onnx_attribute(node, name);
    int rc = a ? check_kind(a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING, a->has_s || a->has_type,
                            "a text", why)
               : 0;
    if (a && !rc) {
        size_t n = a->s.len < size - 1 ? a->s.len : size - 1;
        if (n)
            memcpy(out, a->s.data, n);
        out[n] = 0;
    }
    return rc;
}

double onnx_decimal(float f)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)f);
        if (strtof(text, NULL) == f)
            break;
    }
    return strtod(text, NULL);
}
