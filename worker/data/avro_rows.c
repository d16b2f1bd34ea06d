/* Rows in Avro object containers: Sample records (with labels or targets) and InferenceBatch records
 * (without). The container's blocks are worker/codec/container.h's affair, the records
 * worker/codec/record.h's. */
#include "worker/data/format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/container.h"

enum { RECORD_ROWS = 16 };

static bool avro_named(const char *path)
{
    return name_ends(path, ".avro");
}

static bool avro_begins(const unsigned char *bytes, size_t size)
{
    return size >= 4 && memcmp(bytes, "Obj\1", 4) == 0;
}

/* ---- reading: records are decoded one by one and their rows laid end to end ---- */

struct gather {
    const char *path;
    struct container *file;
    struct bytes data, labels, targets; /* as growing buffers of rows, int32_t and float */
    bool inference;
    struct rows rows; /* dtype and shape of the first record that has rows; count so far */
    bool labelled, targeted;
};

static int refuse(const struct gather *g, struct fail *why, const char *what)
{
    return fail(why, E_FILE, "%s: record %" PRId64 " (row %" PRId64 "): %s", g->path,
                container_index(g->file), g->rows.count, what);
}

static bool append(struct bytes *to, const void *from, size_t size)
{
    if (to->size + size > to->capacity) {
        size_t capacity = 2 * to->capacity + size;
        unsigned char *more = realloc(to->data, capacity);
        if (!more)
            return false;
        to->data = more;
        to->capacity = capacity;
    }
    if (size)
        memcpy(to->data + to->size, from, size);
    to->size += size;
    return true;
}

/* The first record with rows says what the others must be. */
static int check_like_first(struct gather *g, const struct rows *r, bool labelled,
                            const struct tensor_view *targets, struct fail *why)
{
    char a[64], b[64], text[200];
    int64_t target_size = targets && r->count ? shape_size(targets->shape) / r->count : 0;
    if (g->rows.count == 0) {
        g->rows = *r;
        g->rows.count = 0;
        g->rows.target_size = target_size;
        g->labelled = labelled;
        g->targeted = targets != NULL;
        return 0;
    }
    if (r->dtype != g->rows.dtype || !shape_equal(r->row_shape, g->rows.row_shape)) {
        snprintf(text, sizeof text, "rows of %s %s, those before are %s %s", dtype_name(r->dtype),
                 shape_text(r->row_shape, a, sizeof a), dtype_name(g->rows.dtype),
                 shape_text(g->rows.row_shape, b, sizeof b));
        return refuse(g, why, text);
    }
    if (labelled != g->labelled || target_size != g->rows.target_size)
        return refuse(g, why, "labels or targets come for some of the file's rows only");
    return 0;
}

static int gather_labels(struct gather *g, struct list labels, struct fail *why)
{
    int32_t label;
    while (list_next_int(&labels, &label))
        if (!append(&g->labels, &label, sizeof label))
            return fail(why, E_MEMORY, "%s: out of memory", g->path);
    return 0;
}

static int gather_targets(struct gather *g, const struct tensor_view *t, struct fail *why)
{
    int64_t n = shape_size(t->shape);
    float *values = malloc((size_t)n * sizeof *values + 1);
    bool good = values != NULL;
    if (good) {
        dtype_to_float(t->dtype, t->data.data, n, values);
        good = append(&g->targets, values, (size_t)n * sizeof *values);
    }
    free(values);
    return good ? 0 : fail(why, E_MEMORY, "%s: out of memory", g->path);
}

static int gather_rows(struct gather *g, const struct tensor_view *tensor, struct list labels,
                       const struct tensor_view *targets, struct fail *why)
{
    struct rows r = {.dtype = tensor->dtype};
    struct fail inner = {0};
    if (tensor->shape.rank && tensor->shape.dim[0] == 0)
        return 0;
    if (rows_take_shape(&r, tensor->shape, "its tensor", &inner))
        return refuse(g, why, inner.text);
    int rc = check_like_first(g, &r, labels.count > 0, targets, why);
    if (rc == 0 && !append(&g->data, tensor->data.data, tensor->data.size))
        rc = fail(why, E_MEMORY, "%s: out of memory", g->path);
    if (rc == 0)
        rc = gather_labels(g, labels, why);
    if (rc == 0 && targets)
        rc = gather_targets(g, targets, why);
    g->rows.count += r.count;
    return rc;
}

static int gather_record(struct gather *g, struct span value, struct fail *why)
{
    struct inference batch;
    struct sample sample = {.has_targets = false};
    struct fail inner = {0};
    int rc = g->inference ? inference_decode(&batch, value, &inner) : sample_decode(&sample, value, &inner);
    if (rc)
        return refuse(g, why, inner.text);
    if ((g->inference ? batch.kind : sample.kind) != PAYLOAD_TENSOR)
        return refuse(g, why, "holds images or external data, which are not read in this version");
    if (g->inference)
        return gather_rows(g, &batch.tensor, (struct list){.count = 0}, NULL, why);
    return gather_rows(g, &sample.tensor, sample.labels, sample.has_targets ? &sample.targets : NULL, why);
}

static int gather_all(struct gather *g, struct fail *why)
{
    struct span value;
    const struct record_type *type = container_type(g->file);
    int rc;
    g->inference = strcmp(type->name, "InferenceBatch") == 0;
    if (!g->inference && strcmp(type->name, "Sample") != 0)
        return fail(why, E_FILE, "%s: holds %s records, rows are in Sample and InferenceBatch", g->path,
                    type->name);
    while ((rc = container_next(g->file, &value, why)) > 0)
        if ((rc = gather_record(g, value, why)))
            break;
    if (rc == 0 && g->rows.count == 0)
        rc = fail(why, E_FILE, "%s: holds no rows, so nothing says their shape", g->path);
    return rc;
}

static int avro_read(struct rows *out, struct rows_hold *hold, struct fail *why)
{
    struct gather g = {.path = hold->map.path};
    int rc = container_open(&g.file, g.path, NULL, why);
    if (rc)
        return rc;
    rc = gather_all(&g, why);
    container_close(&g.file);
    hold->data = g.data.data;
    hold->labels = (int32_t *)(void *)g.labels.data;
    hold->targets = (float *)(void *)g.targets.data;
    *out = g.rows;
    out->data = g.data.data;
    out->labels = g.labelled ? hold->labels : NULL;
    out->targets = g.targeted ? hold->targets : NULL;
    return rc;
}

/* ---- writing: Sample records of RECORD_ROWS rows, the last one of what is left ---- */

struct avro_state {
    struct container_writer *file;
    struct bytes record;
    int pending; /* rows waiting below */
    unsigned char *data;
    int32_t labels[RECORD_ROWS];
    float *targets;
};

static int avro_create(struct rows_writer *w, struct fail *why)
{
    char *path = w->out.path;
    struct avro_state *st = w->state = calloc(1, sizeof *st);
    if (!st)
        return fail(why, E_MEMORY, "%s: out of memory", path);
    if (w->like.row_size > RECORD_MAX_BYTES / RECORD_ROWS / 2)
        return fail(why, E_USAGE, "%s: rows of %zu bytes are too large for records of %d rows; write .npy",
                    path, w->like.row_size, RECORD_ROWS);
    st->data = malloc(RECORD_ROWS * w->like.row_size);
    st->targets = malloc(RECORD_ROWS * sizeof(float) * (size_t)(w->like.target_size + 1));
    if (!st->data || !st->targets)
        return fail(why, E_MEMORY, "%s: out of memory", path);
    return container_create(&st->file, path, record_type_find("Sample"), why);
}

static int flush_record(struct rows_writer *w, struct fail *why)
{
    struct avro_state *st = w->state;
    struct rows part = w->like;
    part.count = st->pending;
    struct tensor_view t = {.name = {"", 0}, .dtype = part.dtype, .shape = rows_shape(&part)};
    t.data = (struct span){(const char *)st->data, (size_t)part.count * part.row_size};
    struct tensor_view targets = {
        .name = {"", 0}, .dtype = DTYPE_FP32, .shape = SHAPE(part.count, part.target_size)};
    targets.data =
        (struct span){(const char *)st->targets, (size_t)(part.count * part.target_size) * sizeof(float)};
    st->record.size = 0;
    sample_encode(&st->record, &t, part.labels ? st->labels : NULL, part.targets ? &targets : NULL);
    st->pending = 0;
    if (st->record.failed)
        return fail(why, E_MEMORY, "%s: out of memory", w->out.path);
    return container_append(st->file, st->record.data, st->record.size, why);
}

static int avro_append(struct rows_writer *w, const unsigned char *data, const int32_t *labels,
                       const float *targets, int64_t count, struct fail *why)
{
    struct avro_state *st = w->state;
    size_t row = w->like.row_size, target = (size_t)w->like.target_size;
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < count; i++) {
        memcpy(st->data + (size_t)st->pending * row, data + (size_t)i * row, row);
        if (labels)
            st->labels[st->pending] = labels[i];
        if (targets)
            memcpy(st->targets + (size_t)st->pending * target, targets + (size_t)i * target,
                   target * sizeof(float));
        if (++st->pending == RECORD_ROWS)
            rc = flush_record(w, why);
    }
    return rc;
}

static int avro_finish(struct rows_writer *w, struct fail *why)
{
    struct avro_state *st = w->state;
    int rc = st->pending ? flush_record(w, why) : 0;
    return rc ? rc : container_finish(&st->file, why);
}

static void avro_close(struct rows_writer *w)
{
    struct avro_state *st = w->state;
    if (!st)
        return;
    container_abandon(&st->file);
    bytes_free(&st->record);
    free(st->data);
    free(st->targets);
    free(st);
}

const struct rows_format format_avro = {
    .own_file = true,
    .name = ".avro",
    .named = avro_named,
    .begins = avro_begins,
    .read = avro_read,
    .create = avro_create,
    .append = avro_append,
    .finish = avro_finish,
    .close = avro_close,
};
