/* `train JOB.yaml`: resolves what the file says, submits the record, follows the job's metrics to its end. */
#include <math.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/commands/curve.h"
#include "worker/commands/job_table.h"
#include "worker/commands/train_view.h"
#include "worker/models/registry.h"
#include "worker/service/text.h"
#include "worker/stream/payload.h"
#include "worker/stream/reader.h"
#include "worker/train/job.h"
#include "worker/train/publish.h"

enum { LOOK_MS = 100 };

struct submit {
    const struct context *cx;
    const struct train_options *o;
    struct region mem;
    struct training_job job;
    struct reader *metrics;
    struct curve curve;
    enum job_state state;
    double val_accuracy, val_loss, accuracy, loss;
};

static int submit_make(struct submit *s, struct fail *why)
{
    struct training_job *job = &s->job;
    struct job_settings unused;
    struct graph *g = NULL;
    const char *file = s->cx->argv[0];
    int rc = job_file_read(job, file, &s->mem, why);
    if (!rc && *s->o->dataset)
        rc = job_ranges_read(job, s->o->dataset, &s->mem, why);
    if (!rc)
        rc = job_resolve(job, &s->cx->settings, s->cx->timeout_ms, &s->mem, why);
    if (rc)
        return rc;
    rc = job_check(job, true, &unused, why);
    if (!rc && !job->base_version)
        rc = job_network(&g, job->network, why);
    if (!rc && g)
        rc = job_prepare(g, job, &unused, why);
    graph_free(&g);
    if (rc) { /* said now rather than by a worker later */
        why->code = why->code == E_MEMORY ? E_MEMORY : E_CONFIG;
        return fail_prefix(why, "%s", file);
    }
    const struct passwd *user = getpwuid(getuid());
    job->requested_by = user ? region_copy(&s->mem, user->pw_name, strlen(user->pw_name)) : "";
    job->job_id = job_id_make(job->model, &s->mem);
    job->created_at = publish_now_ms();
    return job->job_id && job->requested_by ? 0 : fail(why, E_MEMORY, "no memory for a job");
}

static void submit_take(struct submit *s, const struct loss_metric *m)
{
    s->state = m->state;
    if (!isnan(m->loss))
        s->loss = m->loss;
    if (!isnan(m->accuracy))
        s->accuracy = m->accuracy;
    if (!isnan(m->val_loss))
        s->val_loss = m->val_loss;
    if (!isnan(m->val_accuracy))
        s->val_accuracy = m->val_accuracy;
}

/* One record of the metrics topic; those of other jobs are passed over. */
static int submit_record(struct submit *s, const struct record *r, struct fail *why)
{
    struct region mem = {0};
    struct loss_metric m;
    struct span payload;
    struct fail unread;
    int rc = 0;
    size_t n = strlen(s->job.job_id);
    if (!r->value.data || r->key.size != n || memcmp(r->key.data, s->job.job_id, n) != 0)
        return 0;
    if (record_payload(r, record_type_find("LossMetric"), &payload, &unread) ||
        loss_metric_decode(&m, payload, &mem, &unread))
        goto out;
    if (s->state == JOB_UNKNOWN)
        fprintf(stderr, "job %s is taken by worker %s\n", s->job.job_id, m.worker);
    submit_take(s, &m);
    if (!curve_add(&s->curve, &m))
        rc = fail(why, E_MEMORY, "no memory for the curve");
    else
        curve_show(&s->curve, &m);
    if (m.state == JOB_FAILED) {
        curve_end(&s->curve);
        rc = fail(why, E_JOB, "job %s FAILED: %s", s->job.job_id, m.failure_reason);
    } else if (m.state == JOB_STOPPED) {
        curve_end(&s->curve);
        rc = fail(why, E_INTERRUPTED, "job %s was STOPPED at step %lld; its checkpoint is kept",
                  s->job.job_id, (long long)m.step);
    }
out:
    region_free(&mem);
    return rc;
}

static int submit_follow(struct submit *s, struct fail *why)
{
    double asked = terminal_now();
    bool said = false;
    int rc = 0;
    while (!rc && s->state != JOB_COMPLETED) {
        struct record r;
        int event = reader_next(s->metrics, &r, LOOK_MS, why);
        rc = event == SOURCE_RECORD ? submit_record(s, &r, why) : event < 0 ? event : 0;
        if (!rc && command_stop) {
            curve_end(&s->curve);
            rc = fail(why, E_INTERRUPTED, "following ended; the job goes on: millrace jobs show %s",
                      s->job.job_id);
        }
        if (!said && s->state == JOB_UNKNOWN && terminal_now() - asked > s->cx->timeout_ms / 1000.0) {
            fprintf(stderr,
                    "no train worker has taken the job yet; still waiting (Ctrl-C leaves it queued)\n");
            said = true;
        }
    }
    curve_end(&s->curve);
    return rc;
}

static void number_print(const char *name, double v, bool json)
{
    if (!isnan(v))
        printf(json ? ",\"%s\":%.9g" : ", %s %.4f", name, v);
}

static int submit_report(struct submit *s, struct fail *why)
{
    struct job_checkpoint end;
    struct registry *registry = NULL;
    bool json = s->cx->json;
    int rc = job_wait_end(s->cx, s->job.job_id, &s->mem, &end, why);
    if (!rc)
        rc = registry_load(&registry, &s->cx->settings, s->cx->timeout_ms, why);
    if (rc)
        return rc;
    const struct model_version_event *champion = registry_alias(registry, s->job.model, "champion");
    bool promoted = champion && champion->version == end.version && champion->traffic > 0;
    if (json)
        printf("{\"job_id\":\"%s\",\"state\":\"%s\",\"model\":\"%s\",\"version\":%lld,\"promoted\":%s,"
               "\"sha256\":\"%s\"",
               s->job.job_id, job_state_name(end.state), s->job.model, (long long)end.version,
               promoted ? "true" : "false", end.sha256);
    else
        printf("%s@%lld%s", s->job.model, (long long)end.version, promoted ? " (champion)" : "");
    number_print("loss", s->loss, json);
    number_print("accuracy", s->accuracy, json);
    number_print("val_loss", s->val_loss, json);
    number_print("val_accuracy", s->val_accuracy, json);
    puts(json ? "}" : "");
    registry_free(&registry);
    return 0;
}

int train_submit(const struct context *cx, struct fail *why)
{
    struct submit s = {
        .cx = cx, .o = cx->options, .val_accuracy = NAN, .val_loss = NAN, .accuracy = NAN, .loss = NAN};
    char topic[TOPIC_NAME];
    int rc = submit_make(&s, why);
    if (!rc && !s.o->detach) /* opened before the job is there: nothing is missed */
        rc = reader_open(&s.metrics, &cx->settings, topic_full_name(&cx->settings, TOPIC_METRICS, topic),
                         NULL, 0, READER_END, cx->timeout_ms, why);
    if (!rc)
        rc = job_submit(cx, &s.job, why);
    if (!rc && s.o->detach) {
        printf(cx->json ? "{\"job_id\":\"%s\"}\n" : "%s\n", s.job.job_id);
    } else if (!rc) {
        fprintf(stderr, "submitted %s\n", s.job.job_id);
        curve_open(&s.curve);
        rc = submit_follow(&s, why);
        if (!rc)
            rc = submit_report(&s, why);
        curve_free(&s.curve);
    }
    reader_close(&s.metrics);
    region_free(&s.mem);
    return rc;
}
