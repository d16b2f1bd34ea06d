/* The two roles. Who runs them: worker.c. */
#include "worker/commands/roles.h"

#include "worker/train/trainer.h"

enum { BATCHES = 32 };

const struct session_role role_infer = {
    .name = "infer",
    .input = TOPIC_INFERENCE,
    .outputs = 1u << TOPIC_PREDICTIONS | 1u << TOPIC_SHADOW | 1u << TOPIC_MODELS | 1u << TOPIC_DEAD_LETTERS,
    .reads = 1u << TOPIC_MODELS,
    .batches = BATCHES,
};

const struct session_role role_train = {
    .name = "train",
    .input = TOPIC_JOBS,
    .outputs = 1u << TOPIC_JOBS | 1u << TOPIC_METRICS | 1u << TOPIC_CHECKPOINTS | 1u << TOPIC_MODELS |
               1u << TOPIC_DEAD_LETTERS,
    .reads = 1u << TOPIC_SAMPLES | 1u << TOPIC_CHECKPOINTS | 1u << TOPIC_MODELS,
    .batches = TRAIN_BATCHES,
    .hands_over = true,
};
