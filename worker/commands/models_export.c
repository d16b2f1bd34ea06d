/* `models export`: a version's file out of the store. ONNX bytes are those that the version has, by SHA-256; safetensors
 * holds its parameters under their names, for programs with a network of their own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/safetensors.h"
#include "engine/graph.h"
#include "worker/commands/models_view.h"
#include "worker/models/store.h"
#include "worker/service/file.h"
#include "worker/service/text.h"

static int entries_gather(const struct graph *g, struct safetensors_entry **out, int *count, struct fail *why)
{
    int n = 0;
    for (int i = 0; i < g->count; i++)
        n += g->nodes[i].param_count;
    struct safetensors_entry *all = calloc((size_t)n + 1, sizeof *all);
    if (!all)
        return fail(why, E_MEMORY, "no memory for %d tensors", n);
    n = 0;
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].param_count; k++) {
            const struct graph_param *p = &g->nodes[i].params[k];
            if (!p->data) {
                free(all);
                return fail(why, E_NETWORK, "%s has no values", p->name);
            }
            all[n++] = (struct safetensors_entry){p->name, DTYPE_FP32, p->shape, p->data};
        }
    *out = all;
    *count = n;
    return 0;
}

/* Replaces the ONNX bytes by those of a safetensors file. */
static int make_safetensors(const struct model_version_event *v, void **bytes, size_t *size, struct fail *why)
{
    struct safetensors_entry *all = NULL;
    struct graph *g = NULL;
    void *made = NULL;
    char number[24];
    int count = 0;
    snprintf(number, sizeof number, "%lld", (long long)v->version);
    const char *const about[] = {"format",  "pt",   "model",       v->model,
                                 "version", number, "onnx_sha256", v->sha256};
    int rc = onnx_parse(&g, v->artifact_uri, *bytes, *size, why);
    if (!rc)
        rc = entries_gather(g, &all, &count, why);
    if (!rc)
        rc = safetensors_print(all, count, about, 4, &made, size, why);
    if (!rc) {
        free(*bytes);
        *bytes = made;
    }
    free(all);
    graph_free(&g);
    return rc;
}

static int write_whole(const char *path, const void *bytes, size_t size, struct fail *why)
{
    struct file_out out = {0};
    int rc = file_out_open(&out, path, why);
    if (!rc)
        rc = file_out_write(&out, bytes, size, why);
    if (!rc)
        rc = file_out_commit(&out, why);
    file_out_close(&out);
    return rc;
}

static void report(const struct context *cx, const struct model_version_event *v, const void *bytes,
                   size_t size)
{
    const struct models_options *o = cx->options;
    char sha256[SHA256_HEX];
    if (!cx->json) {
        printf("%s@%lld %s\n", v->model, (long long)v->version, o->output);
        return;
    }
    sha256_hex(bytes, size, sha256);
    printf("{\"model\":\"%s\",\"version\":%lld,\"output\":", v->model, (long long)v->version);
    text_print_json(o->output, strlen(o->output), stdout);
    printf(",\"size_bytes\":%zu,\"sha256\":\"%s\"}\n", size, sha256);
}

int models_export(const struct context *cx, struct fail *why)
{
    const struct models_options *o = cx->options;
    const struct model_version_event *v = NULL;
    const char *variant;
    struct registry *registry = NULL;
    void *bytes = NULL;
    size_t size = 0;
    if (!*o->output)
        return fail(why, E_USAGE, "models export: --output FILE is needed");
    int rc = registry_load(&registry, &cx->settings, cx->timeout_ms, why);
    if (!rc &&
        (rc = registry_resolve(registry, text_span(cx->argv[1]), &v, &variant, why)) == -E_BAD_REQUEST) {
        why->code = E_USAGE;
        rc = -E_USAGE;
    }
    if (!rc && strcmp(v->format, "onnx") != 0)
        rc = fail(why, E_UNSUPPORTED, "%s is of format %s, expected onnx", v->artifact_uri, v->format);
    if (!rc)
        rc = store_get(cx->settings.models_store, v->artifact_uri, v->sha256, &bytes, &size, why);
    if (!rc && o->format == EXPORT_SAFETENSORS)
        rc = make_safetensors(v, &bytes, &size, why);
    if (!rc)
        rc = write_whole(o->output, bytes, size, why);
    if (!rc)
        report(cx, v, bytes, size);
    free(bytes);
    registry_free(&registry);
    return rc;
}
