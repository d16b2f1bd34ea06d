/* Counts, judges and publishes. Who routes by the verdict: router.c; who counts: runner.c and answer.c. */
#include "worker/infer/canary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/rng.h"
#include "worker/service/log.h"
#include "worker/stream/clock.h"
#include "worker/train/publish.h"

/* ---- counting ---- */

void canary_row(struct canary_side *s, bool well, int32_t label)
{
    s->rows++;
    if (!well)
        s->errors++;
    else
        s->classes[label < 0 ? 0 : label < CANARY_CLASSES ? label : CANARY_CLASSES - 1]++;
}

void canary_refused(struct canary_side *s, int64_t rows)
{
    s->rows += (uint64_t)rows;
    s->errors += (uint64_t)rows;
}

static int time_bucket(int64_t us)
{
    int i = us < 1 ? 0 : (int)(8 * log2((double)us));
    return i < CANARY_TIMES ? i : CANARY_TIMES - 1;
}

void canary_pass(struct canary_side *s, uint64_t number, int64_t took_us)
{
    if (number == s->last_pass)
        return;
    s->last_pass = number;
    s->passes++;
    s->times[time_bucket(took_us)]++;
}

/* ---- judging ---- */

static double error_rate(const struct canary_side *s)
{
    return s->rows ? (double)s->errors / (double)s->rows : 0;
}

/* The time that at most `above` passes exceed, in microseconds; 0 when there are not more passes than that. */
static double time_exceeded(const struct canary_side *s, double above)
{
    uint64_t seen = 0;
    for (int i = CANARY_TIMES - 1; i >= 0; i--)
        if ((double)(seen += s->times[i]) > above)
            return exp2(i / 8.0);
    return 0;
}

/* A bound of the p99 that holds with `deviations` standard deviations of the number of passes beyond it, which is binomial; a
 * third more for small numbers, whose tail is heavier. */
static double p99_bound(const struct canary_side *s, double deviations)
{
    double n = (double)s->passes, above = 0.01 * n + deviations * (sqrt(0.01 * 0.99 * n) + 0.33);
    return time_exceeded(s, above > 0 ? above : 0);
}

static int classes_met(const struct canary_side *a, const struct canary_side *e)
{
    int met = 0;
    for (int i = 0; i < CANARY_CLASSES; i++)
        met += a->classes[i] || e->classes[i];
    return met;
}

double canary_psi(const struct canary_side *a, const struct canary_side *e)
{
    double half = 0.5 * classes_met(a, e), psi = 0;
    double n = (double)(a->rows - a->errors) + half, m = (double)(e->rows - e->errors) + half;
    for (int i = 0; i < CANARY_CLASSES; i++)
        if (a->classes[i] || e->classes[i]) {
            double x = ((double)a->classes[i] + 0.5) / n, y = ((double)e->classes[i] + 0.5) / m;
            psi += (x - y) * log(x / y);
        }
    return psi;
}

/* What the PSI of two samples of one distribution stays below in 999 of 1000 cases: (1/n + 1/m) chi^2, whose quantile is
 * k (1 - 2/(9k) + z sqrt(2/(9k)))^3 (Wilson and Hilferty 1931), z = 3.09. */
static double psi_of_chance(const struct canary_side *a, const struct canary_side *e)
{
    double n = (double)(a->rows - a->errors), m = (double)(e->rows - e->errors), k = classes_met(a, e) - 1;
    if (k < 1 || n < 1 || m < 1)
        return 0;
    double root = 1 - 2 / (9 * k) + 3.09 * sqrt(2 / (9 * k));
    return (1 / n + 1 / m) * k * root * root * root;
}

enum canary_verdict canary_judge(const struct settings *s, const struct canary_side *challenger,
                                 const struct canary_side *champion, int64_t age_ms,
                                 char reason[CANARY_REASON])
{
    uint64_t least = (uint64_t)s->canary_min_rows;
    long long rows = (long long)challenger->rows;
    if (challenger->rows < least || champion->rows < least)
        return CANARY_BAKING;
    double errors = error_rate(challenger) - error_rate(champion);
    double slow = p99_bound(challenger, 3), limit = s->canary_max_p99_ratio * p99_bound(champion, -3);
    double psi = canary_psi(challenger, champion),
           psi_limit = s->canary_max_psi + psi_of_chance(challenger, champion);
    if (errors > s->canary_max_error_rate)
        snprintf(reason, CANARY_REASON,
                 "canary: error rate %.3g of %lld rows, the champion's is %.3g, %.3g more is allowed",
                 error_rate(challenger), rows, error_rate(champion), s->canary_max_error_rate);
    else if (psi > psi_limit)
        snprintf(reason, CANARY_REASON,
                 "canary: PSI of predicted classes %.3g after %lld rows, %.3g is allowed", psi, rows,
                 psi_limit);
    else if (champion->passes && slow > limit)
        snprintf(reason, CANARY_REASON,
                 "canary: p99 of compute above %.0f us after %llu passes, %.0f us are allowed", slow,
                 (unsigned long long)challenger->passes, limit);
    else if (age_ms < 1000 * s->canary_min_s)
        return CANARY_BAKING;
    else {
        snprintf(reason, CANARY_REASON,
                 "canary: passed after %lld rows and %lld s, PSI %.3g, error rate %.3g", rows,
                 (long long)(age_ms / 1000), psi, error_rate(challenger));
        return CANARY_PASS;
    }
    return CANARY_BREACH;
}

/* ---- places of keys ---- */

/* FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv */
static uint64_t fnv(uint64_t h, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)data[i]) * 0x100000001b3u;
    return h;
}

double canary_place(const char *model, struct span key, struct span id)
{
    struct span by = key.size ? key : id;
    uint64_t h =
        fnv(0xcbf29ce484222325u, model, strlen(model) + 1); /* with its 0: names do not run into keys */
    h = rng_hash(fnv(h, by.data, by.size), 0, 0, 0);        /* the last bytes reach every bit */
    return (double)(h >> 11) * 0x1p-53;
}

/* ---- the canaries of a worker ---- */

static struct canary *canary_of(struct canary *list, const char *model)
{
    for (; list; list = list->next)
        if (!list->over && strcmp(list->model, model) == 0)
            return list;
    return NULL;
}

struct canary *canaries_find(struct canary **list, const struct model_version_event *challenger,
                             int64_t champion_version)
{
    struct canary *c = canary_of(*list, challenger->model);
    if (c && c->champion_version == champion_version &&
        strncmp(c->event_id, challenger->event_id, sizeof c->event_id - 1) == 0)
        return c;
    canaries_end(*list, challenger->model);
    if (!(c = calloc(1, sizeof *c)))
        return NULL;
    snprintf(c->model, sizeof c->model, "%s", challenger->model);
    snprintf(c->event_id, sizeof c->event_id, "%s", challenger->event_id);
    c->champion_version = champion_version;
    c->began_us = now_us();
    c->next = *list;
    *list = c;
    log_event(LOG_INFO, "canary begins", "model", c->model, "challenger",
              log_text("%lld", (long long)challenger->version), "traffic",
              log_text("%g", challenger->traffic), NULL);
    return c;
}

void canaries_end(struct canary *list, const char *model)
{
    struct canary *c = canary_of(list, model);
    if (c)
        c->over = true;
}

/* The event behind `before` of the same alias; every worker that comes to this verdict gives it the same id. The champion means
 * the challenger's version from now on, the challenger nothing. */
static int tell(const struct canary *c, const struct model_version_event *challenger,
                const struct model_version_event *before, enum version_event kind, const struct settings *s,
                struct batch *b, struct fail *why)
{
    char id[300];
    struct model_version_event e = publish_alias(challenger, kind, before->alias, before);
    snprintf(id, sizeof id, "%s.%s.%s", c->event_id, before->alias, version_event_name(kind));
    e.event_id = id;
    e.traffic = before == challenger ? 0 : 1;
    e.reason = c->reason;
    e.created_by = s->worker_slot;
    return publish_event(b, NULL, &e, why);
}

/* Looks at the aliases once more: an operator's or another worker's decision stands. */
static int publish_verdict(const struct canary *c, struct follower *f, const struct settings *s,
                           struct batch *b, struct fail *why)
{
    struct region mem = {0};
    struct model_version_event challenger, champion;
    bool pass = c->verdict == CANARY_PASS;
    int rc = follower_alias(f, c->model, "challenger", &challenger, &mem, why);
    if (!rc)
        rc = follower_alias(f, c->model, "champion", &champion, &mem, why);
    if (rc == -E_UNKNOWN_MODEL ||
        (!rc && (strcmp(challenger.event_id, c->event_id) != 0 || champion.version != c->champion_version))) {
        rc = 0;
        goto out;
    }
    if (!rc && pass)
        rc = tell(c, &challenger, &champion, EVENT_PROMOTED, s, b, why);
    if (!rc)
        rc = tell(c, &challenger, &challenger, pass ? EVENT_PROMOTED : EVENT_ROLLED_BACK, s, b, why);
    if (!rc)
        log_event(pass ? LOG_INFO : LOG_WARN, pass ? "canary promoted" : "canary rolled back", "model",
                  c->model, "version", log_text("%lld", (long long)challenger.version), "text", c->reason,
                  NULL);
out:
    region_free(&mem);
    return rc;
}

int canaries_settle(struct canary *list, struct follower *f, const struct settings *s, struct batch *b,
                    struct fail *why)
{
    int rc = 0;
    for (struct canary *c = list; !rc && c; c = c->next) {
        if (!c->over && c->verdict == CANARY_BAKING)
            c->verdict =
                canary_judge(s, &c->challenger, &c->champion, (now_us() - c->began_us) / 1000, c->reason);
        if (c->over || c->told || c->verdict == CANARY_BAKING)
            continue;
        c->told = true;
        rc = publish_verdict(c, f, s, b, why);
    }
    return rc;
}

void canaries_rewind(struct canary *list)
{
    for (; list; list = list->next)
        list->told = false;
}

void canaries_trim(struct canary **list)
{
    while (*list) {
        struct canary *c = *list;
        if (c->over) {
            *list = c->next;
            free(c);
        } else {
            list = &c->next;
        }
    }
}

void canaries_free(struct canary **list)
{
    for (struct canary *c = *list; c; c = c->next)
        c->over = true;
    canaries_trim(list);
}
