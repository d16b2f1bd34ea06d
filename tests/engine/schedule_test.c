/* Learning-rate schedules by hand: ends, middles, warm-up before each, what is refused. Whole curves of PyTorch are
 * in training_golden_test.c. */
#include "engine/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void expect(const struct schedule *s, int64_t step, int64_t total, double rate)
{
    double got = schedule_rate(s, step, total);
    if (!(fabs(got - rate) <= 1e-12 * rate))
        fail_msg("%s: step %d of %d: %.15g, expected %.15g", schedule_name(s->kind), (int)step, (int)total,
                 got, rate);
}

static void ends_and_middles(void **state)
{
    (void)state;
    struct schedule s = schedule_constant(0.5);
    expect(&s, 0, 10, 0.5);
    expect(&s, 9, 10, 0.5);
    s.kind = SCHEDULE_STEP;
    s.step_size = 4;
    expect(&s, 3, 10, 0.5);
    expect(&s, 4, 10, 0.05);
    expect(&s, 8, 10, 0.005);
    s.kind = SCHEDULE_COSINE;
    s.least = 0.1;
    expect(&s, 0, 10, 0.5);
    expect(&s, 5, 10, 0.3);
    expect(&s, 10, 10, 0.1);
    s.kind = SCHEDULE_ONE_CYCLE;
    expect(&s, 0, 100, 0.02);
    expect(&s, 29, 100, 0.5);
    expect(&s, 64, 100, (0.5 + 0.02e-4) / 2);
    expect(&s, 99, 100, 0.02e-4);
}

static void warm_up_comes_before(void **state)
{
    (void)state;
    struct schedule s = schedule_constant(0.5);
    s.warmup_steps = 4;
    s.warmup_start = 0.2;
    expect(&s, 0, 10, 0.1);
    expect(&s, 2, 10, 0.3);
    expect(&s, 4, 10, 0.5);
    s.kind = SCHEDULE_COSINE;
    expect(&s, 3, 14, 0.4);
    expect(&s, 4, 14, 0.5);
    expect(&s, 9, 14, 0.25);
    s.kind = SCHEDULE_STEP;
    s.step_size = 3;
    expect(&s, 6, 14, 0.5);
    expect(&s, 7, 14, 0.05);
}

/* Whatever the step and the total: a run that ends in its first step has a rate too. */
static void every_step_has_a_rate(void **state)
{
    static const int64_t totals[] = {1, 2, 3, 10, 1000000};
    (void)state;
    for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_ONE_CYCLE; kind++)
        for (int t = 0; t < 5; t++)
            for (int64_t step = 0; step < totals[t] && step < 20; step++)
                for (int share = 0; share <= 2; share++) {
                    struct schedule s = schedule_constant(0.25);
                    s.kind = (enum schedule_kind)kind;
                    s.pct_start = share * 0.5;
                    struct fail why;
                    assert_int_equal(schedule_check(&s, &why), 0);
                    double rate = schedule_rate(&s, step, totals[t]);
                    if (!(rate >= 0 && rate <= 0.25))
                        fail_msg("%s: step %d of %d: %g", schedule_name(s.kind), (int)step, (int)totals[t],
                                 rate);
                }
}

static void what_is_out_of_bounds_is_said(void **state)
{
    (void)state;
    const struct schedule good = schedule_constant(0.5);
    struct schedule bad[8];
    static const char *const said[8] = {"learning_rate", "warm-up",  "by itself", "lr_warmup_start",
                                        "1 or more",     "lr_gamma", "lr_min",    "lr_pct_start"};
    struct fail why;
    for (int i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].rate = NAN;
    bad[1].warmup_steps = -1;
    bad[2].kind = SCHEDULE_ONE_CYCLE;
    bad[2].warmup_steps = 1;
    bad[3].warmup_steps = 1;
    bad[3].warmup_start = 0;
    bad[4].kind = bad[5].kind = SCHEDULE_STEP;
    bad[4].step_size = 0;
    bad[5].gamma = INFINITY;
    bad[6].kind = SCHEDULE_COSINE;
    bad[6].least = 0.6;
    bad[7].kind = SCHEDULE_ONE_CYCLE;
    bad[7].pct_start = 1.5;
    assert_int_equal(schedule_check(&good, &why), 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(schedule_check(&bad[i], &why), -E_JOB);
        if (!strstr(why.text, said[i]))
            fail_msg("\"%s\" does not say \"%s\"", why.text, said[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_and_middles),
        cmocka_unit_test(warm_up_comes_before),
        cmocka_unit_test(every_step_has_a_rate),
        cmocka_unit_test(what_is_out_of_bounds_is_said),
    };
    return cmocka_run_group_tests_name("schedules", tests, NULL, NULL);
}
