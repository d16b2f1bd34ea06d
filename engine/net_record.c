/* A net's layers become a plan: each is run once with a recorder, forward and, for training or an explanation, backward;
 * then the passes. Called by net_open.c. Next to read: recorder.c, plan.c. */
#include <stdlib.h>

#include "engine/net_inside.h"
#include "engine/normalise.h"

int64_t net_table_size(const struct normalise *n)
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
        record_bytes(r, rec->input, r->plan->input, plan_value(r, SHAPE(net_table_size(n)), STORE_TABLE, 0),
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
int net_make_plan(struct net *net, struct plan *plan, bool training, struct fail *why)
{
    if (net->be->ops->lane_kernels && net->o.max_rows >= FEW_ROWS) {
        int rc = try_plan(net, plan, 16, training, why);
        if (rc != -E_UNSUPPORTED)
            return rc;
        plan_free(plan);
    }
    return try_plan(net, plan, 1, training, why);
}
