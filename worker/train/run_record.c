/* What a run tells: LossMetric records, evaluation, and the numbers at its end. Next to read: run_weights.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/run_parts.h"

static void sum_add(struct run_sum *to, const struct loss_sum *s)
{
    to->loss += s->loss;
    to->weight += s->weight;
    to->correct += s->correct;
    to->rows += s->counted;
}

double run_loss(const struct run_sum *s)
{
    return s->weight > 0 ? s->loss / s->weight : NAN;
}

double run_accuracy(const struct run *r, const struct run_sum *s)
{
    return r->accuracy && s->rows ? (double)s->correct / (double)s->rows : NAN;
}

struct loss_metric run_metric(struct run *r, enum job_state state)
{
    struct loss_metric m = job_metric(r->job, ++r->state.sequence, state);
    m.epoch = (int32_t)r->state.epoch;
    m.step = r->state.step;
    m.total_steps = r->total_steps;
    m.worker = "";
    return m;
}

/* Rules that hold since the record before. */
static int told_take(struct run *r, struct number_pair out[HEALTH_RULES])
{
    int n = 0;
    for (int i = 0; i < HEALTH_RULES; i++) {
        if (r->told[i] > 0)
            out[n++] = (struct number_pair){health_name((enum health_rule)i), r->told[i]};
        r->told[i] = 0;
    }
    return n;
}

int run_record(struct run *r, const struct run_watch *w, const struct run_sum *validation, struct fail *why)
{
    struct loss_metric m = run_metric(r, JOB_TRAINING);
    struct number_pair told[HEALTH_RULES];
    int64_t now = run_now_us();
    m.epoch = (int32_t)r->state.epoch + (validation ? 0 : 1);
    m.loss = run_loss(&r->state.record_sum);
    m.accuracy = run_accuracy(r, &r->state.record_sum);
    m.learning_rate = run_learning_rate(r, r->state.step > 0 ? r->state.step - 1 : 0);
    if (now > r->last_us && r->last_rows)
        m.samples_per_second = (double)r->last_rows * 1e6 / (double)(now - r->last_us);
    if (validation && validation->rows) {
        m.val_loss = run_loss(validation);
        m.val_accuracy = run_accuracy(r, validation);
    }
    m.metrics = told;
    m.metric_count = told_take(r, told);
    r->state.record_sum = (struct run_sum){0};
    r->last_rows = 0;
    r->last_us = run_now_us();
    return w->metric ? w->metric(w->arg, &m, why) : 0;
}

/* What a row was taken for: the largest output, of equals the first; one output: 1 where it is at least 0. */
static int64_t taken_for(const float *out, int64_t outputs)
{
    int64_t best = 0;
    if (outputs == 1)
        return out[0] >= 0;
    for (int64_t k = 1; k < outputs; k++)
        if (out[k] > out[best])
            best = k;
    return best;
}

static void confusion_add(struct run *r, const struct target *t, int n, int64_t *confusion)
{
    const float *out = net_output(r->net);
    int64_t outputs = net_output_size(r->net);
    for (int i = 0; i < n; i++) {
        int64_t label = t->labels ? t->labels[i] : t->targets[i] >= 0.5f;
        if (label >= 0 && label < r->classes)
            confusion[label * r->classes + taken_for(out + i * outputs, outputs)]++;
    }
}

int run_evaluate(struct run *r, enum dataset_part part, struct run_sum *out, int64_t *confusion,
                 struct fail *why)
{
    int64_t rows = dataset_count(r->data, part);
    const uint32_t *index = dataset_index(r->data, part);
    struct loss_sum sum = {0};
    int rc = 0;
    for (int64_t i = 0; !rc && i < rows; i += r->max_rows) {
        int n = (int)(rows - i < r->max_rows ? rows - i : r->max_rows);
        struct target t = dataset_fill(r->data, index + i, n, &r->rows);
        rc = net_evaluate(r->net, r->loss, n, &t, &sum, why);
        if (!rc && confusion)
            confusion_add(r, &t, n, confusion);
    }
    *out = (struct run_sum){0};
    sum_add(out, &sum);
    return rc;
}

int run_judge(struct run *r, struct fail *why)
{
    bool test = dataset_count(r->data, DATASET_TEST) > 0;
    enum dataset_part part = test ? DATASET_TEST : DATASET_VALIDATION;
    struct run_sum sum;
    if (r->accuracy && r->classes <= RUN_CLASSES && dataset_count(r->data, part) > 0 && !r->confusion &&
        !(r->confusion = calloc((size_t)(r->classes * r->classes), sizeof *r->confusion)))
        return fail(why, E_JOB, "training: no memory for a matrix of %lld classes", (long long)r->classes);
    int rc = run_evaluate(r, part, &sum, r->confusion, why);
    if (!rc && test)
        r->state.test = sum;
    return rc;
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
    n = result_add(out, n, "loss", run_loss(&s->train));
    n = result_add(out, n, "accuracy", run_accuracy(r, &s->train));
    n = result_add(out, n, "val_loss", run_loss(&s->validation));
    n = result_add(out, n, "val_accuracy", run_accuracy(r, &s->validation));
    n = result_add(out, n, "test_loss", run_loss(&s->test));
    n = result_add(out, n, "test_accuracy", run_accuracy(r, &s->test));
    n = result_add(out, n, "train_rows", (double)dataset_count(r->data, DATASET_TRAIN));
    n = result_add(out, n, "val_rows", (double)dataset_count(r->data, DATASET_VALIDATION));
    n = result_add(out, n, "test_rows", (double)dataset_count(r->data, DATASET_TEST));
    n = result_add(out, n, "bad_records",
                   dataset_bad_records(r->data) ? (double)dataset_bad_records(r->data) : NAN);
    n = result_add(out, n, "epochs", (double)s->epoch);
    n = result_add(out, n, "best_epoch", s->best_epoch ? (double)s->best_epoch : NAN);
    return result_add(out, n, "steps", (double)s->step);
}

struct scores { /* of one class */
    double precision, recall, f1;
};

/* precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN); 0 where nothing is counted. */
static struct scores scores_of(const struct run *r, int64_t k)
{
    double hits = (double)r->confusion[k * r->classes + k], taken = 0, are = 0;
    for (int64_t i = 0; i < r->classes; i++) {
        taken += (double)r->confusion[i * r->classes + k];
        are += (double)r->confusion[k * r->classes + i];
    }
    return (struct scores){taken > 0 ? hits / taken : 0, are > 0 ? hits / are : 0,
                           taken + are > 0 ? 2 * hits / (taken + are) : 0};
}

static bool named_add(struct number_pair *out, int *n, struct region *mem, const char *name, int64_t a,
                      int64_t b, double value)
{
    const char *key = b < 0 ? region_format(mem, "%s.%lld", name, (long long)a)
                            : region_format(mem, "%s.%lld.%lld", name, (long long)a, (long long)b);
    out[*n] = (struct number_pair){key, value};
    ++*n;
    return key != NULL;
}

int run_report(const struct run *r, struct region *mem, struct number_pair **out, int *count,
               struct fail *why)
{
    int64_t k = r->confusion ? r->classes : 0, cells = 0;
    bool good = true;
    for (int64_t i = 0; i < k * k; i++)
        cells += r->confusion[i] > 0;
    if (cells > RUN_CELLS)
        cells = 0;
    *out = region_zalloc(mem, sizeof **out * (size_t)(RUN_RESULTS + 3 * k + cells));
    if (!*out)
        return fail(why, E_MEMORY, "no memory for a report");
    int n = run_results(r, *out);
    for (int64_t i = 0; i < k; i++) {
        struct scores s = scores_of(r, i);
        good &= named_add(*out, &n, mem, "precision", i, -1, s.precision);
        good &= named_add(*out, &n, mem, "recall", i, -1, s.recall);
        good &= named_add(*out, &n, mem, "f1", i, -1, s.f1);
    }
    for (int64_t i = 0; cells && i < k * k; i++)
        if (r->confusion[i])
            good &= named_add(*out, &n, mem, "confusion", i / k, i % k, (double)r->confusion[i]);
    *count = n;
    return good ? 0 : fail(why, E_MEMORY, "no memory for a report");
}

int run_data_report(const struct dataset *d, int64_t classes, struct region *mem, struct number_pair **out,
                    int *count, struct fail *why)
{
    int64_t k = dataset_target_size(d) || classes > RUN_CLASSES ? 0 : classes;
    int64_t *rows = region_zalloc(mem, sizeof *rows * (size_t)(k + 1));
    bool good = true;
    int n = 0;
    *out = region_zalloc(mem, sizeof **out * (size_t)(8 + k));
    if (!*out || !rows)
        return fail(why, E_MEMORY, "no memory for a report");
    dataset_classes(d, DATASET_TRAIN, rows, k);
    n = result_add(*out, n, "rows", (double)dataset_rows(d));
    n = result_add(*out, n, "train_rows", (double)dataset_count(d, DATASET_TRAIN));
    n = result_add(*out, n, "val_rows", (double)dataset_count(d, DATASET_VALIDATION));
    n = result_add(*out, n, "test_rows", (double)dataset_count(d, DATASET_TEST));
    n = result_add(*out, n, "bad_records", (double)dataset_bad_records(d));
    for (int64_t i = 0; i < k; i++)
        good &= named_add(*out, &n, mem, "train_rows", i, -1, (double)rows[i]);
    *count = n;
    return good ? 0 : fail(why, E_MEMORY, "no memory for a report");
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
