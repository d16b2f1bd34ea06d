/* InferenceBatch: the hot path in, and what `send` writes. Data is borrowed from the record, nothing is
 * allocated. Which model answers and whether the shape suits it is worker/infer's affair.
 * Next to read: wire.h for the reader, prediction.c for the way out. */
#include "worker/codec/wire.h"

#include <inttypes.h>
#include <string.h>

/* What only decoding the sources and judging them needs. */
struct sources {
    int64_t tensors;
    bool images, external;
};

static void read_external(struct wire *r, struct inference *out)
{
    wire_enter(r, "external", -1);
    out->external_uri = wire_string(r, "uri");
    out->external_sha256 = wire_string(r, "sha256");
    struct tensor_view t = wire_tensor(r, "tensor", -1);
    wire_leave(r);
    out->tensor = t;
}

static void skip_parameters(struct wire *r)
{
    struct wire_blocks b = {0};
    while (wire_next(r, "parameters", &b, 2)) {
        wire_string(r, "parameters");
        wire_string(r, "parameters");
    }
}

/* null: 0. A deadline that is there but not after 1970 has passed, and must not read as "none". */
static int64_t read_deadline(struct wire *r)
{
    if (!wire_some(r, "deadline_at"))
        return 0;
    int64_t at = wire_long(r, "deadline_at");
    return at > 0 ? at : 1;
}

static bool is_sha256(struct span s)
{
    for (size_t i = 0; i < s.size; i++)
        if (!s.data[i] || !strchr("0123456789abcdefABCDEF", s.data[i]))
            return false;
    return s.size == 64;
}

/* Exactly one source, and that one sound; sets kind and rows. */
static void judge_source(struct wire *r, struct inference *out, struct sources s)
{
    int filled = (s.tensors > 0) + s.images + s.external;
    if (filled != 1)
        wire_refuse(r, "tensors", E_BAD_REQUEST,
                    "%d of tensors, images and external are filled, expected exactly one", filled);
    else if (s.tensors > 1)
        wire_refuse(r, "tensors", E_BAD_REQUEST, "%" PRId64 " tensors; models with one input are served",
                    s.tensors);
    out->kind = s.images ? PAYLOAD_IMAGES : s.external ? PAYLOAD_EXTERNAL : PAYLOAD_TENSOR;
    out->rows = s.images ? out->images.count : out->tensor.shape.dim[0];
    if (s.external && out->external_uri.size == 0)
        wire_refuse(r, "external.uri", E_BAD_REQUEST, "is empty");
    if (s.external && !is_sha256(out->external_sha256))
        wire_refuse(r, "external.sha256", E_BAD_REQUEST, "expected 64 hexadecimal digits");
    if (!s.images)
        wire_check_tensor(r, s.external ? "external.tensor" : "tensors[0]", &out->tensor, !s.external);
}

static void judge_request(struct wire *r, struct inference *out, struct sources s)
{
    if (out->id.size == 0)
        wire_refuse(r, "id", E_BAD_REQUEST, "is empty; every request needs one");
    if (out->top_k < 0)
        wire_refuse(r, "top_k", E_BAD_REQUEST, "is %d, expected 0 or more", out->top_k);
    judge_source(r, out, s);
    if (out->row_ids.count && out->row_ids.count != out->rows)
        wire_refuse(r, "row_ids", E_BAD_REQUEST,
                    "%" PRId64 " of them for %" PRId64 " rows, expected none or one a row",
                    out->row_ids.count, out->rows);
}

int inference_decode(struct inference *out, struct span value, struct fail *why)
{
    struct wire r;
    struct sources s = {0};
    memset(out, 0, sizeof *out);
    wire_open(&r, value, why);
    out->id = wire_string(&r, "id");
    out->model = wire_string(&r, "model");
    s.tensors = wire_tensors(&r, "tensors", &out->tensor);
    s.images = wire_some(&r, "images");
    if (s.images)
        out->images = wire_list(&r, "images", ITEM_BYTES);
    s.external = wire_some(&r, "external");
    if (s.external)
        read_external(&r, out);
    out->row_ids = wire_list(&r, "row_ids", ITEM_STRING);
    out->created_at = wire_long(&r, "created_at");
    out->deadline_at = read_deadline(&r);
    out->top_k = wire_int(&r, "top_k");
    out->return_outputs = wire_bool(&r, "return_outputs");
    out->explain = wire_bool(&r, "explain");
    skip_parameters(&r);
    if (!r.broken)
        judge_request(&r, out, s);
    return wire_close(&r);
}

static void put_tail(struct bytes *to, const struct inference_head *head, const struct span *row_ids,
                     int64_t rows)
{
    bytes_put_long(to, 0); /* external: null */
    bytes_put_spans(to, row_ids, rows);
    bytes_put_long(to, head->created_at);
    bytes_put_long(to, head->deadline_at != 0);
    if (head->deadline_at)
        bytes_put_long(to, head->deadline_at);
    bytes_put_long(to, head->top_k);
    bytes_put_bool(to, head->return_outputs);
    bytes_put_bool(to, head->explain);
    bytes_put_long(to, 0); /* parameters: none */
}

void inference_encode(struct bytes *to, const struct inference_head *head, const struct tensor_view *tensor,
                      const struct span *row_ids)
{
    bytes_put_span(to, head->id);
    bytes_put_span(to, head->model);
    bytes_put_long(to, 1); /* tensors: one, and no more */
    bytes_put_tensor(to, tensor);
    bytes_put_long(to, 0);
    bytes_put_long(to, 0); /* images: null */
    put_tail(to, head, row_ids, tensor->shape.dim[0]);
}

void inference_encode_images(struct bytes *to, const struct inference_head *head, const struct span *images,
                             int count, const struct span *row_ids)
{
    bytes_put_span(to, head->id);
    bytes_put_span(to, head->model);
    bytes_put_long(to, 0); /* tensors: none */
    bytes_put_long(to, 1);
    bytes_put_spans(to, images, count);
    put_tail(to, head, row_ids, count);
}
