/* One record: unframed, decoded, its model found, its rows put into the net's input; or why that cannot be. Next to read:
 * rows.c, router.c, answer.c. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/codec/model_spec.h"
#include "worker/infer/explain.h"
#include "worker/infer/external.h"
#include "worker/infer/rows.h"
#include "worker/infer/runner_parts.h"
#include "worker/service/bug.h"
#include "worker/service/log.h"
#include "worker/stream/clock.h"
#include "worker/stream/payload.h"

static const char EXPIRED[] = "the deadline had passed";

/* ---- computing ---- */

int runner_flush(void *runner, struct served *s, struct intake *in, struct fail *why)
{
    struct runner *r = runner;
    int64_t began_us = now_us(), K = s->outputs;
    hook_compute(&r->hook);
    int rc = net_forward(in->net, in->rows, why);
    if (!rc && s->explainer)
        rc = explain_rows(s, in, why);
    if (rc)
        return fail_prefix(why, "%s@%lld", s->model->name, (long long)s->model->version);
    const float *y = net_output(in->net);
    int64_t compute_us = now_us() - began_us;
    r->spent_us += compute_us;
    histogram_observe(HISTOGRAM(r, compute_us), compute_us);
    histogram_observe(HISTOGRAM(r, batch_rows), in->rows);
    r->passes++;
    for (int i = 0; i < in->rows; i++) {
        struct answer *a = in->places[i].answer;
        memcpy(a->outputs + in->places[i].row * K, y + i * K, (size_t)K * sizeof *y);
        if (!a->started_us) {
            a->started_us = began_us;
            histogram_observe(HISTOGRAM(r, queue_us), began_us - a->received_us);
        }
        a->compute_us = compute_us > a->compute_us ? compute_us : a->compute_us;
        if (a->side)
            canary_pass(a->side, r->passes, compute_us);
    }
    in->rows = 0;
    return 0;
}

/* Writes the rows of a request into the net's input; a row that may not be scored gets its status instead. */
static int place_rows(struct runner *r, struct served *s, struct answer *a, const struct inference *q,
                      struct fail *why)
{
    struct intake *in = &s->intakes[rows_kind(q)];
    struct rows rows;
    struct fail bad;
    int rc = 0;
    rows_open(&rows, q, s->model, (enum non_finite)r->settings->inference_non_finite, &r->decoder);
    for (int64_t i = 0; !rc && i < a->rows; i++) {
        if (in->rows == net_max_rows(in->net) && (rc = runner_flush(r, s, in, why)))
            break;
        int status = rows_next(&rows, in, in->rows, &bad);
        if (status == ROW_OK) {
            in->places[in->rows++] = (struct place){a, i};
        } else if (status > 0) {
            fail_prefix(&bad, "%s", fail_name(bad.code));
            rc = answer_refuse_row(a, r->batch, i, (enum row_status)status, bad.text, why);
        } else {
            *why = bad;
            rc = status;
        }
    }
    return rc;
}

/* ---- verdicts ---- */

/* Finds the model. Waits where it is told to, and while the topic or the store cannot be read; gives up when the records
 * belong to someone else meanwhile: SOURCE_CHANGED. */
static int find_model(struct runner *r, const struct record *record, const struct inference *q,
                      struct route *route, struct fail *why)
{
    struct timespec pause = {0, 50000000};
    bool wait = r->settings->inference_unknown_model == UNKNOWN_WAIT;
    int64_t began_us = now_us();
    int rc;
    for (bool told = false;; told = true) {
        rc = router_find(r->router, q->model, rows_kind(q), record, q->id, route, why);
        if (rc != -E_RETRY && rc != -E_IO && !(rc == -E_UNKNOWN_MODEL && wait))
            break;
        if (!told)
            log_event(LOG_WARN, "waiting for a model", "text", why->text, NULL);
        if (source_changed(r->src)) {
            rc = SOURCE_CHANGED;
            break;
        }
        nanosleep(&pause, NULL);
    }
    r->spent_us += now_us() - began_us;
    r->model = rc ? r->model : route->metrics;
    return rc;
}

static bool is_late(const struct runner *r, const struct inference *q)
{
    return q->deadline_at && !r->replaces && clock_ms() > q->deadline_at;
}

static bool given_up(void *source)
{
    return source_changed(source);
}

/* Brings the rows that a request names, unless it comes too late for them. SOURCE_CHANGED as above. */
static int fetch_rows(struct runner *r, struct inference *q, struct fail *why)
{
    const struct store_stop stop = {given_up, r->src};
    int64_t began_us = now_us();
    if (q->kind != PAYLOAD_EXTERNAL || is_late(r, q))
        return 0;
    int rc = external_fetch(q, r->settings, &stop, &r->external, why);
    r->spent_us += now_us() - began_us;
    return rc == -E_INTERRUPTED ? SOURCE_CHANGED : rc;
}

/* SOURCE_CHANGED: the schema registry was waited for until the record belonged to someone else. */
static int open_frame(struct runner *r, const struct record *record, struct span *payload, struct fail *why)
{
    const struct payload_wait wait = {{given_up, r->src}, -1};
    int rc = record_payload_wait(record, record_type_find("InferenceBatch"), &wait, payload, why);
    return rc == -E_INTERRUPTED ? SOURCE_CHANGED : rc;
}

static void append(struct runner *r, struct answer *a)
{
    a->received_us = now_us();
    if (r->last)
        r->last->next = a;
    else
        r->first = a;
    r->last = a;
}

static int answer_rows(struct runner *r, struct answer *a, struct served *s, const struct inference *q,
                       struct fail *why)
{
    append(r, a);
    if (q->kind == PAYLOAD_EXTERNAL || is_late(r, q)) /* external still: its rows were not brought */
        return answer_refuse(a, r->batch, ROW_EXPIRED, EXPIRED, why);
    return place_rows(r, s, a, q, why);
}

/* The same request answered by the shadow, without maps. What it cannot answer is nobody's loss. */
static int take_shadow(struct runner *r, const struct record *record, const struct inference *q,
                       const struct route *route, struct fail *why)
{
    struct inference plain = *q;
    struct answer *a;
    struct fail not_this;
    plain.explain = false;
    int rc = q->kind == PAYLOAD_IMAGES ? 0 : rows_check(q, route->shadow->model, &not_this);
    if (!rc)
        rc = answer_new(&a, r->batch, record, &plain, route, true, sink_limit(r->sink, TOPIC_SHADOW),
                        &not_this);
    if (!rc)
        return answer_rows(r, a, route->shadow, &plain, why);
    if (fail_class(not_this.code) == FAIL_RECORD) {
        log_event(LOG_WARN, "no shadow answer", "model", route->shadow->model->name, "text", not_this.text,
                  NULL);
        return 0;
    }
    *why = not_this;
    return rc;
}

/* The request as an answer with its rows on their way, or a RECORD code. */
static int accept(struct runner *r, const struct record *record, struct inference *q, struct fail *why)
{
    struct model_spec spec;
    struct route route = {0};
    struct answer *a;
    int rc = model_spec_parse(&spec, q->model, why);
    if (!rc)
        rc = find_model(r, record, q, &route, why);
    if (!rc && r->replaces)
        route.variant = ""; /* a version was asked for */
    if (!rc && q->kind != PAYLOAD_IMAGES)
        rc = rows_check(q, route.served->model, why);
    if (!rc)
        rc = fetch_rows(r, q, why);
    if (!rc && q->explain)
        rc = explain_prepare(route.served, why);
    if (!rc)
        rc = answer_new(&a, r->batch, record, q, &route, false, sink_limit(r->sink, TOPIC_PREDICTIONS), why);
    if (rc < 0 && route.side && fail_class(why->code) == FAIL_RECORD)
        canary_refused(route.side, q->rows);
    if (rc)
        return rc;
    hook_request(&r->hook, q);
    a->supersedes = r->replaces ? r->replaces(r->replaces_arg, record) : 0;
    r->rows += a->rows;
    rc = answer_rows(r, a, route.served, q, why);
    return rc || !route.shadow ? rc : take_shadow(r, record, q, &route, why);
}

static int refuse(struct runner *r, const struct record *record, const char *stage, const struct fail *reason,
                  struct fail *why)
{
    log_event(LOG_INFO, "dead letter", "topic", record->topic, "partition",
              log_text("%d", (int)record->partition), "offset", log_text("%lld", (long long)record->offset),
              "reason", fail_name(reason->code), "text", reason->text, NULL);
    if (has_bug(verdict))
        return 0;
    int rc = r->model ? batch_count(r->batch, &r->model->records[METRIC_DEAD_LETTER], 1, why) : 0;
    return rc ? rc
              : batch_dead_letter(r->batch, record, stage, reason, r->settings->worker_slot,
                                  sink_limit(r->sink, TOPIC_DEAD_LETTERS), why);
}

int runner_take(struct runner *r, const struct record *record, struct fail *why)
{
    struct fail reason = {0};
    struct inference request;
    struct span payload;
    int64_t began_us = now_us();
    if (!r->records++) {
        r->began_us = began_us;
        r->age_us = (clock_ms() - record->timestamp_ms) * 1000;
    }
    r->spent_us = 0;
    r->model = r->unknown;
    inflight_add(r->inflight, record);
    int crashes = inflight_condemned(r->inflight, record);
    if (crashes) {
        fail(&reason, E_CRASH, "the worker crashed %d times while it worked on this record alone", crashes);
        return refuse(r, record, "infer", &reason, why);
    }
    int rc = open_frame(r, record, &payload, &reason);
    if (!rc)
        rc = inference_decode(&request, payload, &reason);
    const char *stage = rc ? "decode" : "infer";
    request.return_outputs = !rc && (request.return_outputs || r->always_outputs);
    request.explain = !rc && (request.explain || r->always_explain);
    if (!rc)
        rc = accept(r, record, &request, &reason);
    free(r->external);
    r->external = NULL;
    int64_t took_us = now_us() - began_us;
    r->busy_us += took_us;
    histogram_observe(HISTOGRAM(r, decode_us), took_us - r->spent_us);
    if (rc >= 0)
        return rc;
    if (fail_class(reason.code) == FAIL_RECORD)
        return refuse(r, record, stage, &reason, why);
    *why = reason;
    return rc;
}
