/* libFuzzer target for dead letters: `make fuzz-deadletter`. The input is cut into a record's key, value and headers, dlq.* ones
 * among them, and a reason's text; what comes out must keep every byte of the record and say the rest as contract.md
 * promises. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/service/text.h"
#include "worker/stream/batch.h"

enum { HEADERS = 24, DETAIL = 256, CUT = 65536 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Holds in every build: a failed promise must stop the fuzzer. */
static void must(bool promise)
{
    if (!promise)
        abort();
}

struct input {
    const uint8_t *at, *end;
};

static unsigned take_byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* A length, then as many bytes; length 255: null. */
static struct span take_span(struct input *in)
{
    size_t n = take_byte(in), left = (size_t)(in->end - in->at);
    if (n == 255)
        return (struct span){NULL, 0};
    n = n < left ? n : left;
    struct span s = {(const char *)in->at, n};
    in->at += n;
    return s;
}

/* Names are C strings in librdkafka too. A third of them are ours. */
static void take_header(struct input *in, struct header *h, char name[64])
{
    static const char *const known[] = {"dlq.attempts",    "dlq.reason",    "dlq.topic",
                                        "dlq.detail",      "dlq.",          "src.offset",
                                        "millrace.schema", "dlq.truncated", "dlq.sha256"};
    unsigned kind = take_byte(in);
    struct span given = take_span(in);
    size_t n = given.data ? strnlen(given.data, given.size < 63 ? given.size : 63) : 0;
    memcpy(name, given.data ? given.data : "", n);
    name[n] = 0;
    h->name = kind < 9 ? known[kind] : name;
    h->value = take_span(in);
}

static bool equal(struct span a, struct span b)
{
    return a.size == b.size && !a.data == !b.data && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}

static bool is_ours(const char *name)
{
    return strncmp(name, "dlq.", 4) == 0;
}

/* Headers of the record that are not dlq.*, in order and byte for byte; behind them each dlq.* once. */
static int check_headers(const struct record *r, const struct output *o, bool cut)
{
    int at = 0;
    for (int i = 0; !cut && i < r->header_count; i++) {
        if (is_ours(r->headers[i].name))
            continue;
        must(at < o->header_count && strcmp(o->headers[at].name, r->headers[i].name) == 0);
        must(equal(o->headers[at++].value, r->headers[i].value));
    }
    for (int i = at; i < o->header_count; i++) {
        struct span v = o->headers[i].value;
        must(is_ours(o->headers[i].name) && v.data && text_is_utf8(v.data, v.size));
        for (int k = at; k < i; k++)
            must(strcmp(o->headers[k].name, o->headers[i].name) != 0);
    }
    return o->header_count - at;
}

/* One more than the last dlq.attempts that came, when that is a number. */
static void check_attempts(const struct record *r, const struct record *out)
{
    struct span old = record_header(r, "dlq.attempts"), new = record_header(out, "dlq.attempts");
    char text[32];
    int64_t before = 0, now;
    must(new.size > 0 && new.size < sizeof text);
    memcpy(text, new.data, new.size);
    text[new.size] = 0;
    must(text_to_int(text, &now) && now >= 1);
    if (!old.data || !old.size || old.size > 9 || memchr(old.data, 0, old.size))
        return;
    memcpy(text, old.data, old.size);
    text[old.size] = 0;
    if (strspn(text, "0123456789") == old.size && text_to_int(text, &before))
        must(now == before + 1);
}

static void check(const struct record *r, const struct output *o, size_t limit)
{
    const struct record out = {.headers = o->headers, .header_count = o->header_count};
    struct span cut = record_header(&out, "dlq.truncated"), detail = record_header(&out, "dlq.detail");
    int own = check_headers(r, o, cut.data != NULL);
    must(own == (cut.data ? 11 : 9));
    must(equal(o->key, r->key) && o->partition == r->partition && o->topic == TOPIC_DEAD_LETTERS);
    must(detail.size <= DETAIL && record_header(&out, "dlq.reason").size > 0);
    must(!o->value.data == !r->value.data && o->value.size <= r->value.size);
    must(!o->value.size || memcmp(o->value.data, r->value.data, o->value.size) == 0);
    if (cut.data)
        must(o->value.size <= CUT && record_header(&out, "dlq.sha256").size == 64);
    else
        must(o->value.size == r->value.size && o->key.size + o->value.size <= limit);
    check_attempts(r, &out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct header headers[HEADERS];
    char names[HEADERS][64];
    struct batch b = {0};
    struct fail reason = {.code = E_BAD_AVRO}, why;
    size_t limit = take_byte(&in) % 2 ? 17 << 20 : 2048;
    struct record r = {.topic = "t", .partition = (int32_t)take_byte(&in), .offset = (int64_t)size << 40};
    r.header_count = (int)(take_byte(&in) % HEADERS);
    for (int i = 0; i < r.header_count; i++)
        take_header(&in, &headers[i], names[i]);
    r.headers = headers;
    r.key = take_span(&in);
    struct span text = take_span(&in);
    size_t n = text.data ? strnlen(text.data, text.size) : 0;
    for (size_t i = 0; n && i < sizeof reason.text - 1; i++) /* longer than a detail may be */
        reason.text[i] = text.data[i % n];
    r.value = (struct span){(const char *)in.at, (size_t)(in.end - in.at)};
    must(batch_dead_letter(&b, &r, "decode", &reason, "worker", limit, &why) == 0);
    must(b.output_count == 1);
    check(&r, &b.outputs[0], limit);
    region_free(&b.mem);
    return 0;
}
