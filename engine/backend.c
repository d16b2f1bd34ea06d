/* Backends by name. What they do is in their folders; what they are made of, in backend_ops.h. */
#include "engine/backend.h"

#include <stdlib.h>
#include <string.h>

#include "engine/backend_ops.h"
#include "engine/cpu/cpu.h"
#include "engine/ref/ref.h"

static const struct backend_ops *const backends[] = {&cpu_backend, &cpu1_backend, &ref_backend,
                                                     &ref64_backend};
enum { BACKENDS = sizeof backends / sizeof *backends, THREADS_MOST = 1024 };

static const struct backend_ops *find(const char *name)
{
    if (!strcmp(name, "auto"))
        name = "cpu";
    for (int i = 0; i < BACKENDS; i++)
        if (!strcmp(backends[i]->name, name))
            return backends[i];
    return NULL;
}

int backend_open(struct backend **out, const char *name, int threads, struct fail *why)
{
    const struct backend_ops *ops = find(name);
    if (!ops && !strcmp(name, "cuda"))
        return fail(why, E_UNSUPPORTED, "backend cuda: this build has none; use engine.backend auto or cpu");
    if (!ops)
        return fail(why, E_CONFIG, "backend %s is unknown; expected auto, cpu, cuda or ref", name);
    if (threads < 0 || threads > THREADS_MOST)
        return fail(why, E_CONFIG, "%d threads: expected 0 (all cores) to %d", threads, THREADS_MOST);
    struct backend *be = calloc(1, sizeof *be);
    if (!be)
        return fail(why, E_MEMORY, "no memory for a backend");
    be->ops = ops;
    int rc = ops->open(be, threads, why);
    if (rc) {
        free(be);
        return rc;
    }
    *out = be;
    return 0;
}

void backend_close(struct backend **be)
{
    if (!*be)
        return;
    (*be)->ops->close(*be);
    free(*be);
    *be = NULL;
}

const char *backend_name(const struct backend *be)
{
    return be->ops->name;
}

const char *backend_describe(const struct backend *be)
{
    return be->text;
}
