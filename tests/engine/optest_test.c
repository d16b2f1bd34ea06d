/* Every operation of backend cpu against ref: odd batches, small and odd maps, strides over the kernel,
 * dilation, groups, 127 channels, NaN and -inf. The table of operations is walked: one without a case fails.
 * Which values are compared how closely stands in the case (op_cases.h). */
#include "tests/engine/optest.h"

static int add_subjects(struct subject *subjects, struct backend *cpu)
{
    int n = 0;
    subjects[n++] = (struct subject){"one lane", cpu, NULL, NULL};
    subjects[n++] = (struct subject){"SSE2", NULL, lanes_sse2_kernels, &lanes_sse2_rows};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        subjects[n++] = (struct subject){"AVX2", NULL, lanes_avx2_kernels, &lanes_avx2_rows};
    else
        print_message("skipped: this machine has no AVX2\n");
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        subjects[n++] = (struct subject){"AVX-512", NULL, lanes_avx512_kernels, &lanes_avx512_rows};
    else
        print_message("skipped: this machine has no AVX-512\n");
    return n;
}

/* One lane, and sixteen on every instruction set that this machine has. */
static void every_case_agrees(void **state)
{
    static const int batches[] = {1, 7, 16, 17, 65};
    struct backend *cpu = NULL, *ref = NULL;
    struct subject subjects[4];
    struct fail why;
    (void)state;
    assert_int_equal(backend_open(&cpu, "cpu", 1, &why), 0);
    assert_int_equal(backend_open(&ref, "ref", 1, &why), 0);
    int count = add_subjects(subjects, cpu);
    for (int i = 0; i < CASES; i++)
        for (int b = 0; b < 5; b++) {
            if (!sums_into_parameters(cases[i].op))
                check_case(subjects, count, ref, &cases[i], batches[b], false);
            if (!only_assigns(&cases[i]) && strcmp(cases[i].name, "conv and relu") != 0)
                check_case(subjects, count, ref, &cases[i], batches[b], true);
        }
    backend_close(&cpu);
    backend_close(&ref);
}

static void every_operation_has_a_case_and_kernels(void **state)
{
    static const char *const names[] = {"cpu", "cpu1", "ref", "ref64"};
    struct fail why;
    (void)state;
    for (int op = 0; op < OPS; op++) {
        bool found = false;
        for (int i = 0; i < CASES; i++)
            found = found || (int)cases[i].op == op;
        if (!found)
            fail_msg("no case for %s", op_name((enum op)op));
    }
    for (int i = 0; i < 4; i++) {
        struct backend *be = NULL;
        assert_int_equal(backend_open(&be, names[i], 1, &why), 0);
        assert_string_equal(backend_name(be), names[i]);
        for (int op = 0; op < OPS; op++)
            if (!be->ops->kernels[op].run)
                fail_msg("backend %s has no %s", names[i], op_name((enum op)op));
        backend_close(&be);
        assert_null(be);
    }
}

/* The comparison itself must be able to fail: NaN beside a number, a number off by more than the tolerance. */
static void the_comparison_can_fail(void **state)
{
    struct op_case t = {.name = "seeded", .op = OP_COPY, .tolerance = 1e-6};
    const float right[3] = {1, 2, 4}, off[3] = {1, 2.001f, 4}, nan[3] = {1, NAN, 4};
    (void)state;
    assert_true(agrees(&t, right, right, 3).ok);
    assert_false(agrees(&t, off, right, 3).ok);
    assert_false(agrees(&t, nan, right, 3).ok);
    assert_false(agrees(&t, right, nan, 3).ok);
    assert_true(agrees(&t, nan, nan, 3).ok);
}

static void unknown_backends_are_errors(void **state)
{
    struct backend *be = NULL;
    struct fail why;
    (void)state;
    assert_int_equal(backend_open(&be, "cuda", 1, &why), -E_UNSUPPORTED);
    assert_int_equal(backend_open(&be, "tpu", 1, &why), -E_CONFIG);
    assert_non_null(strstr(why.text, "tpu"));
    assert_int_equal(backend_open(&be, "cpu", -1, &why), -E_CONFIG);
    assert_null(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_comparison_can_fail),
        cmocka_unit_test(every_operation_has_a_case_and_kernels),
        cmocka_unit_test(every_case_agrees),
        cmocka_unit_test(unknown_backends_are_errors),
    };
    return cmocka_run_group_tests_name("optest", tests, NULL, NULL);
}
