/* From raw outputs to label, score and best classes: contract.md's rule in numbers worked out by hand. */
#include "worker/infer/answer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#undef fail
#include <cmocka.h>

static void near(float got, double want)
{
    if (!(fabs((double)got - want) <= 1e-6))
        fail_msg("got %g, want %g", (double)got, want);
}

static void softmax_gives_probabilities_best_first(void **state)
{
    const float y[4] = {0, 1, 3, 2};
    struct score best;
    struct class_score order[4];
    float p[4];
    double sum = 1 + exp(1) + exp(3) + exp(2);
    (void)state;
    assert_int_equal(score_row(SCORE_SOFTMAX, y, 4, 3, &best, order, p), 3);
    assert_int_equal(best.label, 2);
    near(best.score, exp(3) / sum);
    assert_int_equal(order[0].label, 2);
    assert_int_equal(order[1].label, 3);
    assert_int_equal(order[2].label, 1);
    near(order[2].score, exp(1) / sum);
}

static void softmax_survives_large_outputs(void **state)
{
    const float y[2] = {1000, 999};
    struct score best;
    struct class_score order[2];
    float p[2];
    (void)state;
    assert_int_equal(score_row(SCORE_SOFTMAX, y, 2, 9, &best, order, p), 2); /* min(top_k, classes) */
    near(best.score, 1 / (1 + exp(-1)));
}

static void ties_go_to_the_lower_label(void **state)
{
    float y[12] = {5, 7, 7, 1, 7, 5, 0, 0, 0, 0, 0, 0};
    const int want[5] = {1, 2, 4, 0, 5};
    struct score best;
    struct class_score few[12], all[12];
    float p[12];
    (void)state;
    assert_int_equal(score_row(SCORE_NONE, y, 12, 5, &best, few, p), 5);
    assert_int_equal(score_row(SCORE_NONE, y, 12, 12, &best, all, p), 12); /* the sorted way */
    assert_int_equal(best.label, 1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(few[i].label, want[i]);
        assert_int_equal(all[i].label, want[i]);
    }
}

static void top_k_of_zero_is_empty(void **state)
{
    const float y[2] = {1, 2};
    struct score best;
    struct class_score order[2];
    float p[2];
    (void)state;
    assert_int_equal(score_row(SCORE_SOFTMAX, y, 2, 0, &best, order, p), 0);
    assert_int_equal(best.label, 1);
}

static void one_output_under_sigmoid_is_no_or_yes(void **state)
{
    struct score best;
    struct class_score order[2];
    float p[2];
    (void)state;
    const float yes = 0, no = -2; /* probability >= 0.5 is 1 */
    assert_int_equal(score_row(SCORE_SIGMOID, &yes, 1, 2, &best, order, p), 2);
    assert_int_equal(best.label, 1);
    near(best.score, 0.5);
    score_row(SCORE_SIGMOID, &no, 1, 2, &best, order, p);
    assert_int_equal(best.label, 0);
    near(best.score, 1 - 1 / (1 + exp(2)));
    assert_int_equal(order[0].label, 0);
    assert_int_equal(order[1].label, 1);
}

static void one_output_without_rule_is_a_regression(void **state)
{
    const float y = -3.5f;
    struct score best;
    struct class_score order[2];
    float p[2];
    (void)state;
    assert_int_equal(score_row(SCORE_NONE, &y, 1, 5, &best, order, p), 0);
    assert_int_equal(best.label, -1);
    near(best.score, -3.5);
}

static void not_a_number_ends_the_list_without_a_crash(void **state)
{
    const float y[3] = {NAN, NAN, NAN};
    struct score best;
    struct class_score order[3];
    float p[3];
    (void)state;
    assert_in_range(score_row(SCORE_NONE, y, 3, 3, &best, order, p), 0, 3);
    assert_in_range(best.label, 0, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_gives_probabilities_best_first),
        cmocka_unit_test(softmax_survives_large_outputs),
        cmocka_unit_test(ties_go_to_the_lower_label),
        cmocka_unit_test(top_k_of_zero_is_empty),
        cmocka_unit_test(one_output_under_sigmoid_is_no_or_yes),
        cmocka_unit_test(one_output_without_rule_is_a_regression),
        cmocka_unit_test(not_a_number_ends_the_list_without_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
