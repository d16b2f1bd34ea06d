/* What a worker counts, and the page that Prometheus reads of it (metrics.c; http.c serves it).
 *
 * Counting is one relaxed atomic addition: no lock, no allocation, any thread. What is slower (a model's first appearance, the
 * lag of partitions) takes a lock that counting never meets. Labels are bounded: roles, reasons and outcomes are tables,
 * models beyond METRIC_MODELS and partitions beyond METRIC_PARTITIONS share one line called "other". Counters of answers are
 * added when their transaction is committed, so that they say what a read_committed reader finds; times and sizes are of
 * work done, which an abort may repeat. Every function takes NULL for "nobody counts". */
#ifndef WORKER_SERVICE_METRICS_H
#define WORKER_SERVICE_METRICS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/fail.h"

enum { METRIC_MODELS = 256, METRIC_PARTITIONS = 128, METRIC_BUCKETS = 18 };

typedef atomic_uint_fast64_t counter;

static inline void counter_add(counter *c, uint64_t n)
{
    if (c)
        atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* How many observations were at most each bound. Buckets are counted apart and summed when they are printed, so that a page
 * is consistent in itself whatever is counted meanwhile: bounds rise, counts never fall, neither along a page nor from one page
 * to the next. */
struct histogram {
    const int64_t *bounds; /* METRIC_BUCKETS at most, ended by INT64_MAX */
    counter buckets[METRIC_BUCKETS];
    counter sum;
};

/* `value` in the histogram's unit: microseconds, or rows. Negative ones (a clock's step) count as 0. */
void histogram_observe(struct histogram *h, int64_t value);

/* One version of a model as one variant, or what has none. */
enum metric_row { METRIC_ROW_UNKNOWN, METRIC_ROW_OK, METRIC_ROW_BAD_INPUT, METRIC_ROW_EXPIRED, METRIC_ROWS };
enum metric_record { METRIC_ANSWERED, METRIC_DEAD_LETTER, METRIC_RECORDS };
struct model_metrics {
    char name[128];
    int64_t version;   /* 0: of no version: unknown models, or the "other" ones */
    char variant[104]; /* the alias that the requests came by; "": none */
    counter rows[METRIC_ROWS], records[METRIC_RECORDS];
};

enum metric_transaction { METRIC_COMMITTED, METRIC_ABORTED, METRIC_UNCERTAIN, METRIC_TRANSACTIONS };

struct partition_lag {
    int32_t partition;
    int64_t lag; /* offsets between what is committed and the log's end */
};

/* What a session (worker/stream) counts: one for each role. */
struct session_metrics {
    const char *role; /* NULL: the worker does not have it */
    atomic_bool ready;
    _Atomic(const char *) waiting_for; /* while not ready; static text */
    counter transactions[METRIC_TRANSACTIONS], rebuilds[E_CODES], dead_letters[E_CODES];
    struct histogram commit_us, transaction_rows;
    pthread_mutex_t lock; /* guards the next three */
    struct partition_lag lag[METRIC_PARTITIONS];
    int lag_count;
    int64_t other_lag; /* of the partitions that found no place; -1: all found one */
};

struct infer_metrics {
    struct histogram queue_us, decode_us, compute_us, encode_us, batch_rows;
    pthread_mutex_t lock; /* guards model_count; a model's counters live as long as the metrics */
    struct model_metrics models[METRIC_MODELS];
    int model_count;
};

struct backend; /* engine/backend.h */

struct metrics {
    struct session_metrics infer, train;
    struct infer_metrics inference;
    counter model_loads, model_load_failures;
    pthread_mutex_t engine_lock; /* guards the next */
    const struct backend *engine;
};

int metrics_open(struct metrics **out, struct fail *why);
void metrics_close(struct metrics **m);

/* The role exists from here on: its lines are printed and /readyz waits for it. */
void metrics_role(struct session_metrics *s, const char *role);
/* NULL: ready; else what the role waits for, a static text. */
void metrics_wait(struct session_metrics *s, const char *waiting_for);
/* Replaces what is known of the lag of the partitions this worker has. */
void metrics_lag(struct session_metrics *s, const struct partition_lag *lag, int count);
/* The counters of a version as a variant, made at its first appearance. name "": of requests for models that do not exist. */
struct model_metrics *metrics_model(struct infer_metrics *i, const char *name, int64_t version,
                                    const char *variant);

/* Whose device is shown, as long as it is open; NULL: no more. */
void metrics_engine(struct metrics *m, const struct backend *be);

/* The page, in Prometheus' text format 0.0.4. */
void metrics_print(struct metrics *m, FILE *out);
/* True: every role is ready. What is not, one a line, goes to `out`. */
bool metrics_ready(struct metrics *m, FILE *out);

/* process.c: the usual process_* lines, read from /proc. */
void metrics_print_process(FILE *out);

#endif
