/* gzip (RFC 1952), one member a file, for idx. Its memory is the caller's: how large the content is, its
 * header says. */
#ifndef WORKER_DATA_GZ_H
#define WORKER_DATA_GZ_H

#include <stdbool.h>
#include <zlib.h>

#include "worker/service/file.h"

enum { GZ_RATIO = 1032 }; /* deflate's best */

bool gz_begins(const unsigned char *bytes, size_t size);
/* The first bytes of the content, as many as there are; 0 when it is broken. */
size_t gz_peek(const unsigned char *from, size_t size, unsigned char *to, size_t capacity);
/* Exactly `wanted` bytes, and the file ends with them; E_FILE otherwise. */
int gz_inflate(const unsigned char *from, size_t size, unsigned char *to, size_t wanted, const char *path,
               struct fail *why);

/* Writes to a file_out, packed or as it is. */
struct gz_out {
    struct file_out *out;
    bool packed;
    z_stream z;
};

int gz_create(struct gz_out *g, struct file_out *out, bool packed, struct fail *why);
int gz_put(struct gz_out *g, const void *bytes, size_t size, struct fail *why);
int gz_end(struct gz_out *g, struct fail *why);
void gz_close(struct gz_out *g); /* a zeroed one is fine */

#endif
