/* Finding and loading a backend's library. What it must hold is in backend_ops.h. */
#include "engine/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of this program; empty when the system does not tell. */
static void own_folder(char *out, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 1);
    out[n > 0 ? n : 0] = 0;
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = 0;
}

static bool find(const char *name, char *path, size_t size)
{
    char own[PATH_MAX];
    const char *set = getenv("MILLRACE_PLUGINS");
    if (set && *set) {
        snprintf(path, size, "%s/millrace-%s.so", set, name);
        return !access(path, R_OK);
    }
    own_folder(own, sizeof own);
    snprintf(path, size, "%s/millrace-%s.so", own, name);
    if (!access(path, R_OK))
        return true;
    snprintf(path, size, "%s/../lib/millrace/millrace-%s.so", own, name);
    return !access(path, R_OK);
}

int plugin_load(const struct backend_ops **ops, void **library, bool *there, const char *name,
                struct fail *why)
{
    char path[PATH_MAX + 64];
    *there = find(name, path, sizeof path);
    if (!*there)
        return fail(
            why, E_UNSUPPORTED,
            "backend %s: millrace-%s.so is neither beside the program nor in ../lib/millrace: this build "
            "has none; use engine.backend auto or cpu",
            name, name);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
        return fail(why, E_UNSUPPORTED, "backend %s: %s cannot be loaded: %s", name, path, dlerror());
    void *symbol = dlsym(handle, BACKEND_ENTRY);
    backend_entry *entry;
    memcpy(&entry, &symbol, sizeof entry);
    if (symbol && (*ops = entry(backend_abi()))) {
        *library = handle;
        return 0;
    }
    dlclose(handle);
    return fail(why, E_UNSUPPORTED,
                "backend %s: %s was made from other sources than this program: build both anew", name, path);
}
