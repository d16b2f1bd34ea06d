/* One optimiser step of a run: its rows, their gradients, what the health rules say of them, the update. What comes
 * behind a step is run.c's. Next to read: health.c. */
#include <math.h>
#include <string.h>

#include "worker/train/run_parts.h"

/* Streams of rng_hash that belong to training. */
enum { STREAM_SHUFFLE = 0x73687566 };

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

/* Of a step, counted from 0: a function of the step, and of the health rules that lowered it. */
double run_learning_rate(const struct run *r, int64_t step)
{
    return r->state.rate_factor * schedule_rate(&r->schedule, step, r->total_steps);
}

static struct target rows_fill(struct run *r, const uint32_t *index, int n)
{
    const struct job_settings *h = r->settings;
    return augment_any(&h->augment) ? dataset_fill_augmented(r->data, &h->augment, (uint64_t)h->seed,
                                                             r->state.epoch, index, n, &r->rows)
                                    : dataset_fill(r->data, index, n, &r->rows);
}

/* ---- health ---- */

/* The strongest action among rules that hold now; what is said in the next record. */
enum health_action run_rules_act(struct run *r, unsigned fired, int *rule)
{
    enum health_action most = HEALTH_OFF;
    for (int i = 0; i < HEALTH_RULES; i++) {
        int action = r->settings->health.action[i];
        if (!(fired >> i & 1))
            continue;
        r->told[i] = action;
        if (action > (int)most) {
            most = (enum health_action)action;
            *rule = i;
        }
    }
    return most;
}

/* The state is that of the last checkpoint, the rate half of what it was: said, and made durable. */
int run_return(struct run *r, const struct run_watch *w, struct fail *why)
{
    int rc = run_go_back(r, why);
    if (!rc && r->state.step > 0)
        rc = run_publish(r, w, why);
    return rc;
}

static int wrong(const struct run *r, int rule, double loss, const struct health_look *look, struct fail *why)
{
    return fail(why, E_JOB,
                "step %lld (epoch %lld): %s: the loss is %g, the gradient's norm %g%s; lower learning_rate "
                "(%g) or look at the data",
                (long long)r->state.step + 1, (long long)r->state.epoch + 1,
                health_name((enum health_rule)rule), loss, look->norm,
                isfinite(loss) && isfinite(look->norm) ? "" : ": not finite",
                run_learning_rate(r, r->state.step));
}

static bool look_due(const struct run *r)
{
    return (step_in_epoch(r) + 1) % r->record_every == 0;
}

/* Before the weights are changed. *back: the run has gone back, the step is void. */
static int step_health(struct run *r, const struct run_watch *w, const struct loss_sum *sum, int64_t rows,
                       bool *back, struct fail *why)
{
    struct health_look look = {.norm = 0, .first = -1};
    double loss = sum->loss / (sum->weight > 0 ? sum->weight : 1);
    int rule = -1, rc = 0;
    if (isfinite(loss) && (!look_due(r) || !(sum->weight > 0)))
        return 0;
    if (isfinite(loss) && (rc = health_look(r->net, sum->weight, r->room, &look, why)))
        return rc;
    enum health_action what =
        run_rules_act(r, health_step(&r->settings->health, &r->state.health, &look, loss, rows), &rule);
    bool finite = isfinite(loss) && isfinite(look.norm) && isfinite(look.largest);
    if (what == HEALTH_STOP || (!finite && what != HEALTH_LOWER)) {
        r->stopped_by = rule >= 0 ? rule : HEALTH_NON_FINITE;
        return wrong(r, r->stopped_by, loss, &look, why);
    }
    *back = what == HEALTH_LOWER;
    return *back ? run_return(r, w, why) : 0;
}

int run_checkpoint_health(struct run *r, const struct run_watch *w, bool *back, struct fail *why)
{
    double largest;
    int rule = -1, rc = health_weights(r->net, r->room, &largest, why);
    *back = false;
    if (rc)
        return rc;
    enum health_action what =
        run_rules_act(r, health_checkpoint(&r->settings->health, &r->state.health, largest), &rule);
    if (what == HEALTH_STOP) {
        r->stopped_by = rule;
        return fail(why, E_JOB, "step %lld: %s: the largest weight is %g; lower learning_rate (%g)",
                    (long long)r->state.step, health_name((enum health_rule)rule), largest,
                    run_learning_rate(r, r->state.step));
    }
    *back = what == HEALTH_LOWER;
    return *back ? run_return(r, w, why) : 0;
}

/* ---- a step ---- */

static void sum_take(struct run_sum *to, const struct loss_sum *s)
{
    to->loss += s->loss;
    to->weight += s->weight;
    to->correct += s->correct;
    to->rows += s->counted;
}

static int step_gradients(struct run *r, int64_t first, int64_t end, struct loss_sum *sum, struct fail *why)
{
    int rc = 0;
    order_make(r);
    for (int64_t i = first; !rc && i < end; i += r->max_rows) {
        int n = (int)(end - i < r->max_rows ? end - i : r->max_rows);
        struct target t = rows_fill(r, r->order + i, n);
        rc = net_accumulate(r->net, r->loss, n, &t, r->state.step, i - first, sum, why);
    }
    return rc;
}

/* One optimiser step: the gradient sums of its micro-batches, divided by their weight. Where no row weighs
 * anything (ignore_label, class_weights of 0) there is no gradient: weights and moments stay, the step counts. */
int run_step(struct run *r, const struct run_watch *w, bool *back, struct fail *why)
{
    int64_t rows = dataset_count(r->data, DATASET_TRAIN), first = step_in_epoch(r) * r->batch;
    int64_t end = first + r->batch < rows ? first + r->batch : rows;
    struct loss_sum sum = {0};
    *back = false;
    int rc = step_gradients(r, first, end, &sum, why);
    if (!rc)
        rc = step_health(r, w, &sum, end - first, back, why);
    if (rc || *back)
        return rc;
    double rate = run_learning_rate(r, r->state.step);
    if (sum.weight > 0 && (rc = net_step(r->net, r->opt, rate, sum.weight, why)))
        return fail_prefix(why, "step %lld", (long long)r->state.step + 1);
    r->state.step++;
    r->last_rows += end - first;
    sum_take(&r->state.record_sum, &sum);
    sum_take(&r->state.epoch_sum, &sum);
    return 0;
}
