/* Prediction: written row by row, straight into the output's bytes. Reading one is a verdict alone.
 * Next to read: fields.h, by which the control records go both ways. */
#include "worker/codec/control.h"

void prediction_begin(struct bytes *to, struct span id, struct span model, int64_t version, int64_t rows)
{
    bytes_put_span(to, id);
    bytes_put_span(to, model);
    bytes_put_long(to, version);
    if (rows > 0)
        bytes_put_long(to, rows);
}

static void put_top_k(struct bytes *to, const struct class_score *top_k, int count)
{
    if (count > 0)
        bytes_put_long(to, count);
    for (int i = 0; i < count; i++) {
        bytes_put_long(to, top_k[i].label);
        bytes_put_float(to, top_k[i].score);
    }
    bytes_put_long(to, 0);
}

void prediction_row(struct bytes *to, const struct prediction_row *row)
{
    bytes_put_long(to, row->id.data != NULL);
    if (row->id.data)
        bytes_put_span(to, row->id);
    bytes_put_long(to, row->status);
    bytes_put_long(to, row->label);
    bytes_put_float(to, row->score);
    put_top_k(to, row->top_k, row->top_k_count);
    bytes_put_long(to, row->error != NULL);
    if (row->error)
        bytes_put_text(to, row->error);
}

void prediction_end(struct bytes *to, int64_t rows, const struct prediction_tail *tail)
{
    (void)rows; /* prediction_begin opened the block only where there are rows; both forms end with 0 */
    bytes_put_long(to, 0);
    if (tail->outputs) {
        bytes_put_long(to, 1);
        bytes_put_tensor(to, tail->outputs);
    }
    bytes_put_long(to, 0);
    bytes_put_long(to, tail->saliency != NULL);
    if (tail->saliency)
        bytes_put_tensor(to, tail->saliency);
    bytes_put_span(to, tail->weights_sha256);
    bytes_put_span(to, tail->variant);
    bytes_put_long(to, tail->supersedes != 0);
    if (tail->supersedes)
        bytes_put_long(to, tail->supersedes);
    bytes_put_span(to, tail->worker);
    bytes_put_long(to, tail->produced_at);
    bytes_put_long(to, tail->queue_us);
    bytes_put_long(to, tail->compute_us);
}

static const struct field top_k_fields[] = {
    {.name = "label", .kind = F_INT},
    {.name = "score", .kind = F_FLOAT},
    {0},
};

static const struct field row_fields[] = {
    {.name = "id", .kind = F_NULL_STRING},
    {.name = "status", .kind = F_ENUM, .limit = ROW_EXPIRED + 1},
    {.name = "label", .kind = F_INT},
    {.name = "score", .kind = F_FLOAT},
    {.name = "top_k", .kind = F_ARRAY, .item = top_k_fields},
    {.name = "error", .kind = F_NULL_STRING},
    {0},
};

static const struct field tensor_fields[] = {{.name = "tensor", .kind = F_TENSOR}, {0}};

static const struct field prediction_fields[] = {
    {.name = "id", .kind = F_STRING},
    {.name = "model", .kind = F_STRING},
    {.name = "version", .kind = F_LONG},
    {.name = "rows", .kind = F_ARRAY, .item = row_fields},
    {.name = "outputs", .kind = F_ARRAY, .item = tensor_fields},
    {.name = "saliency", .kind = F_NULL_RECORD, .item = tensor_fields},
    {.name = "weights_sha256", .kind = F_STRING},
    {.name = "variant", .kind = F_STRING},
    {.name = "supersedes", .kind = F_NULL_LONG},
    {.name = "worker", .kind = F_STRING},
    {.name = "produced_at", .kind = F_LONG},
    {.name = "queue_us", .kind = F_LONG},
    {.name = "compute_us", .kind = F_LONG},
    {0},
};

int prediction_validate(struct span value, struct fail *why)
{
    return fields_decode(prediction_fields, NULL, 0, value, NULL, why);
}

/* A row's fields in their order; only the status is wanted. */
static enum row_status read_row(struct wire *r)
{
    struct wire_blocks b = {0};
    if (wire_some(r, "id"))
        wire_string(r, "id");
    enum row_status status = (enum row_status)wire_enum(r, "status", ROW_EXPIRED + 1);
    wire_int(r, "label");
    wire_float(r, "score");
    while (wire_next(r, "top_k", &b, 5)) {
        wire_int(r, "label");
        wire_float(r, "score");
    }
    if (wire_some(r, "error"))
        wire_string(r, "error");
    return status;
}

int prediction_read_tensors(struct span value, struct tensor_view *outputs, struct tensor_view *saliency,
                            uint8_t *statuses, int64_t capacity, int64_t *rows, struct fail *why)
{
    struct wire r;
    struct wire_blocks b = {0};
    *outputs = *saliency = (struct tensor_view){0};
    wire_open(&r, value, why);
    wire_string(&r, "id");
    wire_string(&r, "model");
    wire_long(&r, "version");
    for (*rows = 0; wire_next(&r, "rows", &b, 9); ++*rows) {
        enum row_status status = read_row(&r);
        if (*rows < capacity)
            statuses[*rows] = (uint8_t)status;
    }
    wire_tensors(&r, "outputs", outputs);
    if (wire_some(&r, "saliency"))
        *saliency = wire_tensor(&r, "saliency", -1);
    return r.broken ? -(int)r.broken : 0; /* what is behind them is not wanted */
}

int prediction_read_head(struct span value, struct prediction_head *out, struct fail *why)
{
    struct wire r;
    struct wire_blocks b = {0};
    struct tensor_view ignored;
    wire_open(&r, value, why);
    wire_string(&r, "id");
    out->model = wire_string(&r, "model");
    out->version = wire_long(&r, "version");
    while (wire_next(&r, "rows", &b, 9))
        read_row(&r);
    wire_tensors(&r, "outputs", &ignored);
    if (wire_some(&r, "saliency"))
        wire_tensor(&r, "saliency", -1);
    wire_string(&r, "weights_sha256");
    wire_string(&r, "variant");
    out->supersedes = wire_some(&r, "supersedes") ? wire_long(&r, "supersedes") : 0;
    out->worker = wire_string(&r, "worker");
    out->produced_at = wire_long(&r, "produced_at");
    return r.broken ? -(int)r.broken : 0; /* what is behind them is not wanted */
}
