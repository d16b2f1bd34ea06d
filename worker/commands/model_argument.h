/* What a command line calls MODEL: a file, or a name of the model registry. */
#ifndef WORKER_COMMANDS_MODEL_ARGUMENT_H
#define WORKER_COMMANDS_MODEL_ARGUMENT_H

#include "worker/commands/command.h"
#include "worker/models/model.h"

/* Reads a file (one that exists, or what holds a '/' or ends in .onnx, .yaml or .yml), or name[@alias|@version] from the
 * registry and the store. The caller releases the model. */
int model_argument_open(struct model **out, const struct context *cx, const char *text, struct fail *why);

#endif
