/* libFuzzer target over ONNX files: `make fuzz-onnx`. What is read is written again, and read again. */
#include "engine/graph.h"
#include "tests/fuzz/heap.h"

/* Nodes of two bytes become layers of two kilobytes, of which there are 10000 at most; constants that are computed
 * have a room of their own (onnx_read.c). */
enum { BASE = 96 << 20, FACTOR = 24 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct graph *g = NULL, *back = NULL;
    struct fail why = {.code = E_OK};
    void *bytes = NULL;
    size_t written;
    heap_begin();
    int rc = onnx_parse(&g, "model.onnx", data, size, &why);
    heap_end(size, FACTOR, BASE);
    must(rc == -(int)why.code && !g == (rc != 0) && !rc == !why.text[0]);
    if (rc)
        return 0;
    rc = onnx_print(g, &bytes, &written, &why);
    must(!rc || rc == -E_UNSUPPORTED);
    if (!rc && onnx_parse(&back, "ours.onnx", bytes, written, &why)) {
        fprintf(stderr, "%s\n", why.text);
        abort();
    }
    free(bytes);
    graph_free(&back);
    graph_free(&g);
    return 0;
}
