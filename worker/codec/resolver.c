/* Two schemas beside each other: the plan. Running it is resolver_run.c. */
#include "worker/codec/resolver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/resolver_plan.h"
#include "worker/codec/skip.h"
#include "worker/codec/wire.h"

enum { PLANS = 4096 }; /* unions of records of unions would make any number */

struct planning {
    struct resolver *out;
    json_t *reader_json;
    struct fail *why;
    int plans;
};

static struct plan *plan_of(struct planning *p, const struct schema_node *w, const struct schema_node *r);

static void *memory(struct planning *p, size_t size)
{
    void *m = region_zalloc(&p->out->mem, size);
    if (!m)
        fail(p->why, E_MEMORY, "no memory for a schema's plan");
    return m;
}

static struct plan *plan_new(struct planning *p, enum plan_op op, const struct schema_node *w,
                             const struct schema_node *r)
{
    if (p->plans++ >= PLANS) {
        fail(p->why, E_UNKNOWN_SCHEMA, "the schema is too large");
        return NULL;
    }
    struct plan *n = memory(p, sizeof *n);
    size_t room = (size_t)(op == PLAN_UNION || op == PLAN_ENUM ? w->count : r->count) + 1;
    if (!n || !(n->child = memory(p, room * sizeof *n->child)) ||
        !(n->source = memory(p, room * sizeof *n->source)))
        return NULL;
    *n = (struct plan){.op = op, .to = r->kind, .from = w, .child = n->child, .source = n->source};
    return n;
}

/* The first thing that only some records hold. */
static void note_gap(struct planning *p, const char *what, const char *name)
{
    if (!*p->out->gap)
        snprintf(p->out->gap, sizeof p->out->gap, "%s %.80s has no place in ours", what, name);
}

static bool has_alias(const json_t *field, const char *name)
{
    const json_t *aliases = json_object_get(field, "aliases");
    for (size_t i = 0; i < json_array_size(aliases); i++) {
        const char *alias = json_string_value(json_array_get(aliases, i));
        if (alias && strcmp(alias, name) == 0)
            return true;
    }
    return false;
}

/* The writer's field for field i of ours; -1: none. */
static int find_field(const struct schema_node *w, const struct schema_node *r, int i)
{
    for (int j = 0; j < w->count; j++)
        if (strcmp(w->name[j], r->name[i]) == 0)
            return j;
    for (int j = 0; j < w->count; j++)
        if (has_alias(r->field[i], w->name[j]) || has_alias(w->field[j], r->name[i]))
            return j;
    return -1;
}

static int put_default(struct planning *p, struct plan *n, const struct schema_node *r, int i)
{
    struct bytes binary = {0};
    json_t *value = json_object_get(r->field[i], "default");
    if (!value)
        return fail(p->why, E_UNKNOWN_SCHEMA, "%.60s: is missing in the producer's schema", r->name[i]);
    int rc = schema_put_json(&binary, p->reader_json, json_object_get(r->field[i], "type"), value, p->why);
    char *kept = rc ? NULL : region_copy(&p->out->mem, binary.size ? binary.data : (void *)"", binary.size);
    if (!rc && !kept)
        rc = fail(p->why, E_MEMORY, "no memory for a default");
    n->fallback[i] = (struct span){kept, binary.size};
    bytes_free(&binary);
    return rc;
}

static struct plan *plan_record(struct planning *p, const struct schema_node *w, const struct schema_node *r)
{
    struct plan *n = plan_new(p, PLAN_RECORD, w, r);
    if (!n || !(n->fallback = memory(p, ((size_t)r->count + 1) * sizeof *n->fallback)))
        return NULL;
    n->count = r->count;
    n->name = r->name;
    for (int i = 0; i < r->count; i++) {
        n->source[i] = find_field(w, r, i);
        if (n->source[i] < 0) {
            if (put_default(p, n, r, i))
                return NULL;
        } else if (!(n->child[i] = plan_of(p, w->child[n->source[i]], r->child[i]))) {
            fail_prefix(p->why, "%.60s", r->name[i]);
            return NULL;
        }
    }
    return n;
}

static int find_symbol(const struct schema_node *r, const char *name)
{
    for (int i = 0; name && i < r->count; i++)
        if (strcmp(r->name[i], name) == 0)
            return i;
    return -1;
}

static struct plan *plan_enum(struct planning *p, const struct schema_node *w, const struct schema_node *r)
{
    struct plan *n = plan_new(p, PLAN_ENUM, w, r);
    for (int i = 0; n && i < w->count; i++) {
        n->source[i] = find_symbol(r, w->name[i]);
        if (n->source[i] < 0 && (n->source[i] = find_symbol(r, r->other)) < 0)
            note_gap(p, "symbol", w->name[i]);
    }
    return n;
}

static struct plan *plan_child(struct planning *p, enum plan_op op, const struct schema_node *w,
                               const struct schema_node *r)
{
    struct plan *n = plan_new(p, op, w, r);
    return n && (n->child[0] = plan_of(p, w->child[0], r->child[0])) ? n : NULL;
}

/* A branch that has no place breaks only the records that hold it. */
static struct plan *plan_union(struct planning *p, const struct schema_node *w, const struct schema_node *r)
{
    struct plan *n = plan_new(p, PLAN_UNION, w, r);
    int found = 0;
    if (!n)
        return NULL;
    n->count = w->count;
    for (int i = 0; i < w->count; i++) {
        n->child[i] = plan_of(p, w->child[i], r);
        if (!n->child[i] && p->why->code != E_UNKNOWN_SCHEMA)
            return NULL;
        if (!n->child[i])
            note_gap(p, "branch", schema_kind_name(w->child[i]->kind));
        found += n->child[i] != NULL;
    }
    return found ? n : NULL;
}

/* Our union's branch of the same kind, else the first that takes it. */
static struct plan *plan_wrap(struct planning *p, const struct schema_node *w, const struct schema_node *r)
{
    for (int any = 0; any < 2; any++)
        for (int i = 0; i < r->count; i++) {
            if ((r->child[i]->kind == w->kind) == any)
                continue;
            struct plan *inner = plan_of(p, w, r->child[i]);
            if (!inner && p->why->code != E_UNKNOWN_SCHEMA)
                return NULL;
            struct plan *n = inner ? plan_new(p, PLAN_WRAP, w, r) : NULL;
            if (!n && inner)
                return NULL;
            if (n) {
                n->child[0] = inner;
                n->branch = i;
                return n;
            }
        }
    fail(p->why, E_UNKNOWN_SCHEMA, "%s where ours has a union without it", schema_kind_name(w->kind));
    return NULL;
}

static bool is_promoted(enum schema_kind from, enum schema_kind to)
{
    return from >= SCHEMA_INT && from <= SCHEMA_FLOAT && to > from && to <= SCHEMA_DOUBLE;
}

static bool is_sized(enum schema_kind k)
{
    return k == SCHEMA_BYTES || k == SCHEMA_STRING;
}

static struct plan *plan_of(struct planning *p, const struct schema_node *w, const struct schema_node *r)
{
    if (w->kind == SCHEMA_UNION)
        return plan_union(p, w, r);
    if (r->kind == SCHEMA_UNION)
        return plan_wrap(p, w, r);
    if (is_sized(w->kind) && is_sized(r->kind))
        return plan_new(p, PLAN_SIZED, w, r);
    if (r->kind == SCHEMA_BYTES && w->kind == SCHEMA_ARRAY && w->child[0]->kind == SCHEMA_FLOAT)
        return plan_new(p, PLAN_FLOATS, w, r);
    if (is_promoted(w->kind, r->kind) || (w->kind == r->kind && w->kind <= SCHEMA_DOUBLE))
        return plan_new(p, PLAN_PLAIN, w, r);
    if (w->kind == r->kind && w->kind == SCHEMA_RECORD)
        return plan_record(p, w, r);
    if (w->kind == r->kind && w->kind == SCHEMA_ENUM)
        return plan_enum(p, w, r);
    if (w->kind == r->kind && (w->kind == SCHEMA_ARRAY || w->kind == SCHEMA_MAP))
        return plan_child(p, PLAN_ITEMS, w, r);
    fail(p->why, E_UNKNOWN_SCHEMA, "%s where ours has %s", schema_kind_name(w->kind),
         schema_kind_name(r->kind));
    return NULL;
}

/* The binary is the same where the canonical forms are. */
static bool is_same(struct span writer, const char *reader)
{
    char *one = schema_canonical(writer.data, writer.size), *two = schema_canonical(reader, strlen(reader));
    bool same = one && two && strcmp(one, two) == 0;
    free(one);
    free(two);
    return same;
}

int resolver_open(struct resolver **out, struct span writer, const char *reader, struct fail *why)
{
    struct fail own = {0};
    struct resolver *r = calloc(1, sizeof *r);
    why = why ? why : &own;
    int rc = r ? schema_tree_open(&r->writer, writer.data, writer.size, why)
               : fail(why, E_MEMORY, "no memory for a schema");
    if (!rc && !is_same(writer, reader)) {
        struct planning p = {.out = r, .why = why};
        rc = schema_tree_open(&r->reader, reader, strlen(reader), why);
        if (!rc) {
            p.reader_json = r->reader->json;
            r->plan = plan_of(&p, r->writer->root, r->reader->root);
            rc = r->plan ? 0 : -(int)why->code;
        }
    }
    if (rc)
        resolver_close(&r);
    *out = r;
    return rc;
}

void resolver_close(struct resolver **r)
{
    if (!*r)
        return;
    schema_tree_close(&(*r)->writer);
    schema_tree_close(&(*r)->reader);
    region_free(&(*r)->mem);
    free(*r);
    *r = NULL;
}

const char *resolver_gap(const struct resolver *r)
{
    return r->gap;
}
