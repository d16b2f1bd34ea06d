/* From the word MODEL to a model: from a file, or through the registry and the store.
 * Next to read: worker/models/registry.h, model.h. */
#include "worker/commands/model_argument.h"

#include <string.h>
#include <unistd.h>

#include "worker/models/registry.h"

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static bool is_file(const char *text)
{
    return strchr(text, '/') || ends_in(text, ".onnx") || ends_in(text, ".yaml") || ends_in(text, ".yml") ||
           access(text, F_OK) == 0;
}

int model_argument_open(struct model **out, const struct context *cx, const char *text, struct fail *why)
{
    const struct model_version_event *version;
    const char *variant;
    struct registry *registry = NULL;
    if (is_file(text))
        return model_read(out, text, why);
    int rc = registry_load(&registry, &cx->settings, cx->timeout_ms, why);
    if (!rc)
        rc = registry_resolve(registry, text_span(text), &version, &variant, why);
    if (!rc)
        rc = model_load(out, cx->settings.models_store, version, why);
    registry_free(&registry);
    return rc;
}
