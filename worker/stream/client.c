/* Opens librdkafka handles with the settings of streaming.md and translates errors. What a consumer or a
 * producer is used for is in reader.c, writer.c and session.c. */
#include "worker/stream/client.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/service/log.h"

enum { CONNECT_MS = 500 };

struct pair {
    const char *key, *value;
};

/* The users' `kafka:` keys are set after these and override them. */
static const struct pair common[] = {
    {"client.id", "millrace"},
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "1000"},
    {"topic.metadata.refresh.interval.ms", "30000"},
    {NULL, NULL},
};

static const struct pair consuming[] = {
    {"isolation.level", "read_committed"},
    {"check.crcs", "true"},
    {"fetch.min.bytes", "65536"},
    {"fetch.wait.max.ms", "20"},
    {"fetch.message.max.bytes", "4194304"},
    {"fetch.error.backoff.ms", "50"},
    {"queued.min.messages", "100000"},
    {"enable.partition.eof", "true"},
    {NULL, NULL},
};

/* Nobody wakes a reader when its queue was full: it lasts for a second. */
static const struct pair alone[] = {
    {"queued.max.messages.kbytes", "131072"},
    {NULL, NULL},
};

static const struct pair grouped[] = {
    {"queued.max.messages.kbytes", "65536"}, /* what is fetched while it is looked at again: refetch.c */
    {"auto.offset.reset", "earliest"},          {"session.timeout.ms", "10000"},
    {"heartbeat.interval.ms", "2000"},          {"max.poll.interval.ms", "300000"},
    {"partition.assignment.strategy", "range"}, {NULL, NULL},
};

static const struct pair producing[] = {
    {"linger.ms", "5"},
    {"batch.size", "1000000"},
    {"batch.num.messages", "10000"},
    {"queue.buffering.max.kbytes", "65536"},
    {"queue.buffering.max.messages", "1000000"},
    {"retry.backoff.ms", "5"},
    {"message.max.bytes", "18874368"},
    {"transaction.timeout.ms", "10000"},
    {"partitioner", "murmur2_random"},
    {NULL, NULL},
};

static const struct pair owned_consuming[] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"isolation.level", "read_committed"},
    {NULL, NULL},
};

static const struct pair owned_producing[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {NULL, NULL},
};

int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const char *client_servers(const struct settings *s)
{
    const char *servers = setting_map_get(&s->kafka, "bootstrap.servers");
    return servers ? servers : "(kafka.bootstrap.servers is not set)";
}

static int conf_set(rd_kafka_conf_t *conf, const char *key, const char *value, struct fail *why)
{
    char text[300];
    switch (rd_kafka_conf_set(conf, key, value, text, sizeof text)) {
    case RD_KAFKA_CONF_OK:
        return 0;
    case RD_KAFKA_CONF_UNKNOWN:
        return fail(why, E_CONFIG, "kafka.%s: librdkafka %s knows no such key", key, rd_kafka_version_str());
    default:
        return fail(why, E_CONFIG, "kafka.%s: %s", key, text);
    }
}

static int conf_set_all(rd_kafka_conf_t *conf, const struct pair *pairs, struct fail *why)
{
    for (; pairs->key; pairs++) {
        int rc = conf_set(conf, pairs->key, pairs->value, why);
        if (rc)
            return rc;
    }
    return 0;
}

static int conf_fill(rd_kafka_conf_t *conf, const struct settings *s, enum client_kind kind,
                     const char *const *extra, struct fail *why)
{
    bool consumer = kind == CLIENT_READER || kind == CLIENT_MEMBER;
    int rc = conf_set_all(conf, common, why);
    if (!rc)
        rc = conf_set_all(conf, consumer ? consuming : producing, why);
    if (!rc && consumer && rd_kafka_version() >= FETCH_BACKOFF_VERSION)
        rc = conf_set(conf, "fetch.queue.backoff.ms", "10", why);
    if (!rc && consumer)
        rc = conf_set_all(conf, kind == CLIENT_MEMBER ? grouped : alone, why);
    for (int i = 0; !rc && i < s->kafka.count; i++)
        rc = conf_set(conf, s->kafka.pairs[i].key, s->kafka.pairs[i].value, why);
    if (!rc && kind != CLIENT_ADMIN) /* which produces nothing and needs no permission to */
        rc = conf_set_all(conf, consumer ? owned_consuming : owned_producing, why);
    for (; !rc && extra && extra[0]; extra += 2)
        rc = conf_set(conf, extra[0], extra[1], why);
    return rc;
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    if (strcmp(facility, "CONFWARN") == 0) /* one set of users' keys serves consumers and producers */
        return;
    bool connection = strcmp(facility, "FAIL") == 0; /* every half second while a broker is away */
    log_event(level <= 3 && !connection ? LOG_WARN
              : level <= 5              ? LOG_INFO
                                        : LOG_DEBUG,
              "librdkafka", "facility", facility, "text", text, NULL);
}

/* Of the client itself: what it may do is refused answer by answer. A handshake that merely broke off is none; TLS 1.3 says only
 * after the handshake what it thinks of a certificate, which librdkafka takes for a lost connection. */
static bool is_refusal(rd_kafka_resp_err_t err, const char *text)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
        return true;
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
        return strstr(text, "verify failed") ||
               (strstr(text, "alert") && (strstr(text, "certificate") || strstr(text, "unknown ca")));
    default:
        return false;
    }
}

static void on_error(rd_kafka_t *rk, int err, const char *text, void *opaque)
{
    struct client *c = opaque;
    (void)rk;
    pthread_mutex_lock(&c->lock);
    /* A refusal explains more than the connection that closes behind it. */
    if (!c->refused) {
        snprintf(c->last_text, sizeof c->last_text, "%s", text);
        c->refused = is_refusal((rd_kafka_resp_err_t)err, text);
    }
    pthread_mutex_unlock(&c->lock);
    log_event(LOG_DEBUG, "kafka error", "code", rd_kafka_err2name((rd_kafka_resp_err_t)err), "text", text,
              NULL);
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t event,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    struct client *c = opaque;
    (void)rk;
    c->rebalance(c->owner, event, partitions);
}

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct client *c = opaque;
    (void)rk;
    if (c->delivered)
        c->delivered(c->owner, m);
}

int client_open(struct client **out, const struct settings *s, enum client_kind kind,
                const char *const *extra, const struct client *template, struct fail *why)
{
    bool consumer = kind == CLIENT_READER || kind == CLIENT_MEMBER;
    char text[300];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    struct client *c = calloc(1, sizeof *c);
    int rc = c ? conf_fill(conf, s, kind, extra, why) : fail(why, E_MEMORY, "kafka client");
    if (rc)
        goto out;
    if (template)
        *c = *template;
    c->kind = kind;
    pthread_mutex_init(&c->lock, NULL);
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    if (consumer && c->rebalance)
        rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    if (!consumer) /* without one a commit costs 10 ms more */
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
    c->rk = rd_kafka_new(consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!c->rk) {
        rc = fail(why, E_CONFIG, "kafka: %s", text);
        goto out;
    }
    conf = NULL; /* the handle's now */
    *out = c;
    c = NULL;
out:
    if (conf)
        rd_kafka_conf_destroy(conf);
    free(c);
    return rc;
}

void client_close(struct client **c)
{
    if (!*c)
        return;
    rd_kafka_destroy_flags((*c)->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    pthread_mutex_destroy(&(*c)->lock);
    free(*c);
    *c = NULL;
}

static enum fail_code code_of(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return E_DENIED;
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
        return E_UNREACHABLE;
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
        return E_FENCED;
    case RD_KAFKA_RESP_ERR__FATAL:
        return E_REBUILD;
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT: /* longer than the broker's transaction.max.timeout.ms */
        return E_CONFIG;
    default:
        return E_FAILED;
    }
}

/* What to do about a refusal, by what librdkafka says of it. */
static const char *refusal_hint(const char *text)
{
    if (strstr(text, "Unsupported SASL mechanism"))
        return "; kafka.sasl.mechanisms must name one that the broker has";
    if (strstr(text, "SCRAM") && rd_kafka_version() < 0x020601ff)
        return "; librdkafka before 2.6.1 is refused SCRAM by Kafka from 3.8.1 on even with the right "
               "password: "
               "use a newer librdkafka, PLAIN over SASL_SSL, or client certificates";
    if (strstr(text, "verify failed"))
        return "; kafka.ssl.ca.location must hold the CA of the broker's certificate, and the certificate "
               "the "
               "name that the broker is called by";
    if (strstr(text, "alert"))
        return "; the broker wants a client certificate of a CA that it trusts: "
               "kafka.ssl.certificate.location "
               "and kafka.ssl.key.location";
    return "; see kafka.sasl.username and kafka.sasl.password (or the file of sasl.password_file)";
}

int client_fail(const struct client *c, rd_kafka_resp_err_t err, struct fail *why, const char *format, ...)
{
    char doing[300];
    struct client *mutable = (struct client *)(uintptr_t)c;
    enum fail_code code = code_of(err);
    va_list args;
    va_start(args, format);
    vsnprintf(doing, sizeof doing, format, args);
    va_end(args);
    if (c && code == E_UNREACHABLE) { /* a timeout hides the reason that librdkafka reported by itself */
        if (c->kind != CLIENT_MEMBER) /* whose poller hears what librdkafka has to say */
            rd_kafka_poll(c->rk, 0);
        if (client_refused(mutable, why))
            return -(int)why->code;
        pthread_mutex_lock(&mutable->lock);
        if (c->last_text[0])
            fail(why, code, "%s: %s; %s", doing, rd_kafka_err2str(err), c->last_text);
        else
            fail(why, code, "%s: %s", doing, rd_kafka_err2str(err));
        pthread_mutex_unlock(&mutable->lock);
        return -(int)code;
    }
    return fail(why, code, "%s: %s", doing, rd_kafka_err2str(err));
}

int client_refused(struct client *c, struct fail *why)
{
    if (!c->refused)
        return 0;
    pthread_mutex_lock(&c->lock);
    fail(why, E_DENIED, "the broker refuses this client: %.300s%s", c->last_text, refusal_hint(c->last_text));
    pthread_mutex_unlock(&c->lock);
    return -E_DENIED;
}

rd_kafka_resp_err_t client_metadata(struct client *c, rd_kafka_topic_t *topic,
                                    const struct rd_kafka_metadata **out, int timeout_ms)
{
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    struct fail refused;
    for (bool connected = false;;) {
        int64_t left_ms = (until_us - now_us()) / 1000;
        int ms = connected || left_ms < CONNECT_MS ? (int)left_ms : CONNECT_MS;
        rd_kafka_resp_err_t err = rd_kafka_metadata(c->rk, !topic, topic, out, ms > 0 ? ms : 1);
        rd_kafka_poll(c->rk, 0);
        if (!err || ms >= left_ms || client_refused(c, &refused))
            return err;
        connected = err == RD_KAFKA_RESP_ERR__TIMED_OUT; /* it was asked, and has not answered yet */
    }
}

bool client_wants_right(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
           err == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED ||
           err == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

int client_fail_right(struct fail *why, const char *kind, const char *name, const char *operation)
{
    return fail(
        why, E_DENIED,
        "%s %s: the right %s is missing; who administers the broker grants it (compose/README.md lists "
        "what is needed)",
        kind, name, operation);
}

int client_fail_transaction(rd_kafka_error_t *error, const char *call, struct fail *why)
{
    rd_kafka_resp_err_t err = rd_kafka_error_code(error);
    enum fail_code code = code_of(err);
    if (code != E_DENIED && code != E_FENCED && code != E_CONFIG) {
        if (rd_kafka_error_is_fatal(error))
            code = E_REBUILD;
        else if (rd_kafka_error_txn_requires_abort(error))
            code = E_ABORT;
        else if (rd_kafka_error_is_retriable(error))
            code = E_RETRY;
        else
            code = E_REBUILD; /* not in the table: nothing is known of the transaction */
    }
    int rc = fail(why, code, "%s: %s (%s)", call, rd_kafka_error_string(error), rd_kafka_error_name(error));
    rd_kafka_error_destroy(error);
    return rc;
}

bool client_is_fenced(const struct client *c)
{
    char text[300];
    return code_of(rd_kafka_fatal_error(c->rk, text, sizeof text)) == E_FENCED;
}

rd_kafka_error_t *client_produce(struct client *c, rd_kafka_topic_t *topic, int32_t partition,
                                 struct span key, struct span value, const char *schema,
                                 const struct header *headers, int count, void *opaque)
{
    rd_kafka_headers_t *list = rd_kafka_headers_new((size_t)count + 1);
    if (schema)
        rd_kafka_header_add(list, "millrace.schema", -1, schema, -1);
    for (int i = 0; i < count; i++)
        rd_kafka_header_add(list, headers[i].name, -1, headers[i].value.data, (ssize_t)headers[i].value.size);
    rd_kafka_vu_t vus[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition < 0 ? RD_KAFKA_PARTITION_UA : partition},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)key.data, key.size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)value.data, value.size}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = list},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = opaque},
    };
    rd_kafka_error_t *error = rd_kafka_produceva(c->rk, vus, sizeof vus / sizeof vus[0]);
    if (error) /* else the headers are librdkafka's now */
        rd_kafka_headers_destroy(list);
    return error;
}

/* Right after a topic was made or a leader was lost, for a moment nobody leads the partition. */
static bool is_passing(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
           err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE || err == RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE ||
           err == RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE || err == RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH ||
           err == RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH;
}

int client_offsets(struct client *c, const char *topic, int32_t partition, int timeout_ms, int64_t *start,
                   int64_t *end, struct fail *why)
{
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    rd_kafka_resp_err_t err;
    while (
        is_passing(err = rd_kafka_query_watermark_offsets(c->rk, topic, partition, start, end, timeout_ms)) &&
        now_us() < until_us)
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    if (client_wants_right(err))
        return client_fail_right(why, "topic", topic, "Describe");
    return err ? client_fail(c, err, why, "offsets of %s [%d]", topic, (int)partition) : 0;
}
