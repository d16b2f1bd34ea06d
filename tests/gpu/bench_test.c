/* tests/bench/gpu over the stand-in, whose rates mean nothing: that it finds the device, measures what it was asked to and
 * writes the table; and that it says so where there is no device. */
#include "engine/backend.h" /* before cmocka.h, which makes a macro of fail */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/gpu/rig.h"
#include "tests/lib/folder.h"
#include "tests/lib/process.h"

enum { LIMIT_MS = 120000 };

static void run(struct result *r, const char *output)
{
    char millrace[PATH_MAX], to[PATH_MAX];
    snprintf(millrace, sizeof millrace, "MILLRACE=%s", test_millrace());
    snprintf(to, sizeof to, "OUTPUT=%s", output);
    result_runl(r, LIMIT_MS, "env", millrace, to, "NETS=mnist", "BATCHES=1 4", "SECS=0.1",
                "PEERS=", "STREAM_ROWS=0", "PEAK_MHZ=1000", "tests/bench/gpu", NULL);
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%s", part, text);
}

static void a_table_is_written(void **state)
{
    struct result r = {0};
    size_t size;
    const char *output = test_path("table.md");
    (void)state;
    rig_use_standin();
    unsetenv("REQUIRE_GPU");
    run(&r, output);
    result_expect(&r, 0);
    has(r.out, "multiprocessors");
    has(r.out, "cuDNN 91002");
    has(r.out, "## Inference, float32, NCHW");
    has(r.out, "## Training steps, TF32 on, NCHW");
    has(r.out, "| mnist | 4 | ");
    int rows = 0;
    for (const char *at = r.out; (at = strstr(at, "\n| mnist | ")); at++) {
        rows++;
        assert_true(atof(at + strlen("\n| mnist | 1 | ")) > 0); /* images/s */
    }
    assert_int_equal(rows, 8);
    char *written = (char *)folder_read(output, &size);
    assert_int_equal(size, strlen(r.out));
    assert_memory_equal(written, r.out, size);
    free(written);
    result_free(&r);
}

static void without_a_device_it_is_skipped(void **state)
{
    struct result r = {0};
    const char *output = test_path("none.md");
    (void)state;
    rig_use_standin();
    setenv("MILLRACE_STANDIN", "cudaGetDeviceCount:1:100", 1);
    run(&r, output);
    result_expect(&r, 0);
    has(r.out, "skipped: no CUDA device");
    assert_int_equal(access(output, F_OK), -1);
    setenv("REQUIRE_GPU", "1", 1);
    run(&r, output);
    result_expect(&r, 1);
    unsetenv("REQUIRE_GPU");
    unsetenv("MILLRACE_STANDIN");
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_written),
        cmocka_unit_test(without_a_device_it_is_skipped),
    };
    return cmocka_run_group_tests_name("gpu bench", tests, NULL, NULL);
}
