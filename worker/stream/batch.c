/* Outputs of a batch and the headers that every derived record carries. Who commits batches: committer.c; who
 * makes them: infer/runner.c, train/trainer.c. */
#include "worker/stream/batch.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "worker/service/text.h"

enum { DETAIL_BYTES = 256, TRUNCATED_BYTES = 65536, DLQ_HEADERS = 12, HEADER_OVERHEAD = 64 };

void batch_reset(struct batch *b)
{
    region_reset(&b->mem);
    b->outputs = NULL;
    b->output_count = b->output_capacity = 0;
    b->offsets = NULL;
    b->offset_count = 0;
    b->tallies = NULL;
    b->tally_count = b->tally_capacity = 0;
    b->rows = b->bytes = b->wait_us = 0;
    b->hurry = false;
}

/* Twice the room of a list in the batch's memory; NULL: out of memory. */
static void *grow(struct batch *b, const void *old, int count, int *capacity, size_t item)
{
    int more = *capacity ? 2 * *capacity : 64;
    void *new = region_alloc(&b->mem, (size_t)more * item);
    if (!new)
        return NULL;
    if (count)
        memcpy(new, old, (size_t)count * item);
    *capacity = more;
    return new;
}

/* A batch meets few counters, each often: they are looked up from the newest on. */
int batch_count(struct batch *b, counter *c, uint64_t n, struct fail *why)
{
    if (!c || !n)
        return 0;
    for (int i = b->tally_count; i-- > 0;)
        if (b->tallies[i].counter == c) {
            b->tallies[i].n += n;
            return 0;
        }
    if (b->tally_count == b->tally_capacity) {
        void *more = grow(b, b->tallies, b->tally_count, &b->tally_capacity, sizeof *b->tallies);
        if (!more)
            return fail(why, E_MEMORY, "counters of a batch");
        b->tallies = more;
    }
    b->tallies[b->tally_count++] = (struct tally){c, n};
    return 0;
}

void batch_count_up(const struct batch *b)
{
    for (int i = 0; i < b->tally_count; i++)
        counter_add(b->tallies[i].counter, b->tallies[i].n);
}

struct output *batch_output(struct batch *b, enum topic topic, int32_t partition, int header_count)
{
    if (b->output_count == b->output_capacity) {
        struct output *more = grow(b, b->outputs, b->output_count, &b->output_capacity, sizeof *b->outputs);
        if (!more)
            return NULL;
        b->outputs = more;
    }
    struct header *headers = region_alloc(&b->mem, (size_t)header_count * sizeof *headers);
    if (!headers)
        return NULL;
    struct output *o = &b->outputs[b->output_count++];
    *o = (struct output){
        .topic = topic, .partition = partition, .headers = headers, .header_count = header_count};
    return o;
}

/* A header whose value is a decimal number or a text; false when memory is out. Digit by digit: every answer has two numbers, and
 * printf would be a good part of what an answer of one row costs. */
static bool header_number(struct batch *b, struct header *h, const char *name, int64_t value)
{
    char digits[24], *at = digits + sizeof digits;
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0)
        *--at = '-';
    size_t size = (size_t)(digits + sizeof digits - at);
    char *text = region_copy(&b->mem, at, size);
    *h = (struct header){name, {text, size}};
    return text != NULL;
}

static bool header_text(struct batch *b, struct header *h, const char *name, const char *text, size_t size)
{
    char *copy = region_copy(&b->mem, text, size);
    *h = (struct header){name, {copy, size}};
    return copy != NULL;
}

int batch_derived(struct batch *b, enum topic topic, const struct record *from, struct span key,
                  struct span value, struct fail *why)
{
    static const struct header schema = {"millrace.schema", {"1", 1}};
    struct output *o = batch_output(b, topic, from ? from->partition : -1, from ? 4 : 1);
    if (!o)
        return fail(why, E_MEMORY, "an output of %zu bytes", value.size);
    o->key = key;
    o->value = value;
    o->headers[0] = schema;
    b->bytes += (int64_t)(key.size + value.size);
    if (!from)
        return 0;
    if (!header_text(b, &o->headers[1], "src.topic", from->topic, strlen(from->topic)) ||
        !header_number(b, &o->headers[2], "src.partition", from->partition) ||
        !header_number(b, &o->headers[3], "src.offset", from->offset))
        return fail(why, E_MEMORY, "headers");
    return 0;
}

static size_t record_bytes(const struct record *r)
{
    size_t n = r->key.size + r->value.size;
    for (int i = 0; i < r->header_count; i++)
        n += strlen(r->headers[i].name) + r->headers[i].value.size + HEADER_OVERHEAD;
    return n;
}

/* The number after this one: attempts begin at 1 and count on where a dead letter was sent again. */
static int64_t attempts_next(const struct record *r)
{
    struct span old = record_header(r, "dlq.attempts");
    int64_t n = 0;
    if (!old.data || old.size == 0 || old.size > 9)
        return 1;
    for (size_t i = 0; i < old.size; i++) {
        if (old.data[i] < '0' || old.data[i] > '9')
            return 1;
        n = 10 * n + (old.data[i] - '0');
    }
    return n + 1;
}

/* The text cut to what dlq.detail may hold, at the start of a UTF-8 character. */
static size_t detail_size(const char *text)
{
    size_t n = strlen(text);
    if (n <= DETAIL_BYTES)
        return n;
    for (n = DETAIL_BYTES; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80; n--)
        ;
    return n;
}

/* The reason may quote a name of the record, cut anywhere; header values are UTF-8. */
static bool header_detail(struct batch *b, struct header *h, const char *text)
{
    char ignored[TEXT_ESCAPE];
    size_t n = detail_size(text);
    char *copy = region_copy(&b->mem, text, n);
    for (char *at = copy; copy && at < copy + n;) {
        const char *next = at;
        text_escape(&next, copy + n, ignored);
        if (next == at + 1 && (unsigned char)*at >= 0x80)
            *at = '?';
        at += next - at;
    }
    *h = (struct header){"dlq.detail", {copy, n}};
    return copy != NULL;
}

/* Original headers but for dlq.* ones, copied; returns how many, or -1. */
static int copy_headers(struct batch *b, struct header *to, const struct record *r)
{
    int n = 0;
    for (int i = 0; i < r->header_count; i++) {
        const struct header *h = &r->headers[i];
        if (strncmp(h->name, "dlq.", 4) == 0)
            continue;
        char *name = region_copy(&b->mem, h->name, strlen(h->name));
        char *value = h->value.data ? region_copy(&b->mem, h->value.data, h->value.size) : NULL;
        if (!name || (h->value.data && !value))
            return -1;
        to[n++] = (struct header){name, {value, h->value.size}};
    }
    return n;
}

static bool truncate_value(struct batch *b, struct output *o, struct header *h, int *n,
                           const struct record *r)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char hex[2 * SHA256_DIGEST_LENGTH + 1];
    SHA256((const unsigned char *)r->value.data, r->value.size, digest);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    if (o->value.size > TRUNCATED_BYTES)
        o->value.size = TRUNCATED_BYTES;
    return header_number(b, &h[(*n)++], "dlq.truncated", 1) &&
           header_text(b, &h[(*n)++], "dlq.sha256", hex, sizeof hex - 1);
}

int batch_dead_letter(struct batch *b, const struct record *r, const char *stage, const struct fail *reason,
                      const char *worker, size_t limit, struct fail *why)
{
    bool too_large = record_bytes(r) + 1024 > limit;
    struct output *o = batch_output(b, TOPIC_DEAD_LETTERS, r->partition, r->header_count + DLQ_HEADERS);
    if (!o)
        goto memory;
    struct header *h = o->headers;
    int n = too_large ? 0 : copy_headers(b, h, r);
    const char *name = fail_name(reason->code);
    if (n < 0)
        goto memory;
    o->value = r->value;
    o->key = (struct span){r->key.data ? region_copy(&b->mem, r->key.data, r->key.size) : NULL, r->key.size};
    bool ok = (!r->key.data || o->key.data) &&
              header_text(b, &h[n], "dlq.topic", r->topic, strlen(r->topic)) &&
              header_number(b, &h[n + 1], "dlq.partition", r->partition) &&
              header_number(b, &h[n + 2], "dlq.offset", r->offset) &&
              header_number(b, &h[n + 3], "dlq.timestamp", r->timestamp_ms) &&
              header_text(b, &h[n + 4], "dlq.stage", stage, strlen(stage)) &&
              header_text(b, &h[n + 5], "dlq.reason", name, strlen(name)) &&
              header_detail(b, &h[n + 6], reason->text) &&
              header_number(b, &h[n + 7], "dlq.attempts", attempts_next(r)) &&
              header_text(b, &h[n + 8], "dlq.worker", worker, strlen(worker));
    n += 9;
    if (ok && too_large)
        ok = truncate_value(b, o, h, &n, r);
    if (!ok)
        goto memory;
    o->header_count = n;
    if (r->value.data && !(o->value.data = region_copy(&b->mem, r->value.data, o->value.size)))
        goto memory;
    b->bytes += (int64_t)(o->key.size + o->value.size);
    return b->metrics ? batch_count(b, &b->metrics->dead_letters[reason->code], 1, why) : 0;
memory:
    return fail(why, E_MEMORY, "a dead letter of %zu bytes", r->value.size);
}
