/* JobCheckpoint by its table. Next to read: fields.h. */
#include "worker/codec/control.h"

static const struct field job_checkpoint_fields[] = {
    FIELD_RULE(struct job_checkpoint, job_id, F_STRING, RULE_FILLED),
    FIELD(struct job_checkpoint, model, F_STRING),
    FIELD_ENUM(struct job_checkpoint, state, JOB_STATES),
    FIELD(struct job_checkpoint, epoch, F_INT),
    FIELD(struct job_checkpoint, step, F_LONG),
    FIELD(struct job_checkpoint, total_steps, F_LONG),
    FIELD(struct job_checkpoint, sequence, F_LONG),
    FIELD(struct job_checkpoint, artifact_uri, F_STRING),
    FIELD(struct job_checkpoint, sha256, F_STRING),
    FIELD(struct job_checkpoint, version, F_LONG),
    FIELD(struct job_checkpoint, failure_reason, F_NULL_STRING),
    FIELD(struct job_checkpoint, worker, F_STRING),
    FIELD(struct job_checkpoint, at, F_LONG),
    {0},
};

int job_checkpoint_decode(struct job_checkpoint *out, struct span value, struct region *mem, struct fail *why)
{
    return fields_decode(job_checkpoint_fields, out, sizeof *out, value, mem, why);
}

int job_checkpoint_validate(struct span value, struct fail *why)
{
    return fields_decode(job_checkpoint_fields, NULL, 0, value, NULL, why);
}

void job_checkpoint_encode(struct bytes *to, const struct job_checkpoint *c)
{
    fields_encode(to, job_checkpoint_fields, c);
}
