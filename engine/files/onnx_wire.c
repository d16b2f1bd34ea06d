/* Bytes of an ONNX file to protobuf messages. The bytes are walked once before protobuf-c sees them, for it
 * follows any nesting by recursion and takes text as it comes; its memory is bounded by the file's size.
 * What the messages mean is for others. Next to read: onnx_read.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"

enum { DEPTH_MOST = 64, BUDGET_LEAST = 16 << 20, BUDGET_FACTOR = 4, BLOCK_HEAD = 16 };
enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

struct onnx_file {
    ProtobufCAllocator allocator;
    size_t used, limit; /* bytes */
    bool starved;       /* the machine had no memory: says nothing of the file */
    Onnx__ModelProto *model;
};

/* ---- the walk ---- */

struct walk {
    const char *file;
    const uint8_t *bytes;
    struct fail *why;
};

static int broken(const struct walk *w, const uint8_t *at, const char *what)
{
    return fail(w->why, E_FILE, "%s: byte %zu: %s: truncated, damaged or not an ONNX file", w->file,
                (size_t)(at - w->bytes), what);
}

/* Returns the bytes that the varint takes, 0 when it does not end in time. */
static int read_varint(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (int i = 0; i < 10 && p + i < end; i++) {
        *value |= (uint64_t)(p[i] & 0x7f) << 7 * i;
        if (!(p[i] & 0x80))
            return i + 1;
    }
    return 0;
}

/* The bytes of one UTF-8 character, 0 when it is none: overlong forms, surrogates and NUL are none. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    static const uint32_t least[] = {0, 1, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (!n || n > left)
        return 0;
    uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

static bool is_utf8(const uint8_t *p, size_t size)
{
    for (size_t at = 0, n; at < size; at += n)
        if (!(n = utf8_length(p + at, size - at)))
            return false;
    return true;
}

static int walk_message(const struct walk *w, const ProtobufCMessageDescriptor *d, const uint8_t *p,
                        const uint8_t *end, int depth);

/* The value of a field of known length. */
static int walk_bytes(const struct walk *w, const ProtobufCFieldDescriptor *field, const uint8_t *p,
                      size_t size, int depth)
{
    if (field && field->type == PROTOBUF_C_TYPE_MESSAGE)
        return walk_message(w, field->descriptor, p, p + size, depth + 1);
    if (field && field->type == PROTOBUF_C_TYPE_STRING && !is_utf8(p, size))
        return broken(w, p, "a text that is not UTF-8");
    return 0;
}

/* Every field of a message: tag, then what the tag says. Recursion ends at DEPTH_MOST. */
static int walk_message(const struct walk *w, const ProtobufCMessageDescriptor *d, const uint8_t *p,
                        const uint8_t *end, int depth)
{
    if (depth > DEPTH_MOST)
        return broken(w, p, "messages nested too deep");
    while (p < end) {
        const uint8_t *tag_at = p;
        uint64_t tag, value = 0;
        int n = read_varint(p, end, &tag), rc;
        if (!n || tag >> 3 == 0 || tag >> 32)
            return broken(w, tag_at, "no field begins here");
        p += n;
        unsigned wire = tag & 7;
        if (wire == WIRE_VARINT || wire == WIRE_BYTES) {
            if (!(n = read_varint(p, end, &value)))
                return broken(w, p, "a number does not end");
            p += n;
        } else if (wire == WIRE_64 || wire == WIRE_32)
            value = wire == WIRE_64 ? 8 : 4;
        else
            return broken(w, tag_at, "a field of unknown kind");
        if (wire == WIRE_VARINT)
            continue;
        if (value > (uint64_t)(end - p))
            return broken(w, tag_at, "a field is longer than what holds it");
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
        if (wire == WIRE_BYTES && (rc = walk_bytes(w, field, p, (size_t)value, depth)))
            return rc;
        p += value;
    }
    return 0;
}

/* ---- memory: each block remembers its size in front of it ---- */

static void *budget_alloc(void *data, size_t size)
{
    struct onnx_file *f = data;
    if (size > f->limit - f->used || f->limit - f->used - size < BLOCK_HEAD)
        return NULL;
    unsigned char *block = malloc(size + BLOCK_HEAD);
    if (!block) {
        f->starved = true;
        return NULL;
    }
    f->used += size + BLOCK_HEAD;
    memcpy(block, &size, sizeof size);
    return block + BLOCK_HEAD;
}

static void budget_free(void *data, void *pointer)
{
    struct onnx_file *f = data;
    size_t size;
    if (!pointer)
        return;
    unsigned char *block = (unsigned char *)pointer - BLOCK_HEAD;
    memcpy(&size, block, sizeof size);
    f->used -= size + BLOCK_HEAD;
    free(block);
}

int onnx_file_open(struct onnx_file **out, const char *name, const void *bytes, size_t size, struct fail *why)
{
    struct walk w = {name, bytes, why};
    *out = NULL;
    if (!size || size > INT32_MAX)
        return fail(why, E_FILE, "%s: %zu bytes; an ONNX file has 1 to 2^31 - 1", name, size);
    int rc = walk_message(&w, &onnx__model_proto__descriptor, bytes, w.bytes + size, 0);
    if (rc)
        return rc;
    struct onnx_file *f = calloc(1, sizeof *f);
    if (!f)
        return fail(why, E_MEMORY, "%s: no memory", name);
    f->allocator = (ProtobufCAllocator){budget_alloc, budget_free, f};
    f->limit = BUDGET_LEAST + BUDGET_FACTOR * size;
    f->model = onnx__model_proto__unpack(&f->allocator, size, bytes);
    if (!f->model) {
        bool starved = f->starved;
        onnx_file_close(&f);
        if (starved)
            return fail(why, E_MEMORY, "%s: no memory to read it", name);
        return fail(why, E_FILE,
                    "%s: its %zu bytes are no ONNX model, or one that would take more than %zu MB", name,
                    size, (BUDGET_LEAST + BUDGET_FACTOR * size) >> 20);
    }
    *out = f;
    return 0;
}

void onnx_file_close(struct onnx_file **file)
{
    if (!*file)
        return;
    if ((*file)->model)
        onnx__model_proto__free_unpacked((*file)->model, &(*file)->allocator);
    free(*file);
    *file = NULL;
}

const Onnx__ModelProto *onnx_file_model(const struct onnx_file *file)
{
    return file->model;
}
