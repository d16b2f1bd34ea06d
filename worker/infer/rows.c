/* A row is bad by itself: neither its neighbours nor its record are touched by what is said of it here. How files are decoded:
 * codec/image.h; how bytes become floats: engine/normalise.h. */
#include "worker/infer/rows.h"

#include <stdlib.h>

void row_memory_free(struct row_memory *m)
{
    image_decoder_free(&m->decoder);
    free(m->bytes);
    *m = (struct row_memory){0};
}

static int reserve(struct row_memory *m, size_t size, struct fail *why)
{
    if (size <= m->capacity)
        return 0;
    unsigned char *more = realloc(m->bytes, size);
    if (!more)
        return fail(why, E_MEMORY, "an image row of %zu bytes", size);
    m->bytes = more;
    m->capacity = size;
    return 0;
}

int rows_open(struct rows *r, const struct inference *request, const struct model *m, enum non_finite setting,
              struct row_memory *memory, struct fail *why)
{
    *r = (struct rows){.model = m,
                       .memory = memory,
                       .reject_non_finite = setting == NON_FINITE_REJECT,
                       .kind = request->kind,
                       .tensor = request->tensor,
                       .images = request->images};
    if (r->kind == PAYLOAD_TENSOR) {
        r->row_size = request->rows ? request->tensor.data.size / (size_t)request->rows : 0;
        return 0;
    }
    r->row_size = (size_t)shape_size(m->graph->input);
    memory->decoder.budget = IMAGE_RECORD_PIXELS;
    return reserve(memory, r->row_size, why);
}

static int next_of_tensor(struct rows *r, float *to, struct fail *why)
{
    const char *from = r->tensor.data.data + (size_t)r->next++ * r->row_size;
    int64_t bad = normalise_row(&r->model->normalise, r->tensor.dtype, from, to);
    if (!bad || !r->reject_non_finite)
        return ROW_OK;
    fail(why, E_NON_FINITE, "%lld values of the row are not finite", (long long)bad);
    return ROW_BAD_INPUT;
}

static int next_of_images(struct rows *r, float *to, struct fail *why)
{
    struct span file = {"", 0};
    list_next_bytes(&r->images, &file); /* as many as there are rows: the decoder counted them */
    int rc = image_decode(&r->memory->decoder, file, r->model->graph->input, r->memory->bytes, why);
    if (rc)
        return rc == -E_BAD_IMAGE ? ROW_BAD_INPUT : rc;
    normalise_row(&r->model->normalise, DTYPE_UINT8, r->memory->bytes, to);
    return ROW_OK;
}

int rows_next(struct rows *r, float *to, struct fail *why)
{
    return r->kind == PAYLOAD_IMAGES ? next_of_images(r, to, why) : next_of_tensor(r, to, why);
}
