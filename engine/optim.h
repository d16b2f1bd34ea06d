/* All optimisers, one table; arithmetic and defaults are PyTorch's. A step divides the gradient sums by their
 * weight, then clips, then decays, then updates (net_step). */
#ifndef ENGINE_OPTIM_H
#define ENGINE_OPTIM_H

#include "engine/net.h"

/* Begin with optim_defaults. What an optimiser does not know must stay as there: optim_open refuses it. */
struct optim_settings {
    double momentum;        /* sgd, rmsprop: 0 .. 1 */
    double weight_decay_l1; /* added to the gradient: l1 * sign(w); adamw: to the weight's change, times lr */
    double weight_decay_l2; /* the same with l2 * w */
    double clip_norm;       /* the gradient of all parameters is scaled down to this L2 norm; 0: never */
    double beta1, beta2;    /* adam, adamw: share of the moments that is kept, 0 .. below 1 */
    double alpha;           /* rmsprop: the same of the squares */
    double epsilon;         /* all but sgd: added to the root that the step is divided by; above 0 */
    bool nesterov;          /* sgd, with momentum */
    bool centered;          /* rmsprop: squares less the square of the mean */
};

/* PyTorch's defaults, but that adamw decays nothing unless told to. name unknown: sgd's. */
struct optim_settings optim_defaults(const char *name);
/* name: one of optim_names(). E_JOB names the setting that is out of bounds or that this optimiser has not.
 * Moments live in one arena on the net's backend. */
int optim_open(struct optimizer **out, struct net *net, const char *name, const struct optim_settings *s,
               struct fail *why);
void optim_close(struct optimizer **opt);
const char *optim_names(void); /* "sgd, adam, ..." for messages */
/* Whether the optimiser looks at a setting of its own: "momentum", "nesterov", "beta1", "beta2", "alpha",
 * "epsilon", "centered". Decay and clipping are everybody's. */
bool optim_takes(const char *name, const char *setting);
int64_t optim_steps(const struct optimizer *opt);
/* Moments and step count for checkpoints: `size` floats (moments, by parameter order of the net) to and from
 * the host. 0 floats where the settings need none; values may be NULL then. */
int64_t optim_state_size(const struct optimizer *opt);
int optim_state_get(struct optimizer *opt, float *values, int64_t *steps, struct fail *why);
int optim_state_set(struct optimizer *opt, const float *values, int64_t steps, struct fail *why);

#endif
