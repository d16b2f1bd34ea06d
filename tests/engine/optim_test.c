/* Every optimiser on ref64, the double build of the reference, against its formula written out: decay, clipping,
 * micro-batches' sums, three steps. The table is walked: one without a case fails. Then what they refuse, and
 * their state. Answers of PyTorch: training_golden_test.c. */
#include "engine/loss.h"
#include "engine/net.h"
#include "engine/net_inside.h"
#include "engine/optim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 3, VALUES = 64 };

struct subject {
    struct backend *be;
    struct graph *graph;
    struct net *net;
};

static void check(int rc, const struct fail *why, const char *name)
{
    if (rc)
        fail_msg("%s: %s", name, why->text);
}

static void open_subject(struct subject *s, const char *backend, const char *name)
{
    static const char network[] = "input: [5]\nlayers:\n  - dense: {units: 4, activation: tanh}\n"
                                  "  - dense: {units: 3}\n";
    struct fail why = {0};
    struct net_options o = {.mode = NET_TRAIN, .max_rows = ROWS, .seed = 3};
    struct rng r = rng_seed(17);
    *s = (struct subject){0};
    check(network_parse(&s->graph, name, network, sizeof network - 1, &why), &why, name);
    check(backend_open(&s->be, backend, 1, &why), &why, name);
    check(net_open(&s->net, s->be, s->graph, &o, &why), &why, name);
    for (int64_t i = 0; i < ROWS * net_input_size(s->net); i++)
        net_input(s->net)[i] = (float)rng_normal(&r);
}

static void close_subject(struct subject *s)
{
    net_close(&s->net);
    backend_close(&s->be);
    graph_free(&s->graph);
}

static void accumulate(struct subject *s, const char *name)
{
    static const int32_t labels[ROWS] = {2, 0, 1};
    struct fail why = {0};
    struct loss_sum sum = {0};
    struct target t = {.labels = labels};
    check(net_accumulate(s->net, loss_find("cross_entropy"), ROWS, &t, 0, 0, &sum, &why), &why, name);
    assert_true(isfinite(sum.loss) && sum.weight == ROWS && sum.counted == ROWS);
}

struct optim_case {
    const char *name;
    struct optim_settings settings;
};

static const struct optim_case optim_cases[] = {
    {"sgd", {.momentum = 0}},
    {"sgd", {.momentum = 0.9}},
    {"sgd", {.momentum = 0.9, .weight_decay_l1 = 0.01, .weight_decay_l2 = 0.03}},
    {"sgd", {.momentum = 0.9, .weight_decay_l2 = 0.03, .nesterov = true, .clip_norm = 0.1}},
    {"adam", {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-4, .weight_decay_l1 = 0.01, .weight_decay_l2 = 0.3}},
    {"adam", {.beta2 = 0.5, .epsilon = 1e-8, .clip_norm = 0.01}},
    {"adamw",
     {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-4, .weight_decay_l1 = 0.01, .weight_decay_l2 = 0.3}},
    {"rmsprop", {.alpha = 0.9, .epsilon = 1e-4, .weight_decay_l2 = 0.3}},
    {"rmsprop", {.alpha = 0.9, .epsilon = 1e-4, .momentum = 0.5, .clip_norm = 1e9}},
    {"rmsprop", {.alpha = 0.9, .epsilon = 1e-4, .centered = true}},
    {"rmsprop", {.alpha = 0.9, .epsilon = 1e-4, .momentum = 0.5, .centered = true}},
    {"adagrad", {.epsilon = 1e-6, .weight_decay_l1 = 0.01}},
};
enum { OPTIM_CASES = sizeof optim_cases / sizeof *optim_cases, STEPS = 3 };

/* One weight by hand: m and v are the moments in the literature's letters, b sgd's and rmsprop's buffer. */
struct by_hand {
    double w, m, v, b;
};

static void step_by_hand(const char *name, const struct optim_settings *o, int t, double lr, double g,
                         struct by_hand *h)
{
    double decay = o->weight_decay_l1 * (h->w > 0 ? 1 : h->w < 0 ? -1 : 0) + o->weight_decay_l2 * h->w;
    if (!strcmp(name, "adamw"))
        h->w -= lr * decay;
    else
        g += decay;
    if (!strcmp(name, "sgd")) {
        h->b = o->momentum * h->b + g;
        h->w -= lr * (o->nesterov ? g + o->momentum * h->b : h->b);
    } else if (!strncmp(name, "adam", 4)) {
        h->m = o->beta1 * h->m + (1 - o->beta1) * g;
        h->v = o->beta2 * h->v + (1 - o->beta2) * g * g;
        h->w -= lr * (h->m / (1 - pow(o->beta1, t))) / (sqrt(h->v / (1 - pow(o->beta2, t))) + o->epsilon);
    } else if (!strcmp(name, "rmsprop")) {
        h->v = o->alpha * h->v + (1 - o->alpha) * g * g;
        h->m = o->centered ? o->alpha * h->m + (1 - o->alpha) * g : 0;
        h->b = o->momentum * h->b + g / (sqrt(fmax(h->v - h->m * h->m, 0)) + o->epsilon);
        h->w -= lr * h->b;
    } else {
        h->v += g * g;
        h->w -= lr * g / (sqrt(h->v) + o->epsilon);
    }
}

/* The mean gradient of all parameters, clipped; returns how many. */
static int64_t mean_gradient(struct subject *s, const char *name, double clip, double *g)
{
    struct fail why = {0};
    float values[VALUES];
    int64_t n = 0;
    double norm = 0;
    for (int i = 0; i < net_param_count(s->net); i++) {
        int64_t size = shape_size(net_param_shape(s->net, i));
        assert_true(n + size <= VALUES);
        check(net_gradient_get(s->net, i, values, &why), &why, name);
        for (int64_t k = 0; k < size; k++)
            g[n++] = (double)values[k] / ROWS;
    }
    for (int64_t i = 0; i < n; i++)
        norm += g[i] * g[i];
    for (int64_t i = 0; clip > 0 && i < n; i++)
        g[i] *= fmin(1, clip / (sqrt(norm) + 1e-6));
    return n;
}

static int64_t all_weights(struct subject *s, const char *name, float *w)
{
    struct fail why = {0};
    int64_t n = 0;
    for (int i = 0; i < net_param_count(s->net); n += shape_size(net_param_shape(s->net, i++)))
        check(net_param_get(s->net, i, w + n, &why), &why, name);
    return n;
}

static void check_optimizer(const struct optim_case *t)
{
    struct subject s;
    struct fail why = {0};
    struct optimizer *opt = NULL;
    float w[VALUES];
    double g[VALUES];
    struct by_hand h[VALUES] = {0};
    open_subject(&s, "ref64", t->name);
    check(optim_open(&opt, s.net, t->name, &t->settings, &why), &why, t->name);
    int64_t n = all_weights(&s, t->name, w);
    for (int64_t i = 0; i < n; i++)
        h[i].w = (double)w[i];
    for (int step = 1; step <= STEPS; step++) {
        accumulate(&s, t->name);
        assert_int_equal(mean_gradient(&s, t->name, t->settings.clip_norm, g), n);
        for (int64_t i = 0; i < n; i++)
            step_by_hand(t->name, &t->settings, step, 0.25, g[i], &h[i]);
        check(net_step(s.net, opt, 0.25, ROWS, &why), &why, t->name);
        mean_gradient(&s, t->name, 0, g);
        for (int64_t i = 0; i < n; i++)
            assert_true(g[i] == 0); /* the next step begins anew */
    }
    all_weights(&s, t->name, w);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)w[i] - h[i].w) <= 1e-6))
            fail_msg("case %d, %s: weight %lld is %.9g, expected %.9g", (int)(t - optim_cases), t->name,
                     (long long)i, (double)w[i], h[i].w);
    assert_int_equal(optim_steps(opt), STEPS);
    optim_close(&opt);
    close_subject(&s);
}

static void optimisers_follow_their_formula(void **state)
{
    (void)state;
    for (const struct optim_type *type = optim_types; type->name; type++) {
        bool found = false;
        for (int i = 0; i < OPTIM_CASES; i++)
            found = found || !strcmp(optim_cases[i].name, type->name);
        if (!found)
            fail_msg("no case for %s", type->name);
        assert_non_null(strstr(optim_names(), type->name));
    }
    for (int i = 0; i < OPTIM_CASES; i++)
        check_optimizer(&optim_cases[i]);
}

/* ---- what they refuse ---- */

static void settings_are_checked(void **state)
{
    static const struct {
        const char *name, *said;
        struct optim_settings settings;
    } wrong[] = {
        {"sgd", "momentum 2", {.momentum = 2}},
        {"sgd", "nesterov needs momentum", {.nesterov = true}},
        {"sgd", "centered", {.centered = true}},
        {"sgd", "weight_decay_l2", {.weight_decay_l2 = -1}},
        {"sgd", "weight_decay_l1", {.weight_decay_l1 = NAN}},
        {"sgd", "gradient_clip", {.clip_norm = INFINITY}},
        {"adam", "momentum is no setting of optimiser adam", {.momentum = 0.9, .epsilon = 1}},
        {"adam", "epsilon", {.beta1 = 0.9}},
        {"adam", "beta1 1", {.beta1 = 1, .epsilon = 1}},
        {"adamw", "beta2", {.beta2 = -0.5, .epsilon = 1}},
        {"rmsprop", "alpha", {.alpha = NAN, .epsilon = 1}},
        {"rmsprop", "nesterov", {.momentum = 0.5, .nesterov = true, .epsilon = 1}},
        {"adagrad", "epsilon", {.epsilon = 0}},
        {"lion", "sgd, adam, adamw, rmsprop, adagrad", {.epsilon = 0}},
    };
    struct subject s;
    (void)state;
    open_subject(&s, "cpu", "wrong");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct optimizer *opt = NULL;
        struct fail why = {0};
        int rc = optim_open(&opt, s.net, wrong[i].name, &wrong[i].settings, &why);
        if (rc != -E_JOB || opt || !strstr(why.text, wrong[i].said))
            fail_msg("case %zu gave %d: %s", i, rc, why.text);
    }
    for (const struct optim_type *t = optim_types; t->name; t++) {
        struct optimizer *opt = NULL;
        struct fail why = {0};
        struct optim_settings defaults = optim_defaults(t->name);
        check(optim_open(&opt, s.net, t->name, &defaults, &why), &why, t->name);
        optim_close(&opt);
        assert_int_equal(optim_takes(t->name, "epsilon"), t->epsilon > 0);
    }
    assert_true(optim_takes("sgd", "nesterov") && !optim_takes("sgd", "beta1") &&
                !optim_takes("lion", "beta1"));
    assert_false(optim_takes("sgd", "moment"));
    close_subject(&s);
}

/* Neither leaves a trace: the next step goes on as if it had not been tried. */
static void a_step_that_cannot_be_is_refused(void **state)
{
    struct subject s;
    struct optimizer *opt = NULL;
    struct optim_settings o = {.momentum = 0.9, .clip_norm = 1};
    struct fail why = {0};
    float before[VALUES], after[VALUES], nan = NAN;
    (void)state;
    open_subject(&s, "cpu", "steps");
    check(optim_open(&opt, s.net, "sgd", &o, &why), &why, "sgd");
    accumulate(&s, "sgd");
    int64_t n = all_weights(&s, "sgd", before);
    assert_int_equal(net_step(s.net, opt, 0.1, 0, &why), -E_JOB);
    assert_non_null(strstr(why.text, "weight 0"));
    assert_int_equal(net_step(s.net, opt, NAN, 1, &why), -E_JOB);
    memcpy(net_input(s.net), &nan, sizeof nan);
    struct loss_sum sum = {0};
    struct target t = {.labels = (const int32_t[]){0}};
    check(net_accumulate(s.net, loss_find("cross_entropy"), 1, &t, 0, 0, &sum, &why), &why, "NaN");
    assert_true(isnan(sum.loss));
    assert_int_equal(net_step(s.net, opt, 0.1, 1, &why), -E_JOB);
    assert_non_null(strstr(why.text, "norm is nan"));
    assert_int_equal(all_weights(&s, "sgd", after), n);
    assert_memory_equal(before, after, (size_t)n * sizeof *before);
    assert_int_equal(optim_steps(opt), 0);
    optim_close(&opt);
    close_subject(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimisers_follow_their_formula),
        cmocka_unit_test(settings_are_checked),
        cmocka_unit_test(a_step_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests_name("optimisers", tests, NULL, NULL);
}
