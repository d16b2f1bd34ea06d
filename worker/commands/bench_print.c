/* The figures of `bench --stream`, in words and as JSON. How they were made: bench_stream.c. */
#include <stdio.h>
#include <string.h>

#include "worker/commands/bench_stream.h"
#include "worker/service/text.h"

static void json_percentiles(const char *name, const struct percentiles *p)
{
    printf("\"%s\":{\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f}", name, p->p50, p->p95, p->p99);
}

static void print_json(const struct stream_options *o, const struct stream_figures *f, const char *model)
{
    printf("{\"model\":");
    text_print_json(model, strlen(model), stdout);
    printf(",\"load\":\"%s\",\"rate\":%.1f,\"rows_per_record\":%lld,\"records\":%lld,\"rows\":%lld,"
           "\"partitions\":%lld,\"workers\":%lld,\"seconds\":%.3f,\"rows_per_second\":%.1f,"
           "\"answered_twice\":%lld",
           o->rate <= 0                      ? "backlog"
           : o->arrivals == ARRIVALS_POISSON ? "poisson"
                                             : "constant",
           o->rate, (long long)o->rows_per_record, (long long)f->records, (long long)f->rows,
           (long long)o->partitions, (long long)o->workers, f->seconds, f->rows_per_second,
           (long long)f->twice);
    if (f->has_latency) {
        fputs(",", stdout);
        json_percentiles("latency_ms", &f->latency_ms);
        printf(",\"latency_max_ms\":%.3f", f->latency_max_ms);
    }
    if (f->has_stages) {
        fputs(",\"stages_ms\":{", stdout);
        for (int i = 0; i < BENCH_STAGES; i++) {
            fputs(i ? "," : "", stdout);
            json_percentiles(bench_stages[i], &f->stages_ms[i]);
        }
        fputs("}", stdout);
    }
    printf(",\"cpu_cores\":{\"broker\":%.3f,\"worker\":%.3f},\"worker_mb\":{\"peak\":%.1f,\"begin\":%.1f,"
           "\"end\":%.1f}}\n",
           f->broker_cores, f->pipeline_cores, f->peak_mb, f->begin_mb, f->end_mb);
}

static void words_percentiles(const char *name, const struct percentiles *p, const char *note)
{
    printf("%-12s %.2f ms p50, %.2f ms p95, %.2f ms p99%s\n", name, p->p50, p->p95, p->p99, note);
}

static void print_words(const struct stream_options *o, const struct stream_figures *f, const char *model)
{
    static const char *const of[BENCH_STAGES] = {" a record", " a record", " a forward pass", " a batch",
                                                 " a transaction"};
    char rows[32], rate[32];
    printf("%s through Kafka: %s, %lld rows a record, %lld partitions\n", model,
           o->rate <= 0                      ? "a backlog"
           : o->arrivals == ARRIVALS_POISSON ? "Poisson arrivals"
                                             : "constant arrivals",
           (long long)o->rows_per_record, (long long)o->partitions);
    printf("rows/s       %s (%s rows in %.2f s; %lld answered twice)\n",
           text_count((int64_t)f->rows_per_second, rate, sizeof rate), text_count(f->rows, rows, sizeof rows),
           f->seconds, (long long)f->twice);
    if (f->has_latency) {
        words_percentiles("end to end", &f->latency_ms, "");
        printf("             %.2f ms at most, from when a record was due to when its answer was read\n",
               f->latency_max_ms);
    }
    for (int i = 0; f->has_stages && i < BENCH_STAGES; i++)
        words_percentiles(bench_stages[i], &f->stages_ms[i], of[i]);
    if (f->broker_cores > 0)
        printf("broker       %.2f cores, %.2f us a row\n", f->broker_cores,
               1e6 * f->broker_cores / f->rows_per_second);
    if (f->pipeline_cores > 0)
        printf("worker       %.2f cores, %.2f us a row; %.0f MB at most, %.0f MB at the end\n",
               f->pipeline_cores, 1e6 * f->pipeline_cores / f->rows_per_second, f->peak_mb, f->end_mb);
}

void stream_print(const struct context *cx, const struct stream_options *o, const struct stream_figures *f,
                  const char *model)
{
    (cx->json ? print_json : print_words)(o, f, model);
}
