/* The growing writer of Avro binary. Arrays are written as one block, the form that every Avro library
 * writes. Next to read: prediction.c. The reader is in wire.c. */
#include "worker/codec/wire.h"

#include <stdlib.h>
#include <string.h>

void bytes_free(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

/* Room for `more` bytes behind size; false: no memory, and the buffer is marked. */
static bool bytes_reserve(struct bytes *b, size_t more)
{
    if (b->failed)
        return false;
    if (b->capacity - b->size >= more)
        return true;
    if (more > SIZE_MAX / 4 || b->size > SIZE_MAX / 4) {
        b->failed = true;
        return false;
    }
    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity - b->size < more)
        capacity *= 2;
    unsigned char *data = realloc(b->data, capacity);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

unsigned char *bytes_grow(struct bytes *to, size_t size)
{
    if (!bytes_reserve(to, size))
        return NULL;
    to->size += size;
    return to->data + to->size - size;
}

void bytes_put(struct bytes *to, const void *data, size_t size)
{
    unsigned char *at = size ? bytes_grow(to, size) : NULL;
    if (at)
        memcpy(at, data, size);
}

void bytes_put_long(struct bytes *to, int64_t v)
{
    if (!bytes_reserve(to, 10))
        return;
    uint64_t z = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    for (; z >= 0x80; z >>= 7)
        to->data[to->size++] = (unsigned char)(z | 0x80);
    to->data[to->size++] = (unsigned char)z;
}

void bytes_put_bool(struct bytes *to, bool v)
{
    bytes_put(to, &(unsigned char){v}, 1);
}

void bytes_put_float(struct bytes *to, float v)
{
    bytes_put(to, &v, sizeof v);
}

void bytes_put_double(struct bytes *to, double v)
{
    bytes_put(to, &v, sizeof v);
}

void bytes_put_span(struct bytes *to, struct span s)
{
    bytes_put_long(to, (int64_t)s.size);
    bytes_put(to, s.data, s.size);
}

void bytes_put_text(struct bytes *to, const char *s)
{
    bytes_put_span(to, (struct span){s, s ? strlen(s) : 0});
}

void bytes_put_tensor(struct bytes *to, const struct tensor_view *t)
{
    bytes_put_span(to, t->name);
    bytes_put_long(to, t->dtype);
    if (t->shape.rank > 0)
        bytes_put_long(to, t->shape.rank);
    for (int i = 0; i < t->shape.rank; i++)
        bytes_put_long(to, t->shape.dim[i]);
    bytes_put_long(to, 0);
    bytes_put_span(to, t->data);
}

void bytes_put_spans(struct bytes *to, const struct span *items, int64_t count)
{
    if (items && count > 0) {
        bytes_put_long(to, count);
        for (int64_t i = 0; i < count; i++)
            bytes_put_span(to, items[i]);
    }
    bytes_put_long(to, 0);
}
