/* Looks up what the Makefile embedded. The table itself is generated. */
#include "worker/service/embedded.h"

#include <string.h>

const char *embedded_find(const char *path, size_t *size)
{
    for (const struct embedded *e = embedded_files; e->path; e++)
        if (strcmp(e->path, path) == 0) {
            if (size)
                *size = (size_t)(e->end - e->text) - 1;
            return e->text;
        }
    return NULL;
}
