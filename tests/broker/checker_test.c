/* The independent checker must see every kind of broken promise, and nothing in a kept one: it plays a worker
 * with one seeded fault at a time (checker/Mimic.java) and judges that. Leaves real workers to other tests. */
#include "tests/lib/broker.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static void test_checker_sees_every_fault(void **state)
{
    struct stage s;
    struct result r = {0};
    (void)state;
    stage_open(&s, broker_shared());
    stage_checker(&s, &r, 120, "prove", NULL);
    result_expect(&r, 0);
    assert_non_null(strstr(r.out, "proved 24 faults, 0 missed"));
    result_free(&r);
}

static void test_checker_refuses_wrong_usage(void **state)
{
    struct stage s;
    struct result r = {0};
    (void)state;
    stage_open(&s, broker_shared());
    stage_checker(&s, &r, 30, "nonsense", NULL);
    result_expect(&r, 2);
    stage_check(&s, &r, 1, "--nonsense", "1", NULL);
    result_expect(&r, 2);
    /* Topics that are not there are no clean bill. */
    stage_check(&s, &r, 1, NULL);
    result_expect(&r, 2);
    assert_non_null(strstr(r.err, "does not exist"));
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checker_sees_every_fault),
        cmocka_unit_test(test_checker_refuses_wrong_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
