/* Backend cuda for tests: over the stand-in beside the test's program, or, with CHECK_GPU=1, on a device. */
#ifndef TESTS_GPU_RIG_H
#define TESTS_GPU_RIG_H

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/backend.h"
#include "tests/gpu/standin/standin.h"

static inline bool rig_has_device(void)
{
    const char *set = getenv("CHECK_GPU");
    return set && !strcmp(set, "1");
}

/* The folder of the stand-ins: that of this program, and `standin`. */
static inline void rig_folder(char *out, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 16);
    assert_true(n > 0);
    out[n] = 0;
    strcpy(strrchr(out, '/'), "/standin");
}

/* Points the plugin and its libraries at the stand-ins. */
static inline void rig_use_standin(void)
{
    char folder[PATH_MAX];
    rig_folder(folder, sizeof folder);
    setenv("MILLRACE_PLUGINS", folder, 1);
    setenv("CUDNN_HOME", folder, 1);
    setenv("CUBLAS_HOME", folder, 1);
    unsetenv("VIRTUAL_ENV");
    standin_reset();
}

/* Opens it, computing. false: a device was asked for and there is none, which is a skip unless REQUIRE_GPU=1. */
static inline bool rig_open(struct backend **be)
{
    struct fail why;
    if (!rig_has_device()) {
        rig_use_standin();
        standin_compute(true);
    }
    int rc = backend_open(be, "cuda", 1, &why);
    if (!rc)
        return true;
    if (rig_has_device() && !getenv("REQUIRE_GPU")) {
        print_message("skipped: no CUDA device (%s)\n", why.text);
        return false;
    }
    fail_msg("%s", why.text);
    return false;
}

/* The same for programs that a test starts. */
static inline bool rig_ready(void)
{
    struct backend *be = NULL;
    if (!rig_open(&be))
        return false;
    backend_close(&be);
    if (!rig_has_device())
        setenv("MILLRACE_STANDIN", "compute:1:0", 1);
    return true;
}

/* Nothing of the device may be left open. */
static inline void rig_check_closed(void)
{
    if (!rig_has_device())
        if (standin_open())
            fail_msg("%d things are left open; calls:\n%s", standin_open(), standin_calls());
}

#endif
