/* A data set: rows as they came (UINT8 stays UINT8, encoded images become UINT8) with labels or targets, split into
 * training, validation and test rows. Filled from Sample records of offset ranges, or from the rows of a file. Rows
 * are in memory or, beyond a limit, in a mapped file (cache.h).
 *
 * The split is a property of a row, not of its place: u = (first 8 bytes, big endian, of the SHA-256 of row,
 * label as 4 bytes or targets as float32, little endian) / 2^64; u < test_rate is test, u < test_rate +
 * validation_rate is validation, the rest trains. So equal rows are never on both sides, and more data moves
 * no row from one side to the other. One thread at a time. */
#ifndef WORKER_TRAIN_DATASET_H
#define WORKER_TRAIN_DATASET_H

#include "engine/graph.h"
#include "engine/loss.h"
#include "engine/net.h"
#include "worker/codec/record.h"
#include "worker/data/rows.h"
#include "worker/service/settings.h"
#include "worker/stream/payload.h"
#include "worker/train/augment.h"
#include "worker/train/cache.h"

struct dataset;

enum dataset_part { DATASET_TRAIN, DATASET_VALIDATION, DATASET_TEST, DATASET_PARTS };

struct dataset_options {
    double validation_rate, test_rate;
    bool ignores; /* rows labelled ignored_label may be in it, though no class is called so */
    int32_t ignored_label;
    /* What is to be trained: rows are held against it as they come, and encoded images get its size. NULL: the
     * first row says what the others must be, and dataset_finish judges. Borrowed until dataset_finish. */
    const struct graph *graph;
    const struct loss_type *loss;
    bool resize; /* UINT8 tensors [n, C, H, W] of another height and width are brought to the graph's */
    struct cache_limits limits;
    /* A record that cannot be used: whoever takes it (0) has it skipped and counted, whole, good rows too. Of a file a
     * row by itself; r is NULL then. `reason` has a RECORD code. NULL: such a record or row is an error. */
    int (*on_bad)(void *arg, const struct record *r, const struct fail *reason, struct fail *why);
    void *on_bad_arg;
};

int dataset_new(struct dataset **out, const struct dataset_options *o, struct fail *why);
void dataset_free(struct dataset **d);

/* One record of a samples topic; where nobody takes bad ones, E_JOB naming topic, partition and offset when it
 * cannot be used: undecodable, another shape or type than the rows before, non-finite values, an image that is
 * none, a label that the network does not know. `wait`: for a schema registry that is away. */
int dataset_add_record(struct dataset *d, const struct record *r, const struct payload_wait *wait,
                       struct fail *why);
/* Rows of a file; copied. `name` for messages. */
int dataset_add_rows(struct dataset *d, const struct rows *rows, const char *name, struct fail *why);
/* Reads the ranges one after another, so that the order of rows is the order of ranges. `stop` is asked
 * every 256 records, every 100 ms of waiting and after each range (NULL: never); true ends with
 * E_INTERRUPTED. */
int dataset_read(struct dataset *d, const struct settings *s, const struct offset_range *ranges, int count,
                 int timeout_ms, bool (*stop)(void *arg), void *arg, struct fail *why);

/* After the last row: checks rows against what is to be trained (input shape, classes, targets), takes the
 * preprocessing of the graph. E_JOB, E_BAD_SHAPE. Nothing may be added afterwards. */
int dataset_finish(struct dataset *d, const struct graph *g, const struct loss_type *loss, struct fail *why);

/* Mean and standard deviation of x / 255 over the training rows, one a channel, in whole numbers on the way, so that
 * the order of rows does not matter; a channel that is the same everywhere has the deviation 1.
 * E_JOB: rows are not UINT8, or have more channels than `room`. *channels: how many were written. */
int dataset_moments(const struct dataset *d, float *mean, float *std, int room, int *channels,
                    struct fail *why);
/* Rows of each label 0 .. classes-1; others are not counted. Rows with targets give zeros. */
void dataset_classes(const struct dataset *d, enum dataset_part part, int64_t *counts, int64_t classes);

int64_t dataset_count(const struct dataset *d, enum dataset_part part);
int64_t dataset_rows(const struct dataset *d);
int64_t dataset_bad_records(const struct dataset *d); /* and rows of files */
bool dataset_in_file(const struct dataset *d);        /* not in memory */
enum dtype dataset_dtype(const struct dataset *d);
struct shape dataset_shape(const struct dataset *d);        /* of one row */
void dataset_sha256(const struct dataset *d, char out[65]); /* of rows with labels or targets, in order */
const uint32_t *dataset_index(const struct dataset *d, enum dataset_part part); /* ascending row numbers */

/* How UINT8 rows become floats, with the mean and std of the graph. NULL: rows are of another type. After dataset_finish. */
const struct normalise *dataset_normalise(const struct dataset *d);

/* Writes n rows, and their labels or targets into the caller's arrays: as floats, preprocessed, into x, or UINT8 rows as they
 * are into bytes. */
struct dataset_batch {
    float *x;             /* [n][row]; NULL: */
    unsigned char *bytes; /* [n][row] */
    int32_t *labels;      /* [n] */
    float *targets;       /* [n][outputs] */
    float *scratch;       /* [row]; only for dataset_fill_augmented, which wants x */
};
struct target dataset_fill(const struct dataset *d, const uint32_t *index, int n,
                           const struct dataset_batch *to);
/* The same with each row changed as augment.h says for (seed, epoch, row). */
struct target dataset_fill_augmented(const struct dataset *d, const struct augment *a, uint64_t seed,
                                     int64_t epoch, const uint32_t *index, int n,
                                     const struct dataset_batch *to);
/* One row before mean and std: UINT8 as x / 255. For people to look at. */
void dataset_row(const struct dataset *d, int64_t row, float *x);
/* The label of a row; -1 where rows have targets. */
int32_t dataset_label(const struct dataset *d, int64_t row);
/* Floats of a row's targets; 0: rows have labels. */
int64_t dataset_target_size(const struct dataset *d);

#endif
