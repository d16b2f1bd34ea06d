/* Resolves names to open nets. What the names mean is models/follower.h's affair; what is done with the nets: runner.c. */
#include "worker/infer/router.h"

#include <stdlib.h>
#include <string.h>

#include "worker/codec/model_spec.h"
#include "worker/infer/explain.h"
#include "worker/service/log.h"
#include "worker/stream/clock.h"

enum { NETS = 32, KEPT = 8, NAMES = 32, SPEC = 256, CATCH_UP_MS = 5000, REPAIR_MS = 2000 };

/* One of those who may answer to a name. */
struct responder {
    struct served *served; /* NULL: there is none */
    struct model_metrics *metrics;
    double share; /* of the keys */
    char variant[102];
};

enum { MAIN, CHALLENGER, SHADOW, TARGETS };

/* What a name meant at the follower's change count; good while that stands. */
struct meaning {
    char spec[SPEC];
    size_t size;
    uint64_t changes;
    struct responder targets[TARGETS]; /* MAIN served NULL: unknown */
    struct canary *canary;             /* NULL: there is no challenger */
    int64_t looked_ms;                 /* unknown: everything stable at this time had been read */
    int64_t repair_ms; /* one of them is broken: when the artefact is looked at again; 0: not so */
    struct fail unknown;
};

struct router {
    struct backend *be;
    struct warm *warm;
    int max_rows;
    struct follower *follower;
    struct infer_metrics *metrics;
    struct model *fixed;
    struct served nets[NETS]; /* model NULL: free */
    struct meaning names[NAMES];
    int next_name; /* the one to be replaced next */
    struct canary *canaries;
    int64_t clock;
};

int router_open(struct router **out, struct backend *be, int max_rows, struct follower *follower,
                struct model *fixed, struct infer_metrics *metrics, struct fail *why)
{
    struct router *r = calloc(1, sizeof *r);
    int rc = r ? warm_open(&r->warm, be, max_rows, why) : fail(why, E_MEMORY, "a router");
    if (rc) {
        free(r);
        return rc;
    }
    r->be = be;
    r->max_rows = max_rows;
    r->follower = follower;
    r->metrics = metrics;
    r->fixed = model_hold(fixed);
    if (follower)
        follower_prepare(follower, warm_prepare, r->warm);
    *out = r;
    return 0;
}

static void served_close(struct served *s)
{
    explainer_close(&s->explainer);
    for (int k = 0; k < INTAKES; k++) {
        net_close(&s->intakes[k].net);
        free(s->intakes[k].places);
    }
    model_release(&s->model);
    *s = (struct served){0};
}

void router_close(struct router **r)
{
    if (!*r)
        return;
    if ((*r)->follower)
        follower_prepare((*r)->follower, NULL, NULL);
    warm_close(&(*r)->warm);
    for (int i = 0; i < NETS; i++)
        served_close(&(*r)->nets[i]);
    model_release(&(*r)->fixed);
    canaries_free(&(*r)->canaries);
    free(*r);
    *r = NULL;
}

/* The net for rows of this kind, opened when there is none yet. */
static int intake_open(struct served *s, enum intake_kind kind, struct fail *why)
{
    struct intake *in = &s->intakes[kind];
    struct model *m = s->model;
    bool beside;
    if (in->net)
        return 0;
    if (!in->places && !(in->places = calloc((size_t)s->max_rows, sizeof *in->places)))
        return fail(why, E_MEMORY, "a net for %d rows", s->max_rows);
    int rc = warm_take(s->warm, m, kind, &in->net, &beside, why);
    if (rc)
        return fail_prefix(why, "%s@%lld", m->name, (long long)m->version);
    log_event(LOG_INFO, "net opened", "model", m->name, "version", log_text("%lld", (long long)m->version),
              "rows", kind == INTAKE_BYTES ? "bytes" : "floats", "beside", beside ? "yes" : "no", NULL);
    return 0;
}

/* Opens the model in a free place; takes no reference of the caller's. */
static int served_open(struct router *r, struct model *m, enum intake_kind kind, struct served **out,
                       struct fail *why)
{
    struct served *s = r->nets;
    while (s < r->nets + NETS && s->model)
        s++;
    if (s == r->nets + NETS)
        return fail(why, E_FAILED, "%d nets are in use at once", NETS); /* router_is_full was not asked */
    s->max_rows = r->max_rows;
    s->be = r->be;
    s->warm = r->warm;
    s->inputs = shape_size(m->graph->input);
    s->outputs = shape_size(graph_output(m->graph));
    s->model = model_hold(m);
    int rc = intake_open(s, kind, why);
    if (rc)
        served_close(s);
    else
        *out = s;
    return rc;
}

static int served_find(struct router *r, struct model *m, enum intake_kind kind, struct served **out,
                       struct fail *why)
{
    for (struct served *s = r->nets; s < r->nets + NETS; s++)
        if (s->model && s->model->version == m->version && strcmp(s->model->name, m->name) == 0 &&
            strcmp(s->model->sha256, m->sha256) == 0) {
            *out = s;
            return intake_open(s, kind, why);
        }
    return served_open(r, m, kind, out, why);
}

/* The version is there but cannot be served here: for the request that is an unknown model. Reading a large broken file
 * for every record would hold up the others, so that is done now and then. */
static int broken(struct meaning *n, struct fail *why)
{
    if (strcmp(n->unknown.text, why->text) != 0)
        log_event(LOG_ERROR, "a model cannot be served", "text", why->text, NULL);
    n->looked_ms = n->repair_ms = clock_ms() + REPAIR_MS;
    why->code = E_UNKNOWN_MODEL;
    return -E_UNKNOWN_MODEL;
}

/* The model and its net. Memory may be short for a moment, and a verdict on that would stay: it is tried once more. */
static int serve(struct router *r, struct span spec, enum intake_kind kind, struct responder *t,
                 struct fail *why)
{
    int rc = -E_MEMORY;
    for (int attempt = 0; attempt < 2 && rc == -E_MEMORY; attempt++) {
        struct model *m = NULL;
        rc = follower_find(r->follower, spec, &m, t->variant, why);
        if (!rc)
            rc = served_find(r, m, kind, &t->served, why);
        if (!rc)
            t->metrics = metrics_model(r->metrics, m->name, m->version, t->variant);
        model_release(&m);
    }
    return rc;
}

/* An alias whose version is broken: what it meant before serves on until the artefact is looked at again. */
static int serve_previous(struct router *r, struct span spec, enum intake_kind kind, struct responder *t,
                          struct fail *why)
{
    struct model_spec asked;
    struct model_version_event e;
    struct region mem = {0};
    char name[128], alias[102] = "champion", before[SPEC];
    int rc = model_spec_parse(&asked, spec, why);
    if (rc || asked.version)
        return -E_UNKNOWN_MODEL;
    snprintf(name, sizeof name, "%.*s", (int)asked.name.size, asked.name.data);
    if (asked.alias.data)
        snprintf(alias, sizeof alias, "%.*s", (int)asked.alias.size, asked.alias.data);
    rc = follower_alias(r->follower, name, alias, &e, &mem, why);
    if (!rc && !e.previous_version)
        rc = -E_UNKNOWN_MODEL;
    snprintf(before, sizeof before, "%s@%lld", name, rc ? 0LL : (long long)e.previous_version);
    if (!rc)
        rc = serve(r, text_span(before), kind, t, why);
    if (!rc) {
        snprintf(t->variant, sizeof t->variant, "%s", alias);
        t->metrics = metrics_model(r->metrics, name, e.previous_version, alias);
    }
    region_free(&mem);
    return rc;
}

static struct meaning *meaning_of(struct router *r, struct span spec)
{
    for (struct meaning *n = r->names; n < r->names + NAMES; n++)
        if (n->size == spec.size && n->size && memcmp(n->spec, spec.data, n->size) == 0)
            return n;
    return NULL;
}

static struct meaning *meaning_new(struct router *r, struct span spec)
{
    struct meaning *n = &r->names[r->next_name++ % NAMES];
    *n = (struct meaning){.size = spec.size};
    memcpy(n->spec, spec.data, spec.size);
    return n;
}

/* Who else answers to the bare name: `alias`, and its newest event. Nobody, where it is the champion's version or cannot be
 * served: that is said, and tried again later. */
static bool serve_beside(struct router *r, struct meaning *n, enum intake_kind kind, int which,
                         const char *alias, struct model_version_event *e, struct region *mem)
{
    struct responder *t = &n->targets[which];
    const struct model *champion = n->targets[MAIN].served->model;
    struct fail why = {0};
    char spec[SPEC];
    int rc = follower_alias(r->follower, champion->name, alias, e, mem, &why);
    if (rc == -E_UNKNOWN_MODEL || (!rc && (e->traffic <= 0 || e->version == champion->version)))
        return false;
    snprintf(spec, sizeof spec, "%s@%s", champion->name, alias);
    if (!rc)
        rc = serve(r, text_span(spec), kind, t, &why);
    if (!rc) {
        t->share = e->traffic;
        return true;
    }
    log_event(LOG_ERROR, "a model cannot be served", "model", spec, "text", why.text, NULL);
    n->repair_ms = clock_ms() + REPAIR_MS;
    return false;
}

static void resolve_beside(struct router *r, struct meaning *n, enum intake_kind kind)
{
    const struct model *champion = n->targets[MAIN].served->model;
    struct model_version_event e;
    struct region mem = {0};
    if (memchr(n->spec, '@', n->size))
        return;
    if (serve_beside(r, n, kind, CHALLENGER, "challenger", &e, &mem))
        n->canary = canaries_find(&r->canaries, &e, champion->version);
    else if (!n->repair_ms)
        canaries_end(r->canaries, champion->name);
    serve_beside(r, n, kind, SHADOW, "shadow", &e, &mem);
    region_free(&mem);
}

/* Asks the follower; when it does not know, once more after it has caught up. */
static int resolve(struct router *r, struct span spec, enum intake_kind kind, struct meaning *n,
                   struct fail *why)
{
    struct responder *main = n->targets;
    memset(n->targets, 0, sizeof n->targets);
    n->canary = NULL;
    n->repair_ms = 0;
    n->changes = follower_changes(r->follower);
    struct fail other;
    int rc = serve(r, spec, kind, main, why);
    if (rc == -E_UNKNOWN_MODEL) {
        n->looked_ms = clock_ms();
        rc = follower_catch_up(r->follower, CATCH_UP_MS, why);
        if (!rc) {
            n->changes = follower_changes(r->follower);
            rc = serve(r, spec, kind, main, why);
        }
    }
    if (rc == -E_UNSUPPORTED || rc == -E_NETWORK || rc == -E_FILE || rc == -E_MEMORY)
        rc = broken(n, why); /* too large for this machine as well: the other models are served on */
    if (n->repair_ms && serve_previous(r, spec, kind, main, &other) == 0)
        rc = 0;
    if (rc == -E_UNKNOWN_MODEL)
        n->unknown = *why;
    else if (rc)
        n->size = 0; /* nothing is known: forget the name */
    else
        resolve_beside(r, n, kind);
    return rc;
}

/* Which of those who may answer to a name does, for this key. */
static void choose(const struct meaning *n, struct span key, struct span id, struct route *out)
{
    const struct responder *main = &n->targets[MAIN], *t = main, *shadow = &n->targets[SHADOW];
    struct canary *c = n->canary;
    if (n->targets[CHALLENGER].served || shadow->served) {
        double place = canary_place(main->served->model->name, key, id);
        if (place < n->targets[CHALLENGER].share && c && c->verdict != CANARY_BREACH)
            t = &n->targets[CHALLENGER];
        if (place >= 1 - shadow->share) {
            out->shadow = shadow->served;
            out->shadow_metrics = shadow->metrics;
        }
    }
    out->served = t->served;
    out->variant = t->variant;
    out->metrics = t->metrics;
    out->side = !c ? NULL : t == main ? &c->champion : &c->challenger;
}

static int find_meaning(struct router *r, struct span spec, enum intake_kind kind, int64_t timestamp_ms,
                        struct meaning **out, struct fail *why)
{
    struct meaning *n = meaning_of(r, spec);
    bool fresh =
        n && n->changes == follower_changes(r->follower) && (!n->repair_ms || clock_ms() < n->repair_ms);
    *out = n = n ? n : meaning_new(r, spec);
    if (!fresh || (!n->targets[MAIN].served && timestamp_ms > n->looked_ms))
        return resolve(r, spec, kind, n, why);
    if (n->targets[MAIN].served)
        return 0;
    *why = n->unknown;
    return -E_UNKNOWN_MODEL;
}

/* Rows of a kind that had not come yet. Who cannot have a net for them is not known for such rows. */
static int route_ready(struct route *out, enum intake_kind kind, struct fail *why)
{
    struct fail ignored; /* the shadow's */
    if (out->shadow && intake_open(out->shadow, kind, &ignored))
        out->shadow = NULL;
    if (!intake_open(out->served, kind, why))
        return 0;
    why->code = E_UNKNOWN_MODEL;
    return -E_UNKNOWN_MODEL;
}

int router_find(struct router *r, struct span spec, enum intake_kind kind, const struct record *record,
                struct span id, struct route *out, struct fail *why)
{
    static const char champion[] = "champion";
    struct meaning *n = NULL;
    *out = (struct route){.variant = champion};
    if (!r->fixed && (spec.size == 0 || spec.size >= SPEC))
        return fail(why, E_BAD_REQUEST, "model: a name of %zu bytes", spec.size);
    int rc = r->fixed ? served_find(r, r->fixed, kind, &out->served, why)
                      : find_meaning(r, spec, kind, record->timestamp_ms, &n, why);
    if (rc)
        return rc;
    if (!r->fixed) {
        choose(n, record->key, id, out);
        rc = route_ready(out, kind, why);
    }
    out->served->used = ++r->clock;
    if (out->shadow)
        out->shadow->used = ++r->clock;
    return rc;
}

int router_judge(struct router *r, const struct settings *s, struct batch *b, struct fail *why)
{
    return canaries_settle(r->canaries, r->follower, s, b, why);
}

int router_each_filled(struct router *r,
                       int (*visit)(void *arg, struct served *s, struct intake *in, struct fail *why),
                       void *arg, struct fail *why)
{
    int rc = 0;
    for (struct served *s = r->nets; s < r->nets + NETS; s++)
        for (int k = 0; !rc && k < INTAKES; k++)
            if (s->intakes[k].rows)
                rc = visit(arg, s, &s->intakes[k], why);
    return rc;
}

bool router_is_full(const struct router *r)
{
    int free = 0;
    for (int i = 0; i < NETS; i++)
        free += !r->nets[i].model;
    return free < TARGETS;
}

void router_rewind(struct router *r)
{
    canaries_rewind(r->canaries);
    for (int i = 0; i < NETS; i++)
        for (int k = 0; k < INTAKES; k++)
            r->nets[i].intakes[k].rows = 0;
}

static void forget(struct router *r, const struct served *s)
{
    for (int i = 0; i < NAMES; i++)
        for (int k = 0; k < TARGETS; k++)
            if (r->names[i].targets[k].served == s)
                r->names[i].size = 0;
}

void router_trim(struct router *r)
{
    canaries_trim(&r->canaries);
    for (;;) {
        struct served *oldest = NULL;
        int open = 0;
        for (struct served *s = r->nets; s < r->nets + NETS; s++)
            if (s->model && ++open && (!oldest || s->used < oldest->used))
                oldest = s;
        if (open <= KEPT)
            return;
        forget(r, oldest);
        served_close(oldest);
    }
}
