/* `models import`: a file into the store, then a job that makes a version of it. ONNX bytes are kept as they
 * are; safetensors become ONNX with the network they belong to. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/safetensors.h"
#include "engine/layer.h"
#include "worker/commands/job_table.h"
#include "worker/commands/models_view.h"
#include "worker/models/store.h"
#include "worker/service/file.h"
#include "worker/train/job.h"
#include "worker/train/publish.h"

struct import {
    const struct context *cx;
    const struct models_options *o;
    const char *file;
    struct file_map map;
    void *made; /* ONNX made here; NULL: the file's own bytes */
    const void *bytes;
    size_t size;
};

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static int network_open(struct graph **out, const char *network, struct fail *why)
{
    return strchr(network, '/') || ends_in(network, ".yaml") ? graph_read(out, network, why)
                                                             : job_network(out, network, why);
}

static int param_take(struct graph *g, int node, int index, const struct safetensors *st, struct fail *why)
{
    const struct graph_param *p = &g->nodes[node].params[index];
    int at = safetensors_index(st, p->name);
    char is[100], wanted[100];
    if (at < 0)
        return fail(why, E_FILE, "there is no tensor %s, which the network %s needs", p->name, g->name);
    struct shape shape = safetensors_shape(st, at);
    if (!shape_equal(shape, p->shape))
        return fail(why, E_FILE, "tensor %s is %s, the network %s wants %s", p->name,
                    shape_text(shape, is, sizeof is), g->name, shape_text(p->shape, wanted, sizeof wanted));
    int64_t n = shape_size(shape);
    float *values = malloc(sizeof *values * (size_t)(n + 1));
    if (!values)
        return fail(why, E_MEMORY, "no memory for %s", p->name);
    char name[GRAPH_NAME];
    memcpy(name, p->name, sizeof name);
    int rc = dtype_to_float(safetensors_dtype(st, at), safetensors_data(st, at), n, values)
                 ? fail(why, E_FILE, "tensor %s has a value that is not finite", name)
                 : graph_set_param(g, node, index, name, shape, values, why);
    free(values);
    return rc;
}

static int weights_take(struct graph *g, const struct safetensors *st, struct fail *why)
{
    int rc = 0, taken = 0;
    for (int n = 0; !rc && n < g->count; n++)
        for (int i = 0; !rc && i < g->nodes[n].param_count; i++, taken++)
            rc = param_take(g, n, i, st, why);
    if (!rc && taken != safetensors_count(st))
        rc = fail(why, E_FILE, "it has %d tensors, the network %s takes %d: is it another network's?",
                  safetensors_count(st), g->name, taken);
    return rc;
}

static int import_safetensors(struct import *im, struct fail *why)
{
    struct safetensors *st = NULL;
    struct graph *g = NULL;
    if (!*im->o->network)
        return fail(why, E_USAGE, "%s holds weights alone: --network says what network they belong to",
                    im->file);
    int rc = network_open(&g, im->o->network, why);
    if (!rc)
        rc = safetensors_parse(&st, im->file, im->map.base, im->map.size, why);
    if (!rc && (rc = weights_take(g, st, why)))
        rc = fail_prefix(why, "%s", im->file);
    if (!rc)
        rc = onnx_print(g, &im->made, &im->size, why);
    im->bytes = im->made;
    safetensors_free(&st);
    graph_free(&g);
    return rc;
}

/* Read here as the worker will read it: a bad file is said before anything is stored. */
static int import_onnx(struct import *im, struct fail *why)
{
    struct graph *g = NULL;
    if (*im->o->network)
        return fail(why, E_USAGE, "--network goes with .safetensors; an ONNX file holds its network");
    im->bytes = im->map.base;
    im->size = im->map.size;
    int rc = onnx_parse(&g, im->file, im->bytes, im->size, why);
    graph_free(&g);
    return rc;
}

static int import_submit(struct import *im, struct region *mem, struct job_checkpoint *end, struct fail *why)
{
    char uri[STORE_URI], sha256[SHA256_HEX];
    const struct passwd *user = getpwuid(getuid());
    int rc =
        store_put(im->cx->settings.models_store, im->o->model, NULL, im->bytes, im->size, uri, sha256, why);
    if (rc)
        return rc;
    struct training_job job = {.job_id = job_id_make(im->o->model, mem),
                               .action = ACTION_IMPORT,
                               .model = im->o->model,
                               .network = "",
                               .artifact_uri = uri,
                               .sha256 = sha256,
                               .loss = LOSS_CROSS_ENTROPY,
                               .validation_rate = 0.1,
                               .promote_metric = "val_accuracy",
                               .requested_by = user ? user->pw_name : "",
                               .created_at = publish_now_ms()};
    if (!job.job_id)
        return fail(why, E_MEMORY, "no memory for a job");
    if ((rc = job_submit(im->cx, &job, why)) || (rc = job_wait_end(im->cx, job.job_id, mem, end, why)))
        return rc;
    return end->state == JOB_COMPLETED
               ? 0
               : fail(why, E_JOB, "%s: the worker %s made no version of it: %s: %s", im->file, end->worker,
                      job_state_name(end->state), end->failure_reason);
}

static int import_promote(const struct context *cx, const char *model, int64_t version, struct fail *why)
{
    struct registry *r = NULL;
    int rc = registry_load(&r, &cx->settings, cx->timeout_ms, why);
    if (rc)
        return rc;
    const struct model_version_event *v = registry_version(r, model, version);
    rc = v ? alias_write(cx, r, v, EVENT_PROMOTED, why)
           : fail(why, E_FAILED, "%s@%lld is not in the models topic", model, (long long)version);
    registry_free(&r);
    return rc;
}

static int import_run(struct import *im, struct fail *why)
{
    struct region mem = {0};
    struct job_checkpoint end;
    int rc = model_name_check(im->o->model, why);
    if (rc) {
        why->code = E_USAGE;
        return fail_prefix(why, "--model");
    }
    if ((rc = file_map_open(&im->map, im->file, why)))
        return rc;
    rc = ends_in(im->file, ".safetensors") ? import_safetensors(im, why)
         : ends_in(im->file, ".onnx")
             ? import_onnx(im, why)
             : fail(why, E_USAGE, "%s: an .onnx or .safetensors file is expected", im->file);
    if (!rc)
        rc = import_submit(im, &mem, &end, why);
    if (!rc && im->cx->json && !im->o->promote)
        printf("{\"job_id\":\"%s\",\"model\":\"%s\",\"version\":%lld,\"sha256\":\"%s\",\"artifact_uri\":\"%"
               "s\"}\n",
               end.job_id, im->o->model, (long long)end.version, end.sha256, end.artifact_uri);
    else if (!rc && !im->cx->json)
        printf("%s@%lld %s\n", im->o->model, (long long)end.version, end.artifact_uri);
    if (!rc && im->o->promote)
        rc = import_promote(im->cx, im->o->model, end.version, why);
    region_free(&mem);
    return rc;
}

int models_import(const struct context *cx, struct fail *why)
{
    struct import im = {.cx = cx, .o = cx->options, .file = cx->argv[1]};
    int rc = import_run(&im, why);
    file_map_close(&im.map);
    free(im.made);
    return rc;
}
