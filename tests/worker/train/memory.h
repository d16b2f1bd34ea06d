/* A broker of a few arrays for one test program: topics in memory, a source and a sink that can be killed at
 * any call, and reader.h's functions over it (they take the place of worker/stream/reader.c in the program
 * that includes this). Every commit leaves a gap of one offset, as a transaction's marker does.
 * Included by one test only; tests on a real broker are the proof, these are the many kills. */
#ifndef TESTS_WORKER_TRAIN_MEMORY_H
#define TESTS_WORKER_TRAIN_MEMORY_H

#include <stdlib.h>
#include <string.h>

#include "worker/stream/reader.h"
#include "worker/stream/sink.h"

enum { MEMORY_PARTITIONS = 4 };

struct memory_record {
    int32_t partition;
    int64_t offset;
    struct span key, value;
    struct header *headers;
    int header_count;
};

struct memory_topic {
    struct memory_record *records;
    int count, partitions;
    int64_t start[MEMORY_PARTITIONS], end[MEMORY_PARTITIONS];
};

struct memory {
    struct settings settings;
    struct memory_topic topics[TOPICS];
    int64_t committed[MEMORY_PARTITIONS]; /* of the jobs topic */
    int calls, kill_at;                   /* the call at which the worker dies; 0: never */
    bool dead, dropped;
    bool stopping; /* asked to stop: no record and no batch is given any more, what is sealed is committed */
    int taken;     /* batches out of the pool */
    struct source source;
    struct sink sink;
    int32_t partition; /* the one that the source reads */
    int32_t also;      /* another one of the same owner; -1: none */
    int64_t next;      /* where it reads */
    struct record handed;
    void (*on_call)(struct memory *m); /* NULL, or looks and produces while a job runs */
};

static struct memory *memory; /* reader.h's functions take no context */

static struct span memory_copy(struct span s)
{
    struct span out = {NULL, s.size};
    if (s.data) {
        char *copy = malloc(s.size + 1);
        memcpy(copy, s.data, s.size);
        out.data = copy;
    }
    return out;
}

static void memory_append(enum topic t, int32_t partition, struct span key, struct span value,
                          const struct header *headers, int header_count)
{
    struct memory_topic *topic = &memory->topics[t];
    partition %= topic->partitions;
    topic->records = realloc(topic->records, sizeof *topic->records * (size_t)(topic->count + 1));
    struct memory_record *r = &topic->records[topic->count++];
    *r = (struct memory_record){
        partition, topic->end[partition]++, memory_copy(key), memory_copy(value), NULL, header_count};
    r->headers = calloc((size_t)header_count + 1, sizeof *r->headers);
    for (int i = 0; i < header_count; i++)
        r->headers[i] = (struct header){strdup(headers[i].name), memory_copy(headers[i].value)};
}

static void memory_record_free(struct memory_record *r)
{
    free((void *)r->key.data);
    free((void *)r->value.data);
    for (int i = 0; i < r->header_count; i++) {
        free((void *)r->headers[i].name);
        free((void *)r->headers[i].value.data);
    }
    free(r->headers);
}

static const struct memory_record *memory_at(enum topic t, int32_t partition, int64_t from)
{
    const struct memory_topic *topic = &memory->topics[t];
    const struct memory_record *best = NULL;
    for (int i = 0; i < topic->count; i++) {
        const struct memory_record *r = &topic->records[i];
        if (r->partition == partition && r->offset >= from && (!best || r->offset < best->offset))
            best = r;
    }
    return best;
}

static void memory_record_out(enum topic t, const struct memory_record *r, struct record *out)
{
    *out = (struct record){.topic = topic_short_name(t),
                           .partition = r->partition,
                           .offset = r->offset,
                           .key = r->key,
                           .value = r->value,
                           .headers = r->headers,
                           .header_count = r->header_count};
}

/* ---- reader.h ---- */

struct reader {
    enum topic topic;
    struct reader_range ranges[MEMORY_PARTITIONS];
    int count;
};

int topic_partitions(const struct settings *s, const char *topic, int timeout_ms, int *count,
                     struct fail *why)
{
    (void)timeout_ms, (void)why;
    *count = memory->topics[topic_find(s, topic)].partitions;
    return 0;
}

int topic_settle(const struct settings *s, const char *topic, int timeout_ms, bool (*stop)(void *arg),
                 void *arg, struct fail *why)
{
    (void)s, (void)topic, (void)timeout_ms, (void)stop, (void)arg, (void)why;
    return 0; /* a commit is seen at once here */
}

int topic_offsets(const struct settings *s, const char *topic, int32_t partition, int timeout_ms,
                  int64_t *start, int64_t *end, struct fail *why)
{
    (void)timeout_ms, (void)why;
    const struct memory_topic *t = &memory->topics[topic_find(s, topic)];
    *start = t->start[partition];
    *end = t->end[partition];
    return 0;
}

int reader_open(struct reader **out, const struct settings *s, const char *topic,
                const struct reader_range *ranges, int count, int64_t start, int timeout_ms, struct fail *why)
{
    struct reader *r = calloc(1, sizeof *r);
    int rc = 0;
    (void)timeout_ms;
    r->topic = (enum topic)topic_find(s, topic);
    const struct memory_topic *t = &memory->topics[r->topic];
    r->count = ranges ? count : t->partitions;
    for (int i = 0; i < r->count; i++) {
        r->ranges[i] = ranges ? ranges[i] : (struct reader_range){i, start, READER_UNBOUNDED};
        struct reader_range *g = &r->ranges[i];
        if (g->start == READER_BEGINNING)
            g->start = t->start[g->partition];
        if (g->start == READER_END)
            g->start = t->end[g->partition];
        if (g->start < t->start[g->partition])
            rc = fail(why, E_FAILED, "%s: the range begins at %lld, the log begins at %lld", topic,
                      (long long)g->start, (long long)t->start[g->partition]);
    }
    if (rc)
        free(r);
    else
        *out = r;
    return rc;
}

void reader_close(struct reader **r)
{
    free(*r);
    *r = NULL;
}

int reader_next(struct reader *r, struct record *out, int timeout_ms, struct fail *why)
{
    (void)timeout_ms, (void)why;
    for (int i = 0; i < r->count; i++) {
        struct reader_range *g = &r->ranges[i];
        const struct memory_record *m = memory_at(r->topic, g->partition, g->start);
        if (!m || m->offset >= g->end)
            continue;
        g->start = m->offset + 1;
        memory_record_out(r->topic, m, out);
        return SOURCE_RECORD;
    }
    return SOURCE_END;
}

int reader_caught_up(struct reader *r, int timeout_ms, bool *yes, struct fail *why)
{
    (void)timeout_ms, (void)why;
    *yes = true;
    for (int i = 0; i < r->count; i++)
        if (memory_at(r->topic, r->ranges[i].partition, r->ranges[i].start))
            *yes = false;
    return 0;
}

struct source *reader_source(struct reader *r)
{
    (void)r;
    return NULL;
}

/* ---- source and sink ---- */

static void memory_call(void)
{
    if (++memory->calls == memory->kill_at)
        memory->dead = true;
    if (memory->on_call)
        memory->on_call(memory);
}

static int memory_next(struct source *src, struct record *out, int timeout_ms, struct fail *why)
{
    (void)src, (void)timeout_ms;
    memory_call();
    const struct memory_record *r = memory_at(TOPIC_JOBS, memory->partition, memory->next);
    if (memory->dead || memory->stopping || !r)
        return fail(why, E_INTERRUPTED, "the end");
    memory_record_out(TOPIC_JOBS, r, out);
    memory->handed = *out;
    memory->next = r->offset + 1;
    return SOURCE_RECORD;
}

static int memory_seal(struct source *src, struct batch *b, enum seal how, struct fail *why)
{
    (void)src, (void)why;
    memory_call();
    if (memory->dead)
        return SOURCE_CHANGED;
    b->offsets = region_alloc(&b->mem, sizeof *b->offsets);
    b->offsets[0] = (struct batch_offset){memory->partition, memory->handed.offset + (how == SEAL_DONE)};
    b->offset_count = 1;
    return 0;
}

static bool memory_changed(struct source *src)
{
    (void)src;
    memory_call();
    return memory->dead || memory->stopping;
}

static int64_t memory_position(struct source *src, int32_t partition)
{
    (void)src;
    if (memory->dead) /* who is dead owns nothing */
        return SOURCE_NOT_OURS;
    return partition == memory->partition ? memory->next
           : partition == memory->also    ? memory->committed[partition]
                                          : SOURCE_NOT_OURS;
}

static int memory_take(struct sink *sink, struct batch **out, struct fail *why)
{
    (void)sink;
    if (memory->dead || memory->stopping)
        return fail(why, E_INTERRUPTED, "the end");
    memory->taken++;
    *out = calloc(1, sizeof **out);
    return 0;
}

static void memory_commit(const struct batch *b)
{
    bool touched[TOPICS] = {false};
    for (int i = 0; i < b->output_count; i++) {
        const struct output *o = &b->outputs[i];
        memory_append(o->topic, o->partition < 0 ? 0 : o->partition, o->key, o->value, o->headers,
                      o->header_count);
        touched[o->topic] = true;
    }
    for (int t = 0; t < TOPICS; t++)
        for (int p = 0; touched[t] && p < memory->topics[t].partitions; p++)
            memory->topics[t].end[p]++; /* the marker */
    memory->committed[memory->partition] = b->offsets[0].offset;
}

static int memory_put(struct sink *sink, struct batch **b, struct fail *why)
{
    (void)sink;
    if ((*b)->offset_count) {
        memory_call(); /* dies before the commit ... */
        memory->dropped = memory->dead;
        if (!memory->dead) {
            memory_commit(*b);
            memory_call(); /* ... or behind it */
        }
    }
    region_free(&(*b)->mem);
    free(*b);
    *b = NULL;
    memory->taken--;
    return memory->dead ? fail(why, E_INTERRUPTED, "the end") : 0;
}

static int memory_wait(struct sink *sink, struct fail *why)
{
    (void)sink;
    return memory->dropped ? fail(why, E_ABORT, "dropped") : 0;
}

static size_t memory_limit(struct sink *sink, enum topic topic)
{
    (void)sink, (void)topic;
    return 1 << 20;
}

static void memory_open(struct memory *m, int job_partitions)
{
    static const struct source_ops source_ops = {memory_next, memory_seal, memory_changed, memory_position,
                                                 NULL};
    static const struct sink_ops sink_ops = {memory_take, memory_put, memory_wait, memory_limit};
    *m = (struct memory){.source.ops = &source_ops, .sink.ops = &sink_ops, .also = -1};
    for (int t = 0; t < TOPICS; t++)
        m->topics[t].partitions = t == TOPIC_JOBS ? job_partitions : t == TOPIC_SAMPLES ? 2 : 1;
    memory = m;
}

static void memory_close(struct memory *m)
{
    for (int t = 0; t < TOPICS; t++) {
        for (int i = 0; i < m->topics[t].count; i++)
            memory_record_free(&m->topics[t].records[i]);
        free(m->topics[t].records);
    }
    memory = NULL;
}

#endif
