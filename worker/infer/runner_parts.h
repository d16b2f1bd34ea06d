/* What the files of the runner share. Internal to worker/infer/runner*.c: runner.c makes batches, runner_take.c an answer or a
 * dead letter of each record. */
#ifndef WORKER_INFER_RUNNER_PARTS_H
#define WORKER_INFER_RUNNER_PARTS_H

#include "worker/codec/image.h"
#include "worker/infer/answer.h"
#include "worker/infer/batcher.h"
#include "worker/infer/hook.h"
#include "worker/infer/runner.h"

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

/* ---- runner_take.c ---- */

/* One record: an answer or a dead letter, both in the batch being built. */
int runner_take(struct runner *r, const struct record *record, struct fail *why);
/* Runs the rows that wait in a net's input and gives every answer its outputs: a visit of router_each_filled. */
int runner_flush(void *runner, struct served *s, struct intake *in, struct fail *why);

#endif
