/* Every layer and loss on ref64, the double build of the reference, against central finite differences of its
 * own loss. The tables of layers and losses are walked: one without a case fails. Optimisers: optim_test.c.
 * Kinks: where differences at two widths disagree, relu or a maximum changed sides between them; such points are
 * counted and must stay few. */
#include "engine/layer.h"
#include "engine/loss_type.h"
#include "engine/net.h"
#include "engine/net_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/engine/gradient_cases.h" /* the cases */

struct subject {
    struct backend *be;
    struct graph *graph;
    struct net *net;
    const struct loss_type *loss;
    int32_t labels[ROWS];
    float targets[ROWS * 64];
    struct target target;
};

static void check(int rc, const struct fail *why, const char *name)
{
    if (rc)
        fail_msg("%s: %s", name, why->text);
}

/* A float with 12 bits below the point: adding the widths below is exact. */
static float coarse(struct rng *r)
{
    return (float)((double)((int)rng_below(r, 4096) - 2048) / 4096.0);
}

/* The case on a backend, in a net for `most` rows. */
static void open_on(struct subject *s, const struct gradient_case *t, const struct loss_settings *settings,
                    const char *backend, int most)
{
    struct fail why = {0};
    struct net_options o = {.mode = NET_TRAIN, .max_rows = most, .seed = 3};
    struct rng r = rng_seed(17);
    float values[1024];
    *s = (struct subject){.loss = loss_find(t->loss)};
    assert_non_null(s->loss);
    check(network_parse(&s->graph, t->name, t->network, strlen(t->network), &why), &why, t->name);
    check(backend_open(&s->be, backend, 1, &why), &why, t->name);
    check(net_open(&s->net, s->be, s->graph, &o, &why), &why, t->name);
    if (settings)
        check(net_set_loss(s->net, s->loss, settings, &why), &why, t->name);
    for (int64_t i = 0; i < ROWS * net_input_size(s->net); i++)
        net_input(s->net)[i] = coarse(&r);
    for (int i = 0; i < net_param_count(s->net); i++) {
        int64_t n = shape_size(net_param_shape(s->net, i));
        assert_true(n <= 1024);
        for (int64_t k = 0; k < n; k++)
            values[k] = coarse(&r);
        for (int64_t k = 0; k < n && s->net->params[i].store == STORE_STATE; k++)
            values[k] = fabsf(values[k]) + 0.25f; /* a variance is not negative */
        check(net_param_set(s->net, i, values, &why), &why, t->name);
    }
    int64_t outputs = net_output_size(s->net);
    assert_true(outputs <= 64);
    for (int i = 0; i < ROWS; i++)
        s->labels[i] = (int32_t)rng_below(&r, outputs == 1 ? 2 : (uint32_t)outputs);
    for (int64_t i = 0; i < ROWS * outputs; i++)
        s->targets[i] = (float)rng_uniform(&r);
    s->target = t->labels ? (struct target){.labels = s->labels} : (struct target){.targets = s->targets};
}

static void open_subject(struct subject *s, const struct gradient_case *t,
                         const struct loss_settings *settings)
{
    open_on(s, t, settings, "ref64", ROWS);
}

static void close_subject(struct subject *s)
{
    net_close(&s->net);
    backend_close(&s->be);
    graph_free(&s->graph);
}

static double loss_of(struct subject *s, const char *name)
{
    struct fail why = {0};
    struct loss_sum sum = {0};
    check(net_accumulate(s->net, s->loss, ROWS, &s->target, 5, 9, &sum, &why), &why, name);
    return sum.loss;
}

static double difference(struct subject *s, const char *name, int param, float *values, int64_t k,
                         float width)
{
    struct fail why = {0};
    float was = values[k];
    double loss[2];
    for (int side = 0; side < 2; side++) {
        values[k] = side ? was + width : was - width;
        check(net_param_set(s->net, param, values, &why), &why, name);
        loss[side] = loss_of(s, name);
    }
    values[k] = was;
    check(net_param_set(s->net, param, values, &why), &why, name);
    return (loss[1] - loss[0]) / (2 * (double)width);
}

/* One parameter tensor. Returns how many of its values met a kink. */
static int check_param(struct subject *s, const struct gradient_case *t, int param, const float *gradient)
{
    struct fail why = {0};
    float values[1024];
    int kinks = 0;
    int64_t n = shape_size(net_param_shape(s->net, param));
    if (s->net->params[param].store == STORE_STATE)
        return 0;
    double most = 1e-3;
    check(net_param_get(s->net, param, values, &why), &why, t->name);
    for (int64_t k = 0; k < n; k++)
        most = fmax(most, fabs((double)gradient[k]));
    for (int64_t k = 0; k < n; k++) {
        double wide = difference(s, t->name, param, values, k, 0x1p-11f);
        double narrow = difference(s, t->name, param, values, k, 0x1p-13f);
        if (!(fabs(narrow - (double)gradient[k]) <= t->tolerance * most)) {
            if (fabs(wide - narrow) > 10 * t->tolerance * most) {
                kinks++;
                continue;
            }
            fail_msg("%s: %s[%lld]: gradient %.9g, differences %.9g", t->name, net_param_name(s->net, param),
                     (long long)k, (double)gradient[k], narrow);
        }
    }
    return kinks;
}

static void check_gradients(const struct gradient_case *t, const struct loss_settings *settings)
{
    struct subject s;
    struct fail why = {0};
    int kinks = 0, count;
    int64_t values = 0;
    open_subject(&s, t, settings);
    count = net_param_count(s.net);
    float **gradients = calloc((size_t)count, sizeof *gradients);
    assert_non_null(gradients);
    loss_of(&s, t->name);
    for (int i = 0; i < count; i++) {
        int64_t n = shape_size(net_param_shape(s.net, i));
        gradients[i] = calloc((size_t)n, sizeof(float));
        assert_non_null(gradients[i]);
        if (s.net->params[i].store == STORE_STATE)
            continue;
        check(net_gradient_get(s.net, i, gradients[i], &why), &why, t->name);
        values += n;
    }
    for (int i = 0; i < count; i++)
        kinks += check_param(&s, t, i, gradients[i]);
    if (!(kinks * 20 <= values))
        fail_msg("%s: %d of %lld values met kinks", t->name, kinks, (long long)values);
    for (int i = 0; i < count; i++)
        free(gradients[i]);
    free(gradients);
    close_subject(&s);
}

static void gradients_equal_differences(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++)
        check_gradients(&cases[i], NULL);
    for (int i = 0; i < LOSS_CASES; i++)
        check_gradients(&loss_cases[i].base, &loss_cases[i].settings);
}

static bool has_layer(const struct gradient_case *t, const char *type)
{
    struct graph *g = NULL;
    struct fail why = {0};
    bool found = false;
    check(network_parse(&g, t->name, t->network, strlen(t->network), &why), &why, t->name);
    for (int i = 0; i < g->count; i++)
        found = found || !strcmp(g->nodes[i].type->name, type);
    graph_free(&g);
    return found;
}

static void every_layer_and_loss_has_a_case(void **state)
{
    (void)state;
    for (int k = 0; layer_types[k]; k++) {
        bool found = false;
        for (int i = 0; i < CASES; i++)
            found = found || has_layer(&cases[i], layer_types[k]->name);
        if (!found)
            fail_msg("no case for %s", layer_types[k]->name);
    }
    for (const struct loss_type *loss = loss_types; loss->name; loss++) {
        bool found = false;
        for (int i = 0; i < LOSS_CASES; i++)
            found = found || !strcmp(loss_cases[i].base.loss, loss->name);
        if (!found)
            fail_msg("no case for %s", loss->name);
        assert_non_null(strstr(loss_names(), loss->name));
    }
}

/* ---- what losses refuse ---- */

static void losses_say_what_is_wrong(void **state)
{
    static const float bad[] = {1, -1, 1}, none[] = {0, 0, 0}, nan[] = {1, 1, NAN};
    static const struct {
        const char *loss, *said;
        struct loss_settings settings;
    } wrong[] = {
        {"cross_entropy", "class_weights: 2 numbers", {.weights = weights, .weight_count = 2}},
        {"cross_entropy", "number 2 is -1", {.weights = bad, .weight_count = 3}},
        {"log_loss", "positive_weights: number 3 is", {.weights = nan, .weight_count = 3}},
        {"cross_entropy", "all are 0", {.weights = none, .weight_count = 3}},
        {"mse", "no weights", {.weights = weights, .weight_count = 3}},
        {"cross_entropy", "label_smoothing 1", {.label_smoothing = 1}},
        {"cross_entropy", "label_smoothing", {.label_smoothing = NAN}},
        {"mse", "label_smoothing", {.label_smoothing = 0.1}},
        {"log_loss", "ignore_label", {.ignores = true}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct fail why = {0};
        int rc = loss_check(loss_find(wrong[i].loss), &wrong[i].settings, 3, &why);
        if (rc != -E_JOB || !strstr(why.text, wrong[i].said))
            fail_msg("case %zu gave %d: %s", i, rc, why.text);
    }
}

/* ---- whole networks on backend cpu: plans, joins and lanes without a row ---- */

static void compare(const struct gradient_case *t, const char *where, const char *what, const float *a,
                    const float *b, int64_t n)
{
    double most = 0.1; /* a bias before batch norm has no gradient but rounding */
    for (int64_t k = 0; k < n; k++)
        most = fmax(most, fabs((double)b[k]));
    for (int64_t k = 0; k < n; k++)
        if (!(fabs((double)a[k] - (double)b[k]) <= 1e-4 * most))
            fail_msg("%s, %s: %s[%lld] is %.9g, on ref64 %.9g (largest %.3g)", t->name, where, what,
                     (long long)k, (double)a[k], (double)b[k], most);
}

static void compare_nets(const struct gradient_case *t, const char *where, struct subject *s,
                         struct subject *ref)
{
    struct fail why = {0};
    float a[1024], b[1024];
    check(net_forward(s->net, ROWS, &why), &why, t->name);
    check(net_forward(ref->net, ROWS, &why), &why, t->name);
    compare(t, where, "output", net_output(s->net), net_output(ref->net), ROWS * net_output_size(s->net));
    loss_of(s, t->name);
    loss_of(ref, t->name);
    for (int i = 0; i < net_param_count(s->net); i++) {
        if (s->net->params[i].store == STORE_STATE)
            continue;
        check(net_gradient_get(s->net, i, a, &why), &why, t->name);
        check(net_gradient_get(ref->net, i, b, &why), &why, t->name);
        compare(t, where, net_param_name(s->net, i), a, b, shape_size(net_param_shape(s->net, i)));
    }
}

/* Nets for few rows run at one lane, others at sixteen, of which three have a row. */
static void whole_networks_agree(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct subject few, many, ref;
        open_on(&few, &cases[i], NULL, "cpu1", ROWS);
        open_on(&many, &cases[i], NULL, "cpu", 16);
        open_subject(&ref, &cases[i], NULL);
        compare_nets(&cases[i], "one lane", &few, &ref);
        close_subject(&ref);
        open_subject(&ref, &cases[i], NULL);
        compare_nets(&cases[i], "sixteen lanes", &many, &ref);
        close_subject(&few);
        close_subject(&many);
        close_subject(&ref);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_and_loss_has_a_case),
        cmocka_unit_test(gradients_equal_differences),
        cmocka_unit_test(whole_networks_agree),
        cmocka_unit_test(losses_say_what_is_wrong),
    };
    return cmocka_run_group_tests_name("gradients", tests, NULL, NULL);
}
