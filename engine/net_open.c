/* Opening a net: parameters placed, layers recorded to plans, memory made. Running is net.c; what a plan is,
 * plan.h. Next to read: recorder.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/net_inside.h"
#include "engine/normalise.h"

enum { ROWS_MOST = 65536 };

/* ---- opening: parameters ---- */

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

/* ---- opening: recording ---- */

/* Floats that say what bytes become. */
static int64_t table_size(const struct normalise *n)
{
    return 256 * (n->identity ? 1 : n->channels);
}

/* The values of a graph's nodes while one plan is recorded. */
struct recording {
    struct layer *layers;
    struct value *outputs, *gradients; /* by node */
    struct value input, dinput;        /* in the plan's layout; dinput: none, but in NET_EXPLAIN nets */
};

static void record_params(struct recorder *r, const struct net *net, struct layer *l)
{
    for (int i = 0; i < net->param_count; i++) {
        const struct net_param *p = &net->params[i];
        if (p->node != l->node)
            continue;
        struct shape shape = net->graph->nodes[p->node].params[p->index].shape;
        l->w[p->index] = plan_value(r, shape, p->store, p->at);
        if (r->training && p->store == STORE_PARAM)
            l->dw[p->index] = plan_value(r, shape, STORE_GRADIENT, p->at);
    }
}

/* The input as the caller writes it, and as the first layer reads it. */
static void record_input(struct recorder *r, const struct net *net, struct recording *rec)
{
    struct shape row = net->graph->input;
    const struct normalise *n = net->o.bytes;
    r->plan->input = rec->input = plan_value(r, row, n ? STORE_BYTES : STORE_INPUT, 0);
    if (!n && r->plan->lanes == 1)
        return;
    rec->input = record_temp(r, row);
    if (n)
        record_bytes(r, rec->input, r->plan->input, plan_value(r, SHAPE(table_size(n)), STORE_TABLE, 0),
                     &(struct byte_rows){n->channels, n->plane, n->identity});
    else
        record_to_lanes(r, rec->input, r->plan->input);
}

static void record_forward(struct recorder *r, const struct net *net, struct recording *rec)
{
    const struct graph *g = net->graph;
    bool lanes = r->plan->lanes > 1;
    record_input(r, net, rec);
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->nodes[i];
        struct layer *l = &rec->layers[i];
        struct value input = rec->input;
        *l = (struct layer){.settings = n->settings, .node = i, .inputs = n->input_count, .out = n->shape};
        for (int k = 0; k < n->input_count; k++) {
            l->x[k] = n->inputs[k] == GRAPH_INPUT ? input : rec->outputs[n->inputs[k]];
            l->in[k] = n->inputs[k] == GRAPH_INPUT ? g->input : g->nodes[n->inputs[k]].shape;
        }
        l->y = plan_value(r, n->shape, i == g->count - 1 && !lanes ? STORE_OUTPUT : STORE_ACTIVATION, 0);
        rec->outputs[i] = l->y;
        r->node = i;
        record_params(r, net, l);
        n->type->forward(r, l);
    }
    r->plan->output = rec->outputs[g->count - 1];
    if (lanes) {
        r->plan->output = plan_value(r, g->nodes[g->count - 1].shape, STORE_OUTPUT, 0);
        record_from_lanes(r, r->plan->output, rec->outputs[g->count - 1]);
    }
    r->plan->forward = r->plan->count;
}

/* What the loss leaves: the gradient of the last node. */
static void record_loss(struct recorder *r, const struct net *net, struct recording *rec)
{
    const struct graph *g = net->graph;
    r->plan->doutput = rec->gradients[g->count - 1];
    if (r->rc)
        return;
    r->plan->values[r->plan->doutput.id].writers = 1;
    if (r->plan->lanes > 1) {
        rec->gradients[g->count - 1] = record_temp(r, g->nodes[g->count - 1].shape);
        r->node = g->count - 1;
        record_to_lanes(r, rec->gradients[g->count - 1], r->plan->doutput);
    }
}

static void record_backward(struct recorder *r, const struct net *net, struct recording *rec)
{
    const struct graph *g = net->graph;
    for (int i = g->count - 1; i >= 0 && !r->rc; i--) {
        const struct graph_node *n = &g->nodes[i];
        struct layer *l = &rec->layers[i];
        if (!r->plan->values[rec->gradients[i].id].writers)
            continue; /* a branch that nothing reads */
        l->dy = rec->gradients[i];
        for (int k = 0; k < n->input_count; k++)
            l->dx[k] = n->inputs[k] == GRAPH_INPUT ? rec->dinput : rec->gradients[n->inputs[k]];
        r->node = i;
        n->type->backward(r, l);
    }
}

/* NET_EXPLAIN: back from one output of each row to the input, and no further: parameters have no gradients.
 * All of it goes by rows, so these are forward steps to whoever runs the plan. */
static void record_explanation(struct recorder *r, const struct net *net, struct recording *rec)
{
    const struct graph *g = net->graph;
    int last = g->count - 1;
    bool lanes = r->plan->lanes > 1;
    struct value dinput = plan_value(r, g->input, STORE_DINPUT, 0);
    struct value choice = plan_value(r, SHAPE(1), STORE_CHOICE, 0);
    rec->dinput = lanes ? record_temp(r, g->input) : dinput;
    r->node = last;
    record_pick(r, rec->gradients[last], rec->outputs[last], choice, net->output_size);
    record_backward(r, net, rec);
    r->node = 0;
    if (lanes)
        record_from_lanes(r, dinput, rec->dinput);
    r->plan->forward = r->plan->count;
}

static void record_way_back(struct recorder *r, const struct net *net, struct recording *rec)
{
    const struct graph *g = net->graph;
    for (int i = 0; i < g->count; i++)
        rec->gradients[i] = plan_value(r, g->nodes[i].shape, STORE_ACTIVATION, 0);
    if (r->rc)
        return;
    if (net->o.mode == NET_EXPLAIN) {
        record_explanation(r, net, rec);
    } else {
        record_loss(r, net, rec);
        record_backward(r, net, rec);
    }
}

static int record_plan(struct net *net, struct plan *plan, bool training, struct fail *why)
{
    size_t count = (size_t)net->graph->count;
    struct recording rec = {calloc(count, sizeof *rec.layers),
                            calloc(count, sizeof *rec.outputs),
                            calloc(count, sizeof *rec.gradients),
                            {0},
                            {0}};
    struct recorder r = {.plan = plan, .training = training, .why = why};
    if (!rec.layers || !rec.outputs || !rec.gradients)
        r.rc = fail(why, E_MEMORY, "no memory for a plan");
    if (!r.rc)
        record_forward(&r, net, &rec);
    if (!r.rc && (training || net->o.mode == NET_EXPLAIN))
        record_way_back(&r, net, &rec);
    free(rec.layers);
    free(rec.outputs);
    free(rec.gradients);
    return r.rc;
}

/* Records for so many lanes and passes over the steps; E_UNSUPPORTED when an operation has no kernel there. */
static int try_plan(struct net *net, struct plan *plan, int lanes, bool training, struct fail *why)
{
    plan->lanes = lanes;
    int rc = record_plan(net, plan, training, why);
    if (rc)
        return rc;
    plan_drop_unread(plan);
    if (net->be->ops->joins)
        plan_join(plan);
    plan_alias_copies(plan);
    int shard = training ? 0 : net->be->ops->shard_rows, most = (net->o.max_rows + lanes - 1) / lanes * lanes;
    plan->rows = shard && shard < most ? shard : most;
    plan_choose(plan, net->be);
    if (net->be->ops->halves)
        plan_join_pools(plan);
    if (net->be->ops->joins && !training && lanes > 1)
        plan_join_inverted(plan);
    rc = plan->starved ? fail(why, E_MEMORY, "no memory for a plan")
                       : plan_check(plan, net->be, net->graph, why);
    if (rc)
        return rc;
    plan_segment(plan, shard > 0);
    return plan_place(plan, why);
}

enum { FEW_ROWS = 8 };

/* Sixteen lanes where every operation has them, unless the net is opened for a few rows, which would leave most lanes
 * empty. Never by the rows of a call: a row's bits do not depend on how many others come with it. */
static int make_plan(struct net *net, struct plan *plan, bool training, struct fail *why)
{
    if (net->be->ops->lane_kernels && net->o.max_rows >= FEW_ROWS) {
        int rc = try_plan(net, plan, 16, training, why);
        if (rc != -E_UNSUPPORTED)
            return rc;
        plan_free(plan);
    }
    return try_plan(net, plan, 1, training, why);
}

/* ---- opening: memory ---- */

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
        net->elements[STORE_TABLE] = (size_t)table_size(net->o.bytes);
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
    net->be->ops->upload(net->be, store[STORE_TABLE], net->o.bytes->table[0], table_size(net->o.bytes));
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
        (rc = make_plan(net, &net->infer, false, why)))
        goto out;
    if (o->mode == NET_TRAIN && (rc = make_plan(net, &net->train, true, why)))
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
