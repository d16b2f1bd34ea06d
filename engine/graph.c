/* Networks as data: building, copying and checking. What the layers compute is layers/, how files become graphs
 * is files/. Next to read: graph_init.c, layer.h. */
#include "engine/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/layer.h"

enum { NODES_MOST = 10000 };

static int out_of_memory(struct fail *why, const char *what)
{
    return fail(why, E_MEMORY, "no memory for %s", what);
}

int graph_new(struct graph **out, const char *name, struct shape input, struct fail *why)
{
    struct graph *g = calloc(1, sizeof *g);
    if (!g)
        return out_of_memory(why, "a network");
    snprintf(g->name, sizeof g->name, "%s", name);
    snprintf(g->input_name, sizeof g->input_name, "input");
    snprintf(g->output_name, sizeof g->output_name, "output");
    g->input = input;
    *out = g;
    return 0;
}

static void node_free(struct graph_node *n)
{
    if (n->settings && n->type->settings)
        setting_free(n->type->settings, n->settings);
    free(n->settings);
    for (int i = 0; i < GRAPH_PARAMS; i++)
        free(n->params[i].data);
}

void graph_free(struct graph **gp)
{
    struct graph *g = *gp;
    if (!g)
        return;
    for (int i = 0; i < g->count; i++)
        node_free(&g->nodes[i]);
    for (int i = 0; g->labels && i < g->label_count; i++)
        free(g->labels[i]);
    for (int i = 0; i < 2 * g->metadata_count; i++)
        free(g->metadata[i]);
    free(g->nodes);
    free(g->labels);
    free(g->metadata);
    free(g);
    *gp = NULL;
}

/* ---- nodes ---- */

static int nodes_grow(struct graph *g, struct fail *why)
{
    if (g->count < g->capacity)
        return 0;
    if (g->count >= NODES_MOST)
        return fail(why, E_NETWORK, "%s: more than %d layers", g->name, NODES_MOST);
    int capacity = g->capacity ? 2 * g->capacity : 16;
    struct graph_node *nodes = realloc(g->nodes, (size_t)capacity * sizeof *nodes);
    if (!nodes)
        return out_of_memory(why, "the layers of a network");
    g->nodes = nodes;
    g->capacity = capacity;
    return 0;
}

static void name_by_number(const struct graph *g, const struct layer_type *type, char *name, size_t size)
{
    int number = 1;
    for (int i = 0; i < g->count; i++)
        number += g->nodes[i].type == type;
    do
        snprintf(name, size, "%s%d", type->name, number++);
    while (graph_index(g, name) >= 0);
}

int graph_add(struct graph_node **out, struct graph *g, const char *type, const char *name, struct fail *why)
{
    const struct layer_type *t = layer_find(type);
    struct graph_node node = {.type = t, .input_count = 1};
    int rc;
    if (!t)
        return fail(why, E_UNSUPPORTED, "unknown layer %s; nearest is %s", type, layer_nearest(type));
    if ((rc = nodes_grow(g, why)))
        return rc;
    if (!name)
        name_by_number(g, t, node.name, sizeof node.name);
    else if (!*name || strlen(name) >= sizeof node.name)
        return fail(why, E_NETWORK, "a layer's name has 1 to %d characters, not %zu", GRAPH_NAME - 1,
                    strlen(name));
    else
        memcpy(node.name, name, strlen(name) + 1);
    if (graph_index(g, node.name) >= 0)
        return fail(why, E_NETWORK, "two layers are called %s", node.name);
    node.inputs[0] = g->count ? g->count - 1 : GRAPH_INPUT;
    if (t->settings) {
        if (!(node.settings = calloc(1, t->settings_size)))
            return out_of_memory(why, "a layer's settings");
        if ((rc = setting_defaults(t->settings, node.settings, why))) {
            node_free(&node);
            return rc;
        }
    }
    g->nodes[g->count] = node;
    *out = &g->nodes[g->count++];
    return 0;
}

void graph_drop(struct graph *g, int index)
{
    int input = g->nodes[index].inputs[0];
    node_free(&g->nodes[index]);
    memmove(&g->nodes[index], &g->nodes[index + 1], (size_t)(--g->count - index) * sizeof *g->nodes);
    for (int i = index; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].input_count; k++) {
            int *from = &g->nodes[i].inputs[k];
            *from = *from == index ? input : *from > index ? *from - 1 : *from;
        }
}

int graph_index(const struct graph *g, const char *node_name)
{
    for (int i = 0; i < g->count; i++)
        if (!strcmp(g->nodes[i].name, node_name))
            return i;
    return -1;
}

struct shape graph_output(const struct graph *g)
{
    return g->count ? g->nodes[g->count - 1].shape : g->input;
}

int graph_set_param(struct graph *g, int node, int index, const char *name, struct shape shape,
                    const float *data, struct fail *why)
{
    struct graph_node *n;
    int64_t size = shape_size(shape);
    if (node < 0 || node >= g->count || index < 0 || index >= GRAPH_PARAMS)
        return fail(why, E_NETWORK, "%s has no parameter %d of layer %d", g->name, index, node);
    n = &g->nodes[node];
    if (size < 0 || (uint64_t)size > SIZE_MAX / sizeof *data)
        return fail(why, E_NETWORK, "%s: parameter %s is too large", n->name, name);
    float *copy = malloc((size_t)(size ? size : 1) * sizeof *copy);
    if (!copy)
        return out_of_memory(why, name);
    memcpy(copy, data, (size_t)size * sizeof *copy);
    free(n->params[index].data);
    n->params[index].data = copy;
    n->params[index].shape = shape;
    snprintf(n->params[index].name, sizeof n->params[index].name, "%s", name);
    if (n->param_count <= index)
        n->param_count = index + 1;
    return 0;
}

/* ---- shapes ---- */

/* "conv1 (lenet.yaml:7)" in front of what a layer says. */
static int at_node(const struct graph *g, const struct graph_node *n, struct fail *why)
{
    const char *file = *g->file ? g->file : g->name;
    if (n->line)
        return fail_prefix(why, "%s:%d: %s", file, n->line, n->name);
    return fail_prefix(why, "%s: %s", file, n->name);
}

int graph_input_shapes(const struct graph *g, int index, struct shape in[GRAPH_INPUTS], struct fail *why)
{
    const struct graph_node *n = &g->nodes[index];
    if (n->input_count < n->type->min_inputs || n->input_count > n->type->max_inputs)
        return fail(why, E_NETWORK, "%s takes %d to %d inputs, not %d", n->type->name, n->type->min_inputs,
                    n->type->max_inputs, n->input_count);
    for (int i = 0; i < n->input_count; i++) {
        if (n->inputs[i] != GRAPH_INPUT && (n->inputs[i] < 0 || n->inputs[i] >= index))
            return fail(why, E_NETWORK, "input %d is not an earlier layer", i);
        in[i] = n->inputs[i] == GRAPH_INPUT ? g->input : g->nodes[n->inputs[i]].shape;
    }
    return 0;
}

static int check_param(struct graph_node *n, int i, const struct layer_param *want, struct fail *why)
{
    struct graph_param *p = &n->params[i];
    char is[64], was[64];
    if (!p->name[0] && snprintf(p->name, sizeof p->name, "%s.%s", n->name, want->suffix) >= GRAPH_NAME)
        return fail(why, E_NETWORK, "the name is too long to call a parameter %s.%s", n->name, want->suffix);
    if (p->data && !shape_equal(p->shape, want->shape))
        return fail(why, E_NETWORK, "%s has shape %s, the layer wants %s", p->name,
                    shape_text(p->shape, was, sizeof was), shape_text(want->shape, is, sizeof is));
    p->shape = want->shape;
    p->state = want->role == PARAM_STATE;
    return 0;
}

static int finish_node(struct graph *g, int index, struct fail *why)
{
    struct graph_node *n = &g->nodes[index];
    struct shape in[GRAPH_INPUTS];
    struct layer_param want[GRAPH_PARAMS] = {{0}};
    int rc = graph_input_shapes(g, index, in, why);
    if (rc || (rc = n->type->shape(n->settings, in, n->input_count, &n->shape, why)))
        return rc;
    if (shape_size(n->shape) <= 0 || shape_size(n->shape) > INT32_MAX)
        return fail(why, E_NETWORK, "one row's output is empty or exceeds 2^31 values");
    int count = n->type->params ? n->type->params(n->settings, in, want) : 0;
    if (n->param_count > count)
        return fail(why, E_NETWORK, "%d parameters given, the layer has %d", n->param_count, count);
    n->param_count = count;
    for (int i = 0; i < count; i++) {
        int64_t size = shape_size(want[i].shape);
        if (size <= 0 || size > INT32_MAX)
            return fail(why, E_NETWORK, "%s has more than 2^31 values", want[i].suffix);
        if ((rc = check_param(n, i, &want[i], why)))
            return rc;
    }
    return 0;
}

int graph_finish(struct graph *g, struct fail *why)
{
    int64_t size = shape_size(g->input);
    char text[64];
    if (g->input.rank < 1 || size <= 0 || size > INT32_MAX)
        return fail(why, E_NETWORK, "%s: input %s: expected one to eight sizes of at least 1",
                    *g->file ? g->file : g->name, shape_text(g->input, text, sizeof text));
    if (!g->count)
        return fail(why, E_NETWORK, "%s: a network has at least one layer", *g->file ? g->file : g->name);
    for (int i = 0; i < g->count; i++)
        if (finish_node(g, i, why))
            return at_node(g, &g->nodes[i], why);
    return 0;
}

/* ---- figures ---- */

double graph_flops(const struct graph *g)
{
    double flops = 0;
    struct shape in[GRAPH_INPUTS];
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->nodes[i];
        if (n->type->flops && !graph_input_shapes(g, i, in, NULL))
            flops += n->type->flops(n->settings, in, n->shape);
    }
    return flops;
}

int64_t graph_param_count(const struct graph *g)
{
    int64_t count = 0;
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].param_count; k++)
            count += g->nodes[i].params[k].state ? 0 : shape_size(g->nodes[i].params[k].shape);
    return count;
}

/* ---- what travels with the layers ---- */

int graph_set_labels(struct graph *g, int n, const char *const *labels, struct fail *why)
{
    char **copy = calloc((size_t)(n > 0 ? n : 1), sizeof *copy);
    int rc = copy ? 0 : out_of_memory(why, "labels");
    for (int i = 0; !rc && i < n; i++)
        if (!(copy[i] = strdup(labels[i])))
            rc = out_of_memory(why, "labels");
    char **drop = rc ? copy : g->labels;
    for (int i = 0; drop && i < (rc ? n : g->label_count); i++)
        free(drop[i]);
    free(drop);
    if (!rc) {
        g->labels = copy;
        g->label_count = n;
    }
    return rc;
}

static int metadata_index(const struct graph *g, const char *key)
{
    for (int i = 0; i < g->metadata_count; i++)
        if (!strcmp(g->metadata[2 * i], key))
            return 2 * i;
    return -1;
}

const char *graph_metadata(const struct graph *g, const char *key)
{
    int i = metadata_index(g, key);
    return i < 0 ? NULL : g->metadata[i + 1];
}

int graph_set_metadata(struct graph *g, const char *key, const char *value, struct fail *why)
{
    int i = metadata_index(g, key);
    char *copy = strdup(value), *name = i < 0 ? strdup(key) : NULL;
    char **grown = i < 0 ? realloc(g->metadata, (size_t)(2 * g->metadata_count + 2) * sizeof *grown) : NULL;
    if (grown)
        g->metadata = grown;
    if (!copy || (i < 0 && (!name || !grown))) {
        free(copy);
        free(name);
        return out_of_memory(why, "metadata");
    }
    if (i < 0) {
        i = 2 * g->metadata_count++;
        g->metadata[i] = name;
    } else
        free(g->metadata[i + 1]);
    g->metadata[i + 1] = copy;
    return 0;
}

const char *graph_score_rule(const struct graph *g)
{
    if (*g->output)
        return g->output;
    if (g->count) {
        const struct graph_node *last = &g->nodes[g->count - 1];
        bool sigmoid = last->type->activation && last->type->activation(last->settings) == MAP_SIGMOID;
        if (sigmoid || !strcmp(last->type->name, "softmax"))
            return "none";
    }
    return shape_size(graph_output(g)) >= 2 ? "softmax" : "none";
}

/* ---- copy ---- */

static int copy_node(struct graph *to, const struct graph_node *n, struct fail *why)
{
    struct graph_node *copy;
    int rc = graph_add(&copy, to, n->type->name, n->name, why);
    if (rc)
        return rc;
    memcpy(copy->inputs, n->inputs, sizeof copy->inputs);
    copy->input_count = n->input_count;
    copy->line = n->line;
    copy->shape = n->shape;
    if (n->type->settings && (rc = setting_copy(n->type->settings, copy->settings, n->settings, why)))
        return rc;
    copy->param_count = n->param_count;
    for (int i = 0; i < n->param_count; i++) {
        const struct graph_param *p = &n->params[i];
        if (p->data && (rc = graph_set_param(to, to->count - 1, i, p->name, p->shape, p->data, why)))
            return rc;
        memcpy(copy->params[i].name, p->name, sizeof p->name);
        copy->params[i].shape = p->shape;
        copy->params[i].state = p->state;
    }
    return 0;
}

int graph_copy(struct graph **out, const struct graph *g, struct fail *why)
{
    struct graph *copy;
    int rc = graph_new(&copy, g->name, g->input, why);
    if (rc)
        return rc;
    memcpy(copy->file, g->file, sizeof copy->file);
    memcpy(copy->input_name, g->input_name, sizeof copy->input_name);
    memcpy(copy->output_name, g->output_name, sizeof copy->output_name);
    memcpy(copy->mean, g->mean, sizeof copy->mean);
    memcpy(copy->std, g->std, sizeof copy->std);
    memcpy(copy->output, g->output, sizeof copy->output);
    copy->channels_normalised = g->channels_normalised;
    for (int i = 0; !rc && i < g->count; i++)
        rc = copy_node(copy, &g->nodes[i], why);
    if (!rc && g->labels)
        rc = graph_set_labels(copy, g->label_count, (const char *const *)g->labels, why);
    for (int i = 0; !rc && i < g->metadata_count; i++)
        rc = graph_set_metadata(copy, g->metadata[2 * i], g->metadata[2 * i + 1], why);
    if (rc)
        graph_free(&copy);
    else
        *out = copy;
    return rc;
}
