/* Which net answers to a model's name, and the nets themselves. The runner's own: one thread. Swapping to a promoted version is
 * a new resolution of the name between two records; a net stays open while it is among the last used. */
#ifndef WORKER_INFER_ROUTER_H
#define WORKER_INFER_ROUTER_H

#include "engine/net.h"
#include "worker/models/follower.h"

struct answer;
struct explainer; /* explain.h */

/* Where a row of a net's input belongs. */
struct place {
    struct answer *answer;
    int64_t row;
};

/* An open net and the rows that wait in its input. */
struct served {
    struct model *model;
    struct net *net;
    int rows, max_rows;
    struct place *places;          /* [max_rows] */
    struct model_metrics *metrics; /* NULL: nobody counts */
    struct backend *be;
    struct explainer *explainer; /* NULL: nothing has been explained yet */
    struct fail unexplained;     /* why it cannot be; code 0: not tried or well */
    int64_t used;                /* for the choice of what to close */
};

struct router;

/* Nets are opened on `be` for max_rows rows. Names are resolved by the follower, or all mean `fixed` (of a file). */
int router_open(struct router **out, struct backend *be, int max_rows, struct follower *follower,
                struct model *fixed, struct infer_metrics *metrics, struct fail *why);
void router_close(struct router **r);

/* The net that `spec` means now and the variant's name (good until the next call). timestamp_ms is the record's: a model is
 * unknown only after a look at everything that was stable when the record was made. E_UNKNOWN_MODEL, E_BAD_REQUEST: the
 * record's fault; E_RETRY, E_IO: try again; others: the worker's. */
int router_find(struct router *r, struct span spec, int64_t timestamp_ms, struct served **out,
                const char **variant, struct fail *why);
/* Calls visit for every net that has rows waiting. */
int router_each_filled(struct router *r, int (*visit)(void *arg, struct served *s, struct fail *why),
                       void *arg, struct fail *why);
/* True when the next router_find might not find a place for another net: seal, then trim. */
bool router_is_full(const struct router *r);
void router_drop_rows(struct router *r);
/* Closes nets that were not used lately. No rows may wait and no answer may point to a net. */
void router_trim(struct router *r);

#endif
