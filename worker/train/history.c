/* The checkpoints topic as a table. What a checkpoint file holds is checkpoint.c's affair. */
#include "worker/train/history.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/service/log.h"
#include "worker/stream/payload.h"
#include "worker/stream/reader.h"

struct entry {
    struct region mem;
    struct job_checkpoint checkpoint;
};

struct history {
    struct reader *reader;
    struct entry *entries;
    int count, capacity;
};

int history_open(struct history **out, const struct settings *s, int timeout_ms, struct fail *why)
{
    char topic[TOPIC_NAME];
    struct history *h = calloc(1, sizeof *h);
    if (!h)
        return fail(why, E_MEMORY, "history of jobs: no memory");
    int rc = reader_open(&h->reader, s, topic_full_name(s, TOPIC_CHECKPOINTS, topic), NULL, 0,
                         READER_BEGINNING, timeout_ms, why);
    if (rc)
        history_close(&h);
    else
        *out = h;
    return rc;
}

void history_close(struct history **h)
{
    if (!*h)
        return;
    reader_close(&(*h)->reader);
    for (int i = 0; i < (*h)->count; i++)
        region_free(&(*h)->entries[i].mem);
    free((*h)->entries);
    free(*h);
    *h = NULL;
}

static struct entry *history_entry(const struct history *h, const char *job_id)
{
    for (int i = 0; i < h->count; i++)
        if (strcmp(h->entries[i].checkpoint.job_id, job_id) == 0)
            return &h->entries[i];
    return NULL;
}

/* Takes mem, in which c lives. A terminal state is for ever: nothing that comes later changes it. */
static int history_put(struct history *h, struct region *mem, const struct job_checkpoint *c,
                       struct fail *why)
{
    struct entry *e = history_entry(h, c->job_id);
    if (e && (job_state_terminal(e->checkpoint.state) || e->checkpoint.sequence > c->sequence)) {
        region_free(mem);
        return 0;
    }
    if (!e && h->count == h->capacity) {
        int capacity = h->capacity ? 2 * h->capacity : 32;
        struct entry *grown = realloc(h->entries, sizeof *grown * (size_t)capacity);
        if (!grown) {
            region_free(mem);
            return fail(why, E_MEMORY, "history of jobs: no memory for %d jobs", capacity);
        }
        h->entries = grown;
        h->capacity = capacity;
    }
    if (e)
        region_free(&e->mem);
    else
        e = &h->entries[h->count++];
    e->mem = *mem;
    e->checkpoint = *c;
    return 0;
}

int history_note(struct history *h, const struct job_checkpoint *c, struct fail *why)
{
    struct bytes b = {0};
    struct region mem = {0};
    struct job_checkpoint copy;
    job_checkpoint_encode(&b, c);
    int rc = b.failed ? fail(why, E_MEMORY, "history of jobs: no memory") : 0;
    char *kept = rc ? NULL : region_copy(&mem, b.data, b.size);
    if (!rc && !kept)
        rc = fail(why, E_MEMORY, "history of jobs: no memory");
    if (!rc)
        rc = job_checkpoint_decode(&copy, (struct span){kept, b.size}, &mem, why);
    bytes_free(&b);
    if (!rc)
        return history_put(h, &mem, &copy, why);
    region_free(&mem);
    return rc;
}

static int history_take(struct history *h, const struct record *r, struct fail *why)
{
    struct span payload;
    struct region mem = {0};
    struct job_checkpoint c;
    struct fail local;
    if (!r->value.data)
        return 0;
    int rc = record_payload(r, record_type_find("JobCheckpoint"), &payload, &local);
    if (!rc)
        rc = job_checkpoint_decode(&c, payload, &mem, &local);
    if (!rc)
        return history_put(h, &mem, &c, why);
    log_event(LOG_WARN, "a record of the checkpoints topic was left out", "offset",
              log_text("%lld", (long long)r->offset), "reason", local.text, NULL);
    region_free(&mem);
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int history_catch_up(struct history *h, int timeout_ms, struct fail *why)
{
    int64_t until = now_ms() + timeout_ms;
    struct record r;
    bool done = false;
    int rc = reader_caught_up(h->reader, timeout_ms, &done, why);
    while (!rc && !done) {
        int event = reader_next(h->reader, &r, 100, why);
        if (event < 0)
            rc = event;
        else if (event == SOURCE_RECORD)
            rc = history_take(h, &r, why);
        else
            rc = reader_caught_up(h->reader, timeout_ms, &done, why);
        if (!rc && !done && event == SOURCE_NONE && now_ms() > until)
            rc = fail(why, E_UNREACHABLE, "the checkpoints topic could not be read to its end within %d ms",
                      timeout_ms);
    }
    return rc;
}

const struct job_checkpoint *history_find(const struct history *h, const char *job_id)
{
    const struct entry *e = history_entry(h, job_id);
    return e ? &e->checkpoint : NULL;
}

const struct job_checkpoint *history_at(const struct history *h, int i)
{
    return i >= 0 && i < h->count ? &h->entries[i].checkpoint : NULL;
}

int64_t history_max_version(const struct history *h, const char *model)
{
    int64_t max = 0;
    for (int i = 0; i < h->count; i++) {
        const struct job_checkpoint *c = &h->entries[i].checkpoint;
        if (c->state == JOB_COMPLETED && c->version > max && strcmp(c->model, model) == 0)
            max = c->version;
    }
    return max;
}
