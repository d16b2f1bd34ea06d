/* One request after the other: verdict, rows into the net's input, forward, answers, seal.
 *
 * A batch is sealed when it has enough rows or bytes, is old enough, or nothing is left to read. Rows of several records
 * share a forward pass, and a record larger than the net's input takes several. What a request is: codec/record.h;
 * what becomes of a batch: stream/committer.c. */
#include "worker/infer/runner.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/codec/model_spec.h"
#include "worker/infer/answer.h"
#include "worker/infer/batcher.h"
#include "worker/infer/explain.h"
#include "worker/infer/external.h"
#include "worker/infer/hook.h"
#include "worker/infer/rows.h"
#include "worker/service/bug.h"
#include "worker/service/log.h"
#include "worker/stream/clock.h"
#include "worker/stream/payload.h"

enum { IDLE_MS = 100, BATCHES_OF_BYTES = 8 }; /* a transaction's bytes come from several batches */

static const char EXPIRED[] = "the deadline had passed";

struct runner {
    const struct settings *settings;
    struct router *router;
    const struct frame *frames;
    bool always_outputs, always_explain;
    int64_t (*replaces)(void *arg, const struct record *r); /* NULL: first answers */
    void *replaces_arg;
    struct source *src;
    struct sink *sink;
    struct batch *batch;         /* being built */
    struct answer *first, *last; /* its answers, in the order of their records */
    int records;                 /* in it, dead letters included */
    int64_t rows;                /* in it */
    int64_t began_us, age_us;    /* when its first record came, and how old that was */
    int64_t busy_us;             /* the time its records and rows took so far */
    struct batcher batcher;
    struct bytes scratch;
    struct image_decoder decoder;
    void *external;                /* rows that the record at hand names; NULL: it brings its own */
    struct infer_metrics *metrics; /* NULL: nobody counts */
    struct model_metrics *unknown; /* counts records that name no model */
    struct model_metrics *model;   /* of the record at hand */
    struct inflight *inflight;
    struct record held; /* a suspect that begins the next batch */
    bool is_held;
    struct hook hook;
    uint64_t passes;  /* forward passes so far */
    int64_t spent_us; /* waiting and computing while the record at hand was taken: not decoding */
};

/* The histogram of this name, or NULL. */
#define HISTOGRAM(r, name) ((r)->metrics ? &(r)->metrics->name : NULL)

/* ---- computing ---- */

/* Runs the rows that wait in a net's input and gives every answer its outputs. */
static int flush(void *runner, struct served *s, struct intake *in, struct fail *why)
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
        if (in->rows == net_max_rows(in->net) && (rc = flush(r, s, in, why)))
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

static const char *source_name(const struct inference *q)
{
    return q->kind == PAYLOAD_EXTERNAL ? "external.tensor" : "tensors[0]";
}

/* [n, C, H, W] exactly, where [C, H, W] is the model's input. */
static int check_shape(const struct inference *q, const struct model *m, struct fail *why)
{
    struct shape row = m->graph->input, got = q->tensor.shape;
    char want[128], have[128];
    bool equal = got.rank == row.rank + 1;
    for (int i = 0; equal && i < row.rank; i++)
        equal = got.dim[i + 1] == row.dim[i];
    if (equal)
        return 0;
    return fail(why, E_BAD_SHAPE, "%s.shape is %s, %s takes [n, then %s]", source_name(q),
                shape_text(got, have, sizeof have), m->name, shape_text(row, want, sizeof want));
}

static int check_tensor(const struct inference *q, const struct model *m, struct fail *why)
{
    struct span name = q->tensor.name;
    const char *input = m->graph->input_name;
    if (name.size && (name.size != strlen(input) || memcmp(name.data, input, name.size) != 0))
        return fail(why, E_BAD_REQUEST, "%s.name is \"%.*s\", the input of %s is \"%s\"", source_name(q),
                    (int)(name.size < 100 ? name.size : 100), name.data, m->name, input);
    return check_shape(q, m, why);
}

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
    int rc = q->kind == PAYLOAD_IMAGES ? 0 : check_tensor(q, route->shadow->model, &not_this);
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
        rc = check_tensor(q, route.served->model, why);
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

/* One record: an answer or a dead letter, both in the batch being built. */
static int take(struct runner *r, const struct record *record, struct fail *why)
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

/* ---- batches ---- */

/* The batch at hand is empty. */
static void begin(struct runner *r)
{
    r->first = r->last = NULL;
    r->records = 0;
    r->rows = r->busy_us = 0;
}

static void drop(struct runner *r)
{
    router_rewind(r->router);
    batch_reset(r->batch);
    inflight_clear(r->inflight);
    begin(r);
    r->is_held = false; /* it comes again */
}

static bool is_full(const struct runner *r)
{
    return r->rows >= r->batcher.rows ||
           (int64_t)r->batch->mem.total >= r->settings->commit_max_bytes / BATCHES_OF_BYTES ||
           r->records >= inflight_limit(r->inflight) || router_is_full(r->router);
}

/* A suspect shares no batch with records that were there before it: it is kept, and the batch is complete without it. */
static bool hold(struct runner *r, const struct record *record)
{
    if (!r->records || inflight_is_careful(r->inflight) || !inflight_is_suspect(r->inflight, record))
        return false;
    r->held = *record; /* borrowed until the next source_next */
    return r->is_held = true;
}

static int take_held(struct runner *r, struct fail *why)
{
    if (!r->is_held)
        return 0;
    r->is_held = false;
    return take(r, &r->held, why);
}

/* Reads until the batch is complete. SOURCE_CHANGED: it was dropped. */
static int gather(struct runner *r, struct fail *why)
{
    int held = take_held(r, why);
    if (held)
        return held;
    while (!is_full(r)) {
        struct record record;
        int64_t left_us = r->records ? r->began_us + r->batcher.delay_us - now_us() : IDLE_MS * 1000;
        if (left_us <= 0)
            return 0;
        int rc = source_next(r->src, &record, (int)((left_us + 999) / 1000), why);
        if (rc == SOURCE_RECORD && hold(r, &record))
            return 0;
        if (rc == SOURCE_RECORD)
            rc = take(r, &record, why);
        else if (rc == SOURCE_END) {
            r->batch->hurry = true;
            return SOURCE_END;
        }
        if (rc == SOURCE_CHANGED)
            return rc;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Before a batch with suspects begins, and behind it, everything is committed: should it crash, nothing else is done again.
 * With a suspect kept back the source stands behind it already, which clears it of nothing. */
static int pass_suspects(struct runner *r, struct fail *why)
{
    int rc = sink_wait(r->sink, why);
    if (!rc && !r->is_held)
        inflight_passed(r->inflight, r->src);
    return rc == -E_ABORT ? 0 : rc; /* an abort: the source will say so and the suspects come again */
}

/* Computes what is left, writes the answers and hands the batch over. */
static int seal(struct runner *r, struct fail *why)
{
    bool full = is_full(r); /* there is more to read */
    int64_t seal_us = now_us();
    int rc = router_each_filled(r->router, flush, r, why);
    int64_t began_us = now_us();
    for (struct answer *a = r->first; !rc && a; a = a->next)
        rc = answer_finish(a, r->batch, &r->scratch, r->settings->worker_slot,
                           r->frames ? &r->frames[a->topic] : NULL, why);
    histogram_observe(HISTOGRAM(r, encode_us), now_us() - began_us);
    if (!rc)
        rc = router_judge(r->router, r->settings, r->batch, why);
    if (!rc)
        rc = source_seal(r->src, r->batch, r->is_held ? SEAL_UNCHANGED : SEAL_DONE, why);
    if (rc)
        return rc;
    bool careful = r->is_held || inflight_is_careful(r->inflight);
    r->batch->hurry |= careful;
    r->batch->wait_us = full ? r->batcher.delay_us : 0; /* one closed by its age has waited */
    batcher_ran(&r->batcher, r->age_us, r->rows, r->busy_us + now_us() - seal_us, full);
    inflight_clear(r->inflight);
    begin(r);
    rc = sink_put(r->sink, &r->batch, why);
    router_trim(r->router);
    return rc || !careful ? rc : pass_suspects(r, why);
}

int runner_work(struct source *src, struct sink *sink, void *options, struct fail *why)
{
    const struct runner_options *o = options;
    struct runner r = {.settings = o->settings,
                       .router = o->router,
                       .frames = o->frames,
                       .always_outputs = o->always_outputs,
                       .always_explain = o->always_explain,
                       .replaces = o->replaces,
                       .replaces_arg = o->replaces_arg,
                       .metrics = o->metrics,
                       .inflight = o->inflight,
                       .unknown = metrics_model(o->metrics, "", 0, ""),
                       .src = src,
                       .sink = sink};
    int rc = 0;
    batcher_open(&r.batcher, o->settings->batch_max_rows, o->settings->commit_max_delay_ms,
                 o->settings->batch_target_p99_ms);
    router_rewind(r.router); /* an earlier session may have ended between two batches */
    while (!rc) {
        if (!r.batch && !(rc = sink_take(sink, &r.batch, why)) && r.batch->committed_us)
            batcher_committed(&r.batcher, r.batch->committed_us);
        int event = rc ? rc : gather(&r, why);
        if (event < 0)
            rc = event;
        else if (event == SOURCE_CHANGED)
            drop(&r);
        else if (r.records && (rc = seal(&r, why)) == SOURCE_CHANGED) {
            drop(&r);
            rc = 0;
        }
        if (event == SOURCE_END && o->stop_at_end && !rc) {
            rc = sink_wait(sink, why);
            break;
        }
    }
    if (r.batch) {
        struct fail ignored;
        drop(&r);
        sink_put(sink, &r.batch, &ignored); /* back to the pool, with nothing in it */
    }
    bytes_free(&r.scratch);
    image_decoder_free(&r.decoder);
    return rc;
}
