/* Names of a folder in order, and their files decoded. Decoding is worker/codec/image.h's. */
#include "worker/data/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "worker/codec/image.h"
#include "worker/data/format.h"

enum { FOLDER_CLASSES = 100000 };

bool folder_is(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_image(const char *name)
{
    return name_ends(name, ".jpg") || name_ends(name, ".jpeg") || name_ends(name, ".png");
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static char *joined(const char *folder, const char *name)
{
    size_t n = strlen(folder), m = strlen(name);
    char *path = malloc(n + m + 2);
    if (path) {
        memcpy(path, folder, n);
        path[n] = '/';
        memcpy(path + n + 1, name, m + 1);
    }
    return path;
}

/* Takes the path. */
static int image_add(struct folder *f, char *path, int32_t label, struct fail *why)
{
    if (f->count == f->capacity) {
        int64_t capacity = f->capacity ? 2 * f->capacity : 256;
        struct folder_image *grown = realloc(f->images, sizeof *grown * (size_t)capacity);
        if (!grown) {
            free(path);
            return fail(why, E_MEMORY, "no memory for %lld images", (long long)capacity);
        }
        f->images = grown;
        f->capacity = capacity;
    }
    f->images[f->count++] = (struct folder_image){path, label};
    return 0;
}

static int class_add(struct folder *f, const char *name, struct fail *why)
{
    if (f->class_count == FOLDER_CLASSES)
        return fail(why, E_FILE, "more than %d class folders", FOLDER_CLASSES);
    if (f->class_count == f->class_capacity) {
        int capacity = f->class_capacity ? 2 * f->class_capacity : 16;
        char **grown = realloc(f->classes, sizeof *grown * (size_t)capacity);
        if (!grown)
            return fail(why, E_MEMORY, "no memory for %d classes", capacity);
        f->classes = grown;
        f->class_capacity = capacity;
    }
    f->classes[f->class_count] = strdup(name);
    return f->classes[f->class_count++] ? 0 : fail(why, E_MEMORY, "no memory for a class");
}

/* One level of names; `label` -1 is the top, where folders are classes. */
static int folder_scan(struct folder *f, const char *path, int32_t label, struct fail *why)
{
    struct dirent **names = NULL;
    int64_t before = f->count;
    int n = scandir(path, &names, visible, by_bytes), rc = 0;
    if (n < 0)
        return fail(why, E_FILE, "%s: cannot read the folder: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        char *inner = rc ? NULL : joined(path, names[i]->d_name);
        if (!rc && !inner)
            rc = fail(why, E_MEMORY, "%s: no memory", path);
        else if (!rc && !folder_is(inner) && is_image(inner)) {
            rc = image_add(f, inner, label, why);
            inner = NULL;
        } else if (!rc && !folder_is(inner))
            rc = fail(why, E_FILE, "%s: neither a folder nor named .jpg, .jpeg or .png", inner);
        else if (!rc && label >= 0)
            rc = fail(why, E_FILE, "%s: a folder in a class's folder", inner);
        else if (!rc && !(rc = class_add(f, names[i]->d_name, why)))
            rc = folder_scan(f, inner, f->class_count - 1, why);
        free(inner);
        free(names[i]);
    }
    free(names);
    if (!rc && label >= 0 && f->count == before)
        rc = fail(why, E_FILE, "%s: a class without an image", path);
    return rc;
}

int folder_open(struct folder *f, const char *path, struct fail *why)
{
    *f = (struct folder){0};
    int rc = folder_scan(f, path, -1, why);
    if (!rc && f->count == 0)
        rc = fail(why, E_FILE, "%s: holds no image (class folders with .jpg, .jpeg, .png)", path);
    if (!rc && f->class_count && f->images[0].label < 0)
        rc = fail(why, E_FILE, "%s: an image beside class folders has no class", f->images[0].path);
    for (int64_t i = 0; !rc && f->class_count && i < f->count; i++)
        if (f->images[i].label < 0)
            rc = fail(why, E_FILE, "%s: an image beside class folders has no class", f->images[i].path);
    if (rc)
        folder_close(f);
    return rc;
}

void folder_close(struct folder *f)
{
    for (int64_t i = 0; i < f->count; i++)
        free(f->images[i].path);
    for (int i = 0; i < f->class_count; i++)
        free(f->classes[i]);
    free(f->images);
    free(f->classes);
    *f = (struct folder){0};
}

static int image_into(struct image_decoder *d, const char *path, struct shape shape, unsigned char *out,
                      struct fail *why)
{
    struct file_map map = {0};
    int rc = file_map_open(&map, path, why);
    if (rc)
        return rc;
    d->budget = IMAGE_RECORD_PIXELS;
    rc = image_decode(d, (struct span){(const char *)map.base, map.size}, shape, out, why);
    file_map_close(&map);
    if (rc && rc != -E_MEMORY) {
        why->code = E_FILE;
        rc = fail_prefix(why, "%s", path);
    }
    return rc;
}

/* The first image's own size, found by decoding it to a single pixel. */
static int first_shape(const struct folder *f, struct image_decoder *d, struct shape *out, struct fail *why)
{
    unsigned char pixel[3];
    int rc = image_into(d, f->images[0].path, SHAPE(3, 1, 1), pixel, why);
    *out = SHAPE(3, d->height, d->width);
    return rc;
}

int folder_rows(struct rows *out, const struct folder *f, const struct shape *shape, struct fail *why)
{
    struct image_decoder d = {0};
    struct rows_hold *hold = calloc(1, sizeof *hold);
    struct rows rows = {.dtype = DTYPE_UINT8, .count = f->count, .hold = hold};
    int rc = hold ? 0 : fail(why, E_MEMORY, "%lld images: no memory", (long long)f->count);
    if (!rc && shape)
        rows.row_shape = *shape;
    else if (!rc)
        rc = first_shape(f, &d, &rows.row_shape, why);
    if (!rc && !image_fits(rows.row_shape))
        rc = fail(why, E_FILE, "%s: images make rows of [1 or 3, H, W]", f->images[0].path);
    rows.row_size = rc ? 0 : (size_t)shape_size(rows.row_shape);
    if (!rc) {
        hold->data = calloc((size_t)f->count, rows.row_size);
        hold->labels = calloc((size_t)f->count, sizeof *hold->labels);
        if (!hold->data || !hold->labels)
            rc = fail(why, E_MEMORY, "%lld images of %zu bytes: no memory", (long long)f->count,
                      rows.row_size);
    }
    for (int64_t i = 0; !rc && i < f->count; i++) {
        unsigned char *to = hold->data;
        hold->labels[i] = f->images[i].label;
        rc = image_into(&d, f->images[i].path, rows.row_shape, to + (size_t)i * rows.row_size, why);
    }
    image_decoder_free(&d);
    rows.data = hold ? hold->data : NULL;
    rows.labels = hold && f->class_count ? hold->labels : NULL;
    if (rc)
        rows_close(&rows);
    else
        *out = rows;
    return rc;
}
