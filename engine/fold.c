/* Batch norm as part of the convolution or dense layer before it, for nets whose weights are constants:
 *   (w x + b - mean) s + beta = (s w) x + (b - mean) s + beta,   s = weight / sqrt(variance + epsilon), by filter.
 * Works on a net's own copy of the graph, before recording. Who does it when: net_open.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/graph.h"
#include "engine/layer.h"
#include "engine/layers/settings.h"

static int readers(const struct graph *g, int node)
{
    int n = 0;
    for (int i = node + 1; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].input_count; k++)
            n += g->nodes[i].inputs[k] == node;
    return n;
}

/* The two settings that folding changes, wherever the layer type keeps them. NULL: no weights to fold into. */
struct ending {
    int *activation;
    bool *bias;
};

static struct ending ending_of(struct graph_node *n)
{
    if (!strcmp(n->type->name, "conv")) {
        struct conv_settings *s = n->settings;
        return (struct ending){&s->activation, &s->bias};
    }
    if (!strcmp(n->type->name, "dense")) {
        struct dense_settings *s = n->settings;
        return (struct ending){&s->activation, &s->bias};
    }
    return (struct ending){0};
}

static int add_bias(struct graph_node *n, int64_t filters, struct fail *why)
{
    struct graph_param *b = &n->params[1];
    float *zeros = calloc((size_t)filters, sizeof *zeros);
    if (!zeros)
        return fail(why, E_MEMORY, "no memory for the bias of %s", n->name);
    *b = (struct graph_param){.shape = SHAPE(filters), .data = zeros};
    snprintf(b->name, sizeof b->name, "%.*s.bias", GRAPH_NAME - 6, n->name);
    n->param_count = 2;
    return 0;
}

/* weight [filters][each] and bias [filters] of n, with the batch norm's four parameters. */
static void fold_into(struct graph_node *n, const struct graph_node *norm)
{
    const struct batchnorm_settings *s = norm->settings;
    int64_t filters = n->params[0].shape.dim[0], each = shape_size(n->params[0].shape) / filters;
    for (int64_t k = 0; k < filters; k++) {
        double mean = (double)norm->params[2].data[k], variance = (double)norm->params[3].data[k];
        double scale = (double)norm->params[0].data[k] / sqrt(variance + s->epsilon);
        float *w = n->params[0].data + k * each, *b = n->params[1].data + k;
        for (int64_t i = 0; i < each; i++)
            w[i] = (float)((double)w[i] * scale);
        *b = (float)(((double)*b - mean) * scale + (double)norm->params[1].data[k]);
    }
}

/* 1: done, the batch norm may go; 0: it stays; negative: a failure. */
static int fold_one(struct graph *g, int index, struct fail *why)
{
    struct graph_node *norm = &g->nodes[index];
    if (strcmp(norm->type->name, "batchnorm") || norm->inputs[0] == GRAPH_INPUT)
        return 0;
    struct graph_node *n = &g->nodes[norm->inputs[0]];
    struct ending end = ending_of(n);
    if (!end.bias || *end.activation != MAP_IDENTITY || readers(g, norm->inputs[0]) != 1)
        return 0;
    int rc = *end.bias ? 0 : add_bias(n, n->params[0].shape.dim[0], why);
    if (rc)
        return rc;
    fold_into(n, norm);
    *end.bias = true;
    *end.activation = ((const struct batchnorm_settings *)norm->settings)->activation;
    return 1;
}

int graph_fold(struct graph *g, struct fail *why)
{
    for (int i = 0; i < g->count;) {
        int rc = fold_one(g, i, why);
        if (rc < 0)
            return rc;
        if (rc)
            graph_drop(g, i);
        else
            i++;
    }
    return 0;
}
