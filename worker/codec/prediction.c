/* Prediction: written row by row, straight into the output's bytes. Reading one back is only for checks:
 * prediction_validate in table.c's row.
 * Next to read: fields.h, by which the control records go both ways. */
#include "worker/codec/wire.h"

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
    bytes_put_long(to, 0); /* saliency: null */
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
