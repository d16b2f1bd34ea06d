/* One job's training loop. Formulas and kernels are the engine's, rows dataset.c's, publishing trainer.c's.
 * Next to read: checkpoint.c, which writes a run down and reads it again. */
#include "worker/train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MICRO_ROWS = 256, MICRO_FLOATS = 1 << 22, RECORDS_AN_EPOCH = 10, RECORDS_A_RUN = 1000 };

/* Streams of rng_hash that belong to training. */
enum { STREAM_SHUFFLE = 0x73687566 };

struct run {
    const struct training_job *job;
    const struct job_settings *settings;
    const struct dataset *data;
    const struct loss_type *loss;
    struct graph *graph;
    struct net *net;
    struct optimizer *opt;
    struct run_state state;
    uint32_t *order;     /* training rows, as this epoch takes them */
    int64_t order_epoch; /* the epoch that `order` is for; -1: none */
    struct dataset_batch rows;
    int max_rows;
    int64_t batch, steps_an_epoch, total_steps, record_every;
    struct schedule schedule;
    bool accuracy;         /* the loss knows right from wrong */
    int64_t last_us;       /* monotonic: the last record */
    int64_t last_rows;     /* trained since then */
    int64_t elapsed_at_us; /* up to when state.elapsed_s counts */
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* A pure function of the job and the shape: it decides the order of sums, so the bits. */
static int micro_rows(int64_t batch, int64_t row_floats)
{
    int64_t n = MICRO_FLOATS / row_floats;
    n = n < 1 ? 1 : n > MICRO_ROWS ? MICRO_ROWS : n;
    return (int)(batch > 0 && batch < n ? batch : n);
}

static void run_plan(struct run *r)
{
    int64_t rows = dataset_count(r->data, DATASET_TRAIN), wanted = r->settings->batch_size;
    r->batch = wanted && wanted < rows ? wanted : rows;
    r->max_rows = micro_rows(wanted, shape_size(r->graph->input));
    r->steps_an_epoch = (rows + r->batch - 1) / r->batch;
    r->total_steps = r->steps_an_epoch * r->settings->epochs;
    r->schedule = job_schedule(r->settings, r->steps_an_epoch);
    r->record_every = r->steps_an_epoch / RECORDS_AN_EPOCH;
    if (r->record_every < r->total_steps / RECORDS_A_RUN)
        r->record_every = r->total_steps / RECORDS_A_RUN;
    if (r->record_every < 1)
        r->record_every = 1;
    r->accuracy = r->job->loss == LOSS_CROSS_ENTROPY ||
                  (r->job->loss == LOSS_LOG_LOSS && shape_size(graph_output(r->graph)) == 1);
}

static int run_allocate(struct run *r, struct fail *why)
{
    int64_t rows = dataset_count(r->data, DATASET_TRAIN), targets = dataset_target_size(r->data);
    r->order = calloc((size_t)rows, sizeof *r->order);
    r->rows.labels = calloc((size_t)r->max_rows, sizeof *r->rows.labels);
    r->rows.targets = calloc((size_t)r->max_rows, sizeof(float) * (size_t)(targets ? targets : 1));
    r->order_epoch = -1;
    if (!r->order || !r->rows.labels || !r->rows.targets)
        return fail(why, E_MEMORY, "training: no memory for the order of %lld rows", (long long)rows);
    return 0;
}

int run_open(struct run **out, struct backend *be, const struct graph *g, const struct dataset *d,
             const struct training_job *job, const struct job_settings *h, struct fail *why)
{
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        return fail(why, E_MEMORY, "training: no memory");
    r->job = job;
    r->settings = h;
    r->data = d;
    r->loss = job_loss_type(job->loss);
    r->state.best_val_loss = INFINITY;
    int rc = graph_copy(&r->graph, g, why);
    if (!rc) {
        run_plan(r);
        rc = run_allocate(r, why);
    }
    struct net_options o = {NET_TRAIN, r->max_rows, (uint64_t)h->seed};
    if (!rc)
        rc = net_open(&r->net, be, r->graph, &o, why);
    if (!rc)
        rc = job_loss_set(h, r->loss, r->net, why);
    if (!rc)
        rc = optim_open(&r->opt, r->net, h->optimizer, &h->optim, why);
    if (rc) {
        run_close(&r);
        return rc;
    }
    r->rows.x = net_input(r->net);
    *out = r;
    return 0;
}

void run_close(struct run **r)
{
    if (!*r)
        return;
    optim_close(&(*r)->opt);
    net_close(&(*r)->net);
    graph_free(&(*r)->graph);
    free((*r)->order);
    free((*r)->rows.labels);
    free((*r)->rows.targets);
    free(*r);
    *r = NULL;
}

static void sum_add(struct run_sum *to, const struct loss_sum *s)
{
    to->loss += s->loss;
    to->weight += s->weight;
    to->correct += s->correct;
    to->rows += s->counted;
}

static double sum_loss(const struct run_sum *s)
{
    return s->weight > 0 ? s->loss / s->weight : NAN;
}

static double sum_accuracy(const struct run *r, const struct run_sum *s)
{
    return r->accuracy && s->rows ? (double)s->correct / (double)s->rows : NAN;
}

/* The order of an epoch depends on seed and epoch alone. */
static void order_make(struct run *r)
{
    int64_t n = dataset_count(r->data, DATASET_TRAIN);
    if (r->order_epoch == r->state.epoch)
        return;
    memcpy(r->order, dataset_index(r->data, DATASET_TRAIN), sizeof *r->order * (size_t)n);
    struct rng rng =
        rng_seed(rng_hash((uint64_t)r->settings->seed, (uint64_t)r->state.epoch, STREAM_SHUFFLE, 0));
    rng_shuffle(&rng, r->order, (uint32_t)n);
    r->order_epoch = r->state.epoch;
}

static int64_t step_in_epoch(const struct run *r)
{
    return r->state.step - r->state.epoch * r->steps_an_epoch;
}

/* Of a step, counted from 0: a function of the step alone. */
static double learning_rate(const struct run *r, int64_t step)
{
    return schedule_rate(&r->schedule, step, r->total_steps);
}

/* One optimiser step: the gradient sums of its micro-batches, divided by their weight. Where no row weighs
 * anything (ignore_label, class_weights of 0) there is no gradient: weights and moments stay, the step counts. */
static int run_step(struct run *r, struct fail *why)
{
    int64_t rows = dataset_count(r->data, DATASET_TRAIN), first = step_in_epoch(r) * r->batch;
    int64_t end = first + r->batch < rows ? first + r->batch : rows;
    struct loss_sum sum = {0};
    int rc = 0;
    order_make(r);
    for (int64_t i = first; !rc && i < end; i += r->max_rows) {
        int n = (int)(end - i < r->max_rows ? end - i : r->max_rows);
        struct target t = dataset_fill(r->data, r->order + i, n, &r->rows);
        rc = net_accumulate(r->net, r->loss, n, &t, r->state.step, i - first, &sum, why);
    }
    if (rc)
        return rc;
    if (!isfinite(sum.loss))
        return fail(
            why, E_JOB,
            "step %lld (epoch %lld): the loss is not finite; lower learning_rate (%g) or look at the data",
            (long long)r->state.step + 1, (long long)r->state.epoch + 1, learning_rate(r, r->state.step));
    if (sum.weight > 0 && (rc = net_step(r->net, r->opt, learning_rate(r, r->state.step), sum.weight, why)))
        return fail_prefix(why, "step %lld", (long long)r->state.step + 1);
    r->state.step++;
    r->last_rows += end - first;
    sum_add(&r->state.record_sum, &sum);
    sum_add(&r->state.epoch_sum, &sum);
    return 0;
}

static int run_evaluate(struct run *r, enum dataset_part part, struct run_sum *out, struct fail *why)
{
    int64_t rows = dataset_count(r->data, part);
    const uint32_t *index = dataset_index(r->data, part);
    struct loss_sum sum = {0};
    int rc = 0;
    for (int64_t i = 0; !rc && i < rows; i += r->max_rows) {
        int n = (int)(rows - i < r->max_rows ? rows - i : r->max_rows);
        struct target t = dataset_fill(r->data, index + i, n, &r->rows);
        rc = net_evaluate(r->net, r->loss, n, &t, &sum, why);
    }
    *out = (struct run_sum){0};
    sum_add(out, &sum);
    return rc;
}

struct loss_metric run_metric(struct run *r, enum job_state state)
{
    return (struct loss_metric){.job_id = r->job->job_id,
                                .model = r->job->model,
                                .sequence = ++r->state.sequence,
                                .state = state,
                                .epoch = (int32_t)r->state.epoch,
                                .step = r->state.step,
                                .total_steps = r->total_steps,
                                .loss = NAN,
                                .accuracy = NAN,
                                .val_loss = NAN,
                                .val_accuracy = NAN,
                                .learning_rate = NAN,
                                .samples_per_second = NAN,
                                .failure_reason = "",
                                .worker = ""};
}

/* What happened since the record before; `validation` NULL: not an epoch's end. */
static int record_make(struct run *r, const struct run_watch *w, const struct run_sum *validation,
                       struct fail *why)
{
    struct loss_metric m = run_metric(r, JOB_TRAINING);
    int64_t now = now_us();
    m.epoch = (int32_t)r->state.epoch + (validation ? 0 : 1);
    m.loss = sum_loss(&r->state.record_sum);
    m.accuracy = sum_accuracy(r, &r->state.record_sum);
    m.learning_rate = learning_rate(r, r->state.step > 0 ? r->state.step - 1 : 0);
    if (now > r->last_us && r->last_rows)
        m.samples_per_second = (double)r->last_rows * 1e6 / (double)(now - r->last_us);
    if (validation && validation->rows) {
        m.val_loss = sum_loss(validation);
        m.val_accuracy = sum_accuracy(r, validation);
    }
    r->state.record_sum = (struct run_sum){0};
    r->last_rows = 0;
    r->last_us = now_us();
    return w->metric ? w->metric(w->arg, &m, why) : 0;
}

/* Whether val_loss has not become better by min_delta for `patience` epochs. */
static bool patience_ends(struct run *r)
{
    double loss = sum_loss(&r->state.validation);
    if (!r->job->patience)
        return false;
    if (loss < r->state.best_val_loss - r->job->min_delta) {
        r->state.best_val_loss = loss;
        r->state.epochs_without_better = 0;
    } else {
        r->state.epochs_without_better++;
    }
    return r->state.epochs_without_better >= r->job->patience;
}

static bool time_ends(struct run *r)
{
    int64_t now = now_us();
    r->state.elapsed_s += (double)(now - r->elapsed_at_us) / 1e6;
    r->elapsed_at_us = now;
    return r->job->max_runtime_s > 0 && r->state.elapsed_s >= (double)r->job->max_runtime_s;
}

/* Validation, the epoch's record, the epoch's sums. */
static int epoch_end(struct run *r, const struct run_watch *w, struct fail *why)
{
    if (!(r->state.epoch_sum.weight > 0))
        return fail(why, E_JOB,
                    "epoch %lld: no row weighs anything: all are labelled ignore_label, or their "
                    "class_weights are 0",
                    (long long)r->state.epoch + 1);
    int rc = run_evaluate(r, DATASET_VALIDATION, &r->state.validation, why);
    if (rc)
        return rc;
    r->state.epoch++;
    r->state.train = r->state.epoch_sum;
    r->state.epoch_sum = (struct run_sum){0};
    return record_make(r, w, &r->state.validation, why);
}

/* Not so near the epoch's end that the record there would tell of a few rows only. */
static bool record_due(const struct run *r)
{
    int64_t step = step_in_epoch(r);
    return step % r->record_every == 0 && r->steps_an_epoch - step >= r->record_every;
}

static bool checkpoint_due(const struct run *r, bool at_epoch_end)
{
    int32_t every = r->job->checkpoint_every;
    return every ? r->state.step % every == 0 : at_epoch_end;
}

/* After a step: records, validation at an epoch's end, a checkpoint when due. *done: nothing is left to
 * train. */
static int step_end(struct run *r, const struct run_watch *w, bool *done, struct fail *why)
{
    bool late = time_ends(r), at_end = step_in_epoch(r) == r->steps_an_epoch;
    int rc = 0;
    if (at_end || late) {
        rc = epoch_end(r, w, why);
        *done = !rc && (patience_ends(r) || late || r->state.step == r->total_steps);
    } else if (record_due(r)) {
        rc = record_make(r, w, NULL, why);
    }
    if (!rc && !*done && checkpoint_due(r, at_end) && w->checkpoint)
        rc = w->checkpoint(w->arg, r, why);
    return rc;
}

int run_train(struct run *r, const struct run_watch *w, struct fail *why)
{
    bool done = r->state.step >= r->total_steps;
    int rc = 0;
    r->last_us = r->elapsed_at_us = now_us();
    while (!rc && !done) {
        rc = run_step(r, why);
        if (!rc)
            rc = step_end(r, w, &done, why);
        if (!rc && !done && w->between)
            rc = w->between(w->arg, r, why);
    }
    return rc ? rc : run_evaluate(r, DATASET_TEST, &r->state.test, why);
}

struct run_state *run_state(struct run *r)
{
    return &r->state;
}

int64_t run_total_steps(const struct run *r)
{
    return r->total_steps;
}

struct net *run_net(struct run *r)
{
    return r->net;
}

struct optimizer *run_optimizer(struct run *r)
{
    return r->opt;
}

const struct dataset *run_dataset(const struct run *r)
{
    return r->data;
}

static int result_add(struct number_pair *out, int n, const char *name, double value)
{
    if (isnan(value))
        return n;
    out[n] = (struct number_pair){name, value};
    return n + 1;
}

int run_results(const struct run *r, struct number_pair out[RUN_RESULTS])
{
    const struct run_state *s = &r->state;
    int n = 0;
    n = result_add(out, n, "loss", sum_loss(&s->train));
    n = result_add(out, n, "accuracy", sum_accuracy(r, &s->train));
    n = result_add(out, n, "val_loss", sum_loss(&s->validation));
    n = result_add(out, n, "val_accuracy", sum_accuracy(r, &s->validation));
    n = result_add(out, n, "test_loss", sum_loss(&s->test));
    n = result_add(out, n, "test_accuracy", sum_accuracy(r, &s->test));
    n = result_add(out, n, "train_rows", (double)dataset_count(r->data, DATASET_TRAIN));
    n = result_add(out, n, "val_rows", (double)dataset_count(r->data, DATASET_VALIDATION));
    n = result_add(out, n, "test_rows", (double)dataset_count(r->data, DATASET_TEST));
    n = result_add(out, n, "epochs", (double)s->epoch);
    return result_add(out, n, "steps", (double)s->step);
}

int run_graph(struct run *r, struct graph **out, struct fail *why)
{
    char data[65];
    int rc = graph_copy(out, r->graph, why);
    if (rc)
        return rc;
    dataset_sha256(r->data, data);
    rc = net_save(r->net, *out, why);
    if (!rc)
        rc = graph_set_metadata(*out, "millrace.dataset_sha256", data, why);
    if (rc)
        graph_free(out);
    return rc;
}
