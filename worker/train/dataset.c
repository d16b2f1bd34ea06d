/* Rows into memory: what is kept, what is refused, which part a row is of. Records are dataset_sample.c's, ranges
 * dataset_read.c's, what is done with the rows dataset_finish.c's. Next to read: dataset_sample.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/dataset_parts.h"

int dataset_new(struct dataset **out, const struct dataset_options *o, struct fail *why)
{
    struct dataset *d = calloc(1, sizeof *d);
    if (!d)
        return fail(why, E_MEMORY, "data set: no memory");
    d->options = *o;
    cache_open(&d->rows, &o->limits);
    d->sha256_type = EVP_MD_fetch(NULL, "SHA256", NULL);
    d->all = EVP_MD_CTX_new();
    d->one = EVP_MD_CTX_new();
    if (!d->sha256_type || !d->all || !d->one || !EVP_DigestInit_ex2(d->all, d->sha256_type, NULL)) {
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
    EVP_MD_free((*d)->sha256_type);
    for (int i = 0; i < DATASET_PARTS; i++)
        free((*d)->parts[i].v);
    cache_close(&(*d)->rows);
    image_decoder_free(&(*d)->images);
    free((*d)->labels);
    free((*d)->targets);
    free((*d)->part);
    free(*d);
    *d = NULL;
}

bool dataset_grow(void *array, int64_t count, size_t size)
{
    void **at = array;
    void *p = (uint64_t)count < SIZE_MAX / (size + 1) ? realloc(*at, (size_t)count * size + 1) : NULL;
    if (p)
        *at = p;
    return p != NULL;
}

int dataset_reserve(struct dataset *d, int64_t rows, struct fail *why)
{
    int64_t need = d->count + rows, capacity = need > 2 * d->capacity ? need : 2 * d->capacity;
    if (rows > DATASET_MAX_ROWS - d->count)
        return fail(why, E_JOB, "data set: more than %d rows", DATASET_MAX_ROWS);
    if (d->row_size > SIZE_MAX / 4 / (size_t)(rows > 0 ? rows : 1))
        return fail(why, E_JOB, "data set: rows of %zu bytes are too large", d->row_size);
    int rc = cache_reserve(&d->rows, (size_t)rows * d->row_size, why);
    if (rc || need <= d->capacity)
        return rc;
    if (!dataset_grow(&d->part, capacity, 1) ||
        (d->target_size ? !dataset_grow(&d->targets, capacity, sizeof(float) * (size_t)d->target_size)
                        : !dataset_grow(&d->labels, capacity, sizeof(int32_t))))
        return fail(why, E_JOB, "data set: no memory for %lld rows", (long long)capacity);
    d->capacity = capacity;
    return 0;
}

static int chunk_first(struct dataset *d, const struct dataset_chunk *c, struct fail *why)
{
    int64_t floats = shape_size(c->shape);
    if (c->shape.rank < 1 || floats < 1 || c->dtype == DTYPE_UNKNOWN)
        return fail(why, E_BAD_SHAPE, "rows without a size or a type");
    d->dtype = c->dtype;
    d->shape = c->shape;
    d->row_floats = floats;
    d->row_size = (size_t)floats * dtype_size(c->dtype);
    d->target_size = c->target_size;
    return 0;
}

/* What the graph says about a row, before any row of it is taken. */
static int graph_check(const struct dataset *d, const struct dataset_chunk *c, struct fail *why)
{
    const struct graph *g = d->options.graph;
    char wanted[100], is[100];
    if (!g)
        return 0;
    if (!shape_equal(c->shape, g->input))
        return fail(why, E_BAD_SHAPE, "rows are %s, the network %s takes %s",
                    shape_text(c->shape, is, sizeof is), g->name,
                    shape_text(g->input, wanted, sizeof wanted));
    int64_t outputs = shape_size(graph_output(g));
    if (c->target_size && c->target_size != outputs)
        return fail(why, E_BAD_SHAPE, "rows have %lld targets, the network %lld outputs",
                    (long long)c->target_size, (long long)outputs);
    return 0;
}

int dataset_chunk_check(struct dataset *d, const struct dataset_chunk *c, struct fail *why)
{
    char was[100], is[100];
    int rc = graph_check(d, c, why);
    if (rc || d->count == 0)
        return rc ? rc : chunk_first(d, c, why);
    if (!shape_equal(c->shape, d->shape) || c->dtype != d->dtype)
        return fail(why, c->dtype != d->dtype ? E_BAD_DTYPE : E_BAD_SHAPE,
                    "a row is %s %s, the rows before are %s %s: a data set has one shape and type",
                    dtype_name(c->dtype), shape_text(c->shape, is, sizeof is), dtype_name(d->dtype),
                    shape_text(d->shape, was, sizeof was));
    if (c->target_size != d->target_size)
        return fail(why, E_BAD_REQUEST, "targets of %lld numbers a row, %lld before (0: labels)",
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
            return fail(why, E_NON_FINITE, "row %lld has a value that is not finite", (long long)number);
    }
    return 0;
}

/* Row i behind the last one, its answer being in place; messages call it `number`. */
static int answer_check(const struct dataset *d, int64_t i, int64_t number, struct fail *why)
{
    const struct graph *g = d->options.graph;
    const char *loss = d->options.loss ? loss_name(d->options.loss) : "";
    bool shares = strcmp(loss, "log_loss") == 0;
    if (d->target_size) {
        const float *t = d->targets + (d->count + i) * d->target_size;
        for (int64_t k = 0; k < d->target_size; k++)
            if (!isfinite(t[k]))
                return fail(why, E_NON_FINITE, "row %lld has a target that is not finite", (long long)number);
            else if (shares && !(t[k] >= 0 && t[k] <= 1))
                return fail(why, E_BAD_REQUEST, "row %lld has the target %g, log_loss takes 0 to 1",
                            (long long)number, (double)t[k]);
        return 0;
    }
    if (!g || !d->options.loss)
        return 0;
    int64_t outputs = shape_size(graph_output(g)), classes = shares && outputs == 1 ? 2 : outputs;
    int32_t label = d->labels[d->count + i];
    if ((label < 0 || label >= classes) && !(d->options.ignores && label == d->options.ignored_label))
        return fail(why, E_BAD_REQUEST, "row %lld has the label %d, but %s with this network knows 0 to %lld",
                    (long long)number, label, loss, (long long)classes - 1);
    return 0;
}

static enum dataset_part part_choose(struct dataset *d, const void *row, const void *answer,
                                     size_t answer_size)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    uint64_t first = 0;
    EVP_DigestInit_ex2(d->one, d->sha256_type, NULL);
    EVP_DigestUpdate(d->one, row, d->row_size);
    EVP_DigestUpdate(d->one, answer, answer_size);
    EVP_DigestFinal_ex(d->one, digest, NULL);
    for (int i = 0; i < 8; i++)
        first = first << 8 | digest[i];
    double u = (double)(first >> 11) * 0x1p-53, test = d->options.test_rate;
    return u < test                                ? DATASET_TEST
           : u < test + d->options.validation_rate ? DATASET_VALIDATION
                                                   : DATASET_TRAIN;
}

/* The next row is good and its answer is in place. */
static void row_take(struct dataset *d, const unsigned char *data)
{
    unsigned char *row = d->rows.base + d->rows.used;
    const void *answer = d->target_size ? (const void *)(d->targets + d->count * d->target_size)
                                        : (const void *)(d->labels + d->count);
    size_t size = d->target_size ? sizeof(float) * (size_t)d->target_size : sizeof(int32_t);
    if (row != data) /* images are decoded in their place */
        memcpy(row, data, d->row_size);
    EVP_DigestUpdate(d->all, row, d->row_size);
    EVP_DigestUpdate(d->all, answer, size);
    d->part[d->count++] = (uint8_t)part_choose(d, row, answer, size);
    d->rows.used += d->row_size;
}

int dataset_chunk_take(struct dataset *d, const struct dataset_chunk *c, struct fail *why)
{
    int rc = 0;
    for (int64_t i = 0; !rc && i < c->rows; i++)
        if (!(rc = finite_check(d, c->data + (size_t)i * d->row_size, c->first + i, why)))
            rc = answer_check(d, i, c->first + i, why);
    for (int64_t i = 0; !rc && i < c->rows; i++)
        row_take(d, c->data + (size_t)i * d->row_size);
    return rc;
}

/* Some rows of a file: all of them, or none. */
static int rows_add(struct dataset *d, const struct rows *rows, int64_t first, int64_t count,
                    struct fail *why)
{
    struct dataset_chunk c = {.dtype = rows->dtype,
                              .shape = rows->row_shape,
                              .rows = count,
                              .first = first,
                              .target_size = rows->targets ? rows->target_size : 0,
                              .data = (const unsigned char *)rows->data + (size_t)first * rows->row_size};
    int rc = dataset_resize(d, &c, why);
    if (!rc)
        rc = dataset_chunk_check(d, &c, why);
    if (!rc)
        rc = dataset_reserve(d, c.rows, why);
    if (!rc && c.target_size)
        memcpy(d->targets + d->count * d->target_size, rows->targets + first * c.target_size,
               sizeof(float) * (size_t)(c.rows * c.target_size));
    else if (!rc)
        memcpy(d->labels + d->count, rows->labels + first, sizeof(int32_t) * (size_t)c.rows);
    return rc ? rc : dataset_chunk_take(d, &c, why);
}

int dataset_add_rows(struct dataset *d, const struct rows *rows, const char *name, struct fail *why)
{
    int64_t step =
        d->options.on_bad ? 1 : rows->count; /* where bad rows are skipped, each is one by itself */
    int rc = 0;
    if (!rows->targets && !rows->labels)
        return fail(why, E_FILE, "%s: the rows have neither labels nor targets", name);
    for (int64_t i = 0; !rc && i < rows->count; i += step) {
        rc = rows_add(d, rows, i, step, why);
        if (rc && d->options.on_bad && fail_class(why->code) == FAIL_RECORD) {
            struct fail reason = *why;
            d->bad_records++;
            rc = d->options.on_bad(d->options.on_bad_arg, NULL, &reason, why);
        }
    }
    if (!rc)
        return 0;
    fail_prefix(why, "%s", name);
    if (fail_class(why->code) == FAIL_RECORD)
        why->code = E_JOB;
    return -(int)why->code;
}
