/* gzip in and out through zlib. Next to read: idx.c. */
#include "worker/data/gz.h"

#include <stdint.h>
#include <string.h>

enum { GZIP = MAX_WBITS + 16, PIECE = 1 << 30, BUFFER = 32 * 1024 };

bool gz_begins(const unsigned char *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 0x1f && bytes[1] == 0x8b && bytes[2] == 8;
}

/* Inflates until the stream ends or `to` is full; zlib's counters are 32 bits wide, so in pieces. */
static int inflate_some(z_stream *z, const unsigned char *from, size_t size, unsigned char *to,
                        size_t capacity)
{
    int rc = Z_OK;
    do {
        size_t in = size - z->total_in, room = capacity - z->total_out;
        z->next_in = (Bytef *)from + z->total_in;
        z->avail_in = in < PIECE ? (uInt)in : PIECE;
        z->next_out = to + z->total_out;
        z->avail_out = room < PIECE ? (uInt)room : PIECE;
        rc = inflate(z, Z_NO_FLUSH);
    } while (rc == Z_OK);
    return rc;
}

size_t gz_peek(const unsigned char *from, size_t size, unsigned char *to, size_t capacity)
{
    z_stream z = {.next_in = Z_NULL};
    if (inflateInit2(&z, GZIP) != Z_OK)
        return 0;
    inflate_some(&z, from, size, to, capacity);
    size_t got = z.total_out;
    inflateEnd(&z);
    return got;
}

int gz_inflate(const unsigned char *from, size_t size, unsigned char *to, size_t wanted, const char *path,
               struct fail *why)
{
    z_stream z = {.next_in = Z_NULL};
    unsigned char one;
    int rc = 0;
    if (inflateInit2(&z, GZIP) != Z_OK)
        return fail(why, E_MEMORY, "%s: out of memory to inflate", path);
    int end = inflate_some(&z, from, size, to, wanted);
    if (end == Z_BUF_ERROR && z.total_out == wanted) { /* full: only the trailer may follow */
        z.next_out = &one;
        z.avail_out = 1;
        end = inflate(&z, Z_NO_FLUSH);
    }
    if (end != Z_STREAM_END || z.total_out != wanted)
        rc = fail(why, E_FILE, "%s: byte %lu of the gzip stream: expected %zu bytes inflated, got %lu%s: %s",
                  path, z.total_in, wanted, z.total_out, z.total_out > wanted ? " and more" : "",
                  z.msg                 ? z.msg
                  : end == Z_STREAM_END ? "the content ends"
                                        : "the stream is cut or goes on");
    else if (z.total_in != size)
        rc = fail(why, E_FILE, "%s: byte %lu: the gzip stream ends, %zu bytes follow", path, z.total_in,
                  size - z.total_in);
    inflateEnd(&z);
    return rc;
}

int gz_create(struct gz_out *g, struct file_out *out, bool packed, struct fail *why)
{
    *g = (struct gz_out){.out = out};
    if (packed && deflateInit2(&g->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return fail(why, E_MEMORY, "%s: out of memory to deflate", out->path);
    g->packed = packed;
    return 0;
}

static int deflate_piece(struct gz_out *g, const void *bytes, size_t size, int flush, struct fail *why)
{
    unsigned char buffer[BUFFER];
    g->z.next_in = (Bytef *)bytes;
    g->z.avail_in = (uInt)size;
    int rc = 0;
    do {
        g->z.next_out = buffer;
        g->z.avail_out = sizeof buffer;
        deflate(&g->z, flush);
        rc = file_out_write(g->out, buffer, sizeof buffer - g->z.avail_out, why);
    } while (rc == 0 && g->z.avail_out == 0);
    return rc;
}

int gz_put(struct gz_out *g, const void *bytes, size_t size, struct fail *why)
{
    int rc = 0;
    if (!g->packed)
        return file_out_write(g->out, bytes, size, why);
    for (size_t at = 0; rc == 0 && at < size; at += PIECE)
        rc = deflate_piece(g, (const char *)bytes + at, size - at < PIECE ? size - at : PIECE, Z_NO_FLUSH,
                           why);
    return rc;
}

int gz_end(struct gz_out *g, struct fail *why)
{
    return g->packed ? deflate_piece(g, NULL, 0, Z_FINISH, why) : 0;
}

void gz_close(struct gz_out *g)
{
    if (g->packed)
        deflateEnd(&g->z);
    *g = (struct gz_out){0};
}
