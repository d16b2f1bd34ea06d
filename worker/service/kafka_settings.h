/* What the `kafka:` section may hold: keys go to librdkafka as they are, except those that the worker owns
 * and those that would weaken it. */
#ifndef WORKER_SERVICE_KAFKA_SETTINGS_H
#define WORKER_SERVICE_KAFKA_SETTINGS_H

#include "worker/service/settings.h"

#define KAFKA_BOOTSTRAP_YAML "${KAFKA_BOOTSTRAP:-127.0.0.1:9092}"

/* Refuses what must not be set, reads secrets from their *_file keys, fills in bootstrap.servers. `file`
 * begins the messages about keys that have a line; the others came with -X. */
int kafka_settings_finish(struct settings *s, const char *file, struct fail *why);

#endif
