/* Running a plan over a record: reads with the checks of wire.h, writes our binary. Making plans is resolver.c. */
#include <inttypes.h>

#include "worker/codec/resolver_plan.h"
#include "worker/codec/wire.h"

static void run(const struct plan *p, struct wire *r, struct bytes *to, const char *name);

/* ---- passing over what we have no place for ---- */

static void skip_raw(struct wire *r, const char *name, int64_t size)
{
    if (size > r->end - r->at)
        wire_break(r, name, E_TRUNCATED, "the record ends inside this field");
    else
        r->at += size;
}

static void skip(struct wire *r, const struct schema_node *n, const char *name);

/* The rest of a block whose items all have one size: of the item that wire_next stands at and those behind it. */
static int64_t block_bytes(struct wire_blocks *b, int64_t each)
{
    int64_t bytes = (b->left + 1) * each; /* within what remains: wire_next saw to it */
    b->left = 0;
    return bytes;
}

static void skip_items(struct wire *r, const struct schema_node *n, const char *name)
{
    const struct schema_node *item = n->child[0];
    bool map = n->kind == SCHEMA_MAP;
    struct wire_blocks b = {0};
    while (wire_next(r, name, &b, schema_smallest(item))) {
        if (map)
            wire_bytes(r, name);
        if (!map && item->fixed > 0)
            skip_raw(r, name, block_bytes(&b, item->fixed));
        else
            skip(r, item, name);
    }
}

static int wire_branch(struct wire *r, const char *name, int count)
{
    int64_t v = wire_long(r, name);
    if (!r->broken && (v < 0 || v >= count))
        wire_break(r, name, E_BAD_AVRO, "union branch %" PRId64 ", the schema has %d", v, count);
    return r->broken ? -1 : (int)v;
}

static void skip(struct wire *r, const struct schema_node *n, const char *name)
{
    int branch;
    if (n->fixed >= 0) {
        skip_raw(r, name, n->fixed);
        return;
    }
    switch (n->kind) {
    case SCHEMA_INT:
        wire_int(r, name);
        break;
    case SCHEMA_LONG:
        wire_long(r, name);
        break;
    case SCHEMA_ENUM:
        wire_enum(r, name, n->count);
        break;
    case SCHEMA_ARRAY:
    case SCHEMA_MAP:
        skip_items(r, n, name);
        break;
    case SCHEMA_RECORD:
        for (int i = 0; i < n->count && !r->broken; i++)
            skip(r, n->child[i], n->name[i]);
        break;
    case SCHEMA_UNION:
        if ((branch = wire_branch(r, name, n->count)) >= 0)
            skip(r, n->child[branch], name);
        break;
    default: /* string, bytes; the rest has a fixed size */
        wire_bytes(r, name);
    }
}

/* ---- what has a place ---- */

static void run_plain(const struct plan *p, struct wire *r, struct bytes *to, const char *name)
{
    enum schema_kind from = p->from->kind;
    double real = 0;
    int64_t whole = 0;
    if (from == SCHEMA_NULL)
        return;
    if (from == SCHEMA_BOOLEAN) {
        bytes_put_bool(to, wire_bool(r, name));
        return;
    }
    if (from == SCHEMA_INT)
        whole = wire_int(r, name);
    else if (from == SCHEMA_LONG)
        whole = wire_long(r, name);
    else
        real = from == SCHEMA_FLOAT ? (double)wire_float(r, name) : wire_double(r, name);
    bool is_whole = from == SCHEMA_INT || from == SCHEMA_LONG;
    if (p->to == SCHEMA_FLOAT)
        bytes_put_float(to, is_whole ? (float)whole : (float)real);
    else if (p->to == SCHEMA_DOUBLE)
        bytes_put_double(to, is_whole ? (double)whole : real);
    else
        bytes_put_long(to, whole);
}

/* The length comes before the data: blocks are walked twice. */
static void run_floats(struct wire *r, struct bytes *to, const char *name)
{
    enum { EACH = 4 };
    const unsigned char *start = r->at;
    struct wire_blocks b = {0};
    int64_t size = 0;
    while (wire_next(r, name, &b, EACH)) {
        int64_t bytes = block_bytes(&b, EACH);
        size += bytes;
        skip_raw(r, name, bytes);
    }
    if (r->broken)
        return;
    bytes_put_long(to, size);
    r->at = start;
    while (wire_next(r, name, &b, EACH)) {
        int64_t bytes = block_bytes(&b, EACH);
        bytes_put(to, r->at, (size_t)bytes);
        r->at += bytes;
    }
}

static void run_enum(const struct plan *p, struct wire *r, struct bytes *to, const char *name)
{
    int symbol = wire_enum(r, name, p->from->count);
    if (!r->broken && p->source[symbol] < 0)
        wire_break(r, name, E_BAD_AVRO, "symbol %.80s has no place in ours", p->from->name[symbol]);
    if (!r->broken)
        bytes_put_long(to, p->source[symbol]);
}

static void run_items(const struct plan *p, struct wire *r, struct bytes *to, const char *name)
{
    struct wire_blocks b = {0};
    int64_t index = 0;
    for (bool fresh = true; wire_next(r, name, &b, schema_smallest(p->from->child[0])); fresh = b.left == 0) {
        if (fresh)
            bytes_put_long(to, b.left + 1);
        if (p->from->kind == SCHEMA_MAP)
            bytes_put_span(to, wire_string(r, name));
        wire_enter(r, name, index++);
        run(p->child[0], r, to, "item");
        wire_leave(r);
        if (to->size > RECORD_MAX_BYTES)
            wire_break(r, name, E_TOO_LARGE, "more than %d bytes in our schema", RECORD_MAX_BYTES);
    }
    bytes_put_long(to, 0);
}

/* The writer's fields are found first: ours come in another order. */
static void run_record(const struct plan *p, struct wire *r, struct bytes *to)
{
    const unsigned char *at[SCHEMA_FIELDS];
    const struct schema_node *from = p->from;
    for (int i = 0; i < from->count && !r->broken; i++) {
        at[i] = r->at;
        skip(r, from->child[i], from->name[i]);
    }
    const unsigned char *end = r->at;
    for (int i = 0; i < p->count && !r->broken; i++) {
        if (p->source[i] < 0) {
            bytes_put(to, p->fallback[i].data, p->fallback[i].size);
            continue;
        }
        r->at = at[p->source[i]];
        run(p->child[i], r, to, p->name[i]);
    }
    if (!r->broken)
        r->at = end;
}

static void run(const struct plan *p, struct wire *r, struct bytes *to, const char *name)
{
    int branch;
    switch (p->op) {
    case PLAN_PLAIN:
        run_plain(p, r, to, name);
        break;
    case PLAN_SIZED:
        bytes_put_span(to, p->to == SCHEMA_STRING ? wire_string(r, name) : wire_bytes(r, name));
        break;
    case PLAN_FLOATS:
        run_floats(r, to, name);
        break;
    case PLAN_ENUM:
        run_enum(p, r, to, name);
        break;
    case PLAN_ITEMS:
        run_items(p, r, to, name);
        break;
    case PLAN_RECORD:
        run_record(p, r, to);
        break;
    case PLAN_UNION:
        branch = wire_branch(r, name, p->count);
        if (branch >= 0 && !p->child[branch])
            wire_break(r, name, E_BAD_AVRO, "a %s has no place in ours",
                       schema_kind_name(p->from->child[branch]->kind));
        else if (branch >= 0)
            run(p->child[branch], r, to, name);
        break;
    case PLAN_WRAP:
        bytes_put_long(to, p->branch);
        run(p->child[0], r, to, name);
        break;
    }
}

int resolver_run(const struct resolver *resolver, struct span value, struct bytes *to, struct span *payload,
                 struct fail *why)
{
    struct fail own;
    struct wire r;
    *payload = value;
    if (!resolver->plan)
        return 0;
    wire_open(&r, value, why ? why : &own);
    to->size = 0;
    run(resolver->plan, &r, to, "value");
    int rc = wire_close(&r);
    if (!rc && to->failed) {
        bytes_free(to);
        return fail(why, E_MEMORY, "no memory for a record of %zu bytes", value.size);
    }
    *payload = (struct span){(const char *)to->data, to->size};
    return rc;
}
