/* What a store must be able to do, once for a folder (store_file.c) and once for a bucket (store_s3.c). All names reach
 * a form whole, as URIs that begin with its scheme and were looked at by store.c, which is the only caller; every
 * function may be called by any thread. Codes: E_FILE the object is missing or too large, E_DENIED and E_CONFIG what
 * only a person can mend, E_IO what another try may mend. */
#ifndef WORKER_MODELS_STORE_FORM_H
#define WORKER_MODELS_STORE_FORM_H

#include <stddef.h>

#include "engine/fail.h"
#include "worker/models/store.h"

struct store_form {
    const char *scheme; /* "file://" */
    /* Is this a store's name? E_CONFIG says what is expected. Asks nobody. */
    int (*name)(const char *store, struct fail *why);
    /* Writes and deletes something; makes a folder that is missing, but no bucket. */
    int (*check)(const char *store, struct fail *why);
    /* Whole or not at all. An object with these bytes that is there already is left as it is. */
    int (*put)(const char *uri, const void *bytes, size_t size, const char *sha256, struct fail *why);
    /* malloc'd; E_FILE when it is larger than max_bytes. */
    int (*get)(const char *uri, size_t max_bytes, const struct store_stop *stop, void **bytes, size_t *size,
               struct fail *why);
    int (*delete)(const char *uri, struct fail *why);
    /* Of a folder's URI, without a slash at its end. */
    int (*list)(const char *folder_uri, store_visit *visit, void *arg, struct fail *why);
};

extern const struct store_form store_file, store_s3;

#endif
