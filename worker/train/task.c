/* One TRAIN job, from its record to its version: data set, run, checkpoints, control, end. The loop over
 * steps is run.c's, the transactions trainer.c's. Next to read: version.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/service/log.h"
#include "worker/train/checkpoint.h"
#include "worker/train/partition.h"
#include "worker/train/parts.h"

struct task {
    struct trainer *t;
    const struct record *from;
    const struct training_job *job;
    struct job_settings settings;
    struct region mem;
    struct graph *graph;
    struct dataset *data;
    struct run *run;
    struct control *control;
    struct batch *pending;      /* metrics since the last checkpoint; NULL: none */
    struct job_checkpoint last; /* as committed */
    bool stop;                  /* a STOP came */
    int broken;                 /* what control gave while rows were read; 0: nothing */
    struct fail broken_why;
};

static int task_batch(struct task *k, struct fail *why)
{
    return k->pending ? 0 : sink_take(k->t->sink, &k->pending, why);
}

static struct job_checkpoint task_point(const struct task *k, enum job_state state)
{
    struct job_checkpoint c = k->last;
    c.job_id = k->job->job_id;
    c.model = k->job->model;
    c.state = state;
    c.failure_reason = "";
    if (k->run) {
        const struct run_state *s = run_state(k->run);
        c.epoch = (int32_t)s->epoch;
        c.step = s->step;
        c.sequence = s->sequence;
        c.total_steps = run_total_steps(k->run);
    }
    return c;
}

/* Adds the checkpoint to what is pending and commits both. */
static int task_commit(struct task *k, struct job_checkpoint *c, enum seal how, struct fail *why)
{
    int rc = task_batch(k, why);
    if (!rc)
        rc = trainer_checkpoint(k->t, k->pending, k->from, c, why);
    if (!rc)
        rc = trainer_commit(k->t, &k->pending, how, why);
    if (!rc)
        rc = history_note(k->t->history, c, why);
    if (!rc)
        k->last = *c;
    return rc;
}

/* ---- what lies behind the job in its partition ---- */

static int control_act(struct task *k, enum control_event event, const struct training_job *job,
                       const struct record *from, struct fail *why)
{
    const struct job_checkpoint *known = history_find(k->t->history, job->job_id);
    if (event == CONTROL_STOP) {
        k->stop = true;
        return 0;
    }
    bool elsewhere =
        !model_name_check(job->model, NULL) && partition_of(job->model, k->t->partitions) != from->partition;
    if ((known && job_state_terminal(known->state)) || elsewhere)
        return 0; /* the group's consumer passes it over, or on to its partition */
    if (event == CONTROL_IMPORT)
        return import_file(k->t, from, job, SEAL_UNCHANGED, why);
    return trainer_end_job(k->t, from, job, JOB_STOPPED, "", SEAL_UNCHANGED, why);
}

static int task_control(struct task *k, struct fail *why)
{
    struct training_job job;
    struct record from;
    int event, rc = 0;
    while (!rc && !k->stop && (event = control_next(k->control, &job, &from, why)) != CONTROL_NONE)
        rc = event < 0 ? event : control_act(k, (enum control_event)event, &job, &from, why);
    return rc;
}

/* While rows are read: true ends that. */
static bool task_should_stop(void *arg)
{
    struct task *k = arg;
    if (source_changed(k->t->src))
        return true;
    k->broken = task_control(k, &k->broken_why);
    return k->broken || k->stop;
}

/* ---- the run's watch ---- */

static int watch_metric(void *arg, struct loss_metric *m, struct fail *why)
{
    struct task *k = arg;
    int rc = task_batch(k, why);
    return rc ? rc : trainer_metric(k->t, k->pending, k->from, m, why);
}

/* The file is durable before the record that names it is sent. */
static int task_save(struct task *k, struct job_checkpoint *c, struct fail *why)
{
    char uri[STORE_URI], sha256[SHA256_HEX];
    int rc = checkpoint_put(k->run, k->t->settings->models_store, k->job, uri, sha256, why);
    if (rc)
        return rc;
    c->artifact_uri = region_copy(&k->mem, uri, strlen(uri));
    c->sha256 = region_copy(&k->mem, sha256, strlen(sha256));
    return c->artifact_uri && c->sha256 ? 0 : fail(why, E_MEMORY, "checkpoint: no memory");
}

static int watch_checkpoint(void *arg, struct run *run, struct fail *why)
{
    struct task *k = arg;
    struct job_checkpoint c = task_point(k, JOB_TRAINING);
    struct fail prune;
    int rc = task_save(k, &c, why);
    if (!rc)
        rc = task_commit(k, &c, SEAL_UNCHANGED, why);
    if (rc)
        return rc;
    log_event(LOG_DEBUG, "checkpoint", "job", k->job->job_id, "step", log_text("%lld", (long long)c.step),
              NULL);
    if (checkpoint_prune(k->t->settings->models_store, k->job, run_state(run)->step,
                         k->t->settings->training_keep_checkpoints, &prune))
        log_event(LOG_WARN, "old checkpoints stay", "job", k->job->job_id, "text", prune.text, NULL);
    return 0;
}

static int watch_between(void *arg, struct run *run, struct fail *why)
{
    struct task *k = arg;
    (void)run;
    if (source_changed(k->t->src))
        return fail(why, E_INTERRUPTED,
                    "the job's partition belongs to someone else now, or the worker stops");
    int rc = task_control(k, why);
    return rc || !k->stop ? rc : fail(why, E_INTERRUPTED, "stopped by request");
}

/* ---- the beginning ---- */

static int base_graph(struct task *k, struct fail *why)
{
    const struct training_job *job = k->job;
    struct registry *r = NULL;
    void *bytes = NULL;
    size_t size;
    int rc = version_registry(k->t, job->model, &r, why);
    if (rc)
        return rc;
    const struct model_version_event *v = registry_version(r, job->model, job->base_version);
    rc = v ? store_get(k->t->settings->models_store, v->artifact_uri, v->sha256, &bytes, &size, why)
           : fail(why, E_JOB, "base_version: %s has no version %lld", job->model,
                  (long long)job->base_version);
    if (!rc)
        rc = onnx_parse(&k->graph, job->model, bytes, size, why);
    free(bytes);
    registry_free(&r);
    return rc;
}

/* The first thing that is seen of a job; its sequence begins here. */
static int task_announce(struct task *k, struct fail *why)
{
    struct loss_metric m = {.job_id = k->job->job_id,
                            .model = k->job->model,
                            .sequence = 1,
                            .state = JOB_STARTING,
                            .loss = NAN,
                            .accuracy = NAN,
                            .val_loss = NAN,
                            .val_accuracy = NAN,
                            .learning_rate = NAN,
                            .samples_per_second = NAN,
                            .failure_reason = ""};
    struct job_checkpoint c = task_point(k, JOB_STARTING);
    int rc = task_batch(k, why);
    c.sequence = 1;
    if (!rc)
        rc = trainer_metric(k->t, k->pending, k->from, &m, why);
    return rc ? rc : task_commit(k, &c, SEAL_UNCHANGED, why);
}

static int task_data(struct task *k, struct fail *why)
{
    struct dataset_options o = {k->job->validation_rate, k->job->test_rate, k->settings.ignores,
                                k->settings.ignored_label};
    int rc = dataset_new(&k->data, &o, why);
    if (!rc)
        rc = dataset_read(k->data, k->t->settings, k->job->dataset, k->job->dataset_count, TRAIN_TIMEOUT_MS,
                          task_should_stop, k, why);
    if (k->broken) {
        *why = k->broken_why;
        return k->broken;
    }
    return rc ? rc : dataset_finish(k->data, k->graph, job_loss_type(k->job->loss), why);
}

static int task_resume(struct task *k, struct fail *why)
{
    bool same_plan = true;
    if (!*k->last.artifact_uri) {
        run_state(k->run)->sequence = k->last.sequence;
        return 0;
    }
    int rc = checkpoint_get(k->run, k->t->settings->models_store, k->last.artifact_uri, k->last.sha256,
                            &same_plan, why);
    if (rc)
        return rc;
    if (run_state(k->run)->sequence != k->last.sequence)
        return fail(why, E_JOB, "%s: its sequence is %lld, the checkpoint record's %lld",
                    k->last.artifact_uri, (long long)run_state(k->run)->sequence,
                    (long long)k->last.sequence);
    log_event(LOG_INFO, "job goes on from its checkpoint", "job", k->job->job_id, "step",
              log_text("%lld", (long long)k->last.step), NULL);
    if (!same_plan)
        log_event(LOG_WARN,
                  "the engine computes differently here than where the job began: weights will not have the "
                  "same bits as in one go",
                  "job", k->job->job_id, NULL);
    return 0;
}

static int task_open(struct task *k, struct fail *why)
{
    const struct training_job *job = k->job;
    int rc = job_check(job, true, &k->settings, why);
    if (!rc)
        rc = job->base_version ? base_graph(k, why) : job_network(&k->graph, job->network, why);
    if (!rc)
        rc = job_prepare(k->graph, job, &k->settings, why);
    if (!rc && k->last.sequence == 0)
        rc = task_announce(k, why);
    if (!rc)
        rc = control_open(&k->control, k->t->settings, k->t->src, k->from, job->job_id, k->t->partitions,
                          TRAIN_TIMEOUT_MS, why);
    if (!rc)
        rc = task_data(k, why);
    if (!rc)
        rc = run_open(&k->run, k->t->be, k->graph, k->data, job, &k->settings, why);
    return rc ? rc : task_resume(k, why);
}

/* ---- the ends ---- */

static int task_artefact(struct task *k, struct model_version_event *e, struct fail *why)
{
    char uri[STORE_URI], sha256[SHA256_HEX], data[65];
    struct graph *g = NULL;
    void *bytes = NULL;
    size_t size = 0;
    int rc = run_graph(k->run, &g, why);
    dataset_sha256(k->data, data);
    if (!rc)
        rc = onnx_print(g, &bytes, &size, why);
    if (!rc)
        rc = store_put(k->t->settings->models_store, k->job->model, NULL, bytes, size, uri, sha256, why);
    if (!rc)
        rc = version_describe(e, g, &k->mem, why);
    if (!rc) {
        e->artifact_uri = region_copy(&k->mem, uri, strlen(uri));
        e->sha256 = region_copy(&k->mem, sha256, strlen(sha256));
        e->dataset_sha256 = region_copy(&k->mem, data, strlen(data));
        e->size_bytes = (int64_t)size;
        if (!e->artifact_uri || !e->sha256 || !e->dataset_sha256)
            rc = fail(why, E_MEMORY, "no memory for a version");
    }
    free(bytes);
    graph_free(&g);
    return rc;
}

static int task_events(struct task *k, const struct model_version_event *created, const struct registry *r,
                       bool *promoted, struct fail *why)
{
    int rc = publish_event(k->pending, k->from, created, why);
    *promoted = version_promotes(r, k->job, created);
    if (rc || !*promoted)
        return rc;
    struct model_version_event e =
        publish_alias(created, EVENT_PROMOTED, "champion", registry_alias(r, k->job->model, "champion"));
    e.event_id = region_format(&k->mem, "%s/promoted", k->job->job_id);
    e.reason = region_format(&k->mem, "better %s", k->job->promote_metric);
    return e.event_id && e.reason ? publish_event(k->pending, k->from, &e, why)
                                  : fail(why, E_MEMORY, "no memory for a version");
}

/* The last transaction: metrics, version, champion, the job's end, and its offset. */
static int task_publish(struct task *k, struct model_version_event *e, struct fail *why)
{
    struct registry *r = NULL;
    bool promoted = false;
    int rc = version_registry(k->t, k->job->model, &r, why);
    if (rc)
        return rc;
    e->version = version_next(k->t, r, k->job->model);
    struct loss_metric m = run_metric(k->run, JOB_COMPLETED);
    m.loss = m.accuracy = NAN;
    m.metrics = e->metrics;
    m.metric_count = e->metric_count;
    struct job_checkpoint c = task_point(k, JOB_COMPLETED);
    c.version = e->version;
    c.artifact_uri = e->artifact_uri;
    c.sha256 = e->sha256;
    rc = task_batch(k, why);
    if (!rc)
        rc = trainer_metric(k->t, k->pending, k->from, &m, why);
    if (!rc)
        rc = task_events(k, e, r, &promoted, why);
    if (!rc)
        rc = task_commit(k, &c, SEAL_DONE, why);
    if (!rc)
        log_event(LOG_INFO, "version made", "job", k->job->job_id, "model", k->job->model, "version",
                  log_text("%lld", (long long)e->version), "sha256", e->sha256, "promoted",
                  promoted ? "yes" : "no", NULL);
    registry_free(&r);
    return rc;
}

static int task_finish(struct task *k, struct fail *why)
{
    const struct training_job *job = k->job;
    struct number_pair metrics[RUN_RESULTS];
    struct model_version_event e = {.event = EVENT_CREATED,
                                    .model = job->model,
                                    .alias = "",
                                    .traffic = 1,
                                    .format = "onnx",
                                    .job_id = job->job_id,
                                    .base_version = job->base_version,
                                    .dataset = job->dataset,
                                    .dataset_count = job->dataset_count,
                                    .hyperparameters = job->hyperparameters,
                                    .hyperparameter_count = job->hyperparameter_count,
                                    .metrics = metrics,
                                    .metric_count = run_results(k->run, metrics),
                                    .reason = "",
                                    .created_by = job->requested_by,
                                    .at = publish_now_ms()};
    e.event_id = region_format(&k->mem, "%s/created", job->job_id);
    int rc = e.event_id ? task_artefact(k, &e, why) : fail(why, E_MEMORY, "no memory for a version");
    return rc ? rc : task_publish(k, &e, why);
}

/* A STOP: what is trained so far stays as a checkpoint. */
static int task_stop(struct task *k, struct fail *why)
{
    if (!k->run || run_state(k->run)->step == 0) {
        trainer_drop(k->t, &k->pending);
        return trainer_end_job(k->t, k->from, k->job, JOB_STOPPED, "", SEAL_DONE, why);
    }
    struct loss_metric m = run_metric(k->run, JOB_STOPPED);
    struct job_checkpoint c = task_point(k, JOB_STOPPED);
    int rc = task_save(k, &c, why);
    if (!rc)
        rc = task_batch(k, why);
    if (!rc)
        rc = trainer_metric(k->t, k->pending, k->from, &m, why);
    if (!rc)
        rc = task_commit(k, &c, SEAL_DONE, why);
    if (!rc)
        log_event(LOG_INFO, "job stopped", "job", k->job->job_id, "step", log_text("%lld", (long long)c.step),
                  NULL);
    return rc;
}

static void task_close(struct task *k)
{
    trainer_drop(k->t, &k->pending);
    control_close(&k->control);
    run_close(&k->run);
    dataset_free(&k->data);
    graph_free(&k->graph);
    region_free(&k->mem);
}

int task_train(struct trainer *t, const struct record *from, const struct training_job *job, struct fail *why)
{
    const struct job_checkpoint *known = history_find(t->history, job->job_id);
    struct task k = {.t = t, .from = from, .job = job};
    struct run_watch watch = {watch_metric, watch_checkpoint, watch_between, &k};
    k.last = (struct job_checkpoint){.artifact_uri = "", .sha256 = "", .failure_reason = ""};
    if (known) {
        k.last = *known;
        k.last.artifact_uri = region_copy(&k.mem, known->artifact_uri, strlen(known->artifact_uri));
        k.last.sha256 = region_copy(&k.mem, known->sha256, strlen(known->sha256));
    }
    log_event(LOG_INFO, "job begins", "job", job->job_id, "model", job->model, NULL);
    int rc = k.last.artifact_uri && k.last.sha256 ? task_open(&k, why)
                                                  : fail(why, E_MEMORY, "no memory for a job");
    if (!rc)
        rc = run_train(k.run, &watch, why);
    if (!rc)
        rc = task_finish(&k, why);
    else if (k.stop && rc == -E_INTERRUPTED && !k.broken && !source_changed(t->src))
        rc = task_stop(&k, why);
    struct fail reason = {0};
    if (rc)
        reason = *why;
    task_close(&k);
    if (rc && !trainer_is_session(rc))
        rc = trainer_end_job(t, from, job, JOB_FAILED, reason.text, SEAL_DONE, why);
    return rc;
}
