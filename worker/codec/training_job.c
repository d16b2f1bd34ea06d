/* TrainingJob by its table. Bounds of hyperparameters, rates and ranges are the trainer's affair: it answers
 * a job that cannot run with FAILED and the reason, which a dead letter could not. */
#include "worker/codec/control.h"

static const struct field stopping_fields[] = {
    FIELD(struct training_job, max_runtime_s, F_LONG),
    FIELD(struct training_job, patience, F_INT),
    FIELD(struct training_job, min_delta, F_DOUBLE),
    {0},
};

static const struct field promote_fields[] = {
    FIELD_AS(struct training_job, metric, promote_metric, F_STRING),
    FIELD_AS(struct training_job, minimize, promote_minimize, F_BOOL),
    FIELD_AS(struct training_job, min_improvement, promote_min_improvement, F_DOUBLE),
    FIELD_AS(struct training_job, automatic, promote_automatic, F_BOOL),
    {0},
};

static const struct field training_job_fields[] = {
    FIELD_RULE(struct training_job, job_id, F_STRING, RULE_FILLED),
    FIELD_ENUM(struct training_job, action, ACTION_IMPORT + 1),
    FIELD_RULE(struct training_job, model, F_STRING, RULE_MODEL_NAME),
    FIELD(struct training_job, base_version, F_NULL_LONG),
    FIELD(struct training_job, network, F_STRING),
    FIELD_ARRAY(struct training_job, dataset, dataset_count, struct offset_range, offset_range_fields),
    FIELD(struct training_job, validation_rate, F_DOUBLE),
    FIELD(struct training_job, test_rate, F_DOUBLE),
    FIELD(struct training_job, artifact_uri, F_STRING),
    FIELD(struct training_job, sha256, F_STRING),
    FIELD_ARRAY(struct training_job, labels, label_count, const char *, text_fields),
    FIELD_ENUM(struct training_job, loss, LOSS_LOG_LOSS + 1),
    FIELD_ARRAY(struct training_job, hyperparameters, hyperparameter_count, struct text_pair,
                text_pair_fields),
    FIELD_RECORD(stopping, stopping_fields),
    FIELD(struct training_job, checkpoint_every, F_INT),
    FIELD_RECORD(promote, promote_fields),
    FIELD(struct training_job, requested_by, F_STRING),
    FIELD(struct training_job, created_at, F_LONG),
    {0},
};

int training_job_decode(struct training_job *out, struct span value, struct region *mem, struct fail *why)
{
    return fields_decode(training_job_fields, out, sizeof *out, value, mem, why);
}

int training_job_validate(struct span value, struct fail *why)
{
    return fields_decode(training_job_fields, NULL, 0, value, NULL, why);
}

void training_job_encode(struct bytes *to, const struct training_job *job)
{
    fields_encode(to, training_job_fields, job);
}
