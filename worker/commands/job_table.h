/* Jobs as a command sees them: the jobs topic, the checkpoints topic and the metrics topic read whole and put
 * together by job_id. One thread. */
#ifndef WORKER_COMMANDS_JOB_TABLE_H
#define WORKER_COMMANDS_JOB_TABLE_H

#include "worker/codec/record.h"
#include "worker/commands/command.h"

struct job_row {
    const char *job_id, *model, *requested_by, *failure_reason;
    enum job_action action;
    enum job_state state; /* JOB_UNKNOWN: no worker has taken it yet */
    int32_t epoch;
    int64_t step, total_steps, version, created_at, at;
    double loss, accuracy, val_loss, val_accuracy; /* newest; NAN: not known */
    struct loss_metric *metrics;                   /* in order of sequence; only of the job asked for */
    int metric_count, metric_capacity;
    const char **labels; /* the job's, of the job asked for */
    int label_count;
};

struct job_table {
    struct region mem;
    struct job_row *rows; /* in the order of the jobs topic */
    int count, capacity;
};

/* metrics_of: the job whose metrics are kept; NULL: none. */
int job_table_read(struct job_table *t, const struct context *cx, const char *metrics_of, struct fail *why);
void job_table_free(struct job_table *t);
struct job_row *job_table_find(const struct job_table *t, const char *job_id); /* NULL: unknown */

/* "QUEUED" for a job that no worker has taken. */
const char *job_row_state(const struct job_row *row);

/* Submits a record to the jobs topic under its model and waits for the broker's acknowledgement. */
int job_submit(const struct context *cx, const struct training_job *job, struct fail *why);
/* Waits until the job is terminal: *state, *version and *reason (in mem). E_UNREACHABLE after cx->timeout_ms,
 * E_INTERRUPTED on Ctrl-C. */
int job_wait_end(const struct context *cx, const char *job_id, struct region *mem, struct job_checkpoint *out,
                 struct fail *why);

#endif
