/* A file as a model: what a Prediction says of it is what a person can check with sha256sum. */
#include "worker/models/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#undef fail
#include <cmocka.h>

#include "worker/models/store.h"
#include "worker/service/embedded.h"

static void a_file_is_named_by_its_bytes(void **state)
{
    struct model *m = NULL;
    struct fail why;
    char want[SHA256_HEX];
    size_t size;
    const char *text = embedded_find("config/lenet.yaml", &size);
    (void)state;
    assert_non_null(text);
    sha256_hex(text, size, want);
    assert_int_equal(model_read(&m, "config/lenet.yaml", &why), 0);
    assert_string_equal(m->sha256, want);
    assert_string_equal(m->name, "lenet");
    assert_int_equal(m->version, 0);
    assert_int_equal(m->rule, SCORE_SOFTMAX);
    struct model *again = model_hold(m);
    model_release(&m);
    assert_null(m);
    assert_int_equal(again->graph->input.dim[0], 3); /* still there for the other holder */
    model_release(&again);
}

static void a_file_that_is_missing_is_an_error_with_its_name(void **state)
{
    struct model *m = NULL;
    struct fail why = {0};
    (void)state;
    assert_true(model_read(&m, "config/nowhere.onnx", &why) < 0);
    assert_non_null(strstr(why.text, "config/nowhere.onnx"));
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_named_by_its_bytes),
        cmocka_unit_test(a_file_that_is_missing_is_an_error_with_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
