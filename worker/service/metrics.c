/* Counters into Prometheus' text format. One row of `families` is one metric: name, type, help and how its lines are printed.
 * Who counts: stream/committer.c, infer/runner.c, models/follower.c. Who serves the page: http.c. Next to read: process.c. */
#include "worker/service/metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/backend.h"
#include "worker/service/version.h"

/* clang-format off */
static const int64_t times_us[] = {50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
                                   1000000, 2500000, 5000000, 10000000, INT64_MAX};
static const int64_t sizes[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, INT64_MAX};
/* clang-format on */
_Static_assert(sizeof times_us / sizeof *times_us <= METRIC_BUCKETS, "bounds");
_Static_assert(sizeof sizes / sizeof *sizes <= METRIC_BUCKETS, "bounds");

static const char *const row_outcomes[METRIC_ROWS] = {"unknown", "ok", "bad_input", "expired"};
static const char *const record_outcomes[METRIC_RECORDS] = {"answered", "dead_letter"};
static const char *const transaction_outcomes[METRIC_TRANSACTIONS] = {"committed", "aborted", "uncertain"};

/* ---- counting ---- */

void histogram_observe(struct histogram *h, int64_t value)
{
    int i = 0;
    if (!h)
        return;
    value = value < 0 ? 0 : value;
    while (value > h->bounds[i])
        i++;
    counter_add(&h->buckets[i], 1);
    counter_add(&h->sum, (uint64_t)value);
}

static void session_init(struct session_metrics *s)
{
    s->commit_us.bounds = times_us;
    s->transaction_rows.bounds = sizes;
    s->other_lag = -1;
    atomic_init(&s->waiting_for, "starting");
    pthread_mutex_init(&s->lock, NULL);
}

int metrics_open(struct metrics **out, struct fail *why)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (!m)
        return fail(why, E_MEMORY, "metrics of %zu bytes", sizeof *m);
    session_init(&m->infer);
    session_init(&m->train);
    m->inference.queue_us.bounds = m->inference.decode_us.bounds = times_us;
    m->inference.compute_us.bounds = m->inference.encode_us.bounds = times_us;
    m->inference.batch_rows.bounds = sizes;
    pthread_mutex_init(&m->inference.lock, NULL);
    pthread_mutex_init(&m->engine_lock, NULL);
    *out = m;
    return 0;
}

void metrics_close(struct metrics **m)
{
    if (!*m)
        return;
    pthread_mutex_destroy(&(*m)->infer.lock);
    pthread_mutex_destroy(&(*m)->train.lock);
    pthread_mutex_destroy(&(*m)->inference.lock);
    pthread_mutex_destroy(&(*m)->engine_lock);
    free(*m);
    *m = NULL;
}

void metrics_role(struct session_metrics *s, const char *role)
{
    if (s)
        s->role = role;
}

void metrics_wait(struct session_metrics *s, const char *waiting_for)
{
    if (!s)
        return;
    if (waiting_for)
        atomic_store(&s->waiting_for, waiting_for);
    atomic_store(&s->ready, !waiting_for);
}

void metrics_lag(struct session_metrics *s, const struct partition_lag *lag, int count)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->lag_count = count < METRIC_PARTITIONS ? count : METRIC_PARTITIONS;
    if (s->lag_count)
        memcpy(s->lag, lag, (size_t)s->lag_count * sizeof *lag);
    s->other_lag = count > METRIC_PARTITIONS ? 0 : -1;
    for (int i = METRIC_PARTITIONS; i < count; i++)
        s->other_lag += lag[i].lag;
    pthread_mutex_unlock(&s->lock);
}

/* The lock is held. The last place is everybody's who comes too late. */
static struct model_metrics *model_place(struct infer_metrics *m, const char *name, int64_t version,
                                         const char *variant)
{
    for (int i = 0; i < m->model_count; i++)
        if (m->models[i].version == version && strcmp(m->models[i].name, name) == 0 &&
            strcmp(m->models[i].variant, variant) == 0)
            return &m->models[i];
    if (m->model_count == METRIC_MODELS)
        return &m->models[METRIC_MODELS - 1];
    struct model_metrics *place = &m->models[m->model_count];
    bool last = m->model_count == METRIC_MODELS - 1;
    snprintf(place->name, sizeof place->name, "%s", last ? "other" : name);
    snprintf(place->variant, sizeof place->variant, "%s", last ? "" : variant);
    place->version = last ? 0 : version;
    m->model_count++;
    return place;
}

struct model_metrics *metrics_model(struct infer_metrics *m, const char *name, int64_t version,
                                    const char *variant)
{
    if (!m)
        return NULL;
    pthread_mutex_lock(&m->lock);
    struct model_metrics *place = model_place(m, name, version, variant);
    pthread_mutex_unlock(&m->lock);
    return place;
}

/* ---- printing ---- */

static uint64_t value_of(counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

struct family {
    const char *name, *type, *help;
    void (*print)(struct metrics *m, const char *name, FILE *out);
};

static void print_build(struct metrics *m, const char *name, FILE *out)
{
    (void)m;
    fprintf(out, "%s{version=\"%s\"} 1\n", name, MILLRACE_VERSION);
}

/* The model's labels; a version of 0 is no version. */
static void print_model_labels(const struct model_metrics *place, FILE *out)
{
    fprintf(out, "model=\"%s\",version=\"", place->name);
    if (place->version)
        fprintf(out, "%" PRId64, place->version);
    fprintf(out, "\",variant=\"%s\",", place->variant);
}

/* What a model never had is not printed: a page of 256 models stays readable. */
static void print_by_model(struct metrics *m, const char *name, bool rows, FILE *out)
{
    const char *const *outcomes = rows ? row_outcomes : record_outcomes;
    struct infer_metrics *infer = &m->inference;
    pthread_mutex_lock(&infer->lock);
    int models = infer->model_count;
    pthread_mutex_unlock(&infer->lock);
    for (int i = 0; i < models; i++)
        for (int k = 0; k < (rows ? METRIC_ROWS : METRIC_RECORDS); k++) {
            struct model_metrics *place = &infer->models[i];
            uint64_t n = value_of(rows ? &place->rows[k] : &place->records[k]);
            if (!n)
                continue;
            fprintf(out, "%s{", name);
            print_model_labels(place, out);
            fprintf(out, "outcome=\"%s\"} %" PRIu64 "\n", outcomes[k], n);
        }
}

static void print_rows(struct metrics *m, const char *name, FILE *out)
{
    print_by_model(m, name, true, out);
}

static void print_records(struct metrics *m, const char *name, FILE *out)
{
    print_by_model(m, name, false, out);
}

/* Counts are read once, bucket by bucket, and summed on the way: le=+Inf and _count are the same number. */
static void print_histogram(struct histogram *h, const char *name, const char *labels, double unit, FILE *out)
{
    const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    uint64_t seen = 0;
    for (int i = 0;; i++) {
        seen += value_of(&h->buckets[i]);
        if (h->bounds[i] == INT64_MAX)
            break;
        fprintf(out, "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n", name, labels, comma,
                (double)h->bounds[i] * unit, seen);
    }
    fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, seen);
    fprintf(out, "%s_sum%s%s%s %.17g\n", name, open, labels, close, (double)value_of(&h->sum) * unit);
    fprintf(out, "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, seen);
}

#define PRINT_INFER(field, unit)                                                       \
    static void print_##field(struct metrics *m, const char *name, FILE *out)          \
    {                                                                                  \
        if (m->infer.role)                                                             \
            print_histogram(&m->inference.field, name, "role=\"infer\"", (unit), out); \
    }
PRINT_INFER(queue_us, 1e-6)
PRINT_INFER(decode_us, 1e-6)
PRINT_INFER(compute_us, 1e-6)
PRINT_INFER(encode_us, 1e-6)
PRINT_INFER(batch_rows, 1)

/* Calls print for the roles that the worker has. */
static void each_role(struct metrics *m, const char *name, FILE *out,
                      void (*print)(struct session_metrics *s, const char *name, FILE *out))
{
    if (m->infer.role)
        print(&m->infer, name, out);
    if (m->train.role)
        print(&m->train, name, out);
}

static void role_commit(struct session_metrics *s, const char *name, FILE *out)
{
    char labels[64];
    snprintf(labels, sizeof labels, "role=\"%s\"", s->role);
    print_histogram(&s->commit_us, name, labels, 1e-6, out);
}

static void role_transaction_rows(struct session_metrics *s, const char *name, FILE *out)
{
    char labels[64];
    snprintf(labels, sizeof labels, "role=\"%s\"", s->role);
    print_histogram(&s->transaction_rows, name, labels, 1, out);
}

static void role_transactions(struct session_metrics *s, const char *name, FILE *out)
{
    for (int i = 0; i < METRIC_TRANSACTIONS; i++)
        fprintf(out, "%s{role=\"%s\",outcome=\"%s\"} %" PRIu64 "\n", name, s->role, transaction_outcomes[i],
                value_of(&s->transactions[i]));
}

static void print_codes(counter *counts, enum fail_class class, const char *role, const char *name, FILE *out)
{
    for (enum fail_code c = E_OK + 1; c < E_CODES; c++)
        if (fail_class(c) == class)
            fprintf(out, "%s{role=\"%s\",reason=\"%s\"} %" PRIu64 "\n", name, role, fail_name(c),
                    value_of(&counts[c]));
}

static void role_dead_letters(struct session_metrics *s, const char *name, FILE *out)
{
    print_codes(s->dead_letters, FAIL_RECORD, s->role, name, out);
}

static void role_rebuilds(struct session_metrics *s, const char *name, FILE *out)
{
    print_codes(s->rebuilds, FAIL_REBUILD, s->role, name, out);
}

static void role_lag(struct session_metrics *s, const char *name, FILE *out)
{
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->lag_count; i++)
        fprintf(out, "%s{role=\"%s\",partition=\"%d\"} %" PRId64 "\n", name, s->role,
                (int)s->lag[i].partition, s->lag[i].lag);
    if (s->other_lag >= 0)
        fprintf(out, "%s{role=\"%s\",partition=\"other\"} %" PRId64 "\n", name, s->role, s->other_lag);
    pthread_mutex_unlock(&s->lock);
}

static void role_ready(struct session_metrics *s, const char *name, FILE *out)
{
    fprintf(out, "%s{role=\"%s\"} %d\n", name, s->role, atomic_load(&s->ready));
}

#define PRINT_ROLES(what)                                                    \
    static void print_##what(struct metrics *m, const char *name, FILE *out) \
    {                                                                        \
        each_role(m, name, out, role_##what);                                \
    }
PRINT_ROLES(commit)
PRINT_ROLES(transaction_rows)
PRINT_ROLES(transactions)
PRINT_ROLES(dead_letters)
PRINT_ROLES(rebuilds)
PRINT_ROLES(lag)
PRINT_ROLES(ready)

static void print_loads(struct metrics *m, const char *name, FILE *out)
{
    fprintf(out, "%s{outcome=\"loaded\"} %" PRIu64 "\n%s{outcome=\"failed\"} %" PRIu64 "\n", name,
            value_of(&m->model_loads), name, value_of(&m->model_load_failures));
}

void metrics_engine(struct metrics *m, const struct backend *be)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->engine_lock);
    m->engine = be;
    pthread_mutex_unlock(&m->engine_lock);
}

static bool use_of(struct metrics *m, struct backend_use *use)
{
    pthread_mutex_lock(&m->engine_lock);
    bool known = m->engine && backend_use(m->engine, use);
    pthread_mutex_unlock(&m->engine_lock);
    return known;
}

static void print_device_busy(struct metrics *m, const char *name, FILE *out)
{
    struct backend_use use;
    if (use_of(m, &use))
        fprintf(out, "%s %g\n", name, use.busy);
}

static void print_device_memory(struct metrics *m, const char *name, FILE *out)
{
    struct backend_use use;
    if (use_of(m, &use))
        fprintf(out, "%s{kind=\"used\"} %" PRIu64 "\n%s{kind=\"total\"} %" PRIu64 "\n", name, use.memory_used,
                name, use.memory_total);
}

/* clang-format off */
static const struct family families[] = {
    {"millrace_build_info", "gauge", "The version that runs; always 1.", print_build},
    {"millrace_ready", "gauge", "1: the role has read the models topic and joined its group.", print_ready},
    {"millrace_rows_total", "counter", "Rows in committed Predictions, by status; variant shadow: in those of predictions.shadow.", print_rows},
    {"millrace_records_total", "counter", "Committed requests; no model: the record names none that exists; variant shadow: answered beside.", print_records},
    {"millrace_dead_letters_total", "counter", "Committed dead letters, by dlq.reason.", print_dead_letters},
    {"millrace_transactions_total", "counter", "Transactions; uncertain: its end is unknown, a new producer settles it.", print_transactions},
    {"millrace_session_rebuilds_total", "counter", "Times a role's consumer and producer were opened again.", print_rebuilds},
    {"millrace_consumer_lag", "gauge", "Offsets between what is committed and the end of the partition, of partitions of this worker.", print_lag},
    {"millrace_model_loads_total", "counter", "Model files read from the store.", print_loads},
    {"millrace_device_busy_ratio", "gauge", "Of the GPU that inference runs on, by all its users.", print_device_busy},
    {"millrace_device_memory_bytes", "gauge", "Of the same GPU.", print_device_memory},
    {"millrace_queue_seconds", "histogram", "From a request's arrival to the start of its first forward pass.", print_queue_us},
    {"millrace_decode_seconds", "histogram", "A record from bytes into rows of the batch, or to its verdict.", print_decode_us},
    {"millrace_compute_seconds", "histogram", "A forward pass of an engine batch.", print_compute_us},
    {"millrace_encode_seconds", "histogram", "Writing the Predictions of a sealed batch.", print_encode_us},
    {"millrace_commit_seconds", "histogram", "A transaction that was committed, from begin to commit.", print_commit},
    {"millrace_batch_rows", "histogram", "Rows of an engine batch.", print_batch_rows},
    {"millrace_transaction_rows", "histogram", "Rows of a transaction that was committed.", print_transaction_rows},
};
/* clang-format on */

void metrics_print(struct metrics *m, FILE *out)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        const struct family *f = &families[i];
        fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, f->type);
        f->print(m, f->name, out);
    }
    metrics_print_process(out);
}

static bool role_is_ready(struct session_metrics *s, FILE *out)
{
    if (!s->role || atomic_load(&s->ready))
        return true;
    fprintf(out, "%s: %s\n", s->role, atomic_load(&s->waiting_for));
    return false;
}

bool metrics_ready(struct metrics *m, FILE *out)
{
    bool infer = role_is_ready(&m->infer, out), train = role_is_ready(&m->train, out);
    return infer && train;
}
