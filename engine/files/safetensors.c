/* Reads and writes safetensors: an 8-byte length, a JSON header, the tensors' bytes behind it.
 * Every number of the header is checked here, once; mapping or reading the file is the caller's.
 * Next to read: onnx_read.c, the other file that weights come from. */
#include "engine/files/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, HEADER_MAX = 16 << 20, HEADER_ALIGN = 8 };

static const char METADATA[] = "__metadata__";

/* In the order of enum dtype. The format has more (U16, U32, U64, F8): nothing here computes with them. */
static const char *const DTYPE_CODE[DTYPES] = {
    [DTYPE_BOOL] = "BOOL", [DTYPE_UINT8] = "U8",  [DTYPE_INT8] = "I8",  [DTYPE_INT16] = "I16",
    [DTYPE_INT32] = "I32", [DTYPE_INT64] = "I64", [DTYPE_FP16] = "F16", [DTYPE_BF16] = "BF16",
    [DTYPE_FP32] = "F32",  [DTYPE_FP64] = "F64",
};

struct entry {
    const char *name; /* owned by the header */
    enum dtype dtype;
    struct shape shape;
    uint64_t begin, end; /* within the data */
};

struct safetensors {
    json_t *header;
    const unsigned char *data; /* borrowed */
    uint64_t data_size;
    struct entry *entries;
    int count;
};

static enum dtype dtype_of_code(const char *code)
{
    for (int t = 0; t < DTYPES; t++)
        if (DTYPE_CODE[t] && !strcmp(DTYPE_CODE[t], code))
            return (enum dtype)t;
    return DTYPE_UNKNOWN;
}

static int read_dtype(struct entry *e, const char *file, const json_t *spec, struct fail *why)
{
    const char *code = json_string_value(json_object_get(spec, "dtype"));
    if (!code)
        return fail(why, E_FILE, "%s: tensor %.80s: no string \"dtype\"", file, e->name);
    e->dtype = dtype_of_code(code);
    if (e->dtype == DTYPE_UNKNOWN)
        return fail(why, E_UNSUPPORTED,
                    "%s: tensor %.80s: dtype %.20s is not supported (BOOL, U8, I8, I16, I32, I64, F16, BF16, "
                    "F32 and F64 are); convert it before saving",
                    file, e->name, code);
    return 0;
}

static int read_shape(struct entry *e, const char *file, const json_t *spec, struct fail *why)
{
    const json_t *dims = json_object_get(spec, "shape");
    if (!json_is_array(dims))
        return fail(why, E_FILE, "%s: tensor %.80s: no list \"shape\"", file, e->name);
    size_t rank = json_array_size(dims);
    if (rank > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "%s: tensor %.80s: %zu dimensions, at most %d are supported", file,
                    e->name, rank, SHAPE_DIMS);
    e->shape.rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *d = json_array_get(dims, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return fail(why, E_FILE, "%s: tensor %.80s: dimension %zu of its shape is not a number >= 0",
                        file, e->name, i);
        e->shape.dim[i] = json_integer_value(d);
    }
    if (shape_size(e->shape) < 0)
        return fail(why, E_FILE, "%s: tensor %.80s: its shape has too many elements", file, e->name);
    return 0;
}

static int read_offsets(struct entry *e, const char *file, const json_t *spec, uint64_t data_size,
                        struct fail *why)
{
    const json_t *pair = json_object_get(spec, "data_offsets");
    const json_t *begin = json_array_get(pair, 0), *end = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return fail(why, E_FILE, "%s: tensor %.80s: \"data_offsets\" is not a list of two numbers", file,
                    e->name);
    json_int_t b = json_integer_value(begin), n = json_integer_value(end);
    if (b < 0 || n < b || (uint64_t)n > data_size)
        return fail(why, E_FILE, "%s: tensor %.80s: bytes %lld to %lld are outside the file's %llu of data",
                    file, e->name, (long long)b, (long long)n, (unsigned long long)data_size);
    e->begin = (uint64_t)b;
    e->end = (uint64_t)n;
    /* shape_size is at most 2^40, an element at most 8 bytes: no overflow. */
    uint64_t want = (uint64_t)shape_size(e->shape) * dtype_size(e->dtype);
    char text[96];
    if (e->end - e->begin != want)
        return fail(why, E_FILE, "%s: tensor %.80s: %s %s takes %llu bytes, its data_offsets hold %llu", file,
                    e->name, DTYPE_CODE[e->dtype], shape_text(e->shape, text, sizeof text),
                    (unsigned long long)want, (unsigned long long)(e->end - e->begin));
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const struct entry *x = *(const struct entry *const *)a, *y = *(const struct entry *const *)b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors must cover the data without holes and overlaps: nothing can hide in the file. */
static int check_cover(const struct safetensors *st, const char *file, struct fail *why)
{
    const struct entry **order = calloc((size_t)st->count + 1, sizeof(struct entry *));
    if (!order)
        return fail(why, E_MEMORY, "%s: no memory for %d tensors", file, st->count);
    for (int i = 0; i < st->count; i++)
        order[i] = &st->entries[i];
    qsort(order, (size_t)st->count, sizeof order[0], by_begin);
    uint64_t at = 0;
    int rc = 0;
    for (int i = 0; i < st->count && !rc; i++) {
        if (order[i]->begin != at)
            rc = fail(why, E_FILE, "%s: tensor %.80s begins at byte %llu of the data, expected %llu: %s",
                      file, order[i]->name, (unsigned long long)order[i]->begin, (unsigned long long)at,
                      order[i]->begin < at ? "it overlaps another" : "a hole before it");
        at = order[i]->end;
    }
    if (!rc && at != st->data_size)
        rc = fail(why, E_FILE, "%s: the tensors end at byte %llu of the data, the file has %llu", file,
                  (unsigned long long)at, (unsigned long long)st->data_size);
    free(order);
    return rc;
}

static int check_metadata(const json_t *metadata, const char *file, struct fail *why)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return fail(why, E_FILE, "%s: %s is not an object", file, METADATA);
    json_object_foreach((json_t *)metadata, key, value) if (!json_is_string(value)) return fail(
        why, E_FILE, "%s: %s: the value of %.80s is not a string", file, METADATA, key);
    return 0;
}

static int read_entries(struct safetensors *st, const char *file, struct fail *why)
{
    const char *key;
    json_t *spec;
    st->entries = calloc(json_object_size(st->header) + 1, sizeof *st->entries);
    if (!st->entries)
        return fail(why, E_MEMORY, "%s: no memory for its header", file);
    json_object_foreach(st->header, key, spec)
    {
        int rc;
        struct entry *e = &st->entries[st->count];
        if (!strcmp(key, METADATA)) {
            if ((rc = check_metadata(spec, file, why)))
                return rc;
            continue;
        }
        e->name = key;
        if (!json_is_object(spec))
            return fail(why, E_FILE, "%s: tensor %.80s: not an object", file, key);
        if ((rc = read_dtype(e, file, spec, why)) || (rc = read_shape(e, file, spec, why)) ||
            (rc = read_offsets(e, file, spec, st->data_size, why)))
            return rc;
        st->count++;
    }
    return check_cover(st, file, why);
}

static uint64_t read_u64(const unsigned char *p)
{
    uint64_t v = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

int safetensors_parse(struct safetensors **out, const char *name, const void *bytes, size_t size,
                      struct fail *why)
{
    const unsigned char *p = bytes;
    json_error_t error;
    int rc;
    *out = NULL;
    if (size < LENGTH_BYTES)
        return fail(why, E_FILE, "%s: %zu bytes are too few for a safetensors file", name, size);
    uint64_t length = read_u64(p);
    if (length > HEADER_MAX || length > size - LENGTH_BYTES || length < 2)
        return fail(why, E_FILE,
                    "%s: header length %llu is impossible in a file of %zu bytes (at most %d): truncated, or "
                    "not a safetensors file",
                    name, (unsigned long long)length, size, HEADER_MAX);
    struct safetensors *st = calloc(1, sizeof *st);
    if (!st)
        return fail(why, E_MEMORY, "%s: no memory", name);
    st->data = p + LENGTH_BYTES + length;
    st->data_size = size - LENGTH_BYTES - length;
    st->header = json_loadb((const char *)p + LENGTH_BYTES, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!st->header)
        rc = fail(why, E_FILE, "%s: header, byte %d: %s", name, LENGTH_BYTES + error.position, error.text);
    else if (!json_is_object(st->header))
        rc = fail(why, E_FILE, "%s: the header is not a JSON object", name);
    else
        rc = read_entries(st, name, why);
    if (rc)
        safetensors_free(&st);
    *out = st;
    return rc;
}

void safetensors_free(struct safetensors **st)
{
    if (!*st)
        return;
    json_decref((*st)->header);
    free((*st)->entries);
    free(*st);
    *st = NULL;
}

int safetensors_count(const struct safetensors *st)
{
    return st->count;
}

int safetensors_index(const struct safetensors *st, const char *name)
{
    for (int i = 0; i < st->count; i++)
        if (!strcmp(st->entries[i].name, name))
            return i;
    return -1;
}

const char *safetensors_name(const struct safetensors *st, int i)
{
    return st->entries[i].name;
}

struct shape safetensors_shape(const struct safetensors *st, int i)
{
    return st->entries[i].shape;
}

enum dtype safetensors_dtype(const struct safetensors *st, int i)
{
    return st->entries[i].dtype;
}

const void *safetensors_data(const struct safetensors *st, int i)
{
    return st->data + st->entries[i].begin;
}

const char *safetensors_metadata(const struct safetensors *st, const char *key)
{
    return json_string_value(json_object_get(json_object_get(st->header, METADATA), key));
}

/* ---- writing ---- */

static json_t *entry_json(const struct safetensors_entry *e, uint64_t begin, uint64_t end)
{
    json_t *dims = json_array();
    for (int i = 0; i < e->shape.rank; i++)
        json_array_append_new(dims, json_integer(e->shape.dim[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", DTYPE_CODE[e->dtype], "shape", dims, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

static int header_add(json_t *header, const struct safetensors_entry *e, uint64_t *at, struct fail *why)
{
    if (!strcmp(e->name, METADATA) || json_object_get(header, e->name))
        return fail(why, E_FAILED, "safetensors: tensor name %.80s is taken", e->name);
    int64_t n = shape_size(e->shape);
    if (n < 0 || (unsigned)e->dtype >= DTYPES || !DTYPE_CODE[e->dtype])
        return fail(why, E_FAILED, "safetensors: tensor %.80s has no writable shape and dtype", e->name);
    uint64_t end = *at + (uint64_t)n * dtype_size(e->dtype);
    if (end > INT64_MAX || json_object_set_new(header, e->name, entry_json(e, *at, end)))
        return fail(why, E_FAILED,
                    "safetensors: tensor %.80s cannot be written: too large, or its name is not UTF-8",
                    e->name);
    *at = end;
    return 0;
}

static int header_metadata(json_t *header, const char *const *metadata, int pairs, struct fail *why)
{
    json_t *object = json_object();
    for (int i = 0; i < pairs; i++)
        if (json_object_set_new(object, metadata[2 * i], json_string(metadata[2 * i + 1]))) {
            json_decref(object);
            return fail(why, E_FAILED, "safetensors: metadata %.80s is not UTF-8", metadata[2 * i]);
        }
    if (pairs && json_object_set(header, METADATA, object)) {
        json_decref(object);
        return fail(why, E_MEMORY, "safetensors: no memory for the header");
    }
    json_decref(object);
    return 0;
}

/* Length, header and its padding (spaces, so that the data is aligned), then the data. */
static unsigned char *assemble(const char *header, const struct safetensors_entry *entries, int count,
                               uint64_t data_size, size_t *size)
{
    size_t text = strlen(header);
    size_t length = (text + HEADER_ALIGN - 1) / HEADER_ALIGN * HEADER_ALIGN;
    if (data_size > SIZE_MAX - LENGTH_BYTES - length)
        return NULL;
    *size = LENGTH_BYTES + length + (size_t)data_size;
    unsigned char *bytes = malloc(*size), *p = bytes;
    if (!bytes)
        return NULL;
    for (int i = 0; i < LENGTH_BYTES; i++)
        *p++ = (unsigned char)(length >> 8 * i);
    memcpy(p, header, text);
    memset(p + text, ' ', length - text);
    p += length;
    for (int i = 0; i < count; i++) {
        size_t n = (size_t)shape_size(entries[i].shape) * dtype_size(entries[i].dtype);
        if (n)
            memcpy(p, entries[i].data, n);
        p += n;
    }
    return bytes;
}

int safetensors_print(const struct safetensors_entry *entries, int count, const char *const *metadata,
                      int pairs, void **bytes, size_t *size, struct fail *why)
{
    uint64_t at = 0;
    char *text = NULL;
    json_t *header = json_object();
    int rc = header_metadata(header, metadata, pairs, why);
    *bytes = NULL;
    for (int i = 0; i < count && !rc; i++)
        rc = header_add(header, &entries[i], &at, why);
    if (rc)
        goto out;
    text = json_dumps(header, JSON_COMPACT);
    if (text && strlen(text) > HEADER_MAX) {
        rc = fail(why, E_FAILED, "safetensors: the header would be larger than %d bytes", HEADER_MAX);
        goto out;
    }
    if (text)
        *bytes = assemble(text, entries, count, at, size);
    if (!*bytes)
        rc = fail(why, E_MEMORY, "safetensors: no memory for %llu bytes", (unsigned long long)at);
out:
    free(text);
    json_decref(header);
    return rc;
}
