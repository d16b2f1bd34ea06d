/* A folder of images as a data set: one folder a class, JPEG and PNG files in it. Classes are the folders in the order
 * of their names (as bytes), rows the files of each class in the order of theirs, so the same folder gives the same
 * rows. A folder that holds images itself has no labels. Hidden names are passed over; anything else that is no image
 * by its name, and a class without images, is an error. One thread at a time. Next to read: rows.h. */
#ifndef WORKER_DATA_FOLDER_H
#define WORKER_DATA_FOLDER_H

#include "worker/codec/record.h"
#include "worker/data/rows.h"

struct folder_image {
    char *path;
    int32_t label; /* -1: none */
};

struct folder {
    struct folder_image *images;
    int64_t count, capacity;
    char **classes; /* NULL: images without labels */
    int class_count, class_capacity;
};

bool folder_is(const char *path); /* a folder's path */
/* The names alone; files are not opened. E_FILE. */
int folder_open(struct folder *f, const char *path, struct fail *why);
void folder_close(struct folder *f); /* zeroes; a zeroed one is fine */

/* All images as UINT8 rows of this shape, [1 or 3, H, W]; shape NULL: three channels in the first image's size. */
int folder_rows(struct rows *out, const struct folder *f, const struct shape *shape, struct fail *why);

#endif
