/* libFuzzer target over safetensors files: `make fuzz-safetensors`. Every tensor is read; what is read is written
 * again and read as the same. */
#include <string.h>

#include "engine/files/safetensors.h"
#include "tests/fuzz/heap.h"

enum { BASE = 1 << 20, FACTOR = 64 };

static void touch(const struct safetensors *st, int i)
{
    int64_t n = shape_size(safetensors_shape(st, i));
    const unsigned char *p = safetensors_data(st, i);
    size_t bytes = (size_t)n * dtype_size(safetensors_dtype(st, i)), sum = 0;
    for (size_t k = 0; k < bytes; k++)
        sum += p[k];
    must(sum <= 255 * bytes && safetensors_index(st, safetensors_name(st, i)) == i);
}

static void again(const struct safetensors *st)
{
    int n = safetensors_count(st);
    struct safetensors_entry *e = calloc((size_t)n + 1, sizeof *e);
    struct safetensors *back;
    struct fail why;
    void *bytes;
    size_t size;
    for (int i = 0; i < n; i++)
        e[i] = (struct safetensors_entry){safetensors_name(st, i), safetensors_dtype(st, i),
                                          safetensors_shape(st, i), safetensors_data(st, i)};
    must(!safetensors_print(e, n, NULL, 0, &bytes, &size, &why));
    must(!safetensors_parse(&back, "ours", bytes, size, &why) && safetensors_count(back) == n);
    for (int i = 0; i < n; i++) {
        int k = safetensors_index(back, e[i].name);
        must(k >= 0 && shape_equal(safetensors_shape(back, k), e[i].shape));
        size_t length = (size_t)shape_size(e[i].shape) * dtype_size(e[i].dtype);
        must(!length || !memcmp(safetensors_data(back, k), e[i].data, length));
    }
    safetensors_free(&back);
    free(bytes);
    free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *st = NULL;
    struct fail why = {.code = E_OK};
    heap_begin();
    int rc = safetensors_parse(&st, "weights.safetensors", data, size, &why);
    heap_end(size, FACTOR, BASE);
    must(rc == -(int)why.code && !st == (rc != 0));
    if (rc)
        return 0;
    for (int i = 0; i < safetensors_count(st); i++)
        touch(st, i);
    again(st);
    safetensors_free(&st);
    return 0;
}
