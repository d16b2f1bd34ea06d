/* Another network over this run's rows: a new version is held against the champion on the same ones. Next to read:
 * version.c, which decides. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/normalise.h"
#include "worker/train/run_parts.h"

static int rival_check(const struct run *r, const struct graph *g, struct fail *why)
{
    char is[100], wanted[100];
    struct shape out = graph_output(g), want = graph_output(r->graph);
    if (!shape_equal(g->input, r->graph->input))
        return fail(why, E_JOB, "its rows are %s, those of the data set %s",
                    shape_text(g->input, is, sizeof is), shape_text(r->graph->input, wanted, sizeof wanted));
    if (shape_size(out) != shape_size(want))
        return fail(why, E_JOB, "it has %lld outputs, the job's network %lld", (long long)shape_size(out),
                    (long long)shape_size(want));
    return 0;
}

static enum dataset_part part_of(const char *metric)
{
    return strncmp(metric, "val_", 4) == 0    ? DATASET_VALIDATION
           : strncmp(metric, "test_", 5) == 0 ? DATASET_TEST
                                              : DATASET_TRAIN;
}

int run_rival(struct run *r, const struct graph *g, const char *metric, double *out, struct fail *why)
{
    struct net_options o = {.mode = NET_TRAIN, .max_rows = r->max_rows, .seed = (uint64_t)r->settings->seed};
    struct normalise normalise; /* mean and std are the other network's own */
    enum dataset_part part = part_of(metric);
    const uint32_t *index = dataset_index(r->data, part);
    int64_t rows = dataset_count(r->data, part);
    struct dataset_batch to = r->rows; /* its labels and targets; the net below has its own input */
    struct loss_sum sum = {0};
    struct net *net = NULL;
    *out = NAN;
    int rc = rival_check(r, g, why);
    if (!rc && dataset_normalise(r->data)) {
        rc = normalise_make(&normalise, g->input, g->mean, g->std, g->channels_normalised, why);
        o.bytes = &normalise;
    }
    if (!rc)
        rc = net_open(&net, r->be, g, &o, why);
    if (!rc)
        rc = job_loss_set(r->settings, r->loss, net, r->class_weights, why);
    if (!rc) {
        to.x = net_input(net);
        to.bytes = net_input_bytes(net);
    }
    for (int64_t i = 0; !rc && i < rows; i += r->max_rows) {
        int n = (int)(rows - i < r->max_rows ? rows - i : r->max_rows);
        struct target t = dataset_fill(r->data, index + i, n, &to);
        rc = net_evaluate(net, r->loss, n, &t, &sum, why);
    }
    struct run_sum s = {sum.loss, sum.weight, sum.correct, sum.counted};
    if (!rc)
        *out = strstr(metric, "accuracy") ? run_accuracy(r, &s) : run_loss(&s);
    net_close(&net);
    return rc;
}
