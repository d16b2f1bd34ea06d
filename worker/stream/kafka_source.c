/* The work thread's part of a session: records of the current epoch, in order, and the offsets that commit
 * them. Where the epoch comes from: assignment.c. What becomes of a sealed batch: committer.c. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/service/bug.h"
#include "worker/stream/parts.h"

enum { SLICE_MS = 50 };

static int stopped(struct session *s, struct fail *why)
{
    if (*s->stop)
        return fail(why, E_INTERRUPTED, "asked to stop");
    return s->is_broken ? session_broken(s, why) : 0;
}

/* Copies the positions of the session's current assignment when that is the epoch being built. */
static int adopt(struct kafka_source *src, uint64_t epoch, struct fail *why)
{
    struct session *s = src->session;
    pthread_mutex_lock(&s->lock);
    struct assignment *a = s->current && s->current->epoch == epoch ? assignment_hold(s->current) : NULL;
    pthread_mutex_unlock(&s->lock);
    assignment_release(&src->assignment);
    src->assignment = a;
    src->count = 0;
    src->announced = false;
    src->session->all_read = false;
    if (!a)
        return 0;
    struct position *p = realloc(src->positions, (size_t)(a->count + 1) * sizeof *p);
    if (!p)
        return fail(why, E_MEMORY, "%d positions", a->count);
    memcpy(p, a->positions, (size_t)a->count * sizeof *p);
    src->positions = p;
    src->count = a->count;
    return 0;
}

static struct position *position_of(struct kafka_source *src, int32_t partition)
{
    for (int i = 0; i < src->count; i++)
        if (src->positions[i].partition == partition)
            return &src->positions[i];
    return NULL;
}

static bool all_at_end(const struct kafka_source *src)
{
    for (int i = 0; i < src->count; i++)
        if (!src->positions[i].at_end)
            return false;
    return true;
}

/* The end of a partition, or an error of one. An end that has records behind it in the queue is no end any more: taken for one,
 * it would close a batch in the middle of a backlog, and small batches are what makes a backlog grow. */
static int on_event(struct kafka_source *src, rd_kafka_message_t *m, struct fail *why)
{
    struct position *p = position_of(src, m->partition);
    int rc = SOURCE_NONE;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (p) {
            p->at_end = true;
            p->next = m->offset > p->next ? m->offset : p->next; /* behind it lie markers only */
            if (all_at_end(src) && !src->announced && rd_kafka_queue_length(src->assignment->queue) == 0) {
                src->announced = true;
                src->session->all_read = true;
                rc = SOURCE_END;
            }
        }
    } else if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
               m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) {
        rc = fail(why, E_FAILED,
                  "%s [%d]: records from offset %lld on were deleted by retention before they were read",
                  src->session->input, (int)m->partition, p ? (long long)p->next : -1LL);
    } else if (client_wants_right(m->err)) {
        rc = client_fail_right(why, "topic", src->session->input, "Read");
    } else {
        struct fail what;
        if (client_fail(src->session->consumer, m->err, &what, "reading %s [%d]", src->session->input,
                        (int)m->partition) == -E_DENIED)
            rc = fail(why, E_DENIED, "%s", what.text);
    }
    rd_kafka_message_destroy(m);
    return rc;
}

static int on_record(struct kafka_source *src, rd_kafka_message_t *m, struct record *out, struct fail *why)
{
    struct position *p = position_of(src, m->partition);
    if (!p || m->offset < p->next) {
        rd_kafka_message_destroy(m);
        return SOURCE_NONE;
    }
    src->session->record_out = true;
    p->next = m->offset + 1;
    p->last = m->offset;
    p->at_end = false;
    src->announced = false;
    src->session->all_read = false;
    int rc = message_hold(&src->held, m, out, why);
    out->framing = src->session->role->framing;
    src->current = *out;
    return rc ? rc : SOURCE_RECORD;
}

/* One look: an event, or SOURCE_NONE. */
static int look(struct kafka_source *src, struct record *out, int wait_ms, struct fail *why)
{
    struct session *s = src->session;
    uint64_t epoch = s->building;
    bool had = src->assignment != NULL;
    if (!had || src->assignment->epoch != epoch) {
        int rc = adopt(src, epoch, why);
        if (rc || had)
            return rc ? rc : SOURCE_CHANGED;
        if (!src->assignment) {
            struct timespec pause = {0, (wait_ms < 5 ? wait_ms : 5) * 1000000};
            nanosleep(&pause, NULL);
            return SOURCE_NONE;
        }
    }
    rd_kafka_message_t *m = rd_kafka_consume_queue(src->assignment->queue, wait_ms);
    if (!m)
        return SOURCE_NONE;
    if (s->building != epoch) { /* of an epoch that has ended meanwhile: the next one reads it again */
        rd_kafka_message_destroy(m);
        return SOURCE_NONE;
    }
    return m->err ? on_event(src, m, why) : on_record(src, m, out, why);
}

static int op_next(struct source *base, struct record *out, int timeout_ms, struct fail *why)
{
    struct kafka_source *src = (struct kafka_source *)base;
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    message_release(&src->held);
    src->session->record_out = false; /* whatever it was at is left or done */
    src->session->handing_over = 0;
    for (int wait_ms = timeout_ms;;) {
        int rc = stopped(src->session, why);
        if (!rc)
            rc = look(src, out, wait_ms < SLICE_MS ? wait_ms : SLICE_MS, why);
        if (rc != SOURCE_NONE)
            return rc;
        int64_t left_us = until_us - now_us();
        if (left_us <= 0)
            return SOURCE_NONE;
        wait_ms = (int)((left_us + 999) / 1000);
    }
}

static bool epoch_is_over(const struct kafka_source *src)
{
    return !src->assignment || src->assignment->epoch != src->session->building;
}

static bool op_changed(struct source *base)
{
    struct kafka_source *src = (struct kafka_source *)base;
    return *src->session->stop || src->session->is_broken || epoch_is_over(src);
}

static bool op_handing_over(struct source *base)
{
    struct kafka_source *src = (struct kafka_source *)base;
    const struct session *s = src->session;
    return src->assignment && !s->is_broken && s->handing_over == src->assignment->epoch;
}

static int op_seal(struct source *base, struct batch *b, enum seal how, struct fail *why)
{
    struct kafka_source *src = (struct kafka_source *)base;
    bool last = how == SEAL_UNCHANGED && op_handing_over(base);
    if (epoch_is_over(src) && !last && !(has_bug(late_metadata) && src->assignment))
        return SOURCE_CHANGED;
    b->offsets = region_alloc(&b->mem, (size_t)(src->count + 1) * sizeof *b->offsets);
    if (!b->offsets)
        return fail(why, E_MEMORY, "offsets of %d partitions", src->count);
    b->offset_count = 0;
    for (int i = 0; i < src->count; i++) {
        struct position *p = &src->positions[i];
        if (p->last < 0)
            continue;
        bool unchanged = how == SEAL_UNCHANGED && p->partition == src->current.partition;
        b->offsets[b->offset_count++] =
            (struct batch_offset){p->partition, unchanged ? src->current.offset : p->next};
        if (!unchanged)
            p->last = -1;
    }
    assignment_release(&b->assignment);
    b->assignment = assignment_hold(src->assignment);
    b->sealed_us = now_us();
    return 0;
}

static int64_t op_position(struct source *base, int32_t partition)
{
    struct kafka_source *src = (struct kafka_source *)base;
    const struct position *p = epoch_is_over(src) ? NULL : position_of(src, partition);
    return !p ? SOURCE_NOT_OURS : p->next < 0 ? SOURCE_BEGINNING : p->next;
}

static const struct source_ops ops = {op_next, op_seal, op_changed, op_position, op_handing_over};

void kafka_source_open(struct kafka_source *src, struct session *s)
{
    *src = (struct kafka_source){.base.ops = &ops, .session = s};
}

void kafka_source_close(struct kafka_source *src)
{
    message_free(&src->held);
    assignment_release(&src->assignment);
    free(src->positions);
    src->positions = NULL;
}
