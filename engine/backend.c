/* Backends by name. What they do is in their folders; what they are made of, in backend_ops.h. */
#include "engine/backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/backend_ops.h"
#include "engine/cpu/cpu.h"
#include "engine/plugin.h"
#include "engine/ref/ref.h"

static const struct backend_ops *const backends[] = {&cpu_backend, &cpu1_backend, &ref_backend,
                                                     &ref64_backend};
/* Those in libraries of their own; auto takes the first that opens. */
static const char *const plugins[] = {"cuda"};
enum {
    BACKENDS = sizeof backends / sizeof *backends,
    PLUGINS = sizeof plugins / sizeof *plugins,
    THREADS_MOST = 1024,
    WORKSPACE_MOST_MB = 1 << 20
};

static bool is_plugin(const char *name)
{
    for (int i = 0; i < PLUGINS; i++)
        if (!strcmp(plugins[i], name))
            return true;
    return false;
}

static int check(const char *name, const struct backend_options *o, struct fail *why)
{
    bool known = !strcmp(name, "auto") || is_plugin(name);
    for (int i = 0; i < BACKENDS; i++)
        known = known || !strcmp(backends[i]->name, name);
    if (!known)
        return fail(why, E_CONFIG, "backend %s is unknown; expected auto, cpu, cuda or ref", name);
    if (o->threads < 0 || o->threads > THREADS_MOST)
        return fail(why, E_CONFIG, "%d threads: expected 0 (all cores) to %d", o->threads, THREADS_MOST);
    if (o->cuda_workspace_mb < 1 || o->cuda_workspace_mb > WORKSPACE_MOST_MB)
        return fail(why, E_CONFIG, "a workspace of %lld MB: expected 1 to %d",
                    (long long)o->cuda_workspace_mb, WORKSPACE_MOST_MB);
    return 0;
}

static int open_ops(struct backend **out, const struct backend_ops *ops, void *library,
                    const struct backend_options *o, struct fail *why)
{
    struct backend *be = calloc(1, sizeof *be);
    if (!be)
        return fail(why, E_MEMORY, "no memory for a backend");
    be->ops = ops;
    be->plugin = library;
    int rc = ops->open(be, o, why);
    if (rc)
        free(be);
    else
        *out = be;
    return rc;
}

/* *there: its library is, so that a failure is worth a word. */
static int open_plugin(struct backend **out, bool *there, const char *name, const struct backend_options *o,
                       struct fail *why)
{
    const struct backend_ops *ops;
    void *library;
    int rc = plugin_load(&ops, &library, there, name, why);
    if (rc)
        return rc;
    if ((rc = open_ops(out, ops, library, o, why))) {
        fail_prefix(why, "backend %s", name);
        dlclose(library);
    }
    return rc;
}

/* What follows the cpu's own words where another backend was there but did not open. */
static void add_reason(struct backend *be, const char *reason)
{
    size_t n = strlen(be->text);
    if (*reason)
        snprintf(be->text + n, sizeof be->text - n, " (%s)", reason);
}

static int open_auto(struct backend **out, const struct backend_options *o, struct fail *why)
{
    char reason[sizeof why->text] = "";
    for (int i = 0; i < PLUGINS; i++) {
        struct fail refused;
        bool there;
        if (!open_plugin(out, &there, plugins[i], o, &refused))
            return 0;
        if (there)
            snprintf(reason, sizeof reason, "%s", refused.text);
    }
    int rc = open_ops(out, &cpu_backend, NULL, o, why);
    if (!rc)
        add_reason(*out, reason);
    return rc;
}

int backend_open_with(struct backend **out, const char *name, const struct backend_options *o,
                      struct fail *why)
{
    bool there;
    int rc = check(name, o, why);
    if (rc)
        return rc;
    if (!strcmp(name, "auto"))
        return open_auto(out, o, why);
    if (is_plugin(name))
        return open_plugin(out, &there, name, o, why);
    for (int i = 0;; i++)
        if (!strcmp(backends[i]->name, name))
            return open_ops(out, backends[i], NULL, o, why);
}

int backend_open(struct backend **out, const char *name, int threads, struct fail *why)
{
    struct backend_options o = {.threads = threads, .cuda_workspace_mb = CUDA_WORKSPACE_MB};
    return backend_open_with(out, name, &o, why);
}

void backend_close(struct backend **be)
{
    if (!*be)
        return;
    void *library = (*be)->plugin;
    (*be)->ops->close(*be);
    free(*be);
    *be = NULL;
    if (library)
        dlclose(library);
}

const char *backend_name(const struct backend *be)
{
    return be->ops->name;
}

bool backend_use(const struct backend *be, struct backend_use *use)
{
    return be->ops->use && be->ops->use(be, use);
}

const char *backend_describe(const struct backend *be)
{
    return be->text;
}
