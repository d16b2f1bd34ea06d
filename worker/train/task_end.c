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

static int task_events(struct task *k, struct model_version_event *created, const struct registry *r,
                       char reason[VERSION_REASON], bool *promoted, struct fail *why)
{
    *promoted = version_promotes(k->t, k->run, r, k->job, created, reason);
    created->reason = reason;
    int rc = publish_event(k->pending, k->from, created, why);
    if (rc || !*promoted)
        return rc;
    struct model_version_event e =
        publish_alias(created, EVENT_PROMOTED, "champion", registry_alias(r, k->job->model, "champion"));
    e.event_id = region_format(&k->mem, "%s/promoted", k->job->job_id);
    e.reason = reason;
    return e.event_id ? publish_event(k->pending, k->from, &e, why)
                      : fail(why, E_MEMORY, "no memory for a version");
}

/* The last transaction: metrics, version, champion, the job's end, and its offset. */
static int task_publish(struct task *k, struct model_version_event *e, struct fail *why)
{
    struct registry *r = NULL;
    char reason[VERSION_REASON] = "";
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
        rc = task_events(k, e, r, reason, &promoted, why);
    if (!rc)
        rc = task_commit(k, &c, SEAL_DONE, why);
    if (!rc)
        log_event(LOG_INFO, "version made", "job", k->job->job_id, "model", k->job->model, "version",
                  log_text("%lld", (long long)e->version), "sha256", e->sha256, "promoted",
                  promoted ? "yes" : "no", "reason", reason, NULL);
    registry_free(&r);
    return rc;
}

/* The job's hyperparameters, and the seed where it was left out: without it the version could not be made again. */
static int task_lineage(struct task *k, struct model_version_event *e, struct fail *why)
{
    const struct training_job *job = k->job;
    int n = job->hyperparameter_count;
    struct text_pair *all = region_zalloc(&k->mem, sizeof *all * (size_t)(n + 1));
    bool seeded = false;
    if (!all)
        return fail(why, E_MEMORY, "no memory for a version");
    for (int i = 0; i < n; i++) {
        all[i] = job->hyperparameters[i];
        seeded |= strcmp(all[i].key, "seed") == 0;
    }
    if (!seeded) {
        all[n] = (struct text_pair){"seed", region_format(&k->mem, "%lld", (long long)k->settings.seed)};
        if (!all[n++].value)
            return fail(why, E_MEMORY, "no memory for a version");
    }
    e->hyperparameters = all;
    e->hyperparameter_count = n;
    return 0;
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
                                    .metrics = metrics,
                                    .metric_count = run_results(k->run, metrics),
                                    .reason = "",
                                    .created_by = job->requested_by,
                                    .at = publish_now_ms()};
    e.event_id = region_format(&k->mem, "%s/created", job->job_id);
    int rc = e.event_id ? task_lineage(k, &e, why) : fail(why, E_MEMORY, "no memory for a version");
    if (rc)
        return rc;
    while (task_is_patient(k, rc = task_artefact(k, &e, why), why))
        if ((rc = task_pause(k, why)))
            break;
    return rc ? rc : task_publish(k, &e, why);
}
