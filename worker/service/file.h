/* Files whole: one mapped for reading, one that appears under its name only when it is complete.
 * One thread at a time. */
#ifndef WORKER_SERVICE_FILE_H
#define WORKER_SERVICE_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "engine/fail.h"

/* A regular file in memory, read only. The file must not shrink meanwhile (SIGBUS). */
struct file_map {
    char *path;
    const unsigned char *base; /* never NULL when open */
    size_t size;
};

int file_map_open(struct file_map *m, const char *path, struct fail *why);
void file_map_close(struct file_map *m); /* zeroes; a zeroed one is fine */

/* Written as PATH.part. Buffered: an error may come with a later call. */
struct file_out {
    char *path, *part;
    FILE *stream;
};

/* E_USAGE when something that is no regular file has that name. */
int file_out_open(struct file_out *out, const char *path, struct fail *why);
int file_out_write(struct file_out *out, const void *bytes, size_t size, struct fail *why);
/* Overwrites bytes written before, then goes on behind the last. */
int file_out_patch(struct file_out *out, long at, const void *bytes, size_t size, struct fail *why);
/* Flushes, fsyncs, renames, fsyncs the folder. After an error only file_out_close is left. */
int file_out_commit(struct file_out *out, struct fail *why);
/* Closes and, unless committed, removes; zeroes. A zeroed one is fine. */
void file_out_close(struct file_out *out);

#endif
