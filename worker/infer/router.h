/* Which net answers to a model's name, and the nets themselves. The runner's own: one thread. Swapping to a promoted version is
 * a new resolution of the name between two records; a net stays open while it is among the last used.
 *
 * A request for a bare name goes to the champion, and where the model has the alias challenger, to that for its share of the
 * keys (canary.h); where it has the alias shadow, that answers its share too, beside the one that counts. A request for
 * name@alias or name@version goes there and nowhere else. A challenger or shadow that cannot be served is left out: the
 * champion answers. Where an alias's own version is broken, the one that the alias meant before serves on. */
#ifndef WORKER_INFER_ROUTER_H
#define WORKER_INFER_ROUTER_H

#include "engine/net.h"
#include "worker/infer/canary.h"
#include "worker/infer/warm.h"

struct answer;
struct explainer; /* explain.h */

/* Where a row of a net's input belongs. */
struct place {
    struct answer *answer;
    int64_t row;
};

/* An open net and the rows that wait in its input. */
struct intake {
    struct net *net; /* NULL: no request has brought such rows yet */
    int rows;
    struct place *places; /* [max_rows] */
};

/* A version that is answered with, by a net for each kind of rows that has come. */
struct served {
    struct model *model;
    struct intake intakes[INTAKES];
    int max_rows;
    int64_t inputs, outputs; /* values in a row */
    struct backend *be;
    struct warm *warm;
    struct explainer *explainer; /* NULL: nothing has been explained yet */
    struct fail unexplained;     /* why it cannot be; code 0: not tried or well */
    int64_t used;                /* for the choice of what to close */
};

struct router;

/* Nets are opened on `be` for max_rows rows. Names are resolved by the follower, or all mean `fixed` (of a file). */
int router_open(struct router **out, struct backend *be, int max_rows, struct follower *follower,
                struct model *fixed, struct infer_metrics *metrics, struct fail *why);
void router_close(struct router **r);

/* Who answers a request. */
struct route {
    struct served *served;
    const char *variant;           /* good until the next call */
    struct model_metrics *metrics; /* NULL: nobody counts */
    struct canary_side *side;      /* NULL: there is no canary to be judged */
    struct served *shadow;         /* answers too; NULL: nobody does */
    struct model_metrics *shadow_metrics;
};

/* Where a request for `spec` with rows of this kind goes now, its intake being open. `record` gives the key, without one `id` is it, and the time: a model is unknown only
 * after a look at everything that was stable when the record was made. E_UNKNOWN_MODEL, E_BAD_REQUEST: the record's fault;
 * E_RETRY, E_IO: try again; others: the worker's. */
int router_find(struct router *r, struct span spec, enum intake_kind kind, const struct record *record,
                struct span id, struct route *out, struct fail *why);
/* Calls visit for every net that has rows waiting. */
int router_each_filled(struct router *r,
                       int (*visit)(void *arg, struct served *s, struct intake *in, struct fail *why),
                       void *arg, struct fail *why);
/* True when the next router_find might not find places for its nets: seal, then trim. */
bool router_is_full(const struct router *r);
/* What was not committed is read again. */
void router_rewind(struct router *r);
/* Judges the canaries; verdicts go into the batch. */
int router_judge(struct router *r, const struct settings *s, struct batch *b, struct fail *why);
/* Closes nets that were not used lately. No rows may wait and no answer may point to a net. */
void router_trim(struct router *r);

#endif
