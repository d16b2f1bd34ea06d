/* What the files of a task share. Internal to worker/train/task*.c: task.c runs and stops, task_open.c begins,
 * task_end.c makes the version. */
#ifndef WORKER_TRAIN_TASK_PARTS_H
#define WORKER_TRAIN_TASK_PARTS_H

#include "worker/train/checkpoint.h"
#include "worker/train/parts.h"

struct task {
    struct trainer *t;
    const struct record *from;
    const struct training_job *job;
    struct job_settings settings;
    struct region mem;
    struct graph *graph;
    struct dataset *data;
    struct run *run;
    struct control *control;
    struct run_watch watch;
    struct batch *pending; /* metrics since the last checkpoint, dead letters of the data set; NULL: none */
    int64_t committed_ms;  /* monotonic: the last commit */
    int64_t bad_records;   /* that became dead letters in `pending` */
    struct job_checkpoint last; /* as committed */
    int64_t failing_ms;         /* monotonic: since when the store takes no file; 0: it does */
    bool stop;                  /* a STOP came */
    int broken;                 /* what control gave while rows were read; 0: nothing */
    struct fail broken_why;
};

/* ---- task.c ---- */

/* A batch in `pending`. */
int task_batch(struct task *k, struct fail *why);
/* The checkpoint record of now. */
struct job_checkpoint task_point(const struct task *k, enum job_state state);
/* Adds the checkpoint to what is pending and commits both. */
int task_commit(struct task *k, struct job_checkpoint *c, enum seal how, struct fail *why);
/* A file that the store could not take costs no job while that may pass, a full disk above all: true, with a warning, for
 * training.store_patience_ms from the first of them on. To be asked after every file; rc 0 begins anew. */
bool task_is_patient(struct task *k, int rc, const struct fail *why);
/* Between two tries of what the job cannot go on without; not 0: the partition belongs to someone else now. */
int task_pause(struct task *k, struct fail *why);
/* While rows are read: true ends that. */
bool task_should_stop(void *arg);

/* ---- task_open.c ---- */

/* From the record to a run that stands where its last checkpoint stood. */
int task_open(struct task *k, struct fail *why);

/* ---- task_end.c ---- */

/* The version, and the transaction that ends the job with it. */
int task_finish(struct task *k, struct fail *why);

#endif
