/* A network that runs: opened from a graph on a backend for a maximum of rows, then forward, and in
 * training backward and step. Allocates nothing after net_open. One thread at a time uses a net; nets on one
 * backend may be used by one thread only. */
#ifndef ENGINE_NET_H
#define ENGINE_NET_H

#include "engine/backend.h"
#include "engine/graph.h"
#include <stdio.h>

#include "engine/rng.h"

struct net;
struct normalise; /* normalise.h */
struct loss_type; /* loss.h */
struct optimizer; /* optim.h */

enum net_mode {
    NET_INFER,
    NET_TRAIN,
    NET_EXPLAIN, /* inference behaviour, and backward to the input alone */
};

struct net_options {
    enum net_mode mode;
    int max_rows;  /* 1 .. 65536 */
    uint64_t seed; /* of fresh weights and of dropout */
    /* NULL: rows come as floats. Else they come as UINT8 and become floats by this table, which is copied, on their way in:
     * a quarter of the memory, and the backend's threads do it. Not for NET_EXPLAIN. */
    const struct normalise *bytes;
};

/* Copies the graph's weights; draws those it lacks. A layer whose operation the backend lacks is
 * E_UNSUPPORTED naming both. */
int net_open(struct net **out, struct backend *be, const struct graph *g, const struct net_options *o,
             struct fail *why);
void net_close(struct net **net);

/* Host memory for max_rows rows of input, NCHW, C order: the caller writes rows 0..n-1, then runs. NULL: the net takes
 * the other. */
float *net_input(struct net *net);
unsigned char *net_input_bytes(struct net *net);
int64_t net_input_size(const struct net *net); /* values in a row */
/* Host memory, [rows][outputs] of the last net_forward or net_loss. */
const float *net_output(const struct net *net);
int64_t net_output_size(const struct net *net); /* floats in a row */
int net_max_rows(const struct net *net);

/* Rows 0..rows-1 of net_input. The bits of a row's output do not depend on its neighbours, its place or the
 * threads. */
int net_forward(struct net *net, int rows, struct fail *why);

/* Saliency: for rows 0..rows-1 of net_input the gradient of one output to the input, times the input, into
 * out[rows][net_input_size], host memory. outputs[row] is that output's index, -1 the largest one (the first of
 * equals); outputs NULL: the largest of every row. net_output holds the outputs. NET_EXPLAIN nets only; as with
 * net_forward the bits of a row depend on that row alone. */
int net_explain(struct net *net, int rows, const int32_t *outputs, float *out, struct fail *why);

/* What the loss is held against. Exactly one of labels and targets. */
struct target {
    const int32_t *labels; /* [rows] class indices */
    const float *targets;  /* [rows][outputs] */
};

struct loss_sum {
    double loss;     /* sum over rows, weighted; divide by weight for the mean */
    double weight;   /* total weight of the rows that counted */
    int64_t correct; /* rows whose largest output is the label (or output >= 0 equals target >= .5 for one
                        output) */
    int64_t counted; /* rows; all but those with an ignored label (loss.h) */
};

/* Forward in inference behaviour (no dropout, running statistics) and the loss, added to *sum. NET_TRAIN nets
 * only. */
int net_evaluate(struct net *net, const struct loss_type *loss, int rows, const struct target *t,
                 struct loss_sum *sum, struct fail *why);
/* Forward, loss and backward of one micro-batch; parameter gradients ADD to what is there, *sum too. `step`
 * and `first_row` (of this micro-batch in the optimiser's step) seed dropout. */
int net_accumulate(struct net *net, const struct loss_type *loss, int rows, const struct target *t,
                   int64_t step, int64_t first_row, struct loss_sum *sum, struct fail *why);
/* Divides the gradients by weight, clips, decays, updates the parameters with rate lr, zeroes the gradients.
 * No row counted (weight 0), or a norm to be clipped that is not finite: E_JOB, and nothing has changed.
 */
int net_step(struct net *net, struct optimizer *opt, double lr, double weight, struct fail *why);

/* Parameters, gradients and state as named tensors of host copies, for checkpoints, goldens and tests. Order
 * is the graph's. */
int net_param_count(const struct net *net);
const char *net_param_name(const struct net *net, int i);
struct shape net_param_shape(const struct net *net, int i);
int net_param_get(struct net *net, int i, float *values, struct fail *why);
int net_param_set(struct net *net, int i, const float *values, struct fail *why);
int net_gradient_get(struct net *net, int i, float *values, struct fail *why);
/* Copies the parameters and state into the graph it was opened from (or an equal one), for export. */
int net_save(struct net *net, struct graph *g, struct fail *why);

/* SHA-256 hex (65 bytes) of the plan: shapes, rows, instruction set, library versions. Equal digests give
 * equal bits. */
void net_digest(const struct net *net, char out[65]);
/* The steps in words with shapes, GFLOP and memory, for `inspect --plan`. */
void net_print_plan(const struct net *net, FILE *out);
size_t net_memory(const struct net *net); /* bytes in all arenas */

#endif
