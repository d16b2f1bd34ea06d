/* One job's training loop. Formulas and kernels are the engine's, rows dataset.c's, publishing trainer.c's, what is
 * told run_record.c's. Next to read: run_record.c, then checkpoint.c, which writes a run down. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/train/run_parts.h"

enum { MICRO_ROWS = 256, MICRO_FLOATS = 1 << 22, RECORDS_AN_EPOCH = 10, RECORDS_A_RUN = 1000 };

int64_t run_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* A pure function of the job and the shape: it decides the order of sums, so the bits. */
static int micro_rows(const struct job_settings *h, int64_t row_floats)
{
    int64_t n = MICRO_FLOATS / row_floats, batch = h->batch_size;
    n = n < 1 ? 1 : n > MICRO_ROWS ? MICRO_ROWS : n;
    n = h->micro_batch_size ? h->micro_batch_size : n;
    return (int)(batch > 0 && batch < n ? batch : n);
}

static void run_plan(struct run *r)
{
    int64_t rows = dataset_count(r->data, DATASET_TRAIN), wanted = r->settings->batch_size;
    r->batch = wanted && wanted < rows ? wanted : rows;
    r->max_rows = micro_rows(r->settings, shape_size(r->graph->input));
    r->steps_an_epoch = (rows + r->batch - 1) / r->batch;
    r->total_steps = r->steps_an_epoch * r->settings->epochs;
    r->schedule = job_schedule(r->settings, r->steps_an_epoch);
    r->record_every = r->steps_an_epoch / RECORDS_AN_EPOCH;
    if (r->record_every < r->total_steps / RECORDS_A_RUN)
        r->record_every = r->total_steps / RECORDS_A_RUN;
    if (r->record_every < 1)
        r->record_every = 1;
    if (r->settings->metrics_every)
        r->record_every = r->settings->metrics_every;
    r->accuracy = r->job->loss == LOSS_CROSS_ENTROPY ||
                  (r->job->loss == LOSS_LOG_LOSS && shape_size(graph_output(r->graph)) == 1);
    r->classes = shape_size(graph_output(r->graph)) > 1 ? shape_size(graph_output(r->graph)) : 2;
}

static int run_allocate(struct run *r, struct fail *why)
{
    int64_t rows = dataset_count(r->data, DATASET_TRAIN), targets = dataset_target_size(r->data);
    r->order = calloc((size_t)rows, sizeof *r->order);
    r->rows.labels = calloc((size_t)r->max_rows, sizeof *r->rows.labels);
    r->rows.targets = calloc((size_t)r->max_rows, sizeof(float) * (size_t)(targets ? targets : 1));
    r->rows.scratch = calloc((size_t)shape_size(r->graph->input), sizeof *r->rows.scratch);
    r->order_epoch = -1;
    if (!r->rows.scratch || !r->order || !r->rows.labels || !r->rows.targets)
        return fail(why, E_MEMORY, "training: no memory for the order of %lld rows", (long long)rows);
    return 0;
}

/* n / (K n_k): classes weigh alike in all, whatever their numbers; a class without rows weighs nothing. */
static int weights_balance(struct run *r, struct fail *why)
{
    int64_t k = shape_size(graph_output(r->graph)), all = 0;
    int64_t *counts = r->settings->balanced ? calloc((size_t)k, sizeof *counts) : NULL;
    if (!r->settings->balanced)
        return 0;
    r->class_weights = malloc(sizeof(float) * (size_t)k);
    if (!counts || !r->class_weights) {
        free(counts);
        return fail(why, E_JOB, "training: no memory for %lld class weights", (long long)k);
    }
    dataset_classes(r->data, DATASET_TRAIN, counts, k);
    for (int64_t i = 0; i < k; i++)
        all += counts[i];
    for (int64_t i = 0; i < k; i++)
        r->class_weights[i] = counts[i] ? (float)((double)all / ((double)k * (double)counts[i])) : 0;
    free(counts);
    return 0;
}

int run_net_open(struct run *r, struct fail *why)
{
    struct net_options o = {
        .mode = NET_TRAIN,
        .max_rows = r->max_rows,
        .seed = (uint64_t)r->settings->seed,
        .bytes = augment_any(&r->settings->augment) ? NULL : dataset_normalise(r->data),
    };
    optim_close(&r->opt);
    net_close(&r->net);
    int rc = net_open(&r->net, r->be, r->graph, &o, why);
    if (!rc)
        rc = job_loss_set(r->settings, r->loss, r->net, r->class_weights, why);
    if (!rc)
        rc = optim_open(&r->opt, r->net, r->settings->optimizer, &r->settings->optim, why);
    if (!rc) {
        r->rows.x = net_input(r->net);
        r->rows.bytes = net_input_bytes(r->net);
    }
    return rc;
}

/* Room for looks at the parameters. */
static int room_open(struct run *r, struct fail *why)
{
    int64_t most = 1;
    for (int i = 0; i < net_param_count(r->net); i++) {
        int64_t n = shape_size(net_param_shape(r->net, i));
        r->param_floats += n;
        most = n > most ? n : most;
    }
    r->room = malloc(sizeof(float) * (size_t)most);
    return r->room ? 0 : fail(why, E_JOB, "training: no memory for %lld weights", (long long)most);
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
    r->be = be;
    r->loss = job_loss_type(job->loss);
    r->stopped_by = -1;
    r->state.best_val_loss = INFINITY;
    r->state.rate_factor = 1;
    r->state.health = health_begin();
    int rc = graph_copy(&r->graph, g, why);
    if (!rc) {
        run_plan(r);
        rc = run_allocate(r, why);
    }
    if (!rc)
        rc = weights_balance(r, why);
    if (!rc)
        rc = run_net_open(r, why);
    if (!rc)
        rc = room_open(r, why);
    if (rc)
        run_close(&r);
    else
        *out = r;
    return rc;
}

void run_close(struct run **r)
{
    if (!*r)
        return;
    optim_close(&(*r)->opt);
    net_close(&(*r)->net);
    graph_free(&(*r)->graph);
    run_weights_free(&(*r)->best);
    run_weights_free(&(*r)->good);
    free((*r)->order);
    free((*r)->rows.labels);
    free((*r)->rows.targets);
    free((*r)->rows.scratch);
    free((*r)->class_weights);
    free((*r)->room);
    free((*r)->confusion);
    free(*r);
    *r = NULL;
}

/* Whether val_loss has not become better by min_delta for `patience` epochs. */
static bool patience_ends(struct run *r)
{
    double loss = run_loss(&r->state.validation);
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
    int64_t now = run_now_us();
    r->state.elapsed_s += (double)(now - r->elapsed_at_us) / 1e6;
    r->elapsed_at_us = now;
    return r->job->max_runtime_s > 0 && r->state.elapsed_s >= (double)r->job->max_runtime_s;
}

/* Validation, the epoch's rules and record, the epoch's sums. *what: what the rules want. */
static int epoch_end(struct run *r, const struct run_watch *w, enum health_action *what, struct fail *why)
{
    struct run_state *s = &r->state;
    int rule = -1;
    if (!(s->epoch_sum.weight > 0))
        return fail(why, E_JOB,
                    "epoch %lld: no row weighs anything: all are labelled ignore_label, or their "
                    "class_weights are 0",
                    (long long)s->epoch + 1);
    int rc = run_evaluate(r, DATASET_VALIDATION, &s->validation, NULL, why);
    if (rc)
        return rc;
    s->epoch++;
    s->train = s->epoch_sum;
    s->epoch_sum = (struct run_sum){0};
    *what = run_rules_act(
        r, health_epoch(&r->settings->health, &s->health, run_loss(&s->train), run_loss(&s->validation)),
        &rule);
    if (*what == HEALTH_STOP)
        r->stopped_by = rule;
    if ((rc = run_keep_best(r, why)))
        return rc;
    return run_record(r, w, &s->validation, why);
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

static int checkpoint_make(struct run *r, const struct run_watch *w, struct fail *why)
{
    int rc = run_keep_good(r, why);
    return rc || !w->checkpoint ? rc : w->checkpoint(w->arg, r, why);
}

int run_publish(struct run *r, const struct run_watch *w, struct fail *why)
{
    bool told = r->last_rows > 0;
    for (int i = 0; i < HEALTH_RULES; i++)
        told |= r->told[i] > 0;
    int rc = told ? run_record(r, w, NULL, why) : 0;
    return rc ? rc : checkpoint_make(r, w, why);
}

int run_mark(struct run *r, const struct run_watch *w, struct fail *why)
{
    bool back;
    int rc = run_checkpoint_health(r, w, &back, why);
    return rc || back ? rc : run_publish(r, w, why);
}

int run_leave(struct run *r, const struct run_watch *w, struct fail *why)
{
    struct health_state looked = r->state.health;
    double largest;
    int rc = health_weights(r->net, r->room, &largest, why);
    if (rc || health_checkpoint(&r->settings->health, &looked, largest))
        return rc;
    return run_publish(r, w, why);
}

/* After a step: records, validation at an epoch's end, a checkpoint when due. *done: nothing is left to
 * train. */
static int step_end(struct run *r, const struct run_watch *w, bool *done, struct fail *why)
{
    bool late = time_ends(r), at_end = step_in_epoch(r) == r->steps_an_epoch, back;
    enum health_action what = HEALTH_OFF;
    int rc = 0;
    if (at_end || late) {
        rc = epoch_end(r, w, &what, why);
        *done = !rc && (patience_ends(r) || late || what == HEALTH_STOP || r->state.step == r->total_steps);
    } else if (record_due(r)) {
        rc = run_record(r, w, NULL, why);
    }
    if (!rc && !*done && what == HEALTH_LOWER)
        return run_return(r, w, why);
    if (rc || *done || !checkpoint_due(r, at_end))
        return rc;
    rc = run_checkpoint_health(r, w, &back, why);
    return rc || back ? rc : checkpoint_make(r, w, why);
}

int run_train(struct run *r, const struct run_watch *w, struct fail *why)
{
    bool done = r->state.step >= r->total_steps, back;
    int rc = run_keep_good(r, why);
    r->last_us = r->elapsed_at_us = run_now_us();
    while (!rc && !done) {
        rc = run_step(r, w, &back, why);
        if (!rc && !back)
            rc = step_end(r, w, &done, why);
        if (!rc && !done && w->between)
            rc = w->between(w->arg, r, why);
    }
    if (!rc)
        rc = run_restore_best(r, why);
    return rc ? rc : run_judge(r, why);
}

int run_stopped_by(const struct run *r)
{
    return r->stopped_by;
}

int64_t run_param_floats(const struct run *r)
{
    return r->param_floats;
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
