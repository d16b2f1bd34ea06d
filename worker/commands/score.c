/* `score`: a file in, a file out, no broker: the worker's own runner between a file source and a file sink. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "worker/commands/command.h"
#include "worker/commands/model_argument.h"
#include "worker/infer/runner.h"
#include "worker/service/terminal.h"
#include "worker/stream/clock.h"
#include "worker/stream/file_sink.h"
#include "worker/stream/file_source.h"

enum { ROWS_PER_RECORD = 16 };

struct options {
    char *input, *output, *saliency;
    int64_t top_k;
};

static const struct setting options[] = {
    {"input", SETTING_STRING, offsetof(struct options, input), NULL, 1, 4096, NULL,
     "rows (.npy, .npz, idx, CIFAR-10 .bin, .avro of Sample) or requests (.avro of InferenceBatch)", false},
    {"output", SETTING_STRING, offsetof(struct options, output), NULL, 1, 4096, NULL,
     "predictions: .avro, .jsonl, or .npy with the raw outputs", false},
    {"saliency", SETTING_STRING, offsetof(struct options, saliency), "", 0, 4096, NULL,
     "also each row's saliency map: gradient of its largest output times the input as the net sees it; .npy",
     false},
    {"top-k", SETTING_INT, offsetof(struct options, top_k), "1", 0, 100000, NULL,
     "classes with their scores a row; 0: none", false},
    {0},
};

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

static const struct source_ops watched_ops = {watched_next, watched_seal, watched_changed, NULL, NULL};

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
    struct runner_options runner = {.settings = &cx->settings,
                                    .stop_at_end = true,
                                    .always_outputs = file_sink_wants_outputs(o->output),
                                    .always_explain = *o->saliency != 0};
    struct watched w = {.base.ops = &watched_ops, .inner = file_source_base(source)};
    int64_t total = file_source_rows(source);
    int rc = router_open(&runner.router, be, (int)cx->settings.batch_max_rows, NULL, m, NULL, why);
    if (rc)
        return rc;
    progress_open(&w.progress, "scored", "rows", total > 0 ? total : 0);
    rc = runner_work(&w.base, file_sink_base(sink), &runner, why);
    progress_close(&w.progress);
    router_close(&runner.router);
    return rc;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return strcmp(a, b) == 0 ||
           (!stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* An output takes its name when it is whole: over the input it would replace it. */
static int check_outputs(const struct options *o, struct fail *why)
{
    if (same_file(o->input, o->output))
        return fail(why, E_USAGE, "--output %s is the input file: it would be replaced", o->output);
    if (*o->saliency && same_file(o->input, o->saliency))
        return fail(why, E_USAGE, "--saliency %s is the input file: it would be replaced", o->saliency);
    if (*o->saliency && same_file(o->output, o->saliency))
        return fail(why, E_USAGE, "--saliency %s is the output file", o->saliency);
    return 0;
}

static int run(const struct context *cx, struct fail *why)
{
    const struct options *o = cx->options;
    struct model *m = NULL;
    struct backend_options engine = settings_engine(&cx->settings, (int)cx->settings.engine_threads);
    struct backend *be = NULL;
    struct file_source *source = NULL;
    struct file_sink *sink = NULL;
    struct file_sink_counts n;
    int64_t began_us = now_us();
    int rc = check_outputs(o, why);
    if (!rc)
        rc = model_argument_open(&m, cx, cx->argv[0], why);
    if (!rc)
        rc = backend_open_with(&be, cx->settings.engine_backend, &engine, why);
    if (!rc)
        rc = file_source_open(&source, o->input, m->name, ROWS_PER_RECORD, (int)o->top_k, why);
    if (!rc)
        rc = file_sink_open(&sink, o->output, graph_output(m->graph), file_source_rows(source), why);
    if (!rc)
        rc = *o->saliency ? file_sink_saliency(sink, o->saliency, m->graph->input, why) : 0;
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
