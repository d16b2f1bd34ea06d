/* The bounded reader of Avro binary. What the values mean is left to the record types.
 * Next to read: inference.c, which uses all of it. The writer is in bytes.c. */
#include "worker/codec/wire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void wire_open(struct wire *r, struct span value, struct fail *why)
{
    r->at = (const unsigned char *)value.data;
    r->end = r->at + value.size;
    r->why = why;
    r->broken = r->refused = E_OK;
    r->depth = 0;
    if (!value.data || value.size == 0) {
        r->at = r->end = NULL;
        r->broken = E_EMPTY;
        fail(why, E_EMPTY, "the record has no value (a tombstone); expected Avro binary");
    }
}

int wire_close(struct wire *r)
{
    if (r->broken)
        return -(int)r->broken;
    if (r->at != r->end)
        return fail(r->why, E_TRAILING_BYTES, "%td bytes follow the record's last field", r->end - r->at);
    return -(int)r->refused;
}

void wire_enter(struct wire *r, const char *name, int64_t index)
{
    if (r->depth < WIRE_DEPTH) {
        r->place[r->depth].name = name;
        r->place[r->depth].index = index;
    }
    r->depth++;
}

void wire_leave(struct wire *r)
{
    r->depth--;
}

/* "tensors[0].shape: " and the message into *why. */
__attribute__((format(printf, 4, 0))) static void
wire_tell(struct wire *r, const char *name, enum fail_code code, const char *format, va_list args)
{
    char text[sizeof r->why->text];
    size_t n = 0;
    for (int i = 0; i < r->depth && i < WIRE_DEPTH && n < sizeof text / 2; i++)
        n += (size_t)(r->place[i].index < 0 ? snprintf(text + n, sizeof text / 4, "%s.", r->place[i].name)
                                            : snprintf(text + n, sizeof text / 4, "%s[%" PRId64 "].",
                                                       r->place[i].name, r->place[i].index));
    n += (size_t)snprintf(text + n, sizeof text / 4, "%s: ", name);
    vsnprintf(text + n, sizeof text - n, format, args);
    fail(r->why, code, "%s", text);
}

__attribute__((cold, noinline)) void wire_break(struct wire *r, const char *name, enum fail_code code,
                                                const char *format, ...)
{
    if (r->broken)
        return;
    va_list args;
    va_start(args, format);
    wire_tell(r, name, code, format, args);
    va_end(args);
    r->broken = code;
    r->at = r->end;
}

__attribute__((cold, noinline)) void wire_refuse(struct wire *r, const char *name, enum fail_code code,
                                                 const char *format, ...)
{
    if (r->broken || r->refused)
        return;
    va_list args;
    va_start(args, format);
    wire_tell(r, name, code, format, args);
    va_end(args);
    r->refused = code;
}

static void wire_short(struct wire *r, const char *name)
{
    wire_break(r, name, E_TRUNCATED, "the record ends inside this field");
}

/* Zig-zag: 0, -1, 1, -2 are 0, 1, 2, 3; seven bits a byte, lowest first, at most 64 bits in 10 bytes. */
int64_t wire_long(struct wire *r, const char *name)
{
    uint64_t v = 0;
    const unsigned char *p = r->at;
    for (int shift = 0; shift < 70; shift += 7, p++) {
        if (p == r->end) {
            wire_short(r, name);
            return 0;
        }
        if (shift == 63 && *p > 1)
            break;
        v |= (uint64_t)(*p & 0x7f) << shift;
        if (*p < 0x80) {
            r->at = p + 1;
            return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
        }
    }
    wire_break(r, name, E_BAD_AVRO, "a number has more than 64 bits");
    return 0;
}

int32_t wire_int(struct wire *r, const char *name)
{
    int64_t v = wire_long(r, name);
    if (v < INT32_MIN || v > INT32_MAX) {
        wire_break(r, name, E_BAD_AVRO, "%" PRId64 " does not fit the schema's int", v);
        return 0;
    }
    return (int32_t)v;
}

int wire_enum(struct wire *r, const char *name, int symbols)
{
    int64_t v = wire_long(r, name);
    if (v < 0 || v >= symbols) {
        wire_break(r, name, E_BAD_AVRO, "enum index %" PRId64 ", the schema has %d symbols", v, symbols);
        return 0;
    }
    return (int)v;
}

bool wire_some(struct wire *r, const char *name)
{
    int64_t v = wire_long(r, name);
    if (v != 0 && v != 1)
        wire_break(r, name, E_BAD_AVRO, "union branch %" PRId64 ", the schema has 2", v);
    return v == 1;
}

bool wire_bool(struct wire *r, const char *name)
{
    if (r->at == r->end) {
        wire_short(r, name);
        return false;
    }
    if (*r->at > 1) {
        wire_break(r, name, E_BAD_AVRO, "a boolean is 0 or 1, not %d", *r->at);
        return false;
    }
    return *r->at++ == 1;
}

/* `size` raw bytes into `to`; zeros where they are not there. */
static void wire_raw(struct wire *r, const char *name, void *to, size_t size)
{
    memset(to, 0, size);
    if ((size_t)(r->end - r->at) < size) {
        wire_short(r, name);
        return;
    }
    memcpy(to, r->at, size);
    r->at += size;
}

/* Avro's floats are little endian, as the machines that this is built for. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats are copied as they are");

float wire_float(struct wire *r, const char *name)
{
    float v;
    wire_raw(r, name, &v, sizeof v);
    return v;
}

double wire_double(struct wire *r, const char *name)
{
    double v;
    wire_raw(r, name, &v, sizeof v);
    return v;
}

struct span wire_bytes(struct wire *r, const char *name)
{
    int64_t size = wire_long(r, name);
    if (size < 0)
        wire_break(r, name, E_BAD_AVRO, "a length of %" PRId64, size);
    else if (size > r->end - r->at)
        wire_break(r, name, E_TRUNCATED, "%" PRId64 " bytes announced, %td left", size, r->end - r->at);
    if (r->broken)
        return (struct span){"", 0};
    const char *data = (const char *)r->at;
    r->at += size;
    return (struct span){data, (size_t)size};
}

struct span wire_string(struct wire *r, const char *name)
{
    struct span s = wire_bytes(r, name);
    if (!utf8_valid((const unsigned char *)s.data, s.size)) {
        wire_break(r, name, E_BAD_AVRO, "not valid UTF-8");
        return (struct span){"", 0};
    }
    return s;
}

/* Reads the head of the next block; false: the array ends here. A negative count is followed by the block's
 * size in bytes. */
static bool wire_block(struct wire *r, const char *name, struct wire_blocks *b, size_t smallest)
{
    if (b->block_end && b->block_end != r->at)
        wire_break(r, name, E_BAD_AVRO, "a block's byte size is wrong by %td", r->at - b->block_end);
    b->block_end = NULL;
    int64_t count = wire_long(r, name);
    if (count < 0) {
        int64_t size = wire_long(r, name);
        if (size < 0 || count == INT64_MIN)
            wire_break(r, name, E_BAD_AVRO, "a block of %" PRId64 " items in %" PRId64 " bytes", count, size);
        else if (size > r->end - r->at)
            wire_break(r, name, E_TRUNCATED, "a block of %" PRId64 " bytes, %td left", size, r->end - r->at);
        if (r->broken)
            return false;
        count = -count;
        b->block_end = r->at + size;
    }
    if ((uint64_t)count > (uint64_t)(r->end - r->at) / smallest)
        wire_break(r, name, E_TRUNCATED, "%" PRId64 " items announced, %td bytes left", count,
                   r->end - r->at);
    b->left = r->broken ? 0 : count;
    return b->left > 0;
}

bool wire_next(struct wire *r, const char *name, struct wire_blocks *b, size_t smallest)
{
    if (r->broken || (b->left == 0 && !wire_block(r, name, b, smallest)))
        return false;
    b->left--;
    return true;
}

struct list wire_list(struct wire *r, const char *name, enum item_kind kind)
{
    struct list l = {.at = r->at};
    struct wire_blocks b = {0};
    while (wire_next(r, name, &b, 1)) {
        if (kind == ITEM_INT)
            wire_int(r, name);
        else if (kind == ITEM_BYTES)
            wire_bytes(r, name);
        else
            wire_string(r, name);
        l.count++;
    }
    l.end = r->at;
    return l;
}

/* A reader over what is left of a list, standing at its next item; false: there is none. */
static bool list_open(struct list *l, struct wire *r)
{
    if (l->count <= 0 || l->at >= l->end)
        return false;
    wire_open(r, (struct span){(const char *)l->at, (size_t)(l->end - l->at)}, NULL);
    struct wire_blocks b = {.left = l->left_in_block};
    if (!wire_next(r, "list", &b, 1))
        return false;
    l->left_in_block = b.left;
    return true;
}

static bool list_close(struct list *l, struct wire *r)
{
    l->at = r->at;
    return !r->broken;
}

bool list_next_string(struct list *l, struct span *out)
{
    return list_next_bytes(l, out); /* UTF-8 was checked when the list was made */
}

bool list_next_bytes(struct list *l, struct span *out)
{
    struct wire r;
    if (!list_open(l, &r))
        return false;
    *out = wire_bytes(&r, "list");
    return list_close(l, &r);
}

bool list_next_int(struct list *l, int32_t *out)
{
    struct wire r;
    if (!list_open(l, &r))
        return false;
    *out = wire_int(&r, "list");
    return list_close(l, &r);
}
