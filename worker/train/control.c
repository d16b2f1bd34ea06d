/* Looks ahead in the jobs topic while a job runs. What is done about what it finds: trainer.c. */
#include "worker/train/control.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

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
    char running[];
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int control_open(struct control **out, const struct settings *s, const struct record *running,
                 const char *job_id, int timeout_ms, struct fail *why)
{
    struct reader_range range = {running->partition, running->offset + 1, READER_UNBOUNDED};
    struct control *c = calloc(1, sizeof *c + strlen(job_id) + 1);
    if (!c)
        return fail(why, E_MEMORY, "control: no memory");
    strcpy(c->running, job_id);
    int rc = reader_open(&c->reader, s, running->topic, &range, 1, range.start, timeout_ms, why);
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
    if (!r->value.data ||
        record_unframe(r->value, record_header(r, "millrace.schema"), record_type_find("TrainingJob"),
                       &payload, &unread) ||
        training_job_decode(job, payload, &c->mem, &unread) || !*job->job_id)
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
        int rc = reader_next(c->reader, from, 0, why);
        if (rc == SOURCE_RECORD)
            rc = control_judge(c, from, job, why);
        else if (rc >= 0) {
            c->next_look_ms = now_ms() + LOOK_EVERY_MS;
            return CONTROL_NONE;
        }
        if (rc != CONTROL_NONE)
            return rc;
    }
}
