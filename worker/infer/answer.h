/* The answer to one request while it is being made: what is needed of the request, one output and one status a row. Lives in
 * the batch's memory, written as a Prediction when the batch is sealed. */
#ifndef WORKER_INFER_ANSWER_H
#define WORKER_INFER_ANSWER_H

#include "worker/infer/router.h"
#include "worker/stream/payload.h"
#include "worker/stream/sink.h"

struct answer {
    struct answer *next;
    struct record from; /* the request; only its key is kept, in the batch's memory */
    struct span id;
    struct list row_ids; /* over a copy in the batch's memory; count 0: none */
    const struct served *served;
    struct span variant;
    enum topic topic;              /* of the Prediction */
    struct model_metrics *metrics; /* NULL: nobody counts */
    struct canary_side *side;      /* NULL: nobody judges */
    int64_t rows;
    float *outputs;    /* [rows][outputs of the net]; zero where a row was not scored */
    float *saliency;   /* [rows][input of the net], as outputs; NULL: not asked for */
    uint8_t *statuses; /* [rows] of enum row_status */
    const char **
        notes; /* [rows] the errors of rows that are not OK, in the batch's memory or static; NULL: all are OK */
    int32_t top_k;
    bool return_outputs;
    int64_t supersedes; /* the version whose answer this one replaces; 0: it is the first */
    int64_t received_us, started_us, compute_us; /* monotonic; duration */
};

/* Takes over what is needed of the request; statuses begin as ROW_OK. The answer is the one that counts, or the shadow's.
 * E_TOO_LARGE when the Prediction would not fit into `limit` bytes; nothing is taken then but memory of the batch. */
int answer_new(struct answer **out, struct batch *b, const struct record *r, const struct inference *request,
               const struct route *route, bool shadow, size_t limit, struct fail *why);
/* Row i is answered with this status and error, which is copied. */
int answer_refuse_row(struct answer *a, struct batch *b, int64_t i, enum row_status status, const char *error,
                      struct fail *why);
/* All rows, with a static text. */
int answer_refuse(struct answer *a, struct batch *b, enum row_status status, const char *error,
                  struct fail *why);
/* Appends the Prediction to the batch's outputs, in its topic's frame (NULL: none). `scratch` is any buffer, reused. */
int answer_finish(const struct answer *a, struct batch *b, struct bytes *scratch, const char *worker,
                  const struct frame *frame, struct fail *why);

struct score {
    int32_t label;
    float score;
};

/* label, score and the first `k` classes of one row of K outputs, by contract.md's rule. `order` and `probability` have room for
 * max(K, 2). Returns the number of entries in order: min(k, classes). */
int score_row(enum score_rule rule, const float *outputs, int K, int k, struct score *best,
              struct class_score *order, float *probability);

#endif
