/* From the word MODEL to a graph: from a file, or through the registry and the store.
 * Next to read: worker/models/registry.h, store.h. */
#include "worker/commands/model_argument.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/models/registry.h"
#include "worker/models/store.h"

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

bool model_argument_is_file(const char *text)
{
    return strchr(text, '/') || ends_in(text, ".onnx") || ends_in(text, ".yaml") || ends_in(text, ".yml") ||
           access(text, F_OK) == 0;
}

int model_argument_open(struct graph **out, int64_t *version, const struct context *cx, const char *text,
                        struct fail *why)
{
    const struct model_version_event *v;
    const char *variant;
    struct registry *registry = NULL;
    void *bytes = NULL;
    size_t size;
    if (version)
        *version = 0;
    if (model_argument_is_file(text))
        return graph_read(out, text, why);
    int rc = registry_load(&registry, &cx->settings, cx->timeout_ms, why);
    if (!rc)
        rc = registry_resolve(registry, (struct span){text, strlen(text)}, &v, &variant, why);
    if (!rc)
        rc = store_get(cx->settings.models_store, v->artifact_uri, v->sha256, &bytes, &size, why);
    if (!rc)
        rc = onnx_parse(out, v->artifact_uri, bytes, size, why);
    if (!rc && version)
        *version = v->version;
    free(bytes);
    registry_free(&registry);
    return rc;
}
