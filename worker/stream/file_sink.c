/* A file as a sink: the runner writes it as it writes a transaction. Formats: codec/container.h, codec/record.h,
 * npy_part.h. */
#include "worker/stream/file_sink.h"

#include <stdlib.h>
#include <string.h>

#include "worker/codec/container.h"
#include "worker/service/file.h"
#include "worker/service/log.h"
#include "worker/stream/npy_part.h"

struct file_sink;

struct format {
    const char *extension;
    int (*open)(struct file_sink *f, struct fail *why);
    int (*write)(struct file_sink *f, struct span prediction, struct fail *why);
    int (*finish)(struct file_sink *f, struct fail *why);
    void (*abandon)(struct file_sink *f);
};

struct file_sink {
    struct sink base;
    const struct format *format;
    const char *path;
    struct shape outputs;
    int64_t rows;
    struct batch batch; /* the pool: the runner waits for the file, so one is enough */
    bool taken;
    struct file_sink_counts counts;
    struct container_writer *container;
    struct npy_part *npy, *saliency; /* saliency: NULL where it is not wanted */
    struct file_out text;
    struct bytes line;
};

/* ---- .avro ---- */

static int avro_open(struct file_sink *f, struct fail *why)
{
    return container_create(&f->container, f->path, record_type_find("Prediction"), why);
}

static int avro_write(struct file_sink *f, struct span p, struct fail *why)
{
    return container_append(f->container, p.data, p.size, why);
}

static int avro_finish(struct file_sink *f, struct fail *why)
{
    return container_finish(&f->container, why);
}

static void avro_abandon(struct file_sink *f)
{
    container_abandon(&f->container);
}

/* ---- .jsonl ---- */

static int jsonl_open(struct file_sink *f, struct fail *why)
{
    return file_out_open(&f->text, f->path, why);
}

static int jsonl_write(struct file_sink *f, struct span p, struct fail *why)
{
    f->line.size = 0;
    int rc = record_print_json(&f->line, record_type_find("Prediction"), 1, p, why);
    if (rc)
        return rc;
    rc = file_out_write(&f->text, f->line.data, f->line.size, why);
    return rc ? rc : file_out_write(&f->text, "\n", 1, why);
}

static int jsonl_finish(struct file_sink *f, struct fail *why)
{
    int rc = file_out_commit(&f->text, why);
    file_out_close(&f->text);
    return rc;
}

static void jsonl_abandon(struct file_sink *f)
{
    file_out_close(&f->text);
}

/* ---- .npy ---- */

static int npy_open(struct file_sink *f, struct fail *why)
{
    return npy_part_open(&f->npy, f->path, NPY_OUTPUTS, f->outputs, f->rows, why);
}

static int npy_write(struct file_sink *f, struct span p, struct fail *why)
{
    return npy_part_write(f->npy, p, why);
}

static int npy_finish(struct file_sink *f, struct fail *why)
{
    return npy_part_finish(&f->npy, why);
}

static void npy_abandon(struct file_sink *f)
{
    npy_part_abandon(&f->npy);
}

static const struct format formats[] = {
    {".avro", avro_open, avro_write, avro_finish, avro_abandon},
    {".jsonl", jsonl_open, jsonl_write, jsonl_finish, jsonl_abandon},
    {".npy", npy_open, npy_write, npy_finish, npy_abandon},
    {0},
};

static const struct format *format_find(const char *path)
{
    size_t n = strlen(path);
    for (const struct format *f = formats; f->extension; f++) {
        size_t m = strlen(f->extension);
        if (n > m && strcmp(path + n - m, f->extension) == 0)
            return f;
    }
    return NULL;
}

bool file_sink_wants_outputs(const char *path)
{
    const struct format *f = format_find(path);
    return f && f->write == npy_write;
}

/* ---- the sink ---- */

static int op_take(struct sink *base, struct batch **out, struct fail *why)
{
    struct file_sink *f = (struct file_sink *)base;
    if (f->taken)
        return fail(why, E_FAILED, "a second batch of a file");
    f->taken = true;
    *out = &f->batch;
    return 0;
}

static struct span header_of(const struct output *o, const char *name)
{
    for (int i = 0; i < o->header_count; i++)
        if (strcmp(o->headers[i].name, name) == 0)
            return o->headers[i].value;
    return (struct span){"", 0};
}

static int write_output(struct file_sink *f, const struct output *o, struct fail *why)
{
    if (o->topic == TOPIC_DEAD_LETTERS) {
        f->counts.dead_letters++;
        log_event(LOG_ERROR, "a record cannot be answered", "record", header_of(o, "dlq.offset").data,
                  "reason", header_of(o, "dlq.reason").data, "detail",
                  log_text("%s", header_of(o, "dlq.detail").data), NULL);
        return 0;
    }
    f->counts.records++;
    int rc = f->format->write(f, o->value, why);
    return rc || !f->saliency ? rc : npy_part_write(f->saliency, o->value, why);
}

static int op_put(struct sink *base, struct batch **b, struct fail *why)
{
    struct file_sink *f = (struct file_sink *)base;
    int rc = 0;
    for (int i = 0; !rc && i < (*b)->output_count; i++)
        rc = write_output(f, &(*b)->outputs[i], why);
    f->counts.rows += (*b)->rows;
    batch_reset(*b);
    f->taken = false;
    *b = NULL;
    return rc;
}

static int op_wait(struct sink *base, struct fail *why)
{
    (void)base, (void)why;
    return 0;
}

static size_t op_limit(struct sink *base, enum topic topic)
{
    (void)base, (void)topic;
    return (size_t)1 << 30;
}

static const struct sink_ops ops = {op_take, op_put, op_wait, op_limit};

int file_sink_open(struct file_sink **out, const char *path, struct shape outputs, int64_t rows,
                   struct fail *why)
{
    struct file_sink *f = calloc(1, sizeof *f);
    if (!f)
        return fail(why, E_MEMORY, "a sink of %s", path);
    f->base.ops = &ops;
    f->path = path;
    f->outputs = outputs;
    f->rows = rows;
    f->format = format_find(path);
    int rc = f->format ? f->format->open(f, why)
                       : fail(why, E_USAGE, "%s: predictions are written as .avro, .jsonl or .npy", path);
    if (rc) {
        free(f);
        f = NULL;
    }
    *out = f;
    return rc;
}

int file_sink_saliency(struct file_sink *f, const char *path, struct shape input, struct fail *why)
{
    size_t n = strlen(path);
    if (n <= 4 || strcmp(path + n - 4, ".npy") != 0)
        return fail(why, E_USAGE, "%s: saliency maps are written as .npy", path);
    return npy_part_open(&f->saliency, path, NPY_SALIENCY, input, f->rows, why);
}

struct sink *file_sink_base(struct file_sink *f)
{
    return &f->base;
}

struct file_sink_counts file_sink_counts(const struct file_sink *f)
{
    return f->counts;
}

static void file_sink_free(struct file_sink **f)
{
    region_free(&(*f)->batch.mem);
    bytes_free(&(*f)->line);
    free(*f);
    *f = NULL;
}

int file_sink_finish(struct file_sink **f, struct fail *why)
{
    int rc = (*f)->saliency ? npy_part_finish(&(*f)->saliency, why) : 0;
    if (rc)
        (*f)->format->abandon(*f);
    else
        rc = (*f)->format->finish(*f, why);
    file_sink_free(f);
    return rc;
}

void file_sink_abandon(struct file_sink **f)
{
    if (!*f)
        return;
    npy_part_abandon(&(*f)->saliency);
    (*f)->format->abandon(*f);
    file_sink_free(f);
}
