/* Named tensors in one file: 8-byte little-endian header length, JSON header, data
 * (https://github.com/huggingface/safetensors). Used for checkpoints and foreign weights. */
#ifndef ENGINE_FILES_SAFETENSORS_H
#define ENGINE_FILES_SAFETENSORS_H

#include "engine/tensor.h"

struct safetensors; /* a verified, read-only file in memory */

/* Verifies everything (header, dtypes, shapes, that the tensors cover the data exactly). Borrows `bytes`:
 * they must stay until safetensors_free. Tensors keep the header's order. */
int safetensors_parse(struct safetensors **out, const char *name, const void *bytes, size_t size,
                      struct fail *why);
void safetensors_free(struct safetensors **st);
int safetensors_count(const struct safetensors *st);
/* Index of a tensor or -1. */
int safetensors_index(const struct safetensors *st, const char *name);
const char *safetensors_name(const struct safetensors *st, int i);
struct shape safetensors_shape(const struct safetensors *st, int i);
enum dtype safetensors_dtype(const struct safetensors *st, int i);
const void *safetensors_data(const struct safetensors *st,
                             int i); /* unaligned; shape_size * dtype_size bytes */
const char *safetensors_metadata(const struct safetensors *st,
                                 const char *key); /* __metadata__; NULL: absent */

struct safetensors_entry {
    const char *name;
    enum dtype dtype;
    struct shape shape;
    const void *data;
};

/* Bytes are malloc'd; entries keep their order; metadata is key, value pairs. The same input gives the same
 * bytes. */
int safetensors_print(const struct safetensors_entry *entries, int count, const char *const *metadata,
                      int pairs, void **bytes, size_t *size, struct fail *why);

#endif
