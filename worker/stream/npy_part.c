/* Predictions' tensors into an .npy file. Who asks for them: file_sink.c. Next to read: data/rows.h. */
#include "worker/stream/npy_part.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/data/rows.h"

struct npy_part {
    struct rows_writer *file;
    enum npy_tensor which;
    int64_t size; /* floats of a row */
    float *values;
    int64_t value_capacity;
    uint8_t *statuses;
    int64_t status_capacity;
};

int npy_part_open(struct npy_part **out, const char *path, enum npy_tensor which, struct shape row,
                  int64_t rows, struct fail *why)
{
    struct rows like = {.dtype = DTYPE_FP32, .row_shape = row, .count = rows};
    struct npy_part *p;
    if (rows < 0)
        return fail(why, E_USAGE,
                    "%s: tensors of records need a file of rows as input; .avro and .jsonl hold them both",
                    path);
    if (!(p = calloc(1, sizeof *p)))
        return fail(why, E_MEMORY, "a file of tensors");
    p->which = which;
    p->size = shape_size(row);
    like.row_size = (size_t)p->size * sizeof(float);
    int rc = rows_create(&p->file, path, &like, why);
    if (rc)
        npy_part_abandon(&p);
    *out = p;
    return rc;
}

static int read_tensor(struct npy_part *p, struct span prediction, struct tensor_view *t, int64_t *rows,
                       struct fail *why)
{
    struct tensor_view outputs, saliency;
    for (;;) {
        int rc = prediction_read_tensors(prediction, &outputs, &saliency, p->statuses, p->status_capacity,
                                         rows, why);
        if (rc)
            return rc;
        if (*rows <= p->status_capacity)
            break;
        uint8_t *more = realloc(p->statuses, (size_t)*rows);
        if (!more)
            return fail(why, E_MEMORY, "%lld rows", (long long)*rows);
        p->statuses = more;
        p->status_capacity = *rows;
    }
    *t = p->which == NPY_SALIENCY ? saliency : outputs;
    if (t->data.size != (size_t)*rows * (size_t)p->size * sizeof(float))
        return fail(why, E_FAILED, "a Prediction without %s",
                    p->which == NPY_SALIENCY ? "a saliency map" : "raw outputs");
    return 0;
}

int npy_part_write(struct npy_part *p, struct span prediction, struct fail *why)
{
    struct tensor_view t = {0};
    int64_t rows = 0;
    int rc = read_tensor(p, prediction, &t, &rows, why);
    if (rc)
        return rc;
    if (rows > p->value_capacity) {
        free(p->values);
        p->value_capacity = 0;
        if (!(p->values = malloc(t.data.size)))
            return fail(why, E_MEMORY, "tensors of %lld rows", (long long)rows);
        p->value_capacity = rows;
    }
    if (rows)
        memcpy(p->values, t.data.data, t.data.size);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < p->size && p->statuses[i] != ROW_OK; k++)
            p->values[i * p->size + k] = NAN;
    return rows_append(p->file, p->values, NULL, NULL, rows, why);
}

static void npy_part_free(struct npy_part **p)
{
    free((*p)->values);
    free((*p)->statuses);
    free(*p);
    *p = NULL;
}

int npy_part_finish(struct npy_part **p, struct fail *why)
{
    int rc = rows_finish(&(*p)->file, why);
    npy_part_free(p);
    return rc;
}

void npy_part_abandon(struct npy_part **p)
{
    if (!*p)
        return;
    rows_abandon(&(*p)->file);
    npy_part_free(p);
}
