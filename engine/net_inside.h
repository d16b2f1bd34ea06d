/* A net's insides, for net_open.c, net.c, net_params.c, optim.c and tests. */
#ifndef ENGINE_NET_INSIDE_H
#define ENGINE_NET_INSIDE_H

#include "engine/loss.h"
#include "engine/net.h"
#include "engine/optim.h"
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
    unsigned char *bytes;        /* as input; one of the two is NULL */
    int64_t input_size, output_size;
    float *targets, *sums;  /* host, as the above */
    float *choice, *dinput; /* of NET_EXPLAIN nets; host, as the above */
    void *device_targets, *device_sums;
    const struct loss_type *loss; /* that has settings (net_set_loss); NULL: none */
    struct loss_settings loss_settings;
    void *loss_weights; /* the backend's copy; NULL: all 1 */
};

/* A batch's numbers to the backend and back, where its memory is not the host's. */
static inline void net_upload(struct net *net, void *device, const float *host, int64_t n)
{
    if (!net->be->ops->host)
        net->be->ops->upload(net->be, device, host, n);
}

static inline void net_download(struct net *net, float *host, const void *device, int64_t n)
{
    if (!net->be->ops->host)
        net->be->ops->download(net->be, host, device, n);
}

/* Waits for the backend and returns the first error since the last time. */
static inline int net_sync(struct net *net, struct fail *why)
{
    return net->be->ops->sync ? net->be->ops->sync(net->be, why) : 0;
}

/* net_record.c. The plan of a mode, at the lanes that the backend has for its operations; floats of the table that says
 * what bytes become. */
int net_make_plan(struct net *net, struct plan *plan, bool training, struct fail *why);
int64_t net_table_size(const struct normalise *n);

/* net_loss.c. Checks loss and targets against the net and uploads the targets; rows of dx (may be NULL) and of
 * sums; the sums added up. */
int net_loss_begin(struct net *net, const struct loss_type *loss, int rows, const struct target *t,
                   struct fail *why);
void net_loss_run(struct net *net, const struct loss_type *loss, int rows, bool labels, void *dx);
void net_loss_add(struct net *net, int rows, struct loss_sum *sum);

/* An optimiser of one net: what net_step.c gives the operation, and the state that goes on. */
struct optimizer {
    const struct optim_type *type;
    struct net *net;
    struct optim_settings settings;
    int moment_count;
    void *moments; /* moment_count times the parameter store; NULL: none */
    int64_t steps;
    /* For clipping: a sum of squares for each slice of the gradients. NULL without. */
    void *device_squares;
    float *squares; /* host */
    int64_t slices;
};

struct optim_type {
    const char *name;
    enum op op;
    int moments;          /* that it always has */
    double epsilon;       /* PyTorch's default; 0: has none */
    const char *settings; /* its own, by name, with spaces between them */
};

extern const struct optim_type optim_types[]; /* ends with a NULL name */

#endif
