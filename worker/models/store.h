/* The artefact store: content-addressed files <store>/<model>/<sha256>.onnx, and checkpoints beside them. A store is a
 * folder (file:///FOLDER) or a bucket of an S3 server, and a place in it (s3://BUCKET/PREFIX). A name that exists is
 * whole. In a folder: written under a temporary name, fsynced, renamed, the folder fsynced. In a bucket: one signed PUT
 * whose SHA-256 the server checks; what passes by itself (a server that is busy, a connection that broke or stalled) is
 * tried again, a few times. Credentials and server: s3.h. Every function may be called by any thread.
 *
 * Codes: E_FILE the file is missing or its SHA-256 differs; E_CONFIG and E_DENIED what a person must mend (the bucket's
 * name, a wrong secret); E_IO names the file and the reason, another try may succeed.
 */
#ifndef WORKER_MODELS_STORE_H
#define WORKER_MODELS_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/fail.h"

enum { STORE_URI = 1024, SHA256_HEX = 65 };

/* Lower-case hex of the SHA-256 of bytes (OpenSSL). */
void sha256_hex(const void *bytes, size_t size, char out[SHA256_HEX]);

/* Is this a store's name ("file:///var/lib/millrace/models")? E_CONFIG; asks nobody. */
int store_name_check(const char *store, struct fail *why);
/* Checks that the store can be written; makes its folder, but no bucket. */
int store_check(const char *store, struct fail *why);
/* Writes bytes as <store>/<model>/<name>, where name is "<sha256>.onnx" when NULL; a name may have one folder
 * ("checkpoints/x.safetensors"). Fills uri and sha256. An equal file that is there already is left as it is. */
int store_put(const char *store, const char *model, const char *name, const void *bytes, size_t size,
              char uri[STORE_URI], char sha256[SHA256_HEX], struct fail *why);
/* Reads a file (malloc'd, the caller frees) and verifies its SHA-256 ("" : not verified). The uri must lie under
 * `store` (no .. in it); size at most 4 GiB. */
int store_get(const char *store, const char *uri, const char *sha256, void **bytes, size_t *size,
              struct fail *why);
/* Asked about once a second during a transfer and between tries; true: it is given up, E_INTERRUPTED. */
struct store_stop {
    bool (*asked)(void *arg);
    void *arg;
};
/* The same for a file anywhere: the caller has decided that it may be read (store_uri_below). stop: NULL for none. */
int store_read(const char *uri, const char *sha256, size_t max_bytes, const struct store_stop *stop,
               void **bytes, size_t *size, struct fail *why);
/* Does the uri name something below prefix, which is a folder whether or not it ends with a slash? No "..". */
bool store_uri_below(const char *uri, const char *prefix);
/* Deletes; a missing file is not an error. */
int store_delete(const char *store, const char *uri, struct fail *why);
/* Calls visit for every file of <store>/<model>/<folder>, in no order; a folder that does not exist has none.
 * Visiting may delete the file. Stops at the first non-zero answer and returns it. */
typedef int store_visit(void *arg, const char *uri, const char *name, struct fail *why);
int store_list(const char *store, const char *model, const char *folder, store_visit *visit, void *arg,
               struct fail *why);
/* Model names: [A-Za-z0-9._-]{1,100}, not "." or "..". */
int model_name_check(const char *name, struct fail *why);

#endif
