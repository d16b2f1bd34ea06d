/* See watch.h. A plain librdkafka consumer; nothing of the worker's stream code. */
#include "tests/torture/watch.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { SAMPLES = 65536, PARTITIONS_MAX = 64, ASK_MS = 20000, GIVEN_UP_MS = 2000 };

struct watch {
    rd_kafka_t *rk;
    pthread_t thread;
    atomic_bool stop;
    atomic_long answers, dead_letters;
    char dead_letter_topic[128];
    pthread_mutex_t lock;
    int64_t made_ms[PARTITIONS_MAX]; /* wall clock, of the youngest answer in each partition */
    int partitions;
    int64_t marked_ms; /* wall clock; 0: no mark is open */
    long *samples;
    int count;
};

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool all_answered(const struct watch *w)
{
    for (int i = 0; i < w->partitions; i++)
        if (w->made_ms[i] <= w->marked_ms)
            return false;
    return true;
}

static void sample(struct watch *w)
{
    if (w->count < SAMPLES)
        w->samples[w->count++] = (long)(wall_ms() - w->marked_ms);
}

/* Only an answer that was made after the mark counts: older ones may still be on their way. */
static void take(struct watch *w, const rd_kafka_message_t *m)
{
    rd_kafka_timestamp_type_t type;
    int64_t made_ms = rd_kafka_message_timestamp(m, &type);
    atomic_fetch_add(&w->answers, 1);
    if (!strcmp(rd_kafka_topic_name(m->rkt), w->dead_letter_topic)) {
        atomic_fetch_add(&w->dead_letters, 1);
        return;
    }
    pthread_mutex_lock(&w->lock);
    if (made_ms > w->made_ms[m->partition])
        w->made_ms[m->partition] = made_ms;
    if (w->marked_ms && all_answered(w)) {
        sample(w);
        w->marked_ms = 0;
    }
    pthread_mutex_unlock(&w->lock);
}

static void *watch_main(void *context)
{
    struct watch *w = context;
    while (!w->stop) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(w->rk, 100);
        if (m && !m->err)
            take(w, m);
        if (m)
            rd_kafka_message_destroy(m);
    }
    return NULL;
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, key, value, text, sizeof text) != RD_KAFKA_CONF_OK)
        fail_msg("%s=%s: %s", key, value, text);
}

static int partitions_of(struct watch *w, const char *name)
{
    const struct rd_kafka_metadata *found = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(w->rk, name, NULL);
    rd_kafka_resp_err_t err = rd_kafka_metadata(w->rk, 0, topic, &found, ASK_MS);
    if (err || found->topic_cnt != 1 || found->topics[0].err)
        fail_msg("watch: %s: %s", name, rd_kafka_err2str(err ? err : found->topics[0].err));
    int count = found->topics[0].partition_cnt;
    assert_in_range(count, 1, PARTITIONS_MAX);
    rd_kafka_metadata_destroy(found);
    rd_kafka_topic_destroy(topic);
    return count;
}

static void assign(struct watch *w, struct stage *s)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    const char *const words[] = {"predictions", "dead-letters"};
    char name[128];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s", s->prefix, words[i]);
        int count = partitions_of(w, name);
        if (i == 0)
            w->partitions = count;
        for (int p = 0; p < count; p++)
            rd_kafka_topic_partition_list_add(list, name, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    snprintf(w->dead_letter_topic, sizeof w->dead_letter_topic, "%s", name);
    assert_int_equal(rd_kafka_assign(w->rk, list), 0);
    rd_kafka_topic_partition_list_destroy(list);
}

struct watch *watch_open(struct stage *s)
{
    struct watch *w = calloc(1, sizeof *w);
    char text[256];
    assert_non_null(w);
    assert_non_null(w->samples = calloc(SAMPLES, sizeof *w->samples));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", s->bootstrap);
    set(conf, "group.id", "never joined");
    set(conf, "isolation.level", "read_committed");
    set(conf, "auto.offset.reset", "earliest");
    set(conf, "enable.auto.commit", "false");
    set(conf, "reconnect.backoff.max.ms", "500");
    set(conf, "fetch.error.backoff.ms", "50");
    set(conf, "fetch.wait.max.ms", "50");
    set(conf, "log_level", "0");
    if (!(w->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text)))
        fail_msg("watch: %s", text);
    rd_kafka_poll_set_consumer(w->rk);
    assign(w, s);
    pthread_mutex_init(&w->lock, NULL);
    assert_int_equal(pthread_create(&w->thread, NULL, watch_main, w), 0);
    return w;
}

void watch_close(struct watch **wp)
{
    struct watch *w = *wp;
    if (!w)
        return;
    w->stop = true;
    pthread_join(w->thread, NULL);
    rd_kafka_destroy_flags(w->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    pthread_mutex_destroy(&w->lock);
    free(w->samples);
    free(w);
    *wp = NULL;
}

void watch_mark(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    if (w->marked_ms && wall_ms() - w->marked_ms > GIVEN_UP_MS)
        sample(w);
    w->marked_ms = wall_ms();
    pthread_mutex_unlock(&w->lock);
}

bool watch_is_settled(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    bool yes = !w->marked_ms;
    pthread_mutex_unlock(&w->lock);
    return yes;
}

long watch_answers(struct watch *w)
{
    return atomic_load(&w->answers);
}

long watch_dead_letters(struct watch *w)
{
    return atomic_load(&w->dead_letters);
}

int watch_recoveries(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    int count = w->count;
    pthread_mutex_unlock(&w->lock);
    return count;
}

static int by_size(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

long watch_recovery_ms(struct watch *w, double q)
{
    pthread_mutex_lock(&w->lock);
    qsort(w->samples, (size_t)w->count, sizeof *w->samples, by_size);
    long ms = w->count ? w->samples[(int)(q * (w->count - 1) + 0.5)] : -1;
    pthread_mutex_unlock(&w->lock);
    return ms;
}
