/* The inside of rows.h: one table row a file format. A reader gets the mapped file, a writer a file that
 * appears when it is whole. A new format is its file and one row in rows.c. */
#ifndef WORKER_DATA_FORMAT_H
#define WORKER_DATA_FORMAT_H

#include "worker/data/rows.h"
#include "worker/service/file.h"

/* What rows_close releases. A reader puts here what it allocates; on failure rows_read frees it. */
struct rows_hold {
    struct file_map map;
    void *data;
    int32_t *labels;
    float *targets;
};

struct rows_writer {
    const struct rows_format *format;
    struct rows like; /* data, labels and targets are not read, only asked whether they are NULL */
    int64_t done;
    struct file_out out;
    void *state; /* the format's own */
};

struct rows_format {
    bool own_file;                   /* the writer opens its file itself: out has the path alone */
    const char *name;                /* for messages: ".npy" */
    bool (*named)(const char *path); /* the name says this format */
    bool (*begins)(const unsigned char *bytes, size_t size); /* the first bytes do; NULL: nothing to see */
    int (*read)(struct rows *out, struct rows_hold *hold, struct fail *why);
    /* create may refuse `like`; the rest may be NULL where nothing is to be done. close frees state. */
    int (*create)(struct rows_writer *w, struct fail *why);
    int (*append)(struct rows_writer *w, const unsigned char *data, const int32_t *labels,
                  const float *targets, int64_t count, struct fail *why);
    int (*finish)(struct rows_writer *w, struct fail *why);
    void (*close)(struct rows_writer *w);
};

extern const struct rows_format format_npy, format_npz, format_idx, format_cifar, format_avro;

bool name_ends(const char *path, const char *end); /* case does not count */

/* Takes [n, ...] apart into out->count, row_shape and row_size; out->dtype is set. [n] gives rows of one
 * value, [n, H, W] rows of (1, H, W). `where` begins the message. */
int rows_take_shape(struct rows *out, struct shape s, const char *where, struct fail *why);
/* [count, row_shape...]; a (1, H, W) stays as it is. */
struct shape rows_shape(const struct rows *rows);

/* ---- .npy as bytes, for .npy and .npz ---- */

enum { NPY_HEADER = 128 };

struct npy {
    enum dtype dtype;
    struct shape shape;
    const unsigned char *data; /* exactly shape_size * dtype_size bytes */
};

int npy_parse(struct npy *out, const unsigned char *bytes, size_t size, const char *where, struct fail *why);
/* A version 1.0 header; E_USAGE for a type that NumPy lacks. */
int npy_header(char out[NPY_HEADER], enum dtype t, struct shape s, const char *where, struct fail *why);

#endif
