/* Our side of tests/bench/engine: forward passes or training steps of one network at one batch size, in a process of its
 * own, so that its peak memory is its own. The peers' side, with the same columns, is in peers/.
 * usage: rates peak                          GF/s of this core
 *        rates export NETWORK.yaml OUT.onnx  fresh weights of seed 1; prints input, GFLOP and parameters of a row
 *        rates forward|train MODEL BATCH THREADS SECONDS REPETITIONS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/loss.h"
#include "engine/net.h"
#include "engine/optim.h"
#include "tests/bench/peak.h"

enum { REPETITIONS_MOST = 64 };

static double seconds_by(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int give_up(const struct fail *why)
{
    fprintf(stderr, "rates: %s\n", why->text);
    return fail_exit(why->code);
}

/* ---- export ---- */

static int write_file(const char *path, const void *bytes, size_t size, struct fail *why)
{
    FILE *f = fopen(path, "we");
    bool ok = f && fwrite(bytes, 1, size, f) == size;
    ok = f && fclose(f) == 0 && ok;
    return ok ? 0 : fail(why, E_FILE, "%s: not written", path);
}

static int export(const char *from, const char *to, struct fail *why)
{
    struct graph *g = NULL;
    void *bytes = NULL;
    size_t size;
    int rc = graph_read(&g, from, why);
    if (!rc)
        rc = graph_init(g, 1, why);
    if (!rc)
        rc = onnx_print(g, &bytes, &size, why);
    if (!rc)
        rc = write_file(to, bytes, size, why);
    if (!rc) {
        for (int i = 0; i < g->input.rank; i++)
            printf("%s%lld", i ? "x" : "", (long long)g->input.dim[i]);
        printf("\t%.9g\t%lld\n", graph_flops(g) / 1e9, (long long)graph_param_count(g));
    }
    free(bytes);
    graph_free(&g);
    return rc;
}

/* ---- rates ---- */

struct bench {
    bool train;
    int batch, threads, repetitions;
    double seconds;
    struct graph *graph;
    struct backend *be;
    struct net *net;
    struct optimizer *opt;
    int32_t *labels;
    int64_t steps;
    double load_ms, first_ms, by_wall[REPETITIONS_MOST], by_cpu[REPETITIONS_MOST];
};

static int open_bench(struct bench *b, const char *path, struct fail *why)
{
    struct net_options o = {.mode = b->train ? NET_TRAIN : NET_INFER, .max_rows = b->batch, .seed = 1};
    struct optim_settings sgd = optim_defaults("sgd");
    struct rng r = rng_seed(1);
    double began = seconds_by(CLOCK_MONOTONIC);
    sgd.momentum = 0.9;
    int rc = graph_read(&b->graph, path, why);
    if (!rc)
        rc = backend_open(&b->be, "cpu", b->threads, why);
    if (!rc)
        rc = net_open(&b->net, b->be, b->graph, &o, why);
    graph_free(&b->graph); /* the net has its own weights */
    if (!rc && b->train)
        rc = optim_open(&b->opt, b->net, "sgd", &sgd, why);
    b->load_ms = 1e3 * (seconds_by(CLOCK_MONOTONIC) - began);
    if (rc)
        return rc;
    if (!(b->labels = calloc((size_t)b->batch, sizeof *b->labels)))
        return fail(why, E_MEMORY, "labels");
    for (int i = 0; i < b->batch; i++)
        b->labels[i] = (int32_t)(i % net_output_size(b->net));
    for (int64_t i = 0; i < b->batch * net_input_size(b->net); i++)
        net_input(b->net)[i] = (float)rng_uniform(&r);
    return 0;
}

static int step(struct bench *b, struct fail *why)
{
    struct target t = {.labels = b->labels};
    struct loss_sum sum = {0};
    if (!b->train)
        return net_forward(b->net, b->batch, why);
    int rc = net_accumulate(b->net, loss_find("cross_entropy"), b->batch, &t, b->steps++, 0, &sum, why);
    return rc ? rc : net_step(b->net, b->opt, 1e-4, sum.weight, why);
}

/* Whole steps for so long, one at least: images a second of the clock, and of this process's CPU time. */
static int repeat(struct bench *b, double seconds, double *by_wall, double *by_cpu, struct fail *why)
{
    double wall = seconds_by(CLOCK_MONOTONIC), cpu = seconds_by(CLOCK_PROCESS_CPUTIME_ID), took = 0;
    double images = 0;
    while (took < seconds || images == 0) {
        int rc = step(b, why);
        if (rc)
            return rc;
        images += b->batch;
        took = seconds_by(CLOCK_MONOTONIC) - wall;
    }
    *by_wall = images / took;
    *by_cpu = images / (seconds_by(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Stops early, after two repetitions, where single steps take much longer than a repetition should; after one where they
 * take seconds. */
static int measure(struct bench *b, struct fail *why)
{
    double began = seconds_by(CLOCK_MONOTONIC), ignored;
    int rc = step(b, why), n = 0;
    b->first_ms = 1e3 * (seconds_by(CLOCK_MONOTONIC) - began);
    if (!rc && b->first_ms < 1e3 * b->seconds)
        rc = repeat(b, b->seconds, &ignored, &ignored, why);
    began = seconds_by(CLOCK_MONOTONIC);
    while (!rc && n < b->repetitions &&
           (n < (b->first_ms > 3000 ? 1 : 2) ||
            seconds_by(CLOCK_MONOTONIC) - began < 3 * b->repetitions * b->seconds)) {
        rc = repeat(b, b->seconds, &b->by_wall[n], &b->by_cpu[n], why);
        n++;
    }
    b->repetitions = n;
    qsort(b->by_wall, (size_t)n, sizeof *b->by_wall, compare);
    qsort(b->by_cpu, (size_t)n, sizeof *b->by_cpu, compare);
    return rc;
}

/* MiB; this process's own, not what it has from its parent (ru_maxrss is inherited through exec). */
static double peak_memory(void)
{
    char line[128];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = atof(line + 6);
    if (f)
        fclose(f);
    return kib / 1024;
}

static int rates(struct bench *b, const char *path, struct fail *why)
{
    int rc = open_bench(b, path, why);
    if (!rc)
        rc = measure(b, why);
    if (!rc)
        printf("millrace\t%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\n",
               b->train ? "train" : "forward", b->batch, b->threads, b->by_wall[b->repetitions / 2],
               b->by_wall[0], b->by_wall[b->repetitions - 1], b->by_cpu[b->repetitions / 2], peak_memory(),
               b->load_ms, b->first_ms);
    optim_close(&b->opt);
    net_close(&b->net);
    backend_close(&b->be);
    graph_free(&b->graph);
    free(b->labels);
    return rc;
}

int main(int argc, char **argv)
{
    struct fail why = {0};
    struct bench b = {0};
    int rc = 0;
    if (argc == 2 && strcmp(argv[1], "peak") == 0) {
        printf("%.2f\n", measure_peak() / 1e9);
    } else if (argc == 4 && strcmp(argv[1], "export") == 0) {
        rc = export(argv[2], argv[3], &why);
    } else if (argc == 7 && (strcmp(argv[1], "forward") == 0 || strcmp(argv[1], "train") == 0)) {
        b.train = argv[1][0] == 't';
        b.batch = atoi(argv[3]);
        b.threads = atoi(argv[4]);
        b.seconds = atof(argv[5]);
        b.repetitions = atoi(argv[6]);
        if (b.batch < 1 || b.threads < 1 || b.repetitions < 1 || b.repetitions > REPETITIONS_MOST)
            rc = fail(&why, E_USAGE, "batch, threads and 1..%d repetitions are positive numbers",
                      REPETITIONS_MOST);
        else
            rc = rates(&b, argv[2], &why);
    } else {
        rc = fail(&why, E_USAGE,
                  "peak | export NETWORK OUT | forward|train MODEL BATCH THREADS SECONDS REPETITIONS");
    }
    return rc ? give_up(&why) : 0;
}
