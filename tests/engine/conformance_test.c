/* ONNX's own cases (Debian's libonnx-testdata) whose operators we read: every form in which a case fits a network of
 * ours must give the outputs that stand in the data. Prints what passed and why others were left out; the numbers are
 * asserted, so that data that is missing fails. Next to read: tests/lib/onnx_case.h. */
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

#include "engine/net.h"

#define DATA "/usr/share/libonnx-testdata/data/"

/* The operators that issue and README promise; others may be read too, but nothing is owed for them. */
/* clang-format off */
static const char *const operators[] = {
    "Add",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "Div",
    "Dropout",
    "Elu",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LRN",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "MaxPool",
    "Mul",
    "PRelu",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
};
/* clang-format on */

static bool operators_known(const Onnx__GraphProto *g)
{
    for (size_t i = 0; i < g->n_node; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof operators / sizeof operators[0]; k++)
            known = known || !strcmp(operators[k], g->node[i]->op_type);
        if (!known || *onnx_text(g->node[i]->domain))
            return false;
    }
    return g->n_node > 0;
}

/* ---- why a case may be left out ---- */

/* Types that are not numbers, results that float32 does not hold, and what only training has. NULL: nothing of it. */
static const char *outside(const struct onnx_case *c)
{
    const Onnx__GraphProto *g = c->model->graph;
    int64_t count, training = 0;
    bool values = false;
    for (size_t i = 0; i < g->n_input; i++)
        if (!g->input[i]->type || g->input[i]->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
            return "an input is no tensor";
    for (int i = 0; i <= c->input_count; i++) {
        const Onnx__TensorProto *t = i < c->input_count ? c->inputs[i] : c->outputs[0];
        double *v = onnx_case_numbers(t, &count);
        bool beyond = false;
        for (int64_t k = 0; v && k < count; k++)
            beyond = beyond || (isfinite(v[k]) && !isfinite((float)v[k]));
        free(v);
        if (!v)
            return "a tensor whose elements are no numbers";
        if (!count || beyond)
            return count ? "numbers beyond float32" : "a tensor without elements";
        values = values || (i < c->input_count && t->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__INT64);
    }
    if (c->input_count && !values)
        return "rows of integers";
    if (c->outputs[0]->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16)
        return "rounds to FLOAT16";
    for (size_t i = 0; i < g->n_node; i++) {
        const char *operator= g->node[i]->op_type;
        onnx_attribute_int(g->node[i], "training_mode", &training, NULL);
        double *ratio = !strcmp(operator, "Dropout") && c->input_count == 3
                            ? onnx_case_numbers(c->inputs[1], &count)
                            : NULL;
        training = training || (ratio && ratio[0] != 0);
        free(ratio);
        if (training)
            return "asks for training: a random mask, or statistics of the batch";
        if (!strcmp(operator, "Div") && c->inputs[0]->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__UINT8)
            return "divides integers";
    }
    return NULL;
}

/* ---- running ---- */

/* "ref" in naive loops, "cpu" at one lane (few rows) and at sixteen. */
static const struct {
    const char *backend;
    int max_rows;
} runs[] = {{"ref", 0}, {"cpu", 0}, {"cpu", 16}};
enum { RUNS = sizeof runs / sizeof runs[0] };

static bool close_to(const float *a, const double *b, int64_t n, char *said, size_t size)
{
    double difference = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        difference = d > difference || isnan(d) ? d : difference;
        largest = fmax(largest, fabs(b[i]));
    }
    if (difference <= 2e-5 * largest + 1e-7)
        return true;
    snprintf(said, size, "max|a-b| %.3g, max|b| %.3g", difference, largest);
    return false;
}

static bool run_net(const struct graph *g, int run, const float *x, int rows, const double *want,
                    int64_t count, char *said, size_t size)
{
    struct backend *be = NULL;
    struct net *net = NULL;
    struct fail why = {0};
    struct net_options o = {.mode = NET_INFER,
                            .max_rows = rows > runs[run].max_rows ? rows : runs[run].max_rows};
    bool ok = false;
    if (backend_open(&be, runs[run].backend, 1, &why) || net_open(&net, be, g, &o, &why))
        goto out;
    memcpy(net_input(net), x, (size_t)(rows * net_input_size(net)) * sizeof *x);
    if (net_forward(net, rows, &why))
        goto out;
    if (rows * net_output_size(net) != count)
        snprintf(why.text, sizeof why.text, "%lld values, expected %lld",
                 (long long)(rows * net_output_size(net)), (long long)count);
    else
        ok = close_to(net_output(net), want, count, why.text, sizeof why.text);
out:
    if (!ok)
        snprintf(said, size, "%s: %.300s", runs[run].backend, why.text);
    net_close(&net);
    if (be)
        backend_close(&be);
    return ok;
}

/* The shape that stands in the data; a row without dimensions is a list of one here. */
static bool shape_as(const struct shape *s, const Onnx__TensorProto *want, int lead)
{
    int rank = (int)want->n_dims - lead;
    if (rank == 0)
        return shape_size(*s) == 1;
    bool same = s->rank == rank;
    for (int i = 0; i < rank && same; i++)
        same = s->dim[i] == want->dims[lead + i];
    return same;
}

static bool run_constant(struct onnx_whole *whole, const Onnx__TensorProto *t, const double *want,
                         int64_t count, char *said, size_t size)
{
    bool ok = shape_size(whole->shape) == count && shape_as(&whole->shape, t, 0) &&
              close_to(whole->constant, want, count, said, size);
    free(whole->constant);
    return ok;
}

enum verdict { UNREAD, PASSED, FAILED };

static enum verdict run_form(const struct onnx_case *c, struct onnx_form form, char *said, size_t size)
{
    enum verdict verdict = UNREAD;
    struct onnx_whole whole = {.wanted = form.whole};
    struct graph *g = NULL;
    struct fail why = {0};
    void *bytes;
    size_t length;
    float *x;
    int rows;
    int64_t count;
    if (!onnx_case_form(c, form, &bytes, &length, &x, &rows))
        return UNREAD;
    double *want = onnx_case_numbers(c->outputs[0], &count);
    int rc = onnx_parse_whole(&g, strrchr(c->folder, '/') + 1, bytes, length, &whole, &why);
    struct shape out = g ? graph_output(g) : (struct shape){0};
    if (rc)
        snprintf(said, size, "%.400s", why.text);
    else if (whole.constant)
        verdict = run_constant(&whole, c->outputs[0], want, count, said, size) ? PASSED : FAILED;
    else {
        verdict = shape_as(&out, c->outputs[0], !form.whole) ? PASSED : FAILED;
        if (verdict == FAILED)
            shape_text(out, said, size);
        for (int i = 0; i < RUNS && verdict == PASSED; i++)
            if ((!form.whole || !runs[i].max_rows) && !run_net(g, i, x, rows, want, count, said, size))
                verdict = FAILED;
    }
    graph_free(&g);
    free(want);
    free(bytes);
    free(x);
    return verdict;
}

/* ---- counting ---- */

struct tally {
    int passed, failed, skipped, others, forms[4], first_only;
};

/* Passed: read in one form at least, and right in each that is read. */
static void run_case(const struct onnx_case *c, struct tally *t)
{
    static const struct onnx_form forms[] = {{false, false}, {true, false}, {false, true}, {true, true}};
    char said[512] = "", first[512] = "";
    const char *name = strrchr(c->folder, '/') + 1, *reason = outside(c);
    int passed = 0, failed = 0;
    if (reason) {
        print_message("skipped %s: %s\n", name, reason);
        t->skipped++;
        return;
    }
    for (int i = 0; i < 4; i++) {
        enum verdict v = run_form(c, forms[i], said, sizeof said);
        t->forms[i] += v == PASSED;
        passed += v == PASSED;
        failed += v == FAILED;
        if (v == FAILED || (!*first && *said))
            snprintf(first, sizeof first, "%s%s%s", forms[i].whole ? "whole, " : "",
                     forms[i].packed ? "packed, " : "", said);
    }
    if (failed || !passed)
        print_message("FAILED %s: %s\n", name, first);
    t->failed += failed || !passed;
    t->passed += !failed && passed;
    t->first_only += !failed && passed && c->output_count > 1;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void run_folder(const char *kind, struct tally *t)
{
    char folder[512];
    struct dirent **entries;
    snprintf(folder, sizeof folder, DATA "%s", kind);
    int n = scandir(folder, &entries, NULL, by_name);
    if (n < 0)
        fail_msg("%s is missing: install Debian's libonnx-testdata (make setup)", folder);
    for (int i = 0; i < n; i++) {
        struct onnx_case c;
        bool hidden = entries[i]->d_name[0] == '.';
        snprintf(folder, sizeof folder, DATA "%s/%s", kind, entries[i]->d_name);
        free(entries[i]);
        if (hidden || !onnx_case_open(&c, folder, 0))
            continue;
        if (operators_known(c.model->graph))
            run_case(&c, t);
        else
            t->others++;
        onnx_case_close(&c);
    }
    free(entries);
    print_message("%s: %d passed, %d failed, %d skipped; %d of other operators\n", kind, t->passed, t->failed,
                  t->skipped, t->others);
    print_message("    as rows %d, whole %d, packed rows %d, packed whole %d; of %d only the first output is "
                  "compared\n",
                  t->forms[0], t->forms[1], t->forms[2], t->forms[3], t->first_only);
}

static void check(const char *kind, int least)
{
    struct tally t = {0};
    run_folder(kind, &t);
    assert_int_equal(t.failed, 0);
    assert_true(t.passed >= least);
}

static void node_cases(void **state)
{
    (void)state;
    check("node", 222);
}

static void converted_cases(void **state)
{
    (void)state;
    check("pytorch-converted", 72);
}

static void operator_cases(void **state)
{
    (void)state;
    check("pytorch-operator", 13);
}

static void simple_cases(void **state)
{
    (void)state;
    check("simple", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(node_cases),
        cmocka_unit_test(converted_cases),
        cmocka_unit_test(operator_cases),
        cmocka_unit_test(simple_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
