/* What a loss is made of, for net.c and optest. */
#ifndef ENGINE_LOSS_TYPE_H
#define ENGINE_LOSS_TYPE_H

#include <stdbool.h>

#include "engine/loss.h"
#include "engine/op.h"

struct loss_type {
    const char *name;
    enum op op;
    bool takes_logits; /* a final softmax or sigmoid before it is an error */
    int least_outputs;
    const char *weights; /* what its weights are, as a job says it; NULL: it has none */
    bool by_label;       /* knows label_smoothing and ignored_label */
};

extern const struct loss_type loss_types[]; /* ends with a NULL name */

#endif
