/* Rows that a request does not carry but names: a file of raw tensor bytes at file:// or s3://, as large as the request's
 * dtype and shape say, with the SHA-256 that it gives. The runner's own: one thread. */
#ifndef WORKER_INFER_EXTERNAL_H
#define WORKER_INFER_EXTERNAL_H

#include "worker/codec/record.h"
#include "worker/models/store.h"
#include "worker/service/settings.h"

/* Reads the rows of a request of kind PAYLOAD_EXTERNAL and makes it one of PAYLOAD_TENSOR over *bytes, which the caller frees.
 * E_EXTERNAL_DATA: not below inference.external_prefixes, not there, another size or SHA-256, or not to be had after the
 * tries that a store makes; E_TOO_LARGE: more than inference.external_max_mb; E_INTERRUPTED: stop was asked for. */
int external_fetch(struct inference *request, const struct settings *s, const struct store_stop *stop,
                   void **bytes, struct fail *why);

#endif
