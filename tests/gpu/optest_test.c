/* Every operation of backend cuda against ref, by the cases of optest. With CHECK_GPU=1 on a device; else the kernels
 * run on the host, by the same loops, and products by the stand-in's (tests/gpu/README.md). */
#include "tests/engine/optest.h"
#include "tests/gpu/rig.h"

static const int batches[] = {1, 7, 17, 65};

static void every_case_agrees(void **state)
{
    struct backend *ref = NULL;
    struct subject cuda = {.name = "cuda"};
    struct fail why;
    int cases_run = 0;
    (void)state;
    if (!rig_open(&cuda.be))
        skip();
    assert_int_equal(backend_open(&ref, "ref", 1, &why), 0);
    for (int i = 0; i < CASES; i++)
        for (int b = 0; b < 4; b++) {
            cases_run += can_run(&cuda, &cases[i], false);
            if (!sums_into_parameters(cases[i].op))
                check_case(&cuda, 1, ref, &cases[i], batches[b], false);
            if (!only_assigns(&cases[i]) && strcmp(cases[i].name, "conv and relu") != 0)
                check_case(&cuda, 1, ref, &cases[i], batches[b], true);
        }
    assert_true(cases_run > 500);
    backend_close(&cuda.be);
    backend_close(&ref);
    rig_check_closed();
}

/* What lanes and Winograd are for has other ways here. */
static bool is_of_cpu(enum op op)
{
    return op == OP_WINOGRAD || op == OP_WINOGRAD_DX || op == OP_WINOGRAD_DW || op == OP_INVERTED ||
           op == OP_TO_LANES || op == OP_FROM_LANES;
}

static void every_operation_is_there(void **state)
{
    struct backend *be = NULL;
    (void)state;
    if (!rig_open(&be))
        skip();
    assert_string_equal(backend_name(be), "cuda");
    for (int op = 0; op < OPS; op++)
        if (!be->ops->kernels[op].run != is_of_cpu((enum op)op))
            fail_msg("%s: %s", op_name((enum op)op), is_of_cpu((enum op)op) ? "why is it there?" : "missing");
    backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_there),
        cmocka_unit_test(every_case_agrees),
    };
    return cmocka_run_group_tests_name("gpu optest", tests, NULL, NULL);
}
