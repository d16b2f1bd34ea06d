/* Programs with backend cuda: the goldens of PyTorch, and LeNet that learns digits, to the same bits twice. On a device to 97 %,
 * and compute-sanitizer watches what kernels do to memory; over the stand-in, which takes a while for each row, a few rows are learnt. */
#include "engine/backend.h" /* before cmocka.h, which makes a macro of fail */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/gpu/rig.h"
#include "tests/lib/process.h"

enum { MINUTES_MS = 300000 };

/* A test program beside this one: "engine/golden_test". */
static const char *program(const char *name)
{
    char self[PATH_MAX - 64], path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = 0;
    strcpy(strstr(self, "/tests/gpu/"), "/tests");
    snprintf(path, sizeof path, "%s/%s", self, name);
    if (access(path, X_OK))
        fail_msg("%s is not built", path);
    return test_keep(strdup(path));
}

static void goldens_hold(void **state)
{
    static const char *const names[] = {"engine/golden_test", "engine/layer_golden_test",
                                        "engine/training_golden_test"};
    struct result r = {0};
    (void)state;
    if (!rig_ready())
        skip();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        result_runl(&r, MINUTES_MS, "env", "TEST_BACKEND=cuda", program(names[i]), NULL);
        result_expect(&r, 0);
    }
    /* It is cuda that was held against them. */
    result_runl(&r, MINUTES_MS, "env", "TEST_BACKEND=nothing", program(names[0]), NULL);
    assert_int_equal(r.code, 1);
    result_free(&r);
}

/* Trains and returns what `train --local --json` said; it lives as long as the program. */
static const char *train(const char *job, const char *rows)
{
    struct result r = {0};
    result_runl(&r, MINUTES_MS, test_millrace(), "train", job, "--local", "--data", rows, "--output",
                test_path("lenet.onnx"), "-X", "engine.backend=cuda", "--json", NULL);
    result_expect(&r, 0);
    const char *said = test_keep(strdup(r.out));
    result_free(&r);
    return said;
}

static void lenet_learns_the_same_twice(void **state)
{
    struct result r = {0};
    bool whole = rig_has_device();
    (void)state;
    if (!rig_ready())
        skip();
    const char *rows = test_path("rows.npz");
    const char *job = test_write(test_path("job.yaml"),
                                 whole ? "model: lenet\nnetwork: lenet\nvalidation_rate: 0.1\n"
                                         "hyperparameters: {learning_rate: 0.02, momentum: 0.9, batch_size: "
                                         "64, epochs: 8, seed: 1}\n"
                                       : "model: lenet\nnetwork: lenet\nvalidation_rate: 0.25\n"
                                         "hyperparameters: {batch_size: 16, epochs: 1, seed: 1}\n");
    result_runl(&r, MINUTES_MS, test_millrace(), "make-data", "digits", "--shape", "3x32x32", "--rows",
                whole ? "20000" : "40", "--seed", "1", "--output", rows, NULL);
    result_expect(&r, 0);
    result_free(&r);
    const char *first = train(job, rows), *accuracy = strstr(first, "\"val_accuracy\":");
    if (!strstr(first, "\"sha256\":") || strcmp(first, train(job, rows)) != 0)
        fail_msg("other bits the second time: %s", first);
    assert_non_null(accuracy);
    if (whole && !(atof(strchr(accuracy, ':') + 1) >= 0.97))
        fail_msg("it did not learn to 97 %%: %s", first);
}

static void kernels_stay_within_memory(void **state)
{
    struct result r = {0};
    (void)state;
    if (!rig_ready())
        skip();
    if (result_runl(&r, 20000, "sh", "-c", "command -v compute-sanitizer", NULL)) {
        print_message("skipped: compute-sanitizer is not installed\n");
        result_free(&r);
        skip();
    }
    result_runl(&r, MINUTES_MS, "compute-sanitizer", "--error-exitcode", "9", program("gpu/host_test"), NULL);
    result_expect(&r, 0);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_hold),
        cmocka_unit_test(lenet_learns_the_same_twice),
    };
    const struct CMUnitTest device[] = {
        cmocka_unit_test(kernels_stay_within_memory),
    };
    int failed = cmocka_run_group_tests_name("gpu programs", tests, NULL, NULL);
    return rig_has_device() ? failed + cmocka_run_group_tests_name("gpu memory", device, NULL, NULL) : failed;
}
