/* `worker`: the service. Takes the slot, opens what the roles need, runs a session for each role and ends with the code of the
 * first one that fails. What a role does: infer/runner.c, train/trainer.c. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "worker/commands/command.h"
#include "worker/commands/roles.h"
#include "worker/infer/runner.h"
#include "worker/models/store.h"
#include "worker/service/http.h"
#include "worker/service/log.h"
#include "worker/stream/payload.h"
#include "worker/stream/session.h"
#include "worker/train/trainer.h"

enum { READY_MS = 200, STOP_MS = 4500 };

/* What the roles share, and how each of them ended. */
struct service {
    const struct settings *settings;
    struct metrics *metrics;
    atomic_bool stop;
    atomic_int running;
    pthread_mutex_t lock;
    struct fail first; /* the first failure; code 0: none */
};

struct role {
    unsigned bit;
    int (*run)(struct service *sv, struct fail *why);
    pthread_t thread;
    struct service *service;
};

/* ---- the slot ---- */

static int make_folders(const char *path, struct fail *why)
{
    char part[512];
    if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
        return fail(why, E_CONFIG, "worker.state_dir: a path of %zu bytes", strlen(path));
    for (char *slash = part + 1;; slash++) {
        if (*slash && *slash != '/')
            continue;
        char old = *slash;
        *slash = 0;
        if (mkdir(part, 0777) && errno != EEXIST)
            return fail(why, E_CONFIG, "worker.state_dir: cannot make %s: %s", part, strerror(errno));
        if (!(*slash = old))
            return 0;
    }
}

/* Takes the lock of the slot for as long as the process lives. */
static int slot_take(const struct settings *s, struct fail *why)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", s->worker_state_dir, s->worker_slot);
    int rc = make_folders(path, why);
    if (rc)
        return rc;
    snprintf(path, sizeof path, "%s/%s/lock", s->worker_state_dir, s->worker_slot);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(why, E_CONFIG, "worker.state_dir: cannot open %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0; /* never closed: the lock goes with the process */
    close(fd);
    if (errno != EWOULDBLOCK)
        return fail(why, E_CONFIG, "cannot lock %s: %s", path, strerror(errno));
    return fail(why, E_SLOT_TAKEN,
                "another live worker owns slot %s (lock %s): give this one another worker.slot or state_dir",
                s->worker_slot, path);
}

/* ---- roles ---- */

/* What was in flight when the last process of this slot crashed, and the place where this one would leave its own. */
static int inflight_take(const struct settings *s, struct inflight **f, struct fail *why)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s/inflight", s->worker_state_dir, s->worker_slot);
    int rc = inflight_open(f, path, why);
    inflight_arm(*f);
    return rc;
}

static bool asked_to_stop(void *service)
{
    return ((struct service *)service)->stop;
}

/* A schema registry that is away is waited for where its answer is needed: here for the frames of what the role writes. One that
 * refuses us at the start ends the worker. */
static int framing_enter(struct service *sv, struct session_role *role, struct frame frames[TOPICS],
                         struct fail *why)
{
    const struct payload_wait wait = {{asked_to_stop, sv}, -1};
    int rc = framing_open(&role->framing, sv->settings, why);
    if (rc || !role->framing)
        return rc;
    metrics_wait(role->metrics, "waiting for the schema registry");
    rc = framing_ping(role->framing, why);
    if (rc == -E_DENIED || rc == -E_CONFIG)
        return rc;
    if (rc)
        log_event(LOG_WARN, "the schema registry does not answer yet", "role", role->name, "text", why->text,
                  NULL);
    return payload_frames(role->framing, sv->settings, role->outputs, &wait, frames, why);
}

static int infer_run(struct service *sv, struct fail *why)
{
    struct metrics *m = sv->metrics;
    struct session_role role = role_infer;
    const struct settings *s = sv->settings;
    struct frame frames[TOPICS] = {0};
    struct runner_options options = {.settings = s, .metrics = &m->inference, .frames = frames};
    struct backend_options engine = settings_engine(s, settings_threads(s, ROLE_INFER));
    struct backend *be = NULL;
    struct follower *follower = NULL;
    role.metrics = &m->infer;
    int rc = framing_enter(sv, &role, frames, why);
    if (!rc)
        rc = backend_open_with(&be, s->engine_backend, &engine, why);
    if (!rc)
        rc = inflight_take(s, &options.inflight, why);
    if (!rc)
        rc = follower_open(&follower, s, m, why);
    if (!rc)
        rc = router_open(&options.router, be, (int)s->batch_max_rows, follower, NULL, &m->inference, why);
    if (!rc)
        log_event(LOG_INFO, "engine", "backend", backend_describe(be), NULL);
    metrics_engine(m, be);
    metrics_wait(&m->infer, "reading the models topic to its end");
    while (!rc && !sv->stop && !follower_wait_ready(follower, READY_MS))
        rc = follower_denied(follower, why);
    if (!rc && !sv->stop) {
        log_event(LOG_INFO, "ready", "role", role.name, "slot", s->worker_slot, NULL);
        rc = session_run(s, &role, runner_work, &options, &sv->stop, why);
    }
    inflight_close(&options.inflight);
    router_close(&options.router);
    follower_close(&follower);
    metrics_engine(m, NULL);
    backend_close(&be);
    framing_close(&role.framing);
    return rc;
}

static int train_run(struct service *sv, struct fail *why)
{
    struct session_role role = role_train;
    /* Beside inference the device is the same one, and shown already. */
    bool infers = sv->settings->worker_roles & ROLE_INFER;
    struct train_options options = {sv->settings, infers ? NULL : sv->metrics};
    role.metrics = &sv->metrics->train;
    if (store_check(sv->settings->models_store, why)) {
        fail_prefix(why, "models.store");
        why->code = E_CONFIG; /* at the start only: a disk that fills up later fails jobs, not the worker */
        return -E_CONFIG;
    }
    struct frame frames[TOPICS] = {0}; /* what training writes is raw */
    int rc = framing_enter(sv, &role, frames, why);
    if (!rc) {
        log_event(LOG_INFO, "ready", "role", role.name, "slot", sv->settings->worker_slot, NULL);
        rc = session_run(sv->settings, &role, train_work, &options, &sv->stop, why);
    }
    framing_close(&role.framing);
    return rc;
}

/* The first reason stays. */
static void end_with(struct service *sv, const struct fail *why)
{
    pthread_mutex_lock(&sv->lock);
    if (!sv->first.code)
        sv->first = *why;
    pthread_mutex_unlock(&sv->lock);
    sv->stop = true;
}

static void *role_main(void *arg)
{
    struct role *r = arg;
    struct service *sv = r->service;
    struct fail why = {0};
    int rc = r->run(sv, &why);
    if (rc && !(rc == -E_INTERRUPTED && sv->stop))
        end_with(sv, &why); /* one role that cannot go on ends the worker */
    atomic_fetch_sub(&sv->running, 1);
    return NULL;
}

/* ---- the life of the process ---- */

static void wait_a_little(void)
{
    struct timespec t = {0, 20000000};
    nanosleep(&t, NULL); /* ends early on a signal */
}

/* Nothing is lost by leaving at once: what is not committed is read again by the next owner. */
static void leave_on_time(struct service *sv)
{
    for (int waited_ms = 0; sv->running > 0; waited_ms += 20) {
        if (waited_ms > STOP_MS) {
            log_event(LOG_WARN, "left before everything was closed", NULL);
            pthread_mutex_lock(&sv->lock); /* never given back: the first reason stays while it is said */
            if (sv->first.code)
                fprintf(stderr, "millrace: worker: %s\n", sv->first.text);
            _exit(fail_exit(sv->first.code));
        }
        wait_a_little();
    }
}

/* The figures over HTTP. The work does not depend on them: an address that is taken is a warning. */
static int window_open(struct service *sv, struct http **http, struct fail *why)
{
    const char *listen = sv->settings->http_listen;
    if (!*listen)
        return 0;
    int rc = http_open(http, listen, sv->metrics, why);
    if (!rc)
        log_event(LOG_INFO, "http listens", "address", http_address(*http), NULL);
    else if (rc != -E_CONFIG)
        log_event(LOG_WARN, "no /metrics, /healthz and /readyz", "text", why->text, NULL);
    return rc == -E_CONFIG ? rc : 0;
}

/* Starts a thread for each role that is set. */
static int roles_start(struct service *sv, struct role *roles, int count, struct fail *why)
{
    for (int i = 0; i < count; i++) {
        if (!(sv->settings->worker_roles & roles[i].bit))
            continue;
        roles[i].service = sv;
        atomic_fetch_add(&sv->running, 1);
        if (pthread_create(&roles[i].thread, NULL, role_main, &roles[i]))
            return fail(why, E_MEMORY, "no thread for a role");
    }
    return 0;
}

static int run(const struct context *cx, struct fail *why)
{
    struct role roles[] = {{.bit = ROLE_INFER, .run = infer_run}, {.bit = ROLE_TRAIN, .run = train_run}};
    struct service sv = {.settings = &cx->settings, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct http *http = NULL;
    int count = sizeof roles / sizeof roles[0];
    int rc = slot_take(&cx->settings, why);
    if (!rc)
        rc = metrics_open(&sv.metrics, why);
    if (rc)
        return rc;
    metrics_role(&sv.metrics->infer, cx->settings.worker_roles & ROLE_INFER ? "infer" : NULL);
    metrics_role(&sv.metrics->train, cx->settings.worker_roles & ROLE_TRAIN ? "train" : NULL);
    rc = window_open(&sv, &http, why);
    if (!rc)
        rc = roles_start(&sv, roles, count, why);
    if (rc)
        end_with(&sv, why);
    while (!command_stop && !sv.stop)
        wait_a_little();
    sv.stop = true;
    log_event(LOG_INFO, "stopping", NULL);
    leave_on_time(&sv);
    for (int i = 0; i < count; i++)
        if (roles[i].thread)
            pthread_join(roles[i].thread, NULL);
    http_close(&http);
    metrics_close(&sv.metrics);
    if (sv.first.code)
        *why = sv.first;
    else
        log_event(LOG_INFO, "stopped", NULL);
    return -(int)sv.first.code;
}

const struct command command_worker = {
    .name = "worker",
    .summary = "serves inference, trains, or both (worker.roles)",
    .text =
        "Waits for the broker for ever. SIGTERM: commits what is sealed within 3 s, leaves the rest to\n"
        "the next owner, exits 0 within 5 s. One worker a slot (worker.slot, the host's name by default):\n"
        "a second one on the same state_dir exits 78.",
    .needs_settings = true,
    .service = true,
    .run = run,
};
