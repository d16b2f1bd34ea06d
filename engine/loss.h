/* All losses, one table; formulas and means are PyTorch's. Losses take logits (cross_entropy, log_loss) or values
 * (mse) and give gradient SUMS and a weight; the optimiser divides.
 *
 *   cross_entropy  CrossEntropyLoss: labels, or targets that are probabilities
 *   mse            MSELoss: the mean over rows and outputs
 *   log_loss       BCEWithLogitsLoss: one output with labels 0 and 1, or targets 0 .. 1 for each of several labels */
#ifndef ENGINE_LOSS_H
#define ENGINE_LOSS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/fail.h"

struct loss_type;
struct net;

/* {0} changes nothing. A loss refuses what it has no use for. */
struct loss_settings {
    /* cross_entropy: a weight for each class (its `weight`); log_loss: one for the positive targets of each
     * output (its `pos_weight`). As many as the network has outputs; finite, 0 or more, not all 0. NULL: 1. */
    const float *weights;
    int64_t weight_count;
    double label_smoothing; /* cross_entropy: 0 .. below 1 */
    /* cross_entropy: rows with this label have no loss, no gradient, no weight and are neither right nor wrong.
     * Off, a label that is no class is an error. */
    bool ignores;
    int32_t ignored_label;
};

/* "cross_entropy", "mse", "log_loss"; NULL: unknown. */
const struct loss_type *loss_find(const char *name);
const char *loss_name(const struct loss_type *loss);
/* "cross_entropy, mse, log_loss", for messages. */
const char *loss_names(void);
/* What its weights are called where a user gives them: "class_weights", "positive_weights"; NULL: it has none. */
const char *loss_weights_name(const struct loss_type *loss);
/* Can this loss have these settings over so many outputs? E_JOB names the setting and what was expected. */
int loss_check(const struct loss_type *loss, const struct loss_settings *s, int64_t outputs,
               struct fail *why);

/* From now on the net (NET_TRAIN) takes this loss with these settings, which are copied; other losses, and this
 * one before the first call, are without settings. Allocates. */
int net_set_loss(struct net *net, const struct loss_type *loss, const struct loss_settings *s,
                 struct fail *why);

#endif
