/* Fresh weights: every parameter that has no data yet is drawn, or filled with what its layer begins with. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/layer.h"
#include "engine/layers/settings.h"
#include "engine/rng.h"

/* At once, or behind a batch norm, which changes nothing about what relu lets through. */
static bool relu_follows(const struct graph *g, int index)
{
    const struct graph_node *n = &g->nodes[index];
    if (n->type->activation && n->type->activation(n->settings) == MAP_RELU)
        return true;
    for (int i = index + 1; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].input_count; k++) {
            const struct graph_node *reader = &g->nodes[i];
            if (reader->inputs[k] == index &&
                (!strcmp(reader->type->name, "relu") ||
                 (!strcmp(reader->type->name, "batchnorm") && relu_follows(g, i))))
                return true;
        }
    return false;
}

/* He: normal, variance 2 / fan_in (https://arxiv.org/abs/1502.01852). Xavier: uniform in
 * +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010). */
static void draw(float *data, int64_t n, const struct layer_param *p, bool he, struct rng *r)
{
    double deviation = sqrt(2.0 / (double)p->fan_in);
    double bound = sqrt(6.0 / (double)(p->fan_in + p->fan_out));
    for (int64_t i = 0; i < n; i++)
        data[i] = (float)(he ? deviation * rng_normal(r) : bound * (2 * rng_uniform(r) - 1));
}

static int init_node(struct graph *g, int index, uint64_t seed, struct fail *why)
{
    struct graph_node *n = &g->nodes[index];
    struct layer_param want[GRAPH_PARAMS] = {{0}};
    struct shape in[GRAPH_INPUTS];
    int rc = graph_input_shapes(g, index, in, why);
    if (rc || !n->type->params)
        return rc;
    n->type->params(n->settings, in, want);
    for (int i = 0; i < n->param_count; i++) {
        int64_t size = shape_size(want[i].shape);
        if (n->params[i].data)
            continue;
        if (!(n->params[i].data = calloc((size_t)size, sizeof(float))))
            return fail(why, E_MEMORY, "no memory for %s", n->params[i].name);
        /* One generator a parameter: drawing one does not depend on which others have data. */
        struct rng r = rng_seed(rng_hash(seed, (uint64_t)index, (uint64_t)i, 0));
        bool he = want[i].init == INIT_AUTO ? relu_follows(g, index) : want[i].init == INIT_HE;
        if (want[i].role == PARAM_WEIGHT)
            draw(n->params[i].data, size, &want[i], he, &r);
        for (int64_t k = 0; want[i].role != PARAM_WEIGHT && k < size; k++)
            n->params[i].data[k] = want[i].fill;
    }
    return 0;
}

int graph_init(struct graph *g, uint64_t seed, struct fail *why)
{
    int rc = graph_finish(g, why);
    for (int i = 0; !rc && i < g->count; i++)
        rc = init_node(g, i, seed, why);
    return rc;
}
