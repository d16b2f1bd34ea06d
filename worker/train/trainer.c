/* Job records in, one at a time; what is to be committed out. The job itself is task.c's and import.c's.
 * Next to read: task.c. */
#include "worker/train/trainer.h"

#include <string.h>
#include <time.h>

#include "worker/service/log.h"
#include "worker/stream/payload.h"
#include "worker/stream/reader.h"
#include "worker/train/partition.h"
#include "worker/train/parts.h"

enum { NEXT_MS = 1000, AGAIN_MS = 1000 };

bool trainer_is_session(int rc)
{
    enum fail_code code = (enum fail_code) - rc;
    enum fail_class class = fail_class(code);
    return class == FAIL_ABORT || class == FAIL_REBUILD || code == E_INTERRUPTED || code == E_RESTART ||
           code == E_SLOT_TAKEN || code == E_UNREACHABLE;
}

void trainer_drop(struct trainer *t, struct batch **b)
{
    struct fail ignored; /* a broken session says so again at the next call */
    if (*b) {
        batch_reset(*b);
        sink_put(t->sink, b, &ignored);
    }
}

int trainer_commit(struct trainer *t, struct batch **b, enum seal how, struct fail *why)
{
    int rc = source_seal(t->src, *b, how, why);
    if (rc == SOURCE_CHANGED) {
        trainer_drop(t, b);
        return fail(why, E_ABORT, "the job's partition belongs to someone else now");
    }
    if (rc) {
        trainer_drop(t, b);
        return rc;
    }
    (*b)->hurry = true;
    rc = sink_put(t->sink, b, why);
    return rc ? rc : sink_wait(t->sink, why);
}

int trainer_checkpoint(struct trainer *t, struct batch *b, const struct record *from,
                       struct job_checkpoint *c, struct fail *why)
{
    c->worker = t->settings->worker_slot;
    c->at = publish_now_ms();
    return publish_checkpoint(b, from, c, why);
}

int trainer_metric(struct trainer *t, struct batch *b, const struct record *from, struct loss_metric *m,
                   struct fail *why)
{
    m->worker = t->settings->worker_slot;
    m->at = publish_now_ms();
    return publish_metric(b, from, m, why);
}

int trainer_end_job(struct trainer *t, const struct record *from, const struct training_job *job,
                    enum job_state state, const char *reason, struct number_pair *metric, enum seal how,
                    struct fail *why)
{
    const struct job_checkpoint *old = history_find(t->history, job->job_id);
    struct job_checkpoint c = old ? *old : (struct job_checkpoint){.artifact_uri = "", .sha256 = ""};
    struct batch *b = NULL;
    int rc = sink_take(t->sink, &b, why);
    if (rc)
        return rc;
    c.job_id = job->job_id;
    c.model = job->model;
    c.state = state;
    c.sequence++;
    c.failure_reason = reason;
    struct loss_metric m = job_metric(job, c.sequence, state);
    m.epoch = c.epoch;
    m.step = c.step;
    m.total_steps = c.total_steps;
    m.metrics = metric;
    m.metric_count = metric ? 1 : 0;
    m.failure_reason = reason;
    rc = trainer_metric(t, b, from, &m, why);
    if (!rc)
        rc = trainer_checkpoint(t, b, from, &c, why);
    if (rc)
        trainer_drop(t, &b);
    else
        rc = trainer_commit(t, &b, how, why);
    if (!rc) {
        log_event(state == JOB_FAILED ? LOG_ERROR : LOG_INFO, "job ended", "job", job->job_id, "model",
                  job->model, "state", job_state_name(state), "reason", reason, NULL);
        rc = history_note(t->history, &c, why);
    }
    return rc;
}

/* The record needs no answer: its offset moves on. */
static int pass_over(struct trainer *t, const struct training_job *job, const char *because, struct fail *why)
{
    struct batch *b = NULL;
    int rc = sink_take(t->sink, &b, why);
    if (rc)
        return rc;
    log_event(LOG_INFO, "job record passed over", "job", job->job_id, "action", job_action_name(job->action),
              "reason", because, NULL);
    return trainer_commit(t, &b, SEAL_DONE, why);
}

static int dead_letter(struct trainer *t, const struct record *r, const struct fail *reason, struct fail *why)
{
    struct batch *b = NULL;
    int rc = sink_take(t->sink, &b, why);
    if (rc)
        return rc;
    log_event(LOG_WARN, "a job record became a dead letter", "offset", log_text("%lld", (long long)r->offset),
              "reason", fail_name(reason->code), "text", reason->text, NULL);
    rc = batch_dead_letter(b, r, "train", reason, t->settings->worker_slot,
                           sink_limit(t->sink, TOPIC_DEAD_LETTERS), why);
    if (rc) {
        trainer_drop(t, &b);
        return rc;
    }
    return trainer_commit(t, &b, SEAL_DONE, why);
}

/* To the partition where the owner of the model's version numbers reads it. */
static int pass_on(struct trainer *t, const struct record *r, const struct training_job *job,
                   struct fail *why)
{
    struct batch *b = NULL;
    int rc = sink_take(t->sink, &b, why);
    if (rc)
        return rc;
    struct output *o = batch_output(b, TOPIC_JOBS, partition_of(job->model, t->partitions), r->header_count);
    bool whole = o != NULL;
    if (o) {
        o->key = (struct span){region_copy(&b->mem, job->model, strlen(job->model)), strlen(job->model)};
        o->value = (struct span){region_copy(&b->mem, r->value.data, r->value.size), r->value.size};
        whole = o->key.data && o->value.data;
    }
    for (int i = 0; whole && i < r->header_count; i++) {
        const struct header *h = &r->headers[i];
        o->headers[i].name = region_copy(&b->mem, h->name, strlen(h->name));
        o->headers[i].value = h->value;
        if (h->value.data)
            o->headers[i].value.data = region_copy(&b->mem, h->value.data, h->value.size);
        whole = o->headers[i].name && (!h->value.data || o->headers[i].value.data);
    }
    if (!whole) {
        trainer_drop(t, &b);
        return fail(why, E_MEMORY, "no memory to pass a job on");
    }
    log_event(LOG_INFO, "job passed on to its model's partition", "job", job->job_id, "model", job->model,
              NULL);
    return trainer_commit(t, &b, SEAL_DONE, why);
}

static bool moved(void *src)
{
    return source_changed(src);
}

static int job_act(struct trainer *t, const struct record *from, const struct training_job *job,
                   struct fail *why)
{
    char topic[TOPIC_NAME];
    /* The partition is ours, so the group takes no more offsets from the owner before; what that one had sent by then
     * may still be on its way to being committed, and is waited for. */
    int rc = topic_settle(t->settings, topic_full_name(t->settings, TOPIC_CHECKPOINTS, topic),
                          TRAIN_SETTLE_MS, moved, t->src, why);
    if (!rc)
        rc = history_catch_up(t->history, TRAIN_TIMEOUT_MS, why);
    if (rc)
        return rc;
    const struct job_checkpoint *known = history_find(t->history, job->job_id);
    if (known && job_state_terminal(known->state))
        return pass_over(t, job, "the job has ended", why);
    if (job->action == ACTION_STOP)
        return pass_over(t, job, "there is no such job to stop", why);
    return job->action == ACTION_IMPORT ? import_file(t, from, job, SEAL_DONE, why)
                                        : task_train(t, from, job, why);
}

static int job_decode(const struct trainer *t, const struct record *r, struct training_job *job,
                      struct region *mem, struct fail *why)
{
    struct span payload;
    if (!r->value.data)
        return fail(why, E_EMPTY, "a job record without a value");
    const struct payload_wait wait = {{moved, t->src}, -1};
    int rc = record_payload_wait(r, record_type_find("TrainingJob"), &wait, &payload, why);
    if (rc || (rc = training_job_decode(job, payload, mem, why)))
        return rc;
    if (!*job->job_id)
        return fail(why, E_BAD_REQUEST, "job_id is empty");
    if (job->action != ACTION_TRAIN && job->action != ACTION_STOP && job->action != ACTION_IMPORT)
        return fail(why, E_BAD_REQUEST, "action: TRAIN, STOP or IMPORT is expected");
    return 0;
}

static void nap(const struct trainer *t)
{
    struct timespec pause = {0, 50 * 1000000};
    for (int ms = 0; ms < AGAIN_MS && !source_changed(t->src); ms += 50)
        nanosleep(&pause, NULL);
}

/* One record. A broker that does not answer is waited for: the record stays ours until the session says
 * otherwise. */
static int record_act(struct trainer *t, const struct record *r, struct region *mem, struct fail *why)
{
    struct training_job job;
    struct fail reason;
    int rc = job_decode(t, r, &job, mem, &reason);
    if (rc && fail_class(reason.code) == FAIL_RECORD)
        return dead_letter(t, r, &reason, why);
    if (rc) {
        *why = reason;
        return rc;
    }
    struct record from = {.partition = r->partition, .offset = r->offset, .timestamp_ms = r->timestamp_ms};
    from.topic = region_copy(mem, r->topic, strlen(r->topic));
    if (!from.topic)
        return fail(why, E_MEMORY, "no memory for a job");
    if (!model_name_check(job.model, &reason) && partition_of(job.model, t->partitions) != r->partition)
        return pass_on(t, r, &job, why);
    while ((rc = job_act(t, &from, &job, why)) == -E_UNREACHABLE && !source_changed(t->src)) {
        log_event(LOG_WARN, "job waits for the broker", "job", job.job_id, "text", why->text, NULL);
        nap(t);
    }
    return rc;
}

/* What comes to nothing here and comes again, or goes to someone else: the source says which. */
static bool is_dropped(int rc)
{
    return rc == -E_ABORT || rc == -E_INTERRUPTED || rc == -E_UNREACHABLE;
}

static int trainer_loop(struct trainer *t, struct fail *why)
{
    struct region mem = {0};
    struct record r;
    int rc = 0;
    while (!rc) {
        int event = source_next(t->src, &r, NEXT_MS, why);
        kept_data_drop(&t->kept, false);
        if (event < 0) {
            rc = event;
        } else if (event == SOURCE_RECORD) {
            rc = record_act(t, &r, &mem, why);
            region_reset(&mem);
            if (is_dropped(rc)) {
                log_event(LOG_INFO, "job left as it was committed", "text", why->text, NULL);
                rc = 0;
            }
        }
    }
    region_free(&mem);
    return rc;
}

/* What needs the broker is waited for, as the session does. */
static int trainer_open(struct trainer *t, struct fail *why)
{
    char topic[TOPIC_NAME];
    int rc;
    do {
        rc = topic_partitions(t->settings, topic_full_name(t->settings, TOPIC_JOBS, topic), TRAIN_TIMEOUT_MS,
                              &t->partitions, why);
        if (!rc)
            rc = history_open(&t->history, t->settings, TRAIN_TIMEOUT_MS, why);
        if (rc == -E_UNREACHABLE) {
            struct record none;
            int event = source_next(t->src, &none, 0, why);
            if (event == -E_INTERRUPTED || event == -E_REBUILD || event == -E_FENCED)
                return event;
            if (event == SOURCE_RECORD)
                return fail(why, E_REBUILD, "a job came before the trainer could read the checkpoints topic");
        }
    } while (rc == -E_UNREACHABLE);
    return rc;
}

int train_work(struct source *src, struct sink *sink, void *arg, struct fail *why)
{
    const struct train_options *o = arg;
    const struct settings *s = o->settings;
    struct trainer t = {.settings = s, .src = src, .sink = sink};
    struct backend_options engine = settings_engine(s, settings_threads(s, ROLE_TRAIN));
    int rc = backend_open_with(&t.be, s->engine_backend, &engine, why);
    metrics_engine(o->metrics, t.be);
    if (!rc)
        rc = trainer_open(&t, why);
    if (!rc) {
        log_event(LOG_INFO, "trainer is ready", "engine", backend_describe(t.be), NULL);
        rc = trainer_loop(&t, why);
    }
    kept_data_drop(&t.kept, true);
    history_close(&t.history);
    metrics_engine(o->metrics, NULL);
    backend_close(&t.be);
    return rc;
}
