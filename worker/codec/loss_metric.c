/* LossMetric by its table. Next to read: fields.h. */
#include "worker/codec/control.h"

static const struct field loss_metric_fields[] = {
    FIELD_RULE(struct loss_metric, job_id, F_STRING, RULE_FILLED),
    FIELD(struct loss_metric, model, F_STRING),
    FIELD(struct loss_metric, sequence, F_LONG),
    FIELD_ENUM(struct loss_metric, state, JOB_STATES),
    FIELD(struct loss_metric, epoch, F_INT),
    FIELD(struct loss_metric, step, F_LONG),
    FIELD(struct loss_metric, total_steps, F_LONG),
    FIELD(struct loss_metric, loss, F_NULL_DOUBLE),
    FIELD(struct loss_metric, accuracy, F_NULL_DOUBLE),
    FIELD(struct loss_metric, val_loss, F_NULL_DOUBLE),
    FIELD(struct loss_metric, val_accuracy, F_NULL_DOUBLE),
    FIELD(struct loss_metric, learning_rate, F_NULL_DOUBLE),
    FIELD(struct loss_metric, samples_per_second, F_NULL_DOUBLE),
    FIELD_ARRAY(struct loss_metric, metrics, metric_count, struct number_pair, number_pair_fields),
    FIELD(struct loss_metric, failure_reason, F_NULL_STRING),
    FIELD(struct loss_metric, worker, F_STRING),
    FIELD(struct loss_metric, at, F_LONG),
    {0},
};

int loss_metric_decode(struct loss_metric *out, struct span value, struct region *mem, struct fail *why)
{
    return fields_decode(loss_metric_fields, out, sizeof *out, value, mem, why);
}

int loss_metric_validate(struct span value, struct fail *why)
{
    return fields_decode(loss_metric_fields, NULL, 0, value, NULL, why);
}

void loss_metric_encode(struct bytes *to, const struct loss_metric *m)
{
    fields_encode(to, loss_metric_fields, m);
}
