/* A model for tests that serve: LeNet with fresh weights from a seed, in the stage's store and on its models topic, without
 * training and without the commands under test. */
#ifndef TESTS_LIB_MODEL_H
#define TESTS_LIB_MODEL_H

#include "tests/lib/broker.h"
#include "worker/service/settings.h"

/* The stage's settings, as its commands load them. Free with settings_free. */
void stage_settings_load(struct stage *s, struct settings *out);
/* Publishes version `version` of `model` with weights of `seed`, and makes it the champion when `promote`. */
void stage_model(struct stage *s, const char *model, long version, unsigned seed, bool promote);
/* The same with the network of a YAML text; NULL: LeNet. */
void stage_model_network(struct stage *s, const char *model, long version, unsigned seed, bool promote,
                         const char *network);
/* Produces one record with any bytes to a topic of the stage ("inference"); value NULL: a tombstone. */
void stage_put(struct stage *s, const char *topic, int partition, const char *key, const void *value,
               size_t size);

#endif
