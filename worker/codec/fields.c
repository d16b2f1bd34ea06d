/* Reads and writes records by their table of fields. What a record means is left to who asked for it.
 * Next to read: training_job.c, a table. */
#include "worker/codec/fields.h"

#include <math.h>
#include <string.h>

#include "worker/codec/model_spec.h"

/* Where a read goes: a struct and the region for its pieces, or nowhere. */
struct target {
    char *base; /* NULL: check only */
    struct region *mem;
};

static void fields_read(struct wire *r, const struct field *f, struct target t);
static void fields_write(struct bytes *to, const struct field *f, const char *base);

static void target_set(struct target t, size_t at, const void *v, size_t size)
{
    if (t.base)
        memcpy(t.base + at, v, size);
}

static void *target_alloc(struct wire *r, const char *name, struct target t, size_t size)
{
    void *p = region_zalloc(t.mem, size);
    if (!p)
        wire_break(r, name, E_MEMORY, "no memory for %zu bytes", size);
    return p;
}

static void string_judge(struct wire *r, const struct field *f, struct span s)
{
    if (memchr(s.data, 0, s.size))
        wire_refuse(r, f->name, E_BAD_REQUEST, "holds a zero byte");
    if (f->rule == RULE_FILLED && s.size == 0)
        wire_refuse(r, f->name, E_BAD_REQUEST, "is empty");
    if (f->rule == RULE_MODEL_NAME && !model_name_valid(s))
        wire_refuse(r, f->name, E_BAD_REQUEST, "is no model name: expected " MODEL_NAME_RULE);
}

static void string_read(struct wire *r, const struct field *f, struct target t, bool present)
{
    struct span s = present ? wire_string(r, f->name) : (struct span){"", 0};
    const char *text = "";
    if (!r->broken && present)
        string_judge(r, f, s);
    if (t.base && s.size && !(text = region_copy(t.mem, s.data, s.size)))
        wire_break(r, f->name, E_MEMORY, "no memory for %zu bytes", s.size);
    target_set(t, f->at, &text, sizeof text);
}

static void long_read(struct wire *r, const struct field *f, struct target t, bool present)
{
    int64_t v = present ? wire_long(r, f->name) : 0;
    target_set(t, f->at, &v, sizeof v);
}

static void double_read(struct wire *r, const struct field *f, struct target t, bool present)
{
    double v = present ? wire_double(r, f->name) : (double)NAN;
    target_set(t, f->at, &v, sizeof v);
}

/* Bytes of the smallest value of a record: what a block's count is held against. */
static size_t fields_smallest(const struct field *f)
{
    size_t n = 0;
    for (; f->kind; f++)
        n += f->kind == F_FLOAT    ? 4
             : f->kind == F_DOUBLE ? 8
             : f->kind == F_TENSOR ? 4
             : f->kind == F_RECORD ? fields_smallest(f->item)
                                   : 1;
    return n;
}

/* Walks the array; with a target, piece i goes to base + i * size. */
static int64_t items_read(struct wire *r, const struct field *f, struct target t, size_t size)
{
    struct wire_blocks b = {0};
    size_t smallest = fields_smallest(f->item);
    int64_t n = 0;
    for (; wire_next(r, f->name, &b, smallest); n++) {
        struct target piece = {t.base ? t.base + (size_t)n * size : NULL, t.mem};
        wire_enter(r, f->name, n);
        fields_read(r, f->item, piece);
        wire_leave(r);
    }
    return n;
}

/* How many there are is known only after a walk over the blocks: count and check first, then keep. */
static void array_read(struct wire *r, const struct field *f, struct target t)
{
    struct wire again = *r;
    int64_t n = items_read(r, f, (struct target){0}, 0);
    if (n > INT32_MAX / 64)
        wire_break(r, f->name, E_TOO_LARGE, "has too many items");
    if (!t.base || r->broken)
        return;
    int count = (int)n;
    char *pieces = target_alloc(r, f->name, t, (size_t)n * f->item_size);
    target_set(t, f->at, &pieces, sizeof pieces);
    target_set(t, f->count_at, &count, sizeof count);
    if (pieces) {
        items_read(&again, f, (struct target){pieces, t.mem}, f->item_size);
        if (again.broken) /* memory alone can fail now */
            wire_break(r, f->name, again.broken, "no memory for its items");
    }
}

static void fixed_read(struct wire *r, const struct field *f, struct target t)
{
    struct wire_blocks b = {0};
    int n = 0;
    while (wire_next(r, f->name, &b, f->item->kind == F_FLOAT ? 4 : 1)) {
        struct target piece = {t.base && n < f->limit ? t.base + f->at + (size_t)n * f->item_size : NULL,
                               t.mem};
        fields_read(r, f->item, piece);
        if (n < f->limit)
            n++;
        else
            wire_refuse(r, f->name, E_BAD_SHAPE, "has more than %d items", f->limit);
    }
    target_set(t, f->count_at, &n, sizeof n);
}

static void scalar_read(struct wire *r, const struct field *f, struct target t)
{
    if (f->kind == F_INT) {
        int32_t v = wire_int(r, f->name);
        target_set(t, f->at, &v, sizeof v);
    } else if (f->kind == F_FLOAT) {
        float v = wire_float(r, f->name);
        target_set(t, f->at, &v, sizeof v);
    } else if (f->kind == F_BOOL) {
        bool v = wire_bool(r, f->name);
        target_set(t, f->at, &v, sizeof v);
    } else if (f->kind == F_ENUM) {
        int v = wire_enum(r, f->name, f->limit);
        target_set(t, f->at, &v, sizeof v);
    }
}

static void record_read(struct wire *r, const struct field *f, struct target t)
{
    bool present = f->kind == F_RECORD || wire_some(r, f->name);
    if (f->kind == F_NULL_RECORD)
        target_set(t, f->at, &present, sizeof present);
    if (!present)
        return;
    wire_enter(r, f->name, -1);
    fields_read(r, f->item, t);
    wire_leave(r);
}

static void tensor_skip(struct wire *r, const struct field *f)
{
    struct tensor_view v = wire_tensor(r, "tensor", -1);
    if (!r->broken)
        wire_check_tensor(r, f->name, &v, true);
}

static void field_read(struct wire *r, const struct field *f, struct target t)
{
    switch (f->kind) {
    case F_STRING:
    case F_NULL_STRING:
        string_read(r, f, t, f->kind == F_STRING || wire_some(r, f->name));
        break;
    case F_LONG:
    case F_NULL_LONG:
        long_read(r, f, t, f->kind == F_LONG || wire_some(r, f->name));
        break;
    case F_DOUBLE:
    case F_NULL_DOUBLE:
        double_read(r, f, t, f->kind == F_DOUBLE || wire_some(r, f->name));
        break;
    case F_RECORD:
    case F_NULL_RECORD:
        record_read(r, f, t);
        break;
    case F_ARRAY:
        array_read(r, f, t);
        break;
    case F_FIXED:
        fixed_read(r, f, t);
        break;
    case F_TENSOR:
        tensor_skip(r, f);
        break;
    default:
        scalar_read(r, f, t);
    }
}

static void fields_read(struct wire *r, const struct field *f, struct target t)
{
    for (; f->kind; f++)
        field_read(r, f, t);
}

int fields_decode(const struct field *fields, void *out, size_t out_size, struct span value,
                  struct region *mem, struct fail *why)
{
    struct wire r;
    if (out)
        memset(out, 0, out_size);
    wire_open(&r, value, why);
    fields_read(&r, fields, (struct target){out, mem});
    return wire_close(&r);
}

/* ---- writing ---- */

static void string_write(struct bytes *to, const struct field *f, const char *base)
{
    const char *s;
    memcpy(&s, base + f->at, sizeof s);
    bool present = s && *s;
    if (f->kind == F_NULL_STRING)
        bytes_put_long(to, present);
    if (f->kind == F_STRING || present)
        bytes_put_text(to, s);
}

static void long_write(struct bytes *to, const struct field *f, const char *base)
{
    int64_t v;
    memcpy(&v, base + f->at, sizeof v);
    if (f->kind == F_NULL_LONG)
        bytes_put_long(to, v != 0);
    if (f->kind == F_LONG || v)
        bytes_put_long(to, v);
}

static void double_write(struct bytes *to, const struct field *f, const char *base)
{
    double v;
    memcpy(&v, base + f->at, sizeof v);
    if (f->kind == F_NULL_DOUBLE)
        bytes_put_long(to, !isnan(v));
    if (f->kind == F_DOUBLE || !isnan(v))
        bytes_put_double(to, v);
}

static void scalar_write(struct bytes *to, const struct field *f, const char *base)
{
    if (f->kind == F_BOOL) {
        bytes_put_bool(to, *(const bool *)(base + f->at));
    } else if (f->kind == F_FLOAT) {
        bytes_put(to, base + f->at, sizeof(float));
    } else { /* F_INT, F_ENUM */
        int32_t v;
        memcpy(&v, base + f->at, sizeof v);
        bytes_put_long(to, v);
    }
}

static void array_write(struct bytes *to, const struct field *f, const char *base)
{
    const char *pieces = base + f->at;
    int count;
    if (f->kind == F_ARRAY)
        memcpy(&pieces, base + f->at, sizeof pieces);
    memcpy(&count, base + f->count_at, sizeof count);
    if (count > 0)
        bytes_put_long(to, count);
    for (int i = 0; i < count; i++)
        fields_write(to, f->item, pieces + (size_t)i * f->item_size);
    bytes_put_long(to, 0);
}

static void record_write(struct bytes *to, const struct field *f, const char *base)
{
    bool present = f->kind == F_RECORD || *(const bool *)(base + f->at);
    if (f->kind == F_NULL_RECORD)
        bytes_put_long(to, present);
    if (present)
        fields_write(to, f->item, base);
}

static void field_write(struct bytes *to, const struct field *f, const char *base)
{
    switch (f->kind) {
    case F_STRING:
    case F_NULL_STRING:
        string_write(to, f, base);
        break;
    case F_LONG:
    case F_NULL_LONG:
        long_write(to, f, base);
        break;
    case F_DOUBLE:
    case F_NULL_DOUBLE:
        double_write(to, f, base);
        break;
    case F_RECORD:
    case F_NULL_RECORD:
        record_write(to, f, base);
        break;
    case F_ARRAY:
    case F_FIXED:
        array_write(to, f, base);
        break;
    default:
        scalar_write(to, f, base);
    }
}

static void fields_write(struct bytes *to, const struct field *f, const char *base)
{
    for (; f->kind; f++)
        field_write(to, f, base);
}

void fields_encode(struct bytes *to, const struct field *fields, const void *from)
{
    fields_write(to, fields, from);
}
