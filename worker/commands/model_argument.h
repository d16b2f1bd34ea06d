/* What a command line calls MODEL: a file, or a name of the model registry. */
#ifndef WORKER_COMMANDS_MODEL_ARGUMENT_H
#define WORKER_COMMANDS_MODEL_ARGUMENT_H

#include "engine/graph.h"
#include "worker/commands/command.h"

/* True for what is meant as a file: it exists, holds a '/', or ends in .onnx, .yaml or .yml. */
bool model_argument_is_file(const char *text);
/* Reads the graph of a file, or of name[@alias|@version] from the registry and the store; *version is 0 for a
 * file (version NULL: not wanted). The caller frees the graph. */
int model_argument_open(struct graph **out, int64_t *version, const struct context *cx, const char *text,
                        struct fail *why);

#endif
