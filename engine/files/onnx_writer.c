/* Memory and names of what is being written as ONNX. Next to read: onnx_write.c. */
#include "engine/files/onnx_writer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_A_LAYER = 32 }; /* at most */

struct onnx_block {
    struct onnx_block *next;
    max_align_t data[];
};

void *onnx_alloc(struct onnx_writer *w, size_t size)
{
    struct onnx_block *b = w->no_memory ? NULL : calloc(1, sizeof *b + size);
    w->no_memory = !b;
    if (!b)
        return NULL;
    b->next = w->blocks;
    w->blocks = b;
    return b->data;
}

char *onnx_format(struct onnx_writer *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = onnx_alloc(w, (size_t)n + 1);
    if (!text)
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    return text;
}

/* ---- names ---- */

/* FNV-1a. Returns false when the name is taken already. */
static bool take(struct onnx_writer *w, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    size_t slot = hash & (w->taken_slots - 1);
    for (; w->taken[slot]; slot = (slot + 1) & (w->taken_slots - 1))
        if (!strcmp(w->taken[slot], name))
            return false;
    w->taken[slot] = name;
    return true;
}

const char *onnx_unique(struct onnx_writer *w, const char *name)
{
    const char *out = name;
    for (int number = 2; out && !take(w, out); number++)
        out = onnx_format(w, "%s_%d", name, number);
    return out;
}

void onnx_name_values(struct onnx_writer *w)
{
    const struct graph *g = w->graph;
    size_t n = (size_t)g->count;
    for (w->taken_slots = 64; w->taken_slots < 2 * (n + 1) * NAMES_A_LAYER;)
        w->taken_slots *= 2;
    w->taken = onnx_alloc(w, w->taken_slots * sizeof *w->taken);
    w->values = onnx_alloc(w, n * sizeof *w->values);
    w->params = onnx_alloc(w, n * GRAPH_PARAMS * sizeof *w->params);
    if (w->no_memory)
        return;
    w->input = onnx_unique(w, *g->input_name ? g->input_name : "input");
    w->values[n - 1] = onnx_unique(w, *g->output_name ? g->output_name : "output");
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].param_count; k++)
            w->params[i * GRAPH_PARAMS + k] = onnx_unique(w, g->nodes[i].params[k].name);
    for (int i = 0; i < g->count - 1; i++)
        w->values[i] = onnx_unique(w, g->nodes[i].name);
}

const char *onnx_value_name(const struct onnx_writer *w, int layer)
{
    return layer == GRAPH_INPUT ? w->input : w->values[layer];
}

const char *onnx_param_name(const struct onnx_writer *w, int layer, int param)
{
    return w->params[layer * GRAPH_PARAMS + param];
}

void onnx_writer_close(struct onnx_writer *w)
{
    while (w->blocks) {
        struct onnx_block *next = w->blocks->next;
        free(w->blocks);
        w->blocks = next;
    }
}
