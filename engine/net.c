/* A net runs: forward, loss, backward, step. The order of operations is the plan's (plan.c), the arithmetic the
 * backend's. Opening is net_open.c. */
#include "engine/net.h"

#include <math.h>
#include <string.h>

#include "engine/loss_type.h"
#include "engine/net_inside.h"
#include "engine/optim.h"

/* ---- running ---- */

float *net_input(struct net *net)
{
    return net->input;
}

int64_t net_input_size(const struct net *net)
{
    return net->input_size;
}

const float *net_output(const struct net *net)
{
    return net->output;
}

int64_t net_output_size(const struct net *net)
{
    return net->output_size;
}

int net_max_rows(const struct net *net)
{
    return net->o.max_rows;
}

static int check_rows(const struct net *net, int rows, struct fail *why)
{
    if (rows < 0 || rows > net->o.max_rows)
        return fail(why, E_USAGE, "%d rows: the net was opened for 0..%d", rows, net->o.max_rows);
    return 0;
}

static void to_device(struct net *net, void *device, const float *host, int64_t n)
{
    if (!net->be->ops->host)
        net->be->ops->upload(net->be, device, host, n);
}

static void to_host(struct net *net, float *host, const void *device, int64_t n)
{
    if (!net->be->ops->host)
        net->be->ops->download(net->be, host, device, n);
}

static void run_forward(struct net *net, const struct plan *plan, struct span *s)
{
    s->begin = 0;
    s->end = plan->forward;
    to_device(net, net->memory.store[STORE_INPUT], net->input, s->rows * net->input_size);
    if (s->rows)
        net->be->ops->steps(net->be, plan, &net->memory, s);
    to_host(net, net->output, net->memory.store[STORE_OUTPUT], s->rows * net->output_size);
}

int net_forward(struct net *net, int rows, struct fail *why)
{
    struct span s = {.rows = rows};
    int rc = check_rows(net, rows, why);
    if (!rc && net->o.mode == NET_EXPLAIN)
        rc = fail(why, E_USAGE, "the net was opened to explain: net_explain gives its outputs");
    if (rc)
        return rc;
    run_forward(net, &net->infer, &s);
    return net_sync(net, why);
}

/* ---- saliency ---- */

static int check_outputs(const struct net *net, int rows, const int32_t *outputs, struct fail *why)
{
    for (int i = 0; outputs && i < rows; i++)
        if (outputs[i] < -1 || outputs[i] >= net->output_size)
            return fail(why, E_USAGE, "row %d: output %d to be explained, the network's are 0..%lld", i,
                        outputs[i], (long long)net->output_size - 1);
    return 0;
}

/* out = d output / d input * input, row by row. */
int net_explain(struct net *net, int rows, const int32_t *outputs, float *out, struct fail *why)
{
    struct span s = {.rows = rows};
    int64_t n = rows * net->input_size;
    int rc = check_rows(net, rows, why);
    if (!rc && net->o.mode != NET_EXPLAIN)
        rc = fail(why, E_USAGE, "the net was not opened to explain");
    if (!rc)
        rc = check_outputs(net, rows, outputs, why);
    if (rc)
        return rc;
    for (int i = 0; i < rows; i++)
        net->choice[i] = outputs ? (float)outputs[i] : -1;
    to_device(net, net->memory.store[STORE_CHOICE], net->choice, rows);
    run_forward(net, &net->infer, &s); /* the plan's forward steps hold the way back too */
    to_host(net, net->dinput, net->memory.store[STORE_DINPUT], n);
    if ((rc = net_sync(net, why)))
        return rc;
    for (int64_t i = 0; i < n; i++)
        out[i] = net->dinput[i] * net->input[i];
    return 0;
}

/* ---- losses ---- */

static int check_loss(const struct net *net, const struct loss_type *loss, const struct target *t,
                      struct fail *why)
{
    const struct graph_node *last = &net->graph->nodes[net->graph->count - 1];
    bool sigmoid = last->type->activation && last->type->activation(last->settings) == MAP_SIGMOID;
    if (net->o.mode != NET_TRAIN)
        return fail(why, E_USAGE, "a loss needs a net opened for training");
    if (!t->labels == !t->targets)
        return fail(why, E_USAGE, "a loss takes either labels or targets");
    if (loss->takes_logits && (sigmoid || !strcmp(last->type->name, "softmax")))
        return fail(why, E_JOB, "%s takes logits, but the network ends in %s: remove it or use mse",
                    loss->name, sigmoid ? "sigmoid" : "softmax");
    if (net->output_size < loss->least_outputs)
        return fail(why, E_JOB, "%s needs at least %d outputs, the network has %lld: use log_loss or mse",
                    loss->name, loss->least_outputs, (long long)net->output_size);
    return 0;
}

/* Labels as floats, checked: a class index, or for one output 0 or 1 (mse: any value). */
static int put_targets(struct net *net, const struct loss_type *loss, int rows, const struct target *t,
                       struct fail *why)
{
    int64_t k = net->output_size, classes = k > 1 ? k : loss->takes_logits ? 2 : INT32_MAX;
    int64_t n = t->labels ? rows : rows * k;
    for (int i = 0; t->labels && i < rows; i++) {
        if (k > 1 || loss->takes_logits)
            if (t->labels[i] < 0 || t->labels[i] >= classes)
                return fail(why, E_JOB, "row %d has label %d, the network's classes are 0..%lld", i,
                            t->labels[i], (long long)classes - 1);
        net->targets[i] = (float)t->labels[i];
    }
    if (t->targets)
        memcpy(net->targets, t->targets, (size_t)n * sizeof *net->targets);
    to_device(net, net->device_targets, net->targets, n);
    return 0;
}

/* Adds the rows' sums in their order, in double. */
static void add_sums(struct net *net, int rows, struct loss_sum *sum)
{
    const struct backend_ops *ops = net->be->ops;
    double correct = 0;
    if (ops->element == sizeof(double)) { /* the double build: not through float */
        const double *sums = net->device_sums;
        for (int i = 0; i < rows; i++, sums += LOSS_SUMS) {
            sum->loss += sums[0];
            sum->weight += sums[1];
            correct += sums[2];
        }
    } else {
        to_host(net, net->sums, net->device_sums, (int64_t)rows * LOSS_SUMS);
        for (int i = 0; i < rows; i++) {
            sum->loss += (double)net->sums[i * LOSS_SUMS];
            sum->weight += (double)net->sums[i * LOSS_SUMS + 1];
            correct += (double)net->sums[i * LOSS_SUMS + 2];
        }
    }
    sum->correct += (int64_t)correct;
}

static void run_loss(struct net *net, const struct loss_type *loss, int rows, bool labels, void *dx)
{
    struct geometry g = {.loss = {net->output_size, labels}};
    struct call c = {.out = {dx, net->device_sums},
                     .in = {net->memory.store[STORE_OUTPUT], net->device_targets},
                     .g = &g,
                     .row = net->output_size,
                     .rows = rows};
    net->be->ops->run(net->be, loss->op, &c, net->memory.scratch);
}

int net_evaluate(struct net *net, const struct loss_type *loss, int rows, const struct target *t,
                 struct loss_sum *sum, struct fail *why)
{
    struct span s = {.rows = rows};
    int rc = check_rows(net, rows, why);
    if (rc || (rc = check_loss(net, loss, t, why)) || (rc = put_targets(net, loss, rows, t, why)))
        return rc;
    run_forward(net, &net->infer, &s);
    run_loss(net, loss, rows, t->labels != NULL, NULL);
    if ((rc = net_sync(net, why)))
        return rc;
    add_sums(net, rows, sum);
    return 0;
}

static void *doutput(const struct net *net)
{
    const struct plan *p = &net->train;
    size_t at = p->values[p->doutput.id].at;
    return (char *)net->memory.store[STORE_ACTIVATION] + at * net->be->ops->element;
}

int net_accumulate(struct net *net, const struct loss_type *loss, int rows, const struct target *t,
                   int64_t step, int64_t first_row, struct loss_sum *sum, struct fail *why)
{
    struct span s = {.rows = rows, .seed = net->o.seed, .step = (uint64_t)step, .first_row = first_row};
    int rc = check_rows(net, rows, why);
    if (rc || (rc = check_loss(net, loss, t, why)) || (rc = put_targets(net, loss, rows, t, why)))
        return rc;
    run_forward(net, &net->train, &s);
    run_loss(net, loss, rows, t->labels != NULL, doutput(net));
    s.begin = net->train.forward;
    s.end = net->train.count;
    if (rows)
        net->be->ops->steps(net->be, &net->train, &net->memory, &s);
    if ((rc = net_sync(net, why)))
        return rc;
    add_sums(net, rows, sum);
    return 0;
}

int net_step(struct net *net, struct optimizer *opt, double lr, double weight, struct fail *why)
{
    int64_t count = (int64_t)net->elements[STORE_PARAM];
    if (opt->net != net)
        return fail(why, E_USAGE, "the optimiser belongs to another net");
    if (!(weight > 0) || !isfinite(lr))
        return fail(why, E_JOB, "a step with weight %g and learning rate %g", weight, lr);
    struct geometry g = {.update = {.count = count,
                                    .lr = lr,
                                    .scale = 1 / weight,
                                    .momentum = opt->settings.momentum,
                                    .l1 = opt->settings.l1,
                                    .l2 = opt->settings.l2}};
    struct call c = {.out = {net->memory.store[STORE_PARAM], opt->moments},
                     .in = {net->memory.store[STORE_GRADIENT]},
                     .g = &g,
                     .row = count,
                     .rows = 1};
    net->be->ops->run(net->be, opt->type->op, &c, net->memory.scratch);
    net->be->ops->zero(net->be, net->memory.store[STORE_GRADIENT], count);
    opt->steps++;
    return net_sync(net, why);
}
