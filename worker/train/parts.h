/* What the files of the trainer share. Internal to worker/train: trainer.c takes records and commits batches,
 * task.c trains, version.c makes versions, import.c makes one of a file. */
#ifndef WORKER_TRAIN_PARTS_H
#define WORKER_TRAIN_PARTS_H

#include "worker/models/store.h"
#include "worker/stream/sink.h"
#include "worker/train/control.h"
#include "worker/train/history.h"
#include "worker/train/job.h"
#include "worker/train/publish.h"
#include "worker/train/run.h"

enum { TRAIN_TIMEOUT_MS = 10000, TRAIN_SETTLE_MS = 15000 }; /* above transaction.timeout.ms */
enum { TRAIN_KEEP_MS = 60000 };

/* The data set of a job whose partition was taken away: where it comes back at once, as it does while members join and leave,
 * the rows are not read again. */
struct kept_data {
    struct dataset *data; /* finished; NULL: none */
    char *job_id;
    int64_t until_ms; /* monotonic */
};

struct trainer {
    const struct settings *settings;
    struct source *src;
    struct sink *sink;
    struct backend *be;
    struct history *history;
    int partitions; /* of the jobs topic */
    struct kept_data kept;
};

/* ---- trainer.c ---- */

/* Seals, hands over and waits until it is committed; *b is NULL afterwards. E_ABORT: it was not, the record
 * comes again (or goes to someone else). */
int trainer_commit(struct trainer *t, struct batch **b, enum seal how, struct fail *why);
/* Gives a batch back to the pool; NULL is fine. */
void trainer_drop(struct trainer *t, struct batch **b);
/* Fills worker and at, adds the record to the batch. */
int trainer_checkpoint(struct trainer *t, struct batch *b, const struct record *from,
                       struct job_checkpoint *c, struct fail *why);
int trainer_metric(struct trainer *t, struct batch *b, const struct record *from, struct loss_metric *m,
                   struct fail *why);
/* A job that ends without a run: a metric and a checkpoint of a terminal state (FAILED with its reason,
 * STOPPED), sealed as `how`. `metric`: one number of the LossMetric, NULL: none. */
int trainer_end_job(struct trainer *t, const struct record *from, const struct training_job *job,
                    enum job_state state, const char *reason, struct number_pair *metric, enum seal how,
                    struct fail *why);
/* A code that is the session's or the process's affair, not the job's. */
bool trainer_is_session(int rc);

/* ---- task.c ---- */
/* Now, or when its time is over. */
void kept_data_drop(struct kept_data *kept, bool now);
int task_train(struct trainer *t, const struct record *from, const struct training_job *job,
               struct fail *why);

/* ---- import.c ---- */
int import_file(struct trainer *t, const struct record *from, const struct training_job *job, enum seal how,
                struct fail *why);

/* ---- version.c ---- */

/* The registry, no older than what was published before the call, by this trainer or by a dead one. What a job's
 * checkpoint says was made and the registry lacks was deleted; its number is not given again. */
int version_registry(struct trainer *t, const char *model, struct registry **out, struct fail *why);
int64_t version_next(const struct trainer *t, const struct registry *r, const char *model);
/* Input shape, preprocessing and labels of the graph into the event, memory from mem. */
int version_describe(struct model_version_event *e, const struct graph *g, struct region *mem,
                     struct fail *why);
enum { VERSION_REASON = 500 };
/* Whether the job's rule makes this version the champion: its metric is held against the champion's on the same rows, those of
 * `run`. The reason, either way, is for the event; "" where the job has no rule. */
bool version_promotes(struct trainer *t, struct run *run, const struct registry *r,
                      const struct training_job *job, const struct model_version_event *created,
                      char reason[VERSION_REASON]);

#endif
