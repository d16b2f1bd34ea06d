/* Health rules: cheap looks at a training that goes wrong, and what is done about it. A look reads the gradients of
 * one step (those that make a LossMetric), an epoch's rules its losses. All that they remember is in struct
 * health_state, which is part of the run's state: a run that goes on from a checkpoint says the same.
 *
 *   non_finite   the loss, a gradient or a weight is NaN or infinite
 *   exploding    the gradient's norm or a weight is over 1e6, or the norm 100 times its running mean
 *   vanishing    the gradients of the first weights are under 1e-5 of those of the last, three looks in a row
 *   dead_relu    more than half of the hidden units have a bias gradient of exactly 0, three looks in a row (steps
 *                of 32 rows or more)
 *   not_falling  the training loss has not gone below its lowest for health_patience epochs
 *   overfitting  val_loss is above its lowest while the training loss is below what it was then, for
 *                health_patience epochs */
#ifndef WORKER_TRAIN_HEALTH_H
#define WORKER_TRAIN_HEALTH_H

#include "engine/net.h"

enum health_rule {
    HEALTH_NON_FINITE,
    HEALTH_EXPLODING,
    HEALTH_VANISHING,
    HEALTH_DEAD_RELU,
    HEALTH_NOT_FALLING,
    HEALTH_OVERFITTING,
    HEALTH_RULES
};

/* Also the value of the metric health.RULE. */
enum health_action { HEALTH_OFF, HEALTH_WARN, HEALTH_LOWER, HEALTH_STOP };

#define HEALTH_ACTIONS "off|warn|lower|stop"

struct health_settings {
    int action[HEALTH_RULES]; /* enum health_action */
    int64_t patience;         /* epochs */
};

/* Plain data; checkpoint.c writes every field, by name. */
struct health_state {
    int64_t told; /* a bit for each rule that holds and was told of */
    double norm_mean;
    int64_t norms;           /* in the mean */
    int64_t vanishing, dead; /* looks in a row */
    double best_loss;        /* lowest of an epoch in training; +inf: none */
    int64_t not_falling;     /* epochs in a row */
    double best_val_loss;    /* lowest; +inf: none */
    double loss_at_best_val; /* in training, in that epoch */
    int64_t overfitting;     /* epochs in a row */
};

struct health_look {
    double norm;        /* of the gradient of all parameters, divided by the step's weight */
    double first, last; /* root mean square of the first and the last weights' gradient */
    double largest;     /* of the weights, without sign */
    double dead;        /* share of hidden units without a gradient; 0: no unit was looked at */
};

const char *health_name(enum health_rule rule); /* "health.non_finite" */
struct health_state health_begin(void);
/* Reads the gradients that net_accumulate has summed up; `room` holds the largest parameter. */
int health_look(struct net *net, double weight, float *room, struct health_look *out, struct fail *why);
/* The largest weight without sign, NaN and infinity above all; health_look does it too. */
int health_weights(struct net *net, float *room, double *largest, struct fail *why);
/* Before a checkpoint: what it would keep must be worth going back to. */
unsigned health_checkpoint(const struct health_settings *h, struct health_state *s, double largest);
/* The rules that hold: a bit each, only those not told of before. `loss` is the step's mean; rows: of the step. */
unsigned health_step(const struct health_settings *h, struct health_state *s, const struct health_look *look,
                     double loss, int64_t rows);
/* At an epoch's end; val_loss NAN: there are no validation rows. */
unsigned health_epoch(const struct health_settings *h, struct health_state *s, double loss, double val_loss);

#endif
