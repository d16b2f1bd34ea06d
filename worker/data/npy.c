/* NumPy's .npy (NEP 1): magic, version, length, a Python dictionary as text, the array. Read in versions 1.0
 * to 3.0, written as 1.0. Archives of them are in npz.c. */
#include "worker/data/format.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

static const unsigned char magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

static const struct {
    const char *descr;
    enum dtype dtype;
} types[] = {
    {"|b1", DTYPE_BOOL},  {"|u1", DTYPE_UINT8}, {"|i1", DTYPE_INT8},
    {"<i2", DTYPE_INT16}, {"<i4", DTYPE_INT32}, {"<i8", DTYPE_INT64},
    {"<f2", DTYPE_FP16},  {"<f4", DTYPE_FP32},  {"<f8", DTYPE_FP64},
};

enum { TYPES = sizeof types / sizeof *types };

/* ---- the dictionary ---- */

struct cursor {
    const char *at, *end, *where;
    const unsigned char *base; /* of the file, for offsets */
    struct fail *why;
};

static int cursor_fail(const struct cursor *c, const char *expected)
{
    return fail(c->why, E_FILE, "%s: byte %td: the header is broken: expected %s, got %s%.12s", c->where,
                (const unsigned char *)c->at - c->base, expected, c->at < c->end ? "" : "its end",
                c->at < c->end && isprint((unsigned char)*c->at) ? (char[2]){*c->at, 0} : "");
}

static void skip_space(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t'))
        c->at++;
}

static bool take(struct cursor *c, char what)
{
    skip_space(c);
    if (c->at == c->end || *c->at != what)
        return false;
    c->at++;
    skip_space(c);
    return true;
}

static bool take_word(struct cursor *c, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

static int take_string(struct cursor *c, char *out, size_t size)
{
    char quote = c->at < c->end ? *c->at : 0;
    if (quote != '\'' && quote != '"')
        return cursor_fail(c, "a string");
    const char *from = c->at + 1;
    const char *to = memchr(from, quote, (size_t)(c->end - from));
    if (!to || (size_t)(to - from) >= size)
        return cursor_fail(c, "a short string");
    memcpy(out, from, (size_t)(to - from));
    out[to - from] = 0;
    c->at = to + 1;
    return 0;
}

static int take_number(struct cursor *c, int64_t *out)
{
    const char *from = c->at;
    for (*out = 0; c->at < c->end && isdigit((unsigned char)*c->at); c->at++) {
        if (*out > (INT64_MAX - 9) / 10)
            return cursor_fail(c, "a dimension that fits 63 bits");
        *out = *out * 10 + (*c->at - '0');
    }
    return c->at == from ? cursor_fail(c, "a number") : 0;
}

static int take_shape(struct cursor *c, struct shape *s)
{
    *s = (struct shape){0};
    if (!take(c, '('))
        return cursor_fail(c, "a tuple");
    while (!take(c, ')')) {
        if (s->rank == SHAPE_DIMS)
            return cursor_fail(c, "at most 8 dimensions");
        int rc = take_number(c, &s->dim[s->rank++]);
        if (rc)
            return rc;
        if (!take(c, ',') && (c->at == c->end || *c->at != ')'))
            return cursor_fail(c, ", or )");
    }
    return 0;
}

static int type_of(struct cursor *c, const char *descr, enum dtype *out)
{
    for (int i = 0; i < TYPES; i++)
        if (strcmp(descr + (descr[0] == '<' || descr[0] == '|'), types[i].descr + 1) == 0) {
            *out = types[i].dtype;
            return 0;
        }
    const char *hint = descr[0] == '>'                                            ? " (big endian)"
                       : descr[0] && strchr("|O", descr[0]) && strchr(descr, 'O') ? " (objects)"
                                                                                  : "";
    return fail(c->why, E_FILE,
                "%s: type %s%s is not read; save it as one of |b1 |u1 |i1 <i2 <i4 <i8 <f2 <f4 <f8, e.g. "
                "x.astype('<f4')",
                c->where, descr, hint);
}

static int take_descr(struct cursor *c, struct npy *out)
{
    char descr[32];
    if (c->at < c->end && *c->at == '[')
        return fail(c->why, E_FILE, "%s: a structured array is not read; save its columns as one array",
                    c->where);
    int rc = take_string(c, descr, sizeof descr);
    return rc ? rc : type_of(c, descr, &out->dtype);
}

static int take_order(struct cursor *c)
{
    if (take_word(c, "False"))
        return 0;
    if (take_word(c, "True"))
        return fail(c->why, E_FILE,
                    "%s: the array is in Fortran order; save numpy.ascontiguousarray(x) instead", c->where);
    return cursor_fail(c, "False");
}

static int take_dictionary(struct cursor *c, struct npy *out)
{
    unsigned seen = 0;
    if (!take(c, '{'))
        return cursor_fail(c, "{");
    while (!take(c, '}')) {
        char key[32];
        int rc = take_string(c, key, sizeof key);
        if (rc)
            return rc;
        if (!take(c, ':'))
            return cursor_fail(c, ":");
        int which = !strcmp(key, "descr")           ? 0
                    : !strcmp(key, "fortran_order") ? 1
                    : !strcmp(key, "shape")         ? 2
                                                    : 3;
        if (which == 3 || seen & 1u << which)
            return cursor_fail(c, "descr, fortran_order and shape, once each");
        seen |= 1u << which;
        rc = which == 0 ? take_descr(c, out) : which == 1 ? take_order(c) : take_shape(c, &out->shape);
        if (rc)
            return rc;
        if (!take(c, ',') && (c->at == c->end || *c->at != '}'))
            return cursor_fail(c, ", or }");
    }
    return seen == 7 && c->at == c->end ? 0 : cursor_fail(c, "descr, fortran_order and shape, and no more");
}

/* ---- the file ---- */

/* Where the dictionary is; 0 or an error. */
static int find_dictionary(struct cursor *c, const unsigned char *b, size_t size, struct fail *why)
{
    if (size < 10 || memcmp(b, magic, sizeof magic) != 0)
        return fail(why, E_FILE, "%s: byte 0: not a .npy: expected \\x93NUMPY and a header", c->where);
    if (b[6] < 1 || b[6] > 3)
        return fail(why, E_FILE, "%s: byte 6: .npy version %d.%d, expected 1.0, 2.0 or 3.0", c->where, b[6],
                    b[7]);
    size_t start = b[6] == 1 ? 10 : 12, length = b[8] | (size_t)b[9] << 8;
    if (b[6] > 1 && size >= 12)
        length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (size < start || length > size - start)
        return fail(why, E_FILE, "%s: byte 8: a header of %zu bytes in a file of %zu", c->where, length,
                    size);
    c->at = (const char *)b + start;
    c->end = c->at + length;
    c->base = b;
    return 0;
}

int npy_parse(struct npy *out, const unsigned char *bytes, size_t size, const char *where, struct fail *why)
{
    struct cursor c = {.where = where, .why = why};
    char text[128];
    *out = (struct npy){0};
    int rc = find_dictionary(&c, bytes, size, why);
    if (rc == 0)
        rc = take_dictionary(&c, out);
    if (rc)
        return rc;
    out->data = (const unsigned char *)c.end;
    size_t rest = size - (size_t)(out->data - bytes);
    int64_t n = shape_size(out->shape);
    if (n < 0 || (uint64_t)n * dtype_size(out->dtype) != rest)
        return fail(
            why, E_FILE,
            "%s: byte %td: shape %s of %s: %s of %zu bytes each are expected, %zu bytes follow the header",
            where, out->data - bytes, shape_text(out->shape, text, sizeof text), dtype_name(out->dtype),
            n < 0 ? "more values than a file has," : "so many values", dtype_size(out->dtype), rest);
    return 0;
}

int npy_header(char out[NPY_HEADER], enum dtype t, struct shape s, const char *where, struct fail *why)
{
    const char *descr = NULL;
    for (int i = 0; i < TYPES; i++)
        if (types[i].dtype == t)
            descr = types[i].descr;
    if (!descr)
        return fail(why, E_USAGE, "%s: NumPy has no type for %s; write .avro", where, dtype_name(t));
    memcpy(out, magic, sizeof magic);
    memcpy(out + 6, "\1\0", 2);
    out[8] = NPY_HEADER - 10;
    out[9] = 0;
    char dims[8 * 21] = "";
    for (int i = 0, n = 0; i < s.rank; i++)
        n += snprintf(dims + n, sizeof dims - (size_t)n, "%" PRId64 ", ", s.dim[i]);
    int n = snprintf(out + 10, NPY_HEADER - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                     descr, dims);
    if (n < 0 || n >= NPY_HEADER - 11)
        return fail(why, E_USAGE, "%s: too many dimensions for a .npy header", where);
    memset(out + 10 + n, ' ', (size_t)(NPY_HEADER - 10 - n));
    out[NPY_HEADER - 1] = '\n';
    return 0;
}

static bool npy_named(const char *path)
{
    return name_ends(path, ".npy");
}

static bool npy_begins(const unsigned char *bytes, size_t size)
{
    return size >= sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

static int npy_read(struct rows *out, struct rows_hold *hold, struct fail *why)
{
    struct npy a;
    int rc = npy_parse(&a, hold->map.base, hold->map.size, hold->map.path, why);
    if (rc)
        return rc;
    out->dtype = a.dtype;
    out->data = a.data;
    return rows_take_shape(out, a.shape, hold->map.path, why);
}

static int npy_create(struct rows_writer *w, struct fail *why)
{
    char header[NPY_HEADER];
    if (w->like.labels || w->like.targets)
        return fail(why, E_USAGE, "%s: .npy has no place for labels or targets; write .npz or .avro",
                    w->out.path);
    int rc = npy_header(header, w->like.dtype, rows_shape(&w->like), w->out.path, why);
    return rc ? rc : file_out_write(&w->out, header, sizeof header, why);
}

static int npy_append(struct rows_writer *w, const unsigned char *data, const int32_t *labels,
                      const float *targets, int64_t count, struct fail *why)
{
    (void)labels;
    (void)targets;
    return file_out_write(&w->out, data, (size_t)count * w->like.row_size, why);
}

const struct rows_format format_npy = {
    .name = ".npy",
    .named = npy_named,
    .begins = npy_begins,
    .read = npy_read,
    .create = npy_create,
    .append = npy_append,
};
