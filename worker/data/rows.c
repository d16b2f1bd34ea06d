/* Finds the format of a file and hands over to it. Next to read: format.h, npy.c, idx.c. */
#include "worker/data/folder.h"
#include "worker/data/format.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct rows_format *const formats[] = {&format_npy, &format_npz, &format_idx, &format_cifar,
                                                    &format_avro};

enum { FORMATS = sizeof formats / sizeof *formats };

#define FILES ".npy, .npz, MNIST idx (train-images-idx3-ubyte, .idx, also .gz), CIFAR-10 .bin, .avro"

const char *rows_formats(void)
{
    return FILES ", a folder of class folders with JPEG and PNG files";
}

bool name_ends(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n >= m && strcasecmp(path + n - m, end) == 0;
}

int rows_take_shape(struct rows *out, struct shape s, const char *where, struct fail *why)
{
    char text[128];
    if (s.rank < 1 || s.rank > SHAPE_DIMS - 1 || shape_size(s) < 0)
        return fail(why, E_FILE, "%s: shape %s is not one of rows", where, shape_text(s, text, sizeof text));
    struct shape row = {.rank = s.rank - 1};
    memcpy(row.dim, s.dim + 1, sizeof *row.dim * (size_t)row.rank);
    if (row.rank == 0)
        row = SHAPE(1);
    if (row.rank == 2)
        row = SHAPE(1, s.dim[1], s.dim[2]);
    if (shape_size(row) < 1)
        return fail(why, E_FILE, "%s: shape %s has rows without a value", where,
                    shape_text(s, text, sizeof text));
    out->count = s.dim[0];
    out->row_shape = row;
    out->row_size = (size_t)shape_size(row) * dtype_size(out->dtype);
    return 0;
}

struct shape rows_shape(const struct rows *rows)
{
    struct shape s = {.rank = rows->row_shape.rank + 1, .dim = {rows->count}};
    memcpy(s.dim + 1, rows->row_shape.dim, sizeof *s.dim * (size_t)rows->row_shape.rank);
    return s;
}

static const struct rows_format *format_named(const char *path)
{
    for (int i = 0; i < FORMATS; i++)
        if (formats[i]->named(path))
            return formats[i];
    return NULL;
}

static void hold_free(struct rows_hold *hold)
{
    file_map_close(&hold->map);
    free(hold->data);
    free(hold->labels);
    free(hold->targets);
    free(hold);
}

/* The name decides; the first bytes must not say otherwise. A file whose name says nothing goes by its bytes.
 */
static int find_format(const struct rows_format **out, const struct file_map *map, struct fail *why)
{
    const struct rows_format *named = format_named(map->path), *found = NULL;
    for (int i = 0; i < FORMATS; i++)
        if (formats[i]->begins && formats[i]->begins(map->base, map->size))
            found = formats[i];
    *out = named ? named : found;
    if (!*out)
        return fail(why, E_FILE, "%s: neither its name nor its first bytes say what it is; read are %s",
                    map->path, rows_formats());
    if (named && named->begins && found != named)
        return fail(why, E_FILE, "%s: byte 0: named as %s, but holds %s", map->path, named->name,
                    found ? found->name : "something else");
    return 0;
}

int rows_read_as(struct rows *out, const char *path, const struct shape *shape, struct fail *why)
{
    struct folder f;
    if (!folder_is(path))
        return rows_read(out, path, why);
    int rc = folder_open(&f, path, why);
    if (!rc)
        rc = folder_rows(out, &f, shape, why);
    folder_close(&f);
    return rc;
}

int rows_read(struct rows *out, const char *path, struct fail *why)
{
    if (folder_is(path))
        return rows_read_as(out, path, NULL, why);
    struct rows rows = {0};
    const struct rows_format *format;
    struct rows_hold *hold = calloc(1, sizeof *hold);
    if (!hold)
        return fail(why, E_MEMORY, "%s: out of memory", path);
    int rc = file_map_open(&hold->map, path, why);
    if (rc == 0)
        rc = find_format(&format, &hold->map, why);
    if (rc == 0)
        rc = format->read(&rows, hold, why);
    if (rc) {
        hold_free(hold);
        return rc;
    }
    rows.hold = hold;
    *out = rows;
    return 0;
}

void rows_close(struct rows *rows)
{
    if (rows->hold)
        hold_free(rows->hold);
    *rows = (struct rows){0};
}

static bool writable(const struct rows *like)
{
    return like->count >= 0 && like->row_size > 0 && like->row_shape.rank < SHAPE_DIMS &&
           shape_size(rows_shape(like)) >= 0 &&
           (!like->targets ||
            (like->target_size > 0 && shape_size(SHAPE(like->count, like->target_size)) >= 0));
}

int rows_create(struct rows_writer **out, const char *path, const struct rows *like, struct fail *why)
{
    const struct rows_format *format = format_named(path);
    if (!format)
        return fail(why, E_USAGE, "%s: the name's end says no format that is written; written are %s", path,
                    FILES);
    struct rows_writer *w = calloc(1, sizeof *w);
    if (!w)
        return fail(why, E_MEMORY, "%s: out of memory", path);
    w->format = format;
    w->like = *like;
    int64_t size = like->row_shape.rank < SHAPE_DIMS ? shape_size(like->row_shape) : -1;
    w->like.row_size = size < 0 ? 0 : (size_t)size * dtype_size(like->dtype);
    int rc = 0;
    if (!writable(&w->like))
        rc = fail(why, E_USAGE, "%s: no rows of such a shape and type", path);
    else if (!format->own_file)
        rc = file_out_open(&w->out, path, why);
    else if (!(w->out.path = strdup(path)))
        rc = fail(why, E_MEMORY, "%s: out of memory", path);
    if (rc == 0)
        rc = format->create(w, why);
    if (rc)
        rows_abandon(&w);
    else
        *out = w;
    return rc;
}

int rows_append(struct rows_writer *w, const void *data, const int32_t *labels, const float *targets,
                int64_t count, struct fail *why)
{
    if (count < 0 || count > w->like.count - w->done)
        return fail(why, E_FAILED, "%s: %lld rows were promised, %lld came", w->out.path,
                    (long long)w->like.count, (long long)(w->done + count));
    if (!labels != !w->like.labels || !targets != !w->like.targets)
        return fail(why, E_FAILED, "%s: labels or targets come for some rows only", w->out.path);
    int rc = count ? w->format->append(w, data, labels, targets, count, why) : 0;
    w->done += count;
    return rc;
}

int rows_finish(struct rows_writer **w, struct fail *why)
{
    struct rows_writer *o = *w;
    int rc = 0;
    if (o->done != o->like.count)
        rc = fail(why, E_FAILED, "%s: %lld rows were promised, %lld came", o->out.path,
                  (long long)o->like.count, (long long)o->done);
    if (rc == 0 && o->format->finish)
        rc = o->format->finish(o, why);
    if (rc == 0 && o->out.stream)
        rc = file_out_commit(&o->out, why);
    rows_abandon(w);
    return rc;
}

void rows_abandon(struct rows_writer **w)
{
    if (!w || !*w)
        return;
    if ((*w)->format->close)
        (*w)->format->close(*w);
    file_out_close(&(*w)->out);
    free(*w);
    *w = NULL;
}

int rows_write(const struct rows *rows, const char *path, struct fail *why)
{
    struct rows_writer *w = NULL;
    int rc = rows_create(&w, path, rows, why);
    if (rc == 0)
        rc = rows_append(w, rows->data, rows->labels, rows->targets, rows->count, why);
    if (rc)
        rows_abandon(&w);
    else
        rc = rows_finish(&w, why);
    return rc;
}
