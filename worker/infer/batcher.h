/* How many rows the next batch may have and how long it may wait for them. Arithmetic alone: no clock, no thread.
 *
 * Without a target every batch may have batch.max_rows and wait commit.max_delay_ms. With batch.target_p99_ms, 99 of 100 answers
 * are to take less from the record's timestamp to the commit. What is left of the target behind the age of records when they
 * are taken and the time that sealed batches need to be committed is divided equally between waiting for rows and computing
 * them:
 *
 *   room = 0.9 target - age - commit, at least a tenth of the target;   delay = room / 2;   pass + rows row <= room / 2
 *
 * Age and commit are high values, a mean and four deviations, both moving (Jacobson, Congestion avoidance and control, 1988).
 * The cost of a batch of n rows, pass + n row, is fitted to the batches that ran (least squares, older ones forgotten).
 * Batches that keep being closed by their rows mean a backlog, and only throughput ends one: then they double, up to
 * max_rows, and shrink again once batches are not filled any more. */
#ifndef WORKER_INFER_BATCHER_H
#define WORKER_INFER_BATCHER_H

#include <stdbool.h>
#include <stdint.h>

struct batcher_high {
    double mean, deviation;
    bool begun;
};

struct batcher {
    int64_t max_rows, max_delay_us;
    double target_us; /* 0: none */
    struct batcher_high age_us, commit_us;
    double n, x, y, xx, xy; /* sums over batches: 1, rows, time, rows^2, rows time */
    int full;               /* batches closed by their rows, in a row */
    int64_t grown;          /* rows that a backlog asked for; 0: none */
    int64_t rows, delay_us; /* what the next batch may */
};

void batcher_open(struct batcher *b, int64_t max_rows, int64_t max_delay_ms, double target_ms);
/* A batch was made: the age of its first record when it was taken, its rows, the time they took (not what was waited), and
 * whether it was closed by its rows. */
void batcher_ran(struct batcher *b, int64_t age_us, int64_t rows, int64_t took_us, bool full);
/* A batch was committed so long after it had been sealed. */
void batcher_committed(struct batcher *b, int64_t took_us);
/* What a batch of so many rows is expected to take. */
double batcher_cost_us(const struct batcher *b, double rows);

#endif
