/* Opening a net: parameters placed, plans made (net_record.c), memory made. Running is net.c; what a plan is, plan.h.
 * Next to read: net_record.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/net_inside.h"
#include "engine/normalise.h"

enum { ROWS_MOST = 65536 };

/* ---- parameters ---- */

static size_t rounded(size_t elements)
{
    return (elements + 15) / 16 * 16;
}

/* Gives every parameter its place: trained ones and states in a store each. */
static int place_params(struct net *net, struct fail *why)
{
    const struct graph *g = net->graph;
    int count = 0;
    for (int i = 0; i < g->count; i++)
        count += g->nodes[i].param_count;
    if (!(net->params = calloc((size_t)count + 1, sizeof *net->params)))
        return fail(why, E_MEMORY, "no memory for %d parameters", count);
    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->nodes[i].param_count; k++) {
            const struct graph_param *d = &g->nodes[i].params[k];
            enum store store = d->state ? STORE_STATE : STORE_PARAM;
            int64_t size = shape_size(d->shape);
            net->params[net->param_count++] = (struct net_param){i, k, store, net->elements[store], size};
            net->elements[store] += rounded((size_t)size);
        }
    if (net->o.mode == NET_TRAIN)
        net->elements[STORE_GRADIENT] = net->elements[STORE_PARAM];
    return 0;
}

/* ---- memory ---- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int alloc(struct net *net, void **out, size_t elements, struct fail *why)
{
    return (*out = net->be->ops->alloc(net->be, elements, why)) ? 0 : -(int)why->code;
}

/* Host memory that is also the backend's, or a host copy of it. */
static int alloc_host_bytes(struct net *net, void **host, void *device, size_t bytes, struct fail *why)
{
    const struct backend_ops *ops = net->be->ops;
    if (ops->host)
        *host = device;
    else if (ops->host_alloc)
        return (*host = ops->host_alloc(net->be, bytes, why)) ? 0 : -(int)why->code;
    else if (!(*host = calloc(bytes + 1, 1)))
        return fail(why, E_MEMORY, "no memory for %zu bytes of a batch", bytes);
    return 0;
}

static int alloc_host(struct net *net, float **host, void *device, int64_t floats, struct fail *why)
{
    void *memory = NULL;
    int rc = alloc_host_bytes(net, &memory, device, (size_t)floats * sizeof **host, why);
    *host = memory;
    return rc;
}

/* One piece of activations and scratch for each thread where inference goes by shards; training uses the
 * whole as one. */
static void size_pieces(struct net *net)
{
    struct memory *m = &net->memory;
    size_t threads = (size_t)net->be->threads, element = net->be->ops->element;
    bool sharded = net->infer.rows < net->o.max_rows || net->be->ops->shard_rows;
    m->activation_piece = ((size_t)net->infer.activations * element + 4095) / 4096 * 4096 / element;
    m->scratch_piece = larger(plan_scratch(&net->infer, net->be), plan_scratch(&net->train, net->be));
    net->activations = larger(m->activation_piece * (sharded ? threads : 1), (size_t)net->train.activations);
    net->scratch = m->scratch_piece * threads;
}

static void size_input(struct net *net)
{
    size_t values = (size_t)(net->input_size * net->o.max_rows), element = net->be->ops->element;
    if (net->o.bytes) {
        net->elements[STORE_BYTES] = (values + element - 1) / element;
        net->elements[STORE_TABLE] = (size_t)net_table_size(net->o.bytes);
    } else {
        net->elements[STORE_INPUT] = values;
    }
}

/* Where the caller writes rows; what their bytes become. */
static int open_input(struct net *net, struct fail *why)
{
    int64_t values = net->input_size * net->o.max_rows;
    void **store = net->memory.store;
    if (!net->o.bytes)
        return alloc_host(net, &net->input, store[STORE_INPUT], values, why);
    net->be->ops->upload(net->be, store[STORE_TABLE], net->o.bytes->table[0], net_table_size(net->o.bytes));
    void *bytes = NULL;
    int rc = alloc_host_bytes(net, &bytes, store[STORE_BYTES], (size_t)values, why);
    net->bytes = bytes;
    return rc;
}

static int alloc_memory(struct net *net, struct fail *why)
{
    struct memory *m = &net->memory;
    int64_t rows = net->o.max_rows;
    int rc;
    size_pieces(net);
    size_input(net);
    net->elements[STORE_OUTPUT] = (size_t)(net->output_size * rows);
    if (net->o.mode == NET_EXPLAIN) {
        net->elements[STORE_CHOICE] =
            rounded((size_t)rows); /* in lanes a number a row needs no other order */
        net->elements[STORE_DINPUT] = (size_t)(net->input_size * rows);
    }
    for (int i = 0; i < STORES; i++)
        if (!m->store[i] &&
            (rc = alloc(net, &m->store[i], i == STORE_ACTIVATION ? net->activations : net->elements[i], why)))
            return rc;
    size_t scratch = net->scratch / net->be->ops->element;
    if ((rc = alloc(net, &m->scratch, scratch, why)) || (rc = open_input(net, why)) ||
        (rc = alloc_host(net, &net->output, m->store[STORE_OUTPUT], net->output_size * rows, why)))
        return rc;
    if (net->o.mode == NET_EXPLAIN &&
        ((rc = alloc_host(net, &net->choice, m->store[STORE_CHOICE], rows, why)) ||
         (rc = alloc_host(net, &net->dinput, m->store[STORE_DINPUT], net->input_size * rows, why))))
        return rc;
    if (net->o.mode != NET_TRAIN)
        return 0;
    if ((rc = alloc(net, &net->device_targets, (size_t)(net->output_size * rows), why)) ||
        (rc = alloc(net, &net->device_sums, (size_t)(LOSS_SUMS * rows), why)) ||
        (rc = alloc_host(net, &net->targets, net->device_targets, net->output_size * rows, why)))
        return rc;
    return alloc_host(net, &net->sums, net->device_sums, LOSS_SUMS * rows, why);
}

static int check_options(const struct net_options *o, struct fail *why)
{
    if (o->max_rows < 1 || o->max_rows > ROWS_MOST)
        return fail(why, E_USAGE, "%d rows at most: expected 1..%d", o->max_rows, ROWS_MOST);
    return 0;
}

static int check_bytes(const struct net *net, struct fail *why)
{
    const struct normalise *n = net->o.bytes;
    if (n && net->o.mode == NET_EXPLAIN)
        return fail(why, E_USAGE, "a net that explains takes rows of floats, not bytes");
    if (n && n->channels * n->plane != net->input_size)
        return fail(why, E_USAGE, "normalisation of %d x %lld values a row, the network takes %lld",
                    n->channels, (long long)n->plane, (long long)net->input_size);
    return 0;
}

/* Uploads the graph's weights and drops the copy: before the rest is allocated, which then takes its place. */
static int upload_params(struct net *net, struct fail *why)
{
    void **store = net->memory.store;
    int rc = alloc(net, &store[STORE_PARAM], net->elements[STORE_PARAM], why);
    if (!rc)
        rc = alloc(net, &store[STORE_STATE], net->elements[STORE_STATE], why);
    for (int i = 0; !rc && i < net->param_count; i++) {
        struct graph_param *d = &net->graph->nodes[net->params[i].node].params[net->params[i].index];
        rc = net_param_set(net, i, d->data, why);
        free(d->data);
        d->data = NULL;
    }
    return rc;
}

int net_open(struct net **out, struct backend *be, const struct graph *g, const struct net_options *o,
             struct fail *why)
{
    int rc = check_options(o, why);
    if (rc)
        return rc;
    struct net *net = calloc(1, sizeof *net);
    if (!net)
        return fail(why, E_MEMORY, "no memory for a net");
    net->be = be;
    net->o = *o;
    if ((rc = graph_copy(&net->graph, g, why)) || (rc = graph_init(net->graph, o->seed, why)) ||
        (o->mode != NET_TRAIN && (rc = graph_fold(net->graph, why))))
        goto out;
    net->input_size = shape_size(net->graph->input);
    net->output_size = shape_size(graph_output(net->graph));
    if ((rc = check_bytes(net, why)) || (rc = place_params(net, why)) ||
        (rc = net_make_plan(net, &net->infer, false, why)))
        goto out;
    if (o->mode == NET_TRAIN && (rc = net_make_plan(net, &net->train, true, why)))
        goto out;
    if ((rc = upload_params(net, why)) || (rc = alloc_memory(net, why)))
        goto out;
    net->o.bytes = NULL; /* the caller's */
    *out = net;
out:
    if (rc)
        net_close(&net);
    return rc;
}

void net_close(struct net **netp)
{
    struct net *net = *netp;
    if (!net)
        return;
    const struct backend_ops *ops = net->be->ops;
    void *const copies[] = {net->input, net->bytes,  net->output, net->targets,
                            net->sums,  net->choice, net->dinput};
    for (size_t i = 0; !ops->host && i < sizeof copies / sizeof *copies; i++)
        if (ops->host_free)
            ops->host_free(net->be, copies[i]);
        else
            free(copies[i]);
    for (int i = 0; i < STORES; i++)
        ops->free(net->be, net->memory.store[i]);
    ops->free(net->be, net->memory.scratch);
    ops->free(net->be, net->device_targets);
    ops->free(net->be, net->device_sums);
    ops->free(net->be, net->loss_weights);
    plan_free(&net->infer);
    plan_free(&net->train);
    graph_free(&net->graph);
    free(net->params);
    free(net);
    *netp = NULL;
}
