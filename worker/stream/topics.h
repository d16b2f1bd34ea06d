/* The topics of contract.md: short names, settings, and how they are made. */
#ifndef WORKER_STREAM_TOPICS_H
#define WORKER_STREAM_TOPICS_H

#include "worker/service/settings.h"

enum topic {
    TOPIC_INFERENCE,
    TOPIC_PREDICTIONS,
    TOPIC_SHADOW,
    TOPIC_SAMPLES,
    TOPIC_JOBS,
    TOPIC_METRICS,
    TOPIC_MODELS,
    TOPIC_CHECKPOINTS,
    TOPIC_DEAD_LETTERS,
    TOPICS
};

enum { TOPIC_NAME = 250 };

const char *topic_short_name(enum topic t); /* "predictions.shadow" */
/* The full name: prefix + short name, into out; returns out. */
const char *topic_full_name(const struct settings *s, enum topic t, char out[TOPIC_NAME]);
/* A short or full name from a user; -1: not one of ours. */
int topic_find(const struct settings *s, const char *name);

struct topic_report {
    char name[TOPIC_NAME];
    bool existed;
    int partitions;
};

/* Makes what is missing; existing topics are left as they are. replication -1: the broker's default. */
int topics_create(const struct settings *s, int partitions, int replication, int timeout_ms,
                  struct topic_report report[TOPICS], struct fail *why);
/* Deletes every topic of the prefix that is one of ours: for topics made to be thrown away. */
int topics_delete(const struct settings *s, int timeout_ms, struct fail *why);
/* Partition count of every topic, 0: it does not exist. E_UNREACHABLE when no broker answers in time. */
int topics_look(const struct settings *s, int timeout_ms, int partitions[TOPICS], struct fail *why);

#endif
