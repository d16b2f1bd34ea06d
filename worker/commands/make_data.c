/* `make-data`: synthetic labelled rows into a file, by pieces, so that a large set needs little memory.
 * Next to read: worker/data/draw.h, worker/data/rows.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/commands/command.h"
#include "worker/data/draw.h"
#include "worker/data/rows.h"
#include "worker/service/terminal.h"

enum { PIECE_ROWS = 256 };

struct options {
    char *output, *shape;
    int64_t rows, seed;
};

#define AT(field) offsetof(struct options, field)
static const struct setting options[] = {
    {"output", SETTING_STRING, AT(output), NULL, 1, 4096, NULL,
     "file to write; its name says the format: .npz (with labels), .npy (without), .bin (CIFAR-10), "
     "train-images-idx3-ubyte[.gz] (labels beside it), .avro (Sample records)",
     false},
    {"rows", SETTING_INT, AT(rows), NULL, 1, 1e9, NULL, "images to draw", false},
    {"seed", SETTING_INT, AT(seed), "1", 0, 9007199254740991.0, NULL,
     "the same seed gives the same file; another one, other images of the same kind", false},
    {"shape", SETTING_STRING, AT(shape), "", 0, 40, NULL,
     "channels, height and width: 1x28x28 or 3x32x32 (digits), 3x32x32 (shapes); empty: 3x32x32", false},
    {0},
};

/* "3x32x32"; anything else is an error that says what the kind draws. */
static int parse_shape(const char *text, const struct draw_kind *kind, struct shape *out, struct fail *why)
{
    const char *at = text;
    *out = (struct shape){0};
    if (!*text) {
        *out = kind->default_shape;
        return 0;
    }
    while (out->rank < 3) {
        char *end;
        long v = *at >= '0' && *at <= '9' ? strtol(at, &end, 10) : 0;
        if (v < 1 || v > 65536)
            break;
        out->dim[out->rank++] = v;
        at = end;
        if (*at != 'x')
            break;
        at++;
    }
    if (out->rank != 3 || *at || !kind->draws(*out))
        return fail(why, E_USAGE, "--shape %s: %s are drawn at %s", text, kind->name, kind->shapes);
    return 0;
}

static int find_kind(const char *name, const struct draw_kind **out, struct fail *why)
{
    *out = draw_find(name);
    if (*out)
        return 0;
    char names[128] = "";
    for (int i = 0, n = 0; draw_at(i); i++)
        n += snprintf(names + n, sizeof names - (size_t)n, "%s%s", i ? " or " : "", draw_at(i)->name);
    return fail(why, E_USAGE, "unknown kind of data '%.40s', expected %s", name, names);
}

/* .npy has no place for labels: what goes there is the images alone. */
static bool takes_labels(const char *path)
{
    size_t n = strlen(path);
    return n < 4 || strcmp(path + n - 4, ".npy") != 0;
}

static int draw_all(struct rows_writer *w, const struct draw_kind *kind, const struct rows *like,
                    uint64_t seed, uint8_t *pixels, struct fail *why)
{
    int32_t labels[PIECE_ROWS];
    struct progress progress;
    int rc = 0;
    progress_open(&progress, kind->name, "images", like->count);
    for (int64_t done = 0; rc == 0 && done < like->count;) {
        int64_t n = like->count - done < PIECE_ROWS ? like->count - done : PIECE_ROWS;
        if (command_stop) {
            rc = fail(why, E_INTERRUPTED, "stopped after %lld of %lld images; nothing is kept",
                      (long long)done, (long long)like->count);
            break;
        }
        rc = draw_rows(kind, like->row_shape, seed, done, n, pixels, labels, why);
        if (rc == 0)
            rc = rows_append(w, pixels, like->labels ? labels : NULL, NULL, n, why);
        done += n;
        progress_set(&progress, done, NULL);
    }
    progress_close(&progress);
    return rc;
}

static int make_data_run(const struct context *cx, struct fail *why)
{
    const struct options *o = cx->options;
    const struct draw_kind *kind;
    struct rows like = {.dtype = DTYPE_UINT8, .count = o->rows};
    struct rows_writer *w = NULL;
    static const int32_t some_label = 0;
    int rc = find_kind(cx->argv[0], &kind, why);
    if (rc == 0)
        rc = parse_shape(o->shape, kind, &like.row_shape, why);
    if (rc)
        return rc;
    like.labels = takes_labels(o->output) ? &some_label : NULL;
    uint8_t *pixels = malloc(PIECE_ROWS * (size_t)shape_size(like.row_shape));
    if (!pixels)
        return fail(why, E_MEMORY, "make-data: out of memory");
    rc = rows_create(&w, o->output, &like, why);
    if (rc == 0)
        rc = draw_all(w, kind, &like, (uint64_t)o->seed, pixels, why);
    if (rc)
        rows_abandon(&w);
    else
        rc = rows_finish(&w, why);
    free(pixels);
    return rc;
}

const struct command command_make_data = {
    .name = "make-data",
    .operands = "KIND",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "draws synthetic labelled images into a file",
    .text = "KIND is digits (the ten digits in many hands) or shapes (ten coloured shapes on textured "
            "ground). Image "
            "i depends on kind, shape, seed and i alone. Use another seed for images to test with.",
    .options = options,
    .options_size = sizeof(struct options),
    .run = make_data_run,
};
