/* Avro binary, one value at a time (https://avro.apache.org/docs/1.11.1/specification/): a bounded reader and
 * a growing writer. Knows no record type; those are in the other files of this folder.
 *
 * The reader's errors are sticky: after the first one every read returns zero or empty and every loop ends,
 * so a decoder reads field after field and asks once, at wire_close. Two kinds are kept apart: broken   the
 * bytes are no Avro of this schema: truncated, bad_avro, empty refused  the bytes are fine but the contract
 * forbids what they say: bad_request, bad_shape, bad_dtype A break anywhere outranks a refusal, so a refused
 * record is known to be well formed. What runs past the end (a length, a count of items whose smallest form
 * would not fit) is truncated; what no further bytes could repair (negative length, varint of more than 64
 * bits, enum, union, boolean, UTF-8, block size) is bad_avro.
 *
 * Every read takes the field's name, for the error's text alone. */
#ifndef WORKER_CODEC_WIRE_H
#define WORKER_CODEC_WIRE_H

#include "worker/codec/record.h"

enum { WIRE_DEPTH = 6 };

struct wire {
    const unsigned char *at, *end;
    struct fail *why;
    enum fail_code broken, refused;
    int depth; /* places entered: "tensors[0]" */
    struct {
        const char *name;
        int64_t index; /* -1: not an item */
    } place[WIRE_DEPTH];
};

void wire_open(struct wire *r, struct span value, struct fail *why);
/* 0, or the verdict; bytes left over are trailing_bytes. */
int wire_close(struct wire *r);

void wire_enter(struct wire *r, const char *name, int64_t index);
void wire_leave(struct wire *r);
void wire_break(struct wire *r, const char *name, enum fail_code code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void wire_refuse(struct wire *r, const char *name, enum fail_code code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

int64_t wire_long(struct wire *r, const char *name);
int32_t wire_int(struct wire *r, const char *name);
bool wire_bool(struct wire *r, const char *name);
float wire_float(struct wire *r, const char *name);
double wire_double(struct wire *r, const char *name);
int wire_enum(struct wire *r, const char *name, int symbols);
bool wire_some(struct wire *r, const char *name); /* the index of a union [null, X]: is it X? */
struct span wire_bytes(struct wire *r, const char *name);
struct span wire_string(struct wire *r, const char *name); /* UTF-8 checked */

/* The blocks of an array or a map. Zeroed before the first wire_next. */
struct wire_blocks {
    int64_t left;                   /* items left in this block */
    const unsigned char *block_end; /* as the block's byte size says; NULL: it has none */
};

/* Moves to the next item; false: no more, or broken. `smallest`: bytes of the smallest item, at least 1. */
bool wire_next(struct wire *r, const char *name, struct wire_blocks *b, size_t smallest);

enum item_kind { ITEM_STRING, ITEM_BYTES, ITEM_INT };

/* Walks a whole array, checks every item and keeps it as a list. */
struct list wire_list(struct wire *r, const char *name, enum item_kind kind);

/* ---- tensors: the one record inside other records ---- */

struct tensor_view wire_tensor(struct wire *r, const char *name, int64_t index);
/* A whole array of tensors, of which the first is kept; returns how many there were. */
int64_t wire_tensors(struct wire *r, const char *name, struct tensor_view *first);
/* Rank 1 to SHAPE_DIMS, dimensions, dtype and, with `has_data`, the data's length; refuses otherwise. */
void wire_check_tensor(struct wire *r, const char *name, const struct tensor_view *t, bool has_data);

/* ---- writing: never fails at once, see struct bytes ---- */

unsigned char *bytes_grow(struct bytes *to,
                          size_t size); /* room for size more, to be filled; NULL: no memory */
void bytes_put(struct bytes *to, const void *data, size_t size);
void bytes_put_long(struct bytes *to, int64_t v); /* int, enum, counts and union indices too */
void bytes_put_bool(struct bytes *to, bool v);
void bytes_put_float(struct bytes *to, float v);
void bytes_put_double(struct bytes *to, double v);
void bytes_put_span(struct bytes *to, struct span s); /* string or bytes: length, then the data */
void bytes_put_text(struct bytes *to, const char *s); /* NULL: "" */
void bytes_put_tensor(struct bytes *to, const struct tensor_view *t);
/* A whole array of strings; NULL or count 0: an empty one. */
void bytes_put_spans(struct bytes *to, const struct span *items, int64_t count);

bool utf8_valid(const unsigned char *s, size_t size);

#endif
