/* Sample: labelled rows, in and out, without an allocation. Which loss wants labels and which targets is the
 * trainer's affair. Next to read: inference.c, which it resembles. */
#include "worker/codec/wire.h"

#include <inttypes.h>
#include <string.h>

static void judge_count(struct wire *r, const char *name, int64_t count, int64_t rows)
{
    if (count && count != rows)
        wire_refuse(r, name, E_BAD_REQUEST,
                    "%" PRId64 " of them for %" PRId64 " rows, expected none or one a row", count, rows);
}

static void judge_targets(struct wire *r, const struct sample *out)
{
    wire_check_tensor(r, "targets", &out->targets, true);
    if (out->targets.shape.dim[0] != out->rows)
        wire_refuse(r, "targets.shape", E_BAD_SHAPE, "targets for %" PRId64 " rows, the input has %" PRId64,
                    out->targets.shape.dim[0], out->rows);
}

static void judge(struct wire *r, struct sample *out, int64_t tensors, bool images)
{
    if ((tensors > 0) + images != 1)
        wire_refuse(r, "tensors", E_BAD_REQUEST, "%s of tensors and images are filled, expected exactly one",
                    images ? "both" : "none");
    if (tensors > 1)
        wire_refuse(r, "tensors", E_BAD_REQUEST, "%" PRId64 " tensors; models with one input are trained",
                    tensors);
    out->kind = images ? PAYLOAD_IMAGES : PAYLOAD_TENSOR;
    out->rows = images ? out->images.count : out->tensor.shape.dim[0];
    if (!images)
        wire_check_tensor(r, "tensors[0]", &out->tensor, true);
    if (out->labels.count && out->has_targets)
        wire_refuse(r, "labels", E_BAD_REQUEST, "labels and targets are both filled, expected one of them");
    judge_count(r, "labels", out->labels.count, out->rows);
    if (out->has_targets)
        judge_targets(r, out);
    judge_count(r, "row_ids", out->row_ids.count, out->rows);
}

int sample_decode(struct sample *out, struct span value, struct fail *why)
{
    struct wire r;
    memset(out, 0, sizeof *out);
    wire_open(&r, value, why);
    int64_t tensors = wire_tensors(&r, "tensors", &out->tensor);
    bool images = wire_some(&r, "images");
    if (images)
        out->images = wire_list(&r, "images", ITEM_BYTES);
    out->labels = wire_list(&r, "labels", ITEM_INT);
    out->has_targets = wire_some(&r, "targets");
    if (out->has_targets)
        out->targets = wire_tensor(&r, "targets", -1);
    out->row_ids = wire_list(&r, "row_ids", ITEM_STRING);
    if (!r.broken)
        judge(&r, out, tensors, images);
    return wire_close(&r);
}

static void put_labels(struct bytes *to, const int32_t *labels, int64_t rows)
{
    if (labels && rows > 0) {
        bytes_put_long(to, rows);
        for (int64_t i = 0; i < rows; i++)
            bytes_put_long(to, labels[i]);
    }
    bytes_put_long(to, 0);
}

void sample_encode(struct bytes *to, const struct tensor_view *tensor, const int32_t *labels,
                   const struct tensor_view *targets)
{
    bytes_put_long(to, 1); /* tensors: one, and no more */
    bytes_put_tensor(to, tensor);
    bytes_put_long(to, 0);
    bytes_put_long(to, 0); /* images: null */
    put_labels(to, labels, tensor->shape.dim[0]);
    bytes_put_long(to, targets != NULL);
    if (targets)
        bytes_put_tensor(to, targets);
    bytes_put_long(to, 0); /* row_ids: none */
}

void sample_encode_images(struct bytes *to, const struct span *images, int count, const int32_t *labels)
{
    bytes_put_long(to, 0); /* tensors: none */
    bytes_put_long(to, 1);
    bytes_put_spans(to, images, count);
    put_labels(to, labels, count);
    bytes_put_long(to, 0); /* targets: null */
    bytes_put_long(to, 0); /* row_ids: none */
}
