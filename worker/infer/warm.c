/* What is in use, what is ready, and a lock around both. Next to read: router.c, which takes; models/follower.c, which prepares. */
#include "worker/infer/warm.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/backend_ops.h"
#include "worker/service/log.h"

enum { NAMES = 8, READY = 4 };

struct warm {
    struct backend *be;
    int max_rows;
    pthread_mutex_t lock; /* guards everything below */
    struct {
        char model[128];
        bool kinds[INTAKES];
    } names[NAMES]; /* those for which a net was taken last */
    int next_name;
    struct ready {
        struct model *model; /* NULL: free */
        enum intake_kind kind;
        struct net *net;
    } ready[READY];
    int next_ready; /* the one to be replaced next: of versions that nobody asked for */
};

int warm_open(struct warm **out, struct backend *be, int max_rows, struct fail *why)
{
    struct warm *w = calloc(1, sizeof *w);
    if (!w)
        return fail(why, E_MEMORY, "nets to be opened beside");
    w->be = be;
    w->max_rows = max_rows;
    pthread_mutex_init(&w->lock, NULL);
    *out = w;
    return 0;
}

static void ready_drop(struct ready *r)
{
    net_close(&r->net);
    model_release(&r->model);
}

void warm_close(struct warm **w)
{
    if (!*w)
        return;
    for (int i = 0; i < READY; i++)
        ready_drop(&(*w)->ready[i]);
    pthread_mutex_destroy(&(*w)->lock);
    free(*w);
    *w = NULL;
}

/* For half the rows, and half of those, as long as a device is short of memory: a batch then takes more passes. A host promises
 * more than it has and kills who believes it: there what does not fit at once is refused. */
static int open_net(const struct warm *w, const struct model *m, enum intake_kind kind, struct net **out,
                    struct fail *why)
{
    struct net_options o = {.mode = NET_INFER,
                            .max_rows = w->max_rows,
                            .seed = 1,
                            .bytes = kind == INTAKE_BYTES ? &m->normalise : NULL};
    int rc;
    while ((rc = net_open(out, w->be, m->graph, &o, why)) == -E_MEMORY && !w->be->ops->host &&
           o.max_rows > 1) {
        o.max_rows /= 2;
        log_event(LOG_WARN, "memory is short: half as many rows at once", "model", m->name, "rows",
                  log_text("%d", o.max_rows), "text", why->text, NULL);
    }
    return rc;
}

/* The lock is held. */
static int name_of(const struct warm *w, const char *model)
{
    for (int i = 0; i < NAMES; i++)
        if (strcmp(w->names[i].model, model) == 0)
            return i;
    return -1;
}

static void note(struct warm *w, const char *model, enum intake_kind kind)
{
    int i = name_of(w, model);
    if (i < 0) {
        i = w->next_name++ % NAMES;
        memset(&w->names[i], 0, sizeof w->names[i]);
        snprintf(w->names[i].model, sizeof w->names[i].model, "%s", model);
    }
    w->names[i].kinds[kind] = true;
}

static void put(struct warm *w, struct model *m, enum intake_kind kind, struct net *net)
{
    pthread_mutex_lock(&w->lock);
    struct ready *r = &w->ready[w->next_ready++ % READY], old = *r;
    *r = (struct ready){model_hold(m), kind, net};
    pthread_mutex_unlock(&w->lock);
    ready_drop(&old);
}

static bool same(const struct model *a, const struct model *b)
{
    return a->version == b->version && strcmp(a->name, b->name) == 0 && strcmp(a->sha256, b->sha256) == 0;
}

/* Takes out the net that is ready; NULL: none is. The lock is held. */
static struct net *take(struct warm *w, const struct model *m, enum intake_kind kind)
{
    for (struct ready *r = w->ready; r < w->ready + READY; r++)
        if (r->model && r->kind == kind && same(r->model, m)) {
            struct net *net = r->net;
            model_release(&r->model);
            r->net = NULL;
            return net;
        }
    return NULL;
}

void warm_prepare(void *warm, struct model *m)
{
    struct warm *w = warm;
    bool wanted[INTAKES] = {0};
    struct fail why;
    if (!w->be->ops->host) /* a device has one thread */
        return;
    pthread_mutex_lock(&w->lock);
    int i = name_of(w, m->name);
    if (i >= 0)
        memcpy(wanted, w->names[i].kinds, sizeof wanted);
    pthread_mutex_unlock(&w->lock);
    for (int k = 0; k < INTAKES; k++) {
        struct net *net = NULL;
        if (wanted[k] && open_net(w, m, (enum intake_kind)k, &net, &why) == 0)
            put(w, m, (enum intake_kind)k, net);
    }
}

int warm_take(struct warm *w, struct model *m, enum intake_kind kind, struct net **out, bool *beside,
              struct fail *why)
{
    pthread_mutex_lock(&w->lock);
    *out = take(w, m, kind);
    note(w, m->name, kind);
    pthread_mutex_unlock(&w->lock);
    *beside = *out != NULL;
    return *out ? 0 : open_net(w, m, kind, out, why);
}
