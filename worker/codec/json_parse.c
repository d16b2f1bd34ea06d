/* JSON to Avro binary by the published schema's own text, which has the defaults that Avro C drops. Writes
 * with our writer, so that json_print.c reads it back through other code. What a record may say is left to
 * record_type.validate. */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "worker/codec/base64.h"
#include "worker/codec/schema_tree.h"
#include "worker/codec/wire.h"

enum { PARSE_DEPTH = 16 }; /* of schemas: ours have 5 */

struct parse {
    struct bytes *to;
    json_t *schema; /* the whole, to find named types in */
    struct fail *why;
    int depth;
};

static int put_value(struct parse *p, const json_t *type, json_t *v);

static bool defines(const json_t *at, const char *name)
{
    const char *own = json_string_value(json_object_get(at, "name"));
    const char *kind = json_string_value(json_object_get(at, "type"));
    return own && kind && strcmp(own, name) == 0 &&
           (strcmp(kind, "record") == 0 || strcmp(kind, "enum") == 0);
}

/* Searches a schema for the definition of a named type. */
static const json_t *named_type(json_t *at, const char *name)
{
    const json_t *found = defines(at, name) ? at : NULL;
    const char *key;
    json_t *child;
    size_t i;
    json_object_foreach(at, key, child)
    {
        if (!found && strcmp(key, "default") != 0)
            found = named_type(child, name);
    }
    json_array_foreach(at, i, child)
    {
        if (!found)
            found = named_type(child, name);
    }
    return found;
}

static int expected(struct parse *p, const char *what, const json_t *v)
{
    static const char *const kinds[] = {"an object", "an array", "a string", "an integer",
                                        "a number",  "true",     "false",    "null"};
    return fail(p->why, E_BAD_REQUEST, "expected %s, got %s", what, kinds[json_typeof(v)]);
}

static int put_number(struct parse *p, const char *type, const json_t *v)
{
    bool whole = strcmp(type, "int") == 0 || strcmp(type, "long") == 0;
    if (whole && !json_is_integer(v))
        return expected(p, "an integer", v);
    json_int_t n = json_integer_value(v);
    if (type[0] == 'i' && (n < INT32_MIN || n > INT32_MAX))
        return fail(p->why, E_BAD_REQUEST, "%lld does not fit an int", (long long)n);
    if (whole) {
        bytes_put_long(p->to, n);
        return 0;
    }
    if (!json_is_number(v) && !json_is_null(v))
        return expected(p, "a number", v);
    double d = json_is_null(v) ? (double)NAN : json_number_value(v);
    if (type[0] == 'f')
        bytes_put_float(p->to, (float)d);
    else
        bytes_put_double(p->to, d);
    return 0;
}

static int put_bytes(struct parse *p, const json_t *v)
{
    struct bytes raw = {0};
    int rc = 0;
    if (!base64_read(&raw, json_string_value(v), json_string_length(v)))
        rc = fail(p->why, E_BAD_REQUEST, "is no base64");
    else
        bytes_put_span(p->to, (struct span){(const char *)raw.data, raw.size});
    p->to->failed |= raw.failed;
    bytes_free(&raw);
    return rc;
}

static int put_plain(struct parse *p, const char *type, const json_t *v)
{
    bool text = strcmp(type, "string") == 0;
    if (strcmp(type, "null") == 0)
        return json_is_null(v) ? 0 : expected(p, "null", v);
    if (strcmp(type, "boolean") == 0) {
        bytes_put_bool(p->to, json_is_true(v));
        return json_is_boolean(v) ? 0 : expected(p, "true or false", v);
    }
    if (!text && strcmp(type, "bytes") != 0)
        return put_number(p, type, v);
    if (!json_is_string(v))
        return expected(p, text ? "a string" : "a string of base64", v);
    if (!text)
        return put_bytes(p, v);
    bytes_put_span(p->to, (struct span){json_string_value(v), json_string_length(v)});
    return 0;
}

static bool plain(const char *type)
{
    static const char *const names[] = {"null",  "boolean", "int",   "long",
                                        "float", "double",  "bytes", "string"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], type) == 0)
            return true;
    return false;
}

/* [null, X]: null goes to its branch, everything else to the first other one. */
static int put_union(struct parse *p, const json_t *branches, json_t *v)
{
    json_t *branch;
    size_t i;
    json_array_foreach(branches, i, branch)
    {
        const char *name = json_string_value(branch);
        bool null = name && strcmp(name, "null") == 0;
        if (null != json_is_null(v))
            continue;
        bytes_put_long(p->to, (int64_t)i);
        return put_value(p, branch, v);
    }
    return expected(p, "a value", v);
}

static int put_enum(struct parse *p, const json_t *symbols, const json_t *v)
{
    const char *name = json_string_value(v);
    json_t *symbol;
    size_t i;
    if (!name)
        return expected(p, "a symbol", v);
    json_array_foreach(symbols, i, symbol)
    {
        if (strcmp(json_string_value(symbol), name) == 0) {
            bytes_put_long(p->to, (int64_t)i);
            return 0;
        }
    }
    return fail(p->why, E_BAD_REQUEST, "\"%s\" is no symbol of the schema's enum", name);
}

static int put_array(struct parse *p, const json_t *items, json_t *v)
{
    json_t *item;
    size_t i;
    if (!json_is_array(v))
        return expected(p, "an array", v);
    if (json_array_size(v))
        bytes_put_long(p->to, (int64_t)json_array_size(v));
    json_array_foreach(v, i, item)
    {
        if (put_value(p, items, item))
            return fail_prefix(p->why, "[%zu]", i);
    }
    bytes_put_long(p->to, 0);
    return 0;
}

static int put_map(struct parse *p, const json_t *values, json_t *v)
{
    const char *key;
    json_t *item;
    if (!json_is_object(v))
        return expected(p, "an object", v);
    if (json_object_size(v))
        bytes_put_long(p->to, (int64_t)json_object_size(v));
    json_object_foreach(v, key, item)
    {
        bytes_put_text(p->to, key);
        if (put_value(p, values, item))
            return fail_prefix(p->why, "%s", key);
    }
    bytes_put_long(p->to, 0);
    return 0;
}

/* The first member of an object that is no field of the record; NULL: all are. */
static const char *stranger(const json_t *fields, json_t *v)
{
    const char *key;
    json_t *ignored, *field;
    size_t i;
    json_object_foreach(v, key, ignored)
    {
        bool known = false;
        json_array_foreach(fields, i, field)
        {
            known |= strcmp(json_string_value(json_object_get(field, "name")), key) == 0;
        }
        if (!known)
            return key;
    }
    return NULL;
}

static int put_record(struct parse *p, const json_t *fields, json_t *v)
{
    json_t *field;
    size_t i;
    if (!json_is_object(v))
        return expected(p, "an object", v);
    const char *unknown = stranger(fields, v);
    if (unknown)
        return fail(p->why, E_BAD_REQUEST, "%s: no such field", unknown);
    json_array_foreach(fields, i, field)
    {
        const char *name = json_string_value(json_object_get(field, "name"));
        json_t *given = json_object_get(v, name);
        if (!given)
            given = json_object_get(field, "default");
        if (!given)
            return fail(p->why, E_BAD_REQUEST, "%s: is missing and has no default", name);
        if (put_value(p, json_object_get(field, "type"), given))
            return fail_prefix(p->why, "%s", name);
    }
    return 0;
}

static int put_named(struct parse *p, const char *name, json_t *v)
{
    const json_t *type = plain(name) ? NULL : named_type(p->schema, name);
    if (plain(name))
        return put_plain(p, name, v);
    return type ? put_value(p, type, v) : fail(p->why, E_FAILED, "the schema does not define %s", name);
}

static int put_complex(struct parse *p, const json_t *type, json_t *v)
{
    const json_t *inner = json_object_get(type, "type");
    const char *kind = json_string_value(inner);
    if (!kind)
        return put_value(p, inner, v);
    if (strcmp(kind, "record") == 0)
        return put_record(p, json_object_get(type, "fields"), v);
    if (strcmp(kind, "enum") == 0)
        return put_enum(p, json_object_get(type, "symbols"), v);
    if (strcmp(kind, "array") == 0)
        return put_array(p, json_object_get(type, "items"), v);
    if (strcmp(kind, "map") == 0)
        return put_map(p, json_object_get(type, "values"), v);
    return put_named(p, kind, v); /* {"type": "long", "logicalType": ...} */
}

static int put_value(struct parse *p, const json_t *type, json_t *v)
{
    int rc;
    if (++p->depth > PARSE_DEPTH)
        rc = fail(p->why, E_FAILED, "the schema is nested too deep");
    else if (json_is_array(type))
        rc = put_union(p, type, v);
    else if (json_is_string(type))
        rc = put_named(p, json_string_value(type), v);
    else
        rc = put_complex(p, type, v);
    p->depth--;
    return rc;
}

int schema_put_json(struct bytes *to, json_t *schema, const json_t *type, json_t *v, struct fail *why)
{
    struct fail local;
    struct parse p = {.to = to, .schema = schema, .why = why ? why : &local};
    int rc = put_value(&p, type, v);
    return rc || !to->failed ? rc : fail(why, E_MEMORY, "no memory for a value");
}

int record_parse_json(struct bytes *to, const struct record_type *t, const char *json, size_t size,
                      struct fail *why)
{
    struct fail local;
    struct parse p = {.to = to, .why = why ? why : &local};
    json_error_t where;
    size_t before = to->size;
    const char *text = record_schema(t, t->version);
    json_t *schema = json_loads(text, 0, &where);
    json_t *v = schema ? json_loadb(json, size, JSON_ALLOW_NUL, &where) : NULL;
    int rc;
    p.schema = schema;
    if (!schema)
        rc = fail(p.why, E_FAILED, "schema of %s: %s", t->name, where.text);
    else if (!v)
        rc = fail(p.why, E_BAD_REQUEST, "not JSON: line %d column %d: %s", where.line, where.column,
                  where.text);
    else
        rc = put_value(&p, schema, v);
    if (rc == 0 && to->failed)
        rc = fail(p.why, E_MEMORY, "no memory for a record");
    if (rc)
        to->size = before;
    json_decref(v);
    json_decref(schema);
    return rc;
}
