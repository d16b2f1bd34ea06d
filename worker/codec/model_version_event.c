/* ModelVersionEvent by its table. What an event does to the model registry is worker/models' affair. */
#include "worker/codec/control.h"

static const struct field long_fields[] = {{.name = "item", .kind = F_LONG}, {0}};
static const struct field float_fields[] = {{.name = "item", .kind = F_FLOAT}, {0}};

static const struct field input_fields[] = {
    FIELD_FIXED(struct model_version_event, shape, input_shape, input_rank, int64_t, long_fields),
    FIELD_FIXED(struct model_version_event, mean, mean, mean_count, float, float_fields),
    FIELD_FIXED(struct model_version_event, std, std, std_count, float, float_fields),
    {0},
};

static const struct field model_version_event_fields[] = {
    FIELD(struct model_version_event, event_id, F_STRING),
    FIELD_ENUM(struct model_version_event, event, EVENT_RETIRED + 1),
    FIELD_RULE(struct model_version_event, model, F_STRING, RULE_MODEL_NAME),
    FIELD(struct model_version_event, version, F_LONG),
    FIELD(struct model_version_event, alias, F_NULL_STRING),
    FIELD(struct model_version_event, traffic, F_DOUBLE),
    FIELD(struct model_version_event, previous_version, F_NULL_LONG),
    FIELD(struct model_version_event, artifact_uri, F_STRING),
    FIELD(struct model_version_event, format, F_STRING),
    FIELD(struct model_version_event, sha256, F_STRING),
    FIELD(struct model_version_event, size_bytes, F_LONG),
    {.name = "input",
     .kind = F_NULL_RECORD,
     .at = AT(struct model_version_event, has_input),
     .item = input_fields},
    FIELD_ARRAY(struct model_version_event, labels, label_count, const char *, text_fields),
    FIELD(struct model_version_event, job_id, F_NULL_STRING),
    FIELD(struct model_version_event, base_version, F_NULL_LONG),
    FIELD_ARRAY(struct model_version_event, dataset, dataset_count, struct offset_range, offset_range_fields),
    FIELD(struct model_version_event, dataset_sha256, F_STRING),
    FIELD_ARRAY(struct model_version_event, hyperparameters, hyperparameter_count, struct text_pair,
                text_pair_fields),
    FIELD_ARRAY(struct model_version_event, metrics, metric_count, struct number_pair, number_pair_fields),
    FIELD(struct model_version_event, reason, F_STRING),
    FIELD(struct model_version_event, created_by, F_STRING),
    FIELD_ARRAY(struct model_version_event, tags, tag_count, struct text_pair, text_pair_fields),
    FIELD(struct model_version_event, at, F_LONG),
    {0},
};

int model_version_event_decode(struct model_version_event *out, struct span value, struct region *mem,
                               struct fail *why)
{
    return fields_decode(model_version_event_fields, out, sizeof *out, value, mem, why);
}

int model_version_event_validate(struct span value, struct fail *why)
{
    return fields_decode(model_version_event_fields, NULL, 0, value, NULL, why);
}

void model_version_event_encode(struct bytes *to, const struct model_version_event *e)
{
    fields_encode(to, model_version_event_fields, e);
}
