/* The table of record types, their schemas and the frame around a record. A new type is one row here.
 * Next to read: record.h for what a row means, json.c for what can be done with a schema. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "worker/codec/control.h"
#include "worker/service/embedded.h"

static int inference_validate(struct span value, struct fail *why)
{
    struct inference ignored;
    return inference_decode(&ignored, value, why);
}

static int sample_validate(struct span value, struct fail *why)
{
    struct sample ignored;
    return sample_decode(&ignored, value, why);
}

static const struct record_type types[] = {
    {"InferenceBatch", "inference", 1, inference_validate},
    {"Sample", "samples", 1, sample_validate},
    {"Prediction", "predictions", 1, prediction_validate},
    {"TrainingJob", "jobs", 1, training_job_validate},
    {"LossMetric", "metrics", 1, loss_metric_validate},
    {"ModelVersionEvent", "models", 1, model_version_event_validate},
    {"JobCheckpoint", "checkpoints", 1, job_checkpoint_validate},
};

enum { TYPES = sizeof types / sizeof *types };

const struct record_type *record_type_at(int i)
{
    return i >= 0 && i < TYPES ? &types[i] : NULL;
}

const struct record_type *record_type_find(const char *name)
{
    for (int i = 0; i < TYPES; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

const struct record_type *record_type_of_topic(const char *topic)
{
    if (strcmp(topic, "predictions.shadow") == 0)
        topic = "predictions";
    for (int i = 0; i < TYPES; i++)
        if (strcmp(types[i].topic, topic) == 0)
            return &types[i];
    return NULL;
}

/* Version 1 is schemas/NAME.avsc, later ones schemas/NAME.VERSION.avsc. */
const char *record_schema(const struct record_type *t, int version)
{
    char path[128];
    if (version < 1 || version > t->version)
        return NULL;
    if (version == 1)
        snprintf(path, sizeof path, "schemas/%s.avsc", t->name);
    else
        snprintf(path, sizeof path, "schemas/%s.%d.avsc", t->name, version);
    return embedded_find(path, NULL);
}

/* A decimal number of at most 9 digits; -1: something else. */
static int version_parse(struct span s)
{
    int v = 0;
    if (s.size < 1 || s.size > 9)
        return -1;
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return -1;
        v = v * 10 + (s.data[i] - '0');
    }
    return v;
}

int record_unframe(struct span value, struct span schema_header, const struct record_type *t,
                   struct span *payload, struct fail *why)
{
    if (!value.data || value.size == 0)
        return fail(why, E_EMPTY, "the record has no value (a tombstone); expected a %s", t->name);
    if (value.size > RECORD_MAX_BYTES)
        return fail(why, E_TOO_LARGE, "%zu bytes, at most %d are read", value.size, RECORD_MAX_BYTES);
    int version = schema_header.data ? version_parse(schema_header) : 1;
    if (version < 0)
        return fail(why, E_UNKNOWN_SCHEMA, "header millrace.schema is no decimal number, expected 1 to %d",
                    t->version);
    if (!record_schema(t, version))
        return fail(why, E_UNKNOWN_SCHEMA, "header millrace.schema is %d, this %s reads 1 to %d", version,
                    t->name, t->version);
    *payload = value;
    return 0;
}
