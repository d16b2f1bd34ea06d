/* The artefact store: content-addressed files <store>/<model>/<sha256>.onnx, and checkpoints beside them.
 * Written under a temporary name in the same folder, fsynced, renamed, the folder fsynced: a name that exists
 * is whole. In this version a store is a folder (file:///path); every function may be called by any thread.
 */
#ifndef WORKER_MODELS_STORE_H
#define WORKER_MODELS_STORE_H

#include <stddef.h>

#include "engine/fail.h"

enum { STORE_URI = 1024, SHA256_HEX = 65 };

/* Lower-case hex of the SHA-256 of bytes (OpenSSL). */
void sha256_hex(const void *bytes, size_t size, char out[SHA256_HEX]);

/* Checks that the store can be written; makes its folder. store: "file:///var/lib/millrace/models". */
int store_check(const char *store, struct fail *why);
/* Writes bytes as <store>/<model>/<name>, where name is "<sha256>.onnx" when NULL; a name may have one folder
 * ("checkpoints/x.safetensors"). Fills uri and sha256. An
 * equal file that is there already is left as it is. E_IO names the file and errno (disk full, no
 * permission). */
int store_put(const char *store, const char *model, const char *name, const void *bytes, size_t size,
              char uri[STORE_URI], char sha256[SHA256_HEX], struct fail *why);
/* Reads a file (malloc'd, the caller frees) and verifies its SHA-256 ("" : not verified). E_FILE when it
 * differs or is missing. The uri must lie under `store` (no .. in it); size at most 4 GiB. */
int store_get(const char *store, const char *uri, const char *sha256, void **bytes, size_t *size,
              struct fail *why);
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
