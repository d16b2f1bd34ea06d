/* One TRAIN job: run, checkpoints, control, stop. How it begins is task_open.c's, the version at its end
 * task_end.c's, the loop over steps run.c's, the transactions trainer.c's. Next to read: task_open.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/service/log.h"
#include "worker/train/partition.h"
#include "worker/train/task_parts.h"

enum { PAUSE_MS = 1000, NAP_MS = 50 };

static int64_t monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int task_batch(struct task *k, struct fail *why)
{
    return k->pending ? 0 : sink_take(k->t->sink, &k->pending, why);
}

struct job_checkpoint task_point(const struct task *k, enum job_state state)
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
int task_commit(struct task *k, struct job_checkpoint *c, enum seal how, struct fail *why)
{
    int rc = task_batch(k, why);
    if (!rc)
        rc = trainer_checkpoint(k->t, k->pending, k->from, c, why);
    if (!rc)
        rc = trainer_commit(k->t, &k->pending, how, why);
    if (!rc)
        rc = history_note(k->t->history, c, why);
    if (!rc) {
        k->last = *c;
        k->committed_ms = monotonic_ms();
    }
    if (!rc && how == SEAL_UNCHANGED) {
        struct fail later;     /* whoever needs it finds out */
        task_batch(k, &later); /* for task_leave: a worker that is asked to stop is given no batch any more */
    }
    return rc;
}

/* ---- a store that fails for a while ---- */

bool task_is_patient(struct task *k, int rc, const struct fail *why)
{
    int64_t now_ms = monotonic_ms();
    if (rc != -E_IO) {
        k->failing_ms = 0;
        return false;
    }
    if (!k->failing_ms)
        k->failing_ms = now_ms;
    if (now_ms - k->failing_ms >= k->t->settings->training_store_patience_ms)
        return false;
    log_event(LOG_WARN, "the store failed, the job goes on", "job", k->job->job_id, "text", why->text, NULL);
    return true;
}

int task_pause(struct task *k, struct fail *why)
{
    struct timespec nap = {0, NAP_MS * 1000000};
    for (int ms = 0; ms < PAUSE_MS; ms += NAP_MS) {
        if (source_changed(k->t->src))
            return fail(why, E_INTERRUPTED,
                        "the job's partition belongs to someone else now, or the worker stops");
        nanosleep(&nap, NULL);
    }
    return 0;
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
    return trainer_end_job(k->t, from, job, JOB_STOPPED, "", NULL, SEAL_UNCHANGED, why);
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
bool task_should_stop(void *arg)
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
    if (task_is_patient(k, rc, why)) /* what was to be committed stays pending for the next one */
        return 0;
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

/* The worker is asked to stop while the partition is still its own, or a revoke waits for it: what was trained since the
 * last checkpoint is not lost. Nothing is lost either when it comes to nothing: the last checkpoint stands. */
static void task_leave(struct task *k, struct run *run)
{
    struct fail why;
    bool ours =
        source_position(k->t->src, k->from->partition) != SOURCE_NOT_OURS || source_handing_over(k->t->src);
    if (!ours || !k->pending || run_state(run)->step <= k->last.step)
        return;
    if (run_leave(run, &k->watch, &why))
        log_event(LOG_WARN, "no last checkpoint", "job", k->job->job_id, "text", why.text, NULL);
    else if (k->last.step == run_state(run)->step)
        log_event(LOG_INFO, "job left at a checkpoint", "job", k->job->job_id, "step",
                  log_text("%lld", (long long)k->last.step), NULL);
}

static int watch_between(void *arg, struct run *run, struct fail *why)
{
    struct task *k = arg;
    int64_t every_ms = k->t->settings->training_metrics_every_ms;
    if (source_changed(k->t->src)) {
        task_leave(k, run);
        return fail(why, E_INTERRUPTED,
                    "the job's partition belongs to someone else now, or the worker stops");
    }
    int rc = task_control(k, why);
    if (rc || k->stop)
        return rc ? rc : fail(why, E_INTERRUPTED, "stopped by request");
    return every_ms && monotonic_ms() - k->committed_ms >= every_ms && run_state(run)->step > k->last.step
               ? run_mark(run, &k->watch, why)
               : 0;
}

/* A STOP: what is trained so far stays as a checkpoint. */
static int task_stop(struct task *k, struct fail *why)
{
    if (!k->run || run_state(k->run)->step == 0) {
        trainer_drop(k->t, &k->pending);
        return trainer_end_job(k->t, k->from, k->job, JOB_STOPPED, "", NULL, SEAL_DONE, why);
    }
    struct loss_metric m = run_metric(k->run, JOB_STOPPED);
    struct job_checkpoint c = task_point(k, JOB_STOPPED);
    int rc;
    while (task_is_patient(k, rc = task_save(k, &c, why), why))
        if ((rc = task_pause(k, why)))
            break;
    if (!rc)
        rc = task_batch(k, why);
    if (!rc)
        rc = trainer_metric(k->t, k->pending, k->from, &m, why);
    if (!rc)
        rc = task_commit(k, &c, SEAL_DONE, why);
    if (!rc)
        log_event(LOG_INFO, "job stopped", "job", k->job->job_id, "state", "STOPPED", "step",
                  log_text("%lld", (long long)c.step), NULL);
    return rc;
}

void kept_data_drop(struct kept_data *kept, bool now)
{
    if (!kept->data || (!now && monotonic_ms() < kept->until_ms))
        return;
    dataset_free(&kept->data);
    free(kept->job_id);
    kept->job_id = NULL;
}

/* A run is there, so the rows were read to the end and told of. */
static void data_keep(struct task *k)
{
    struct kept_data *kept = &k->t->kept;
    if (!k->run || !(kept->job_id = strdup(k->job->job_id)))
        return;
    kept->data = k->data;
    kept->until_ms = monotonic_ms() + TRAIN_KEEP_MS;
    k->data = NULL;
}

static void task_close(struct task *k, bool comes_again)
{
    trainer_drop(k->t, &k->pending);
    control_close(&k->control);
    if (comes_again)
        data_keep(k);
    run_close(&k->run);
    dataset_free(&k->data);
    graph_free(&k->graph);
    region_free(&k->mem);
}

int task_train(struct trainer *t, const struct record *from, const struct training_job *job, struct fail *why)
{
    const struct job_checkpoint *known = history_find(t->history, job->job_id);
    struct task k = {.t = t, .from = from, .job = job};
    k.watch = (struct run_watch){watch_metric, watch_checkpoint, watch_between, &k};
    k.committed_ms = monotonic_ms();
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
        rc = run_train(k.run, &k.watch, why);
    if (!rc)
        rc = task_finish(&k, why);
    else if (k.stop && rc == -E_INTERRUPTED && !k.broken && !source_changed(t->src))
        rc = task_stop(&k, why);
    struct fail reason = {0};
    struct number_pair rule = {NULL, HEALTH_STOP};
    if (rc)
        reason = *why;
    if (k.run && run_stopped_by(k.run) >= 0)
        rule.key = health_name((enum health_rule)run_stopped_by(k.run));
    task_close(&k, rc && trainer_is_session(rc));
    if (rc && !trainer_is_session(rc))
        rc = trainer_end_job(t, from, job, JOB_FAILED, reason.text, rule.key ? &rule : NULL, SEAL_DONE, why);
    return rc;
}
