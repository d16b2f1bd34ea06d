/* `score`: a file in, a file out, no broker: the worker's own runner between a file source and a file sink. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "worker/commands/command.h"
#include "worker/commands/model_argument.h"
#include "worker/infer/runner.h"
#include "worker/models/registry.h"
#include "worker/service/terminal.h"
#include "worker/stream/clock.h"
#include "worker/stream/file_sink.h"
#include "worker/stream/file_source.h"

enum { ROWS_PER_RECORD = 16 };

struct options {
    char *input, *output;
    int64_t top_k;
};

static const struct setting options[] = {
    {"input", SETTING_STRING, offsetof(struct options, input), NULL, 1, 4096, NULL,
     "rows (.npy, .npz, idx, CIFAR-10 .bin, .avro of Sample) or requests (.avro of InferenceBatch)", false},
    {"output", SETTING_STRING, offsetof(struct options, output), NULL, 1, 4096, NULL,
     "predictions: .avro, .jsonl, or .npy with the raw outputs", false},
    {"top-k", SETTING_INT, offsetof(struct options, top_k), "1", 0, 100000, NULL,
     "classes with their scores a row; 0: none", false},
    {0},
};

/* MODEL as a file, or by the registry. */
static int open_model(struct model **out, const struct context *cx, const char *text, struct fail *why)
{
    const struct model_version_event *version;
    const char *variant;
    struct registry *registry = NULL;
    if (model_argument_is_file(text))
        return model_read(out, text, why);
    int rc = registry_load(&registry, &cx->settings, cx->timeout_ms, why);
    if (!rc)
        rc = registry_resolve(registry, (struct span){text, strlen(text)}, &version, &variant, why);
    if (!rc)
        rc = model_load(out, cx->settings.models_store, version, why);
    registry_free(&registry);
    return rc;
}

/* The source with the user's Ctrl-C and a progress bar in it. */
struct watched {
    struct source base;
    struct source *inner;
    struct progress progress;
    int64_t rows;
};

static int watched_next(struct source *base, struct record *out, int timeout_ms, struct fail *why)
{
    struct watched *w = (struct watched *)base;
    if (command_stop)
        return fail(why, E_INTERRUPTED, "interrupted: no output was written");
    return source_next(w->inner, out, timeout_ms, why);
}

static int watched_seal(struct source *base, struct batch *b, enum seal how, struct fail *why)
{
    struct watched *w = (struct watched *)base;
    w->rows += b->rows;
    progress_set(&w->progress, w->rows, NULL);
    return source_seal(w->inner, b, how, why);
}

static bool watched_changed(struct source *base)
{
    (void)base;
    return command_stop != 0;
}

static const struct source_ops watched_ops = {watched_next, watched_seal, watched_changed, NULL};

static void report(const struct options *o, const struct file_sink_counts *n, int64_t took_us)
{
    double seconds = (double)took_us * 1e-6;
    fprintf(stderr, "%s: %lld rows in %.2f s (%.0f rows/s)\n", o->output, (long long)n->rows, seconds,
            seconds > 0 ? (double)n->rows / seconds : 0);
}

static int score(const struct context *cx, struct model *m, struct backend *be, struct file_source *source,
                 struct file_sink *sink, struct fail *why)
{
    const struct options *o = cx->options;
    struct runner_options runner = {
        .settings = &cx->settings, .stop_at_end = true, .always_outputs = file_sink_wants_outputs(o->output)};
    struct watched w = {.base.ops = &watched_ops, .inner = file_source_base(source)};
    int64_t total = file_source_rows(source);
    int rc = router_open(&runner.router, be, (int)cx->settings.batch_max_rows, NULL, m, why);
    if (rc)
        return rc;
    progress_open(&w.progress, "scored", "rows", total > 0 ? total : 0);
    rc = runner_work(&w.base, file_sink_base(sink), &runner, why);
    progress_close(&w.progress);
    router_close(&runner.router);
    return rc;
}

/* The output takes its name when it is whole: over the input it would replace it. */
static int check_output(const struct options *o, struct fail *why)
{
    struct stat in, out;
    if (stat(o->input, &in) || stat(o->output, &out) || in.st_dev != out.st_dev || in.st_ino != out.st_ino)
        return 0;
    return fail(why, E_USAGE, "--output %s is the input file: it would be replaced", o->output);
}

static int run(const struct context *cx, struct fail *why)
{
    const struct options *o = cx->options;
    struct model *m = NULL;
    struct backend *be = NULL;
    struct file_source *source = NULL;
    struct file_sink *sink = NULL;
    struct file_sink_counts n;
    int64_t began_us = now_us();
    int rc = check_output(o, why);
    if (!rc)
        rc = open_model(&m, cx, cx->argv[0], why);
    if (!rc)
        rc = backend_open(&be, cx->settings.engine_backend, (int)cx->settings.engine_threads, why);
    if (!rc)
        rc = file_source_open(&source, o->input, m->name, ROWS_PER_RECORD, (int)o->top_k, why);
    if (!rc)
        rc = file_sink_open(&sink, o->output, graph_output(m->graph), file_source_rows(source), why);
    if (!rc)
        rc = score(cx, m, be, source, sink, why);
    if (rc)
        goto out;
    n = file_sink_counts(sink);
    rc = file_sink_finish(&sink, why);
    if (!rc)
        report(o, &n, now_us() - began_us);
    if (!rc && n.dead_letters)
        rc = fail(why, E_FAILED, "%lld of %lld records could not be answered, the reasons are above",
                  (long long)n.dead_letters, (long long)(n.dead_letters + n.records));
out:
    file_sink_abandon(&sink);
    file_source_close(&source);
    backend_close(&be);
    model_release(&m);
    return rc;
}

const struct command command_score = {
    .name = "score",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "scores a file without a broker",
    .text = "MODEL is a file (.onnx, or a network .yaml with fresh weights) or name[@alias|@version] from "
            "the model "
            "registry. The rows go through the same pipeline as a worker's records.",
    .options = options,
    .options_size = sizeof(struct options),
    .needs_settings = true,
    .run = run,
};
