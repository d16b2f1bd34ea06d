/* NumPy's .npz: a zip archive of .npy. Rows are in x (or data, images), labels in y (or labels): integers [n]
 * or [n, 1]; y of other types or shapes, or targets, are targets [n, ...]. Next to read: zip.h, npy.c. */
#include "worker/data/format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/data/zip.h"

/* An array of the archive, by the first of its names that is there. */
struct member {
    const char *names[4];
    bool found;
    char where[256];
    struct npy array;
    void *owned;
};

static bool npz_named(const char *path)
{
    return name_ends(path, ".npz");
}

static bool npz_begins(const unsigned char *bytes, size_t size)
{
    return size >= 4 && (memcmp(bytes, "PK\3\4", 4) == 0 || memcmp(bytes, "PK\5\6", 4) == 0);
}

static bool entry_is(const struct zip_entry *e, const char *name)
{
    size_t n = strlen(name);
    return e->name_size == n + 4 && memcmp(e->name, name, n) == 0 && memcmp(e->name + n, ".npy", 4) == 0;
}

/* The archive's names, for the message that misses one. */
static void list_names(const struct zip *z, char *out, size_t size)
{
    struct zip_entry e;
    size_t used = 0;
    *out = 0;
    for (size_t cursor = 0; used < size && zip_next(z, &cursor, &e, NULL) > 0;) {
        int n = snprintf(out + used, size - used, "%s%.*s", used ? ", " : "",
                         (int)(e.name_size < 40 ? e.name_size : 40), e.name);
        used += n > 0 ? (size_t)n : size;
    }
}

static int find_entry(const struct zip *z, const char *name, struct zip_entry *e, struct fail *why)
{
    size_t cursor = 0;
    int rc;
    while ((rc = zip_next(z, &cursor, e, why)) > 0)
        if (entry_is(e, name))
            break;
    return rc;
}

static int read_member(const struct zip *z, struct member *m, struct fail *why)
{
    struct zip_entry e;
    const unsigned char *data;
    int rc = 0, i;
    for (i = 0; rc == 0 && m->names[i]; i++)
        rc = find_entry(z, m->names[i], &e, why);
    if (rc <= 0)
        return rc;
    m->found = true;
    snprintf(m->where, sizeof m->where, "%.200s: %s.npy", z->where, m->names[i - 1]);
    rc = zip_extract(z, &e, &data, &m->owned, why);
    return rc ? rc : npy_parse(&m->array, data, e.size, m->where, why);
}

static bool integral(enum dtype t)
{
    return t == DTYPE_BOOL || t == DTYPE_UINT8 || t == DTYPE_INT8 || t == DTYPE_INT16 || t == DTYPE_INT32 ||
           t == DTYPE_INT64;
}

static int64_t integer_at(const struct npy *a, int64_t i)
{
    const unsigned char *p = a->data + i * (int64_t)dtype_size(a->dtype);
    uint64_t v = 0;
    for (size_t k = dtype_size(a->dtype); k-- > 0;)
        v = v << 8 | p[k];
    int unused = 64 - 8 * (int)dtype_size(a->dtype);
    return a->dtype == DTYPE_UINT8 || a->dtype == DTYPE_BOOL ? (int64_t)v : (int64_t)(v << unused) >> unused;
}

static int take_labels(struct rows *out, struct rows_hold *hold, const struct member *m, struct fail *why)
{
    int32_t *labels = hold->labels = malloc((size_t)out->count * sizeof *labels + 1);
    if (!labels)
        return fail(why, E_MEMORY, "%s: out of memory", m->where);
    for (int64_t i = 0; i < out->count; i++) {
        int64_t v = integer_at(&m->array, i);
        if (v < INT32_MIN || v > INT32_MAX)
            return fail(why, E_FILE, "%s: row %" PRId64 " has label %" PRId64 ", which is no class index",
                        m->where, i, v);
        labels[i] = (int32_t)v;
    }
    out->labels = labels;
    return 0;
}

static int take_targets(struct rows *out, struct rows_hold *hold, const struct member *m, struct fail *why)
{
    int64_t size = shape_size(m->array.shape);
    if (hold->targets)
        return fail(why, E_FILE, "%s: targets are here twice, in y and in targets", m->where);
    hold->targets = malloc((size_t)size * sizeof(float) + 1);
    if (!hold->targets)
        return fail(why, E_MEMORY, "%s: out of memory", m->where);
    dtype_to_float(m->array.dtype, m->array.data, size, hold->targets);
    out->targets = hold->targets;
    out->target_size = out->count ? size / out->count : 1;
    return 0;
}

/* y or targets: as many as rows, labels where they are integers of one a row. */
static int take_answers(struct rows *out, struct rows_hold *hold, const struct member *m, bool labels,
                        struct fail *why)
{
    const struct shape *s = &m->array.shape;
    char text[128];
    if (!m->found)
        return 0;
    if (s->rank < 1 || s->dim[0] != out->count || (out->count && shape_size(*s) < out->count))
        return fail(why, E_FILE,
                    "%s: shape %s, expected the first dimension to be %" PRId64 " as of the rows", m->where,
                    shape_text(*s, text, sizeof text), out->count);
    if (labels && integral(m->array.dtype) && shape_size(*s) == out->count)
        return take_labels(out, hold, m, why);
    return take_targets(out, hold, m, why);
}

static int take_rows(struct rows *out, struct rows_hold *hold, const struct zip *z, struct member *m,
                     struct fail *why)
{
    char names[200];
    if (!m->found) {
        list_names(z, names, sizeof names);
        return fail(why, E_FILE, "%s: no array x, data or images in it; it holds %s", z->where,
                    *names ? names : "nothing");
    }
    out->dtype = m->array.dtype;
    out->data = m->array.data;
    hold->data = m->owned;
    m->owned = NULL;
    return rows_take_shape(out, m->array.shape, m->where, why);
}

static int npz_read(struct rows *out, struct rows_hold *hold, struct fail *why)
{
    struct zip z;
    struct member x = {.names = {"x", "data", "images"}}, y = {.names = {"y", "labels"}},
                  t = {.names = {"targets"}};
    int rc = zip_open(&z, hold->map.base, hold->map.size, hold->map.path, why);
    if (rc == 0)
        rc = read_member(&z, &x, why);
    if (rc == 0)
        rc = read_member(&z, &y, why);
    if (rc == 0)
        rc = read_member(&z, &t, why);
    if (rc == 0)
        rc = take_rows(out, hold, &z, &x, why);
    if (rc == 0)
        rc = take_answers(out, hold, &y, true, why);
    if (rc == 0)
        rc = take_answers(out, hold, &t, false, why);
    free(x.owned);
    free(y.owned);
    free(t.owned);
    return rc;
}

/* ---- writing: x row by row, labels and targets kept until x is whole ---- */

struct npz_state {
    struct zip_writer zip;
    int64_t *labels;
    float *targets;
};

static int begin_array(struct rows_writer *w, const char *name, enum dtype t, struct shape s,
                       struct fail *why)
{
    struct npz_state *st = w->state;
    char header[NPY_HEADER];
    int rc = npy_header(header, t, s, w->out.path, why);
    if (rc == 0)
        rc = zip_begin(&st->zip, name, why);
    return rc ? rc : zip_put(&st->zip, header, sizeof header, why);
}

static int npz_create(struct rows_writer *w, struct fail *why)
{
    const struct rows *like = &w->like;
    struct npz_state *st = w->state = calloc(1, sizeof *st);
    if (!st)
        return fail(why, E_MEMORY, "%s: out of memory", w->out.path);
    st->zip.out = &w->out;
    if (like->row_size > UINT32_MAX || (uint64_t)like->count * like->row_size > UINT32_MAX)
        return fail(why, E_USAGE,
                    "%s: %" PRId64 " rows of %zu bytes do not fit a .npz (4 GiB); write .npy, .avro or parts",
                    w->out.path, like->count, like->row_size);
    if (like->labels)
        st->labels = malloc((size_t)like->count * sizeof *st->labels + 1);
    if (like->targets)
        st->targets = malloc((size_t)(like->count * like->target_size) * sizeof *st->targets + 1);
    if ((like->labels && !st->labels) || (like->targets && !st->targets))
        return fail(why, E_MEMORY, "%s: out of memory", w->out.path);
    return begin_array(w, "x.npy", like->dtype, rows_shape(like), why);
}

static int npz_append(struct rows_writer *w, const unsigned char *data, const int32_t *labels,
                      const float *targets, int64_t count, struct fail *why)
{
    struct npz_state *st = w->state;
    for (int64_t i = 0; labels && i < count; i++)
        st->labels[w->done + i] = labels[i];
    if (targets)
        memcpy(st->targets + w->done * w->like.target_size, targets,
               (size_t)(count * w->like.target_size) * sizeof *targets);
    return zip_put(&st->zip, data, (size_t)count * w->like.row_size, why);
}

static int put_array(struct rows_writer *w, const char *name, enum dtype t, struct shape s, const void *data,
                     struct fail *why)
{
    struct npz_state *st = w->state;
    if (!data)
        return 0;
    int rc = begin_array(w, name, t, s, why);
    if (rc == 0)
        rc = zip_put(&st->zip, data, (size_t)shape_size(s) * dtype_size(t), why);
    return rc ? rc : zip_close(&st->zip, why);
}

static int npz_finish(struct rows_writer *w, struct fail *why)
{
    struct npz_state *st = w->state;
    const struct rows *like = &w->like;
    int rc = zip_close(&st->zip, why);
    if (rc == 0)
        rc = put_array(w, "y.npy", DTYPE_INT64, SHAPE(like->count), st->labels, why);
    if (rc == 0)
        rc = put_array(w, "targets.npy", DTYPE_FP32, SHAPE(like->count, like->target_size), st->targets, why);
    return rc ? rc : zip_end(&st->zip, why);
}

static void npz_close(struct rows_writer *w)
{
    struct npz_state *st = w->state;
    if (st) {
        free(st->labels);
        free(st->targets);
    }
    free(st);
}

const struct rows_format format_npz = {
    .name = ".npz",
    .named = npz_named,
    .begins = npz_begins,
    .read = npz_read,
    .create = npz_create,
    .append = npz_append,
    .finish = npz_finish,
    .close = npz_close,
};
