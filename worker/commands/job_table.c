/* Three topics to one table. Next to read: jobs.c, which prints it. */
#include "worker/commands/job_table.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "worker/service/terminal.h"
#include "worker/stream/scan.h"
#include "worker/stream/writer.h"
#include "worker/train/history.h"

struct scan {
    struct job_table *table;
    const char *metrics_of;
    const struct context *cx;
};

void job_table_free(struct job_table *t)
{
    region_free(&t->mem);
    *t = (struct job_table){0};
}

struct job_row *job_table_find(const struct job_table *t, const char *job_id)
{
    for (int i = t->count - 1; i >= 0; i--)
        if (strcmp(t->rows[i].job_id, job_id) == 0)
            return &t->rows[i];
    return NULL;
}

const char *job_row_state(const struct job_row *row)
{
    return row->state == JOB_UNKNOWN ? "QUEUED" : job_state_name(row->state);
}

static int memory(struct fail *why)
{
    return fail(why, E_MEMORY, "no memory for the list of jobs");
}

/* The row of a job, made when it is new. Its record may be gone while its metrics are still there. */
static struct job_row *row_of(struct job_table *t, const char *job_id, const char *model)
{
    struct job_row *row = job_table_find(t, job_id);
    if (row)
        return row;
    if (t->count == t->capacity) {
        int capacity = t->capacity ? 2 * t->capacity : 64;
        struct job_row *grown = region_alloc(&t->mem, sizeof *grown * (size_t)capacity);
        if (!grown)
            return NULL;
        if (t->count)
            memcpy(grown, t->rows, sizeof *grown * (size_t)t->count);
        t->rows = grown;
        t->capacity = capacity;
    }
    row = &t->rows[t->count];
    *row = (struct job_row){.loss = NAN, .accuracy = NAN, .val_loss = NAN, .val_accuracy = NAN};
    row->job_id = region_copy(&t->mem, job_id, strlen(job_id));
    row->model = region_copy(&t->mem, model, strlen(model));
    row->requested_by = row->failure_reason = "";
    row->action = ACTION_TRAIN;
    if (!row->job_id || !row->model)
        return NULL;
    t->count++;
    return row;
}

/* 1: there is one. 0: the record is none that can be read. */
static int payload_of(const struct scan *s, const struct record *r, const char *type, struct span *payload,
                      struct fail *why)
{
    struct fail unread;
    if (!r->value.data)
        return 0;
    int rc = command_payload(s->cx, r, type, payload, &unread);
    if (rc && fail_class(unread.code) != FAIL_RECORD) {
        *why = unread;
        return rc;
    }
    return rc == 0;
}

static int labels_keep(struct job_table *t, struct job_row *row, const struct training_job *job,
                       struct fail *why)
{
    row->label_count = 0;
    row->labels = region_alloc(&t->mem, sizeof *row->labels * (size_t)(job->label_count + 1));
    for (int i = 0; row->labels && i < job->label_count; i++)
        if (!(row->labels[row->label_count++] = region_copy(&t->mem, job->labels[i], strlen(job->labels[i]))))
            return memory(why);
    return row->labels ? 0 : memory(why);
}

/* What cannot be decoded is not a job; the worker gives it a dead letter. */
static int on_job(void *arg, const struct record *r, struct fail *why)
{
    struct scan *s = arg;
    struct region mem = {0};
    struct training_job job;
    struct span payload;
    struct fail unread;
    int rc = 0, found = payload_of(s, r, "TrainingJob", &payload, why);
    if (found < 0)
        return found;
    if (found && !training_job_decode(&job, payload, &mem, &unread) && job.action != ACTION_STOP &&
        *job.job_id) {
        struct job_row *row = row_of(s->table, job.job_id, job.model);
        rc = row ? 0 : memory(why);
        if (row) {
            row->action = job.action;
            row->created_at = job.created_at ? job.created_at : r->timestamp_ms;
            char *by = region_copy(&s->table->mem, job.requested_by, strlen(job.requested_by));
            row->requested_by = by ? by : "";
            rc = s->metrics_of && strcmp(job.job_id, s->metrics_of) == 0
                     ? labels_keep(s->table, row, &job, why)
                     : 0;
        }
    }
    region_free(&mem);
    return rc;
}

static int on_checkpoint(void *arg, const struct record *r, struct fail *why)
{
    struct scan *s = arg;
    struct region mem = {0};
    struct job_checkpoint c;
    struct span payload;
    struct fail unread;
    int rc = 0;
    if (payload_of(s, r, "JobCheckpoint", &payload, why) > 0 &&
        !job_checkpoint_decode(&c, payload, &mem, &unread)) {
        struct job_row *row = row_of(s->table, c.job_id, c.model);
        char *reason = region_copy(&s->table->mem, c.failure_reason, strlen(c.failure_reason));
        rc = row && reason ? 0 : memory(why);
        if (!rc && !job_state_terminal(row->state)) {
            row->state = c.state;
            row->epoch = c.epoch;
            row->step = c.step;
            row->total_steps = c.total_steps;
            row->version = c.version;
            row->failure_reason = reason;
            row->at = c.at;
        }
    }
    region_free(&mem);
    return rc;
}

static int metric_keep(struct job_table *t, struct job_row *row, const struct loss_metric *m,
                       struct fail *why)
{
    if (row->metric_count == row->metric_capacity) {
        int capacity = row->metric_capacity ? 2 * row->metric_capacity : 64;
        struct loss_metric *grown = region_alloc(&t->mem, sizeof *grown * (size_t)capacity);
        if (!grown)
            return memory(why);
        if (row->metric_count)
            memcpy(grown, row->metrics, sizeof *grown * (size_t)row->metric_count);
        row->metrics = grown;
        row->metric_capacity = capacity;
    }
    row->metrics[row->metric_count++] = *m;
    return 0;
}

static double newest(double old, double new)
{
    return isnan(new) ? old : new;
}

static int on_metric(void *arg, const struct record *r, struct fail *why)
{
    struct scan *s = arg;
    struct region mem = {0};
    struct loss_metric m;
    struct span payload;
    struct fail unread;
    int rc = 0;
    bool keep = s->metrics_of && r->key.data && r->key.size == strlen(s->metrics_of) &&
                memcmp(r->key.data, s->metrics_of, r->key.size) == 0;
    struct region *into = keep ? &s->table->mem : &mem;
    if (keep && r->value.data) { /* a kept metric must not point into the record */
        struct record copy = *r;
        copy.value.data = region_copy(into, r->value.data, r->value.size);
        if (!copy.value.data)
            return memory(why);
        keep = payload_of(s, &copy, "LossMetric", &payload, why) > 0;
    } else if (payload_of(s, r, "LossMetric", &payload, why) <= 0) {
        return 0;
    }
    if (!loss_metric_decode(&m, payload, into, &unread)) {
        struct job_row *row = row_of(s->table, m.job_id, m.model);
        rc = row ? 0 : memory(why);
        if (row) {
            row->loss = newest(row->loss, m.loss);
            row->accuracy = newest(row->accuracy, m.accuracy);
            row->val_loss = newest(row->val_loss, m.val_loss);
            row->val_accuracy = newest(row->val_accuracy, m.val_accuracy);
            rc = keep ? metric_keep(s->table, row, &m, why) : 0;
        }
    }
    region_free(&mem);
    return rc;
}

int job_table_read(struct job_table *t, const struct context *cx, const char *metrics_of, struct fail *why)
{
    static const struct {
        enum topic topic;
        scan_visit *visit;
    } parts[] = {{TOPIC_JOBS, on_job}, {TOPIC_CHECKPOINTS, on_checkpoint}, {TOPIC_METRICS, on_metric}};
    struct scan s = {t, metrics_of, cx};
    int rc = 0;
    *t = (struct job_table){0};
    for (int i = 0; !rc && i < 3; i++) {
        char name[TOPIC_NAME];
        rc = topic_scan(&cx->settings, topic_full_name(&cx->settings, parts[i].topic, name), cx->timeout_ms,
                        parts[i].visit, &s, why);
    }
    return rc;
}

int job_submit(const struct context *cx, const struct training_job *job, struct fail *why)
{
    char topic[TOPIC_NAME];
    struct writer *w = NULL;
    struct bytes value = {0};
    struct span key = {job->model, strlen(job->model)};
    training_job_encode(&value, job);
    int rc = value.failed ? fail(why, E_MEMORY, "no memory for a job")
                          : writer_open(&w, &cx->settings, cx->timeout_ms, why);
    if (!rc)
        rc = writer_put(w, topic_full_name(&cx->settings, TOPIC_JOBS, topic), -1, key,
                        (struct span){(char *)value.data, value.size}, NULL, 0, NULL, why);
    if (!rc)
        rc = writer_flush(w, cx->timeout_ms, why);
    writer_close(&w);
    bytes_free(&value);
    return rc;
}

static int ended_copy(const struct job_checkpoint *c, struct region *mem, struct job_checkpoint *out,
                      struct fail *why)
{
    *out = *c;
    out->job_id = region_copy(mem, c->job_id, strlen(c->job_id));
    out->model = region_copy(mem, c->model, strlen(c->model));
    out->artifact_uri = region_copy(mem, c->artifact_uri, strlen(c->artifact_uri));
    out->sha256 = region_copy(mem, c->sha256, strlen(c->sha256));
    out->failure_reason = region_copy(mem, c->failure_reason, strlen(c->failure_reason));
    out->worker = region_copy(mem, c->worker, strlen(c->worker));
    return out->job_id && out->model && out->artifact_uri && out->sha256 && out->failure_reason && out->worker
               ? 0
               : memory(why);
}

int job_wait_end(const struct context *cx, const char *job_id, struct region *mem, struct job_checkpoint *out,
                 struct fail *why)
{
    struct history *h = NULL;
    const struct job_checkpoint *c = NULL;
    double until = terminal_now() + cx->timeout_ms / 1000.0;
    int rc = history_open(&h, &cx->settings, cx->timeout_ms, why);
    while (!rc) {
        rc = history_catch_up(h, cx->timeout_ms, why);
        c = rc ? NULL : history_find(h, job_id);
        if (rc || (c && job_state_terminal(c->state)))
            break;
        struct timespec pause = {0, 50000000};
        nanosleep(&pause, NULL);
        if (command_stop)
            rc = fail(why, E_INTERRUPTED, "interrupted; the job %s stands", job_id);
        else if (terminal_now() > until)
            rc = fail(
                why, E_UNREACHABLE,
                "no train worker answered within %d ms: is a worker with role train running, and does it use "
                "this broker and model store? The job %s stands",
                cx->timeout_ms, job_id);
    }
    if (!rc)
        rc = ended_copy(c, mem, out, why);
    history_close(&h);
    return rc;
}
