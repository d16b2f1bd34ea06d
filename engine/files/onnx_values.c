/* What the names in a file stand for, and what operators call: one sorted table of names, the layers added, the
 * views that no layer was made for yet. What a node means is its operator's affair.
 * Next to read: onnx_operators.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

/* ---- the table of names ---- */

static int by_name(const void *a, const void *b)
{
    const struct onnx_value *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    /* A constant first: old files list constants among the inputs too. */
    return order ? order : (y->tensor != NULL) - (x->tensor != NULL);
}

struct onnx_value *onnx_find(const struct onnx_reader *r, const char *name)
{
    size_t low = 0, high = r->value_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(name, r->values[mid].name);
        if (!order)
            return &r->values[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

struct onnx_value *onnx_input(const struct onnx_reader *r, const Onnx__NodeProto *node, size_t i)
{
    return i < node->n_input && *onnx_text(node->input[i]) ? onnx_find(r, node->input[i]) : NULL;
}

bool onnx_is_constant(const struct onnx_value *v)
{
    return v && (v->tensor || v->ints);
}

static size_t count_values(const Onnx__GraphProto *g)
{
    size_t n = g->n_input + g->n_initializer;
    for (size_t i = 0; i < g->n_node; i++)
        n += g->node[i]->n_output;
    return n;
}

static void add_value(struct onnx_reader *r, const char *name, const Onnx__TensorProto *tensor, int producer,
                      bool input)
{
    if (!*onnx_text(name))
        return;
    r->values[r->value_count++] = (struct onnx_value){.name = name,
                                                      .tensor = tensor,
                                                      .node = GRAPH_INPUT,
                                                      .producer = producer,
                                                      .trained = tensor != NULL,
                                                      .ready = tensor || input};
}

/* Sorts, drops inputs that have an initialiser and refuses any other name that is defined twice. */
static int sort_values(struct onnx_reader *r, struct fail *why)
{
    size_t kept = 0;
    qsort(r->values, r->value_count, sizeof *r->values, by_name);
    for (size_t i = 0; i < r->value_count; i++) {
        const struct onnx_value *v = &r->values[i], *last = kept ? &r->values[kept - 1] : NULL;
        if (!last || strcmp(last->name, v->name))
            r->values[kept++] = *v;
        else if (!last->tensor || v->tensor || !v->ready)
            return fail(why, E_FILE, "%s: two values are called %.80s", r->file, v->name);
    }
    r->value_count = kept;
    return 0;
}

int onnx_collect_values(struct onnx_reader *r, const Onnx__GraphProto *g, struct fail *why)
{
    r->values = calloc(count_values(g) + 1, sizeof *r->values);
    r->needed = calloc(g->n_node + 1, sizeof *r->needed);
    if (!r->values || !r->needed)
        return fail(why, E_MEMORY, "%s: no memory for its graph", r->file);
    for (size_t i = 0; i < g->n_initializer; i++)
        add_value(r, g->initializer[i]->name, g->initializer[i], -1, false);
    for (size_t i = 0; i < g->n_input; i++)
        add_value(r, g->input[i]->name, NULL, -1, true);
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            add_value(r, g->node[i]->output[k], NULL, (int)i, false);
    return sort_values(r, why);
}

/* From the output backwards: which nodes count, and how often each value is read by those. */
void onnx_mark_needed(struct onnx_reader *r, const Onnx__GraphProto *g, struct onnx_value *output)
{
    output->uses = 1;
    for (size_t i = g->n_node; i-- > 0;) {
        const Onnx__NodeProto *n = g->node[i];
        for (size_t k = 0; k < n->n_output; k++) {
            const struct onnx_value *v = onnx_find(r, onnx_text(n->output[k]));
            r->needed[i] |= v && v->uses;
        }
        for (size_t k = 0; r->needed[i] && k < n->n_input; k++) {
            struct onnx_value *v = onnx_input(r, n, k);
            if (v)
                v->uses++;
        }
    }
}

/* ---- what operators call ---- */

void onnx_define(struct onnx_reader *r, const Onnx__NodeProto *node, int layer)
{
    struct onnx_value *v = onnx_find(r, onnx_text(node->output[0]));
    v->node = layer;
    v->ready = true;
}

void onnx_define_alias(struct onnx_reader *r, const Onnx__NodeProto *node, const struct onnx_value *from)
{
    struct onnx_value *v = onnx_find(r, onnx_text(node->output[0]));
    v->tensor = from->tensor;
    v->ints = from->ints;
    v->trained = from->trained;
    v->node = from->node;
    v->viewed = from->viewed;
    v->view = from->view;
    v->uses += from->uses - 1;
    v->padded = from->padded;
    memcpy(v->pads, from->pads, sizeof v->pads);
    v->ready = true;
}

static struct shape stored_row(const struct onnx_reader *r, const struct onnx_value *v)
{
    return v->node == GRAPH_INPUT ? r->graph->input : r->graph->nodes[v->node].shape;
}

struct shape onnx_row(const struct onnx_reader *r, const struct onnx_value *v)
{
    struct shape row = v->viewed ? v->view : stored_row(r, v);
    for (int i = 0; v->padded && i < 4; i++)
        row.dim[1 + i % 2] += v->pads[i];
    return row;
}

void onnx_set_view(const struct onnx_reader *r, struct onnx_value *v, struct shape row)
{
    v->view = row;
    v->viewed = !shape_equal(row, stored_row(r, v));
}

/* The name to give a layer, or NULL for one by number. */
static const char *layer_name(const struct onnx_reader *r, const Onnx__NodeProto *node,
                              const struct onnx_value *weights, char *space)
{
    static const char suffix[] = ".weight";
    const char *name = onnx_text(node ? node->name : NULL);
    size_t n = weights ? strlen(weights->name) : 0, cut = sizeof suffix - 1;
    if (!r->ours && n > cut && !strcmp(weights->name + n - cut, suffix) && n - cut < GRAPH_NAME) {
        memcpy(space, weights->name, n - cut);
        space[n - cut] = 0;
        name = space;
    }
    if (!*name || strlen(name) >= GRAPH_NAME || graph_index(r->graph, name) >= 0)
        return NULL;
    return name;
}

int onnx_add(struct onnx_reader *r, const Onnx__NodeProto *node, const struct onnx_value *weights,
             const char *type, int input, struct graph_node **out, struct fail *why)
{
    char space[GRAPH_NAME];
    int rc = graph_add(out, r->graph, type, layer_name(r, node, weights, space), why);
    if (!rc)
        (*out)->inputs[0] = input;
    return rc;
}

static int check_number(const struct setting *s, double v, struct fail *why)
{
    if ((s->min == 0 && s->max == 0) || (v >= s->min && v <= s->max))
        return 0;
    return fail(why, E_UNSUPPORTED, "%s is %.15g, supported are %.15g to %.15g", s->key, v, s->min, s->max);
}

/* The bounds that network files are held to. */
static int check_settings(const struct graph_node *n, struct fail *why)
{
    int rc = 0;
    for (const struct setting *s = n->type->settings; s && s->key && !rc; s++) {
        const void *at = (const char *)n->settings + s->offset;
        const struct setting_ints *list = at;
        if (s->type == SETTING_INT)
            rc = check_number(s, (double)*(const int64_t *)at, why);
        else if (s->type == SETTING_REAL)
            rc = check_number(s, *(const double *)at, why);
        for (int i = 0; s->type == SETTING_INTS && i < list->count && !rc; i++)
            rc = check_number(s, (double)list->v[i], why);
    }
    return rc;
}

int onnx_shape_last(struct onnx_reader *r, struct fail *why)
{
    struct graph *g = r->graph;
    struct graph_node *n = &g->nodes[g->count - 1];
    struct shape in[GRAPH_INPUTS];
    for (int i = 0; i < n->input_count; i++)
        in[i] = n->inputs[i] == GRAPH_INPUT ? g->input : g->nodes[n->inputs[i]].shape;
    int rc = check_settings(n, why);
    if (rc || (rc = n->type->shape(n->settings, in, n->input_count, &n->shape, why)))
        return rc;
    if (shape_size(n->shape) <= 0 || shape_size(n->shape) > INT32_MAX)
        return fail(why, E_FILE, "one row's output is empty or exceeds 2^31 values");
    return 0;
}

int onnx_added(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why)
{
    int rc = onnx_shape_last(r, why);
    if (!rc)
        onnx_define(r, node, r->graph->count - 1);
    return rc;
}

/* A list is what flatten makes; any other shape is a reshape. */
int onnx_add_view(struct onnx_reader *r, const Onnx__NodeProto *node, int input, struct shape row,
                  struct fail *why)
{
    struct graph_node *n;
    int rc = onnx_add(r, node, NULL, row.rank > 1 ? "reshape" : "flatten", input, &n, why);
    if (rc)
        return rc;
    if (row.rank > 1) {
        struct reshape_settings *s = n->settings;
        s->shape.count = row.rank;
        memcpy(s->shape.v, row.dim, (size_t)row.rank * sizeof row.dim[0]);
    }
    return onnx_shape_last(r, why);
}

/* Zeros around height and width. */
static int add_pad(struct onnx_reader *r, const struct onnx_value *v, struct fail *why)
{
    struct graph_node *n;
    int rc = onnx_add(r, NULL, NULL, "pad", v->node, &n, why);
    if (rc)
        return rc;
    struct pad_settings *s = n->settings;
    s->pads = (struct setting_ints){.count = 6, .v = {0, v->pads[0], v->pads[1], 0, v->pads[2], v->pads[3]}};
    return onnx_shape_last(r, why);
}

int onnx_layer_of(struct onnx_reader *r, struct onnx_value *v, int *layer, struct fail *why)
{
    int rc = onnx_want_activation(v, why);
    if (rc)
        return rc;
    if (v->viewed || v->padded) {
        if ((rc = v->padded ? add_pad(r, v, why) : onnx_add_view(r, NULL, v->node, v->view, why)))
            return rc;
        v->node = r->graph->count - 1;
        v->viewed = v->padded = false;
    }
    *layer = v->node;
    return 0;
}

int onnx_set_param(struct onnx_reader *r, int layer, int index, struct onnx_value *from, struct shape shape,
                   const float *data, struct fail *why)
{
    /* Without a name graph_finish gives one. Two layers may share a tensor, but not its name. */
    const char *name = from->named || strlen(from->name) >= GRAPH_NAME ? "" : from->name;
    from->named = true;
    return graph_set_param(r->graph, layer, index, name, shape, data, why);
}
