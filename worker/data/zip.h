/* The part of ZIP that .npz needs (PKWARE APPNOTE 6.3): entries stored or deflated, found by the central
 * directory, checked by their CRC-32. Not read: encryption, several disks, zip64 (4 GiB or more, or more than
 * 65 535 entries): E_FILE says so. Written: stored entries. */
#ifndef WORKER_DATA_ZIP_H
#define WORKER_DATA_ZIP_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/service/file.h"

struct zip { /* a view of bytes that live longer; `where` begins its messages */
    const unsigned char *bytes;
    size_t size;
    const char *where;
    size_t directory, directory_end; /* offsets */
};

struct zip_entry {
    const char *name; /* not 0-terminated */
    size_t name_size;
    unsigned flags, method;
    uint32_t crc, packed, size;
    size_t header; /* offset of its local header */
};

int zip_open(struct zip *z, const unsigned char *bytes, size_t size, const char *where, struct fail *why);
/* *cursor begins at 0. 1: *e is the next; 0: no more; negative: E_FILE. */
int zip_next(const struct zip *z, size_t *cursor, struct zip_entry *e, struct fail *why);
/* Stored: *data points into the archive and *owned is NULL. Deflated: both are a new buffer for free(). */
int zip_extract(const struct zip *z, const struct zip_entry *e, const unsigned char **data, void **owned,
                struct fail *why);

enum { ZIP_ENTRIES = 4 };

struct zip_writer {
    struct file_out *out;
    uint64_t at; /* bytes written */
    int count;
    struct {
        const char *name; /* borrowed until zip_end */
        uint32_t crc;
        uint64_t header, size;
    } entry[ZIP_ENTRIES];
};

/* Entries one after the other: begin, put..., close. Everything stays below 4 GiB, or E_USAGE. */
int zip_begin(struct zip_writer *z, const char *name, struct fail *why);
int zip_put(struct zip_writer *z, const void *bytes, size_t size, struct fail *why);
int zip_close(struct zip_writer *z, struct fail *why); /* writes the entry's size and CRC where they belong */
int zip_end(struct zip_writer *z, struct fail *why);   /* the central directory */

#endif
