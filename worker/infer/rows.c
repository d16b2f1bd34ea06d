/* A row is bad by itself: neither its neighbours nor its record are touched by what is said of it here. How files are decoded:
 * codec/image.h; how bytes become floats: engine/normalise.h. */
#include "worker/infer/rows.h"

#include <string.h>

static const char *source_name(const struct inference *q)
{
    return q->kind == PAYLOAD_EXTERNAL ? "external.tensor" : "tensors[0]";
}

/* [n, C, H, W] exactly, where [C, H, W] is the model's input. */
static int check_shape(const struct inference *q, const struct model *m, struct fail *why)
{
    struct shape row = m->graph->input, got = q->tensor.shape;
    char want[128], have[128];
    bool equal = got.rank == row.rank + 1;
    for (int i = 0; equal && i < row.rank; i++)
        equal = got.dim[i + 1] == row.dim[i];
    if (equal)
        return 0;
    return fail(why, E_BAD_SHAPE, "%s.shape is %s, %s takes [n, then %s]", source_name(q),
                shape_text(got, have, sizeof have), m->name, shape_text(row, want, sizeof want));
}

int rows_check(const struct inference *q, const struct model *m, struct fail *why)
{
    struct span name = q->tensor.name;
    const char *input = m->graph->input_name;
    if (name.size && (name.size != strlen(input) || memcmp(name.data, input, name.size) != 0))
        return fail(why, E_BAD_REQUEST, "%s.name is \"%.*s\", the input of %s is \"%s\"", source_name(q),
                    (int)(name.size < 100 ? name.size : 100), name.data, m->name, input);
    return check_shape(q, m, why);
}

enum intake_kind rows_kind(const struct inference *q)
{
    return q->kind == PAYLOAD_IMAGES || q->tensor.dtype == DTYPE_UINT8 ? INTAKE_BYTES : INTAKE_FLOATS;
}

void rows_open(struct rows *r, const struct inference *request, const struct model *m,
               enum non_finite setting, struct image_decoder *decoder)
{
    *r = (struct rows){.model = m,
                       .decoder = decoder,
                       .reject_non_finite = setting == NON_FINITE_REJECT,
                       .kind = request->kind,
                       .tensor = request->tensor,
                       .images = request->images};
    decoder->budget = IMAGE_RECORD_PIXELS;
    if (r->kind == PAYLOAD_TENSOR && request->rows)
        r->row_size = request->tensor.data.size / (size_t)request->rows;
}

static int next_of_tensor(struct rows *r, struct intake *in, int at, struct fail *why)
{
    const char *from = r->tensor.data.data + (size_t)r->next++ * r->row_size;
    int64_t size = net_input_size(in->net), bad = 0;
    if (net_input_bytes(in->net))
        memcpy(net_input_bytes(in->net) + at * size, from, r->row_size);
    else
        bad = normalise_row(&r->model->normalise, r->tensor.dtype, from, net_input(in->net) + at * size);
    if (!bad || !r->reject_non_finite)
        return ROW_OK;
    fail(why, E_NON_FINITE, "%lld values of the row are not finite", (long long)bad);
    return ROW_BAD_INPUT;
}

static int next_of_images(struct rows *r, struct intake *in, int at, struct fail *why)
{
    struct span file = {"", 0};
    list_next_bytes(&r->images, &file); /* as many as there are rows: the decoder counted them */
    int rc = image_decode(r->decoder, file, r->model->graph->input,
                          net_input_bytes(in->net) + at * net_input_size(in->net), why);
    return !rc ? (int)ROW_OK : rc == -E_BAD_IMAGE ? (int)ROW_BAD_INPUT : rc;
}

int rows_next(struct rows *r, struct intake *in, int at, struct fail *why)
{
    return r->kind == PAYLOAD_IMAGES ? next_of_images(r, in, at, why) : next_of_tensor(r, in, at, why);
}
