/* A net's insides, for net_open.c, net.c, net_params.c, optim.c and tests. */
#ifndef ENGINE_NET_INSIDE_H
#define ENGINE_NET_INSIDE_H

#include "engine/net.h"
#include "engine/plan.h"

/* A parameter or state of the net: where it is in its store. */
struct net_param {
    int node, index;  /* in the graph */
    enum store store; /* STORE_PARAM or STORE_STATE */
    size_t at;
    int64_t size;
};

struct net {
    struct backend *be;
    struct graph *graph; /* own copy, weights included until net_open has uploaded them */
    struct net_options o;
    struct net_param *params;
    int param_count;
    size_t elements[STORES]; /* of each store */
    struct memory memory;
    size_t activations, scratch; /* elements, bytes: of all pieces together */
    struct plan infer, train;    /* train: of NET_TRAIN nets alone; infer of NET_EXPLAIN nets goes back too */
    float *input, *output;       /* host; the backend's own memory where that is the host's */
    int64_t input_size, output_size;
    float *targets, *sums;  /* host, as the above */
    float *choice, *dinput; /* of NET_EXPLAIN nets; host, as the above */
    void *device_targets, *device_sums;
};

/* Waits for the backend and returns the first error since the last time. */
static inline int net_sync(struct net *net, struct fail *why)
{
    return net->be->ops->sync ? net->be->ops->sync(net->be, why) : 0;
}

/* What an optimiser gives net_step: one operation over all parameters. */
struct optimizer {
    const struct optim_type *type;
    struct net *net;
    struct optim_settings_copy {
        double momentum, l1, l2;
    } settings;
    void *moments; /* type->moments times the parameter store */
    int64_t steps;
};

struct optim_type {
    const char *name;
    enum op op;
    int moments;
};

extern const struct optim_type optim_types[]; /* ends with a NULL name */

#endif
