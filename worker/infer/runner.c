/* One batch after the other: requests taken, rows computed, answers written, sealed.
 *
 * A batch is sealed when it has enough rows or bytes, is old enough, or nothing is left to read. Rows of several records
 * share a forward pass, and a record larger than the net's input takes several. What becomes of a record: runner_take.c;
 * of a batch: stream/committer.c. */
#include "worker/infer/runner.h"

#include "worker/infer/runner_parts.h"
#include "worker/stream/clock.h"

enum { IDLE_MS = 100, BATCHES_OF_BYTES = 8 }; /* a transaction's bytes come from several batches */

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
    return runner_take(r, &r->held, why);
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
            rc = runner_take(r, &record, why);
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
    int rc = router_each_filled(r->router, runner_flush, r, why);
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
