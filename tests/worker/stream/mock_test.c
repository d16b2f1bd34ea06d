/* Each error of a transaction call, injected into librdkafka's mock cluster: the class that worker/stream gives it shows in
 * its counters and in what session_run returns, and the stream goes on: every input is answered, at least once. Exactly once
 * cannot be asked of the mock: it shows aborted records to readers, drops transactional offsets and never fences; that is for
 * a real broker (exactly_once_test.c, tests/torture, tests/teeth). Every case is a process of its own, twelve side by side. */
#include "worker/stream/session.h"

#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/process.h"
#include "tests/worker/stream/echo.h"
#include "worker/service/settings.h"
#include "worker/stream/clock.h"

#undef fail
#include <cmocka.h>

enum { RECORDS = 60, PARTITIONS = 2, LIMIT_MS = 60000, SIDE_BY_SIDE = 12, BROKER = 1, MOST = 8 };

/* Kafka's numbers of the requests. */
enum api {
    PRODUCE = 0,
    FIND_COORDINATOR = 10,
    OFFSET_FETCH = 9,
    INIT_PRODUCER_ID = 22,
    ADD_PARTITIONS = 24,
    ADD_OFFSETS = 25,
    END_TXN = 26,
    TXN_OFFSET_COMMIT = 28
};

/* What an error must lead to. */
enum outcome {
    INSIDE, /* librdkafka repeats the request: nobody sees it */
    CALLED_AGAIN, /* as INSIDE, but where it took so long that the call was repeated: a new producer behind the transaction */
    ABORTED,         /* one transaction aborted, nothing opened anew */
    ABORTED_REBUILT, /* one transaction aborted, then as REBUILT */
    REBUILT,         /* new producer and consumer, once */
    FENCED,          /* the same, counted as a fence */
    ENDS,            /* session_run returns `code` */
    EXITS            /* the process ends with `code` */
};

enum fault {
    ERRORS,
    FIRST, /* errors for the session's first transaction, of which nothing stays; the others are for those behind it */
    LATE,       /* the answer comes after `times` ms */
    LATE_ABORT, /* the error, and the abort that follows is answered late */
    STRAYS,     /* partitions are not forwarded at first: records come out of consumer_poll */
    HANGS,      /* no call: they are below */
    HANGS_INIT, /* calls of librdkafka that do not return */
    HANGS_OFFSETS,
    HANGS_COMMIT,
    HANGS_ABORT
};

static const struct scene {
    const char *name;
    enum api api;
    rd_kafka_resp_err_t error;
    int times; /* in a row */
    enum outcome outcome;
    int code;
    enum fault fault;
} scenes[] = {
#define ERR(x) RD_KAFKA_RESP_ERR_##x
    /* streaming.md, "Errors of the transaction calls" */
    {"InitProducerId: coordinator loads", INIT_PRODUCER_ID, ERR(COORDINATOR_LOAD_IN_PROGRESS), 2, INSIDE, 0,
     ERRORS},
    {"InitProducerId: concurrent transactions", INIT_PRODUCER_ID, ERR(CONCURRENT_TRANSACTIONS), 2, INSIDE, 0,
     ERRORS},
    {"InitProducerId: refused", INIT_PRODUCER_ID, ERR(TRANSACTIONAL_ID_AUTHORIZATION_FAILED), 1, ENDS,
     E_DENIED, ERRORS},
    {"InitProducerId: timeout too long", INIT_PRODUCER_ID, ERR(INVALID_TRANSACTION_TIMEOUT), 1, ENDS,
     E_CONFIG, ERRORS},
    {"AddPartitionsToTxn: refused", ADD_PARTITIONS, ERR(TOPIC_AUTHORIZATION_FAILED), MOST, ENDS, E_RESTART,
     ERRORS},
    {"AddPartitionsToTxn: producer id forgotten", ADD_PARTITIONS, ERR(INVALID_PRODUCER_ID_MAPPING), 1,
     ABORTED, 0, ERRORS},
    {"AddPartitionsToTxn: fenced", ADD_PARTITIONS, ERR(INVALID_PRODUCER_EPOCH), 1, FENCED, 0, ERRORS},
    {"AddPartitionsToTxn: wrong state", ADD_PARTITIONS, ERR(INVALID_TXN_STATE), 1, REBUILT, 0, ERRORS},
    {"AddPartitionsToTxn: coordinator moved", ADD_PARTITIONS, ERR(NOT_COORDINATOR), 2, CALLED_AGAIN, 0,
     ERRORS},
    {"AddPartitionsToTxn: concurrent transactions", ADD_PARTITIONS, ERR(CONCURRENT_TRANSACTIONS), 3, INSIDE,
     0, ERRORS},
    {"Produce: too large", PRODUCE, ERR(MSG_SIZE_TOO_LARGE), 1, ABORTED, 0, ERRORS},
    {"Produce: fenced", PRODUCE, ERR(INVALID_PRODUCER_EPOCH), 1, FENCED, 0, ERRORS},
    {"Produce: out of order", PRODUCE, ERR(OUT_OF_ORDER_SEQUENCE_NUMBER), 1, REBUILT, 0, ERRORS},
    {"Produce: leader moved", PRODUCE, ERR(NOT_LEADER_FOR_PARTITION), 2, INSIDE, 0, ERRORS},
    {"Produce: too few replicas", PRODUCE, ERR(NOT_ENOUGH_REPLICAS), 2, INSIDE, 0, ERRORS},
    {"AddOffsetsToTxn: coordinator moved", ADD_OFFSETS, ERR(NOT_COORDINATOR), 2, CALLED_AGAIN, 0, ERRORS},
    {"AddOffsetsToTxn: fenced", ADD_OFFSETS, ERR(INVALID_PRODUCER_EPOCH), 1, FENCED, 0, ERRORS},
    {"AddOffsetsToTxn: group refused", ADD_OFFSETS, ERR(GROUP_AUTHORIZATION_FAILED), 1, ENDS, E_RESTART,
     ERRORS},
    {"TxnOffsetCommit: old generation", TXN_OFFSET_COMMIT, ERR(ILLEGAL_GENERATION), 1, ABORTED, 0, ERRORS},
    {"TxnOffsetCommit: unknown member", TXN_OFFSET_COMMIT, ERR(UNKNOWN_MEMBER_ID), 1, ABORTED, 0, ERRORS},
    {"TxnOffsetCommit: another instance", TXN_OFFSET_COMMIT, ERR(FENCED_INSTANCE_ID), 1, FENCED, 0, ERRORS},
    {"TxnOffsetCommit: rebalance", TXN_OFFSET_COMMIT, ERR(REBALANCE_IN_PROGRESS), 1, ABORTED, 0, ERRORS},
    {"TxnOffsetCommit: coordinator loads", TXN_OFFSET_COMMIT, ERR(COORDINATOR_LOAD_IN_PROGRESS), 2, INSIDE, 0,
     ERRORS},
    {"EndTxn: producer id unknown", END_TXN, ERR(UNKNOWN_PRODUCER_ID), 1, ABORTED, 0, ERRORS},
    {"EndTxn: producer id forgotten", END_TXN, ERR(INVALID_PRODUCER_ID_MAPPING), 1, ABORTED, 0, ERRORS},
    {"EndTxn: old epoch", END_TXN, ERR(INVALID_PRODUCER_EPOCH), 1, FENCED, 0, ERRORS},
    {"EndTxn: fenced", END_TXN, ERR(PRODUCER_FENCED), 1, FENCED, 0, ERRORS},
    {"EndTxn: wrong state", END_TXN, ERR(INVALID_TXN_STATE), 1, REBUILT, 0, ERRORS},
    {"EndTxn: coordinator loads", END_TXN, ERR(COORDINATOR_LOAD_IN_PROGRESS), 2, INSIDE, 0, ERRORS},
    {"EndTxn: a late answer", END_TXN, 0, 2500, REBUILT, 0, LATE},
    {"EndTxn: a late answer to an abort", TXN_OFFSET_COMMIT, ERR(ILLEGAL_GENERATION), 1, ABORTED_REBUILT, 0,
     LATE_ABORT},
    /* the session's first transaction */
    {"first AddPartitionsToTxn: refused", ADD_PARTITIONS, ERR(TOPIC_AUTHORIZATION_FAILED), MOST, ENDS,
     E_DENIED, FIRST},
    {"first AddPartitionsToTxn: concurrent transactions", ADD_PARTITIONS, ERR(CONCURRENT_TRANSACTIONS), 3,
     INSIDE, 0, FIRST},
    {"first Produce: fenced", PRODUCE, ERR(INVALID_PRODUCER_EPOCH), 1, FENCED, 0, FIRST},
    {"first TxnOffsetCommit: unknown member", TXN_OFFSET_COMMIT, ERR(UNKNOWN_MEMBER_ID), 1, INSIDE, 0, FIRST},
    {"first EndTxn: wrong state", END_TXN, ERR(INVALID_TXN_STATE), 1, REBUILT, 0, FIRST},
    {"first EndTxn: coordinator loads", END_TXN, ERR(COORDINATOR_LOAD_IN_PROGRESS), 2, INSIDE, 0, FIRST},
    /* records outside their queue */
    {"records out of consumer_poll", PRODUCE, 0, 0, INSIDE, 0, STRAYS},
    /* reading what is committed */
    {"OffsetFetch: unstable", OFFSET_FETCH, ERR(UNSTABLE_OFFSET_COMMIT), 3, INSIDE, 0, ERRORS},
    {"OffsetFetch: coordinator loads", OFFSET_FETCH, ERR(COORDINATOR_LOAD_IN_PROGRESS), 3, INSIDE, 0, ERRORS},
    {"OffsetFetch: a late answer", OFFSET_FETCH, 0, 2500, INSIDE, 0, LATE},
    {"OffsetFetch: refused", OFFSET_FETCH, ERR(GROUP_AUTHORIZATION_FAILED), 1, ENDS, E_DENIED, ERRORS},
    /* bounds */
    {"fenced three times in 60 s", END_TXN, ERR(PRODUCER_FENCED), 3, ENDS, E_SLOT_TAKEN, ERRORS},
    {"six rebuilds in 10 minutes", END_TXN, ERR(INVALID_TXN_STATE), 6, ENDS, E_RESTART, ERRORS},
    /* the watchdog */
    {"init_transactions does not return", INIT_PRODUCER_ID, 0, 0, EXITS, 75, HANGS_INIT},
    {"send_offsets does not return", TXN_OFFSET_COMMIT, 0, 0, EXITS, 75, HANGS_OFFSETS},
    {"commit does not return", END_TXN, 0, 0, EXITS, 75, HANGS_COMMIT},
    {"abort does not return", TXN_OFFSET_COMMIT, ERR(ILLEGAL_GENERATION), 1, EXITS, 75, HANGS_ABORT},
};

enum { SCENES = sizeof scenes / sizeof *scenes };

/* What a scene's process leaves behind. */
static struct trace {
    bool done;
    int rc; /* of session_run */
    int answered;
    uint64_t transactions[METRIC_TRANSACTIONS], rebuilds[E_CODES];
    int status; /* of waitpid */
    long took_ms;
    char log[300];
} * traces;

/* ---- a scene, in its own process ---- */

struct play {
    const struct scene *scene;
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
    struct settings settings;
    struct metrics *metrics;
    atomic_bool stop, running, prepared;
    struct fail why;
    int rc;
};

/* What cmocka cannot say in a child. */
#define NEED(x)                                                             \
    do {                                                                    \
        if (!(x)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
            _exit(99);                                                      \
        }                                                                   \
    } while (0)

/* In place of librdkafka's own, which these call: the linker finds them first. */
static _Atomic(enum fault) hanging;

static void *own(enum fault call, const char *name)
{
    while (hanging == call)
        pause();
    void *real = dlsym(RTLD_NEXT, name);
    NEED(real);
    return real;
}

rd_kafka_error_t *rd_kafka_init_transactions(rd_kafka_t *rk, int ms)
{
    rd_kafka_error_t *(*real)(rd_kafka_t *, int) = own(HANGS_INIT, "rd_kafka_init_transactions");
    return real(rk, ms);
}

rd_kafka_error_t *rd_kafka_send_offsets_to_transaction(rd_kafka_t *rk,
                                                       const rd_kafka_topic_partition_list_t *offsets,
                                                       const rd_kafka_consumer_group_metadata_t *group,
                                                       int ms)
{
    rd_kafka_error_t *(*real)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *,
                              const rd_kafka_consumer_group_metadata_t *, int) =
        own(HANGS_OFFSETS, "rd_kafka_send_offsets_to_transaction");
    return real(rk, offsets, group, ms);
}

rd_kafka_error_t *rd_kafka_commit_transaction(rd_kafka_t *rk, int ms)
{
    rd_kafka_error_t *(*real)(rd_kafka_t *, int) = own(HANGS_COMMIT, "rd_kafka_commit_transaction");
    return real(rk, ms);
}

rd_kafka_error_t *rd_kafka_abort_transaction(rd_kafka_t *rk, int ms)
{
    rd_kafka_error_t *(*real)(rd_kafka_t *, int) = own(HANGS_ABORT, "rd_kafka_abort_transaction");
    return real(rk, ms);
}

void rd_kafka_queue_forward(rd_kafka_queue_t *from, rd_kafka_queue_t *to)
{
    static atomic_int calls;
    void (*real)(rd_kafka_queue_t *, rd_kafka_queue_t *) = own(HANGS, "rd_kafka_queue_forward");
    if (hanging != STRAYS || ++calls > PARTITIONS)
        real(from, to);
}

/* The work begins when the fault is in its place. */
static int gated_work(struct source *src, struct sink *sink, void *arg, struct fail *why)
{
    const struct play *p = arg;
    while (!p->prepared && !p->stop)
        usleep(1000);
    return echo_work(src, sink, NULL, why);
}

static void *session_main(void *arg)
{
    struct play *p = arg;
    const struct session_role role = {.name = "infer",
                                      .input = TOPIC_INFERENCE,
                                      .outputs = 1u << TOPIC_PREDICTIONS,
                                      .batches = 4,
                                      .metrics = &p->metrics->infer};
    p->rc = session_run(&p->settings, &role, gated_work, p, &p->stop, &p->why);
    p->running = false;
    return NULL;
}

static void cluster_open(struct play *p)
{
    char text[200], servers[300], topic[TOPIC_NAME];
    p->rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    NEED(p->rk);
    p->cluster = rd_kafka_mock_cluster_new(p->rk, 1);
    NEED(p->cluster);
    snprintf(servers, sizeof servers, "bootstrap.servers=%s", rd_kafka_mock_cluster_bootstraps(p->cluster));
    const char *overrides[] = {servers,
                               "topics.prefix=m.",
                               "worker.slot=a",
                               "session.timeout.ms=4000",
                               "heartbeat.interval.ms=500",
                               "transaction.timeout.ms=4000",
                               "worker.membership=dynamic",
                               "worker.refused_s=0"}; /* what has run and is refused ends at once, with 75 */
    NEED(!settings_load(&p->settings, NULL, overrides, 8, &p->why));
    NEED(!metrics_open(&p->metrics, &p->why));
    for (enum topic t = 0; t < TOPICS; t++)
        NEED(!rd_kafka_mock_topic_create(p->cluster, topic_full_name(&p->settings, t, topic), PARTITIONS, 1));
}

static rd_kafka_t *client_new(struct play *p, rd_kafka_type_t type)
{
    char text[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    NEED(!rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(p->cluster), text,
                            sizeof text));
    NEED(type == RD_KAFKA_PRODUCER || !rd_kafka_conf_set(conf, "group.id", "reader", text, sizeof text));
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    NEED(rk);
    return rk;
}

static void inputs_produce(struct play *p)
{
    rd_kafka_t *rk = client_new(p, RD_KAFKA_PRODUCER);
    for (int i = 0; i < RECORDS; i++)
        NEED(!rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("m.inference"), RD_KAFKA_V_PARTITION(i % PARTITIONS),
                                RD_KAFKA_V_KEY(&i, sizeof i), RD_KAFKA_V_VALUE("value", 5),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END));
    NEED(!rd_kafka_flush(rk, LIMIT_MS));
    rd_kafka_destroy(rk);
}

/* How many different inputs the predictions answer so far. */
static rd_kafka_t *answers_open(struct play *p)
{
    rd_kafka_t *rk = client_new(p, RD_KAFKA_CONSUMER);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int i = 0; i < PARTITIONS; i++)
        rd_kafka_topic_partition_list_add(list, "m.predictions", i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    NEED(!rd_kafka_assign(rk, list));
    rd_kafka_topic_partition_list_destroy(list);
    return rk;
}

static void answers_take(rd_kafka_t *rk, bool seen[RECORDS], int *count)
{
    int i;
    rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 50);
    if (!m)
        return;
    if (!m->err && m->key_len == sizeof i) {
        memcpy(&i, m->key, sizeof i);
        NEED(i >= 0 && i < RECORDS);
        *count += !seen[i];
        seen[i] = true;
    }
    rd_kafka_message_destroy(m);
}

static void fault_prepare(struct play *p)
{
    const struct scene *s = p->scene;
    rd_kafka_resp_err_t errors[MOST];
    if (s->fault == LATE) {
        NEED(!rd_kafka_mock_broker_push_request_error_rtts(p->cluster, BROKER, (int16_t)s->api, 1, s->error,
                                                           s->times));
        return;
    }
    if (s->fault == LATE_ABORT)
        NEED(!rd_kafka_mock_broker_push_request_error_rtts(p->cluster, BROKER, END_TXN, 1, 0, 2500));
    for (int i = 0; i < s->times; i++)
        errors[i] = s->error;
    rd_kafka_mock_push_request_errors_array(p->cluster, (int16_t)s->api, (size_t)s->times, errors);
}

static void trace_fill(struct play *p, struct trace *t, int answered)
{
    t->rc = p->rc;
    t->answered = answered;
    for (int i = 0; i < METRIC_TRANSACTIONS; i++)
        t->transactions[i] = p->metrics->infer.transactions[i];
    for (int i = 0; i < E_CODES; i++)
        t->rebuilds[i] = p->metrics->infer.rebuilds[i];
    t->done = true;
}

/* What a session asks before it has partitions, and what its first transaction is made of. */
static bool is_early(const struct scene *s)
{
    return s->fault == FIRST || s->fault == HANGS_INIT || s->fault == STRAYS || s->api == INIT_PRODUCER_ID ||
           s->api == OFFSET_FETCH;
}

static void scene_play(const struct scene *s, struct trace *t)
{
    struct play p = {.scene = s, .running = true};
    bool seen[RECORDS] = {false};
    int answered = 0;
    int64_t until_us = now_us() + LIMIT_MS * 1000;
    pthread_t thread;
    cluster_open(&p);
    inputs_produce(&p);
    hanging = is_early(s) ? s->fault : ERRORS;
    if (is_early(s))
        fault_prepare(&p);
    rd_kafka_t *reader = answers_open(&p);
    NEED(!pthread_create(&thread, NULL, session_main, &p));
    while (p.running && !is_early(s) && !p.metrics->infer.ready)
        usleep(1000);
    if (!is_early(s))
        fault_prepare(&p);
    hanging = s->fault;
    p.prepared = true;
    while (p.running && now_us() < until_us && (s->outcome >= ENDS || answered < RECORDS))
        answers_take(reader, seen, &answered);
    p.stop = true;
    pthread_join(thread, NULL);
    trace_fill(&p, t, answered);
    rd_kafka_destroy(reader);
    settings_free(&p.settings);
    metrics_close(&p.metrics);
    rd_kafka_mock_cluster_destroy(p.cluster);
    rd_kafka_destroy(p.rk);
}

/* ---- all of them ---- */

static pid_t scene_start(int i)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!freopen(traces[i].log, "w", stderr))
        _exit(98);
    scene_play(&scenes[i], &traces[i]);
    _exit(0);
}

static void scene_end(pid_t pids[], int next, int *running)
{
    int status;
    pid_t pid = wait(&status);
    for (int i = 0; i < next; i++)
        if (pids[i] == pid) {
            traces[i].status = status;
            traces[i].took_ms = now_ms() - traces[i].took_ms;
            --*running;
        }
}

static int play_all(void **state)
{
    pid_t pids[SCENES];
    int next = 0, running = 0;
    (void)state;
    traces = mmap(NULL, SCENES * sizeof *traces, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (traces == MAP_FAILED)
        return -1;
    for (; next < SCENES; next++) {
        char name[32];
        snprintf(name, sizeof name, "scene-%d.log", next);
        snprintf(traces[next].log, sizeof traces[next].log, "%s", test_path(name));
        traces[next].took_ms = now_ms();
        pids[next] = scene_start(next);
        if (++running == SIDE_BY_SIDE)
            scene_end(pids, next + 1, &running);
    }
    while (running)
        scene_end(pids, next, &running);
    return 0;
}

static void log_show(const struct trace *t)
{
    char line[600];
    FILE *in = fopen(t->log, "r");
    while (in && fgets(line, sizeof line, in))
        fputs(line, stderr);
    if (in)
        fclose(in);
}

static bool log_has(const struct trace *t, const char *text)
{
    char line[1000];
    bool found = false;
    FILE *in = fopen(t->log, "r");
    while (in && !found && fgets(line, sizeof line, in))
        found = strstr(line, text) != NULL;
    if (in)
        fclose(in);
    return found;
}

static uint64_t rebuilds_of(const struct trace *t)
{
    uint64_t n = 0;
    for (int i = 0; i < E_CODES; i++)
        n += t->rebuilds[i];
    return n;
}

/* A counter that must be `n`. */
static bool is(const char *what, uint64_t got, uint64_t n)
{
    if (got != n)
        fprintf(stderr, "%s: %llu, expected %llu\n", what, (unsigned long long)got, (unsigned long long)n);
    return got == n;
}

static bool judge(const struct scene *s, const struct trace *t)
{
    if (s->outcome == EXITS)
        return is("exit status", (uint64_t)(WIFEXITED(t->status) ? WEXITSTATUS(t->status) : 256),
                  (uint64_t)s->code);
    bool good = is("status of the process", (uint64_t)t->status, 0);
    good &= is("it played to its end", t->done, 1);
    good &= is("session_run returned", (uint64_t)-t->rc, (uint64_t)(s->outcome == ENDS ? s->code : 0));
    if (s->outcome == ENDS)
        return good;
    if (s->fault == STRAYS)
        good &= is("strays", log_has(t, "a record arrived outside its queue"), 1);
    good &= is("inputs answered", (uint64_t)t->answered, RECORDS);
    bool rebuilt = s->outcome == REBUILT || s->outcome == FENCED || s->outcome == ABORTED_REBUILT;
    bool aborts = s->outcome == ABORTED || s->outcome == ABORTED_REBUILT;
    good &= is("transactions aborted", t->transactions[METRIC_ABORTED], aborts);
    if (s->outcome == CALLED_AGAIN)
        return is("rebuilds but for repeated calls", rebuilds_of(t) - t->rebuilds[E_REBUILD], 0) && good;
    good &= is("sessions opened anew", rebuilds_of(t), rebuilt);
    return is("fences", t->rebuilds[E_FENCED], s->outcome == FENCED) && good;
}

static void scene_test(void **state)
{
    const struct scene *s = *state;
    const struct trace *t = &traces[s - scenes];
    bool good = judge(s, t);
    printf("# %-45s %5ld ms: %llu committed, %llu aborted, %llu uncertain, %llu rebuilt\n", s->name,
           t->took_ms, (unsigned long long)t->transactions[METRIC_COMMITTED],
           (unsigned long long)t->transactions[METRIC_ABORTED],
           (unsigned long long)t->transactions[METRIC_UNCERTAIN], (unsigned long long)rebuilds_of(t));
    if (!good)
        log_show(t);
    assert_true(good);
}

int main(void)
{
    struct CMUnitTest tests[SCENES];
    for (int i = 0; i < SCENES; i++)
        tests[i] = (struct CMUnitTest){
            .name = scenes[i].name, .test_func = scene_test, .initial_state = (void *)(uintptr_t)&scenes[i]};
    return cmocka_run_group_tests(tests, play_all, NULL);
}
