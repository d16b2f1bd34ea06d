/* The runner: requests from a source, batches of answers into a sink. One thread; the only one that touches the nets. */
#ifndef WORKER_INFER_RUNNER_H
#define WORKER_INFER_RUNNER_H

#include "worker/infer/inflight.h"
#include "worker/infer/router.h"
#include "worker/stream/sink.h"

struct runner_options {
    const struct settings *settings; /* batch, commit and inference settings; worker_slot names the worker */
    struct router *router;
    const struct frame *frames;    /* of predictions, by enum topic (payload_frames); NULL: all raw */
    struct infer_metrics *metrics; /* NULL: nobody counts */
    struct inflight *inflight;     /* NULL: a crash leaves no trace */
    bool stop_at_end;              /* a file: return 0 when everything is read and answered */
    bool always_outputs;           /* as if every request asked for return_outputs */
    bool always_explain;           /* and for explain */
    /* Answers again: the version whose answer of this record the new one replaces. Deadlines have passed by then and are not
     * looked at. NULL: first answers. */
    int64_t (*replaces)(void *arg, const struct record *r);
    void *replaces_arg;
};

/* Runs until the source or the sink ends it, whose code it returns; a session_work (session.h) with a struct runner_options. */
int runner_work(struct source *src, struct sink *sink, void *options, struct fail *why);

#endif
