/* A model as the runner wants it: one version's verified graph and what is needed to answer with it. Read-only after it
 * was loaded and counted, so that the follower that loads it and the runner that serves it can both hold it. */
#ifndef WORKER_MODELS_MODEL_H
#define WORKER_MODELS_MODEL_H

#include <stdatomic.h>

#include "engine/graph.h"
#include "engine/normalise.h"
#include "worker/codec/record.h"

struct model {
    atomic_int references;
    char name[128];
    int64_t version; /* 0: of a file, not of the registry */
    char sha256[65];
    struct graph *graph;
    struct normalise normalise;
    enum score_rule { SCORE_NONE, SCORE_SOFTMAX, SCORE_SIGMOID } rule;
};

/* Reads the artefact of a version from the store and verifies it. E_FILE, E_UNSUPPORTED: it cannot be served, with the reason;
 * E_IO: the store failed, another try may succeed. */
int model_load(struct model **out, const char *store, const struct model_version_event *version,
               struct fail *why);
/* A file (.onnx, or a network .yaml with fresh weights); version 0, name from the graph. */
int model_read(struct model **out, const char *path, struct fail *why);
struct model *model_hold(struct model *m);
void model_release(struct model **m); /* NULL is allowed */

#endif
