/* All optimisers, one table. */
#ifndef ENGINE_OPTIM_H
#define ENGINE_OPTIM_H

#include "engine/net.h"

struct optim_settings {
    double momentum;        /* 0 .. 1 */
    double weight_decay_l1; /* added to the gradient: l1 * sign(w) */
    double weight_decay_l2; /* added to the gradient: l2 * w */
};

/* name: "sgd". Moments live in one arena on the net's backend. */
int optim_open(struct optimizer **out, struct net *net, const char *name, const struct optim_settings *s,
               struct fail *why);
void optim_close(struct optimizer **opt);
const char *optim_names(void);
int64_t optim_steps(const struct optimizer *opt);
/* Moments and step count for checkpoints: `size` floats (moments, by parameter order of the net) to and from
 * the host. */
int64_t optim_state_size(const struct optimizer *opt);
int optim_state_get(struct optimizer *opt, float *values, int64_t *steps, struct fail *why);
int optim_state_set(struct optimizer *opt, const float *values, int64_t steps, struct fail *why);

#endif
