/* A thread that reads the models topic into a registry and keeps the promoted models loaded. What the events mean is in
 * registry.c; who runs the models: infer/router.c. */
#include "worker/models/follower.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/models/registry.h"
#include "worker/service/log.h"
#include "worker/stream/reader.h"

enum { READ_MS = 25, ASK_MS = 1500, CACHED = 16 };

struct follower {
    const struct settings *settings;
    struct metrics *metrics; /* NULL: nobody counts */
    pthread_t thread;
    atomic_bool stop;
    atomic_uint_fast64_t changes;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t progress;
    struct registry *registry;
    bool ready;
    struct fail failed;       /* why the topic could not be read the last time; code 0: it could */
    uint64_t asked, answered; /* catch-up requests: answered ones were asked before the end was looked up */
    struct model *cache[CACHED]; /* most recently used first; NULL: free */
    pthread_mutex_t preparing;   /* held while `prepare` runs; guards the two */
    void (*prepare)(void *arg, struct model *m);
    void *prepare_arg;
};

/* ---- the cache of loaded models; the lock is held ---- */

static void cache_front(struct follower *f, int i, struct model *m)
{
    memmove(f->cache + 1, f->cache, (size_t)i * sizeof f->cache[0]);
    f->cache[0] = m;
}

static struct model *cache_find(struct follower *f, const struct model_version_event *v)
{
    for (int i = 0; i < CACHED && f->cache[i]; i++) {
        struct model *m = f->cache[i];
        if (m->version == v->version && strcmp(m->name, v->model) == 0 && strcmp(m->sha256, v->sha256) == 0) {
            cache_front(f, i, m);
            return model_hold(m);
        }
    }
    return NULL;
}

static void cache_add(struct follower *f, struct model *m)
{
    model_release(&f->cache[CACHED - 1]);
    cache_front(f, CACHED - 1, model_hold(m));
}

/* ---- the thread ---- */

static void prepare_model(struct follower *f, struct model *m)
{
    pthread_mutex_lock(&f->preparing);
    if (f->prepare)
        f->prepare(f->prepare_arg, m);
    pthread_mutex_unlock(&f->preparing);
}

/* Loads and prepares what an alias is about to mean: until the event is applied the version before serves, and no batch waits. */
static void preload(struct follower *f, struct span value)
{
    struct region mem = {0};
    struct model_version_event e;
    struct model *m = NULL;
    struct fail why;
    char spec[256], variant[102];
    if (model_version_event_decode(&e, value, &mem, &why) == 0 && e.alias[0] && e.traffic > 0) {
        snprintf(spec, sizeof spec, "%s@%lld", e.model, (long long)e.version);
        if (follower_find(f, text_span(spec), &m, variant, &why)) {
            log_event(LOG_ERROR, "a promoted model cannot be served", "model", spec, "alias", e.alias, "text",
                      why.text, NULL);
        } else {
            prepare_model(f, m);
            log_event(LOG_INFO, "model promoted", "model", m->name, "version",
                      log_text("%lld", (long long)m->version), "alias", e.alias, NULL);
        }
    }
    model_release(&m);
    region_free(&mem);
}

static void nap(void)
{
    struct timespec pause = {0, 200000000};
    nanosleep(&pause, NULL);
}

/* A record that was passed over for want of memory would make a model unknown for as long as the process lives: it is tried again. */
static int registry_take(struct follower *f, const struct record *r, struct fail *why)
{
    int rc;
    for (bool told = false;; told = true) {
        pthread_mutex_lock(&f->lock);
        rc = registry_apply_record(f->registry, r, why);
        pthread_mutex_unlock(&f->lock);
        if (rc != -E_MEMORY || f->stop)
            return rc;
        if (!told)
            log_event(LOG_WARN, "no memory for a record of the models topic: trying again", "text", why->text,
                      NULL);
        nap();
    }
}

static void apply(struct follower *f, const struct record *r)
{
    struct fail why;
    if (f->ready && r->value.data)
        preload(f, r->value);
    int rc = registry_take(f, r, &why);
    atomic_fetch_add(&f->changes, 1);
    if (rc)
        log_event(LOG_WARN, "a record of the models topic is passed over", "offset",
                  log_text("%lld", (long long)r->offset), "text", why.text, NULL);
}

/* At the end of what has been read: answers the catch-up requests that were made before the end was asked for. */
static int at_end(struct follower *f, struct reader *r, struct fail *why)
{
    bool caught_up = false;
    pthread_mutex_lock(&f->lock);
    uint64_t asked = f->asked;
    bool wanted = !f->ready || asked != f->answered;
    pthread_mutex_unlock(&f->lock);
    if (!wanted)
        return 0;
    int rc = reader_caught_up(r, ASK_MS, &caught_up, why);
    if (rc || !caught_up)
        return rc;
    pthread_mutex_lock(&f->lock);
    f->ready = true;
    f->answered = asked;
    pthread_cond_broadcast(&f->progress);
    pthread_mutex_unlock(&f->lock);
    return 0;
}

/* Reads until the process stops or the reader fails. */
static int follow(struct follower *f, struct fail *why)
{
    char topic[TOPIC_NAME];
    struct reader *r = NULL;
    struct record record;
    int rc = reader_open(&r, f->settings, topic_full_name(f->settings, TOPIC_MODELS, topic), NULL, 0,
                         READER_BEGINNING, ASK_MS, why);
    while (rc >= 0 && !f->stop) {
        rc = reader_next(r, &record, READ_MS, why);
        if (rc == SOURCE_RECORD)
            apply(f, &record);
        else if (rc >= 0)
            rc = at_end(f, r, why);
        if (rc == -E_UNREACHABLE) /* the reader itself waits for a lost broker */
            rc = 0;
    }
    reader_close(&r);
    return rc < 0 ? rc : 0;
}

static void *follower_main(void *arg)
{
    struct follower *f = arg;
    struct fail why;
    char last[sizeof why.text] = "";
    while (!f->stop) {
        if (follow(f, &why) == 0)
            continue;
        pthread_mutex_lock(&f->lock);
        f->failed = why;
        pthread_mutex_unlock(&f->lock);
        if (strcmp(last, why.text) != 0)
            log_event(LOG_WARN, "waiting for the models topic", "text", why.text, NULL);
        snprintf(last, sizeof last, "%s", why.text);
        nap();
    }
    return NULL;
}

int follower_open(struct follower **out, const struct settings *s, struct metrics *m, struct fail *why)
{
    pthread_condattr_t attr;
    struct follower *f = calloc(1, sizeof *f);
    if (!f)
        return fail(why, E_MEMORY, "a follower");
    f->settings = s;
    f->metrics = m;
    int rc = registry_new(&f->registry, why);
    if (rc) {
        free(f);
        return rc;
    }
    pthread_mutex_init(&f->lock, NULL);
    pthread_mutex_init(&f->preparing, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->progress, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&f->thread, NULL, follower_main, f)) {
        registry_free(&f->registry);
        free(f);
        return fail(why, E_MEMORY, "no thread for the follower");
    }
    *out = f;
    return 0;
}

void follower_close(struct follower **follower)
{
    struct follower *f = *follower;
    if (!f)
        return;
    f->stop = true;
    pthread_join(f->thread, NULL);
    for (int i = 0; i < CACHED; i++)
        model_release(&f->cache[i]);
    registry_free(&f->registry);
    pthread_cond_destroy(&f->progress);
    pthread_mutex_destroy(&f->lock);
    pthread_mutex_destroy(&f->preparing);
    free(f);
    *follower = NULL;
}

/* ---- questions ---- */

void follower_prepare(struct follower *f, void (*prepare)(void *arg, struct model *m), void *arg)
{
    pthread_mutex_lock(&f->preparing);
    f->prepare = prepare;
    f->prepare_arg = arg;
    pthread_mutex_unlock(&f->preparing);
}

static struct timespec deadline(int timeout_ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

bool follower_wait_ready(struct follower *f, int timeout_ms)
{
    struct timespec until = deadline(timeout_ms);
    pthread_mutex_lock(&f->lock);
    while (!f->ready)
        if (pthread_cond_timedwait(&f->progress, &f->lock, &until))
            break;
    bool ready = f->ready;
    pthread_mutex_unlock(&f->lock);
    return ready;
}

int follower_denied(struct follower *f, struct fail *why)
{
    pthread_mutex_lock(&f->lock);
    int rc = f->failed.code == E_DENIED ? -E_DENIED : 0;
    if (rc)
        *why = f->failed;
    pthread_mutex_unlock(&f->lock);
    return rc;
}

int follower_catch_up(struct follower *f, int timeout_ms, struct fail *why)
{
    struct timespec until = deadline(timeout_ms);
    pthread_mutex_lock(&f->lock);
    uint64_t mine = ++f->asked;
    while (f->answered < mine)
        if (pthread_cond_timedwait(&f->progress, &f->lock, &until))
            break;
    bool yes = f->answered >= mine;
    pthread_mutex_unlock(&f->lock);
    return yes ? 0
               : fail(why, E_RETRY, "the models topic could not be read to its end within %d ms", timeout_ms);
}

uint64_t follower_changes(struct follower *f)
{
    return f->changes;
}

/* The version's event must outlive the lock: what loading needs is copied. */
static int copy_event(struct model_version_event *to, const struct model_version_event *from,
                      struct region *mem)
{
    *to = *from;
    to->model = region_copy(mem, from->model, strlen(from->model));
    to->artifact_uri = region_copy(mem, from->artifact_uri, strlen(from->artifact_uri));
    to->format = region_copy(mem, from->format, strlen(from->format));
    to->sha256 = region_copy(mem, from->sha256, strlen(from->sha256));
    return to->model && to->artifact_uri && to->format && to->sha256 ? 0 : -1;
}

int follower_find(struct follower *f, struct span spec, struct model **out, char variant[102],
                  struct fail *why)
{
    const struct model_version_event *found;
    struct model_version_event version;
    struct region mem = {0};
    const char *name;
    *out = NULL;
    pthread_mutex_lock(&f->lock);
    int rc = registry_resolve(f->registry, spec, &found, &name, why);
    if (!rc) {
        snprintf(variant, 102, "%s", name);
        *out = cache_find(f, found);
        if (!*out && copy_event(&version, found, &mem))
            rc = fail(why, E_MEMORY, "a version's event");
    }
    pthread_mutex_unlock(&f->lock);
    if (rc || *out)
        goto out;
    rc = model_load(out, f->settings->models_store, &version, why);
    if (f->metrics)
        counter_add(rc ? &f->metrics->model_load_failures : &f->metrics->model_loads, 1);
    if (rc && rc != -E_IO && rc != -E_MEMORY) {
        rc = -E_FILE;
        why->code = E_FILE;
    }
    if (rc)
        goto out;
    pthread_mutex_lock(&f->lock);
    cache_add(f, *out);
    pthread_mutex_unlock(&f->lock);
out:
    region_free(&mem);
    return rc;
}

int follower_alias(struct follower *f, const char *model, const char *alias, struct model_version_event *out,
                   struct region *mem, struct fail *why)
{
    struct bytes copy = {0};
    int rc = 0;
    pthread_mutex_lock(&f->lock);
    const struct model_version_event *found = registry_alias(f->registry, model, alias);
    if (found)
        model_version_event_encode(&copy, found);
    else
        rc = fail(why, E_UNKNOWN_MODEL, "%s has no alias %s", model, alias);
    pthread_mutex_unlock(&f->lock);
    if (!rc && copy.failed)
        rc = fail(why, E_MEMORY, "an alias's event");
    if (!rc)
        rc = model_version_event_decode(out, (struct span){(const char *)copy.data, copy.size}, mem, why);
    bytes_free(&copy);
    return rc;
}
