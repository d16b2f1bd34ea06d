/* Opens a session, runs its threads, and opens it again when it broke. Each thread's part is in a file of its
 * own: assignment.c (poller), kafka_source.c (work), committer.c. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/service/bug.h"
#include "worker/service/log.h"
#include "worker/stream/parts.h"
#include "worker/stream/reader.h"
#include "worker/stream/rights.h"

enum { CLOSE_MS = 3000, DESTROY_MS = 5000, LEAVE_MS = 300, ASK_MS = 5000, POLL_MS = 50 };
enum { PAUSE_MS = 1000, PAUSE_MOST_MS = 30000 }; /* between two attempts that were refused */
enum { REBUILDS = 5, REBUILD_WINDOW_S = 600, FENCES = 3, FENCE_WINDOW_S = 60 };

void session_break(struct session *s, const struct fail *reason)
{
    pthread_mutex_lock(&s->lock);
    if (!s->broken.code)
        s->broken = *reason;
    s->is_broken = true;
    pthread_cond_broadcast(&s->settled_changed);
    pthread_mutex_unlock(&s->lock);
    s->building = 0;
}

int session_broken(struct session *s, struct fail *why)
{
    pthread_mutex_lock(&s->lock);
    int rc = -(int)s->broken.code;
    if (rc)
        *why = s->broken;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static bool is_settled(const struct session *s)
{
    return s->settled == s->put;
}

bool session_wait_settled(struct session *s, int64_t until_us)
{
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
    pthread_mutex_lock(&s->lock);
    while (!is_settled(s) && !s->is_broken)
        if (pthread_cond_timedwait(&s->settled_changed, &s->lock, &until))
            break;
    bool yes = is_settled(s);
    pthread_mutex_unlock(&s->lock);
    return yes;
}

/* ---- the sink ---- */

static int sink_take_op(struct sink *base, struct batch **out, struct fail *why)
{
    struct kafka_sink *k = (struct kafka_sink *)base;
    struct session *s = k->session;
    *out = NULL;
    while (!*out) {
        if (*s->stop)
            return fail(why, E_INTERRUPTED, "asked to stop");
        int rc = session_broken(s, why);
        if (rc)
            return rc;
        *out = handoff_take(&k->free, now_us() + 100000);
    }
    return 0;
}

static int sink_put_op(struct sink *base, struct batch **b, struct fail *why)
{
    struct kafka_sink *k = (struct kafka_sink *)base;
    struct session *s = k->session;
    if (!(*b)->assignment) { /* never sealed: nothing to commit */
        batch_reset(*b);
        handoff_put(&k->free, b);
        return session_broken(s, why);
    }
    pthread_mutex_lock(&s->lock);
    s->put++;
    pthread_mutex_unlock(&s->lock);
    handoff_put(&s->sealed, b);
    return session_broken(s, why);
}

static int sink_wait_op(struct sink *base, struct fail *why)
{
    struct kafka_sink *k = (struct kafka_sink *)base;
    struct session *s = k->session;
    while (!session_wait_settled(s, now_us() + 500000)) {
        int rc = session_broken(s, why);
        if (rc)
            return rc;
    }
    pthread_mutex_lock(&s->lock);
    bool dropped = s->dropped > k->waited;
    k->waited = s->settled;
    pthread_mutex_unlock(&s->lock);
    return dropped ? fail(why, E_ABORT, "the transaction was aborted or its partitions were revoked") : 0;
}

static size_t sink_limit_op(struct sink *base, enum topic topic)
{
    return ((struct kafka_sink *)base)->session->tx.limits[topic];
}

static const struct sink_ops sink_ops = {sink_take_op, sink_put_op, sink_wait_op, sink_limit_op};

/* ---- opening ---- */

static void nap(atomic_bool *stop, int ms)
{
    struct timespec pause = {0, 50000000};
    for (; ms > 0 && !*stop; ms -= 50)
        nanosleep(&pause, NULL);
}

/* The topics of the role. One that a list of all leaves out is asked for by its name: it may be hidden. */
static int look_for_topics(struct session *s, struct fail *why)
{
    unsigned wanted = 1u << s->role->input | s->role->outputs | s->role->reads;
    char full[TOPIC_NAME];
    int rc = topics_look(s->settings, ASK_MS, s->tx.partitions, why);
    for (enum topic t = 0; !rc && t < TOPICS; t++)
        if (wanted & 1u << t && !s->tx.partitions[t])
            rc = topic_partitions(s->settings, topic_full_name(s->settings, t, full), ASK_MS,
                                  &s->tx.partitions[t], why);
    return rc;
}

/* Waits for a broker that has every topic. Refusals are not waited for. */
static int wait_for_topics(struct session *s, struct fail *why)
{
    char last[sizeof why->text] = "";
    while (!*s->stop) {
        int rc = look_for_topics(s, why);
        if (rc != -E_UNREACHABLE && rc != -E_FAILED)
            return rc;
        if (strcmp(last, why->text) != 0)
            log_event(LOG_WARN, "waiting for the broker", "role", s->role->name, "text", why->text, NULL);
        snprintf(last, sizeof last, "%s", why->text);
        nap(s->stop, 500);
    }
    return fail(why, E_INTERRUPTED, "stopped while waiting for the broker");
}

/* What the work reads besides its input it reads late: a right that is missing is found before. */
static int may_read(struct session *s, struct fail *why)
{
    struct fail what;
    for (enum topic t = 0; t < TOPICS; t++)
        if (s->role->reads & 1u << t && rights_read(s->settings, t, ASK_MS, &what) == -E_DENIED) {
            *why = what;
            return -E_DENIED;
        }
    return 0;
}

static int open_producer(struct session *s, struct fail *why)
{
    int rc = transactor_open(&s->tx, s->settings, s->transactional_id, s->watchdog, why);
    while (!rc) {
        if (!(rc = transactor_init(&s->tx, ASK_MS, why)))
            return 0;
        if (rc == -E_RETRY && !*s->stop) {
            log_event(LOG_WARN, "waiting for the transaction coordinator", "role", s->role->name, "text",
                      why->text, NULL);
            rc = 0;
        }
        if (*s->stop)
            rc = fail(why, E_INTERRUPTED, "stopped while opening");
    }
    return rc;
}

static int open_consumer(struct session *s, struct fail *why)
{
    const char *extra[] = {"group.id",
                           s->group,
                           "auto.offset.reset",
                           "error",
                           "enable.partition.eof",
                           "true",
                           "enable.auto.commit",
                           has_bug(auto_commit) ? "true" : "false",
                           "enable.auto.offset.store",
                           has_bug(auto_commit) ? "true" : "false",
                           "group.instance.id",
                           s->settings->worker_slot,
                           NULL};
    struct client template = {.owner = s, .rebalance = assignment_rebalance};
    if (s->settings->worker_membership == MEMBERSHIP_DYNAMIC)
        extra[10] = NULL;
    int rc = client_open(&s->consumer, s->settings, CLIENT_MEMBER, extra, &template, why);
    if (rc)
        return rc;
    rd_kafka_poll_set_consumer(s->consumer->rk);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, s->input, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t err = rd_kafka_subscribe(s->consumer->rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return err ? client_fail(s->consumer, err, why, "subscribe to %s", s->input) : 0;
}

static int open_batches(struct session *s, struct fail *why)
{
    s->batches = calloc((size_t)s->role->batches, sizeof *s->batches);
    if (!s->batches)
        return fail(why, E_MEMORY, "%d batches", s->role->batches);
    for (int i = 0; i < s->role->batches; i++) {
        struct batch *b = &s->batches[i];
        b->metrics = s->role->metrics;
        handoff_put(&s->sink.free, &b);
    }
    return 0;
}

const char *session_group(const struct settings *s, const struct session_role *role, char out[300])
{
    snprintf(out, 300, "%s.%s", s->worker_group, role->name);
    return out;
}

static void session_init(struct session *s, const struct settings *settings, const struct session_role *role,
                         atomic_bool *stop, struct watchdog *watchdog)
{
    pthread_condattr_t attr;
    s->settings = settings;
    s->role = role;
    s->stop = stop;
    s->watchdog = watchdog;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->settled_changed, &attr);
    pthread_condattr_destroy(&attr);
    handoff_open(&s->sealed);
    handoff_open(&s->sink.free);
    s->sink.base.ops = &sink_ops;
    s->sink.session = s;
    kafka_source_open(&s->source, s);
    topic_full_name(settings, role->input, s->input);
    session_group(settings, role, s->group);
    snprintf(s->transactional_id, sizeof s->transactional_id, "%s%s.%s", settings->topics_prefix,
             settings->worker_slot, role->name);
}

/* ---- closing ---- */

static void session_close(struct session *s)
{
    watchdog_arm(s->watchdog, "closing", DESTROY_MS);
    kafka_source_close(&s->source);
    assignment_release(&s->current);
    for (int i = 0; s->batches && i < s->role->batches; i++) {
        assignment_release(&s->batches[i].assignment);
        region_free(&s->batches[i].mem);
    }
    free(s->batches);
    lag_close(s);
    transactor_close(&s->tx);
    client_close(&s->consumer);
    handoff_free(&s->sealed);
    handoff_free(&s->sink.free);
    pthread_cond_destroy(&s->settled_changed);
    pthread_mutex_destroy(&s->lock);
    watchdog_disarm(s->watchdog);
}

/* ---- running ---- */

struct work {
    struct session *session;
    session_work *run;
    void *arg;
    atomic_bool done;
};

static void *work_main(void *arg)
{
    struct work *w = arg;
    struct session *s = w->session;
    struct fail why = {0};
    int rc = w->run(&s->source.base, &s->sink.base, w->arg, &why);
    if (rc && rc != -E_INTERRUPTED)
        session_break(s, &why);
    w->done = true;
    return NULL;
}

int session_fail_consumer(struct session *s, rd_kafka_resp_err_t err, struct fail *why, const char *doing)
{
    if (err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
        return client_fail_right(why, "group", s->group, "Read");
    if (client_wants_right(err))
        return client_fail_right(why, "topic", s->input, "Describe");
    return client_fail(s->consumer, err, why, "%s of %s", doing, s->input);
}

/* A record here was not forwarded: it would be lost, so everything is read again from what is committed. */
static void on_stray(struct session *s, const rd_kafka_message_t *m)
{
    struct fail why = {0};
    char text[300];
    if (!m->err) {
        log_event(LOG_WARN, "a record arrived outside its queue: rewinding", "role", s->role->name, NULL);
        s->building = s->valid = 0;
        s->rewind_wanted = true;
        return;
    }
    rd_kafka_resp_err_t err = m->err;
    if (err == RD_KAFKA_RESP_ERR__FATAL)
        err = rd_kafka_fatal_error(s->consumer->rk, text, sizeof text);
    int rc = session_fail_consumer(s, err, &why, "consumer");
    if (m->err == RD_KAFKA_RESP_ERR__FATAL && rc != -E_FENCED && rc != -E_DENIED)
        why.code = E_REBUILD;
    if (fail_class(why.code) == FAIL_REBUILD || why.code == E_DENIED)
        session_break(s, &why);
    else
        log_event(LOG_DEBUG, "consumer", "role", s->role->name, "text", why.text, NULL);
}

static void poll_until_end(struct session *s, struct work *w)
{
    struct fail why;
    while (!*s->stop && !s->is_broken && !w->done) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(s->consumer->rk, POLL_MS);
        if (m) {
            on_stray(s, m);
            rd_kafka_message_destroy(m);
        }
        if (client_refused(s->consumer, &why) || client_refused(s->tx.producer, &why))
            session_break(s, &why);
        assignment_rewind(s);
        refetch_poke(s);
        lag_tell(s);
    }
}

/* A dynamic member of a broken session says that it leaves: else its partitions wait for its session timeout until the next
 * session, a stranger to the group, gets them. Not longer than LEAVE_MS: the broker may be what broke. */
static void leave_dynamic(struct session *s)
{
    int64_t until_us = now_us() + LEAVE_MS * 1000;
    if (s->settings->worker_membership != MEMBERSHIP_DYNAMIC || rd_kafka_unsubscribe(s->consumer->rk))
        return;
    while (now_us() < until_us) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(s->consumer->rk, POLL_MS);
        if (m)
            rd_kafka_message_destroy(m);
    }
}

static int session_turn(struct session *s, session_work *run, void *arg, struct fail *why)
{
    struct work w = {.session = s, .run = run, .arg = arg};
    pthread_t work_thread;
    if (pthread_create(&s->committer_thread, NULL, committer_main, s))
        return fail(why, E_MEMORY, "no thread for the committer");
    if (pthread_create(&work_thread, NULL, work_main, &w)) {
        handoff_close(&s->sealed);
        pthread_join(s->committer_thread, NULL);
        return fail(why, E_MEMORY, "no thread for the work");
    }
    poll_until_end(s, &w);
    int64_t until_us = now_us() + CLOSE_MS * 1000;
    s->building = 0;
    s->tx.give_up_us = s->is_broken ? now_us() : until_us;
    pthread_join(work_thread, NULL);
    session_wait_settled(s, until_us);
    handoff_close(&s->sealed);
    pthread_join(s->committer_thread, NULL);
    s->valid = 0;
    if (!s->is_broken) {
        watchdog_arm(s->watchdog, "leaving the group", DESTROY_MS);
        rd_kafka_consumer_close(s->consumer->rk);
        watchdog_disarm(s->watchdog);
    } else if (!*s->stop) {
        leave_dynamic(s);
    }
    return session_broken(s, why);
}

/* What one session leaves to the next. */
struct life {
    bool cleared, has_run; /* as in struct session; has_run: any of them */
    int64_t refused_us;    /* since when each is refused; 0: the last one ran */
    int pause_ms;
};

/* Notes that something happened now; true when that is once too often within the window. */
static bool too_often(int64_t *times_us, int most, int64_t window_s)
{
    memmove(times_us + 1, times_us, (size_t)(most - 1) * sizeof *times_us);
    times_us[0] = now_us();
    return times_us[most - 1] && times_us[0] - times_us[most - 1] < window_s * 1000000;
}

/* What a broken session means: 0 to open it again. */
static int after_break(const struct session_role *role, int64_t *rebuilds_us, int64_t *fences_us,
                       struct fail *why)
{
    if (fail_class(why->code) != FAIL_REBUILD)
        return -(int)why->code;
    if (role->metrics)
        counter_add(&role->metrics->rebuilds[why->code], 1);
    log_event(LOG_WARN, "session is opened again", "role", role->name, "reason", fail_name(why->code), "text",
              why->text, NULL);
    if (why->code == E_FENCED && too_often(fences_us, FENCES, FENCE_WINDOW_S)) {
        why->code = E_SLOT_TAKEN;
        return fail_prefix(why, "fenced for the third time in %d s: another live worker owns this slot",
                           FENCE_WINDOW_S);
    }
    if (too_often(rebuilds_us, REBUILDS + 1, REBUILD_WINDOW_S)) {
        why->code = E_RESTART;
        return fail_prefix(why, "more than %d rebuilds in %d s", REBUILDS, REBUILD_WINDOW_S);
    }
    return 0;
}

/* A role has run once and is refused now: a password or a right is being changed, and whoever does that needs a while. 0: try
 * again. */
static int after_refusal(const struct settings *s, const struct session_role *role, struct life *life,
                         atomic_bool *stop, struct fail *why)
{
    if (!life->refused_us) {
        life->refused_us = now_us();
        life->pause_ms = PAUSE_MS;
    }
    int64_t for_s = (now_us() - life->refused_us) / 1000000;
    if (for_s >= s->worker_refused_s) {
        why->code = E_RESTART;
        return fail_prefix(why, "refused for %lld s", (long long)for_s);
    }
    log_event(LOG_WARN, "refused: trying again", "role", role->name, "pause_ms",
              log_text("%d", life->pause_ms), "text", why->text, NULL);
    nap(stop, life->pause_ms);
    life->pause_ms = 2 * life->pause_ms < PAUSE_MOST_MS ? 2 * life->pause_ms : PAUSE_MOST_MS;
    return 0;
}

static int session_once(const struct settings *settings, const struct session_role *role, session_work *work,
                        void *arg, atomic_bool *stop, struct watchdog *watchdog, struct life *life,
                        struct fail *why)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return fail(why, E_MEMORY, "a session");
    session_init(s, settings, role, stop, watchdog);
    s->cleared = life->cleared;
    metrics_wait(role->metrics, "waiting for the broker and its topics");
    int rc = wait_for_topics(s, why);
    if (!rc && !life->has_run)
        rc = may_read(s, why);
    if (!rc)
        rc = open_batches(s, why);
    if (!rc)
        rc = open_producer(s, why);
    if (!rc)
        rc = open_consumer(s, why);
    metrics_wait(role->metrics, "joining the group");
    if (!rc)
        rc = session_turn(s, work, arg, why);
    metrics_wait(role->metrics, "the session is closed");
    life->cleared = s->cleared;
    if (s->has_run) {
        life->has_run = true;
        life->refused_us = 0;
    }
    session_close(s);
    free(s);
    return rc;
}

int session_run(const struct settings *s, const struct session_role *role, session_work *work, void *arg,
                atomic_bool *stop, struct fail *why)
{
    int64_t rebuilds_us[REBUILDS + 1] = {0}, fences_us[FENCES] = {0};
    struct watchdog watchdog;
    struct life life = {0};
    int rc = watchdog_open(&watchdog, why);
    if (rc)
        return rc;
    do {
        rc = session_once(s, role, work, arg, stop, &watchdog, &life, why);
        if (rc == -E_INTERRUPTED && *stop)
            rc = 0;
        if (!rc)
            break;
        rc = rc == -E_DENIED && life.has_run ? after_refusal(s, role, &life, stop, why)
                                             : after_break(role, rebuilds_us, fences_us, why);
    } while (!rc && !*stop);
    watchdog_close(&watchdog);
    return rc;
}
