/* CIFAR-10's binary version: rows of one label byte and 3 x 32 x 32 bytes, nothing else
 * (https://www.cs.toronto.edu/~kriz/cifar.html). Other formats are in their own files: format.h. */
#include "worker/data/format.h"

#include <stdlib.h>
#include <string.h>

enum { IMAGE = 3 * 32 * 32, ROW = 1 + IMAGE, CLASSES = 10 };

static bool cifar_named(const char *path)
{
    return name_ends(path, ".bin");
}

static int cifar_read(struct rows *out, struct rows_hold *hold, struct fail *why)
{
    const struct file_map *map = &hold->map;
    if (map->size % ROW)
        return fail(
            why, E_FILE,
            "%s: byte %zu: row %zu is cut: a CIFAR-10 file has rows of %d bytes, this one %zu bytes in all",
            map->path, map->size, map->size / ROW, ROW, map->size);
    size_t count = map->size / ROW;
    unsigned char *data = hold->data = malloc(count * IMAGE);
    int32_t *labels = hold->labels = malloc(count * sizeof *labels);
    if (!data || !labels)
        return fail(why, E_MEMORY, "%s: out of memory for %zu rows", map->path, count);
    for (size_t i = 0; i < count; i++) {
        const unsigned char *row = map->base + i * ROW;
        if (row[0] >= CLASSES)
            return fail(why, E_FILE, "%s: byte %zu: row %zu has label %d, expected 0..%d", map->path, i * ROW,
                        i, row[0], CLASSES - 1);
        labels[i] = row[0];
        memcpy(data + i * IMAGE, row + 1, IMAGE);
    }
    *out = (struct rows){.dtype = DTYPE_UINT8,
                         .row_shape = SHAPE(3, 32, 32),
                         .count = (int64_t)count,
                         .row_size = IMAGE,
                         .data = data,
                         .labels = labels};
    return 0;
}

static int cifar_create(struct rows_writer *w, struct fail *why)
{
    char text[128];
    const struct rows *like = &w->like;
    if (like->dtype != DTYPE_UINT8 || !shape_equal(like->row_shape, SHAPE(3, 32, 32)))
        return fail(why, E_USAGE, "%s: CIFAR-10 .bin holds [3, 32, 32] of UINT8, not %s of %s; write .npz",
                    w->out.path, shape_text(like->row_shape, text, sizeof text), dtype_name(like->dtype));
    if (!like->labels || like->targets)
        return fail(why, E_USAGE, "%s: CIFAR-10 .bin holds labels and no targets; write .npz or .npy",
                    w->out.path);
    return 0;
}

static int cifar_append(struct rows_writer *w, const unsigned char *data, const int32_t *labels,
                        const float *targets, int64_t count, struct fail *why)
{
    (void)targets;
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < count; i++) {
        if (labels[i] < 0 || labels[i] >= CLASSES)
            return fail(why, E_USAGE, "%s: row %lld has label %d, CIFAR-10 .bin holds 0..%d; write .npz",
                        w->out.path, (long long)(w->done + i), labels[i], CLASSES - 1);
        unsigned char label = (unsigned char)labels[i];
        rc = file_out_write(&w->out, &label, 1, why);
        if (rc == 0)
            rc = file_out_write(&w->out, data + i * IMAGE, IMAGE, why);
    }
    return rc;
}

const struct rows_format format_cifar = {
    .name = "CIFAR-10 .bin",
    .named = cifar_named,
    .read = cifar_read,
    .create = cifar_create,
    .append = cifar_append,
};
