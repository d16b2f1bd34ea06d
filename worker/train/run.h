/* The training of one job: epochs, steps, micro-batches, validation, early stopping, and the LossMetric
 * records that tell of them. No Kafka, no files: who publishes and who keeps checkpoints is told through
 * struct run_watch (trainer.c for a worker, commands/train_local.c for a file).
 *
 * The order of rows in an epoch is a pure function of (seed, epoch), metrics are made at steps, not by the
 * clock, and everything that the future depends on is in struct run_state, the parameters and the optimiser's
 * moments: a run that goes on from a checkpoint gives the same bits as one that was never stopped. */
#ifndef WORKER_TRAIN_RUN_H
#define WORKER_TRAIN_RUN_H

#include "worker/train/dataset.h"
#include "worker/train/health.h"
#include "worker/train/job.h"

struct run;

enum { RUN_CLASSES = 1000, RUN_CELLS = 10000 }; /* of a report: more classes, more cells are left out */

struct run_sum { /* over some rows of training or evaluation */
    double loss, weight;
    int64_t correct, rows; /* rows: those that count, so without ignored labels */
};

/* Plain data; checkpoint.c writes every field, by name. */
struct run_state {
    int64_t epoch;                          /* epochs finished */
    int64_t step;                           /* optimiser steps done */
    int64_t sequence;                       /* of the last LossMetric made; 0: none */
    struct run_sum record_sum, epoch_sum;   /* since the last LossMetric; since the epoch began */
    struct run_sum train, validation, test; /* of the last epoch; test: at the end */
    double best_val_loss;                   /* +inf: none yet */
    int64_t epochs_without_better;
    double elapsed_s;   /* of training, over all owners of the job */
    double rate_factor; /* what the schedule's rate is multiplied by: health rules halve it */
    int64_t lowered;    /* times that they did */
    int64_t best_epoch; /* with restore_best; 0: none yet */
    struct run_sum best_train, best_validation; /* of that epoch */
    struct health_state health;
};

struct run_watch {
    /* A LossMetric without worker and at, which the callee fills. */
    int (*metric)(void *arg, struct loss_metric *m, struct fail *why);
    /* Now is the time for a checkpoint (checkpoint.h). */
    int (*checkpoint)(void *arg, struct run *r, struct fail *why);
    /* After every step; non-zero ends the run with that code. */
    int (*between)(void *arg, struct run *r, struct fail *why);
    void *arg; /* NULL functions are not called */
};

/* Opens net and optimiser. job, h and d must outlive the run; g is copied. The data set is finished. */
int run_open(struct run **out, struct backend *be, const struct graph *g, const struct dataset *d,
             const struct training_job *job, const struct job_settings *h, struct fail *why);
void run_close(struct run **r);

/* From where the state stands to the end of the last epoch (or an early stop), then the test rows. A loss
 * that is not finite is E_JOB, and so is an epoch of rows that do not count. Health rules do what the settings say:
 * those of a step that stop it end in E_JOB, those of an epoch end it as an early stop does. */
int run_train(struct run *r, const struct run_watch *w, struct fail *why);
/* Now, whatever the settings say: a LossMetric of what was trained since the last one, and a checkpoint. */
int run_mark(struct run *r, const struct run_watch *w, struct fail *why);
/* The same for a run that is left: where a health rule has something against the weights it does nothing at all, since
 * whoever goes on would go back to them. */
int run_leave(struct run *r, const struct run_watch *w, struct fail *why);
/* The rule that ended the run; -1: none did. */
int run_stopped_by(const struct run *r);

struct run_state *run_state(struct run *r);
int64_t run_total_steps(const struct run *r);
struct net *run_net(struct run *r);
struct optimizer *run_optimizer(struct run *r);
const struct dataset *run_dataset(const struct run *r);

/* A LossMetric with the next sequence number, the state's step and epoch, everything else null. */
struct loss_metric run_metric(struct run *r, enum job_state state);
/* The named results so far: loss, accuracy, val_*, test_*, and the numbers of rows and steps; what is not
 * known is left out. Returns how many were written; names are static. */
enum { RUN_RESULTS = 16 };
int run_results(const struct run *r, struct number_pair out[RUN_RESULTS]);
/* After run_train: the same, and precision.K, recall.K, f1.K, confusion.TRUE.PREDICTED (cells that are not 0) of the
 * test rows, or of the validation rows where there are no test rows. Memory is mem's. */
int run_report(const struct run *r, struct region *mem, struct number_pair **out, int *count,
               struct fail *why);
/* What the data set holds: rows, train_rows, val_rows, test_rows, bad_records, train_rows.K of each class. */
int run_data_report(const struct dataset *d, int64_t classes, struct region *mem, struct number_pair **out,
                    int *count, struct fail *why);
/* What another network would have as `metric` (loss, accuracy, also val_ and test_) over the rows of this run, which must not be
 * training; with the mean and std of its own. NAN: there are no such rows. E_JOB, E_NETWORK, E_UNSUPPORTED: the two cannot be
 * compared. */
int run_rival(struct run *r, const struct graph *g, const char *metric, double *out, struct fail *why);
/* For checkpoints: the best epoch's parameters, one after another in the net's order, made when they are not there.
 * NULL: no memory. */
float *run_best(struct run *r, struct fail *why);
int64_t run_param_floats(const struct run *r);
/* The trained network: a copy of the graph with the net's parameters and what its file says about where it comes
 * from. Nothing in it names a job or a time: equal trainings give equal files. */
int run_graph(struct run *r, struct graph **out, struct fail *why);

#endif
