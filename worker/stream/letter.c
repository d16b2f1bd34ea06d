/* Dead letters the other way round. Which are to be sent, and each once: commands/replay.c. */
#include "worker/stream/letter.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/service/text.h"

#define OURS             "dlq."
#define MARKED_PARTITION "dlq.replayed.partition"
#define MARKED_OFFSET    "dlq.replayed.offset"

/* -1: the header is absent or no number from 0. */
static int64_t number(const struct record *r, const char *name)
{
    struct span v = record_header(r, name);
    char text[24];
    int64_t n;
    snprintf(text, sizeof text, "%.*s", v.size < sizeof text ? (int)v.size : 0, v.data ? v.data : "");
    return text_to_int(text, &n) && n >= 0 ? n : -1;
}

static bool place(const struct record *r, const char *partition_name, const char *offset_name,
                  int32_t *partition, int64_t *offset)
{
    int64_t p = number(r, partition_name);
    *offset = number(r, offset_name);
    *partition = p > INT32_MAX ? -1 : (int32_t)p;
    return *partition >= 0 && *offset >= 0;
}

/* ---- markers ---- */

static bool marked(const struct record *r, struct letter_place *at)
{
    return !r->value.data && place(r, MARKED_PARTITION, MARKED_OFFSET, &at->partition, &at->offset);
}

bool letter_is_marker(const struct record *r)
{
    struct letter_place at;
    return marked(r, &at);
}

int letter_marks_take(struct letter_marks *m, const struct record *r, struct fail *why)
{
    struct letter_place at;
    if (!marked(r, &at))
        return 0;
    if (m->count == m->capacity) {
        int capacity = m->capacity ? 2 * m->capacity : 256;
        struct letter_place *more = realloc(m->list, (size_t)capacity * sizeof *more);
        if (!more)
            return fail(why, E_MEMORY, "%d markers", capacity);
        m->list = more;
        m->capacity = capacity;
    }
    m->list[m->count++] = at;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct letter_place *x = a, *y = b;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

void letter_marks_sort(struct letter_marks *m)
{
    if (m->count)
        qsort(m->list, (size_t)m->count, sizeof *m->list, compare);
}

bool letter_marks_has(const struct letter_marks *m, const struct record *letter)
{
    struct letter_place at = {letter->partition, letter->offset};
    return m->count && bsearch(&at, m->list, (size_t)m->count, sizeof at, compare);
}

void letter_marks_free(struct letter_marks *m)
{
    free(m->list);
    *m = (struct letter_marks){0};
}

/* ---- letters ---- */

/* Dead letters come of these; nothing is put into another topic because a header says so. */
static bool is_input(int topic)
{
    return topic == TOPIC_INFERENCE || topic == TOPIC_SAMPLES || topic == TOPIC_JOBS;
}

int letter_parse(struct letter *out, const struct settings *s, const struct record *r, struct fail *why)
{
    struct span topic = record_header(r, OURS "topic");
    char name[TOPIC_NAME], full[TOPIC_NAME];
    snprintf(name, sizeof name, "%.*s", topic.size < sizeof name ? (int)topic.size : 0,
             topic.data ? topic.data : "");
    int found = topic_find(s, name);
    *out = (struct letter){
        .reason = record_header(r, OURS "reason"),
        .detail = record_header(r, OURS "detail"),
        .attempts = number(r, OURS "attempts"),
    };
    bool placed = place(r, OURS "partition", OURS "offset", &out->partition, &out->offset);
    if (!is_input(found) || strcmp(topic_full_name(s, (enum topic)found, full), name) != 0)
        return fail(why, E_FAILED, "dlq.topic is \"%s\": no topic that is read here", name);
    out->topic = (enum topic)found;
    if (!placed)
        return fail(why, E_FAILED, "dlq.partition and dlq.offset are no place");
    if (record_header(r, OURS "truncated").data)
        return fail(why, E_FAILED,
                    "it was cut to its first %zu bytes (dlq.truncated): its producer has the whole",
                    r->value.size);
    return 0;
}

/* A copy that keeps null apart from empty. */
static bool copy(struct batch *b, struct span *to, struct span from)
{
    *to = (struct span){from.data ? region_copy(&b->mem, from.data, from.size) : NULL, from.size};
    return !from.data || to->data;
}

static bool copy_header(struct batch *b, struct header *to, const struct header *from)
{
    to->name = region_copy(&b->mem, from->name, strlen(from->name));
    return to->name && copy(b, &to->value, from->value);
}

static bool send_record(struct batch *b, const struct letter *l, const struct record *r)
{
    struct output *o = batch_output(b, l->topic, l->partition, r->header_count + 1);
    int n = 0;
    if (!o || !copy(b, &o->key, r->key) || !copy(b, &o->value, r->value))
        return false;
    for (int i = 0; i < r->header_count; i++)
        if (strncmp(r->headers[i].name, OURS, strlen(OURS)) != 0 &&
            !copy_header(b, &o->headers[n++], &r->headers[i]))
            return false;
    struct header attempts = {OURS "attempts", record_header(r, OURS "attempts")};
    if (attempts.value.data && !copy_header(b, &o->headers[n++], &attempts))
        return false;
    o->header_count = n;
    b->bytes += (int64_t)(o->key.size + o->value.size);
    return true;
}

static bool send_marker(struct batch *b, const struct record *r)
{
    struct output *o = batch_output(b, TOPIC_DEAD_LETTERS, r->partition, 2);
    char *partition = region_format(&b->mem, "%d", (int)r->partition);
    char *offset = region_format(&b->mem, "%lld", (long long)r->offset);
    if (!o || !partition || !offset || !copy(b, &o->key, r->key))
        return false;
    o->headers[0] = (struct header){MARKED_PARTITION, {partition, strlen(partition)}};
    o->headers[1] = (struct header){MARKED_OFFSET, {offset, strlen(offset)}};
    return true;
}

int letter_send(struct batch *b, const struct letter *l, const struct record *r, struct fail *why)
{
    return send_record(b, l, r) && send_marker(b, r)
               ? 0
               : fail(why, E_MEMORY, "a record of %zu bytes", r->value.size);
}
