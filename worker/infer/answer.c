/* Makes a Prediction of a request and its outputs. Who fills outputs and statuses: runner.c. */
#include "worker/infer/answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/wire.h"
#include "worker/stream/clock.h"

enum { ROW_BYTES = 48, CLASS_BYTES = 10, RECORD_BYTES = 1024, ERROR_BYTES = 128 };

static int classes_of(const struct served *s)
{
    return (int)s->outputs;
}

/* An upper bound of the encoded Prediction; limits are far below where the products could overflow. */
static size_t size_bound(const struct inference *q, const struct served *s, size_t key_size)
{
    size_t k = (size_t)(q->top_k < classes_of(s) ? q->top_k : classes_of(s) + 1);
    size_t row = ROW_BYTES + ERROR_BYTES + CLASS_BYTES * k;
    if (q->return_outputs)
        row += 4 * (size_t)classes_of(s);
    if (q->explain)
        row += 4 * (size_t)s->inputs;
    size_t ids = (size_t)(q->row_ids.end - q->row_ids.at);
    return RECORD_BYTES + key_size + q->id.size + ids + (size_t)q->rows * row;
}

static bool copy_span(struct batch *b, struct span *s)
{
    if (s->data)
        s->data = region_copy(&b->mem, s->data, s->size);
    else
        return true;
    return s->data != NULL;
}

static bool copy_list(struct batch *b, struct list *l)
{
    if (!l->count)
        return true;
    size_t size = (size_t)(l->end - l->at);
    l->at = region_copy(&b->mem, l->at, size);
    l->end = l->at + size;
    return l->at != NULL;
}

int answer_new(struct answer **out, struct batch *b, const struct record *r, const struct inference *q,
               const struct route *route, bool shadow, size_t limit, struct fail *why)
{
    const struct served *served = shadow ? route->shadow : route->served;
    size_t bound = size_bound(q, served, r->key.size);
    if (bound > limit)
        return fail(
            why, E_TOO_LARGE,
            "the Prediction of %lld rows may need %zu bytes, its topic takes %zu: send fewer rows a record",
            (long long)q->rows, bound, limit);
    struct answer *a = region_zalloc(&b->mem, sizeof *a);
    if (!a)
        goto memory;
    a->from = *r;
    a->from.headers = NULL;
    a->from.header_count = 0;
    a->from.value = (struct span){0};
    a->id = q->id;
    a->row_ids = q->row_ids;
    a->served = served;
    a->variant = text_span(shadow ? "shadow" : route->variant);
    a->topic = shadow ? TOPIC_SHADOW : TOPIC_PREDICTIONS;
    a->metrics = shadow ? route->shadow_metrics : route->metrics;
    a->side = shadow ? NULL : route->side;
    a->rows = q->rows;
    a->top_k = q->top_k;
    a->return_outputs = q->return_outputs;
    a->outputs = region_zalloc(&b->mem, (size_t)q->rows * (size_t)classes_of(served) * sizeof *a->outputs);
    a->statuses = region_alloc(&b->mem, (size_t)q->rows);
    if (q->explain)
        a->saliency = region_zalloc(&b->mem, (size_t)q->rows * (size_t)served->inputs * sizeof *a->saliency);
    if (!a->outputs || !a->statuses || (q->explain && !a->saliency) || !copy_span(b, &a->from.key) ||
        !copy_span(b, &a->id) || !copy_span(b, &a->variant) || !copy_list(b, &a->row_ids))
        goto memory;
    memset(a->statuses, ROW_OK, (size_t)q->rows);
    *out = a;
    return 0;
memory:
    return fail(why, E_MEMORY, "an answer of %lld rows", (long long)q->rows);
}

static int notes_make(struct answer *a, struct batch *b, struct fail *why)
{
    if (!a->notes && a->rows)
        a->notes = region_zalloc(&b->mem, (size_t)a->rows * sizeof *a->notes);
    return a->notes || !a->rows ? 0 : fail(why, E_MEMORY, "the errors of %lld rows", (long long)a->rows);
}

/* An answer is larger than a limit that was checked by at most this error a row. */
int answer_refuse_row(struct answer *a, struct batch *b, int64_t i, enum row_status status, const char *error,
                      struct fail *why)
{
    size_t size = strnlen(error, ERROR_BYTES);
    int rc = notes_make(a, b, why);
    if (rc)
        return rc;
    a->statuses[i] = (uint8_t)status;
    a->notes[i] = region_copy(&b->mem, error, size);
    return a->notes[i] ? 0 : fail(why, E_MEMORY, "the error of a row");
}

int answer_refuse(struct answer *a, struct batch *b, enum row_status status, const char *error,
                  struct fail *why)
{
    int rc = notes_make(a, b, why);
    memset(a->statuses, status, (size_t)a->rows);
    for (int64_t i = 0; !rc && i < a->rows; i++)
        a->notes[i] = error;
    return rc;
}

/* What the metrics gain when the answer is committed. */
static int count_rows(const struct answer *a, struct batch *b, struct fail *why)
{
    struct model_metrics *m = a->metrics;
    uint64_t rows[METRIC_ROWS] = {0};
    _Static_assert(METRIC_ROWS == ROW_EXPIRED + 1, "metrics know every row status");
    if (!m)
        return 0;
    for (int64_t i = 0; i < a->rows; i++)
        rows[a->statuses[i]]++;
    int rc = batch_count(b, &m->records[METRIC_ANSWERED], 1, why);
    for (int k = 0; !rc && k < METRIC_ROWS; k++)
        rc = batch_count(b, &m->rows[k], rows[k], why);
    return rc;
}

static void put_rows(const struct answer *a, struct bytes *to, struct class_score *order, float *probability)
{
    struct list ids = a->row_ids;
    int K = classes_of(a->served);
    for (int64_t i = 0; i < a->rows; i++) {
        struct prediction_row row = {.status = a->statuses[i], .label = -1};
        struct score best;
        if (ids.count)
            list_next_string(&ids, &row.id);
        if (row.status == ROW_OK) {
            row.top_k_count =
                score_row(a->served->model->rule, a->outputs + i * K, K, a->top_k, &best, order, probability);
            row.top_k = order;
            row.label = best.label;
            row.score = best.score;
        } else {
            row.error = a->notes[i];
        }
        if (a->side)
            canary_row(a->side, row.status == ROW_OK && isfinite(row.score), row.label);
        prediction_row(to, &row);
    }
}

/* Numbers for every row as a tensor [rows, ...the shape of a row]. */
static struct tensor_view rows_view(const struct answer *a, struct shape row, const float *numbers)
{
    struct tensor_view v = {.dtype = DTYPE_FP32, .shape = {.rank = row.rank + 1}};
    v.shape.dim[0] = a->rows;
    for (int i = 0; i < row.rank && i + 1 < SHAPE_DIMS; i++)
        v.shape.dim[i + 1] = row.dim[i];
    v.data =
        (struct span){(const char *)numbers, (size_t)a->rows * (size_t)shape_size(row) * sizeof *numbers};
    return v;
}

int answer_finish(const struct answer *a, struct batch *b, struct bytes *scratch, const char *worker,
                  const struct frame *frame, struct fail *why)
{
    const struct model *m = a->served->model;
    struct tensor_view outputs = rows_view(a, graph_output(m->graph), a->outputs);
    struct tensor_view saliency = rows_view(a, m->graph->input, a->saliency);
    size_t room = (size_t)classes_of(a->served) + 1;
    struct class_score *order = region_alloc(&b->mem, room * sizeof *order);
    float *probability = region_alloc(&b->mem, room * sizeof *probability);
    if (!order || !probability)
        return fail(why, E_MEMORY, "scores of %zu classes", room);
    struct prediction_tail tail = {
        .outputs = a->return_outputs ? &outputs : NULL,
        .saliency = a->saliency ? &saliency : NULL,
        .weights_sha256 = text_span(m->sha256),
        .variant = a->variant,
        .worker = text_span(worker),
        .supersedes = a->supersedes,
        .produced_at = clock_ms(),
        .queue_us = a->started_us ? a->started_us - a->received_us : 0,
        .compute_us = a->compute_us,
    };
    scratch->size = 0;
    if (frame && frame->on)
        bytes_put(scratch, frame->bytes, FRAME_BYTES);
    prediction_begin(scratch, a->id, text_span(m->name), m->version, a->rows);
    put_rows(a, scratch, order, probability);
    prediction_end(scratch, a->rows, &tail);
    char *value = scratch->failed ? NULL : region_copy(&b->mem, scratch->data, scratch->size);
    if (!value)
        return fail(why, E_MEMORY, "a Prediction of %lld rows", (long long)a->rows);
    b->rows += a->topic == TOPIC_PREDICTIONS ? a->rows : 0;
    if (count_rows(a, b, why))
        return -E_MEMORY;
    return batch_derived(b, a->topic, &a->from, a->from.key, (struct span){value, scratch->size}, why);
}
