/* Networks as Debian's PyTorch exports them, made fresh by tests/golden/round_trip.py: our answers are PyTorch's within
 * max|a-b| <= 1e-4 max|b|, on every backend and at every number of lanes. What we export of them, and of the shipped
 * networks, comes back equal, passes onnx's checker and gives the same answers in OpenCV. Runs from the repository's
 * root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/layer.h"
#include "engine/loss.h"
#include "engine/optim.h"
#include "engine/rng.h"
#include "tests/lib/answers.h"
#include "tests/lib/folder.h"
#include "tests/lib/graphs.h"

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PYTHON "/usr/bin/python3 tests/golden/round_trip.py "

static void run_script(const char *part, const char *folder)
{
    char command[512];
    snprintf(command, sizeof command, PYTHON "%s %s", part, folder);
    if (system(command))
        fail_msg("%s: its words are above; needs python3-torch, python3-onnx and python3-opencv (make setup)",
                 command);
}

static const char *file_of(const char *folder, const char *name, const char *extension)
{
    char file[256];
    snprintf(file, sizeof file, "%s.%s", name, extension);
    return folder_path(folder, file);
}

/* NAME.ours.onnx and .safetensors with these rows and our answers, for OpenCV. */
static void write_ours(const char *folder, const char *name, const struct graph *g, const float *x,
                       const float *y, int rows)
{
    struct fail why = {0};
    void *bytes;
    size_t size;
    struct shape in = {.rank = g->input.rank + 1, .dim = {rows}};
    memcpy(in.dim + 1, g->input.dim, (size_t)g->input.rank * sizeof in.dim[0]);
    struct safetensors_entry tensors[] = {
        {"input", DTYPE_FP32, in, x}, {"output", DTYPE_FP32, SHAPE(rows, shape_size(graph_output(g))), y}};
    if (onnx_print(g, &bytes, &size, &why))
        fail_msg("%s", why.text);
    folder_write(file_of(folder, name, "ours.onnx"), bytes, size);
    free(bytes);
    if (safetensors_print(tensors, 2, NULL, 0, &bytes, &size, &why))
        fail_msg("%s", why.text);
    folder_write(file_of(folder, name, "ours.safetensors"), bytes, size);
    free(bytes);
}

/* Parameters keep PyTorch's names, as long as they are in the file: fine-tuned weights find their places again. */
static void names_kept(const struct graph *g, const char *name)
{
    int named = 0, params = 0;
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].param_count; k++, params++)
            named += strstr(g->nodes[i].params[k].name, ".weight") ||
                     strstr(g->nodes[i].params[k].name, ".bias") ||
                     strstr(g->nodes[i].params[k].name, ".running_");
    print_message("%s: %d layers, %d parameters, %d with PyTorch's names\n", name, g->count, params, named);
    if (strstr(name, "apart"))
        assert_int_equal(named, params);
}

/* What the script made: a network and rows. */
struct sample {
    struct graph *g;
    struct safetensors *st;
    unsigned char *file; /* the safetensors' bytes */
    struct shape in, out;
    float *x, *y;
};

static void sample_open(struct sample *s, const char *folder, const char *name)
{
    struct fail why = {0};
    size_t size, rows_size;
    unsigned char *bytes = folder_read(file_of(folder, name, "onnx"), &size);
    s->file = folder_read(file_of(folder, name, "safetensors"), &rows_size);
    if (onnx_parse(&s->g, name, bytes, size, &why) ||
        safetensors_parse(&s->st, name, s->file, rows_size, &why))
        fail_msg("%s", why.text);
    s->x = answers_tensor(s->st, "input", &s->in);
    s->y = answers_tensor(s->st, "output", &s->out);
    free(bytes);
}

static void sample_close(struct sample *s)
{
    graph_free(&s->g);
    safetensors_free(&s->st);
    free(s->file);
    free(s->x);
    free(s->y);
}

static void check_network(const char *folder, const char *name)
{
    static const int max_rows[] = {0, 16}; /* one lane, sixteen */
    struct sample s;
    sample_open(&s, folder, name);
    names_kept(s.g, name);
    struct graph *back = answers_through_onnx(s.g);
    graphs_equal(s.g, back);
    for (int i = 0; i < 2; i++) {
        char what[96];
        int rows = (int)s.in.dim[0];
        snprintf(what, sizeof what, "%s at %d lanes", name, i ? 16 : 1);
        float *a = answers(s.g, "cpu", s.x, rows, max_rows[i]);
        answers_agree(what, a, s.y, shape_size(s.out), 1e-4);
        if (!i)
            write_ours(folder, name, back, s.x, a, rows);
        free(a);
    }
    graph_free(&back);
    sample_close(&s);
}

static void pytorch_networks(void **state)
{
    static const char *const names[] = {"lenet",          "vgg11_bn",    "resnet18",
                                        "resnet18_apart", "mobilenetv2", "mobilenetv2_apart"};
    run_script("make", *state);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_network(*state, names[i]);
}

/* Every network of config/ with weights of a seed: comes back equal; its answers are kept for OpenCV. */
static void shipped_networks(void **state)
{
    DIR *config = opendir("config");
    int networks = 0;
    assert_non_null(config);
    for (struct dirent *e; (e = readdir(config));) {
        struct graph *g, *back;
        struct fail why = {0};
        char path[300], *dot = strstr(e->d_name, ".yaml");
        snprintf(path, sizeof path, "config/%s", e->d_name);
        if (!dot || !strcmp(e->d_name, "millrace.yaml") || strstr(e->d_name, "job"))
            continue;
        if (graph_read(&g, path, &why) || graph_init(g, 3, &why))
            fail_msg("%s", why.text);
        back = answers_through_onnx(g);
        graphs_equal(g, back);
        *dot = 0;
        snprintf(path, sizeof path, "shipped-%s", e->d_name);
        struct rng r = rng_seed(4);
        float *x = malloc((size_t)shape_size(g->input) * sizeof *x);
        for (int64_t i = 0; i < shape_size(g->input); i++)
            x[i] = (float)rng_normal(&r);
        float *y = answers(g, "cpu", x, 1, 0);
        write_ours(*state, path, g, x, y, 1);
        print_message("%s: %d layers, %lld parameters\n", e->d_name, g->count,
                      (long long)graph_param_count(g));
        networks++;
        free(x);
        free(y);
        graph_free(&g);
        graph_free(&back);
    }
    closedir(config);
    assert_true(networks >= 6);
}

static void others_agree(void **state)
{
    run_script("check", *state);
}

/* ---- fine-tuning ---- */

/* A network in training, and the rows that PyTorch answered. */
struct tuning {
    struct sample s;
    struct backend *be;
    struct net *net;
    struct optimizer *opt;
    int rows;
    int32_t labels[16];
};

static void tuning_open(struct tuning *t, const char *folder, const char *name)
{
    struct fail why = {0};
    sample_open(&t->s, folder, name);
    t->rows = (int)t->s.in.dim[0];
    int64_t classes = t->s.out.dim[1];
    for (int n = 0; n < t->rows; n++)
        for (int k = 1; k < classes; k++)
            t->labels[n] = t->s.y[n * classes + k] < t->s.y[n * classes + t->labels[n]] ? k : t->labels[n];
    struct net_options o = {.mode = NET_TRAIN, .max_rows = t->rows, .seed = 5};
    struct optim_settings settings = optim_defaults("sgd");
    settings.momentum = 0.9;
    if (backend_open(&t->be, "cpu", 1, &why) || net_open(&t->net, t->be, t->s.g, &o, &why) ||
        optim_open(&t->opt, t->net, "sgd", &settings, &why))
        fail_msg("%s", why.text);
    memcpy(net_input(t->net), t->s.x, (size_t)shape_size(t->s.in) * sizeof *t->s.x);
}

static void tuning_close(struct tuning *t)
{
    optim_close(&t->opt);
    net_close(&t->net);
    backend_close(&t->be);
    sample_close(&t->s);
}

/* The loss falls: of labels that PyTorch thinks least likely. */
static void tuning_run(struct tuning *t, const char *name, int steps)
{
    const struct loss_type *loss = loss_find("cross_entropy");
    struct target target = {.labels = t->labels};
    struct fail why = {0};
    double first = 0, last = 0;
    for (int i = 0; i < steps; i++) {
        struct loss_sum sum = {0};
        if (net_accumulate(t->net, loss, t->rows, &target, i, 0, &sum, &why) ||
            net_step(t->net, t->opt, 1e-3, sum.weight, &why))
            fail_msg("%s", why.text);
        last = sum.loss / sum.weight;
        first = i ? first : last;
    }
    print_message("%s: loss %.4g, after %d steps %.4g\n", name, first, steps, last);
    assert_true(last < 0.9 * first);
    struct loss_sum now = {0};
    assert_int_equal(net_evaluate(t->net, loss, t->rows, &target, &now, &why), 0);
}

/* The weights have moved and kept their names. (A bias before batch norm has no say: it may stay.) */
static void check_moved(const struct graph *was, const struct graph *is)
{
    assert_int_equal(was->count, is->count);
    for (int i = 0; i < was->count; i++)
        for (int k = 0; k < was->nodes[i].param_count; k++) {
            const struct graph_param *a = &was->nodes[i].params[k], *b = &is->nodes[i].params[k];
            assert_string_equal(a->name, b->name);
            bool same = !memcmp(a->data, b->data, (size_t)shape_size(a->shape) * sizeof(float));
            if (same && k != 1)
                fail_msg("%s did not move", a->name);
        }
}

/* The file that is written after a few steps holds the tuned network. */
static void fine_tune(const char *folder, const char *name, int steps)
{
    struct tuning t = {.labels = {0}};
    struct graph *tuned;
    struct fail why = {0};
    tuning_open(&t, folder, name);
    tuning_run(&t, name, steps);
    if (graph_copy(&tuned, t.s.g, &why) || net_save(t.net, tuned, &why))
        fail_msg("%s", why.text);
    struct graph *back = answers_through_onnx(tuned);
    float *y = answers(back, "cpu", t.s.x, t.rows, 16);
    answers_agree("  from its file", y, net_output(t.net), shape_size(t.s.out), 1e-4);
    check_moved(t.s.g, back);
    free(y);
    graph_free(&back);
    graph_free(&tuned);
    tuning_close(&t);
}

static void imported_networks_train(void **state)
{
    fine_tune(*state, "lenet", 20);
    fine_tune(*state, "vgg11_bn", 5);
    fine_tune(*state, "mobilenetv2_apart", 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pytorch_networks),
        cmocka_unit_test(imported_networks_train),
        cmocka_unit_test(shipped_networks),
        cmocka_unit_test(others_agree),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
