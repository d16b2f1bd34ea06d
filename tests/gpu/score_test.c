/* The program with backend cuda over the stand-in: its answers are the cpu's, and an error of the device ends it with 75. */
#include "engine/backend.h" /* before cmocka.h, which makes a macro of fail */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "tests/gpu/rig.h"
#include "tests/lib/folder.h"
#include "tests/lib/process.h"

enum { ROWS = 150, CLASSES = 10, LIMIT_MS = 60000 };

/* Scores with this backend and these orders to the stand-in; returns the exit status. */
static int score(struct result *r, const char *backend, const char *orders, const char *input,
                 const char *output)
{
    char folder[PATH_MAX - 32], plugins[PATH_MAX], blas[PATH_MAX], dnn[PATH_MAX], standin[128], setting[64];
    const char *config = test_write(test_path("c.yaml"), "batch: {max_rows: 64}\n");
    rig_folder(folder, sizeof folder);
    snprintf(plugins, sizeof plugins, "MILLRACE_PLUGINS=%s", folder);
    snprintf(blas, sizeof blas, "CUBLAS_HOME=%s", folder);
    snprintf(dnn, sizeof dnn, "CUDNN_HOME=%s", folder);
    snprintf(standin, sizeof standin, "MILLRACE_STANDIN=%s", orders);
    snprintf(setting, sizeof setting, "engine.backend=%s", backend);
    return result_runl(r, LIMIT_MS, "env", plugins, blas, dnn, standin, test_millrace(), "score",
                       "config/lenet.yaml", "-c", config, "-X", setting, "--input", input, "--output", output,
                       NULL);
}

static const char *make_rows(void)
{
    struct result r = {0};
    const char *path = test_path("rows.npz");
    char rows[16];
    snprintf(rows, sizeof rows, "%d", ROWS);
    result_runl(&r, LIMIT_MS, test_millrace(), "make-data", "digits", "--output", path, "--rows", rows,
                "--seed", "3", "--shape", "3x32x32", NULL);
    result_expect(&r, 0);
    result_free(&r);
    return path;
}

/* The last numbers of a .npy file. */
static float *outputs(const char *path)
{
    size_t size, want = ROWS * CLASSES * sizeof(float);
    unsigned char *bytes = folder_read(path, &size);
    float *values = malloc(want);
    assert_non_null(values);
    assert_true(size > want);
    memcpy(values, bytes + size - want, want);
    free(bytes);
    return values;
}

static void answers_are_the_cpus(void **state)
{
    struct result r = {0};
    const char *rows = make_rows(), *there = test_path("cuda.npy"), *here = test_path("cpu.npy");
    (void)state;
    score(&r, "cuda", "compute:1:0", rows, there);
    result_expect(&r, 0);
    score(&r, "cpu", "", rows, here);
    result_expect(&r, 0);
    float *a = outputs(there), *b = outputs(here);
    double most = 0;
    for (int i = 0; i < ROWS * CLASSES; i++) {
        most = fmax(most, fabs((double)b[i]));
        if (!(fabs((double)a[i] - (double)b[i]) <= 1e-5))
            fail_msg("output %d: %.9g, cpu %.9g", i, (double)a[i], (double)b[i]);
    }
    assert_true(most > 0.01);
    free(a);
    free(b);
    result_free(&r);
}

static void a_broken_device_ends_the_program(void **state)
{
    struct result r = {0};
    (void)state;
    score(&r, "cuda", "compute:1:0,cudaGraphLaunch:1:700", make_rows(), test_path("none.npy"));
    result_expect(&r, 75);
    assert_non_null(strstr(r.err, "an illegal memory access"));
    result_free(&r);
}

/* The device has room for half the batch only: every row is answered all the same. */
static void a_small_device_halves_the_batch(void **state)
{
    struct result r = {0};
    const char *rows = make_rows(), *path = test_path("small.npy");
    (void)state;
    score(&r, "cuda", "compute:1:0,memory:270:0", rows, path);
    result_expect(&r, 0);
    assert_non_null(strstr(r.err, "half as many rows at once"));
    free(outputs(path));
    result_free(&r);
}

/* The stand-in cuts factors to 10 bits as TF32 does: an error there is, and not a large one. */
static void inspect_states_the_error_of_tf32(void **state)
{
    struct result r = {0};
    (void)state;
    assert_true(rig_ready());
    result_runl(&r, LIMIT_MS, test_millrace(), "inspect", "config/mnist.yaml", "--plan", "--batch", "4",
                "--backend", "cuda", NULL);
    result_expect(&r, 0);
    const char *said = strstr(r.out, "outputs are up to ");
    if (!said)
        fail_msg("no error of TF32 in: %s", r.out);
    double error = atof(said + strlen("outputs are up to "));
    if (!(error > 1e-6 && error < 1e-2))
        fail_msg("%.9g is not the error of factors of 10 bits", error);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_cpus),
        cmocka_unit_test(a_broken_device_ends_the_program),
        cmocka_unit_test(a_small_device_halves_the_batch),
        cmocka_unit_test(inspect_states_the_error_of_tf32),
    };
    return cmocka_run_group_tests_name("gpu score", tests, NULL, NULL);
}
