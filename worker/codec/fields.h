/* Records described by a table of fields: one row gives reading, checking and writing of a field, so that the
 * three cannot disagree. For control records, which are small; the hot path is written by hand.
 * Rows stand in the schema's order and name a place in the struct.
 *
 *   static const struct field range_fields[] = {
 *       {.name = "topic", .kind = F_STRING, .at = offsetof(struct offset_range, topic)}, ..., {0}};
 */
#ifndef WORKER_CODEC_FIELDS_H
#define WORKER_CODEC_FIELDS_H

#include <stddef.h>

#include "worker/codec/wire.h"

enum field_kind {
    F_END,
    F_STRING,      /* const char *, 0-terminated, never NULL; a zero byte inside is refused */
    F_LONG,        /* int64_t */
    F_INT,         /* int32_t */
    F_BOOL,        /* bool */
    F_FLOAT,       /* float */
    F_DOUBLE,      /* double */
    F_ENUM,        /* an enum; `limit` symbols */
    F_NULL_STRING, /* union [null, string]: "" is null */
    F_NULL_LONG,   /* union [null, long]: 0 is null */
    F_NULL_DOUBLE, /* union [null, double]: NAN is null */
    F_RECORD,      /* a record whose fields lie in the same struct: `item` */
    F_NULL_RECORD, /* union [null, record]; `at` is a bool: is it there? */
    F_ARRAY,       /* pointer to `item_size` pieces described by `item`, an int at `count_at`. A map is an
                    * array of {key, value} */
    F_FIXED,       /* array of one scalar kind held in the struct itself: at most `limit` of them */
    F_TENSOR,      /* checked, not kept */
};

enum field_rule { RULE_NONE, RULE_FILLED, RULE_MODEL_NAME };

struct field {
    const char *name;
    enum field_kind kind;
    size_t at;
    const struct field *item;
    size_t count_at, item_size;
    int limit;
    enum field_rule rule; /* of strings; bad_request where it is broken */
};

/* Reads `value` into *out (zeroed first), pieces from `mem`. out and mem NULL: the verdict alone. */
int fields_decode(const struct field *fields, void *out, size_t out_size, struct span value,
                  struct region *mem, struct fail *why);
void fields_encode(struct bytes *to, const struct field *fields, const void *from);

#endif
