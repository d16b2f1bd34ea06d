/* Looks ahead in the jobs topic while a job runs. What is done about what it finds: trainer.c. */
#include "worker/train/control.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/stream/payload.h"
#include "worker/stream/reader.h"

enum { LOOK_EVERY_MS = 200 };

struct queued { /* a TRAIN job seen behind the running one */
    struct queued *next;
    char job_id[];
};

struct control {
    struct reader *reader;
    struct region mem;
    struct queued *queued;
    int64_t next_look_ms;
    struct record held; /* its schema is not known: the schema registry is away */
    bool is_held;
    char running[];
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The running job's partition first; the others as far as they are the source's. */
static int control_ranges(struct reader_range *ranges, struct source *src, const struct record *running,
                          int partitions)
{
    int count = 1;
    ranges[0] = (struct reader_range){running->partition, running->offset + 1, READER_UNBOUNDED};
    for (int32_t p = 0; p < partitions; p++) {
        int64_t at = p == running->partition ? SOURCE_NOT_OURS : source_position(src, p);
        if (at == SOURCE_NOT_OURS)
            continue;
        ranges[count++] =
            (struct reader_range){p, at == SOURCE_BEGINNING ? READER_BEGINNING : at, READER_UNBOUNDED};
    }
    return count;
}

int control_open(struct control **out, const struct settings *s, struct source *src,
                 const struct record *running, const char *job_id, int partitions, int timeout_ms,
                 struct fail *why)
{
    struct control *c = calloc(1, sizeof *c + strlen(job_id) + 1);
    struct reader_range *ranges = calloc((size_t)partitions + 1, sizeof *ranges);
    int rc = 0;
    if (!c || !ranges) {
        rc = fail(why, E_MEMORY, "control: no memory");
        goto out;
    }
    strcpy(c->running, job_id);
    int count = control_ranges(ranges, src, running, partitions);
    rc = reader_open(&c->reader, s, running->topic, ranges, count, READER_BEGINNING, timeout_ms, why);
out:
    free(ranges);
    if (rc)
        control_close(&c);
    else
        *out = c;
    return rc;
}

void control_close(struct control **c)
{
    if (!*c)
        return;
    reader_close(&(*c)->reader);
    region_free(&(*c)->mem);
    while ((*c)->queued) {
        struct queued *next = (*c)->queued->next;
        free((*c)->queued);
        (*c)->queued = next;
    }
    free(*c);
    *c = NULL;
}

static bool is_queued(const struct control *c, const char *job_id)
{
    for (const struct queued *q = c->queued; q; q = q->next)
        if (strcmp(q->job_id, job_id) == 0)
            return true;
    return false;
}

static int queue_job(struct control *c, const char *job_id, struct fail *why)
{
    struct queued *q = malloc(sizeof *q + strlen(job_id) + 1);
    if (!q)
        return fail(why, E_MEMORY, "control: no memory");
    strcpy(q->job_id, job_id);
    q->next = c->queued;
    c->queued = q;
    return CONTROL_NONE;
}

/* Records that cannot be decoded are left for the group's consumer, which gives them a dead letter. */
static int control_judge(struct control *c, const struct record *r, struct training_job *job,
                         struct fail *why)
{
    struct span payload;
    struct fail unread;
    region_reset(&c->mem);
    int rc = r->value.data ? record_payload(r, record_type_find("TrainingJob"), &payload, &unread) : -E_EMPTY;
    c->is_held = rc == -E_RETRY;
    if (c->is_held)
        c->held = *r; /* borrowed: the reader is not asked for another meanwhile */
    if (rc || training_job_decode(job, payload, &c->mem, &unread) || !*job->job_id)
        return CONTROL_NONE;
    if (job->action == ACTION_TRAIN)
        return queue_job(c, job->job_id, why);
    if (job->action == ACTION_IMPORT)
        return CONTROL_IMPORT;
    if (job->action != ACTION_STOP)
        return CONTROL_NONE;
    return strcmp(job->job_id, c->running) == 0 ? CONTROL_STOP
           : is_queued(c, job->job_id)          ? CONTROL_QUEUED_STOP
                                                : CONTROL_NONE;
}

int control_next(struct control *c, struct training_job *job, struct record *from, struct fail *why)
{
    if (now_ms() < c->next_look_ms)
        return CONTROL_NONE;
    for (;;) {
        int event = SOURCE_RECORD;
        if (c->is_held)
            *from = c->held;
        else
            event = reader_next(c->reader, from, 0, why);
        if (event < 0)
            return event;
        int found = event == SOURCE_RECORD ? control_judge(c, from, job, why) : CONTROL_NONE;
        if (event != SOURCE_RECORD || c->is_held) {
            c->next_look_ms = now_ms() + LOOK_EVERY_MS;
            return CONTROL_NONE;
        }
        if (found != CONTROL_NONE)
            return found;
    }
}
