/* A net's parameters, gradients and state as named tensors on the host, and the plan's digest and words.
 * Running is net.c. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "engine/net_inside.h"

int net_param_count(const struct net *net)
{
    return net->param_count;
}

static const struct graph_param *described(const struct net *net, int i)
{
    const struct net_param *p = &net->params[i];
    return &net->graph->nodes[p->node].params[p->index];
}

const char *net_param_name(const struct net *net, int i)
{
    return described(net, i)->name;
}

struct shape net_param_shape(const struct net *net, int i)
{
    return described(net, i)->shape;
}

static int check_index(const struct net *net, int i, struct fail *why)
{
    if (i < 0 || i >= net->param_count)
        return fail(why, E_USAGE, "parameter %d of %d", i, net->param_count);
    return 0;
}

static void *at(const struct net *net, enum store store, const struct net_param *p)
{
    return (char *)net->memory.store[store] + p->at * net->be->ops->element;
}

int net_param_get(struct net *net, int i, float *values, struct fail *why)
{
    if (check_index(net, i, why))
        return -E_USAGE;
    const struct net_param *p = &net->params[i];
    net->be->ops->download(net->be, values, at(net, p->store, p), p->size);
    return net_sync(net, why);
}

int net_param_set(struct net *net, int i, const float *values, struct fail *why)
{
    if (check_index(net, i, why))
        return -E_USAGE;
    const struct net_param *p = &net->params[i];
    net->be->ops->upload(net->be, at(net, p->store, p), values, p->size);
    return net_sync(net, why);
}

int net_gradient_get(struct net *net, int i, float *values, struct fail *why)
{
    if (check_index(net, i, why))
        return -E_USAGE;
    const struct net_param *p = &net->params[i];
    if (net->o.mode != NET_TRAIN || p->store != STORE_PARAM)
        return fail(why, E_USAGE, "%s has no gradient", net_param_name(net, i));
    net->be->ops->download(net->be, values, at(net, STORE_GRADIENT, p), p->size);
    return net_sync(net, why);
}

int net_save(struct net *net, struct graph *g, struct fail *why)
{
    if (g->count != net->graph->count)
        return fail(why, E_USAGE, "%s has %d layers, the net was opened from one with %d", g->name, g->count,
                    net->graph->count);
    for (int i = 0; i < net->param_count; i++) {
        const struct net_param *p = &net->params[i];
        const struct graph_param *d = described(net, i);
        struct graph_node *n = &g->nodes[p->node];
        if (p->index >= n->param_count || !shape_equal(n->params[p->index].shape, d->shape))
            return fail(why, E_USAGE, "%s: parameter %s differs from the net's %s", g->name, n->name,
                        d->name);
        if (!n->params[p->index].data &&
            !(n->params[p->index].data = malloc((size_t)p->size * sizeof(float))))
            return fail(why, E_MEMORY, "no memory for %s", d->name);
        net->be->ops->download(net->be, n->params[p->index].data, at(net, p->store, p), p->size);
    }
    return net_sync(net, why);
}

/* ---- the plan in words ---- */

static void print_memory(const struct net *net, FILE *out)
{
    char text[32];
    for (int i = 0; i < STORES; i++) {
        size_t elements = i == STORE_ACTIVATION ? net->activations : net->elements[i];
        if (elements)
            fprintf(out, "%s %s, ", plan_store_name((enum store)i),
                    plan_bytes_text((double)elements * (double)net->be->ops->element, text, sizeof text));
    }
    fprintf(out, "scratch %s; ", plan_bytes_text((double)net->scratch, text, sizeof text));
    fprintf(out, "in all %s\n", plan_bytes_text((double)net_memory(net), text, sizeof text));
}

void net_print_plan(const struct net *net, FILE *out)
{
    static const char *const modes[] = {
        [NET_INFER] = "inference", [NET_TRAIN] = "training", [NET_EXPLAIN] = "saliency"};
    const struct plan *train = &net->train, *infer = &net->infer;
    fprintf(out, "%s\nnetwork %.6f GFLOP a row, forward\n", backend_describe(net->be),
            graph_flops(net->graph) / 1e9);
    fprintf(out, "%s, %d lane%s, shards of %d rows\n",
            modes[net->o.mode == NET_EXPLAIN ? NET_EXPLAIN : NET_INFER], infer->lanes,
            infer->lanes > 1 ? "s" : "", infer->rows);
    plan_print(infer, net->graph, net->be, out);
    if (net->o.mode == NET_TRAIN) {
        fprintf(out, "%s, %d lane%s, all rows in every step\n", modes[NET_TRAIN], train->lanes,
                train->lanes > 1 ? "s" : "");
        plan_print(train, net->graph, net->be, out);
    }
    print_memory(net, out);
}

size_t net_memory(const struct net *net)
{
    size_t elements = net->activations;
    for (int i = 0; i < STORES; i++)
        elements += net->elements[i];
    return elements * net->be->ops->element + net->scratch;
}

void net_digest(const struct net *net, char out[65])
{
    unsigned char hash[EVP_MAX_MD_SIZE] = {0};
    unsigned length = 0;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    memset(out, 0, 65);
    if (!f)
        return;
    fprintf(f, "%s, %d and %d lanes\nrows %d\n", net->be->arithmetic, net->infer.lanes, net->train.lanes,
            net->o.max_rows);
    plan_list(&net->infer, net->graph, f);
    plan_list(&net->train, net->graph, f);
    fclose(f);
    EVP_Digest(text, size, hash, &length, EVP_sha256(), NULL);
    for (unsigned i = 0; i < length && i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
    free(text);
}
