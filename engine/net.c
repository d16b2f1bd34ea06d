/* A net runs: forward, loss, backward. Losses are net_loss.c, the step net_step.c. The order of operations is the
 * plan's (plan.c), the arithmetic the backend's. Opening is net_open.c. */
#include "engine/net.h"

#include "engine/net_inside.h"

/* ---- running ---- */

float *net_input(struct net *net)
{
    return net->input;
}

unsigned char *net_input_bytes(struct net *net)
{
    return net->bytes;
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

static void run_forward(struct net *net, const struct plan *plan, struct span *s)
{
    s->begin = 0;
    s->end = plan->forward;
    if (net->bytes && !net->be->ops->host)
        net->be->ops->upload_bytes(net->be, net->memory.store[STORE_BYTES], net->bytes,
                                   s->rows * net->input_size);
    else if (!net->bytes)
        net_upload(net, net->memory.store[STORE_INPUT], net->input, s->rows * net->input_size);
    if (s->rows)
        net->be->ops->steps(net->be, plan, &net->memory, s);
    net_download(net, net->output, net->memory.store[STORE_OUTPUT], s->rows * net->output_size);
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
    net_upload(net, net->memory.store[STORE_CHOICE], net->choice, rows);
    run_forward(net, &net->infer, &s); /* the plan's forward steps hold the way back too */
    net_download(net, net->dinput, net->memory.store[STORE_DINPUT], n);
    if ((rc = net_sync(net, why)))
        return rc;
    for (int64_t i = 0; i < n; i++)
        out[i] = net->dinput[i] * net->input[i];
    return 0;
}

/* ---- with a loss ---- */

int net_evaluate(struct net *net, const struct loss_type *loss, int rows, const struct target *t,
                 struct loss_sum *sum, struct fail *why)
{
    struct span s = {.rows = rows};
    int rc = check_rows(net, rows, why);
    if (rc || (rc = net_loss_begin(net, loss, rows, t, why)))
        return rc;
    run_forward(net, &net->infer, &s);
    net_loss_run(net, loss, rows, t->labels != NULL, NULL);
    if ((rc = net_sync(net, why)))
        return rc;
    net_loss_add(net, rows, sum);
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
    if (rc || (rc = net_loss_begin(net, loss, rows, t, why)))
        return rc;
    run_forward(net, &net->train, &s);
    net_loss_run(net, loss, rows, t->labels != NULL, doutput(net));
    s.begin = net->train.forward;
    s.end = net->train.count;
    if (rows)
        net->be->ops->steps(net->be, &net->train, &net->memory, &s);
    if ((rc = net_sync(net, why)))
        return rc;
    net_loss_add(net, rows, sum);
    return 0;
}
