/* `bench --stream`: topics of its own, a model on them, a backlog or arrivals, and what answers them measured; then everything is
 * removed again. Or, with --running, requests to what serves the configured topics.
 *
 * The rate of a backlog is that of its last three quarters, by the answers' timestamps: connections, compilers and caches are
 * warm by then. With arrivals, latency is from when a record was due to when a read_committed reader had its answer. The parts:
 * bench_stream.h. */
#include "worker/commands/bench_stream.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker/commands/model_argument.h"
#include "worker/models/store.h"
#include "worker/service/file.h"
#include "worker/stream/clock.h"

enum { IDLE_MS = 60000, LOOK_MS = 100, PARTITIONS_MOST = 63 };

/* What has been spent up to a moment. */
struct spent {
    int64_t at_us;
    double broker_s, pipeline_s, memory_mb;
    struct stage_times stages[BENCH_STAGES];
};

struct bench_run {
    const struct context *cx;
    const struct stream_options *o;
    struct settings settings; /* the context's, with strings of this run in them: borrowed, never freed */
    char folder[200], prefix[100], slot[100], state[300], store[300];
    char name[128]; /* of the model */
    struct model *model;
    bool has_topics;
    struct pipeline pipeline;
    struct load load;
    struct answers answers;
    struct spent begin, end;
    pid_t broker;
    struct stream_figures figures;
};

/* ---- a place of its own ---- */

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at)
{
    (void)s, (void)type, (void)at;
    return remove(path);
}

static int make_folder(struct bench_run *b, struct fail *why)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(b->folder, sizeof b->folder, "%.150s/millrace-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(b->folder))
        return 0;
    int rc = fail(why, E_FAILED, "%s: %s", b->folder, strerror(errno));
    b->folder[0] = 0;
    return rc;
}

/* Settings of this run alone: its topics, its group, its slot, its folder. */
static void make_settings(struct bench_run *b)
{
    const char *unique = b->folder + strlen(b->folder) - 6;
    snprintf(b->prefix, sizeof b->prefix, "bench-%s.", unique);
    snprintf(b->slot, sizeof b->slot, "bench-%s", unique);
    snprintf(b->state, sizeof b->state, "%s/state", b->folder);
    snprintf(b->store, sizeof b->store, "file://%s/models", b->folder);
    b->settings.topics_prefix = b->prefix;
    b->settings.worker_group = b->settings.worker_slot = b->slot;
    b->settings.worker_roles = ROLE_INFER;
    b->settings.worker_state_dir = b->state;
    b->settings.models_store = b->store;
}

/* The model's file: the one that was named, or the graph written as one; a network's gets fresh weights. */
static int model_bytes(struct bench_run *b, void **bytes, size_t *size, struct fail *why)
{
    const char *path = b->cx->argv[0];
    size_t n = strlen(path);
    struct file_map map;
    if (n < 5 || strcmp(path + n - 5, ".onnx") != 0) {
        int rc = graph_init(b->model->graph, 1, why);
        return rc ? rc : onnx_print(b->model->graph, bytes, size, why);
    }
    int rc = file_map_open(&map, path, why);
    if (rc)
        return rc;
    if (!(*bytes = malloc(map.size + 1)))
        rc = fail(why, E_MEMORY, "%s: %zu bytes", path, map.size);
    else
        memcpy(*bytes, map.base, *size = map.size);
    file_map_close(&map);
    return rc;
}

static int put_event(struct writer *w, const char *topic, const char *key,
                     const struct model_version_event *e, struct fail *why)
{
    struct bytes value = {0};
    model_version_event_encode(&value, e);
    int rc = value.failed ? fail(why, E_MEMORY, "an event")
                          : writer_put(w, topic, 0, text_span(key),
                                       (struct span){(char *)value.data, value.size}, NULL, 0, NULL, why);
    bytes_free(&value);
    return rc;
}

/* Version 1 of the model, promoted. Nobody else writes to these topics, so nobody has to be asked for the number. */
static int publish(struct bench_run *b, const void *bytes, size_t size, struct fail *why)
{
    char uri[STORE_URI], sha256[SHA256_HEX], topic[TOPIC_NAME], key[160];
    struct writer *w = NULL;
    int rc = store_put(b->store, b->name, NULL, bytes, size, uri, sha256, why);
    struct model_version_event e = {.event_id = "bench",
                                    .event = EVENT_CREATED,
                                    .model = b->name,
                                    .version = 1,
                                    .alias = "",
                                    .traffic = 1,
                                    .artifact_uri = uri,
                                    .format = "onnx",
                                    .sha256 = sha256,
                                    .size_bytes = (int64_t)size,
                                    .job_id = "",
                                    .dataset_sha256 = "",
                                    .reason = "",
                                    .created_by = "bench",
                                    .at = clock_ms()};
    topic_full_name(&b->settings, TOPIC_MODELS, topic);
    if (!rc)
        rc = writer_open(&w, &b->settings, b->cx->timeout_ms, why);
    snprintf(key, sizeof key, "%s@1", b->name);
    if (!rc)
        rc = put_event(w, topic, key, &e, why);
    e.event = EVENT_PROMOTED;
    e.alias = "champion";
    snprintf(key, sizeof key, "%s@champion", b->name);
    if (!rc)
        rc = put_event(w, topic, key, &e, why);
    if (!rc)
        rc = writer_flush(w, b->cx->timeout_ms, why);
    writer_close(&w);
    return rc;
}

/* The same file where another program finds it. */
static int write_model(struct bench_run *b, const void *bytes, size_t size, struct fail *why)
{
    char path[300];
    struct file_out out = {0};
    snprintf(path, sizeof path, "%s/model.onnx", b->folder);
    int rc = file_out_open(&out, path, why);
    if (!rc)
        rc = file_out_write(&out, bytes, size, why);
    if (!rc)
        rc = file_out_commit(&out, why);
    file_out_close(&out);
    return rc;
}

static int make_topics(struct bench_run *b, struct fail *why)
{
    struct topic_report report[TOPICS];
    void *bytes = NULL;
    size_t size = 0;
    int rc = model_bytes(b, &bytes, &size, why);
    if (!rc)
        rc = topics_create(&b->settings, (int)b->o->partitions, -1, b->cx->timeout_ms, report, why);
    b->has_topics = !rc;
    if (!rc)
        rc = write_model(b, bytes, size, why);
    if (!rc)
        rc = publish(b, bytes, size, why);
    free(bytes);
    return rc;
}

static int open_run(struct bench_run *b, struct fail *why)
{
    int rc = make_folder(b, why);
    if (!rc && !b->o->running)
        make_settings(b);
    if (!rc)
        rc = pipeline_open(&b->pipeline, b->cx, b->o, &b->settings, b->folder, why);
    if (!rc)
        rc = model_argument_open(&b->model, b->cx, b->cx->argv[0], why);
    if (rc)
        return rc;
    snprintf(b->name, sizeof b->name, "%s", b->o->running ? b->cx->argv[0] : "bench");
    b->broker = cost_listener(setting_map_get(&b->settings.kafka, "bootstrap.servers"));
    rc = b->o->running ? 0 : make_topics(b, why);
    return rc ? rc : load_open(&b->load, b->cx, &b->settings, b->o, b->model, b->name, why);
}

static int close_run(struct bench_run *b, int rc, struct fail *why)
{
    struct fail later;
    pipeline_close(&b->pipeline);
    load_close(&b->load);
    answers_close(&b->answers);
    model_release(&b->model);
    if (b->has_topics) {
        int left = topics_delete(&b->settings, b->cx->timeout_ms, rc ? &later : why);
        rc = rc ? rc : left;
    }
    if (b->folder[0])
        nftw(b->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}

/* ---- measuring ---- */

/* Host and port of a running worker's page; 0: none. */
static int configured_port(const struct bench_run *b)
{
    const char *colon = strrchr(b->settings.http_listen, ':');
    return b->o->running && colon ? atoi(colon + 1) : 0;
}

static void take_sample(struct bench_run *b, struct spent *s)
{
    *s = (struct spent){.at_us = now_us(), .broker_s = cost_cpu_s(b->broker)};
    bool all = b->pipeline.count > 0;
    for (int i = 0; i < b->pipeline.count; i++) {
        s->pipeline_s += cost_cpu_s(b->pipeline.pids[i]);
        s->memory_mb += cost_memory_mb(b->pipeline.pids[i], "VmRSS");
        all &= b->pipeline.ports[i] && cost_stages("127.0.0.1", b->pipeline.ports[i], s->stages);
    }
    int port = configured_port(b);
    if (port) {
        char at[40];
        snprintf(at, sizeof at, "127.0.0.1:%d", port);
        pid_t worker = cost_listener(at);
        s->pipeline_s = cost_cpu_s(worker);
        s->memory_mb = cost_memory_mb(worker, "VmRSS");
        all = cost_stages("127.0.0.1", port, s->stages);
    }
    b->figures.has_stages = all;
}

static int gone_quiet(const struct bench_run *b, int64_t seen, struct fail *why)
{
    return fail(why, E_FAILED, "%" PRId64 " of %" PRId64 " records are answered, and none more for %d s",
                seen, b->load.records, IDLE_MS / 1000);
}

/* Reads answers until all are there. */
static int read_all(struct bench_run *b, struct fail *why)
{
    int64_t seen = -1, at_us = now_us();
    int rc = 0;
    while (!rc && b->answers.seen < b->load.records) {
        rc = answers_read(&b->answers, LOOK_MS, why);
        if (b->answers.seen != seen) {
            seen = b->answers.seen;
            at_us = now_us();
        } else if (now_us() > at_us + IDLE_MS * INT64_C(1000)) {
            return gone_quiet(b, seen, why);
        }
        if (!rc && command_stop)
            rc = fail(why, E_INTERRUPTED, "stopped before the measurement was complete");
        if (!rc)
            rc = pipeline_check(&b->pipeline, why);
    }
    return rc;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Looks at the answers' ends, which costs next to nothing, until there must be all of them. */
static int watch_backlog(struct bench_run *b, struct reader *ends, struct fail *why)
{
    int64_t end = 0, last = 0, at_us = now_us();
    int rc = 0;
    while (!rc && end < b->load.records) {
        nanosleep(&(struct timespec){0, LOOK_MS * 1000000}, NULL);
        rc = reader_stable_ends(ends, b->cx->timeout_ms, &end, why);
        if (!rc && !b->begin.at_us && end >= b->load.records / 4)
            take_sample(b, &b->begin);
        if (end != last) {
            last = end;
            at_us = now_us();
        } else if (!rc && now_us() > at_us + IDLE_MS * INT64_C(1000)) {
            rc = gone_quiet(b, end, why);
        }
        if (!rc && command_stop)
            rc = fail(why, E_INTERRUPTED, "stopped before the measurement was complete");
        if (!rc)
            rc = pipeline_check(&b->pipeline, why);
    }
    if (!rc)
        take_sample(b, &b->end);
    return rc;
}

/* An opened reader of nothing, for its questions. */
static int open_ends(struct bench_run *b, struct reader **ends, struct fail *why)
{
    struct reader_range none[PARTITIONS_MOST];
    char topic[TOPIC_NAME];
    for (int i = 0; i < b->load.partitions; i++)
        none[i] = (struct reader_range){i, READER_END, READER_END};
    topic_full_name(&b->settings, TOPIC_PREDICTIONS, topic);
    return reader_open(ends, &b->settings, topic, none, b->load.partitions, READER_END, b->cx->timeout_ms,
                       why);
}

static int measure_backlog(struct bench_run *b, struct fail *why)
{
    struct reader *ends = NULL;
    struct stream_figures *f = &b->figures;
    int rc = load_backlog(&b->load, why);
    if (!rc)
        rc = open_ends(b, &ends, why);
    pipeline_go(&b->pipeline);
    if (!rc)
        rc = watch_backlog(b, ends, why);
    reader_close(&ends);
    if (!rc)
        rc = answers_open(&b->answers, &b->settings, &b->load, READER_BEGINNING, b->cx->timeout_ms, why);
    if (!rc)
        rc = read_all(b, why);
    if (rc)
        return rc;
    int64_t n = b->load.records, skipped = n / 4, *stamp_ms = b->answers.stamp_ms;
    qsort(stamp_ms, (size_t)n, sizeof *stamp_ms, by_number);
    f->records = n;
    f->rows = n * b->o->rows_per_record;
    f->seconds = (double)(stamp_ms[n - 1] - stamp_ms[skipped]) / 1e3;
    f->rows_per_second = f->seconds > 0 ? (double)((n - skipped) * b->o->rows_per_record) / f->seconds : 0;
    return 0;
}

/* Until every partition has been answered: connections stand and the first batch is behind us. */
static int wait_for_probes(struct bench_run *b, struct fail *why)
{
    uint64_t all = (UINT64_C(1) << b->load.partitions) - 1;
    int64_t until_us = now_us() + IDLE_MS * INT64_C(1000);
    int rc = 0;
    while (!rc && b->answers.probes != all) {
        rc = load_probe(&b->load, why);
        for (int i = 0; !rc && i < 20 && b->answers.probes != all; i++)
            rc = answers_read(&b->answers, LOOK_MS, why);
        if (!rc && command_stop)
            rc = fail(why, E_INTERRUPTED, "stopped before the measurement began");
        if (!rc)
            rc = pipeline_check(&b->pipeline, why);
        if (!rc && now_us() > until_us)
            rc = fail(why, E_UNREACHABLE, "nobody answers: is a worker running that serves %s?", b->name);
    }
    return rc;
}

static int64_t at(const int64_t *sorted, int64_t n, double p)
{
    int64_t i = (int64_t)(p * (double)n);
    return sorted[i < n ? i : n - 1];
}

static void figure_latency(struct bench_run *b)
{
    struct stream_figures *f = &b->figures;
    int64_t first = b->load.warm, n = b->load.records - first, *took_us = b->answers.stamp_ms;
    int64_t last_us = 0, began_us = b->load.due_us[first];
    for (int64_t i = 0; i < n; i++) {
        int64_t seen_us = b->answers.seen_us[first + i];
        took_us[i] = seen_us - b->load.due_us[first + i];
        last_us = seen_us > last_us ? seen_us : last_us;
    }
    qsort(took_us, (size_t)n, sizeof *took_us, by_number);
    f->has_latency = true;
    f->latency_ms =
        (struct percentiles){(double)at(took_us, n, 0.5) / 1e3, (double)at(took_us, n, 0.95) / 1e3,
                             (double)at(took_us, n, 0.99) / 1e3};
    f->latency_max_ms = (double)took_us[n - 1] / 1e3;
    f->records = n;
    f->rows = n * b->o->rows_per_record;
    f->seconds = (double)(last_us - began_us) / 1e6;
    f->rows_per_second = (double)f->rows / f->seconds;
}

static int measure_arrivals(struct bench_run *b, struct fail *why)
{
    int rc = answers_open(&b->answers, &b->settings, &b->load, b->o->running ? READER_END : READER_BEGINNING,
                          b->cx->timeout_ms, why);
    pipeline_go(&b->pipeline);
    if (!rc)
        rc = wait_for_probes(b, why);
    if (!rc)
        rc = load_start(&b->load, why);
    while (!rc && now_us() < b->load.due_us[b->load.warm])
        rc = command_stop ? fail(why, E_INTERRUPTED, "stopped while it warmed up")
                          : answers_read(&b->answers, LOOK_MS, why);
    take_sample(b, &b->begin);
    if (!rc)
        rc = read_all(b, why);
    take_sample(b, &b->end);
    if (rc)
        b->load.stop = true;
    struct fail later;
    int sent = load_join(&b->load, rc ? &later : why);
    rc = rc ? rc : sent;
    if (!rc)
        figure_latency(b);
    return rc;
}

static void figure_costs(struct bench_run *b)
{
    struct stream_figures *f = &b->figures;
    const struct spent *x = &b->begin, *y = &b->end;
    double seconds = (double)(y->at_us - x->at_us) / 1e6;
    if (x->at_us && seconds > 0) {
        f->broker_cores = (y->broker_s - x->broker_s) / seconds;
        f->pipeline_cores = (y->pipeline_s - x->pipeline_s) / seconds;
    }
    f->twice = b->answers.twice;
    f->begin_mb = x->memory_mb;
    f->end_mb = y->memory_mb;
    for (int i = 0; i < b->pipeline.count; i++)
        f->peak_mb += cost_memory_mb(b->pipeline.pids[i], "VmHWM");
    for (int i = 0; i < BENCH_STAGES; i++)
        f->stages_ms[i] = (struct percentiles){stage_percentile_ms(&x->stages[i], &y->stages[i], 0.5),
                                               stage_percentile_ms(&x->stages[i], &y->stages[i], 0.95),
                                               stage_percentile_ms(&x->stages[i], &y->stages[i], 0.99)};
}

static int check_options(const struct stream_options *o, struct fail *why)
{
    if (o->running && o->rate <= 0)
        return fail(why, E_USAGE, "--running wants a --rate: a backlog would be worked off while it is made");
    if (o->running && *o->pipeline)
        return fail(why, E_USAGE, "--running and --pipeline are two answers to what is measured");
    return 0;
}

int bench_stream(const struct context *cx, const struct stream_options *o, struct fail *why)
{
    struct bench_run *b = calloc(1, sizeof *b);
    if (!b)
        return fail(why, E_MEMORY, "a measurement");
    b->cx = cx;
    b->o = o;
    b->settings = cx->settings;
    b->pipeline.go = -1;
    int rc = check_options(o, why);
    if (!rc)
        rc = open_run(b, why);
    if (!rc)
        rc = o->rate > 0 ? measure_arrivals(b, why) : measure_backlog(b, why);
    if (!rc) {
        figure_costs(b);
        stream_print(cx, o, &b->figures, cx->argv[0]);
    }
    rc = close_run(b, rc, why);
    free(b);
    return rc;
}
