/* Runs networks for comparisons. What they are compared with is the test's. */
#include "tests/lib/answers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/net.h"

float *answers(const struct graph *g, const char *backend, const float *x, int rows, int max_rows)
{
    struct backend *be;
    struct net *net = NULL;
    struct fail why = {0};
    struct net_options o = {.mode = NET_INFER, .max_rows = max_rows ? max_rows : rows, .seed = 1};
    if (backend_open(&be, backend, 1, &why) || net_open(&net, be, g, &o, &why))
        fail_msg("%s", why.text);
    memcpy(net_input(net), x, (size_t)(rows * net_input_size(net)) * sizeof *x);
    if (net_forward(net, rows, &why))
        fail_msg("%s", why.text);
    size_t n = (size_t)(rows * net_output_size(net));
    float *y = malloc(n * sizeof *y);
    memcpy(y, net_output(net), n * sizeof *y);
    net_close(&net);
    backend_close(&be);
    return y;
}

void answers_agree(const char *what, const float *a, const float *b, int64_t n, double tolerance)
{
    double difference = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        difference = d > difference || isnan(d) ? d : difference;
        largest = fmax(largest, fabs((double)b[i]));
    }
    print_message("%s: max|a-b| %.2g, max|b| %.2g\n", what, difference, largest);
    assert_true(largest > 0);
    assert_true(difference <= tolerance * largest);
}

float *answers_tensor(const struct safetensors *st, const char *name, struct shape *shape)
{
    int i = safetensors_index(st, name);
    assert_true(i >= 0);
    assert_int_equal(safetensors_dtype(st, i), DTYPE_FP32);
    *shape = safetensors_shape(st, i);
    float *out = malloc((size_t)shape_size(*shape) * sizeof *out);
    assert_int_equal(dtype_to_float(DTYPE_FP32, safetensors_data(st, i), shape_size(*shape), out), 0);
    return out;
}

struct graph *answers_through_onnx(const struct graph *g)
{
    struct graph *back = NULL;
    struct fail why = {0};
    void *bytes;
    size_t size;
    if (onnx_print(g, &bytes, &size, &why) || onnx_parse(&back, g->file, bytes, size, &why))
        fail_msg("%s", why.text);
    free(bytes);
    return back;
}
