/* A client of S3 servers (Amazon's and those that speak like it) through libcurl: one signed request a call, tried again
 * where that helps. Nothing is kept open between calls; a struct s3 is plain data and may be used by several threads.
 *
 * Where it looks, as AWS's own programs do:
 *   credentials  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; else the profile (AWS_PROFILE, "default")
 *                in AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials)
 *   region       AWS_REGION, AWS_DEFAULT_REGION; else `region` in AWS_CONFIG_FILE (~/.aws/config); else us-east-1
 *   server       AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL; else `endpoint_url` there; else Amazon's. A server that is named
 *                gets the bucket in the path, Amazon's in the host's name
 *   authorities  AWS_CA_BUNDLE; else the system's
 * Roles (instance metadata, web identity) and `credential_process` are not looked for.
 *
 * Signatures are Version 4, with the SHA-256 of what is sent in x-amz-content-sha256. All texts of errors begin with the
 * object's URI. Secrets appear in none. */
#ifndef WORKER_MODELS_S3_H
#define WORKER_MODELS_S3_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/fail.h"
#include "worker/models/store.h"

struct s3_account {
    char key_id[200], secret[200], token[4096], region[64], endpoint[512], authorities[1024];
};

/* When a try is given up, and how often one is made. */
struct s3_patience {
    int tries;
    int pause_ms; /* before the second try; four times as long before each further one */
    int connect_ms;
    int stall_s; /* a transfer below stall_bytes in each of so many seconds has stalled */
    int stall_bytes;
};

struct s3 {
    struct s3_account account;
    struct s3_patience patience;
    const struct store_stop *stop; /* NULL: nobody asks to give up */
};

/* From the environment and the files. E_CONFIG says what is missing where. */
int s3_account_load(struct s3_account *out, struct fail *why);
/* The same, with the usual patience: 4 tries, 5 s to connect, 20 s below 1 KiB/s. */
int s3_open(struct s3 *out, struct fail *why);

/* All: E_FILE no such object (or too large), E_IO anything else: refused, no such bucket, unreachable, broken off.
 * uri: "s3://BUCKET/KEY", the key as it is, not percent-encoded. */

/* fresh: only if there is no such object yet, where the server knows If-None-Match; that there is one is no error then. */
int s3_put(const struct s3 *s3, const char *uri, const void *bytes, size_t size, bool fresh,
           struct fail *why);
/* malloc'd. */
int s3_get(const struct s3 *s3, const char *uri, size_t max_bytes, void **bytes, size_t *size,
           struct fail *why);
/* Its size; E_FILE also when the server says no more than that it may not be looked at. */
int s3_size(const struct s3 *s3, const char *uri, size_t *size, struct fail *why);
/* That there is none is no error. */
int s3_delete(const struct s3 *s3, const char *uri, struct fail *why);
/* Every object whose URI begins with folder_uri and a slash; `name` is what follows. Visiting may delete it. */
int s3_list(const struct s3 *s3, const char *folder_uri, store_visit *visit, void *arg, struct fail *why);

/* "s3://BUCKET" or "s3://BUCKET/KEY". bucket of 64 bytes; *key points into uri, after the slash. E_CONFIG. */
int s3_uri_split(const char *uri, char bucket[64], const char **key, struct fail *why);

#endif
