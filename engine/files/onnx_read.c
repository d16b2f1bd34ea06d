/* ONNX file to graph: the model around the operators. Names are resolved in one sorted table; the nodes that
 * the output depends on are imported in the file's order, which must be topological. Shapes and attributes of
 * a node are its operator's affair. Next to read: onnx_operators.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"

/* Bytes that constants computed while reading may take: so much, and so often the file's size. */
enum { ROOM_LEAST = 16 << 20, ROOM_FACTOR = 4 };

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
        !onnx_type_is_float(type->tensor_type->elem_type) || !type->tensor_type->shape)
        return fail(why, E_UNSUPPORTED, "%s: input %.80s is not a tensor of FLOAT with a shape", r->file,
                    in->name);
    const Onnx__TensorShapeProto *shape = type->tensor_type->shape;
    if (shape->n_dim < (size_t)r->lead + 1 || shape->n_dim > SHAPE_DIMS)
        return fail(why, E_UNSUPPORTED, "%s: input %.80s has %zu dimensions, expected %d to %d: rows first",
                    r->file, in->name, shape->n_dim, r->lead + 1, SHAPE_DIMS);
    row->rank = (int)shape->n_dim - r->lead;
    for (size_t i = 0; i < shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        bool number =
            d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value > 0;
        if ((int)i < r->lead)
            r->fixed_batch = number ? d->dim_value : 0;
        else if (number)
            row->dim[(int)i - r->lead] = d->dim_value;
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
        const struct onnx_value *v = onnx_find(r, onnx_text(g->input[i]->name));
        if (v && onnx_is_constant(v))
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
    *out = onnx_find(r, onnx_text(g->output[0]->name));
    if (!*out)
        return fail(why, E_FILE, "%s: nothing defines its output %.80s", r->file,
                    onnx_text(g->output[0]->name));
    return copy_name(r->graph->output_name, r, (*out)->name, why);
}

/* What no operator need look at: inputs are there, and only the first output is read. */
static int check_edges(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    for (size_t k = 1; k < n->n_output; k++) {
        const struct onnx_value *v = onnx_find(r, onnx_text(n->output[k]));
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

static int import_node(struct onnx_reader *r, size_t i, struct fail *why)
{
    const Onnx__NodeProto *n = r->model->graph->node[i];
    bool matched = r->patterns[i].pattern != NULL;
    int rc = matched ? 0 : check_edges(r, n, why);
    if (!rc)
        rc = matched ? onnx_import_pattern(r, n, &r->patterns[i], why) : onnx_import_node(r, n, why);
    if (!rc)
        return 0;
    const char *name = *onnx_text(n->name) ? n->name : n->n_output ? onnx_text(n->output[0]) : "";
    return fail_prefix(why, "%.200s: node %.80s (%.40s)", r->file, name, onnx_text(n->op_type));
}

static int read_graph(struct onnx_reader *r, struct onnx_whole *constant, struct fail *why)
{
    const Onnx__GraphProto *g = r->model->graph;
    struct onnx_value *output = NULL;
    int rc, layer;
    if ((rc = onnx_collect_values(r, g, why)) || (rc = read_input(r, why)) ||
        (rc = find_output(r, &output, why)))
        return rc;
    onnx_mark_needed(r, g, output);
    rc = onnx_find_patterns(r, why);
    for (size_t i = 0; i < g->n_node && !rc; i++)
        if (r->needed[i])
            rc = import_node(r, i, why);
    if (rc)
        return rc;
    if (onnx_is_constant(output) && constant)
        return onnx_want_floats(output, "the output", &constant->constant, &constant->shape, why);
    if (onnx_is_constant(output) || !output->ready)
        return fail(why, E_UNSUPPORTED, "%s: its output %.80s does not depend on its input", r->file,
                    output->name);
    if ((rc = onnx_layer_of(r, output, &layer, why)))
        return fail_prefix(why, "%.200s: its output", r->file);
    /* Needed nodes all lead to the output, so the layer that gives it is the last. */
    if (layer == GRAPH_INPUT && constant && constant->wanted) /* a network is at least one layer */
        return onnx_add_view(r, NULL, layer, r->graph->input, why);
    if (layer != r->graph->count - 1 || layer == GRAPH_INPUT)
        return fail(why, E_UNSUPPORTED, "%s: no layer between its input and its output", r->file);
    return 0;
}

static void reader_close(struct onnx_reader *r)
{
    onnx_made_free(r);
    graph_free(&r->graph);
    free(r->values);
    free(r->needed);
    free(r->patterns);
}

int onnx_parse_whole(struct graph **out, const char *name, const void *bytes, size_t size,
                     struct onnx_whole *whole, struct fail *why)
{
    struct onnx_reader r = {
        .file = name, .lead = !(whole && whole->wanted), .room = ROOM_LEAST + ROOM_FACTOR * size};
    struct onnx_file *file;
    int rc = onnx_file_open(&file, name, bytes, size, why);
    *out = NULL;
    if (rc)
        return rc;
    r.model = onnx_file_model(file);
    if ((rc = read_versions(&r, why)) || (rc = read_graph(&r, whole, why)))
        goto out;
    if (whole && whole->constant)
        goto out;
    if ((rc = graph_finish(r.graph, why)) || (rc = onnx_meta_read(r.graph, r.model, why)))
        goto out;
    *out = r.graph;
    r.graph = NULL;
out:
    reader_close(&r);
    onnx_file_close(&file);
    return rc;
}

int onnx_parse(struct graph **out, const char *name, const void *bytes, size_t size, struct fail *why)
{
    return onnx_parse_whole(out, name, bytes, size, NULL, why);
}
