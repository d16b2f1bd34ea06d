/* libFuzzer target over YAML: `make fuzz-yaml`. The text as a document, walked to its last node, and as a network,
 * which is written and read again by others' means: as ONNX, with weights of a seed when it is small. */
#include <string.h>

#include "engine/graph.h"
#include "engine/setting.h"
#include "tests/fuzz/heap.h"

enum { BASE = 4 << 20, FACTOR = 512, NETWORK_BASE = 96 << 20, WEIGHTS_MOST = 1 << 16 };

static size_t walk(const struct yaml_node *n)
{
    size_t sum = yaml_scalar(n) ? strlen(yaml_scalar(n)) : 0;
    must(yaml_line(n) >= 0 && yaml_column(n) >= 0);
    for (int i = 0; yaml_kind(n) != YAML_SCALAR && i < yaml_count(n); i++) {
        if (yaml_kind(n) == YAML_MAPPING)
            must(yaml_get(n, yaml_key(n, i)) == yaml_item(n, i));
        sum += walk(yaml_item(n, i));
    }
    return sum;
}

static void as_document(const char *text, size_t size)
{
    struct yaml_doc *doc = NULL;
    struct fail why = {.code = E_OK};
    heap_begin();
    int rc = yaml_parse(&doc, "file.yaml", text, size, false, &why);
    heap_end(size, FACTOR, BASE);
    must(rc == -(int)why.code && !doc == (rc != 0));
    if (!rc && yaml_root(doc))
        must(walk(yaml_root(doc)) <= 16 * size + 16);
    yaml_doc_free(&doc);
}

static void as_network(const char *text, size_t size)
{
    struct graph *g = NULL;
    struct fail why = {.code = E_OK};
    void *bytes;
    size_t written;
    heap_begin();
    int rc = network_parse(&g, "network.yaml", text, size, &why);
    heap_end(size, FACTOR, NETWORK_BASE);
    must(rc == -(int)why.code && !g == (rc != 0));
    if (!rc && graph_param_count(g) < WEIGHTS_MOST && !graph_init(g, 1, &why) &&
        !onnx_print(g, &bytes, &written, &why))
        free(bytes);
    graph_free(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    as_document((const char *)data, size);
    as_network((const char *)data, size);
    return 0;
}
