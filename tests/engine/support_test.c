/* What there is: layers and operations by backend, by lanes, with their gradient and their ONNX, as the tables say.
 * engine/README.md carries the page; the test fails when it is not what this program prints.
 * `make support` writes it. Layers are recorded one at a time, as tests/lib/graphs.h has them all. */
#include "engine/backend_ops.h"
#include "engine/files/onnx.h"
#include "engine/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/folder.h"
#include "tests/lib/graphs.h"

#define README "engine/README.md"
#define BEGIN  "<!-- made by make support; do not edit -->\n"
#define END    "<!-- end of what make support makes -->\n"

/* The tables of kernels: the definition, cpu at one lane, cpu at sixteen. */
enum { COLUMNS = 3 };
static const char *const column_names[COLUMNS] = {"ref", "cpu, 1 lane", "cpu, 16 lanes"};

struct tables {
    struct backend *ref, *cpu;
    const struct kernel *kernels[COLUMNS];
};

static void tables_open(struct tables *t)
{
    struct fail why;
    assert_int_equal(backend_open(&t->ref, "ref", 1, &why), 0);
    assert_int_equal(backend_open(&t->cpu, "cpu", 1, &why), 0);
    t->kernels[0] = t->ref->ops->kernels;
    t->kernels[1] = t->cpu->ops->kernels;
    t->kernels[2] = t->cpu->ops->lane_kernels ? t->cpu->ops->lane_kernels(t->cpu) : NULL;
}

static void tables_close(struct tables *t)
{
    backend_close(&t->ref);
    backend_close(&t->cpu);
}

static bool has(const struct tables *t, int column, enum op op)
{
    return t->kernels[column] && t->kernels[column][op].run;
}

static const char *yes(bool is)
{
    return is ? "yes" : "-";
}

/* ---- a layer, recorded alone ---- */

struct recorded {
    struct plan plan;
    struct recorder r;
    struct layer l;
    int forward; /* steps before its backward */
};

static void record(struct recorded *to, const struct graph *g, int index)
{
    const struct graph_node *n = &g->nodes[index];
    struct fail why = {0};
    memset(to, 0, sizeof *to);
    to->r = (struct recorder){.plan = &to->plan, .training = true, .why = &why};
    to->l = (struct layer){.settings = n->settings, .inputs = n->input_count, .out = n->shape};
    for (int i = 0; i < n->input_count; i++) {
        to->l.in[i] = n->inputs[i] == GRAPH_INPUT ? g->input : g->nodes[n->inputs[i]].shape;
        to->l.x[i] = plan_value(&to->r, to->l.in[i], STORE_ACTIVATION, 0);
        to->l.dx[i] = plan_value(&to->r, to->l.in[i], STORE_ACTIVATION, 0);
    }
    to->l.y = plan_value(&to->r, n->shape, STORE_ACTIVATION, 0);
    to->l.dy = plan_value(&to->r, n->shape, STORE_ACTIVATION, 0);
    for (int i = 0; i < n->param_count; i++) {
        to->l.w[i] = plan_value(&to->r, n->params[i].shape, STORE_PARAM, 0);
        if (!n->params[i].state)
            to->l.dw[i] = plan_value(&to->r, n->params[i].shape, STORE_GRADIENT, 0);
    }
    n->type->forward(&to->r, &to->l);
    to->forward = to->plan.count;
    n->type->backward(&to->r, &to->l);
    if (to->r.rc)
        fail_msg("%s: %s", n->name, why.text);
}

static bool runs_on(const struct tables *t, int column, const struct recorded *layer)
{
    for (int i = 0; i < layer->plan.count; i++)
        if (!has(t, column, layer->plan.steps[i].op))
            return false;
    return layer->forward > 0;
}

static bool has_gradient(const struct recorded *layer)
{
    for (int i = layer->forward; i < layer->plan.count; i++)
        for (int k = 0; k < OP_OUT; k++)
            if (layer->plan.steps[i].out[k].id == layer->l.dx[0].id)
                return true;
    return false;
}

/* The operators that the layer is written as: "Sigmoid, Mul". A flatten before a dense layer is not its own. */
static void print_onnx(FILE *out, const Onnx__GraphProto *g, const char *layer)
{
    size_t length = strlen(layer), count = 0;
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *n = g->node[i];
        bool own = !strncmp(n->name, layer, length) && (!n->name[length] || n->name[length] == '/');
        bool part = strstr(n->name, ONNX_PART_FLATTEN) || strstr(n->name, ONNX_PART_ACTIVATION) ||
                    !strcmp(n->op_type, "Constant");
        if (own && !part)
            fprintf(out, "%s%s", count++ ? ", " : "", n->op_type);
    }
    assert_true(count > 0);
}

static const struct graph_node *node_of_type(const struct graph *g, const struct layer_type *type)
{
    for (int i = 0; i < g->count; i++)
        if (g->nodes[i].type == type)
            return &g->nodes[i];
    fail_msg("graph_everything has no %s", type->name);
    return NULL;
}

static void print_layers(FILE *out, const struct tables *t)
{
    struct graph *g = graph_everything();
    struct fail why;
    void *bytes;
    size_t size;
    if (onnx_print(g, &bytes, &size, &why))
        fail_msg("%s", why.text);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, size, bytes);
    assert_non_null(m);
    fprintf(out, "| layer | %s | %s | %s | backward | in ONNX files of ours |\n|---|---|---|---|---|---|\n",
            column_names[0], column_names[1], column_names[2]);
    for (int i = 0; layer_types[i]; i++) {
        const struct graph_node *n = node_of_type(g, layer_types[i]);
        struct recorded layer;
        record(&layer, g, (int)(n - g->nodes));
        fprintf(out, "| `%s` |", layer_types[i]->name);
        for (int c = 0; c < COLUMNS; c++)
            fprintf(out, " %s |", yes(runs_on(t, c, &layer)));
        fprintf(out, " %s | ", yes(has_gradient(&layer)));
        print_onnx(out, m->graph, n->name);
        fprintf(out, " |\n");
        plan_free(&layer.plan);
    }
    onnx__model_proto__free_unpacked(m, NULL);
    free(bytes);
    graph_free(&g);
}

static void print_operations(FILE *out, const struct tables *t)
{
    fprintf(out, "| operation | %s | %s | %s |\n|---|---|---|---|\n", column_names[0], column_names[1],
            column_names[2]);
    for (int op = 0; op < OPS; op++) {
        fprintf(out, "| `%s` |", op_name((enum op)op));
        for (int c = 0; c < COLUMNS; c++)
            fprintf(out, " %s |", yes(has(t, c, (enum op)op)));
        fprintf(out, "\n");
    }
}

static void print_operators(FILE *out)
{
    const char *name;
    int opset;
    for (int i = 0; (name = onnx_operator(i, &opset)); i++)
        fprintf(out, "%s%s %d", i ? ", " : "", name, opset);
    fprintf(out, ".\n");
}

static char *page(void)
{
    char *text = NULL;
    size_t size;
    struct tables t;
    FILE *out = open_memstream(&text, &size);
    tables_open(&t);
    fprintf(out, BEGIN
            "\nLayers: on which backend and in which layout all their operations have kernels, and whether "
            "a gradient goes to the input.\n\n");
    print_layers(out, &t);
    fprintf(
        out,
        "\nOperations. At sixteen lanes those without a kernel run at one: losses and updates see rows.\n\n");
    print_operations(out, &t);
    fprintf(out, "\nOperators of ONNX files that are read, each from the operator set behind it up to %d: ",
            ONNX_OPSET_NEWEST);
    print_operators(out);
    fprintf(out, "\n" END);
    tables_close(&t);
    fclose(out);
    return text;
}

/* ---- the page in the README ---- */

static char *readme(char **begin, char **end)
{
    size_t size;
    unsigned char *bytes = folder_read(README, &size);
    char *text = calloc(1, size + 1);
    memcpy(text, bytes, size);
    free(bytes);
    *begin = strstr(text, BEGIN);
    *end = *begin ? strstr(*begin, END) : NULL;
    if (!*end)
        fail_msg(README " has not the lines between which the page stands");
    *end += strlen(END);
    return text;
}

static void page_is_current(void **state)
{
    char *begin, *end, *text = readme(&begin, &end), *made = page();
    (void)state;
    if (strlen(made) != (size_t)(end - begin) || strncmp(begin, made, strlen(made)))
        fail_msg(README ": its tables are not what the code has now: `make support` writes them");
    free(text);
    free(made);
}

static void page_write(void **state)
{
    char *begin, *end, *text = readme(&begin, &end), *made = page(), *whole = NULL;
    size_t size;
    FILE *out = open_memstream(&whole, &size);
    (void)state;
    fwrite(text, 1, (size_t)(begin - text), out);
    fputs(made, out);
    fputs(end, out);
    fclose(out);
    folder_write(README, whole, size);
    free(whole);
    free(text);
    free(made);
}

int main(int count, char **words)
{
    const struct CMUnitTest test[] = {cmocka_unit_test(page_is_current)};
    const struct CMUnitTest write[] = {cmocka_unit_test(page_write)};
    if (count == 2 && !strcmp(words[1], "--write"))
        return cmocka_run_group_tests(write, NULL, NULL);
    return cmocka_run_group_tests(test, NULL, NULL);
}
