/* What the files of a run share. Internal to worker/train/run*.c. */
#ifndef WORKER_TRAIN_RUN_PARTS_H
#define WORKER_TRAIN_RUN_PARTS_H

#include "worker/train/run.h"

/* A copy on the host of what a step changes; floats NULL: none. */
struct run_weights {
    float *params;  /* one after another, in the net's order */
    float *moments; /* the optimiser's; NULL where they are not kept */
    int64_t steps;
};

struct run {
    const struct training_job *job;
    const struct job_settings *settings;
    const struct dataset *data;
    const struct loss_type *loss;
    struct backend *be;
    struct graph *graph;
    struct net *net;
    struct optimizer *opt;
    struct run_state state;
    uint32_t *order;     /* training rows, as this epoch takes them */
    int64_t order_epoch; /* the epoch that `order` is for; -1: none */
    struct dataset_batch rows;
    int max_rows;
    int64_t batch, steps_an_epoch, total_steps, record_every;
    struct schedule schedule;
    bool accuracy;         /* the loss knows right from wrong */
    int64_t last_us;       /* monotonic: the last record */
    int64_t last_rows;     /* trained since then */
    int64_t elapsed_at_us; /* up to when state.elapsed_s counts */
    float *class_weights;  /* "balanced"; NULL: as the settings say */
    int64_t param_floats;
    float *room;                 /* the largest parameter, for looks at gradients */
    struct run_weights best;     /* of state.best_epoch, with restore_best */
    struct run_weights good;     /* at the last checkpoint, where a rule may go back to it */
    struct run_state good_state; /* then */
    double told[HEALTH_RULES];   /* actions for the next record; 0: nothing */
    int stopped_by;              /* enum health_rule; -1: none */
    int64_t *confusion;          /* [classes][classes], true label first; NULL: not known */
    int64_t classes;
};

/* ---- run.c ---- */
int64_t run_now_us(void);
/* run_mark without a look at the weights. */
int run_publish(struct run *r, const struct run_watch *w, struct fail *why);
static inline int64_t step_in_epoch(const struct run *r)
{
    return r->state.step - r->state.epoch * r->steps_an_epoch;
}
/* Net and optimiser as new. */
int run_net_open(struct run *r, struct fail *why);

/* ---- run_step.c ---- */
double run_learning_rate(const struct run *r, int64_t step);
/* *back: the run has gone back to its last checkpoint, the step is void. */
int run_step(struct run *r, const struct run_watch *w, bool *back, struct fail *why);
/* The strongest action among the rules of these bits, and whose it is; what is said in the next record. */
enum health_action run_rules_act(struct run *r, unsigned fired, int *rule);
/* Before a checkpoint; *back: it is not to be made, the run has gone back. */
int run_checkpoint_health(struct run *r, const struct run_watch *w, bool *back, struct fail *why);
/* run_go_back, said and made durable. */
int run_return(struct run *r, const struct run_watch *w, struct fail *why);

/* ---- run_record.c ---- */
double run_loss(const struct run_sum *s); /* NAN: no row */
double run_accuracy(const struct run *r, const struct run_sum *s);
/* What happened since the record before; `validation` NULL: not an epoch's end. */
int run_record(struct run *r, const struct run_watch *w, const struct run_sum *validation, struct fail *why);
/* Loss and hits over a part, and who was taken for whom where `confusion` is not NULL. */
int run_evaluate(struct run *r, enum dataset_part part, struct run_sum *out, int64_t *confusion,
                 struct fail *why);
/* The last look at the network: the test rows, or the validation rows where there are none. */
int run_judge(struct run *r, struct fail *why);

/* ---- run_weights.c ---- */
int run_weights_take(struct run *r, struct run_weights *to, bool moments, struct fail *why);
int run_weights_put(struct run *r, const struct run_weights *from, struct fail *why);
void run_weights_free(struct run_weights *w);
/* At a checkpoint: what a health rule goes back to. */
int run_keep_good(struct run *r, struct fail *why);
/* At an epoch's end: the best weights so far. */
int run_keep_best(struct run *r, struct fail *why);
/* At the end: the best weights again, and the sums of their epoch. */
int run_restore_best(struct run *r, struct fail *why);
/* Back to the last good state with half the rate; the sequence goes on. */
int run_go_back(struct run *r, struct fail *why);

#endif
