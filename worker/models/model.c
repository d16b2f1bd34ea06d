/* Loads a version's artefact into a graph that can be served. Which version: registry.h. Nets are opened by who runs
 * them: infer/router.h. */
#include "worker/models/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/models/store.h"
#include "worker/service/file.h"

struct model *model_hold(struct model *m)
{
    if (m)
        atomic_fetch_add(&m->references, 1);
    return m;
}

void model_release(struct model **m)
{
    if (*m && atomic_fetch_sub(&(*m)->references, 1) == 1) {
        graph_free(&(*m)->graph);
        free(*m);
    }
    *m = NULL;
}

/* Takes the graph over, also on failure. */
static int model_make(struct model **out, struct graph **graph, const float *mean, const float *std,
                      int count, struct fail *why)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m) {
        graph_free(graph);
        return fail(why, E_MEMORY, "a model");
    }
    atomic_init(&m->references, 1);
    m->graph = *graph;
    *graph = NULL;
    snprintf(m->name, sizeof m->name, "%s", m->graph->name);
    const char *rule = graph_score_rule(m->graph);
    m->rule = strcmp(rule, "softmax") == 0   ? SCORE_SOFTMAX
              : strcmp(rule, "sigmoid") == 0 ? SCORE_SIGMOID
                                             : SCORE_NONE;
    if (!count) {
        mean = m->graph->mean;
        std = m->graph->std;
        count = m->graph->channels_normalised;
    }
    int rc = normalise_make(&m->normalise, m->graph->input, mean, std, count, why);
    if (rc)
        model_release(&m);
    *out = m;
    return rc;
}

int model_load(struct model **out, const char *store, const struct model_version_event *version,
               struct fail *why)
{
    struct graph *graph = NULL;
    void *bytes = NULL;
    size_t size;
    int rc = store_get(store, version->artifact_uri, version->sha256, &bytes, &size, why);
    if (!rc && strcmp(version->format, "onnx") != 0)
        rc = fail(why, E_UNSUPPORTED, "format %s: this version serves onnx", version->format);
    if (!rc)
        rc = onnx_parse(&graph, version->artifact_uri, bytes, size, why);
    free(bytes);
    int count = version->mean_count < version->std_count ? version->mean_count : version->std_count;
    if (!rc)
        rc = model_make(out, &graph, version->mean, version->std, version->has_input ? count : 0, why);
    if (rc)
        return fail_prefix(why, "%s@%lld", version->model, (long long)version->version);
    snprintf((*out)->name, sizeof(*out)->name, "%s", version->model);
    snprintf((*out)->sha256, sizeof(*out)->sha256, "%s", version->sha256);
    (*out)->version = version->version;
    return 0;
}

int model_read(struct model **out, const char *path, struct fail *why)
{
    struct graph *graph = NULL;
    struct file_map file = {0};
    int rc = graph_read(&graph, path, why);
    if (!rc)
        rc = model_make(out, &graph, NULL, NULL, 0, why);
    if (!rc && (rc = file_map_open(&file, path, why)))
        model_release(out);
    if (!rc)
        sha256_hex(file.base, file.size, (*out)->sha256);
    file_map_close(&file);
    return rc;
}
