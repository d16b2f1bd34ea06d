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

enum { SAMPLES = 65536 };

struct watch {
    rd_kafka_t *rk;
    pthread_t thread;
    atomic_bool stop;
    atomic_long answers;
    pthread_mutex_t lock;
    int64_t marked_ms; /* wall clock; 0: no mark waits for its answer */
    long *samples;
    int count;
};

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Only an answer that was made after the mark ends it: older ones may still be on their way. */
static void take(struct watch *w, const rd_kafka_message_t *m)
{
    rd_kafka_timestamp_type_t type;
    int64_t made_ms = rd_kafka_message_timestamp(m, &type);
    atomic_fetch_add(&w->answers, 1);
    pthread_mutex_lock(&w->lock);
    if (w->marked_ms && made_ms > w->marked_ms) {
        if (w->count < SAMPLES)
            w->samples[w->count++] = (long)(wall_ms() - w->marked_ms);
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

struct watch *watch_open(struct stage *s)
{
    struct watch *w = calloc(1, sizeof *w);
    char name[128], text[256];
    assert_non_null(w);
    assert_non_null(w->samples = calloc(SAMPLES, sizeof *w->samples));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", s->bootstrap);
    snprintf(name, sizeof name, "%s.watch", s->group);
    set(conf, "group.id", name);
    set(conf, "isolation.level", "read_committed");
    set(conf, "auto.offset.reset", "earliest");
    set(conf, "enable.auto.commit", "false");
    set(conf, "log_level", "0");
    if (!(w->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text)))
        fail_msg("watch: %s", text);
    rd_kafka_poll_set_consumer(w->rk);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(2);
    const char *const words[] = {"predictions", "dead-letters"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s", s->prefix, words[i]);
        rd_kafka_topic_partition_list_add(topics, name, RD_KAFKA_PARTITION_UA);
    }
    assert_int_equal(rd_kafka_subscribe(w->rk, topics), 0);
    rd_kafka_topic_partition_list_destroy(topics);
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
    rd_kafka_consumer_close(w->rk);
    rd_kafka_destroy(w->rk);
    pthread_mutex_destroy(&w->lock);
    free(w->samples);
    free(w);
    *wp = NULL;
}

void watch_mark(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    if (!w->marked_ms)
        w->marked_ms = wall_ms();
    pthread_mutex_unlock(&w->lock);
}

long watch_answers(struct watch *w)
{
    return atomic_load(&w->answers);
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
