/* The real millrace-cuda.so, as nvcc made it: loads, has its table, knows its own sources, and refuses plainly where there is
 * no device. Where nvcc is not there this is skipped, and with REQUIRE_NVCC=1 a failure. */
#include "engine/backend_ops.h" /* before cmocka.h, which makes a macro of fail */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/process.h"

/* millrace-cuda.so beside the program; NULL: skip. */
static const char *plugin(char *path, size_t size)
{
    snprintf(path, size, "%s", test_millrace());
    char *slash = strrchr(path, '/');
    snprintf(slash + 1, size - (size_t)(slash + 1 - path), "millrace-cuda.so");
    if (!access(path, R_OK))
        return path;
    if (getenv("REQUIRE_NVCC"))
        fail_msg("%s is not there", path);
    print_message("skipped: no nvcc when this was built\n");
    return NULL;
}

static bool is_of_cpu(int op)
{
    return op == OP_WINOGRAD || op == OP_WINOGRAD_DX || op == OP_WINOGRAD_DW || op == OP_INVERTED ||
           op == OP_TO_LANES || op == OP_FROM_LANES;
}

static void it_has_its_table(void **state)
{
    char path[4096];
    (void)state;
    if (!plugin(path, sizeof path))
        skip();
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        fail_msg("%s", dlerror());
    backend_entry *entry;
    void *symbol = dlsym(library, BACKEND_ENTRY);
    assert_non_null(symbol);
    memcpy(&entry, &symbol, sizeof entry);
    assert_null(entry(backend_abi() + 1));
    const struct backend_ops *ops = entry(backend_abi());
    assert_non_null(ops);
    assert_string_equal(ops->name, "cuda");
    for (int op = 0; op < OPS; op++)
        if (!ops->kernels[op].run != is_of_cpu(op))
            fail_msg("%s is %s", op_name((enum op)op), is_of_cpu(op) ? "there" : "missing");
}

/* With the library's own runtime, which finds no driver or no device. */
static void without_a_device_it_is_refused(void **state)
{
    struct result r = {0};
    char path[4096];
    (void)state;
    if (!plugin(path, sizeof path))
        skip();
    const char *config = test_write(test_path("c.yaml"), "worker: {slot: gpu}\n");
    const char *net = test_write(test_path("net.yaml"), "input: [4]\nlayers:\n  - dense: {units: 2}\n");
    result_runl(&r, 20000, "env", "CUDA_VISIBLE_DEVICES=", test_millrace(), "bench", net, "-c", config,
                "--backend", "cuda", "--seconds", "1", NULL);
    result_expect(&r, 3);
    if (!strstr(r.err, "backend cuda: no CUDA device"))
        fail_msg("said: %s", r.err);
    result_runl(&r, 20000, "env", "CUDA_VISIBLE_DEVICES=", test_millrace(), "bench", net, "-c", config,
                "--backend", "auto", "--seconds", "1", NULL);
    result_expect(&r, 0);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_its_table),
        cmocka_unit_test(without_a_device_it_is_refused),
    };
    return cmocka_run_group_tests_name("gpu plugin", tests, NULL, NULL);
}
