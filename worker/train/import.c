/* IMPORT: a file that lies in the store already becomes a version, its bytes as they are. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/service/log.h"
#include "worker/train/parts.h"

/* Reads and checks the file: a version that no worker could open is not made. */
static int import_open(struct trainer *t, const struct training_job *job, struct graph **g, size_t *size,
                       struct fail *why)
{
    void *bytes = NULL;
    int rc = model_name_check(job->model, why);
    if (!rc && strlen(job->sha256) != SHA256_HEX - 1)
        rc = fail(why, E_JOB, "import: sha256 is missing");
    if (!rc)
        rc = store_get(t->settings->models_store, job->artifact_uri, job->sha256, &bytes, size, why);
    if (!rc)
        rc = onnx_parse(g, job->model, bytes, *size, why);
    free(bytes);
    return rc;
}

static int import_publish(struct trainer *t, const struct record *from, const struct training_job *job,
                          const struct graph *g, size_t size, enum seal how, struct region *mem,
                          struct fail *why)
{
    struct registry *r = NULL;
    struct batch *b = NULL;
    int rc = version_registry(t, job->model, &r, why);
    if (rc)
        return rc;
    struct model_version_event e = {.event_id = region_format(mem, "%s/created", job->job_id),
                                    .event = EVENT_CREATED,
                                    .model = job->model,
                                    .version = version_next(t, r, job->model),
                                    .alias = "",
                                    .traffic = 1,
                                    .artifact_uri = job->artifact_uri,
                                    .format = "onnx",
                                    .sha256 = job->sha256,
                                    .size_bytes = (int64_t)size,
                                    .job_id = job->job_id,
                                    .dataset_sha256 = "",
                                    .reason = "",
                                    .created_by = job->requested_by,
                                    .at = publish_now_ms()};
    struct job_checkpoint c = {.job_id = job->job_id,
                               .model = job->model,
                               .state = JOB_COMPLETED,
                               .artifact_uri = job->artifact_uri,
                               .sha256 = job->sha256,
                               .version = e.version,
                               .failure_reason = ""};
    registry_free(&r);
    rc = version_describe(&e, g, mem, why);
    if (!rc)
        rc = sink_take(t->sink, &b, why);
    if (!rc)
        rc = publish_event(b, from, &e, why);
    if (!rc)
        rc = trainer_checkpoint(t, b, from, &c, why);
    if (rc)
        trainer_drop(t, &b);
    else
        rc = trainer_commit(t, &b, how, why);
    if (!rc) {
        log_event(LOG_INFO, "version imported", "model", job->model, "version",
                  log_text("%lld", (long long)e.version), "sha256", job->sha256, NULL);
        rc = history_note(t->history, &c, why);
    }
    return rc;
}

int import_file(struct trainer *t, const struct record *from, const struct training_job *job, enum seal how,
                struct fail *why)
{
    struct region mem = {0};
    struct graph *g = NULL;
    struct fail reason;
    size_t size = 0;
    int rc = import_open(t, job, &g, &size, &reason);
    if (rc)
        rc = trainer_end_job(t, from, job, JOB_FAILED, reason.text, NULL, how, why);
    else
        rc = import_publish(t, from, job, g, size, how, &mem, why);
    graph_free(&g);
    region_free(&mem);
    return rc;
}
