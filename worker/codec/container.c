/* Avro object container files: header, blocks, sync markers. Where a datum ends is skip.c's affair, what it
 * means its decoder's. A file: "Obj" 1, a map of metadata, 16 bytes of sync; then blocks of count, size,
 * data, sync. */
#include "worker/codec/container.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "engine/rng.h"
#include "worker/codec/skip.h"
#include "worker/codec/wire.h"
#include "worker/service/file.h"

enum { SYNC = 16, BLOCK_BYTES = 64 * 1024, DEFLATE_RATIO = 1032 };

static const unsigned char magic[4] = {'O', 'b', 'j', 1};

struct container {
    struct file_map map;
    const struct record_type *type;
    int version;
    bool deflate;
    struct skip *skip;
    const unsigned char *sync, *next_block;
    int64_t block_at, left, index; /* left: datums of this block */
    const unsigned char *at, *end; /* in the block's data, inflated where it was deflated */
    unsigned char *inflated;
    bool failed;
    struct fail failure;
};

static int64_t offset_of(const struct container *c, const unsigned char *at)
{
    return (int64_t)(at - c->map.base);
}

/* ---- header ---- */

struct metadata {
    struct span schema, codec;
};

static int read_metadata(struct container *c, struct metadata *m, struct fail *why)
{
    struct wire r;
    struct wire_blocks blocks = {0};
    struct fail inner = {0};
    if (c->map.size < sizeof magic || memcmp(c->map.base, magic, sizeof magic) != 0)
        return fail(why, E_FILE, "%s: byte 0: not an Avro object container: expected \"Obj\" and 1",
                    c->map.path);
    wire_open(&r, (struct span){(const char *)c->map.base + 4, c->map.size - 4}, &inner);
    while (wire_next(&r, "metadata", &blocks, 2)) {
        struct span key = wire_string(&r, "key"), value = wire_bytes(&r, "value");
        if (key.size == 11 && memcmp(key.data, "avro.schema", 11) == 0)
            m->schema = value;
        if (key.size == 10 && memcmp(key.data, "avro.codec", 10) == 0)
            m->codec = value;
    }
    c->sync = r.at;
    bool short_sync = (size_t)(r.end - r.at) < SYNC;
    if (r.broken || short_sync)
        return fail(why, E_FILE, "%s: byte %" PRId64 ": the header is broken: %s", c->map.path,
                    offset_of(c, r.at), r.broken ? inner.text : "no 16 bytes of sync marker");
    c->next_block = r.at + SYNC;
    return 0;
}

static bool span_is(struct span s, const char *text)
{
    return s.size == strlen(text) && (s.size == 0 || memcmp(s.data, text, s.size) == 0);
}

static bool schema_is(const char *canonical, const struct record_type *t, int version)
{
    const char *text = record_schema(t, version);
    char *ours = text ? schema_canonical(text, strlen(text)) : NULL;
    bool same = ours && strcmp(ours, canonical) == 0;
    free(ours);
    return same;
}

/* The published schema that the file was written with: exactly one can have this canonical form. */
static int find_type(struct container *c, const char *canonical, const struct record_type *wanted,
                     struct fail *why)
{
    const struct record_type *t;
    for (int i = 0; (t = record_type_at(i)); i++)
        for (int v = t->version; v >= 1 && !c->type; v--)
            if (schema_is(canonical, t, v)) {
                c->type = t;
                c->version = v;
            }
    if (wanted && c->type != wanted)
        return fail(why, E_FILE, "%s: avro.schema is %s %s, expected %s as millrace publishes it",
                    c->map.path, c->type ? "of" : "none of ours:", c->type ? c->type->name : canonical,
                    wanted->name);
    if (!c->type)
        return fail(why, E_FILE,
                    "%s: avro.schema is no published record type (schemas/*.avsc); its form is %.200s",
                    c->map.path, canonical);
    return 0;
}

static int read_schema(struct container *c, struct span schema, const struct record_type *wanted,
                       struct fail *why)
{
    char *canonical = schema.data ? schema_canonical(schema.data, schema.size) : NULL;
    if (!canonical)
        return fail(why, E_FILE, "%s: the header's avro.schema is %s", c->map.path,
                    schema.data ? "not an Avro schema" : "missing");
    int rc = find_type(c, canonical, wanted, why);
    if (rc == 0 && !(c->skip = skip_open(canonical)))
        rc = fail(why, E_MEMORY, "%s: out of memory for its schema", c->map.path);
    free(canonical);
    return rc;
}

static int read_header(struct container *c, const struct record_type *wanted, struct fail *why)
{
    struct metadata m = {0};
    int rc = read_metadata(c, &m, why);
    if (rc)
        return rc;
    c->deflate = span_is(m.codec, "deflate");
    if (!c->deflate && m.codec.data && !span_is(m.codec, "null") && m.codec.size)
        return fail(why, E_FILE, "%s: avro.codec is %.*s, expected null or deflate", c->map.path,
                    (int)(m.codec.size < 40 ? m.codec.size : 40), m.codec.data);
    return read_schema(c, m.schema, wanted, why);
}

int container_open(struct container **out, const char *path, const struct record_type *type, struct fail *why)
{
    struct container *c = calloc(1, sizeof *c);
    if (!c)
        return fail(why, E_MEMORY, "%s: out of memory", path);
    int rc = file_map_open(&c->map, path, why);
    if (rc == 0)
        rc = read_header(c, type, why);
    c->index = -1;
    if (rc)
        container_close(&c);
    else
        *out = c;
    return rc;
}

void container_close(struct container **c)
{
    if (!*c)
        return;
    skip_close(&(*c)->skip);
    free((*c)->inflated);
    file_map_close(&(*c)->map);
    free(*c);
    *c = NULL;
}

const struct record_type *container_type(const struct container *c)
{
    return c->type;
}

int container_version(const struct container *c)
{
    return c->version;
}

int64_t container_index(const struct container *c)
{
    return c->index;
}

/* ---- blocks ---- */

static int block_fail(const struct container *c, struct fail *why, const char *what)
{
    return fail(why, E_FILE, "%s: block at byte %" PRId64 ", behind record %" PRId64 ": %s", c->map.path,
                c->block_at, c->index, what);
}

/* Raw deflate into a buffer that grows: nobody says how large it becomes, deflate allows 1032 times. */
static int inflate_into(struct container *c, z_stream *z, size_t most, struct fail *why)
{
    size_t capacity = 0;
    int rc = Z_OK;
    free(c->inflated);
    c->inflated = NULL;
    while (rc == Z_OK) {
        if (z->total_out == capacity) {
            capacity = capacity ? 2 * capacity : BLOCK_BYTES;
            capacity = capacity < most ? capacity : most;
            unsigned char *more = realloc(c->inflated, capacity);
            if (!more)
                return fail(why, E_MEMORY, "%s: out of memory for a block", c->map.path);
            c->inflated = more;
        }
        z->next_out = c->inflated + z->total_out;
        z->avail_out = (uInt)(capacity - z->total_out < 1u << 30 ? capacity - z->total_out : 1u << 30);
        rc = inflate(z, Z_NO_FLUSH);
        if (rc == Z_OK && z->avail_in == 0 && z->avail_out)
            break;
    }
    /* Bytes behind the stream are let be: Python's avro leaves a piece of zlib's checksum there. */
    if (rc != Z_STREAM_END)
        return block_fail(c, why, z->msg ? z->msg : "the deflate stream does not end in it");
    c->at = c->inflated;
    c->end = c->inflated + z->total_out;
    return 0;
}

static int inflate_block(struct container *c, const unsigned char *data, size_t size, struct fail *why)
{
    z_stream z = {.next_in = (Bytef *)data, .avail_in = (uInt)size};
    if (size > UINT32_MAX)
        return block_fail(c, why, "a deflated block of 4 GiB or more");
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return fail(why, E_MEMORY, "%s: out of memory to inflate", c->map.path);
    int rc = inflate_into(c, &z, DEFLATE_RATIO * size + 64, why);
    inflateEnd(&z);
    return rc;
}

/* Its count, its size and its sync are checked before anything of it is used. */
static int open_block(struct container *c, struct fail *why)
{
    struct wire r;
    struct fail inner;
    c->block_at = offset_of(c, c->next_block);
    size_t rest = c->map.size - (size_t)c->block_at;
    wire_open(&r, (struct span){(const char *)c->next_block, rest}, &inner);
    int64_t count = wire_long(&r, "count"), size = wire_long(&r, "size");
    if (r.broken)
        return block_fail(c, why, inner.text);
    if (count < 0 || size < 0)
        return block_fail(c, why, "a negative count or size");
    if (size > r.end - r.at || r.end - r.at - size < SYNC)
        return block_fail(c, why, "the file ends inside it");
    if (memcmp(r.at + size, c->sync, SYNC) != 0)
        return block_fail(c, why, "no sync marker behind its data");
    c->next_block = r.at + size + SYNC;
    c->at = r.at;
    c->end = r.at + size;
    int rc = c->deflate ? inflate_block(c, r.at, (size_t)size, why) : 0;
    if (rc == 0 && count > c->end - c->at)
        return block_fail(c, why, "more records than bytes");
    c->left = count;
    return rc;
}

static int next_datum(struct container *c, struct span *value, struct fail *why)
{
    struct fail inner;
    while (c->left == 0) {
        if (c->at != c->end)
            return block_fail(c, why, "bytes left over behind its last record");
        if (c->next_block == c->map.base + c->map.size)
            return 0;
        int rc = open_block(c, why);
        if (rc)
            return rc;
    }
    const unsigned char *from = c->at;
    c->index++;
    if (skip_datum(c->skip, &c->at, c->end, &inner))
        return fail(why, E_FILE, "%s: block at byte %" PRId64 ", record %" PRId64 ": %s", c->map.path,
                    c->block_at, c->index, inner.text);
    c->left--;
    *value = (struct span){(const char *)from, (size_t)(c->at - from)};
    return 1;
}

int container_next(struct container *c, struct span *value, struct fail *why)
{
    if (c->failed) {
        if (why)
            *why = c->failure;
        return -(int)c->failure.code;
    }
    int rc = next_datum(c, value, &c->failure);
    if (rc < 0) {
        c->failed = true;
        if (why)
            *why = c->failure;
    }
    return rc;
}

/* ---- writing ---- */

struct container_writer {
    struct file_out out;
    unsigned char sync[SYNC];
    struct bytes block;
    int64_t count; /* datums in block */
};

/* The same records make the same file: the marker is made of the schema, not of chance. */
static void make_sync(unsigned char sync[SYNC], const char *schema)
{
    uint64_t h[2] = {0x6d696c6c72616365u, 0};
    for (const char *s = schema; *s; s++)
        h[0] = rng_hash(h[0], (unsigned char)*s, 0, 0);
    h[1] = rng_hash(h[0], 1, 0, 0);
    memcpy(sync, h, SYNC);
}

static int write_header(struct container_writer *w, const char *schema, struct fail *why)
{
    struct bytes head = {0};
    make_sync(w->sync, schema);
    bytes_put(&head, magic, sizeof magic);
    bytes_put_long(&head, 2);
    bytes_put_text(&head, "avro.schema");
    bytes_put_text(&head, schema);
    bytes_put_text(&head, "avro.codec");
    bytes_put_text(&head, "null");
    bytes_put_long(&head, 0);
    bytes_put(&head, w->sync, SYNC);
    int rc = head.failed ? fail(why, E_MEMORY, "%s: out of memory", w->out.path)
                         : file_out_write(&w->out, head.data, head.size, why);
    bytes_free(&head);
    return rc;
}

static int write_block(struct container_writer *w, struct fail *why)
{
    struct bytes head = {0};
    if (w->count == 0)
        return 0;
    bytes_put_long(&head, w->count);
    bytes_put_long(&head, (int64_t)w->block.size);
    bytes_put(&w->block, w->sync, SYNC);
    int rc = head.failed || w->block.failed ? fail(why, E_MEMORY, "%s: out of memory", w->out.path) : 0;
    if (rc == 0)
        rc = file_out_write(&w->out, head.data, head.size, why);
    if (rc == 0)
        rc = file_out_write(&w->out, w->block.data, w->block.size, why);
    bytes_free(&head);
    w->block.size = 0;
    w->count = 0;
    return rc;
}

int container_create(struct container_writer **out, const char *path, const struct record_type *type,
                     struct fail *why)
{
    struct container_writer *w = calloc(1, sizeof *w);
    if (!w)
        return fail(why, E_MEMORY, "%s: out of memory", path);
    int rc = file_out_open(&w->out, path, why);
    if (rc == 0)
        rc = write_header(w, record_schema(type, type->version), why);
    if (rc)
        container_abandon(&w);
    else
        *out = w;
    return rc;
}

int container_append(struct container_writer *w, const void *datum, size_t size, struct fail *why)
{
    bytes_put(&w->block, datum, size);
    w->count++;
    return w->block.size >= BLOCK_BYTES || w->block.failed ? write_block(w, why) : 0;
}

int container_finish(struct container_writer **w, struct fail *why)
{
    int rc = write_block(*w, why);
    if (rc == 0)
        rc = file_out_commit(&(*w)->out, why);
    container_abandon(w);
    return rc;
}

void container_abandon(struct container_writer **w)
{
    if (!*w)
        return;
    file_out_close(&(*w)->out);
    bytes_free(&(*w)->block);
    free(*w);
    *w = NULL;
}
