/* Rows in memory: adding, checking, splitting, and filling a micro-batch. Where records come from is
 * dataset_read.c. Next to read: run.c, which walks over the rows. */
#include "worker/train/dataset.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "engine/normalise.h"

enum { MAX_ROWS = 1 << 30 };

struct list_of_rows {
    uint32_t *v;
    int64_t count;
};

struct dataset {
    struct dataset_options options;
    enum dtype dtype; /* DTYPE_UNKNOWN: no row yet */
    struct shape shape;
    int64_t row_floats, count, capacity;
    size_t row_size;
    unsigned char *data;
    int32_t *labels; /* NULL where rows have targets */
    float *targets;
    int64_t target_size; /* 0: labels */
    uint8_t *part;       /* [capacity], enum dataset_part */
    struct list_of_rows parts[DATASET_PARTS];
    EVP_MD_CTX *all, *one;
    char sha256[65];
    struct normalise normalise;
};

int dataset_new(struct dataset **out, const struct dataset_options *o, struct fail *why)
{
    struct dataset *d = calloc(1, sizeof *d);
    if (!d)
        return fail(why, E_MEMORY, "data set: no memory");
    d->options = *o;
    d->all = EVP_MD_CTX_new();
    d->one = EVP_MD_CTX_new();
    if (!d->all || !d->one || !EVP_DigestInit_ex(d->all, EVP_sha256(), NULL)) {
        dataset_free(&d);
        return fail(why, E_MEMORY, "data set: no SHA-256 from OpenSSL");
    }
    *out = d;
    return 0;
}

void dataset_free(struct dataset **d)
{
    if (!*d)
        return;
    EVP_MD_CTX_free((*d)->all);
    EVP_MD_CTX_free((*d)->one);
    for (int i = 0; i < DATASET_PARTS; i++)
        free((*d)->parts[i].v);
    free((*d)->data);
    free((*d)->labels);
    free((*d)->targets);
    free((*d)->part);
    free(*d);
    *d = NULL;
}

static bool grow(void *array, int64_t count, size_t size)
{
    void **at = array;
    void *p = (uint64_t)count < SIZE_MAX / (size + 1) ? realloc(*at, (size_t)count * size + 1) : NULL;
    if (p)
        *at = p;
    return p != NULL;
}

static int dataset_reserve(struct dataset *d, int64_t more, struct fail *why)
{
    int64_t need = d->count + more, capacity = d->capacity + d->capacity / 2;
    if (need <= d->capacity)
        return 0;
    if (need > MAX_ROWS)
        return fail(why, E_JOB, "data set: more than %d rows", MAX_ROWS);
    if (capacity < need)
        capacity = need;
    if (!grow(&d->data, capacity, d->row_size) || !grow(&d->part, capacity, 1) ||
        (d->target_size ? !grow(&d->targets, capacity, sizeof(float) * (size_t)d->target_size)
                        : !grow(&d->labels, capacity, sizeof(int32_t))))
        return fail(why, E_JOB, "data set: no memory for %lld rows of %zu bytes", (long long)capacity,
                    d->row_size);
    d->capacity = capacity;
    return 0;
}

/* The rows of one record or file, in one form. */
struct chunk {
    enum dtype dtype;
    struct shape shape; /* of one row */
    int64_t rows, target_size;
    const unsigned char *data;
};

static int chunk_first(struct dataset *d, const struct chunk *c, struct fail *why)
{
    int64_t floats = shape_size(c->shape);
    if (c->shape.rank < 1 || floats < 1 || c->dtype == DTYPE_UNKNOWN)
        return fail(why, E_JOB, "rows without a size or a type");
    d->dtype = c->dtype;
    d->shape = c->shape;
    d->row_floats = floats;
    d->row_size = (size_t)floats * dtype_size(c->dtype);
    d->target_size = c->target_size;
    return 0;
}

static int chunk_check(struct dataset *d, const struct chunk *c, struct fail *why)
{
    char was[100], is[100];
    if (d->dtype == DTYPE_UNKNOWN)
        return chunk_first(d, c, why);
    if (!shape_equal(c->shape, d->shape) || c->dtype != d->dtype)
        return fail(why, E_JOB,
                    "a row is %s %s, the rows before are %s %s: a data set has one shape and type",
                    dtype_name(c->dtype), shape_text(c->shape, is, sizeof is), dtype_name(d->dtype),
                    shape_text(d->shape, was, sizeof was));
    if (c->target_size != d->target_size)
        return fail(why, E_JOB, "targets of %lld numbers a row, %lld before (0: labels)",
                    (long long)c->target_size, (long long)d->target_size);
    return 0;
}

static bool dtype_has_non_finite(enum dtype t)
{
    return t == DTYPE_FP16 || t == DTYPE_BF16 || t == DTYPE_FP32 || t == DTYPE_FP64;
}

static int finite_check(const struct dataset *d, const unsigned char *row, int64_t number, struct fail *why)
{
    float piece[256];
    size_t size = dtype_size(d->dtype);
    for (int64_t i = 0; dtype_has_non_finite(d->dtype) && i < d->row_floats; i += 256) {
        int64_t n = d->row_floats - i < 256 ? d->row_floats - i : 256;
        if (dtype_to_float(d->dtype, row + (size_t)i * size, n, piece))
            return fail(why, E_JOB, "row %lld has a value that is not finite", (long long)number);
    }
    return 0;
}

static void part_choose(struct dataset *d, int64_t row, const void *answer, size_t answer_size)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    uint64_t first = 0;
    EVP_DigestInit_ex(d->one, EVP_sha256(), NULL);
    EVP_DigestUpdate(d->one, d->data + (size_t)row * d->row_size, d->row_size);
    EVP_DigestUpdate(d->one, answer, answer_size);
    EVP_DigestFinal_ex(d->one, digest, NULL);
    for (int i = 0; i < 8; i++)
        first = first << 8 | digest[i];
    double u = (double)(first >> 11) * 0x1p-53, test = d->options.test_rate;
    d->part[row] = u < test                                ? DATASET_TEST
                   : u < test + d->options.validation_rate ? DATASET_VALIDATION
                                                           : DATASET_TRAIN;
}

/* The next row's answer is in place; takes it. */
static int row_take(struct dataset *d, const unsigned char *data, int64_t number, struct fail *why)
{
    const void *answer = d->target_size ? NULL : d->labels + d->count;
    size_t size = sizeof(int32_t);
    int rc = finite_check(d, data, number, why);
    if (rc)
        return rc;
    if (d->target_size) {
        const float *t = d->targets + d->count * d->target_size;
        answer = t;
        size = sizeof(float) * (size_t)d->target_size;
        for (int64_t i = 0; i < d->target_size; i++)
            if (!isfinite(t[i]))
                return fail(why, E_JOB, "row %lld has a target that is not finite", (long long)number);
    }
    memcpy(d->data + (size_t)d->count * d->row_size, data, d->row_size);
    EVP_DigestUpdate(d->all, data, d->row_size);
    EVP_DigestUpdate(d->all, answer, size);
    part_choose(d, d->count, answer, size);
    d->count++;
    return 0;
}

static struct shape shape_of_rows(struct shape s)
{
    struct shape row = {.rank = s.rank - 1};
    for (int i = 1; i < s.rank; i++)
        row.dim[i - 1] = s.dim[i];
    return row;
}

static int sample_chunk(const struct sample *s, struct chunk *c, struct fail *why)
{
    if (s->kind != PAYLOAD_TENSOR)
        return fail(why, E_JOB, "encoded images are not in this version: send tensors");
    *c = (struct chunk){.dtype = s->tensor.dtype,
                        .shape = shape_of_rows(s->tensor.shape),
                        .rows = s->rows,
                        .data = (const unsigned char *)s->tensor.data.data};
    if (s->has_targets)
        c->target_size = shape_size(shape_of_rows(s->targets.shape));
    else if (s->labels.count != s->rows)
        return fail(why, E_JOB, "%lld rows without labels or targets", (long long)s->rows);
    return 0;
}

static int sample_add(struct dataset *d, const struct sample *s, struct fail *why)
{
    struct chunk c;
    struct list labels = s->labels;
    int rc = sample_chunk(s, &c, why);
    if (rc || s->rows == 0 || (rc = chunk_check(d, &c, why)) || (rc = dataset_reserve(d, c.rows, why)))
        return rc;
    size_t target_bytes = (size_t)c.target_size * dtype_size(s->targets.dtype);
    for (int64_t i = 0; !rc && i < c.rows; i++) {
        if (c.target_size)
            dtype_to_float(s->targets.dtype, s->targets.data.data + (size_t)i * target_bytes, c.target_size,
                           d->targets + d->count * d->target_size);
        else if (!list_next_int(&labels, &d->labels[d->count]))
            return fail(why, E_JOB, "%lld labels for %lld rows", (long long)i, (long long)c.rows);
        rc = row_take(d, c.data + (size_t)i * d->row_size, i, why);
    }
    return rc;
}

int dataset_add_record(struct dataset *d, const struct record *r, struct fail *why)
{
    const struct record_type *type = record_type_find("Sample");
    struct span payload;
    struct sample s;
    int rc = r->value.data
                 ? record_unframe(r->value, record_header(r, "millrace.schema"), type, &payload, why)
                 : fail(why, E_EMPTY, "the record has no value");
    if (!rc)
        rc = sample_decode(&s, payload, why);
    if (!rc)
        rc = sample_add(d, &s, why);
    if (!rc)
        return 0;
    fail_prefix(why, "data set: %s/%d offset %lld", r->topic, r->partition, (long long)r->offset);
    if (rc != -E_MEMORY)
        why->code = E_JOB;
    return -(int)why->code;
}

int dataset_add_rows(struct dataset *d, const struct rows *rows, const char *name, struct fail *why)
{
    struct chunk c = {.dtype = rows->dtype,
                      .shape = rows->row_shape,
                      .rows = rows->count,
                      .target_size = rows->targets ? rows->target_size : 0,
                      .data = rows->data};
    int rc = 0;
    if (!rows->targets && !rows->labels)
        return fail(why, E_FILE, "%s: the rows have neither labels nor targets", name);
    if (rows->count == 0)
        return 0;
    if ((rc = chunk_check(d, &c, why)) || (rc = dataset_reserve(d, c.rows, why)))
        return fail_prefix(why, "%s", name);
    for (int64_t i = 0; !rc && i < c.rows; i++) {
        if (c.target_size)
            memcpy(d->targets + d->count * d->target_size, rows->targets + i * c.target_size,
                   sizeof(float) * (size_t)c.target_size);
        else
            d->labels[d->count] = rows->labels[i];
        rc = row_take(d, c.data + (size_t)i * d->row_size, i, why);
    }
    return rc ? fail_prefix(why, "%s", name) : 0;
}

static int parts_make(struct dataset *d, struct fail *why)
{
    for (int p = 0; p < DATASET_PARTS; p++) {
        struct list_of_rows *list = &d->parts[p];
        list->count = 0;
        if (!grow(&list->v, d->count, sizeof *list->v))
            return fail(why, E_MEMORY, "data set: no memory to split %lld rows", (long long)d->count);
        for (int64_t i = 0; i < d->count; i++)
            if (d->part[i] == p)
                list->v[list->count++] = (uint32_t)i;
    }
    return 0;
}

static int labels_check(const struct dataset *d, int64_t classes, const struct loss_type *loss,
                        struct fail *why)
{
    for (int64_t i = 0; i < d->count; i++)
        if ((d->labels[i] < 0 || d->labels[i] >= classes) &&
            !(d->options.ignores && d->labels[i] == d->options.ignored_label))
            return fail(why, E_JOB,
                        "data set: row %lld has the label %d, but %s with this network knows 0 to %lld",
                        (long long)i, d->labels[i], loss_name(loss), (long long)classes - 1);
    return 0;
}

/* Of log loss: how far each label holds. */
static int shares_check(const struct dataset *d, struct fail *why)
{
    for (int64_t i = 0; i < d->count * d->target_size; i++)
        if (!(d->targets[i] >= 0 && d->targets[i] <= 1))
            return fail(why, E_JOB, "data set: row %lld has the target %g, log_loss takes 0 to 1",
                        (long long)(i / d->target_size), (double)d->targets[i]);
    return 0;
}

/* Labels 0 and 1 with one output are targets of log loss. */
static int labels_to_targets(struct dataset *d, struct fail *why)
{
    if (!grow(&d->targets, d->count, sizeof(float)))
        return fail(why, E_MEMORY, "data set: no memory");
    for (int64_t i = 0; i < d->count; i++)
        d->targets[i] = (float)d->labels[i];
    d->target_size = 1;
    return 0;
}

static int answers_check(struct dataset *d, const struct graph *g, const struct loss_type *loss,
                         struct fail *why)
{
    int64_t outputs = shape_size(graph_output(g));
    bool classes = strcmp(loss_name(loss), "cross_entropy") == 0;
    bool shares = strcmp(loss_name(loss), "log_loss") == 0;
    bool binary = shares && outputs == 1 && !d->target_size;
    if (classes && d->target_size)
        return fail(why, E_JOB, "data set: cross_entropy needs labels, the rows have targets");
    if (!classes && !d->target_size && !binary)
        return fail(why, E_JOB, "data set: %s needs targets, the rows have labels", loss_name(loss));
    if (d->target_size && d->target_size != outputs)
        return fail(why, E_JOB, "data set: rows have %lld targets, the network %lld outputs",
                    (long long)d->target_size, (long long)outputs);
    if (d->target_size)
        return shares ? shares_check(d, why) : 0;
    int rc = labels_check(d, binary ? 2 : outputs, loss, why);
    return rc || !binary ? rc : labels_to_targets(d, why);
}

int dataset_finish(struct dataset *d, const struct graph *g, const struct loss_type *loss, struct fail *why)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    char is[100], wanted[100];
    int rc;
    if (d->count == 0)
        return fail(why, E_JOB, "data set: there is no row in it");
    if (!shape_equal(d->shape, g->input))
        return fail(why, E_JOB, "data set: rows are %s, the network %s takes %s",
                    shape_text(d->shape, is, sizeof is), g->name,
                    shape_text(g->input, wanted, sizeof wanted));
    if ((rc = answers_check(d, g, loss, why)) || (rc = parts_make(d, why)) ||
        (rc = normalise_make(&d->normalise, d->shape, g->mean, g->std, g->channels_normalised, why)))
        return rc;
    if (d->parts[DATASET_TRAIN].count == 0)
        return fail(why, E_JOB, "data set: of %lld rows none is left to train on", (long long)d->count);
    EVP_DigestFinal_ex(d->all, digest, NULL);
    for (int i = 0; i < 32; i++) {
        static const char hex[] = "0123456789abcdef";
        d->sha256[2 * i] = hex[digest[i] >> 4];
        d->sha256[2 * i + 1] = hex[digest[i] & 15];
    }
    return 0;
}

int64_t dataset_count(const struct dataset *d, enum dataset_part part)
{
    return d->parts[part].count;
}

int64_t dataset_rows(const struct dataset *d)
{
    return d->count;
}

enum dtype dataset_dtype(const struct dataset *d)
{
    return d->dtype;
}

struct shape dataset_shape(const struct dataset *d)
{
    return d->shape;
}

void dataset_sha256(const struct dataset *d, char out[65])
{
    memcpy(out, d->sha256, sizeof d->sha256);
}

const uint32_t *dataset_index(const struct dataset *d, enum dataset_part part)
{
    return d->parts[part].v;
}

int64_t dataset_target_size(const struct dataset *d)
{
    return d->target_size;
}

struct target dataset_fill(const struct dataset *d, const uint32_t *index, int n,
                           const struct dataset_batch *to)
{
    for (int i = 0; i < n; i++) {
        size_t r = index[i];
        normalise_row(&d->normalise, d->dtype, d->data + r * d->row_size, to->x + i * d->row_floats);
        if (d->target_size)
            memcpy(to->targets + i * d->target_size, d->targets + r * (size_t)d->target_size,
                   sizeof(float) * (size_t)d->target_size);
        else
            to->labels[i] = d->labels[r];
    }
    return (struct target){.labels = d->target_size ? NULL : to->labels,
                           .targets = d->target_size ? to->targets : NULL};
}
