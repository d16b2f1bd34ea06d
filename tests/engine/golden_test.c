/* LeNet against PyTorch: logits, loss, every gradient, ten steps of SGD. The answers are
 * tests/golden/lenet.safetensors, written by make_goldens.py beside it; Python is not needed here. */
#include "engine/files/safetensors.h"
#include "engine/loss.h"
#include "engine/net.h"
#include "engine/optim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 8, STEPS = 10, MOST = 48000 };

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

/* make_goldens.py's values(): n floats in [-0.5, 0.5). */
static void values(uint32_t tensor, int64_t n, float scale, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t h = (uint32_t)i * 2654435761u + tensor * 40503u + 12345u;
        h = (h ^ (h >> 15)) * 2246822519u;
        h ^= h >> 13;
        out[i] = (float)((double)(h >> 8) / 16777216.0 - 0.5) * scale;
    }
}

struct golden {
    struct safetensors *file;
    char *bytes;
    struct graph *graph;
    struct backend *be;
    struct net *net;
    struct optimizer *opt;
    float *values;
};

static void read_answers(struct golden *g)
{
    struct fail why;
    const char *path = "tests/golden/lenet.safetensors";
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: not there; tests run from the repository's root", path);
    size_t most = 4 << 20;
    g->bytes = malloc(most);
    assert_non_null(g->bytes);
    size_t size = fread(g->bytes, 1, most, f);
    fclose(f);
    check(safetensors_parse(&g->file, path, g->bytes, size, &why), &why);
}

static void set_weights(struct golden *g)
{
    struct fail why;
    for (int i = 0; i < net_param_count(g->net); i++) {
        struct shape s = net_param_shape(g->net, i);
        double fan_in = s.rank > 1 ? (double)(shape_size(s) / s.dim[0]) : 64;
        values((uint32_t)i, shape_size(s), (float)exp2(floor(log2(2 / sqrt(fan_in)))), g->values);
        check(net_param_set(g->net, i, g->values, &why), &why);
    }
}

static void open_golden(struct golden *g, const char *backend)
{
    struct fail why;
    struct net_options o = {NET_TRAIN, ROWS, 1};
    *g = (struct golden){.values = malloc(MOST * sizeof(float))};
    assert_non_null(g->values);
    read_answers(g);
    check(graph_read(&g->graph, "config/lenet.yaml", &why), &why);
    check(backend_open(&g->be, backend, 1, &why), &why);
    check(net_open(&g->net, g->be, g->graph, &o, &why), &why);
    check(optim_open(&g->opt, g->net, "sgd", &(struct optim_settings){.momentum = 0.9}, &why), &why);
    set_weights(g);
    values(100, ROWS * net_input_size(g->net), 2, net_input(g->net));
}

static void close_golden(struct golden *g)
{
    optim_close(&g->opt);
    net_close(&g->net);
    backend_close(&g->be);
    graph_free(&g->graph);
    safetensors_free(&g->file);
    free(g->bytes);
    free(g->values);
}

/* max |a - b| <= tolerance max |b| */
static void compare(const struct golden *g, const char *name, const float *a, int64_t n, double tolerance)
{
    int t = safetensors_index(g->file, name);
    double most = 0, d = 0;
    if (t < 0)
        fail_msg("%s is not among the answers", name);
    assert_int_equal(shape_size(safetensors_shape(g->file, t)), n);
    for (int64_t i = 0; i < n; i++) {
        float b;
        memcpy(&b, (const char *)safetensors_data(g->file, t) + (size_t)i * sizeof b, sizeof b);
        most = fmax(most, fabs((double)b));
        double e = fabs((double)a[i] - (double)b);
        if (!(e <= d))
            d = e;
        if (isnan(e))
            fail_msg("%s: %lld is %g, expected %g", name, (long long)i, (double)a[i], (double)b);
    }
    assert_true(most > 0);
    if (!(d <= tolerance * most))
        fail_msg("%s: differs by %.3g of %.3g", name, d, most);
}

static void check_lenet(const char *backend)
{
    struct golden g;
    struct fail why;
    char name[160];
    float losses[STEPS];
    int32_t labels[ROWS];
    open_golden(&g, backend);
    for (int i = 0; i < ROWS; i++)
        labels[i] = i * 3 % 10;
    struct target target = {.labels = labels};
    for (int step = 0; step < STEPS; step++) {
        struct loss_sum sum = {0};
        check(net_accumulate(g.net, loss_find("cross_entropy"), ROWS, &target, step, 0, &sum, &why), &why);
        losses[step] = (float)(sum.loss / sum.weight);
        if (step == 0) {
            compare(&g, "logits", net_output(g.net), ROWS * net_output_size(g.net), 1e-5);
            for (int i = 0; i < net_param_count(g.net); i++) {
                int64_t n = shape_size(net_param_shape(g.net, i));
                check(net_gradient_get(g.net, i, g.values, &why), &why);
                for (int64_t k = 0; k < n; k++)
                    g.values[k] /= ROWS; /* ours are sums */
                snprintf(name, sizeof name, "gradient.%s", net_param_name(g.net, i));
                compare(&g, name, g.values, n, 2e-5);
            }
        }
        check(net_step(g.net, g.opt, 0.001, sum.weight, &why), &why);
    }
    compare(&g, "losses", losses, STEPS, 1e-5);
    for (int i = 0; i < net_param_count(g.net); i++) {
        check(net_param_get(g.net, i, g.values, &why), &why);
        snprintf(name, sizeof name, "after.%s", net_param_name(g.net, i));
        compare(&g, name, g.values, shape_size(net_param_shape(g.net, i)), 1e-5);
    }
    close_golden(&g);
}

static void lenet_on_ref(void **state)
{
    (void)state;
    check_lenet("ref");
}

static void lenet_on_cpu(void **state)
{
    (void)state;
    check_lenet("cpu");
}

static void lenet_on_cpu_at_one_lane(void **state)
{
    (void)state;
    check_lenet("cpu1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet_on_ref),
        cmocka_unit_test(lenet_on_cpu),
        cmocka_unit_test(lenet_on_cpu_at_one_lane),
    };
    return cmocka_run_group_tests_name("goldens", tests, NULL, NULL);
}
