/* ONNX's own cases of losses and optimisers (Debian's libonnx-testdata), each given to the operation that we train with:
 * SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss to cross entropy, Adam, Adagrad and Momentum to the updates.
 * The numbers of cases are asserted. Next to read: conformance_test.c, for the operators of networks. */
#include "tests/lib/onnx_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/backend_ops.h"

#define NODES "/usr/share/libonnx-testdata/data/node"

static const char *const backends[] = {"ref", "cpu"};
enum { BACKENDS = 2, TENSORS_MOST = 4 };

static bool close_to(const char *what, const float *a, const Onnx__TensorProto *want)
{
    int64_t n;
    double *b = onnx_case_numbers(want, &n), difference = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        difference = d > difference || isnan(d) ? d : difference;
        largest = fmax(largest, fabs(b[i]));
    }
    free(b);
    bool ok = difference <= 1e-5 * largest;
    if (!ok)
        print_message("FAILED %s: max|a-b| %.3g, max|b| %.3g\n", what, difference, largest);
    return ok;
}

/* ---- losses ---- */

/* Scores [N, C, ...] as rows [N ...][C]. */
struct scores {
    int64_t outer, classes, inner, rows;
    float *x, *labels, *sums;
    double *log_sum; /* of e^x over the classes, by row */
};

static struct scores read_scores(const struct onnx_case *c)
{
    const Onnx__TensorProto *t = c->inputs[0];
    int64_t n, m;
    double *x = onnx_case_numbers(t, &n), *labels = onnx_case_numbers(c->inputs[1], &m);
    struct scores s = {t->dims[0], t->dims[1], 1, m, NULL, NULL, NULL, NULL};
    s.inner = m / s.outer;
    s.x = malloc((size_t)n * sizeof *s.x);
    s.labels = malloc((size_t)m * sizeof *s.labels);
    s.sums = calloc((size_t)m * LOSS_SUMS, sizeof *s.sums);
    s.log_sum = calloc((size_t)m, sizeof *s.log_sum);
    for (int64_t r = 0; r < m; r++) {
        s.labels[r] = (float)labels[r];
        for (int64_t k = 0; k < s.classes; k++) {
            double v = x[(r / s.inner * s.classes + k) * s.inner + r % s.inner];
            s.x[r * s.classes + k] = (float)v;
            s.log_sum[r] += exp(v);
        }
        s.log_sum[r] = log(s.log_sum[r]);
    }
    free(x);
    free(labels);
    return s;
}

static void free_scores(struct scores *s)
{
    free(s->x);
    free(s->labels);
    free(s->sums);
    free(s->log_sum);
}

static void run_loss(struct backend *be, struct scores *s, const float *labels, const float *weights,
                     const int64_t *ignored)
{
    struct geometry g = {.loss = {.outputs = s->classes,
                                  .labels = true,
                                  .ignores = ignored != NULL,
                                  .ignored = ignored ? (int32_t)*ignored : 0}};
    struct call c = {.out = {NULL, s->sums},
                     .in = {s->x, labels, weights},
                     .g = &g,
                     .row = s->classes,
                     .rows = (int)s->rows};
    be->ops->run(be, OP_CROSS_ENTROPY, &c, NULL);
}

/* Ours takes the log of the softmax; NLL is without: for scores that are no logarithms that part goes again. */
static bool reduced_as(const struct onnx_case *c, const struct scores *s, bool nll)
{
    char reduction[16] = "mean";
    double sum = 0, weight = 0;
    float *each = malloc((size_t)s->rows * sizeof *each);
    onnx_attribute_text(c->model->graph->node[0], "reduction", reduction, sizeof reduction, NULL);
    for (int64_t r = 0; r < s->rows; r++) {
        const float *sums = s->sums + r * LOSS_SUMS;
        double loss = (double)sums[0] - (nll ? (double)sums[1] * s->log_sum[r] : 0);
        each[r] = (float)loss;
        sum += loss;
        weight += (double)sums[1];
    }
    if (strcmp(reduction, "none"))
        each[0] = (float)(strcmp(reduction, "sum") ? sum / weight : sum);
    bool ok = close_to(c->folder, each, c->outputs[0]);
    free(each);
    return ok;
}

/* The second output: log softmax, which is minus the loss of every class as the label. */
static bool log_softmax_as(const struct onnx_case *c, struct backend *be, struct scores *s)
{
    float *y = malloc((size_t)(s->rows * s->classes) * sizeof *y),
          *labels = malloc((size_t)s->rows * sizeof *labels);
    for (int64_t k = 0; k < s->classes; k++) {
        for (int64_t r = 0; r < s->rows; r++)
            labels[r] = (float)k;
        run_loss(be, s, labels, NULL, NULL);
        for (int64_t r = 0; r < s->rows; r++)
            y[(r / s->inner * s->classes + k) * s->inner + r % s->inner] = -s->sums[r * LOSS_SUMS];
    }
    bool ok = close_to(c->folder, y, c->outputs[1]);
    free(y);
    free(labels);
    return ok;
}

static bool loss_case(const struct onnx_case *c, struct backend *be)
{
    const Onnx__NodeProto *n = c->model->graph->node[0];
    bool nll = !strcmp(n->op_type, "NegativeLogLikelihoodLoss"), ok;
    struct scores s = read_scores(c);
    int64_t ignored = 0, count;
    double *given = c->input_count > 2 ? onnx_case_numbers(c->inputs[2], &count) : NULL;
    float *weights = given ? malloc((size_t)count * sizeof *weights) : NULL;
    for (int64_t i = 0; given && i < count; i++)
        weights[i] = (float)given[i];
    bool ignores =
        onnx_attribute(n, "ignore_index") && !onnx_attribute_int(n, "ignore_index", &ignored, NULL);
    run_loss(be, &s, s.labels, weights, ignores ? &ignored : NULL);
    ok = reduced_as(c, &s, nll);
    if (c->output_count > 1)
        ok = log_softmax_as(c, be, &s) && ok;
    free_scores(&s);
    free(given);
    free(weights);
    return ok;
}

/* ---- optimisers: inputs are R, T, all X, all G and all moments; outputs all X and all moments ---- */

static float number(const struct onnx_case *c, const char *name, float otherwise)
{
    onnx_attribute_float(c->model->graph->node[0], name, &otherwise, NULL);
    return otherwise;
}

static enum op update_of(const struct onnx_case *c, double t, struct update *u)
{
    const char *operator= c->model->graph->node[0]->op_type;
    char mode[16] = "";
    u->l2 = (double)number(c, "norm_coefficient", 0);
    u->epsilon = (double)number(c, "epsilon", 1e-6f);
    if (!strcmp(operator, "Adam")) {
        /* The script that made this case computed with an epsilon that its node does not carry. */
        if (strstr(c->folder, "test_adam_multiple"))
            u->epsilon = 1e-2;
        u->beta1 = (double)number(c, "alpha", 0.9f);
        u->beta2 = (double)number(c, "beta", 0.999f);
        u->correction1 = u->correction2 = 1;
        u->lr *= t > 0 ? sqrt(1 - pow(u->beta2, t)) / (1 - pow(u->beta1, t)) : 1;
        return OP_ADAM;
    }
    if (!strcmp(operator, "Adagrad")) {
        u->lr /= 1 + t * (double)number(c, "decay_factor", 0);
        return OP_ADAGRAD;
    }
    onnx_attribute_text(c->model->graph->node[0], "mode", mode, sizeof mode, NULL);
    u->momentum = (double)number(c, "alpha", 0);
    u->nesterov = !strcmp(mode, "nesterov");
    /* Ours gives new gradients the weight 1, as theirs does at first. */
    assert_true(t == 0 || number(c, "beta", 1) == 1);
    return OP_SGD;
}

/* Tensor i of each kind: X, G and the moments one behind another. */
static bool update_tensor(const struct onnx_case *c, struct backend *be, int i, int tensors)
{
    int kinds = (c->input_count - 2) / tensors;
    int64_t count, one;
    double *r = onnx_case_numbers(c->inputs[0], &one), *t = onnx_case_numbers(c->inputs[1], &one), *v[4];
    float w[16], dw[16], moments[32];
    bool ok = true;
    for (int k = 0; k < kinds; k++)
        v[k] = onnx_case_numbers(c->inputs[2 + k * tensors + i], &count);
    assert_true(count <= 16 && kinds <= 4);
    for (int64_t at = 0; at < count; at++) {
        w[at] = (float)v[0][at];
        dw[at] = (float)v[1][at];
        for (int k = 2; k < kinds; k++)
            moments[(k - 2) * count + at] = (float)v[k][at];
    }
    struct geometry g = {.update = {.count = count, .lr = r[0], .scale = 1}};
    enum op op = update_of(c, t[0], &g.update);
    struct call call = {.out = {w, moments, dw}, .g = &g, .row = count, .rows = 1};
    be->ops->run(be, op, &call, NULL);
    ok = close_to(c->folder, w, c->outputs[i]);
    for (int k = 2; k < kinds; k++)
        ok = close_to(c->folder, moments + (k - 2) * count, c->outputs[(k - 1) * tensors + i]) && ok;
    for (int k = 0; k < kinds; k++)
        free(v[k]);
    free(r);
    free(t);
    return ok;
}

static bool optimiser_case(const struct onnx_case *c, struct backend *be)
{
    int kinds = strcmp(c->model->graph->node[0]->op_type, "Adam") ? 3 : 4,
        tensors = (c->input_count - 2) / kinds;
    bool ok = tensors > 0 && c->output_count == (kinds - 1) * tensors;
    for (int i = 0; i < tensors; i++)
        ok = update_tensor(c, be, i, tensors) && ok;
    return ok;
}

/* ---- counting ---- */

/* All cases whose only node is this operator; returns how many, all of which passed. */
static int run_all(const char *operator, bool (*run)(const struct onnx_case *c, struct backend *be))
{
    struct dirent **entries;
    int n = scandir(NODES, &entries, NULL, alphasort), cases = 0, failed = 0;
    struct backend *be[BACKENDS];
    struct fail why;
    if (n < 0)
        fail_msg(NODES " is missing: install Debian's libonnx-testdata (make setup)");
    for (int b = 0; b < BACKENDS; b++)
        assert_int_equal(backend_open(&be[b], backends[b], 1, &why), 0);
    for (int i = 0; i < n; i++) {
        char folder[512];
        struct onnx_case c;
        bool hidden = entries[i]->d_name[0] == '.';
        snprintf(folder, sizeof folder, NODES "/%s", entries[i]->d_name);
        free(entries[i]);
        if (hidden || !onnx_case_open(&c, folder, 0))
            continue;
        if (c.model->graph->n_node == 1 && !strcmp(c.model->graph->node[0]->op_type, operator)) {
            cases++;
            for (int b = 0; b < BACKENDS; b++)
                failed += !run(&c, be[b]);
        }
        onnx_case_close(&c);
    }
    for (int b = 0; b < BACKENDS; b++)
        backend_close(&be[b]);
    free(entries);
    print_message("%s: %d cases on %d backends, %d failed\n", operator, cases, BACKENDS, failed);
    assert_int_equal(failed, 0);
    return cases;
}

static void cross_entropy_cases(void **state)
{
    (void)state;
    assert_true(run_all("SoftmaxCrossEntropyLoss", loss_case) >= 34);
}

static void likelihood_cases(void **state)
{
    (void)state;
    assert_true(run_all("NegativeLogLikelihoodLoss", loss_case) >= 18);
}

static void optimiser_cases(void **state)
{
    (void)state;
    assert_true(run_all("Adam", optimiser_case) >= 2);
    assert_true(run_all("Adagrad", optimiser_case) >= 2);
    assert_true(run_all("Momentum", optimiser_case) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cross_entropy_cases),
        cmocka_unit_test(likelihood_cases),
        cmocka_unit_test(optimiser_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
