/* The end of a job that was trained: its file, its version, who is champion. Next to read: version.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/service/log.h"
#include "worker/train/task_parts.h"

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
    if ((rc = run_report(k->run, &k->mem, &m.metrics, &m.metric_count, why))) {
        registry_free(&r);
        return rc;
    }
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

int task_finish(struct task *k, struct fail *why)
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
    int rc;
    if (!e.event_id)
        return fail(why, E_MEMORY, "no memory for a version");
    while (task_is_patient(k, rc = task_artefact(k, &e, why), why))
        if ((rc = task_pause(k, why)))
            break;
    return rc ? rc : task_publish(k, &e, why);
}
