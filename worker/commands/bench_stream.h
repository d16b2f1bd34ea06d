/* The parts of `bench --stream`: load in, answers out, and what they cost. Internal to worker/commands.
 *
 * bench_stream.c       the course of a measurement
 * bench_pipeline.c     what is measured: workers or another program, started on the bench's own topics
 * bench_load.c         requests: a backlog, or arrivals at a rate
 * bench_answers.c      answers read back, each held against the time its request was due
 * bench_cost.c         CPU time and memory of processes; stages from a worker's /metrics
 * bench_print.c        the figures in words and as JSON */
#ifndef WORKER_COMMANDS_BENCH_STREAM_H
#define WORKER_COMMANDS_BENCH_STREAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "worker/commands/command.h"
#include "worker/models/model.h"
#include "worker/stream/reader.h"
#include "worker/stream/writer.h"

enum { BENCH_WORKERS = 16, BENCH_STAGES = 5, BENCH_BOUNDS = 32 };
enum arrivals { ARRIVALS_CONSTANT, ARRIVALS_POISSON };

struct stream_options {
    double rate;    /* rows a second; 0: a backlog of `rows` */
    int arrivals;   /* enum arrivals */
    int64_t rows;   /* of the backlog */
    double seconds; /* of arrivals that count, after a warm-up */
    int64_t rows_per_record, partitions, workers;
    char *pipeline;   /* a command to be measured in the workers' place; "": workers */
    bool running;     /* ... or what serves the configured topics already */
    enum dtype dtype; /* of the rows */
};

int bench_stream(const struct context *cx, const struct stream_options *o, struct fail *why);

/* ---- what is measured ---- */

struct pipeline {
    pid_t pids[BENCH_WORKERS]; /* 0: ended and waited for */
    int ports[BENCH_WORKERS];  /* of /metrics; 0: has none */
    int count;
    int go;        /* closed: they begin */
    char log[300]; /* what they say */
};

/* Forks what is to be measured before this process has threads; it waits for pipeline_go. `s` are settings of the bench's own
 * topics, folder is where logs and state go. */
int pipeline_open(struct pipeline *p, const struct context *cx, const struct stream_options *o,
                  const struct settings *s, const char *folder, struct fail *why);
void pipeline_go(struct pipeline *p);
/* An error once one of them has ended, with the end of its log. */
int pipeline_check(struct pipeline *p, struct fail *why);
void pipeline_close(struct pipeline *p); /* SIGTERM, and SIGKILL 6 s later */

/* ---- load ---- */

struct load {
    const struct stream_options *o;
    const struct model *model;
    char topic[TOPIC_NAME], name[256]; /* the model's name in requests */
    struct writer *writer;
    unsigned char *rows; /* a pool of random rows, used in turn */
    struct bytes value;
    int partitions;
    int64_t records, warm; /* of them `warm` do not count */
    int64_t *due_us;       /* [records] monotonic */
    pthread_t thread;
    bool started;
    atomic_bool stop;
    struct fail failed;
};

int load_open(struct load *l, const struct context *cx, const struct settings *s,
              const struct stream_options *o, const struct model *m, const char *name, struct fail *why);
/* A request for each partition with the keys -1, -2...: is anybody there? */
int load_probe(struct load *l, struct fail *why);
/* All records at once. */
int load_backlog(struct load *l, struct fail *why);
/* All records when they are due, from now on, by a thread of its own. Late ones go out at once and are not forgiven: due_us
 * stands. */
int load_start(struct load *l, struct fail *why);
int load_join(struct load *l, struct fail *why);
void load_close(struct load *l);

/* ---- answers ---- */

struct answers {
    const struct load *load;
    char topic[TOPIC_NAME];
    struct reader *reader;
    int64_t seen, twice; /* records answered; answers beyond the first */
    int64_t *seen_us;    /* [records] monotonic, when the answer was read; 0: not yet */
    int64_t *stamp_ms;   /* [records] the answer's own timestamp */
    uint64_t probes;     /* bits of partitions whose probe was answered */
};

int answers_open(struct answers *a, const struct settings *s, const struct load *l, int64_t start,
                 int timeout_ms, struct fail *why);
/* Reads for at most timeout_ms what there is. */
int answers_read(struct answers *a, int timeout_ms, struct fail *why);
void answers_close(struct answers *a);

/* ---- costs ---- */

/* The process on this machine that listens on the port of the first of `servers`; 0: not found, or not on this machine. */
pid_t cost_listener(const char *servers);
double cost_cpu_s(pid_t pid); /* user and system time; 0: it is gone */
/* A number of /proc/PID/status in MB: "VmHWM", "VmRSS"; 0: it is gone. */
double cost_memory_mb(pid_t pid, const char *what);

/* How often a stage took at most so long, as a worker's /metrics says. */
struct stage_times {
    int bounds;
    double bound_s[BENCH_BOUNDS], count[BENCH_BOUNDS]; /* cumulated; the last bound is infinity */
};

extern const char *const bench_stages[BENCH_STAGES];
/* Adds the page of the worker at HOST:PORT to `to`, [BENCH_STAGES]; false: it does not answer. */
bool cost_stages(const char *host, int port, struct stage_times *to);
/* The time below which a share p of what lies between two pages is, in ms, from the bounds linearly; 0: nothing happened. */
double stage_percentile_ms(const struct stage_times *before, const struct stage_times *after, double p);

/* ---- figures ---- */

struct percentiles {
    double p50, p95, p99;
};

struct stream_figures {
    int64_t records, rows, twice;
    double seconds, rows_per_second;
    bool has_latency, has_stages;
    struct percentiles latency_ms, stages_ms[BENCH_STAGES];
    double latency_max_ms;
    double broker_cores, pipeline_cores; /* CPU time by time; broker 0: not on this machine */
    double peak_mb, begin_mb, end_mb;    /* of all workers together */
};

void stream_print(const struct context *cx, const struct stream_options *o, const struct stream_figures *f,
                  const char *model);

#endif
