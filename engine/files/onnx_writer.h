/* What is being written as ONNX: its memory, freed at once, and its names, each used once. For onnx_write.c; the exporters of
 * layers see it through onnx.h alone. */
#ifndef ENGINE_FILES_ONNX_WRITER_H
#define ENGINE_FILES_ONNX_WRITER_H

#include "engine/files/onnx.h"

struct onnx_block;

struct onnx_writer {
    const struct graph *graph;
    struct onnx_block *blocks;
    bool no_memory;
    Onnx__GraphProto *proto;
    const char *input;   /* names in the file */
    const char **values; /* by layer */
    const char **params; /* by layer and parameter */
    const char **taken;  /* open-addressed set of all names */
    size_t taken_slots;  /* a power of two */
};

/* The name, or with a number behind it when it is taken; NULL when there is no memory. */
const char *onnx_unique(struct onnx_writer *w, const char *name);
/* What others refer to first: input, output, parameters; then the values between layers. */
void onnx_name_values(struct onnx_writer *w);
void onnx_writer_close(struct onnx_writer *w);

#endif
