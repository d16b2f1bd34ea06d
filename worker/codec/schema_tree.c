/* A writer's schema, read and judged. What becomes of it beside ours: resolver.c. */
#include "worker/codec/schema_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 16, FULL_NAME = 256, NAMES = 256 };

static const char *const kinds[] = {"null",   "boolean", "int",  "long",  "float", "double", "bytes",
                                    "string", "fixed",   "enum", "array", "map",   "record", "union"};

const char *schema_kind_name(enum schema_kind k)
{
    return kinds[k];
}

struct reading {
    struct schema_tree *tree;
    struct fail *why;
    int depth, names;
    struct {
        char full[FULL_NAME];
        const struct schema_node *node; /* NULL: being read, so that a use of it is a circle */
    } name[NAMES];
};

static const struct schema_node *read_any(struct reading *r, const json_t *s, const char *space);

static const struct schema_node *refuse(struct reading *r, const char *text)
{
    fail(r->why, E_UNKNOWN_SCHEMA, "%s", text);
    return NULL;
}

static struct schema_node *node_new(struct reading *r, enum schema_kind kind, int64_t fixed, size_t count)
{
    struct schema_node *n = region_zalloc(&r->tree->mem, sizeof *n);
    if (n) {
        n->child = region_zalloc(&r->tree->mem, (count + 1) * sizeof(struct schema_node *));
        n->name = region_zalloc(&r->tree->mem, (count + 1) * sizeof(char *));
        n->field = region_zalloc(&r->tree->mem, (count + 1) * sizeof(json_t *));
    }
    if (!n || !n->child || !n->name || !n->field) {
        fail(r->why, E_MEMORY, "no memory for a schema");
        return NULL;
    }
    n->kind = kind;
    n->fixed = fixed;
    n->count = (int)count;
    return n;
}

static const struct schema_node *read_plain(struct reading *r, const char *name)
{
    static const int64_t fixed[] = {0, 1, -1, -1, 4, 8, -1, -1};
    for (int k = SCHEMA_NULL; k <= SCHEMA_STRING; k++)
        if (strcmp(kinds[k], name) == 0)
            return node_new(r, (enum schema_kind)k, fixed[k], 0);
    return NULL;
}

/* "a.B" has its space in it; a bare name takes the one around it. */
static bool full_name(char out[FULL_NAME], const char *name, const char *space)
{
    int n = strchr(name, '.') || !*space ? snprintf(out, FULL_NAME, "%s", name)
                                         : snprintf(out, FULL_NAME, "%s.%s", space, name);
    return *name && n < FULL_NAME;
}

static int name_find(const struct reading *r, const char *full)
{
    for (int i = 0; i < r->names; i++)
        if (strcmp(r->name[i].full, full) == 0)
            return i;
    return -1;
}

static const struct schema_node *read_name(struct reading *r, const char *name, const char *space)
{
    char full[FULL_NAME];
    const struct schema_node *n = read_plain(r, name);
    if (n)
        return n;
    int i = full_name(full, name, space) ? name_find(r, full) : -1;
    if (i < 0 && (i = name_find(r, name)) < 0) {
        fail(r->why, E_UNKNOWN_SCHEMA, "type %.100s is not defined before it is used", name);
        return NULL;
    }
    return r->name[i].node ? r->name[i].node : refuse(r, "a type inside itself is not supported");
}

static const struct schema_node *read_fields(struct reading *r, const json_t *fields, const char *space)
{
    size_t count = json_array_size(fields);
    if (!json_is_array(fields) || count > SCHEMA_FIELDS)
        return refuse(r, "a record wants a list of at most 128 fields");
    struct schema_node *n = node_new(r, SCHEMA_RECORD, 0, count);
    for (size_t i = 0; n && i < count; i++) {
        n->field[i] = json_array_get(fields, i);
        n->name[i] = json_string_value(json_object_get(n->field[i], "name"));
        if (!n->name[i])
            return refuse(r, "a field without a name");
        n->child[i] = read_any(r, json_object_get(n->field[i], "type"), space);
        if (!n->child[i]) {
            fail_prefix(r->why, "%.60s", n->name[i]);
            return NULL;
        }
        if (n->fixed >= 0)
            n->fixed = n->child[i]->fixed < 0 ? -1 : n->fixed + n->child[i]->fixed;
        if (n->fixed > RECORD_MAX_BYTES)
            return refuse(r, "a record larger than any that is read");
    }
    return n;
}

static const struct schema_node *read_symbols(struct reading *r, const json_t *s)
{
    const json_t *symbols = json_object_get(s, "symbols");
    size_t count = json_array_size(symbols);
    struct schema_node *n = count ? node_new(r, SCHEMA_ENUM, -1, count) : NULL;
    if (!count)
        return refuse(r, "an enum wants a list of symbols");
    for (size_t i = 0; n && i < count; i++)
        if (!(n->name[i] = json_string_value(json_array_get(symbols, i))))
            return refuse(r, "a symbol of an enum is no string");
    if (n)
        n->other = json_string_value(json_object_get(s, "default"));
    return n;
}

static const struct schema_node *read_size(struct reading *r, const json_t *size)
{
    json_int_t n = json_integer_value(size);
    if (!json_is_integer(size) || n < 0 || n > RECORD_MAX_BYTES)
        return refuse(r, "the size of a fixed is no number from 0 to 67108864");
    return node_new(r, SCHEMA_FIXED, n, 0);
}

/* record, enum or fixed: known by its name from its end on. */
static const struct schema_node *read_named(struct reading *r, const json_t *s, const char *type,
                                            const char *space)
{
    char full[FULL_NAME], inner[FULL_NAME] = "";
    const char *name = json_string_value(json_object_get(s, "name"));
    const char *own = json_string_value(json_object_get(s, "namespace"));
    if (!name || !full_name(full, name, own ? own : space))
        return refuse(r, "a record, enum or fixed without a name, or with one that is too long");
    if (name_find(r, full) >= 0 || r->names == NAMES)
        return refuse(r, "a type is defined twice, or there are more than 256");
    int at = r->names++;
    strcpy(r->name[at].full, full);
    const char *dot = strrchr(full, '.');
    if (dot)
        snprintf(inner, sizeof inner, "%.*s", (int)(dot - full), full);
    const struct schema_node *n = strcmp(type, "enum") == 0 ? read_symbols(r, s)
                                  : strcmp(type, "fixed") == 0
                                      ? read_size(r, json_object_get(s, "size"))
                                      : read_fields(r, json_object_get(s, "fields"), inner);
    return r->name[at].node = n;
}

static const struct schema_node *read_items(struct reading *r, enum schema_kind kind, const json_t *items,
                                            const char *space)
{
    struct schema_node *n = node_new(r, kind, -1, 1);
    if (!n || !(n->child[0] = read_any(r, items, space)))
        return NULL;
    if (kind == SCHEMA_ARRAY && n->child[0]->fixed == 0)
        return refuse(r, "an array of items that have no bytes");
    return n;
}

static const struct schema_node *read_branches(struct reading *r, const json_t *list, const char *space)
{
    size_t count = json_array_size(list);
    if (count == 0 || count > SCHEMA_BRANCHES)
        return refuse(r, "a union wants 1 to 64 branches");
    struct schema_node *n = node_new(r, SCHEMA_UNION, -1, count);
    for (size_t i = 0; n && i < count; i++) {
        if (!(n->child[i] = read_any(r, json_array_get(list, i), space)))
            return NULL;
        if (n->child[i]->kind == SCHEMA_UNION)
            return refuse(r, "a union inside a union");
    }
    return n;
}

static const struct schema_node *read_object(struct reading *r, const json_t *s, const char *space)
{
    const char *type = json_string_value(json_object_get(s, "type"));
    if (!type)
        return read_any(r, json_object_get(s, "type"), space);
    if (strcmp(type, "record") == 0 || strcmp(type, "enum") == 0 || strcmp(type, "fixed") == 0)
        return read_named(r, s, type, space);
    if (strcmp(type, "array") == 0)
        return read_items(r, SCHEMA_ARRAY, json_object_get(s, "items"), space);
    if (strcmp(type, "map") == 0)
        return read_items(r, SCHEMA_MAP, json_object_get(s, "values"), space);
    return read_name(r, type, space); /* {"type": "long", "logicalType": ...} */
}

static const struct schema_node *read_any(struct reading *r, const json_t *s, const char *space)
{
    const struct schema_node *n;
    if (r->depth == DEPTH)
        return refuse(r, "it is nested more than 16 deep");
    r->depth++;
    if (json_is_string(s))
        n = read_name(r, json_string_value(s), space);
    else if (json_is_array(s))
        n = read_branches(r, s, space);
    else
        n = json_is_object(s) ? read_object(r, s, space) : refuse(r, "a type is missing");
    r->depth--;
    return n;
}

int schema_tree_open(struct schema_tree **out, const char *text, size_t size, struct fail *why)
{
    struct fail own = {0};
    json_error_t where;
    struct schema_tree *t = calloc(1, sizeof *t);
    struct reading *r = calloc(1, sizeof *r);
    int rc = 0;
    if (!t || !r) {
        rc = fail(why, E_MEMORY, "no memory for a schema");
        goto out;
    }
    *r = (struct reading){.tree = t, .why = why ? why : &own};
    t->json = json_loadb(text, size, JSON_DECODE_ANY, &where);
    if (!t->json)
        rc = fail(why, E_UNKNOWN_SCHEMA, "no JSON: line %d: %s", where.line, where.text);
    else if (!(t->root = read_any(r, t->json, "")))
        rc = -(int)r->why->code;
out:
    free(r);
    if (rc)
        schema_tree_close(&t);
    *out = t;
    return rc;
}

void schema_tree_close(struct schema_tree **t)
{
    if (!*t)
        return;
    json_decref((*t)->json);
    region_free(&(*t)->mem);
    free(*t);
    *t = NULL;
}
