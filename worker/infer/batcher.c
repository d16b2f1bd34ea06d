/* The rules of batcher.h. Who measures and who obeys: runner.c. */
#include "worker/infer/batcher.h"

#include <math.h>

enum { LANES = 16, PRESSURE = 4 }; /* fewer rows than lanes cost as much; full batches that mean a backlog */

static const double KEEP = 0.98;

static void high_add(struct batcher_high *h, double value)
{
    double error = value - h->mean;
    if (!h->begun) {
        *h = (struct batcher_high){value, value / 4, true};
        return;
    }
    h->mean += error / 8;
    h->deviation += (fabs(error) - h->deviation) / 8;
}

static double high_value(const struct batcher_high *h)
{
    return h->mean + 4 * h->deviation;
}

/* y = pass + row x by least squares; one through 0 while all batches were of one size or larger ones seemed to cost less. */
static void fit(const struct batcher *b, double *pass_us, double *row_us)
{
    double spread = b->n * b->xx - b->x * b->x, slope = 0;
    if (spread > 1e-6 * b->xx * b->n)
        slope = (b->n * b->xy - b->x * b->y) / spread;
    double rest = b->n > 0 ? (b->y - slope * b->x) / b->n : 0;
    if (!(slope > 0) || !(rest >= 0)) {
        slope = b->xx > 0 ? b->xy / b->xx : 0;
        rest = 0;
    }
    *pass_us = rest;
    *row_us = slope;
}

double batcher_cost_us(const struct batcher *b, double rows)
{
    double pass_us, row_us;
    fit(b, &pass_us, &row_us);
    return pass_us + row_us * rows;
}

/* The most rows that are expected to take this long, in whole blocks of lanes. */
static int64_t rows_within(const struct batcher *b, double us)
{
    double pass_us, row_us;
    fit(b, &pass_us, &row_us);
    double rows = row_us > 0 ? (us - pass_us) / row_us : (double)b->max_rows;
    if (!(rows >= LANES))
        rows = LANES;
    if (rows > (double)b->max_rows)
        return b->max_rows;
    int64_t whole = (int64_t)rows / LANES * LANES;
    return whole < b->max_rows ? whole : b->max_rows;
}

static void decide(struct batcher *b)
{
    double room_us = 0.9 * b->target_us - high_value(&b->age_us) - high_value(&b->commit_us);
    if (b->target_us <= 0) {
        b->rows = b->max_rows;
        b->delay_us = b->max_delay_us;
        return;
    }
    if (!(room_us > b->target_us / 10))
        room_us = b->target_us / 10;
    int64_t bound = rows_within(b, room_us / 2);
    b->rows = b->grown > bound ? b->grown : bound;
    b->rows = b->rows < b->max_rows ? b->rows : b->max_rows;
    b->delay_us = room_us / 2 < (double)b->max_delay_us ? (int64_t)(room_us / 2) : b->max_delay_us;
}

void batcher_open(struct batcher *b, int64_t max_rows, int64_t max_delay_ms, double target_ms)
{
    *b = (struct batcher){
        .max_rows = max_rows, .max_delay_us = max_delay_ms * 1000, .target_us = target_ms * 1000};
    decide(b);
}

void batcher_ran(struct batcher *b, int64_t age_us, int64_t rows, int64_t took_us, bool full)
{
    double x = (double)rows, y = (double)took_us;
    if (b->target_us <= 0)
        return;
    if (rows > 0) {
        b->n = KEEP * b->n + 1;
        b->x = KEEP * b->x + x;
        b->y = KEEP * b->y + y;
        b->xx = KEEP * b->xx + x * x;
        b->xy = KEEP * b->xy + x * y;
    }
    high_add(&b->age_us, age_us > 0 ? (double)age_us : 0);
    b->full = full ? b->full + 1 : 0;
    if (b->full >= PRESSURE) {
        b->grown = 2 * b->rows;
        b->full = 0;
    } else if (!full) {
        b->grown = b->grown / 2;
    }
    decide(b);
}

void batcher_committed(struct batcher *b, int64_t took_us)
{
    if (b->target_us <= 0)
        return;
    high_add(&b->commit_us, (double)took_us);
    decide(b);
}
