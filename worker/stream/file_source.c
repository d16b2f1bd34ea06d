/* A file as a source: the runner reads it as it reads a topic. Formats: data/rows.h and codec/container.h; the other end:
 * file_sink.c. */
#include "worker/stream/file_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/container.h"
#include "worker/data/rows.h"
#include "worker/stream/clock.h"

struct file_source {
    struct source base;
    const char *path;
    struct container *container; /* NULL: rows */
    struct rows rows;
    char model[256];
    int rows_per_record, top_k;
    int64_t next; /* the next row, or record of the container */
    struct bytes value;
    struct span *row_ids; /* [rows_per_record] */
    char (*id_text)[24];
};

/* Encodes the next rows as one InferenceBatch. */
static int next_rows(struct file_source *f, struct record *out, struct fail *why)
{
    int64_t left = f->rows.count - f->next;
    int n = (int)(left < f->rows_per_record ? left : f->rows_per_record);
    if (n == 0)
        return SOURCE_END;
    struct tensor_view t = {.dtype = f->rows.dtype,
                            .shape = {.rank = f->rows.row_shape.rank + 1, .dim = {n}}};
    memcpy(t.shape.dim + 1, f->rows.row_shape.dim, (size_t)f->rows.row_shape.rank * sizeof t.shape.dim[0]);
    t.data = (struct span){(const char *)f->rows.data + (size_t)f->next * f->rows.row_size,
                           (size_t)n * f->rows.row_size};
    for (int i = 0; i < n; i++) {
        snprintf(f->id_text[i], sizeof f->id_text[i], "%lld", (long long)(f->next + i));
        f->row_ids[i] = text_span(f->id_text[i]);
    }
    struct inference_head head = {
        .id = f->row_ids[0], .model = text_span(f->model), .created_at = clock_ms(), .top_k = f->top_k};
    f->value.size = 0;
    inference_encode(&f->value, &head, &t, f->row_ids);
    if (f->value.failed)
        return fail(why, E_MEMORY, "a record of %d rows", n);
    out->value = (struct span){(const char *)f->value.data, f->value.size};
    out->key = f->row_ids[0];
    out->offset = f->next;
    f->next += n;
    return SOURCE_RECORD;
}

static int next_datum(struct file_source *f, struct record *out, struct fail *why)
{
    int rc = container_next(f->container, &out->value, why);
    if (rc <= 0)
        return rc < 0 ? rc : SOURCE_END;
    out->offset = f->next++;
    return SOURCE_RECORD;
}

static int op_next(struct source *base, struct record *out, int timeout_ms, struct fail *why)
{
    struct file_source *f = (struct file_source *)base;
    (void)timeout_ms;
    *out = (struct record){.topic = f->path, .timestamp_ms = clock_ms()};
    return f->container ? next_datum(f, out, why) : next_rows(f, out, why);
}

static int op_seal(struct source *src, struct batch *b, enum seal how, struct fail *why)
{
    (void)src, (void)b, (void)how, (void)why;
    return 0;
}

static bool op_changed(struct source *src)
{
    (void)src;
    return false;
}

static const struct source_ops ops = {op_next, op_seal, op_changed, NULL, NULL};

static bool has_suffix(const char *path, const char *suffix)
{
    size_t n = strlen(path), m = strlen(suffix);
    return n >= m && strcmp(path + n - m, suffix) == 0;
}

int file_source_open(struct file_source **out, const char *path, const char *model, int rows_per_record,
                     int top_k, struct fail *why)
{
    struct file_source *f = calloc(1, sizeof *f);
    int rc = 0;
    if (!f || !(f->row_ids = calloc((size_t)rows_per_record, sizeof *f->row_ids)) ||
        !(f->id_text = calloc((size_t)rows_per_record, sizeof *f->id_text)))
        rc = fail(why, E_MEMORY, "a source of %s", path);
    if (rc)
        goto out;
    f->base.ops = &ops;
    f->path = path;
    f->rows_per_record = rows_per_record;
    f->top_k = top_k;
    snprintf(f->model, sizeof f->model, "%s", model);
    if (has_suffix(path, ".avro")) {
        rc = container_open(&f->container, path, NULL, why);
        if (!rc && container_type(f->container) != record_type_find("InferenceBatch"))
            container_close(&f->container); /* samples are rows as well */
    }
    if (!rc && !f->container)
        rc = rows_read(&f->rows, path, why);
out:
    if (rc)
        file_source_close(&f);
    *out = f;
    return rc;
}

void file_source_close(struct file_source **f)
{
    if (!*f)
        return;
    container_close(&(*f)->container);
    rows_close(&(*f)->rows);
    bytes_free(&(*f)->value);
    free((*f)->row_ids);
    free((*f)->id_text);
    free(*f);
    *f = NULL;
}

struct source *file_source_base(struct file_source *f)
{
    return &f->base;
}

int64_t file_source_rows(const struct file_source *f)
{
    return f->container ? -1 : f->rows.count;
}
