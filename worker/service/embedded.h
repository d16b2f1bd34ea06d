/* Files that travel inside the binary: schemas/ (all of them) and config/ (all .yaml), listed by the
 * Makefile. */
#ifndef WORKER_SERVICE_EMBEDDED_H
#define WORKER_SERVICE_EMBEDDED_H

#include <stddef.h>

struct embedded {
    const char *path;       /* "schemas/Sample.avsc" */
    const char *text, *end; /* text is followed by a 0 byte, end is behind that byte */
};

extern const struct embedded embedded_files[]; /* ends with a NULL path */

/* The text of a path, 0-terminated, its length in *size (NULL: not wanted); NULL: no such file. */
const char *embedded_find(const char *path, size_t *size);

#endif
