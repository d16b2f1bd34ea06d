/* MNIST's idx (http://yann.lecun.com/exdb/mnist/): 0, 0, type, number of dimensions, each as a big-endian
 * int, then the values. Only unsigned bytes. Labels are a file of one dimension beside it, whose name says
 * labels for images: train-images-idx3-ubyte, train-labels-idx1-ubyte. Both may be gzipped: gz.h. */
#include "worker/data/format.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/data/gz.h"

enum { IDX_DIMS = 4, IDX_UBYTE = 8, IDX_HEADER = 4 + 4 * IDX_DIMS };

static bool idx_named(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (name_ends(name, ".idx") || name_ends(name, ".idx.gz"))
        return true;
    return strstr(name, "idx") && (name_ends(name, "ubyte") || name_ends(name, "ubyte.gz"));
}

static bool idx_begins(const unsigned char *b, size_t size)
{
    return gz_begins(b, size) ||
           (size >= 4 && b[0] == 0 && b[1] == 0 && b[2] >= 8 && b[2] <= 14 && b[3] >= 1);
}

/* ---- one file ---- */

struct idx {
    struct shape shape;
    const unsigned char *data;
    void *owned; /* inflated */
};

/* A header's shape: the file's values are as many as its product. `size` bytes are there, at least IDX_HEADER
 * of the file's beginning or all of it. */
static int parse_header(struct idx *out, const unsigned char *b, size_t size, const char *path,
                        struct fail *why)
{
    if (size < 4 || b[0] || b[1])
        return fail(why, E_FILE, "%s: byte 0: not an idx file: expected 0, 0, type, dimensions", path);
    if (b[2] != IDX_UBYTE)
        return fail(why, E_FILE, "%s: byte 2: values of type 0x%02x, expected 0x08 (unsigned bytes)", path,
                    b[2]);
    if (b[3] < 1 || b[3] > IDX_DIMS)
        return fail(why, E_FILE, "%s: byte 3: %d dimensions, expected 1 to %d", path, b[3], IDX_DIMS);
    if (size < 4 + 4 * (size_t)b[3])
        return fail(why, E_FILE, "%s: byte %zu: the header of %d dimensions is cut", path, size, b[3]);
    out->shape = (struct shape){.rank = b[3]};
    for (int i = 0; i < b[3]; i++) {
        const unsigned char *d = b + 4 + 4 * i;
        out->shape.dim[i] = (int64_t)d[0] << 24 | d[1] << 16 | d[2] << 8 | d[3];
    }
    return 0;
}

static int size_fail(const struct idx *f, int64_t got, const char *path, struct fail *why)
{
    char text[128];
    return fail(why, E_FILE, "%s: byte %d: shape %s wants %" PRId64 " bytes, %s%" PRId64 " follow", path,
                4 + 4 * f->shape.rank, shape_text(f->shape, text, sizeof text), shape_size(f->shape),
                got < 0 ? "not " : "", got < 0 ? shape_size(f->shape) : got);
}

static int read_plain(struct idx *out, const struct file_map *map, struct fail *why)
{
    int rc = parse_header(out, map->base, map->size, map->path, why);
    if (rc)
        return rc;
    size_t head = 4 + 4 * (size_t)out->shape.rank;
    if (shape_size(out->shape) != (int64_t)(map->size - head))
        return size_fail(out, (int64_t)(map->size - head), map->path, why);
    out->data = map->base + head;
    return 0;
}

static int read_gz(struct idx *out, const struct file_map *map, struct fail *why)
{
    unsigned char head[IDX_HEADER];
    size_t size = gz_peek(map->base, map->size, head, sizeof head);
    int rc = parse_header(out, head, size, map->path, why);
    if (rc)
        return rc;
    int64_t n = shape_size(out->shape);
    size_t skip = 4 + 4 * (size_t)out->shape.rank;
    /* gzip packs at most 1032 to 1: a size that cannot be in the file takes no memory */
    if (n < 0 || (uint64_t)n / GZ_RATIO > map->size)
        return size_fail(out, -1, map->path, why);
    unsigned char *whole = out->owned = malloc(skip + (size_t)n);
    if (!whole)
        return fail(why, E_MEMORY, "%s: out of memory", map->path);
    out->data = whole + skip;
    return gz_inflate(map->base, map->size, whole, skip + (size_t)n, map->path, why);
}

static int idx_load(struct idx *out, const struct file_map *map, struct fail *why)
{
    *out = (struct idx){.data = NULL};
    return gz_begins(map->base, map->size) ? read_gz(out, map, why) : read_plain(out, map, why);
}

/* ---- the pair ---- */

/* The labels' name for an images' one; NULL: the name says nothing of images (or out of memory). */
static char *labels_name(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *images = strstr(name, "images");
    char *out = NULL;
    if (!images || asprintf(&out, "%.*slabels%s", (int)(images - path), path, images + 6) < 0)
        return NULL;
    char *dims = strstr(out + (images - path), "idx");
    if (dims && isdigit((unsigned char)dims[3]))
        dims[3] = '1';
    return out;
}

/* As it is, else with .gz taken away or put on; NULL: not there. */
static char *find_labels(const char *path)
{
    char *name = labels_name(path);
    if (!name || access(name, F_OK) == 0)
        return name;
    char *other = NULL;
    size_t n = strlen(name);
    if (name_ends(name, ".gz"))
        other = strndup(name, n - 3);
    else if (asprintf(&other, "%s.gz", name) < 0)
        other = NULL;
    free(name);
    if (other && access(other, F_OK) == 0)
        return other;
    free(other);
    return NULL;
}

static int copy_labels(struct rows *out, struct rows_hold *hold, const struct file_map *map, struct fail *why)
{
    struct idx f;
    char text[128];
    int rc = idx_load(&f, map, why);
    if (rc == 0 && (f.shape.rank != 1 || f.shape.dim[0] != out->count))
        rc =
            fail(why, E_FILE, "%s: byte 4: shape %s, expected a label for each of the %" PRId64 " rows of %s",
                 map->path, shape_text(f.shape, text, sizeof text), out->count, hold->map.path);
    if (rc == 0 && !(hold->labels = malloc((size_t)out->count * sizeof *hold->labels + 1)))
        rc = fail(why, E_MEMORY, "%s: out of memory", map->path);
    for (int64_t i = 0; rc == 0 && i < out->count; i++)
        hold->labels[i] = f.data[i];
    out->labels = hold->labels;
    free(f.owned);
    return rc;
}

static int read_labels(struct rows *out, struct rows_hold *hold, struct fail *why)
{
    struct file_map map;
    char *path = find_labels(hold->map.path);
    if (!path)
        return 0;
    int rc = file_map_open(&map, path, why);
    if (rc == 0)
        rc = copy_labels(out, hold, &map, why);
    file_map_close(&map);
    free(path);
    return rc;
}

static int idx_read(struct rows *out, struct rows_hold *hold, struct fail *why)
{
    struct idx f;
    int rc = idx_load(&f, &hold->map, why);
    hold->data = f.owned;
    if (rc)
        return rc;
    if (f.shape.rank == 1)
        return fail(why, E_FILE, "%s: byte 3: one dimension: these are labels; give the file of images",
                    hold->map.path);
    out->dtype = DTYPE_UINT8;
    out->data = f.data;
    rc = rows_take_shape(out, f.shape, hold->map.path, why);
    return rc ? rc : read_labels(out, hold, why);
}

/* ---- writing ---- */

struct idx_state {
    struct gz_out rows, labels;
    struct file_out labels_file;
};

static int write_header(struct gz_out *to, struct shape s, struct fail *why)
{
    unsigned char h[IDX_HEADER] = {0, 0, IDX_UBYTE, (unsigned char)s.rank};
    for (int i = 0; i < s.rank; i++)
        for (int k = 0; k < 4; k++)
            h[4 + 4 * i + k] = (unsigned char)(s.dim[i] >> (24 - 8 * k));
    return gz_put(to, h, 4 + 4 * (size_t)s.rank, why);
}

static int create_labels(struct rows_writer *w, struct fail *why)
{
    struct idx_state *st = w->state;
    char *path = labels_name(w->out.path);
    if (!path)
        return fail(why, E_USAGE,
                    "%s: labels go to a file beside it whose name says labels for images; name it like "
                    "train-images-idx3-ubyte",
                    w->out.path);
    int rc = file_out_open(&st->labels_file, path, why);
    free(path);
    if (rc == 0)
        rc = gz_create(&st->labels, &st->labels_file, name_ends(st->labels_file.path, ".gz"), why);
    return rc ? rc : write_header(&st->labels, SHAPE(w->like.count), why);
}

static int idx_create(struct rows_writer *w, struct fail *why)
{
    char text[128];
    const struct rows *like = &w->like;
    struct shape s = rows_shape(like);
    struct idx_state *st = w->state = calloc(1, sizeof *st);
    if (!st)
        return fail(why, E_MEMORY, "%s: out of memory", w->out.path);
    if (like->dtype != DTYPE_UINT8 || like->targets || s.rank > IDX_DIMS || like->count > INT32_MAX)
        return fail(why, E_USAGE,
                    "%s: idx holds UINT8 of at most %d dimensions and no targets, not %s of %s; write .npz",
                    w->out.path, IDX_DIMS, shape_text(s, text, sizeof text), dtype_name(like->dtype));
    if (s.rank == IDX_DIMS && s.dim[1] == 1)
        s = SHAPE(s.dim[0], s.dim[2], s.dim[3]);
    int rc = gz_create(&st->rows, &w->out, name_ends(w->out.path, ".gz"), why);
    if (rc == 0)
        rc = write_header(&st->rows, s, why);
    return rc || !like->labels ? rc : create_labels(w, why);
}

static int idx_append(struct rows_writer *w, const unsigned char *data, const int32_t *labels,
                      const float *targets, int64_t count, struct fail *why)
{
    struct idx_state *st = w->state;
    (void)targets;
    int rc = gz_put(&st->rows, data, (size_t)count * w->like.row_size, why);
    for (int64_t i = 0; labels && rc == 0 && i < count; i++) {
        unsigned char label = (unsigned char)labels[i];
        if (labels[i] != label)
            return fail(why, E_USAGE, "%s: row %" PRId64 " has label %d, idx holds 0..255; write .npz",
                        w->out.path, w->done + i, labels[i]);
        rc = gz_put(&st->labels, &label, 1, why);
    }
    return rc;
}

/* Labels get their name first: images without them would read as unlabelled. */
static int idx_finish(struct rows_writer *w, struct fail *why)
{
    struct idx_state *st = w->state;
    int rc = gz_end(&st->rows, why);
    if (rc == 0 && w->like.labels) {
        rc = gz_end(&st->labels, why);
        if (rc == 0)
            rc = file_out_commit(&st->labels_file, why);
    }
    return rc;
}

static void idx_close(struct rows_writer *w)
{
    struct idx_state *st = w->state;
    if (!st)
        return;
    gz_close(&st->rows);
    gz_close(&st->labels);
    file_out_close(&st->labels_file);
    free(st);
}

const struct rows_format format_idx = {
    .name = "MNIST idx",
    .named = idx_named,
    .begins = idx_begins,
    .read = idx_read,
    .create = idx_create,
    .append = idx_append,
    .finish = idx_finish,
    .close = idx_close,
};
