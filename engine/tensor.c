/* Shapes and element types as values. Tensors of a running net are values of its plan (plan.h). */
#include "engine/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SHAPE_MOST ((int64_t)1 << 40)

int64_t shape_size(struct shape s)
{
    int64_t size = 1;
    bool empty = false;
    if (s.rank < 0 || s.rank > SHAPE_DIMS)
        return -1;
    for (int i = 0; i < s.rank; i++) {
        if (s.dim[i] < 0)
            return -1;
        if (s.dim[i] == 0) {
            empty = true;
            continue;
        }
        if (s.dim[i] > SHAPE_MOST / size)
            return -1;
        size *= s.dim[i];
    }
    return empty ? 0 : size;
}

bool shape_equal(struct shape a, struct shape b)
{
    if (a.rank != b.rank)
        return false;
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i])
            return false;
    return true;
}

const char *shape_text(struct shape s, char *out, size_t size)
{
    size_t used = 0;
    if (!size)
        return out;
    out[0] = 0;
    for (int i = 0; i < s.rank && i < SHAPE_DIMS; i++) {
        int n = snprintf(out + used, size - used, "%s%lld", i ? ", " : "[", (long long)s.dim[i]);
        if (n < 0 || (used += (size_t)n) >= size)
            return out;
    }
    snprintf(out + used, size - used, s.rank > 0 ? "]" : "[]");
    return out;
}

static const struct {
    const char *name;
    size_t size;
} dtypes[DTYPES] = {
    [DTYPE_UNKNOWN] = {"UNKNOWN", 0}, [DTYPE_BOOL] = {"BOOL", 1},   [DTYPE_UINT8] = {"UINT8", 1},
    [DTYPE_INT8] = {"INT8", 1},       [DTYPE_INT16] = {"INT16", 2}, [DTYPE_INT32] = {"INT32", 4},
    [DTYPE_INT64] = {"INT64", 8},     [DTYPE_FP16] = {"FP16", 2},   [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_FP32] = {"FP32", 4},       [DTYPE_FP64] = {"FP64", 8},
};

size_t dtype_size(enum dtype t)
{
    return (unsigned)t < DTYPES ? dtypes[t].size : 0;
}

const char *dtype_name(enum dtype t)
{
    return dtypes[(unsigned)t < DTYPES ? t : DTYPE_UNKNOWN].name;
}

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits. */
static float from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31u, fraction = h & 0x3ffu;
    if (exponent == 31)
        return from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24 */
        float f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

static float read_bool(const uint8_t *p)
{
    return *p ? 1.f : 0.f;
}

static float read_uint8(const uint8_t *p)
{
    return *p;
}

static float read_int8(const uint8_t *p)
{
    return (int8_t)*p;
}

static float read_half(const uint8_t *p)
{
    return from_half((uint16_t)(p[0] | p[1] << 8));
}

static float read_bfloat(const uint8_t *p)
{
    return from_bits((uint32_t)p[0] << 16 | (uint32_t)p[1] << 24);
}

#define READ(name, type)                                                       \
    static float name(const uint8_t *p)                                        \
    {                                                                          \
        type v;                                                                \
        memcpy(&v, p, sizeof v); /* x86-64 is little endian, as the data is */ \
        return (float)v;                                                       \
    }
READ(read_int16, int16_t)
READ(read_int32, int32_t)
READ(read_int64, int64_t)
READ(read_double, double)

int64_t dtype_to_float(enum dtype t, const void *from, int64_t n, float *to)
{
    static float (*const readers[DTYPES])(const uint8_t *) = {
        [DTYPE_BOOL] = read_bool,   [DTYPE_UINT8] = read_uint8, [DTYPE_INT8] = read_int8,
        [DTYPE_INT16] = read_int16, [DTYPE_INT32] = read_int32, [DTYPE_INT64] = read_int64,
        [DTYPE_FP16] = read_half,   [DTYPE_BF16] = read_bfloat, [DTYPE_FP64] = read_double,
    };
    int64_t bad = 0;
    size_t step = dtype_size(t);
    if (t == DTYPE_FP32)
        memcpy(to, from, (size_t)n * sizeof *to);
    else if (step)
        for (int64_t i = 0; i < n; i++)
            to[i] = readers[t]((const uint8_t *)from + (size_t)i * step);
    else
        memset(to, 0, (size_t)n * sizeof *to);
    for (int64_t i = 0; i < n; i++)
        bad += !isfinite(to[i]);
    return bad;
}
