/* `train --local`: rows of a file, the run of worker/train, an ONNX file. The same data set in the same order
 * gives the same bytes as a worker does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/commands/curve.h"
#include "worker/commands/train_view.h"
#include "worker/data/folder.h"
#include "worker/models/store.h"
#include "worker/service/file.h"
#include "worker/service/log.h"
#include "worker/service/text.h"
#include "worker/train/run.h"

struct local {
    const struct context *cx;
    const struct train_options *o;
    struct region mem;
    struct training_job job;
    struct job_settings settings;
    struct backend *be;
    struct graph *graph;
    struct dataset *data;
    struct run *run;
    struct curve curve;
    struct file_out out;
};

static int on_metric(void *arg, struct loss_metric *m, struct fail *why)
{
    struct local *l = arg;
    if (!curve_add(&l->curve, m))
        return fail(why, E_MEMORY, "no memory for the curve");
    curve_show(&l->curve, m);
    return 0;
}

static int on_step(void *arg, struct run *run, struct fail *why)
{
    (void)arg;
    return command_stop ? fail(why, E_INTERRUPTED, "stopped at step %lld; nothing was written",
                               (long long)run_state(run)->step)
                        : 0;
}

static int local_open(struct local *l, struct fail *why)
{
    struct training_job *job = &l->job;
    int rc = job_file_read(job, l->cx->argv[0], &l->mem, why);
    if (rc)
        return rc;
    job->job_id = "local";
    if (job->base_version)
        return fail(why, E_CONFIG,
                    "%s: base_version needs the model registry; --local takes --base FILE.onnx",
                    l->cx->argv[0]);
    if (*l->o->base) {
        if (*job->network)
            return fail(why, E_CONFIG, "%s: network: --base says where the layers come from", l->cx->argv[0]);
        if ((rc = graph_read(&l->graph, l->o->base, why)))
            return rc;
        job->base_version = 1; /* layers come from a file */
    }
    rc = job_check(job, false, &l->settings, why);
    job->base_version = 0;
    if (rc || (!l->graph && (rc = job_network(&l->graph, job->network, why))) ||
        (rc = job_prepare(l->graph, job, &l->settings, why))) {
        why->code = why->code == E_MEMORY ? E_MEMORY : E_CONFIG;
        return fail_prefix(why, "%s", l->cx->argv[0]);
    }
    const struct settings *s = &l->cx->settings;
    struct backend_options engine = settings_engine(s, (int)s->engine_threads);
    return backend_open_with(&l->be, s->engine_backend, &engine, why);
}

/* A folder's classes are the model's labels, where the job names none. */
static int local_labels(struct local *l, struct fail *why)
{
    struct folder f;
    if (l->job.label_count || !folder_is(l->o->data))
        return 0;
    int rc = folder_open(&f, l->o->data, why);
    if (!rc && f.class_count == shape_size(graph_output(l->graph)))
        rc = graph_set_labels(l->graph, f.class_count, (const char *const *)f.classes, why);
    folder_close(&f);
    return rc;
}

static int bad_row(void *arg, const struct record *r, const struct fail *reason, struct fail *why)
{
    struct train_rows *t = arg;
    (void)r;
    if (++t->bad <= t->settings->bad_samples_max)
        return 0;
    return fail(why, E_JOB, "more than bad_samples_max, %lld, bad rows: %s",
                (long long)t->settings->bad_samples_max, reason->text);
}

struct dataset_options train_rows_options(struct train_rows *t, const struct graph *g)
{
    bool skips = t->settings->bad_samples == BAD_SAMPLES_SKIP;
    return (struct dataset_options){.validation_rate = t->job->validation_rate,
                                    .test_rate = t->job->test_rate,
                                    .ignores = t->settings->ignores,
                                    .ignored_label = t->settings->ignored_label,
                                    .graph = g,
                                    .loss = job_loss_type(t->job->loss),
                                    .resize = t->settings->resize,
                                    .on_bad = skips ? bad_row : NULL,
                                    .on_bad_arg = t};
}

static int local_data(struct local *l, struct fail *why)
{
    struct train_rows taken = {.job = &l->job, .settings = &l->settings};
    struct dataset_options o = train_rows_options(&taken, l->graph);
    float mean[JOB_CHANNELS], std[JOB_CHANNELS];
    struct rows rows = {0};
    int channels, rc = dataset_new(&l->data, &o, why);
    if (!rc)
        rc = rows_read_as(&rows, l->o->data, &l->graph->input, why);
    if (!rc)
        rc = dataset_add_rows(l->data, &rows, l->o->data, why);
    rows_close(&rows);
    if (!rc && taken.bad)
        log_event(LOG_WARN, "bad rows were left out", "file", l->o->data, "rows",
                  log_text("%lld", (long long)taken.bad), NULL);
    if (!rc)
        rc = local_labels(l, why);
    if (!rc && l->settings.mean_auto &&
        !(rc = dataset_moments(l->data, mean, std, JOB_CHANNELS, &channels, why)))
        job_normalise(l->graph, mean, std, channels);
    if (!rc && (rc = dataset_finish(l->data, l->graph, job_loss_type(l->job.loss), why)))
        rc = fail_prefix(why, "%s", l->o->data);
    return rc;
}

static int local_write(struct local *l, char sha256[SHA256_HEX], struct fail *why)
{
    struct graph *g = NULL;
    void *bytes = NULL;
    size_t size = 0;
    int rc = run_graph(l->run, &g, why);
    if (!rc)
        rc = onnx_print(g, &bytes, &size, why);
    if (!rc)
        rc = file_out_write(&l->out, bytes, size, why);
    if (!rc)
        rc = file_out_commit(&l->out, why);
    if (!rc)
        sha256_hex(bytes, size, sha256);
    free(bytes);
    graph_free(&g);
    return rc;
}

static void local_report(const struct local *l, const char *sha256)
{
    struct number_pair results[RUN_RESULTS];
    int n = run_results(l->run, results);
    if (!l->cx->json) {
        printf("%s:", l->o->output);
        for (int i = 0; i < n; i++)
            printf("%s %s %.6g", i ? "," : "", results[i].key, results[i].value);
        printf("\n");
        return;
    }
    printf("{\"output\":");
    text_print_json(l->o->output, strlen(l->o->output), stdout);
    printf(",\"sha256\":\"%s\",\"metrics\":{", sha256);
    for (int i = 0; i < n; i++)
        printf("%s\"%s\":%.9g", i ? "," : "", results[i].key, results[i].value);
    printf("}}\n");
}

int train_local(const struct context *cx, struct fail *why)
{
    struct local l = {.cx = cx, .o = cx->options};
    struct run_watch watch = {on_metric, NULL, on_step, &l};
    char sha256[SHA256_HEX];
    size_t n = strlen(l.o->output);
    if (n < 6 || strcmp(l.o->output + n - 5, ".onnx") != 0)
        return fail(why, E_USAGE, "--output %s: a name that ends in .onnx is expected", l.o->output);
    curve_open(&l.curve);
    int rc = local_open(&l, why);
    if (!rc)
        rc = local_data(&l, why);
    if (!rc) /* before the work: a folder that is missing is said now */
        rc = file_out_open(&l.out, l.o->output, why);
    if (!rc)
        rc = run_open(&l.run, l.be, l.graph, l.data, &l.job, &l.settings, why);
    if (!rc)
        rc = run_train(l.run, &watch, why);
    curve_end(&l.curve);
    if (!rc)
        rc = local_write(&l, sha256, why);
    if (!rc)
        local_report(&l, sha256);
    file_out_close(&l.out);
    run_close(&l.run);
    dataset_free(&l.data);
    graph_free(&l.graph);
    backend_close(&l.be);
    curve_free(&l.curve);
    region_free(&l.mem);
    return rc;
}
