/* A challenger beside its champion: which keys it gets, what both of them answer, and when enough is known to promote it or to
 * roll it back. Used by the runner's thread alone.
 *
 * A share of a model's keys goes to the alias challenger. A worker counts what champion and challenger answer from the moment
 * the challenger begins on it (a restart begins again; records that come again after an abort count again) and judges at the
 * end of every batch, once each of the two has canary.min_rows rows:
 *
 *   breach   the challenger's share of rows that are not well, less the champion's, is above canary.max_error_rate. Not well:
 *            a status other than OK, a score that is no finite number, rows of a request that became a dead letter; or
 *            the p99 of its forward passes is above canary.max_p99_ratio times the champion's; or
 *            the PSI of predicted classes is above canary.max_psi
 *   pass     none of these, and canary.min_s seconds are over
 *
 * So with a traffic of one half or less a worker lets a bad challenger answer at most canary.min_rows + batch.max_rows rows and
 * one record; other workers that have not seen it themselves follow the event.
 *
 * Chance is no alarm: p99 are compared by bounds that each holds with three standard deviations, and the PSI has to exceed the
 * limit by what two equal distributions show in 999 of 1000 samples of these sizes.
 *
 *   PSI = sum over classes i of (a_i - e_i) ln(a_i / e_i)      a, e: shares of class i in challenger and champion
 *
 * The population stability index (Lewis, An Introduction to Credit Scoring, 1994); of two samples of n and m rows from one
 * distribution over B classes it is distributed as (1/n + 1/m) chi^2 of B - 1 (Yurdakul and Naranjo, Statistical properties of
 * the population stability index, Journal of Risk Model Validation 14(4), 2020). Half a row is added to every class that
 * either has met. */
#ifndef WORKER_INFER_CANARY_H
#define WORKER_INFER_CANARY_H

#include "worker/models/follower.h"
#include "worker/stream/batch.h"

/* Labels beyond the classes share the last one; times are in eighths of an octave of microseconds. */
enum { CANARY_CLASSES = 1024, CANARY_TIMES = 320 };

/* What one of the two has answered. */
struct canary_side {
    uint64_t rows, errors; /* asked; of them not well */
    uint64_t classes[CANARY_CLASSES];
    uint64_t passes, times[CANARY_TIMES];
    uint64_t last_pass; /* the number of the forward pass that was counted last */
};

/* A row that was answered; label -1 (a regression): the same class always. */
void canary_row(struct canary_side *s, bool well, int32_t label);
/* Rows of a request that this side could not take. */
void canary_refused(struct canary_side *s, int64_t rows);
/* A forward pass; `number` tells passes apart: several answers of one pass count it once. */
void canary_pass(struct canary_side *s, uint64_t number, int64_t took_us);

enum canary_verdict { CANARY_BAKING, CANARY_PASS, CANARY_BREACH };
enum { CANARY_REASON = 200 };

/* The verdict by the settings canary.* after `age_ms`; a breach in words in `reason`. */
enum canary_verdict canary_judge(const struct settings *s, const struct canary_side *challenger,
                                 const struct canary_side *champion, int64_t age_ms,
                                 char reason[CANARY_REASON]);
double canary_psi(const struct canary_side *challenger, const struct canary_side *champion);

/* Where a key lies in [0, 1): the same on every worker and for every version. The challenger has the keys below its traffic,
 * the shadow those from 1 - its traffic on. A record without a key goes by its id. */
double canary_place(const char *model, struct span key, struct span id);

/* ---- the canaries of a worker ---- */

struct canary {
    struct canary *next;
    char model[128];
    char event_id[128]; /* of the event that began it */
    int64_t champion_version;
    int64_t began_us;
    struct canary_side challenger, champion;
    enum canary_verdict verdict; /* stays once it is reached */
    char reason[CANARY_REASON];
    bool told; /* ... and written into a batch since the last rewind */
    bool over; /* freed by canaries_trim: answers may still count here */
};

/* The canary of this challenger (its alias's event) beside this champion; a new one when either is new. NULL: no memory. */
struct canary *canaries_find(struct canary **list, const struct model_version_event *challenger,
                             int64_t champion_version);
/* The model has no challenger any more. */
void canaries_end(struct canary *list, const char *model);
/* Judges; a verdict goes into the batch as events of the models topic (ROLLED_BACK of the challenger with traffic 0; or PROMOTED
 * of the champion and of the challenger with traffic 0) unless somebody else decided meanwhile. */
int canaries_settle(struct canary *list, struct follower *f, const struct settings *s, struct batch *b,
                    struct fail *why);
/* What was not committed is read again: verdicts are told again. */
void canaries_rewind(struct canary *list);
void canaries_trim(struct canary **list);
void canaries_free(struct canary **list);

#endif
