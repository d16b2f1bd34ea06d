/* Sample records to rows: tensors as they are, encoded images decoded into their place. Next to read:
 * dataset_read.c. */
#include <string.h>

#include "worker/train/dataset_parts.h"

static struct shape shape_of_rows(struct shape s)
{
    struct shape row = {.rank = s.rank - 1};
    for (int i = 1; i < s.rank; i++)
        row.dim[i - 1] = s.dim[i];
    return row;
}

static int tensor_chunk(const struct sample *s, struct dataset_chunk *c, struct fail *why)
{
    *c = (struct dataset_chunk){.dtype = s->tensor.dtype,
                                .shape = shape_of_rows(s->tensor.shape),
                                .rows = s->rows,
                                .data = (const unsigned char *)s->tensor.data.data};
    if (s->has_targets)
        c->target_size = shape_size(shape_of_rows(s->targets.shape));
    else if (s->labels.count != s->rows)
        return fail(why, E_BAD_REQUEST, "%lld rows without labels or targets", (long long)s->rows);
    return 0;
}

/* Room for UINT8 rows of the graph's shape behind the last; the first ones say what the others must be. */
static int room_of_graph(struct dataset *d, struct dataset_chunk *c, struct fail *why)
{
    c->dtype = DTYPE_UINT8;
    c->shape = d->options.graph->input;
    int rc = dataset_chunk_check(d, c, why);
    return rc ? rc : dataset_reserve(d, c->rows, why);
}

int dataset_resize(struct dataset *d, struct dataset_chunk *c, struct fail *why)
{
    const struct graph *g = d->options.graph;
    if (!d->options.resize || !g || c->dtype != DTYPE_UINT8 || c->shape.rank != 3 || g->input.rank != 3 ||
        c->shape.dim[0] != g->input.dim[0] || shape_equal(c->shape, g->input))
        return 0;
    struct shape from = c->shape;
    size_t size = (size_t)shape_size(from);
    int rc = room_of_graph(d, c, why);
    unsigned char *to = rc ? NULL : d->rows.base + d->rows.used;
    for (int64_t i = 0; !rc && i < c->rows; i++)
        rc = image_resize_planes(&d->images, c->data + (size_t)i * size, from, g->input,
                                 to + (size_t)i * d->row_size, why);
    c->data = to;
    return rc;
}

static int image_chunk(struct dataset *d, const struct sample *s, struct dataset_chunk *c, struct fail *why)
{
    struct list images = s->images;
    struct span file;
    if (s->has_targets)
        c->target_size = shape_size(shape_of_rows(s->targets.shape));
    c->rows = s->rows;
    if (!d->options.graph)
        return fail(why, E_BAD_REQUEST, "encoded images, and no network says what size they become");
    if (!s->has_targets && s->labels.count != s->rows)
        return fail(why, E_BAD_REQUEST, "%lld images without labels or targets", (long long)s->rows);
    if (!image_fits(d->options.graph->input))
        return fail(why, E_BAD_IMAGE, "the network takes no images: rows of [1 or 3, H, W]");
    int rc = room_of_graph(d, c, why);
    unsigned char *to = rc ? NULL : d->rows.base + d->rows.used;
    c->data = to;
    d->images.budget = IMAGE_RECORD_PIXELS;
    for (int64_t i = 0; !rc && list_next_bytes(&images, &file); i++, to += d->row_size)
        if ((rc = image_decode(&d->images, file, d->shape, to, why)))
            fail_prefix(why, "image %lld", (long long)i);
    return rc;
}

/* The answers of all rows, behind the last row's. */
static int answers_put(struct dataset *d, const struct sample *s, const struct dataset_chunk *c,
                       struct fail *why)
{
    struct list labels = s->labels;
    if (c->target_size) {
        dtype_to_float(s->targets.dtype, s->targets.data.data, c->rows * c->target_size,
                       d->targets + d->count * d->target_size);
        return 0;
    }
    for (int64_t i = 0; i < c->rows; i++)
        if (!list_next_int(&labels, &d->labels[d->count + i]))
            return fail(why, E_BAD_REQUEST, "%lld labels for %lld rows", (long long)i, (long long)c->rows);
    return 0;
}

static int sample_add(struct dataset *d, const struct sample *s, struct fail *why)
{
    struct dataset_chunk c = {0};
    int rc = 0;
    if (s->rows == 0)
        return 0;
    if (s->kind == PAYLOAD_IMAGES)
        rc = image_chunk(d, s, &c, why);
    else if (!(rc = tensor_chunk(s, &c, why)))
        rc = dataset_resize(d, &c, why);
    if (!rc)
        rc = dataset_chunk_check(d, &c, why);
    if (!rc)
        rc = dataset_reserve(d, c.rows, why);
    if (!rc)
        rc = answers_put(d, s, &c, why);
    return rc ? rc : dataset_chunk_take(d, &c, why);
}

static int record_add(struct dataset *d, const struct record *r, const struct payload_wait *wait,
                      struct fail *why)
{
    const struct record_type *type = record_type_find("Sample");
    struct span payload;
    struct sample s;
    int rc = r->value.data ? record_payload_wait(r, type, wait, &payload, why)
                           : fail(why, E_EMPTY, "the record has no value");
    if (!rc)
        rc = sample_decode(&s, payload, why);
    return rc ? rc : sample_add(d, &s, why);
}

int dataset_add_record(struct dataset *d, const struct record *r, const struct payload_wait *wait,
                       struct fail *why)
{
    int rc = record_add(d, r, wait, why);
    if (!rc || rc == -E_INTERRUPTED)
        return rc;
    bool record = fail_class((enum fail_code) - rc) == FAIL_RECORD;
    if (record && d->options.on_bad) {
        struct fail reason = *why;
        d->bad_records++;
        return d->options.on_bad(d->options.on_bad_arg, r, &reason, why);
    }
    fail_prefix(why, "data set: %s/%d offset %lld", r->topic, r->partition, (long long)r->offset);
    if (record)
        why->code = E_JOB;
    return -(int)why->code;
}
