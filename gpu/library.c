/* Finds and loads NVIDIA's libraries. Two traps decide how: cuDNN loads its parts by bare names and ends the process
 * when one is missing, and a part from a system folder, of another version, does not match the rest. So one folder
 * is chosen, and every part in it is loaded by its absolute path before anything is called.
 * Next to read: api.h for the functions, device.c for who calls this. */
#include "gpu/library.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CUDNN_MAJOR = 9 };

/* A folder that may hold a library: below the value of an environment variable, or just a folder. */
struct place {
    const char *variable, *below;
};

#define SYSTEM_PLACES                                                     \
    {NULL, "/usr/local/cuda/lib64"}, {NULL, "/usr/lib/x86_64-linux-gnu"}, \
        {NULL, "/usr/lib/aarch64-linux-gnu"}, {NULL, "/usr/lib64"},       \
    {                                                                     \
        NULL, NULL                                                        \
    }

static const struct place blas_places[] = {
    {"CUBLAS_HOME", "/lib"},
    {"CUBLAS_HOME", ""},
    {"CUDA_HOME", "/lib64"},
    {"CUDA_HOME", "/lib"},
    {"VIRTUAL_ENV", "/lib/python3*/site-packages/nvidia/cu13/lib"},
    {"VIRTUAL_ENV", "/lib/python3*/site-packages/nvidia/cublas/lib"},
    SYSTEM_PLACES,
};
static const struct place dnn_places[] = {
    {"CUDNN_HOME", "/lib64"},
    {"CUDNN_HOME", "/lib"},
    {"CUDNN_HOME", ""},
    {"CUDA_HOME", "/lib64"},
    {"VIRTUAL_ENV", "/lib/python3*/site-packages/nvidia/cudnn/lib"},
    SYSTEM_PLACES,
};

/* A library of one or several files; the first, by which it is found, is loaded first. */
struct library {
    const char *name;
    const struct place *places;
    const char *patterns[3];
    const char *help;
};

static const struct library cublas = {"cuBLAS",
                                      blas_places,
                                      {"libcublasLt.so.1[2-9]", "libcublas.so.1[2-9]"},
                                      "install CUDA's libraries or set CUBLAS_HOME"};
static const struct library cudnn = {
    "cuDNN 9", dnn_places, {"libcudnn.so.9", "libcudnn_*.so.9"}, "install cuDNN 9 or set CUDNN_HOME"};

/* Files like folder/pattern; false: there are none. The caller frees g. */
static bool list(const char *folder, const char *pattern, glob_t *g)
{
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, pattern);
    return !glob(path, 0, NULL, g);
}

/* The first folder that has the library. */
static bool find(const struct library *l, char folder[PATH_MAX])
{
    for (const struct place *p = l->places; p->below; p++) {
        char base[PATH_MAX];
        const char *value = p->variable ? getenv(p->variable) : "";
        glob_t g = {0};
        if (!value || (p->variable && !*value))
            continue;
        snprintf(base, sizeof base, "%s%s", value, p->below);
        bool found = list(base, l->patterns[0], &g);
        if (found)
            snprintf(folder, PATH_MAX, "%.*s", (int)(strrchr(g.gl_pathv[0], '/') - g.gl_pathv[0]),
                     g.gl_pathv[0]);
        globfree(&g);
        if (found)
            return true;
    }
    return false;
}

/* All files of one pattern; *handle is the last one's. */
static int load_files(const char *folder, const char *pattern, void **handle, struct fail *why)
{
    glob_t g = {0};
    int rc = list(folder, pattern, &g)
                 ? 0
                 : fail(why, E_UNSUPPORTED, "%s has no %s: its installation is not whole", folder, pattern);
    for (size_t i = 0; !rc && i < g.gl_pathc; i++)
        if (!(*handle = dlopen(g.gl_pathv[i], RTLD_NOW | RTLD_GLOBAL)))
            rc = fail(why, E_UNSUPPORTED, "%s cannot be loaded: %s", g.gl_pathv[i], dlerror());
    globfree(&g);
    return rc;
}

/* first, last: the handles of the first and of the last file. */
static int load(const struct library *l, void **first, void **last, struct fail *why)
{
    char folder[PATH_MAX];
    if (!find(l, folder))
        return fail(why, E_UNSUPPORTED,
                    "%s is missing (%s in CUBLAS_HOME, CUDNN_HOME, CUDA_HOME, VIRTUAL_ENV, %s or the "
                    "system's folders): %s",
                    l->name, l->patterns[0], "/usr/local/cuda/lib64", l->help);
    int rc = load_files(folder, l->patterns[0], first, why);
    return rc ? rc : load_files(folder, l->patterns[1], last, why);
}

/* ---- functions ---- */

struct import {
    const char *name;
    void *at; /* where the address goes */
};

static int import_all(void *library, const char *of, const struct import *imports, size_t count,
                      struct fail *why)
{
    for (size_t i = 0; i < count; i++) {
        void *address = dlsym(library, imports[i].name);
        if (!address)
            return fail(why, E_UNSUPPORTED, "%s has no function %s: its version does not fit", of,
                        imports[i].name);
        memcpy(imports[i].at, &address, sizeof address);
    }
    return 0;
}

#define IMPORT(returns, name, arguments) {#name, &to->name},
#define COUNT(array)                     (sizeof array / sizeof *array)

static int open_blas(struct cublas_api *to, struct fail *why)
{
    void *light, *handle;
    const struct import imports[] = {CUBLAS_TABLE(IMPORT)};
    int rc = load(&cublas, &light, &handle, why);
    return rc ? rc : import_all(handle, cublas.name, imports, COUNT(imports), why);
}

static int open_dnn(struct cudnn_api *to, int *version, struct fail *why)
{
    void *handle, *part;
    const struct import imports[] = {CUDNN_TABLE(IMPORT)};
    int rc = load(&cudnn, &handle, &part, why);
    if (rc || (rc = import_all(handle, cudnn.name, imports, COUNT(imports), why)))
        return rc;
    *version = (int)to->cudnnGetVersion();
    int major = *version >= 10000 ? *version / 10000 : *version / 1000; /* 8 and before counted otherwise */
    if (major != CUDNN_MAJOR)
        return fail(why, E_UNSUPPORTED, "cuDNN says that it is version %d: expected %d; %s", *version,
                    CUDNN_MAJOR, cudnn.help);
    return 0;
}

int libraries_open(struct libraries *l, struct fail *why)
{
    int rc = open_blas(&l->blas, why);
    return rc ? rc : open_dnn(&l->dnn, &l->dnn_version, why);
}

bool library_nvml(struct nvml_api *to)
{
    const struct import imports[] = {NVML_TABLE(IMPORT)};
    void *handle = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    return handle && !import_all(handle, "NVML", imports, COUNT(imports), NULL) && !to->nvmlInit_v2();
}
