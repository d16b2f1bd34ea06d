/* ZIP archives as .npz needs them. What is in the entries is for npz.c. */
#include "worker/data/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    LOCAL = 0x04034b50,
    CENTRAL = 0x02014b50,
    END = 0x06054b50,
    LOCAL_SIZE = 30,
    CENTRAL_SIZE = 46,
    END_SIZE = 22,
    COMMENT = 65535,
    STORED = 0,
    DEFLATED = 8,
    DEFLATE_RATIO = 1032
};

static unsigned u16(const unsigned char *p)
{
    return p[0] | (unsigned)p[1] << 8;
}

static uint32_t u32(const unsigned char *p)
{
    return u16(p) | (uint32_t)u16(p + 2) << 16;
}

static void put16(unsigned char *p, unsigned v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

static void put32(unsigned char *p, uint32_t v)
{
    put16(p, v & 0xffff);
    put16(p + 2, v >> 16);
}

/* ---- reading ---- */

/* The end record is the last one whose comment ends where the file ends. */
static const unsigned char *find_end(const struct zip *z)
{
    for (size_t back = END_SIZE; back <= z->size && back <= END_SIZE + COMMENT; back++) {
        const unsigned char *p = z->bytes + z->size - back;
        if (u32(p) == END && u16(p + 20) == back - END_SIZE)
            return p;
    }
    return NULL;
}

int zip_open(struct zip *z, const unsigned char *bytes, size_t size, const char *where, struct fail *why)
{
    *z = (struct zip){.bytes = bytes, .size = size, .where = where};
    const unsigned char *end = find_end(z);
    if (!end)
        return fail(why, E_FILE, "%s: byte %zu: no zip directory at its end: the archive is cut or is none",
                    where, size);
    size_t at = (size_t)(end - bytes);
    uint32_t length = u32(end + 12), start = u32(end + 16);
    if (u16(end + 10) == 0xffff || length == UINT32_MAX || start == UINT32_MAX)
        return fail(why, E_FILE,
                    "%s: byte %zu: zip64 archives (4 GiB or more) are not read; save .npy or parts", where,
                    at);
    if (u16(end + 4) || u16(end + 6) || u16(end + 8) != u16(end + 10))
        return fail(why, E_FILE, "%s: byte %zu: an archive on several disks is not read", where, at);
    if (length > at || start > at - length)
        return fail(why, E_FILE,
                    "%s: byte %zu: the directory is said to be at %u, %u bytes long, in a file of %zu", where,
                    at, start, length, size);
    z->directory = start;
    z->directory_end = (size_t)start + length;
    return 0;
}

int zip_next(const struct zip *z, size_t *cursor, struct zip_entry *e, struct fail *why)
{
    size_t at = z->directory + *cursor, rest = z->directory_end - at;
    const unsigned char *p = z->bytes + at;
    if (rest == 0)
        return 0;
    if (rest < CENTRAL_SIZE || u32(p) != CENTRAL)
        return fail(why, E_FILE, "%s: byte %zu: expected an entry of the zip directory", z->where, at);
    size_t size = (size_t)CENTRAL_SIZE + u16(p + 28) + u16(p + 30) + u16(p + 32);
    if (size > rest)
        return fail(why, E_FILE, "%s: byte %zu: an entry of %zu bytes in a directory with %zu left", z->where,
                    at, size, rest);
    *e = (struct zip_entry){.name = (const char *)p + CENTRAL_SIZE,
                            .name_size = u16(p + 28),
                            .flags = u16(p + 8),
                            .method = u16(p + 10),
                            .crc = u32(p + 16),
                            .packed = u32(p + 20),
                            .size = u32(p + 24),
                            .header = u32(p + 42)};
    *cursor += size;
    return 1;
}

/* Where an entry's bytes begin: behind its local header, whose own sizes may be wrong (numpy writes
 * 0xffffffff). */
static int find_data(const struct zip *z, const struct zip_entry *e, const unsigned char **data,
                     struct fail *why)
{
    int n = (int)(e->name_size < 80 ? e->name_size : 80);
    if (e->flags & 1 || (e->method != STORED && e->method != DEFLATED))
        return fail(why, E_FILE, "%s: %.*s is %s %u, read are 0 (stored) and 8 (deflated)", z->where, n,
                    e->name, e->flags & 1 ? "encrypted, method" : "packed by method", e->method);
    if (e->packed == UINT32_MAX || e->size == UINT32_MAX)
        return fail(why, E_FILE, "%s: %.*s: zip64 entries (4 GiB or more) are not read; save .npy", z->where,
                    n, e->name);
    const unsigned char *p = z->bytes + e->header;
    if (e->header > z->size || z->size - e->header < LOCAL_SIZE || u32(p) != LOCAL)
        return fail(why, E_FILE, "%s: byte %zu: expected the local header of %.*s", z->where, e->header, n,
                    e->name);
    size_t rest = z->size - e->header, skip = (size_t)LOCAL_SIZE + u16(p + 26) + u16(p + 28);
    if (skip > rest || e->packed > rest - skip)
        return fail(why, E_FILE, "%s: byte %zu: %.*s has %u bytes, %zu follow", z->where, e->header, n,
                    e->name, e->packed, skip > rest ? 0 : rest - skip);
    *data = p + skip;
    return 0;
}

/* Exactly e->size bytes out of exactly e->packed. */
static bool inflate_exactly(const unsigned char *from, const struct zip_entry *e, unsigned char *to)
{
    z_stream s = {.next_in = (Bytef *)from, .avail_in = e->packed, .next_out = to, .avail_out = e->size};
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK)
        return false;
    int rc = inflate(&s, Z_FINISH);
    inflateEnd(&s);
    return rc == Z_STREAM_END && s.avail_in == 0 && s.avail_out == 0;
}

int zip_extract(const struct zip *z, const struct zip_entry *e, const unsigned char **data, void **owned,
                struct fail *why)
{
    int n = (int)(e->name_size < 80 ? e->name_size : 80);
    *owned = NULL;
    int rc = find_data(z, e, data, why);
    if (rc)
        return rc;
    bool plausible = e->method == STORED ? e->size == e->packed : e->size / DEFLATE_RATIO <= e->packed;
    if (!plausible)
        return fail(why, E_FILE, "%s: %.*s: %u bytes cannot hold %u", z->where, n, e->name, e->packed,
                    e->size);
    if (e->method == DEFLATED) {
        *owned = malloc((size_t)e->size + 1);
        if (!*owned)
            return fail(why, E_MEMORY, "%s: out of memory for %.*s", z->where, n, e->name);
        if (!inflate_exactly(*data, e, *owned))
            rc = fail(why, E_FILE, "%s: byte %td: %.*s: the deflate stream is broken or not %u bytes long",
                      z->where, *data - z->bytes, n, e->name, e->size);
        *data = *owned;
    }
    if (rc == 0 && crc32_z(0, *data, e->size) != e->crc)
        rc = fail(why, E_FILE, "%s: byte %zu: %.*s: its bytes do not have the CRC-32 that the directory says",
                  z->where, e->header, n, e->name);
    if (rc) {
        free(*owned);
        *owned = NULL;
    }
    return rc;
}

/* ---- writing ---- */

static int zip_raw(struct zip_writer *z, const void *bytes, size_t size, struct fail *why)
{
    if (size > UINT32_MAX - z->at)
        return fail(why, E_USAGE,
                    "%s: 4 GiB or more do not fit a .npz without zip64; write .npy, .avro or parts",
                    z->out->path);
    z->at += size;
    return file_out_write(z->out, bytes, size, why);
}

/* The fields that both headers have, from "version needed" on; the date is 1980-01-01, so that equal rows
 * make equal files. */
static void put_common(unsigned char *p, const struct zip_writer *z, int i)
{
    put16(p, 20);
    put16(p + 8, 0x21);
    put32(p + 10, z->entry[i].crc);
    put32(p + 14, (uint32_t)z->entry[i].size);
    put32(p + 18, (uint32_t)z->entry[i].size);
    put16(p + 22, (unsigned)strlen(z->entry[i].name));
}

int zip_begin(struct zip_writer *z, const char *name, struct fail *why)
{
    unsigned char h[LOCAL_SIZE] = {0};
    z->entry[z->count].name = name;
    z->entry[z->count].header = z->at;
    put32(h, LOCAL);
    put_common(h + 4, z, z->count);
    int rc = zip_raw(z, h, sizeof h, why);
    return rc ? rc : zip_raw(z, name, strlen(name), why);
}

int zip_put(struct zip_writer *z, const void *bytes, size_t size, struct fail *why)
{
    z->entry[z->count].crc = (uint32_t)crc32_z(z->entry[z->count].crc, bytes, size);
    z->entry[z->count].size += size;
    return zip_raw(z, bytes, size, why);
}

int zip_close(struct zip_writer *z, struct fail *why)
{
    unsigned char h[LOCAL_SIZE] = {0};
    put32(h, LOCAL);
    put_common(h + 4, z, z->count);
    return file_out_patch(z->out, (long)z->entry[z->count++].header, h, sizeof h, why);
}

int zip_end(struct zip_writer *z, struct fail *why)
{
    uint64_t start = z->at;
    unsigned char end[END_SIZE] = {0};
    int rc = 0;
    for (int i = 0; rc == 0 && i < z->count; i++) {
        unsigned char h[CENTRAL_SIZE] = {0};
        put32(h, CENTRAL);
        put16(h + 4, 20);
        put_common(h + 6, z, i);
        put32(h + 42, (uint32_t)z->entry[i].header);
        rc = zip_raw(z, h, sizeof h, why);
        if (rc == 0)
            rc = zip_raw(z, z->entry[i].name, strlen(z->entry[i].name), why);
    }
    put32(end, END);
    put16(end + 8, (unsigned)z->count);
    put16(end + 10, (unsigned)z->count);
    put32(end + 12, (uint32_t)(z->at - start));
    put32(end + 16, (uint32_t)start);
    return rc ? rc : zip_raw(z, end, sizeof end, why);
}
