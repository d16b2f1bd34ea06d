/* `bench`: how fast the engine runs a network, without Kafka. Rows are converted from --dtype into the net's
 * input inside the measured time, as the worker does. With --stream: bench_stream.c.
 * Next to read: engine/net.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/loss.h"
#include "engine/net.h"
#include "engine/normalise.h"
#include "engine/optim.h"
#include "worker/commands/bench_stream.h"
#include "worker/commands/model_argument.h"
#include "worker/service/terminal.h"
#include "worker/service/text.h"

enum { REPETITIONS = 7, WARM_UP = 2 };

struct options {
    char *backend;
    int64_t batch, threads;
    double seconds;
    bool train;
    int dtype;
    bool stream;
    struct stream_options through; /* Kafka */
};

static const struct setting options[] = {
    {"backend", SETTING_STRING, offsetof(struct options, backend), "", 0, 32, NULL,
     "cpu, ref, cuda or auto; empty: engine.backend of the configuration", false},
    {"batch", SETTING_INT, offsetof(struct options, batch), "256", 1, 65536, NULL, "rows of a batch", false},
    {"threads", SETTING_INT, offsetof(struct options, threads), "-1", -1, 1024, NULL,
     "0: all cores; -1: engine.threads of the configuration", false},
    {"seconds", SETTING_REAL, offsetof(struct options, seconds), "3", 0.1, 3600, NULL,
     "measured time, after a warm-up", false},
    {"train", SETTING_BOOL, offsetof(struct options, train), "false", 0, 0, NULL,
     "training steps: forward, loss, backward, SGD with momentum", false},
    {"dtype", SETTING_CHOICE, offsetof(struct options, dtype), "u8", 0, 0, "u8|f32",
     "what the rows are before they enter the net", false},
    {"stream", SETTING_BOOL, offsetof(struct options, stream), "false", 0, 0, NULL,
     "through Kafka: makes topics of its own, measures a worker on them, removes them", false},
    {"rate", SETTING_REAL, offsetof(struct options, through.rate), "0", 0, 1e9, NULL,
     "--stream: rows that arrive in a second, for --seconds after a warm-up of 2; 0: a backlog made "
     "beforehand",
     false},
    {"arrivals", SETTING_CHOICE, offsetof(struct options, through.arrivals), "constant", 0, 0,
     "constant|poisson", "--stream: how they arrive", false},
    {"rows", SETTING_INT, offsetof(struct options, through.rows), "200000", 1, 1e9, NULL,
     "--stream: rows of the backlog", false},
    {"rows-per-record", SETTING_INT, offsetof(struct options, through.rows_per_record), "16", 1, 65536, NULL,
     "--stream: rows of a record", false},
    {"partitions", SETTING_INT, offsetof(struct options, through.partitions), "4", 1, 63, NULL,
     "--stream: of the topics", false},
    {"workers", SETTING_INT, offsetof(struct options, through.workers), "1", 1, BENCH_WORKERS, NULL,
     "--stream: workers that are started", false},
    {"pipeline", SETTING_STRING, offsetof(struct options, through.pipeline), "", 0, 4000, NULL,
     "--stream: a command that is measured in the workers' place; BENCH_BOOTSTRAP, BENCH_PREFIX (of the "
     "topics "
     "inference and predictions), BENCH_GROUP and BENCH_MODEL (an ONNX file) are in its environment",
     false},
    {"running", SETTING_BOOL, offsetof(struct options, through.running), "false", 0, 0, NULL,
     "--stream: measures what serves the configured topics now, with requests of its own", false},
    {0},
};

struct bench {
    const struct options *o;
    struct model *model;
    struct backend *backend;
    struct net *net;
    struct optimizer *optimizer;
    const struct loss_type *loss;
    void *data; /* a batch of --dtype */
    int32_t *labels;
    float *targets;
    int64_t steps;
    double *latencies; /* seconds of each batch */
    int64_t count, capacity;
    double rates[REPETITIONS];
};

/* Which loss goes with what the graph ends in: logits want cross entropy or log loss. */
static const struct loss_type *loss_of(const struct graph *g)
{
    const char *rule = graph_score_rule(g);
    if (strcmp(rule, "softmax") == 0)
        return loss_find("cross_entropy");
    return loss_find(strcmp(rule, "sigmoid") == 0 ? "log_loss" : "mse");
}

static int make_data(struct bench *b, struct fail *why)
{
    int64_t n = net_input_size(b->net) * b->o->batch, outputs = net_output_size(b->net);
    bool bytes = b->o->dtype == 0;
    struct rng r = rng_seed(1);
    b->data = malloc((size_t)n * (bytes ? 1 : sizeof(float)));
    b->labels = calloc((size_t)b->o->batch, sizeof *b->labels);
    b->targets = calloc((size_t)(b->o->batch * outputs), sizeof *b->targets);
    if (!b->data || !b->labels || !b->targets)
        return fail(why, E_MEMORY, "a batch of %lld rows", (long long)b->o->batch);
    for (int64_t i = 0; i < n; i++) {
        if (bytes)
            ((unsigned char *)b->data)[i] = (unsigned char)(rng_next(&r) >> 56);
        else
            ((float *)b->data)[i] = (float)rng_uniform(&r);
    }
    for (int64_t i = 0; i < b->o->batch; i++)
        b->labels[i] = (int32_t)(i % outputs);
    return 0;
}

/* What the worker does with a record's rows: straight into the net's input. */
static void fill_input(const struct bench *b)
{
    int64_t n = net_input_size(b->net);
    if (net_input_bytes(b->net))
        memcpy(net_input_bytes(b->net), b->data, (size_t)(b->o->batch * n));
    for (int64_t row = 0; net_input(b->net) && row < b->o->batch; row++)
        normalise_row(&b->model->normalise, DTYPE_FP32, (const float *)b->data + n * row,
                      net_input(b->net) + n * row);
}

static int step(struct bench *b, struct fail *why)
{
    int rows = (int)b->o->batch;
    fill_input(b);
    if (!b->o->train)
        return net_forward(b->net, rows, why);
    bool labelled = strcmp(loss_name(b->loss), "cross_entropy") == 0;
    struct target t = {labelled ? b->labels : NULL, labelled ? NULL : b->targets};
    struct loss_sum sum = {0};
    int rc = net_accumulate(b->net, b->loss, rows, &t, b->steps++, 0, &sum, why);
    /* A rate of nothing keeps the weights, and so the numbers, sane however long it runs. */
    return rc ? rc : net_step(b->net, b->optimizer, 1e-12, sum.weight > 0 ? sum.weight : 1, why);
}

static int note_latency(struct bench *b, double seconds, struct fail *why)
{
    if (b->count == b->capacity) {
        int64_t capacity = b->capacity ? 2 * b->capacity : 4096;
        double *more = realloc(b->latencies, sizeof *more * (size_t)capacity);
        if (!more)
            return fail(why, E_MEMORY, "latencies of %lld batches", (long long)capacity);
        b->latencies = more;
        b->capacity = capacity;
    }
    b->latencies[b->count++] = seconds;
    return 0;
}

/* One repetition: whole batches until its share of the time is over, at least one. */
static int repeat(struct bench *b, double seconds, double *rate, struct fail *why)
{
    double began = terminal_now(), before = began, now = began;
    int64_t batches = 0;
    while (now - began < seconds || !batches) {
        int rc = step(b, why);
        now = terminal_now();
        if (!rc)
            rc = note_latency(b, now - before, why);
        if (rc)
            return rc;
        if (command_stop)
            return fail(why, E_INTERRUPTED, "stopped before the measurement was complete");
        before = now;
        batches++;
    }
    *rate = (double)(batches * b->o->batch) / (now - began);
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, int64_t n, double p)
{
    int64_t i = (int64_t)ceil(p * (double)n) - 1;
    return sorted[i < 0 ? 0 : i];
}

static void machine_name(char *out, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, size, "unknown processor");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon && colon[1]) {
            snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (f)
        fclose(f);
}

struct figures {
    double rate, low, high, gflops, p50_ms, p99_ms, rss_mb;
    char machine[128];
    long cores;
};

static void figures_make(struct bench *b, struct figures *f)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    qsort(b->rates, REPETITIONS, sizeof *b->rates, compare);
    qsort(b->latencies, (size_t)b->count, sizeof *b->latencies, compare);
    f->rate = b->rates[REPETITIONS / 2];
    f->low = b->rates[0];
    f->high = b->rates[REPETITIONS - 1];
    /* backward costs about twice the forward pass: once to the input, once to the weights */
    f->gflops = f->rate * graph_flops(b->model->graph) * (b->o->train ? 3 : 1) / 1e9;
    f->p50_ms = percentile(b->latencies, b->count, 0.5) * 1e3;
    f->p99_ms = percentile(b->latencies, b->count, 0.99) * 1e3;
    f->rss_mb = (double)usage.ru_maxrss * 1024 / 1e6;
    f->cores = sysconf(_SC_NPROCESSORS_ONLN);
    machine_name(f->machine, sizeof f->machine);
}

static void print_json(const struct bench *b, const struct figures *f, const char *model)
{
    printf("{\"images_per_second\":%.1f,\"gflops\":%.3f,\"latency_ms\":{\"p50\":%.4f,\"p99\":%.4f},"
           "\"peak_rss_mb\":%.1f,\"images_per_second_low\":%.1f,\"images_per_second_high\":%.1f,"
           "\"repetitions\":%d,\"batches\":%lld,\"batch\":%lld,\"train\":%s,\"dtype\":\"%s\",\"model\":",
           f->rate, f->gflops, f->p50_ms, f->p99_ms, f->rss_mb, f->low, f->high, REPETITIONS,
           (long long)b->count, (long long)b->o->batch, b->o->train ? "true" : "false",
           b->o->dtype == 0 ? "u8" : "f32");
    text_print_json(model, strlen(model), stdout);
    fputs(",\"backend\":", stdout);
    text_print_json(backend_describe(b->backend), strlen(backend_describe(b->backend)), stdout);
    fputs(",\"machine\":", stdout);
    text_print_json(f->machine, strlen(f->machine), stdout);
    printf(",\"cores\":%ld}\n", f->cores);
}

static void print_words(const struct bench *b, const struct figures *f, const char *model)
{
    char rate[32], low[32], high[32];
    printf("%s, %s, batch %lld, %s rows\n", model, b->o->train ? "training steps" : "inference",
           (long long)b->o->batch, b->o->dtype == 0 ? "u8" : "f32");
    printf("machine      %s, %ld cores\n", f->machine, f->cores);
    printf("backend      %s\n", backend_describe(b->backend));
    printf("images/s     %s (median of %d repetitions, %s to %s)\n",
           text_count((int64_t)f->rate, rate, sizeof rate), REPETITIONS,
           text_count((int64_t)f->low, low, sizeof low), text_count((int64_t)f->high, high, sizeof high));
    printf("GFLOP/s      %.2f\n", f->gflops);
    printf("latency      %.3f ms p50, %.3f ms p99 a batch, of %lld\n", f->p50_ms, f->p99_ms,
           (long long)b->count);
    printf("peak memory  %.1f MB\n", f->rss_mb);
}

static int open_net(struct bench *b, const struct context *cx, struct fail *why)
{
    const struct settings *s = &cx->settings;
    struct net_options no = {
        .mode = b->o->train ? NET_TRAIN : NET_INFER, .max_rows = (int)b->o->batch, .seed = 1};
    struct optim_settings os = {.momentum = 0.9};
    int threads = (int)(b->o->threads >= 0 ? b->o->threads : s->engine_threads);
    const char *name = *b->o->backend ? b->o->backend : s->engine_backend;
    struct backend_options engine = settings_engine(s, threads);
    int rc = model_argument_open(&b->model, cx, cx->argv[0], why);
    if (!rc)
        rc = backend_open_with(&b->backend, name, &engine, why);
    if (!rc && b->o->dtype == 0)
        no.bytes = &b->model->normalise;
    if (!rc)
        rc = net_open(&b->net, b->backend, b->model->graph, &no, why);
    if (!rc && b->o->train) {
        b->loss = loss_of(b->model->graph);
        rc = optim_open(&b->optimizer, b->net, "sgd", &os, why);
    }
    return rc ? rc : make_data(b, why);
}

static int measure(struct bench *b, struct fail *why)
{
    int rc = 0;
    double ignored;
    for (int i = 0; i < WARM_UP && !rc; i++)
        rc = repeat(b, b->o->seconds / 20, &ignored, why);
    b->count = 0;
    for (int i = 0; i < REPETITIONS && !rc; i++)
        rc = repeat(b, b->o->seconds / REPETITIONS, &b->rates[i], why);
    return rc;
}

/* Options that speak of the engine go to the workers as settings. */
static int run_stream(const struct context *cx, const struct options *o, struct fail *why)
{
    struct context with = *cx;
    struct stream_options through = o->through;
    through.seconds = o->seconds;
    through.dtype = o->dtype == 0 ? DTYPE_UINT8 : DTYPE_FP32;
    if (o->train)
        return fail(why, E_USAGE, "--train does not go with --stream");
    if (o->threads >= 0)
        with.settings.engine_threads = o->threads;
    if (*o->backend)
        with.settings.engine_backend = o->backend;
    return bench_stream(&with, &through, why);
}

static int run(const struct context *cx, struct fail *why)
{
    const struct options *o = cx->options;
    if (o->stream)
        return run_stream(cx, o, why);
    struct bench b = {.o = o};
    struct figures f;
    int rc = open_net(&b, cx, why);
    if (!rc)
        rc = measure(&b, why);
    if (!rc) {
        figures_make(&b, &f);
        (cx->json ? print_json : print_words)(&b, &f, cx->argv[0]);
    }
    optim_close(&b.optimizer);
    net_close(&b.net);
    backend_close(&b.backend);
    model_release(&b.model);
    free(b.data);
    free(b.labels);
    free(b.targets);
    free(b.latencies);
    return rc;
}

const struct command command_bench = {
    .name = "bench",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "measures how fast the engine runs a model",
    .text = "MODEL is a file (.onnx, or a network .yaml with fresh weights) or name[@alias|@version] of the\n"
            "model registry. Rates are the median of repetitions by the monotonic clock; a latency is one\n"
            "batch's, from rows in --dtype to outputs.",
    .options = options,
    .options_size = sizeof(struct options),
    .needs_settings = true,
    .run = run,
};
