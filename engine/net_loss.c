/* The loss of a net's outputs: its settings, what it is held against, its sums. The losses are loss.c's, their
 * formulas ref/losses.h's. Next to read: net.c, which calls this. */
#include <string.h>

#include "engine/loss_type.h"
#include "engine/net_inside.h"

int net_set_loss(struct net *net, const struct loss_type *loss, const struct loss_settings *s,
                 struct fail *why)
{
    const struct backend_ops *ops = net->be->ops;
    if (net->o.mode != NET_TRAIN)
        return fail(why, E_USAGE, "a loss needs a net opened for training");
    int rc = loss_check(loss, s, net->output_size, why);
    if (rc)
        return rc;
    void *weights = NULL;
    if (s->weights) {
        if (!(weights = ops->alloc(net->be, (size_t)net->output_size, why)))
            return -E_MEMORY;
        ops->upload(net->be, weights, s->weights, net->output_size);
    }
    ops->free(net->be, net->loss_weights);
    net->loss = loss;
    net->loss_settings = *s;
    net->loss_settings.weights = NULL; /* the caller's */
    net->loss_weights = weights;
    return net_sync(net, why);
}

static const struct loss_settings *settings_of(const struct net *net, const struct loss_type *loss)
{
    static const struct loss_settings none;
    return loss == net->loss ? &net->loss_settings : &none;
}

static int check_loss(const struct net *net, const struct loss_type *loss, const struct target *t,
                      struct fail *why)
{
    const struct graph_node *last = &net->graph->nodes[net->graph->count - 1];
    bool sigmoid = last->type->activation && last->type->activation(last->settings) == MAP_SIGMOID;
    if (net->o.mode != NET_TRAIN)
        return fail(why, E_USAGE, "a loss needs a net opened for training");
    if (!t->labels == !t->targets)
        return fail(why, E_USAGE, "%s takes either labels or targets", loss->name);
    if (loss->takes_logits && (sigmoid || !strcmp(last->type->name, "softmax")))
        return fail(why, E_JOB, "%s takes logits, but the network ends in %s (%s): remove it or use mse",
                    loss->name, sigmoid ? "sigmoid" : "softmax", last->name);
    if (net->output_size < loss->least_outputs)
        return fail(why, E_JOB, "%s needs at least %d outputs, the network has %lld: use log_loss or mse",
                    loss->name, loss->least_outputs, (long long)net->output_size);
    return 0;
}

/* A class index, or for one output 0 or 1 (mse: any value), or what does not count. */
static int check_labels(const struct net *net, const struct loss_type *loss, const int32_t *labels, int rows,
                        struct fail *why)
{
    const struct loss_settings *s = settings_of(net, loss);
    int64_t k = net->output_size, classes = k > 1 ? k : 2;
    if (k == 1 && !loss->takes_logits)
        return 0;
    for (int i = 0; i < rows; i++)
        if ((labels[i] < 0 || labels[i] >= classes) && !(s->ignores && labels[i] == s->ignored_label))
            return fail(why, E_JOB, "%s: row %d has label %d, the network's classes are 0..%lld", loss->name,
                        i, labels[i], (long long)classes - 1);
    return 0;
}

int net_loss_begin(struct net *net, const struct loss_type *loss, int rows, const struct target *t,
                   struct fail *why)
{
    int64_t n = t->labels ? rows : rows * net->output_size;
    int rc = check_loss(net, loss, t, why);
    if (!rc && t->labels)
        rc = check_labels(net, loss, t->labels, rows, why);
    if (rc)
        return rc;
    for (int i = 0; t->labels && i < rows; i++)
        net->targets[i] = (float)t->labels[i];
    if (t->targets)
        memcpy(net->targets, t->targets, (size_t)n * sizeof *net->targets);
    net_upload(net, net->device_targets, net->targets, n);
    return 0;
}

void net_loss_run(struct net *net, const struct loss_type *loss, int rows, bool labels, void *dx)
{
    const struct loss_settings *s = settings_of(net, loss);
    struct geometry g = {.loss = {.outputs = net->output_size,
                                  .labels = labels,
                                  .ignores = s->ignores,
                                  .ignored = s->ignored_label,
                                  .smoothing = s->label_smoothing}};
    struct call c = {.out = {dx, net->device_sums},
                     .in = {net->memory.store[STORE_OUTPUT], net->device_targets,
                            loss == net->loss ? net->loss_weights : NULL},
                     .g = &g,
                     .row = net->output_size,
                     .rows = rows};
    net->be->ops->run(net->be, loss->op, &c, net->memory.scratch);
    if (net->be->ops->element == sizeof *net->sums) /* the double build: not through float */
        net_download(net, net->sums, net->device_sums, (int64_t)rows * LOSS_SUMS);
}

static void add_row(struct loss_sum *sum, double loss, double weight, double correct, double counted)
{
    sum->loss += loss;
    sum->weight += weight;
    sum->correct += correct > 0;
    sum->counted += counted > 0;
}

/* Adds the rows' sums in their order, in double. For when the backend has been waited for. */
void net_loss_add(struct net *net, int rows, struct loss_sum *sum)
{
    if (net->be->ops->element == sizeof(double)) {
        const double *s = net->device_sums;
        for (int i = 0; i < rows; i++, s += LOSS_SUMS)
            add_row(sum, s[0], s[1], s[2], s[3]);
        return;
    }
    const float *s = net->sums;
    for (int i = 0; i < rows; i++, s += LOSS_SUMS)
        add_row(sum, (double)s[0], (double)s[1], (double)s[2], (double)s[3]);
}
