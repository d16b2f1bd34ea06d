/* A sorted list of offsets for every partition of the inference topic, each with the version of its newest answer. Answering again runner.c's. */
#include "worker/infer/answered.h"
#include "worker/stream/payload.h"

#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 100 };

struct entry {
    int64_t offset;
    int64_t version; /* of the newest answer */
    bool again;      /* the version that is to answer replaced another's answer before */
};

struct part {
    struct entry *entries; /* by offset */
    int64_t count, capacity;
};

struct answered {
    struct answered_query query;
    char input[TOPIC_NAME];
    struct part *parts;
    int partitions, timeout_ms;
    int64_t count, done;
};

/* Where an offset is, or would be. */
static int64_t place(const struct part *p, int64_t offset)
{
    int64_t low = 0, high = p->count;
    if (high && p->entries[high - 1].offset < offset)
        return high; /* first answers come in the order of their requests */
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (p->entries[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct entry *find(const struct part *p, int64_t offset)
{
    int64_t at = place(p, offset);
    return at < p->count && p->entries[at].offset == offset ? &p->entries[at] : NULL;
}

static struct entry *insert(struct part *p, int64_t offset)
{
    int64_t at = place(p, offset);
    if (p->count == p->capacity) {
        int64_t more = p->capacity ? 2 * p->capacity : 1024;
        struct entry *grown = realloc(p->entries, (size_t)more * sizeof *grown);
        if (!grown)
            return NULL;
        p->entries = grown;
        p->capacity = more;
    }
    memmove(p->entries + at + 1, p->entries + at, (size_t)(p->count - at) * sizeof *p->entries);
    p->entries[at] = (struct entry){.offset = offset};
    p->count++;
    return &p->entries[at];
}

/* A header's decimal number; -1: none. */
static int64_t header_number(const struct record *r, const char *name)
{
    struct span text = record_header(r, name);
    int64_t n = 0;
    if (!text.data || !text.size || text.size > 18)
        return -1;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return -1;
        n = 10 * n + (text.data[i] - '0');
    }
    return n;
}

/* Does a prediction answer a request that the query asks for? */
static bool is_asked(const struct answered *a, const struct record *r, int64_t partition, int64_t offset)
{
    const struct answered_query *q = &a->query;
    struct span topic = record_header(r, "src.topic");
    return topic.data && topic.size == strlen(a->input) && memcmp(topic.data, a->input, topic.size) == 0 &&
           partition >= 0 && partition < a->partitions && offset >= q->from && offset < q->to &&
           (q->partition < 0 || partition == q->partition);
}

static int head_read(const struct answered *a, const struct record *r, struct prediction_head *head,
                     struct fail *why)
{
    const struct payload_wait wait = {.timeout_ms = a->timeout_ms};
    struct span payload;
    int rc = record_payload_wait(r, record_type_find("Prediction"), &wait, &payload, why);
    if (!rc)
        rc = prediction_read_head(payload, head, why);
    if (!rc || fail_class(why->code) != FAIL_RECORD)
        return rc;
    why->code = E_FAILED;
    fail_prefix(why, "%s [%d] offset %lld is no prediction that can be read", r->topic, (int)r->partition,
                (long long)r->offset);
    return -E_FAILED;
}

static int take(struct answered *a, const struct record *r, struct fail *why)
{
    const struct answered_query *q = &a->query;
    struct prediction_head head;
    int64_t partition = header_number(r, "src.partition"), offset = header_number(r, "src.offset");
    if (!is_asked(a, r, partition, offset))
        return 0;
    int rc = head_read(a, r, &head, why);
    if (rc || head.model.size != strlen(q->model) || memcmp(head.model.data, q->model, head.model.size) != 0)
        return rc;
    bool again = head.supersedes && head.version == q->version;
    struct part *p = &a->parts[partition];
    struct entry *e = find(p, offset);
    if (!e && q->served && head.version != q->served && !again)
        return 0; /* of no interest unless the version asked for answers it later */
    if (!e && !(e = insert(p, offset)))
        return fail(why, E_MEMORY, "no memory for %lld answered requests", (long long)p->count);
    e->version = head.version;
    e->again |= again;
    return 0;
}

/* Keeps what is to be answered again. */
static void choose(struct answered *a)
{
    const struct answered_query *q = &a->query;
    for (int i = 0; i < a->partitions; i++) {
        struct part *p = &a->parts[i];
        int64_t kept = 0;
        for (int64_t k = 0; k < p->count; k++) {
            const struct entry *e = &p->entries[k];
            if (e->again || e->version == q->version)
                a->done++;
            else if (!q->served || e->version == q->served)
                p->entries[kept++] = *e;
        }
        p->count = kept;
        a->count += kept;
    }
}

/* The predictions topic as far as it is stable now: with workers at work its end moves on for ever, and what they answer from
 * now on is none of an earlier run's doing. */
static int read_all(struct answered *a, const struct settings *s, int timeout_ms, struct fail *why)
{
    char topic[TOPIC_NAME];
    int partitions = 0, count = 0, idle_ms = 0;
    struct reader *reader = NULL;
    struct reader_range *ranges = NULL;
    struct record r;
    topic_full_name(s, TOPIC_PREDICTIONS, topic);
    int rc = topic_partitions(s, topic, timeout_ms, &partitions, why);
    if (!rc && !(ranges = calloc((size_t)partitions, sizeof *ranges)))
        rc = fail(why, E_MEMORY, "%d partitions", partitions);
    for (int32_t p = 0; !rc && p < partitions; p++)
        if (a->query.partition < 0 || p == a->query.partition % partitions)
            ranges[count++] = (struct reader_range){p, READER_BEGINNING, READER_END};
    if (!rc)
        rc = reader_open(&reader, s, topic, ranges, count, READER_BEGINNING, timeout_ms, why);
    for (bool done = false; !rc && !done;) {
        int event = reader_next(reader, &r, WAIT_MS, why);
        idle_ms = event == SOURCE_NONE ? idle_ms + WAIT_MS : 0;
        done = event == SOURCE_END;
        if (event == SOURCE_RECORD)
            rc = take(a, &r, why);
        else if (event < 0)
            rc = event;
        else if (idle_ms > timeout_ms)
            rc = fail(why, E_UNREACHABLE, "%s gave nothing for %d ms", topic, timeout_ms);
    }
    reader_close(&reader);
    free(ranges);
    return rc;
}

int answered_read(struct answered **out, const struct settings *s, const struct answered_query *q,
                  int timeout_ms, struct fail *why)
{
    struct answered *a = calloc(1, sizeof *a);
    if (!a)
        return fail(why, E_MEMORY, "answered requests");
    a->query = *q;
    a->timeout_ms = timeout_ms;
    topic_full_name(s, TOPIC_INFERENCE, a->input);
    int rc = topic_partitions(s, a->input, timeout_ms, &a->partitions, why);
    if (!rc && !(a->parts = calloc((size_t)a->partitions, sizeof *a->parts)))
        rc = fail(why, E_MEMORY, "%d partitions", a->partitions);
    if (!rc)
        rc = read_all(a, s, timeout_ms, why);
    if (rc)
        answered_free(&a);
    else
        choose(a);
    *out = a;
    return rc;
}

void answered_free(struct answered **answered)
{
    struct answered *a = *answered;
    if (!a)
        return;
    for (int i = 0; a->parts && i < a->partitions; i++)
        free(a->parts[i].entries);
    free(a->parts);
    free(a);
    *answered = NULL;
}

int answered_partitions(const struct answered *a)
{
    return a->partitions;
}

int64_t answered_count(const struct answered *a)
{
    return a->count;
}

int64_t answered_done(const struct answered *a)
{
    return a->done;
}

int64_t answered_version(const struct answered *a, int32_t partition, int64_t offset)
{
    const struct entry *e =
        partition >= 0 && partition < a->partitions ? find(&a->parts[partition], offset) : NULL;
    return e ? e->version : 0;
}

bool answered_range(const struct answered *a, int32_t partition, int64_t *first, int64_t *end)
{
    const struct part *p = &a->parts[partition];
    if (!p->count)
        return false;
    *first = p->entries[0].offset;
    *end = p->entries[p->count - 1].offset + 1;
    return true;
}

int64_t answered_forget(struct answered *a, int32_t partition, int64_t start)
{
    struct part *p = &a->parts[partition];
    int64_t gone = place(p, start);
    memmove(p->entries, p->entries + gone, (size_t)(p->count - gone) * sizeof *p->entries);
    p->count -= gone;
    a->count -= gone;
    return gone;
}
