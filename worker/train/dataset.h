/* A data set in memory: rows as they came (UINT8 stays UINT8) with labels or targets, split into training,
 * validation and test rows. Filled from Sample records of offset ranges, or from the rows of a file.
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
#include "worker/stream/source.h"

struct dataset;

enum dataset_part { DATASET_TRAIN, DATASET_VALIDATION, DATASET_TEST, DATASET_PARTS };

struct dataset_options {
    double validation_rate, test_rate;
    bool ignores; /* rows labelled ignored_label may be in it, though no class is called so */
    int32_t ignored_label;
};

int dataset_new(struct dataset **out, const struct dataset_options *o, struct fail *why);
void dataset_free(struct dataset **d);

/* One record of a samples topic; E_JOB naming topic, partition and offset when it cannot be used:
 * undecodable, another shape or type than the rows before, non-finite values. */
int dataset_add_record(struct dataset *d, const struct record *r, struct fail *why);
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

int64_t dataset_count(const struct dataset *d, enum dataset_part part);
int64_t dataset_rows(const struct dataset *d);
enum dtype dataset_dtype(const struct dataset *d);
struct shape dataset_shape(const struct dataset *d);        /* of one row */
void dataset_sha256(const struct dataset *d, char out[65]); /* of rows with labels or targets, in order */
const uint32_t *dataset_index(const struct dataset *d, enum dataset_part part); /* ascending row numbers */

/* Writes n rows as floats, preprocessed, into x, and their labels or targets into the caller's arrays. */
struct dataset_batch {
    float *x;        /* [n][row] */
    int32_t *labels; /* [n] */
    float *targets;  /* [n][outputs] */
};
struct target dataset_fill(const struct dataset *d, const uint32_t *index, int n,
                           const struct dataset_batch *to);
/* Floats of a row's targets; 0: rows have labels. */
int64_t dataset_target_size(const struct dataset *d);

#endif
