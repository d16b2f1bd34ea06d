/* ONNX file to graph: the model around the operators. Names are resolved in one sorted table; the nodes that
 * the output depends on are imported in the file's order, which must be topological. Shapes and attributes of
 * a node are its operator's affair. Next to read: onnx_operators.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"

/* ---- the table of names ---- */

static int by_name(const void *a, const void *b)
{
    const struct onnx_value *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    /* A constant first: old files list constants among the inputs too. */
    return order ? order : (y->tensor != NULL) - (x->tensor != NULL);
}

static struct onnx_value *find(const struct onnx_reader *r, const char *name)
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

struct onnx_value *onnx_input(struct onnx_reader *r, const Onnx__NodeProto *node, size_t i)
{
    return i < node->n_input && *onnx_text(node->input[i]) ? find(r, node->input[i]) : NULL;
}

static size_t count_values(const Onnx__GraphProto *g)
{
    size_t n = g->n_input + g->n_initializer;
    for (size_t i = 0; i < g->n_node; i++)
        n += g->node[i]->n_output;
    return n;
}

static void add_value(struct onnx_reader *r, const char *name, const Onnx__TensorProto *tensor, bool input)
{
    if (!*onnx_text(name))
        return;
    r->values[r->value_count++] =
        (struct onnx_value){.name = name, .tensor = tensor, .node = GRAPH_INPUT, .ready = tensor || input};
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

static int collect_values(struct onnx_reader *r, const Onnx__GraphProto *g, struct fail *why)
{
    r->values = calloc(count_values(g) + 1, sizeof *r->values);
    r->needed = calloc(g->n_node + 1, sizeof *r->needed);
    if (!r->values || !r->needed)
        return fail(why, E_MEMORY, "%s: no memory for its graph", r->file);
    for (size_t i = 0; i < g->n_initializer; i++)
        add_value(r, g->initializer[i]->name, g->initializer[i], false);
    for (size_t i = 0; i < g->n_input; i++)
        add_value(r, g->input[i]->name, NULL, true);
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            add_value(r, g->node[i]->output[k], NULL, false);
    return sort_values(r, why);
}

/* From the output backwards: which nodes count, and how often each value is read by those. */
static void mark_needed(struct onnx_reader *r, const Onnx__GraphProto *g, struct onnx_value *output)
{
    output->uses = 1;
    for (size_t i = g->n_node; i-- > 0;) {
        const Onnx__NodeProto *n = g->node[i];
        for (size_t k = 0; k < n->n_output; k++) {
            const struct onnx_value *v = find(r, onnx_text(n->output[k]));
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
    struct onnx_value *v = find(r, onnx_text(node->output[0]));
    v->node = layer;
    v->ready = true;
}

void onnx_define_alias(struct onnx_reader *r, const Onnx__NodeProto *node, struct onnx_value *from, bool flat)
{
    struct onnx_value *v = find(r, onnx_text(node->output[0]));
    v->tensor = from->tensor;
    v->node = from->node;
    v->flat = from->flat || flat;
    v->uses += from->uses - 1;
    v->padded = from->padded;
    memcpy(v->pads, from->pads, sizeof v->pads);
    v->ready = true;
}

struct shape onnx_row(const struct onnx_reader *r, const struct onnx_value *v)
{
    struct shape row = v->node == GRAPH_INPUT ? r->graph->input : r->graph->nodes[v->node].shape;
    return v->flat ? SHAPE(shape_size(row)) : row;
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

static int shape_last(struct graph *g, struct fail *why)
{
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
    int rc = shape_last(r->graph, why);
    if (!rc)
        onnx_define(r, node, r->graph->count - 1);
    return rc;
}

int onnx_layer_of(struct onnx_reader *r, struct onnx_value *v, int *layer, struct fail *why)
{
    struct graph_node *n;
    int rc = onnx_want_activation(v, why);
    if (rc)
        return rc;
    if (v->flat) {
        if ((rc = onnx_add(r, NULL, NULL, "flatten", v->node, &n, why)) || (rc = shape_last(r->graph, why)))
            return rc;
        v->node = r->graph->count - 1;
        v->flat = false;
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

/* ---- the model ---- */

static int read_versions(struct onnx_reader *r, struct fail *why)
{
    const Onnx__ModelProto *m = r->model;
    int64_t opset = 0;
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const char *domain = onnx_text(m->opset_import[i]->domain);
        if (!*domain || !strcmp(domain, "ai.onnx"))
            opset = m->opset_import[i]->version;
    }
    if (!m->graph)
        return fail(why, E_FILE, "%s: the model has no graph: truncated, or not an ONNX file", r->file);
    if (opset < ONNX_OPSET_OLDEST || opset > ONNX_OPSET_NEWEST)
        return fail(why, E_UNSUPPORTED,
                    "%s: operator set %lld; %d to %d are supported: export again with opset_version=%d",
                    r->file, (long long)opset, ONNX_OPSET_OLDEST, ONNX_OPSET_NEWEST, ONNX_OPSET);
    if (m->graph->n_sparse_initializer)
        return fail(why, E_UNSUPPORTED, "%s: sparse initialisers are not supported", r->file);
    r->opset = (int)opset;
    r->ours = !strcmp(onnx_text(m->producer_name), ONNX_PRODUCER);
    return 0;
}

/* [N, C, H, W] or any [N, ...]: N any number or symbol, the rest numbers. */
static int read_row(struct onnx_reader *r, const Onnx__ValueInfoProto *in, struct shape *row,
                    struct fail *why)
{
    const Onnx__TypeProto *type = in->type;
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
        type->tensor_type->elem_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT || !type->tensor_type->shape)
        return fail(why, E_UNSUPPORTED, "%s: input %.80s is not a tensor of FLOAT with a shape", r->file,
                    in->name);
    const Onnx__TensorShapeProto *shape = type->tensor_type->shape;
    if (shape->n_dim < 2 || shape->n_dim > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "%s: input %.80s has %zu dimensions, expected 2 to %d: rows first",
                    r->file, in->name, shape->n_dim, SHAPE_DIMS);
    row->rank = (int)shape->n_dim - 1;
    for (size_t i = 0; i < shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        bool number =
            d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value > 0;
        if (!i)
            r->fixed_batch = number ? d->dim_value : 0;
        else if (number)
            row->dim[i - 1] = d->dim_value;
        else
            return fail(why, E_UNSUPPORTED,
                        "%s: dimension %zu of input %.80s has no fixed size: export with fixed sizes for all "
                        "but the first",
                        r->file, i, in->name);
    }
    if (shape_size(*row) < 0 || shape_size(*row) > INT32_MAX)
        return fail(why, E_FILE, "%s: one row of input %.80s exceeds 2^31 values", r->file, in->name);
    return 0;
}

static int copy_name(char to[GRAPH_NAME], const struct onnx_reader *r, const char *from, struct fail *why)
{
    if (!*onnx_text(from) || strlen(from) >= GRAPH_NAME)
        return fail(why, E_UNSUPPORTED,
                    "%s: the name of its input or output has %zu characters, supported are "
                    "1 to %d",
                    r->file, strlen(onnx_text(from)), GRAPH_NAME - 1);
    memcpy(to, from, strlen(from) + 1);
    return 0;
}

/* Exactly one input that is not a constant; makes the graph. */
static int read_input(struct onnx_reader *r, struct fail *why)
{
    const Onnx__GraphProto *g = r->model->graph;
    const Onnx__ValueInfoProto *in = NULL;
    struct shape row = {0};
    int rc;
    for (size_t i = 0; i < g->n_input; i++) {
        const struct onnx_value *v = find(r, onnx_text(g->input[i]->name));
        if (v && v->tensor)
            continue;
        if (in)
            return fail(why, E_UNSUPPORTED, "%s: inputs %.80s and %.80s; one is supported", r->file, in->name,
                        onnx_text(g->input[i]->name));
        in = g->input[i];
    }
    if (!in || !*onnx_text(in->name))
        return fail(why, E_FILE, "%s: the graph has no input with a name", r->file);
    if ((rc = read_row(r, in, &row, why)) ||
        (rc = graph_new(&r->graph, *onnx_text(g->name) ? g->name : "onnx", row, why)))
        return rc;
    snprintf(r->graph->file, sizeof r->graph->file, "%s", r->file);
    return copy_name(r->graph->input_name, r, in->name, why);
}

static int find_output(struct onnx_reader *r, struct onnx_value **out, struct fail *why)
{
    const Onnx__GraphProto *g = r->model->graph;
    if (g->n_output != 1)
        return fail(why, E_UNSUPPORTED, "%s: %zu outputs; one is supported", r->file, g->n_output);
    *out = find(r, onnx_text(g->output[0]->name));
    if (!*out)
        return fail(why, E_FILE, "%s: nothing defines its output %.80s", r->file,
                    onnx_text(g->output[0]->name));
    return copy_name(r->graph->output_name, r, (*out)->name, why);
}

/* What no operator need look at: inputs are there, and only the first output is read. */
static int check_edges(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    for (size_t k = 1; k < n->n_output; k++) {
        const struct onnx_value *v = find(r, onnx_text(n->output[k]));
        if (v && v->uses)
            return fail(why, E_UNSUPPORTED, "its output %zu, %.80s, is read: only the first is supported", k,
                        v->name);
    }
    if (!*onnx_text(n->output[0]))
        return fail(why, E_FILE, "its first output has no name");
    for (size_t i = 0; i < n->n_input; i++) {
        const struct onnx_value *v = onnx_input(r, n, i);
        if (*onnx_text(n->input[i]) && (!v || !v->ready))
            return fail(why, E_FILE, "input %.80s is defined by no node before it", n->input[i]);
    }
    return 0;
}

static int import_node(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    int rc = check_edges(r, n, why);
    if (!rc)
        rc = onnx_import_node(r, n, why);
    if (!rc)
        return 0;
    const char *name = *onnx_text(n->name) ? n->name : n->n_output ? onnx_text(n->output[0]) : "";
    return fail_prefix(why, "%.200s: node %.80s (%.40s)", r->file, name, onnx_text(n->op_type));
}

static int read_graph(struct onnx_reader *r, struct fail *why)
{
    const Onnx__GraphProto *g = r->model->graph;
    struct onnx_value *output = NULL;
    int rc, layer;
    if ((rc = collect_values(r, g, why)) || (rc = read_input(r, why)) || (rc = find_output(r, &output, why)))
        return rc;
    mark_needed(r, g, output);
    for (size_t i = 0; i < g->n_node && !rc; i++)
        if (r->needed[i])
            rc = import_node(r, g->node[i], why);
    if (rc)
        return rc;
    if (output->tensor || !output->ready)
        return fail(why, E_UNSUPPORTED, "%s: its output %.80s does not depend on its input", r->file,
                    output->name);
    if ((rc = onnx_layer_of(r, output, &layer, why)))
        return fail_prefix(why, "%.200s: its output", r->file);
    /* Needed nodes all lead to the output, so the layer that gives it is the last. */
    if (layer != r->graph->count - 1 || layer == GRAPH_INPUT)
        return fail(why, E_UNSUPPORTED, "%s: no layer between its input and its output", r->file);
    return 0;
}

static void reader_close(struct onnx_reader *r)
{
    while (r->made) {
        struct onnx_made *next = r->made->next;
        free(r->made);
        r->made = next;
    }
    graph_free(&r->graph);
    free(r->values);
    free(r->needed);
}

int onnx_parse(struct graph **out, const char *name, const void *bytes, size_t size, struct fail *why)
{
    struct onnx_reader r = {.file = name};
    struct onnx_file *file;
    int rc = onnx_file_open(&file, name, bytes, size, why);
    *out = NULL;
    if (rc)
        return rc;
    r.model = onnx_file_model(file);
    if ((rc = read_versions(&r, why)) || (rc = read_graph(&r, why)) || (rc = graph_finish(r.graph, why)) ||
        (rc = onnx_meta_read(r.graph, r.model, why)))
        goto out;
    *out = r.graph;
    r.graph = NULL;
out:
    reader_close(&r);
    onnx_file_close(&file);
    return rc;
}
