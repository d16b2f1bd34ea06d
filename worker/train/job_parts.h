/* What the files of hyperparameters share. Internal to worker/train/job*.c. */
#ifndef WORKER_TRAIN_JOB_PARTS_H
#define WORKER_TRAIN_JOB_PARTS_H

#include "worker/train/job.h"

/* What the table describes; choices are words and lists are texts until they are parsed. */
struct job_texts {
    struct job_settings s;
    int optimizer, schedule;
    char *mean, *std, *class_weights, *positive_weights, *ignore_label;
};

/* In the order of each other. */
#define JOB_OPTIMIZERS     "sgd|adam|adamw|rmsprop|adagrad"
#define JOB_OPTIMIZER_LIST "sgd", "adam", "adamw", "rmsprop", "adagrad"

#endif
