/* Tables and names that several control records share. Next to read: training_job.c. */
#include "worker/codec/control.h"

const struct field text_fields[] = {{.name = "item", .kind = F_STRING}, {0}};

const struct field text_pair_fields[] = {
    FIELD(struct text_pair, key, F_STRING),
    FIELD(struct text_pair, value, F_STRING),
    {0},
};

const struct field number_pair_fields[] = {
    FIELD(struct number_pair, key, F_STRING),
    FIELD(struct number_pair, value, F_DOUBLE),
    {0},
};

const struct field offset_range_fields[] = {
    FIELD(struct offset_range, topic, F_STRING),
    FIELD(struct offset_range, partition, F_INT),
    FIELD(struct offset_range, start_offset, F_LONG),
    FIELD(struct offset_range, end_offset, F_LONG),
    {0},
};

bool job_state_terminal(enum job_state s)
{
    return s == JOB_COMPLETED || s == JOB_FAILED || s == JOB_STOPPED;
}

const char *job_state_name(enum job_state s)
{
    static const char *const names[] = {"UNKNOWN",    "STARTING",  "DOWNLOADING", "TRAINING", "INTERRUPTED",
                                        "RESTARTING", "UPLOADING", "COMPLETED",   "FAILED",   "STOPPED"};
    return (unsigned)s < JOB_STATES ? names[s] : names[0];
}

const char *job_action_name(enum job_action a)
{
    static const char *const names[] = {"UNKNOWN", "TRAIN", "STOP", "IMPORT"};
    return (unsigned)a < sizeof names / sizeof *names ? names[a] : names[0];
}

const char *version_event_name(enum version_event e)
{
    static const char *const names[] = {"UNKNOWN",  "CREATED",     "APPROVED", "REJECTED",
                                        "PROMOTED", "ROLLED_BACK", "RETIRED"};
    return (unsigned)e < sizeof names / sizeof *names ? names[e] : names[0];
}
