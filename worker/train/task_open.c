/* The beginning of a job: its network, its rows, and where it stood. Next to read: run.c. */
#include <stdlib.h>
#include <string.h>

#include "worker/service/log.h"
#include "worker/train/task_parts.h"

enum { BAD_BYTES = 32 << 20 }; /* of dead letters, which are one transaction */

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
    struct loss_metric m = job_metric(k->job, 1, JOB_STARTING);
    struct job_checkpoint c = task_point(k, JOB_STARTING);
    int rc = task_batch(k, why);
    c.sequence = 1;
    if (!rc)
        rc = trainer_metric(k->t, k->pending, k->from, &m, why);
    return rc ? rc : task_commit(k, &c, SEAL_UNCHANGED, why);
}

/* ---- the data set ---- */

/* Once the data set's own transaction is committed, its dead letters are out: who reads it again only counts. */
static bool data_is_told(const struct task *k)
{
    return k->last.state != JOB_UNKNOWN && k->last.state != JOB_STARTING;
}

static int bad_sample(void *arg, const struct record *r, const struct fail *reason, struct fail *why)
{
    struct task *k = arg;
    if (++k->bad_records > k->settings.bad_samples_max)
        return fail(why, E_JOB,
                    "data set: more than bad_samples_max, %lld, bad records; %s/%d offset %lld: %s",
                    (long long)k->settings.bad_samples_max, r->topic, r->partition, (long long)r->offset,
                    reason->text);
    if (data_is_told(k))
        return 0;
    int rc = task_batch(k, why);
    if (!rc)
        rc = batch_dead_letter(k->pending, r, "train", reason, k->t->settings->worker_slot,
                               sink_limit(k->t->sink, TOPIC_DEAD_LETTERS), why);
    if (!rc && k->pending->bytes > BAD_BYTES)
        rc = fail(why, E_JOB, "data set: bad records of more than %d MiB", BAD_BYTES >> 20);
    return rc;
}

static int task_read(struct task *k, struct fail *why)
{
    const struct settings *s = k->t->settings;
    char dir[600];
    snprintf(dir, sizeof dir, "%s/%s", s->worker_state_dir ? s->worker_state_dir : ".",
             s->worker_slot ? s->worker_slot : "");
    struct dataset_options o = {.validation_rate = k->job->validation_rate,
                                .test_rate = k->job->test_rate,
                                .ignores = k->settings.ignores,
                                .ignored_label = k->settings.ignored_label,
                                .graph = k->graph,
                                .loss = job_loss_type(k->job->loss),
                                .resize = k->settings.resize,
                                .limits = {s->training_memory_mb << 20, s->training_cache_mb << 20, dir},
                                .on_bad_arg = k};
    if (k->settings.bad_samples == BAD_SAMPLES_SKIP)
        o.on_bad = bad_sample;
    int rc = dataset_new(&k->data, &o, why);
    if (!rc)
        rc = dataset_read(k->data, s, k->job->dataset, k->job->dataset_count, TRAIN_TIMEOUT_MS,
                          task_should_stop, k, why);
    if (k->broken) {
        *why = k->broken_why;
        return k->broken;
    }
    return rc;
}

/* What was read, and its dead letters: one transaction, made once in the job's life. */
static int data_tell(struct task *k, struct fail *why)
{
    struct job_checkpoint c = task_point(k, JOB_TRAINING);
    struct loss_metric m = job_metric(k->job, ++c.sequence, JOB_DOWNLOADING);
    int64_t outputs = shape_size(graph_output(k->graph));
    int rc = run_data_report(k->data, outputs, &k->mem, &m.metrics, &m.metric_count, why);
    if (!rc)
        rc = task_batch(k, why);
    if (!rc)
        rc = trainer_metric(k->t, k->pending, k->from, &m, why);
    return rc ? rc : task_commit(k, &c, SEAL_UNCHANGED, why);
}

/* Mean and deviation that the job leaves to its rows, into the graph. */
static int data_moments(struct task *k, struct fail *why)
{
    float mean[JOB_CHANNELS], std[JOB_CHANNELS];
    int channels;
    if (!k->settings.mean_auto)
        return 0;
    int rc = dataset_moments(k->data, mean, std, JOB_CHANNELS, &channels, why);
    if (!rc)
        job_normalise(k->graph, mean, std, channels);
    return rc;
}

/* What the job left here when its partition was taken away. */
static bool data_take(struct task *k)
{
    struct kept_data *kept = &k->t->kept;
    bool same = kept->data && strcmp(kept->job_id, k->job->job_id) == 0;
    if (same) {
        k->data = kept->data;
        kept->data = NULL;
        free(kept->job_id);
        kept->job_id = NULL;
    }
    kept_data_drop(kept, true);
    return same;
}

static int task_data(struct task *k, struct fail *why)
{
    if (data_take(k)) {
        log_event(LOG_INFO, "data set still here", "job", k->job->job_id, NULL);
        return data_moments(k, why);
    }
    int rc = task_read(k, why);
    if (!rc)
        rc = data_moments(k, why);
    if (!rc)
        rc = dataset_finish(k->data, k->graph, job_loss_type(k->job->loss), why);
    if (rc)
        return rc;
    log_event(LOG_INFO, "data set read", "job", k->job->job_id, "rows",
              log_text("%lld", (long long)dataset_rows(k->data)), "bad_records",
              log_text("%lld", (long long)dataset_bad_records(k->data)), "kept in",
              dataset_in_file(k->data) ? "a file" : "memory", NULL);
    return data_is_told(k) ? 0 : data_tell(k, why);
}

/* ---- where it stood ---- */

static int run_anew(struct task *k, struct fail *why)
{
    run_close(&k->run);
    return run_open(&k->run, k->t->be, k->graph, k->data, k->job, &k->settings, why);
}

/* The last checkpoint's file is gone or damaged: the one before, or the job begins again. Either way the same weights
 * come out; the sequence of metrics goes on behind the last that was published. */
static int resume_older(struct task *k, bool *same_plan, struct fail *why)
{
    int64_t below = k->last.step, step = -1;
    int rc;
    do {
        log_event(LOG_WARN, "a checkpoint cannot be read", "job", k->job->job_id, "text", why->text, NULL);
        if ((rc = run_anew(k, why)))
            return rc;
        rc = checkpoint_get_older(k->run, k->t->settings->models_store, k->job, below, &step, same_plan, why);
        below = step;
    } while ((rc == -E_FILE || rc == -E_IO) && step >= 0);
    if (rc)
        return rc;
    if (step < 0)
        log_event(LOG_WARN, "no checkpoint can be read: the job begins again", "job", k->job->job_id, NULL);
    run_state(k->run)->sequence = k->last.sequence;
    return 0;
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
    if (!rc && run_state(k->run)->sequence != k->last.sequence)
        rc = fail(why, E_FILE, "%s: its sequence is %lld, the checkpoint record's %lld", k->last.artifact_uri,
                  (long long)run_state(k->run)->sequence, (long long)k->last.sequence);
    if (rc == -E_FILE || rc == -E_IO)
        rc = resume_older(k, &same_plan, why);
    if (rc)
        return rc;
    log_event(LOG_INFO, "job goes on from its checkpoint", "job", k->job->job_id, "step",
              log_text("%lld", (long long)run_state(k->run)->step), NULL);
    if (!same_plan)
        log_event(LOG_WARN,
                  "the engine computes differently here than where the job began: weights will not have the "
                  "same bits as in one go",
                  "job", k->job->job_id, NULL);
    return 0;
}

int task_open(struct task *k, struct fail *why)
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
