/* A training job: its hyperparameters, its checks, the network it trains, and the YAML file it is written in.
 * The record itself is struct training_job of codec/record.h. Nothing here talks to Kafka but job_resolve. */
#ifndef WORKER_TRAIN_JOB_H
#define WORKER_TRAIN_JOB_H

#include "engine/graph.h"
#include "engine/loss.h"
#include "engine/optim.h"
#include "engine/schedule.h"
#include "engine/setting.h"
#include "worker/codec/record.h"
#include "worker/service/settings.h"
#include "worker/train/augment.h"
#include "worker/train/health.h"

enum { JOB_CHANNELS = 16, JOB_ALL_PARTITIONS = -1 };

/* The hyperparameters of a job, parsed; plain data. Texts are the job's. */
struct job_settings {
    const char *optimizer; /* static */
    double learning_rate;
    struct optim_settings optim;
    struct schedule schedule;          /* without its steps: job_schedule */
    double warmup_epochs, step_epochs; /* of the schedule; parts of epochs are allowed */
    const char *weights;               /* "1, 0.5, 2" of the loss's classes or outputs; "": all 1 */
    const char *weights_key;           /* class_weights or positive_weights; NULL: neither is given */
    double label_smoothing;
    bool ignores; /* rows with this label are trained on by nobody */
    int32_t ignored_label;
    bool balanced;            /* class weights are made of the training rows: n / (K n_k) */
    int64_t batch_size;       /* rows of an optimiser step; 0: the whole set */
    int64_t micro_batch_size; /* rows that go through the network at once; 0: chosen */
    int64_t epochs;
    int64_t seed;
    float mean[JOB_CHANNELS], std[JOB_CHANNELS];
    int mean_count, std_count; /* 0: not given; else 1 (all channels) or one a channel, and equal */
    bool mean_auto;            /* mean and std of the training rows */
    bool resize, restore_best;
    int bad_samples; /* BAD_SAMPLES_* */
    int64_t bad_samples_max, metrics_every;
    struct augment augment;
    struct health_settings health;
};

enum { BAD_SAMPLES_FAIL, BAD_SAMPLES_SKIP };

/* For `help job`: every hyperparameter, and every other key of a job file but `dataset` and `labels`, with default,
 * bounds and meaning. */
extern const struct setting job_hyperparameters[], job_file_keys[];

/* An unknown name, a wrong value, one that the optimiser or schedule has no use for: E_CONFIG with the nearest
 * known name; `where` begins the text. *out points into the pairs' values. */
int job_settings_parse(struct job_settings *out, const struct text_pair *pairs, int count, const char *where,
                       struct fail *why);
/* One pair by itself: its name and bounds, not what it has to do with others. */
int job_setting_check(const struct text_pair *pair, const char *where, struct fail *why);
/* The schedule where an epoch is so many steps. */
struct schedule job_schedule(const struct job_settings *h, int64_t steps_an_epoch);
/* Whether the settings fit the loss and a network of so many outputs (0: not known yet). */
int job_loss_check(const struct job_settings *h, const struct loss_type *loss, int64_t outputs,
                   struct fail *why);
/* Gives a net its loss with the settings; class_weights NULL: those of the settings. */
int job_loss_set(const struct job_settings *h, const struct loss_type *loss, struct net *net,
                 const float *class_weights, struct fail *why);

/* Everything that can be said about a TRAIN job without its data: names, ranges, rates, loss, rule, and the
 * hyperparameters into *out. `with_data` false: the data set comes from a file. E_JOB or E_CONFIG. */
int job_check(const struct training_job *job, bool with_data, struct job_settings *out, struct fail *why);

const struct loss_type *job_loss_type(enum job_loss loss); /* NULL: unknown */

/* A metric of the job in which nothing is measured yet: NaN. Its texts are the job's. */
struct loss_metric job_metric(const struct training_job *job, int64_t sequence, enum job_state state);

/* The network a job names: a shipped file ("lenet") or its YAML text, which holds a newline. */
int job_network(struct graph **out, const char *network, struct fail *why);
/* Writes the job's labels, preprocessing and output rule into a graph that is to be trained. With mean_auto the
 * preprocessing comes later: job_normalise, with dataset_moments. */
int job_prepare(struct graph *g, const struct training_job *job, const struct job_settings *h,
                struct fail *why);

/* Mean and std, one a channel, into the graph. */
void job_normalise(struct graph *g, const float *mean, const float *std, int channels);

/* Reads a job file; strings live in mem. Ranges are as written: partition JOB_ALL_PARTITIONS, start_offset
 * READER_BEGINNING or READER_END, end_offset READER_END until job_resolve. `network` that is a path (it has a
 * slash or ends in .yaml) is replaced by the file's text. E_CONFIG with file:line:column. */
int job_file_read(struct training_job *out, const char *path, struct region *mem, struct fail *why);
/* Reads a JSON list of ranges, what `send --samples` prints, over job->dataset. */
int job_ranges_read(struct training_job *job, const char *path, struct region *mem, struct fail *why);
/* Fixes the ranges: all partitions, earliest and latest as they are now, short topic names to full ones.
 * E_CONFIG when nothing is left to read. */
int job_resolve(struct training_job *job, const struct settings *s, int timeout_ms, struct region *mem,
                struct fail *why);

/* "digits-20260102T030405-9f3c2a": the model, the time, and something random. NULL: out of memory. */
const char *job_id_make(const char *model, struct region *mem);

#endif
