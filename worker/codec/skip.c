/* Canonical schemas, compiled ones, and the walk over a datum. Container files are in container.c. */
#include "worker/codec/skip.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 16, FULL_NAME = 256, NAMES = 64 };

enum kind { NOTHING, BOOLEAN, VARINT, FIXED, SIZED, ARRAY, MAP, RECORD, UNION };

struct skip {
    enum kind kind;
    int64_t size;        /* FIXED: bytes. UNION, RECORD: children */
    struct skip **child; /* owned */
};

static const struct {
    const char *name;
    enum kind kind;
    int64_t size;
} primitives[] = {
    {"null", NOTHING, 0}, {"boolean", BOOLEAN, 0}, {"int", VARINT, 0},  {"long", VARINT, 0},
    {"float", FIXED, 4},  {"double", FIXED, 8},    {"bytes", SIZED, 0}, {"string", SIZED, 0},
};

static int primitive(const char *name)
{
    for (int i = 0; i < (int)(sizeof primitives / sizeof *primitives); i++)
        if (strcmp(primitives[i].name, name) == 0)
            return i;
    return -1;
}

/* ---- canonical form ---- */

static bool print_schema(FILE *out, const json_t *s, const char *space, int depth);

static void print_string(FILE *out, const char *s)
{
    json_t *text = json_string(s);
    char *quoted = json_dumps(text, JSON_ENCODE_ANY);
    fputs(quoted ? quoted : "", out);
    free(quoted);
    json_decref(text);
}

/* "a.B" has its space in it; a bare name takes the one given or around it. */
static bool full_name(char out[FULL_NAME], const char *name, const char *space)
{
    int n = strchr(name, '.') || !*space ? snprintf(out, FULL_NAME, "%s", name)
                                         : snprintf(out, FULL_NAME, "%s.%s", space, name);
    return n > 0 && n < FULL_NAME;
}

static bool print_list(FILE *out, const json_t *items, const char *space, int depth)
{
    bool good = json_is_array(items);
    fputc('[', out);
    for (size_t i = 0; good && i < json_array_size(items); i++) {
        if (i)
            fputc(',', out);
        good = print_schema(out, json_array_get(items, i), space, depth + 1);
    }
    fputc(']', out);
    return good;
}

static bool print_fields(FILE *out, const json_t *fields, const char *space, int depth)
{
    bool good = json_is_array(fields);
    fputs("[", out);
    for (size_t i = 0; good && i < json_array_size(fields); i++) {
        const json_t *f = json_array_get(fields, i);
        const char *name = json_string_value(json_object_get(f, "name"));
        if (!name)
            return false;
        fputs(i ? ",{\"name\":" : "{\"name\":", out);
        print_string(out, name);
        fputs(",\"type\":", out);
        good = print_schema(out, json_object_get(f, "type"), space, depth + 1);
        fputc('}', out);
    }
    fputs("]", out);
    return good;
}

static bool print_symbols(FILE *out, const json_t *symbols)
{
    fputs("[", out);
    for (size_t i = 0; i < json_array_size(symbols); i++) {
        const char *s = json_string_value(json_array_get(symbols, i));
        if (!s)
            return false;
        if (i)
            fputc(',', out);
        print_string(out, s);
    }
    fputs("]", out);
    return json_is_array(symbols);
}

static bool print_named(FILE *out, const json_t *s, const char *type, const char *space, int depth)
{
    char full[FULL_NAME], inner[FULL_NAME] = "";
    const char *name = json_string_value(json_object_get(s, "name"));
    const char *own = json_string_value(json_object_get(s, "namespace"));
    if (!name || !full_name(full, name, own ? own : space))
        return false;
    const char *dot = strrchr(full, '.');
    if (dot)
        snprintf(inner, sizeof inner, "%.*s", (int)(dot - full), full);
    fputs("{\"name\":", out);
    print_string(out, full);
    fprintf(out, ",\"type\":\"%s\"", type);
    bool good = true;
    if (strcmp(type, "record") == 0) {
        fputs(",\"fields\":", out);
        good = print_fields(out, json_object_get(s, "fields"), inner, depth);
    } else if (strcmp(type, "enum") == 0) {
        fputs(",\"symbols\":", out);
        good = print_symbols(out, json_object_get(s, "symbols"));
    } else {
        fprintf(out, ",\"size\":%lld", (long long)json_integer_value(json_object_get(s, "size")));
    }
    fputc('}', out);
    return good;
}

static bool print_object(FILE *out, const json_t *s, const char *space, int depth)
{
    const json_t *inner = json_object_get(s, "type");
    const char *type = json_string_value(inner);
    if (!type)
        return print_schema(out, inner, space, depth + 1);
    if (strcmp(type, "record") == 0 || strcmp(type, "enum") == 0 || strcmp(type, "fixed") == 0)
        return print_named(out, s, type, space, depth);
    bool array = strcmp(type, "array") == 0;
    if (!array && strcmp(type, "map") != 0)
        return print_schema(out, inner, space, depth + 1);
    fprintf(out, "{\"type\":\"%s\",\"%s\":", type, array ? "items" : "values");
    bool good = print_schema(out, json_object_get(s, array ? "items" : "values"), space, depth + 1);
    fputc('}', out);
    return good;
}

static bool print_schema(FILE *out, const json_t *s, const char *space, int depth)
{
    char full[FULL_NAME];
    const char *name = json_string_value(s);
    if (depth > 4 * DEPTH)
        return false;
    if (json_is_array(s))
        return print_list(out, s, space, depth);
    if (json_is_object(s))
        return print_object(out, s, space, depth);
    if (!name || (primitive(name) < 0 && !full_name(full, name, space)))
        return false;
    print_string(out, primitive(name) < 0 ? full : name);
    return true;
}

char *schema_canonical(const char *json, size_t size)
{
    char *text = NULL;
    size_t length = 0;
    json_t *s = json_loadb(json, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    FILE *out = s ? open_memstream(&text, &length) : NULL;
    if (out) {
        bool good = print_schema(out, s, "", 0);
        if (fclose(out) || !good) {
            free(text);
            text = NULL;
        }
    }
    json_decref(s);
    return text;
}

/* ---- compiling ---- */

struct names { /* named types seen so far, for references */
    const char *name[NAMES];
    const json_t *schema[NAMES];
    int count;
};

static struct skip *compile(const json_t *s, struct names *names, int depth);

static struct skip *node(enum kind kind, int64_t size, size_t children)
{
    struct skip *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->child = calloc(children + 1, sizeof(struct skip *));
    if (!n->child) {
        free(n);
        return NULL;
    }
    n->kind = kind;
    n->size = size;
    return n;
}

/* items: schemas, or fields that have one in "type". */
static struct skip *compile_list(enum kind kind, const json_t *items, struct names *names, int depth)
{
    size_t count = json_array_size(items);
    struct skip *n = node(kind, (int64_t)count, count);
    for (size_t i = 0; n && i < count; i++) {
        const json_t *item = json_array_get(items, i);
        n->child[i] = compile(kind == RECORD ? json_object_get(item, "type") : item, names, depth + 1);
        if (!n->child[i])
            skip_close(&n);
    }
    return n;
}

static struct skip *compile_items(enum kind kind, const json_t *items, struct names *names, int depth)
{
    struct skip *n = node(kind, 1, 1);
    if (n && !(n->child[0] = compile(items, names, depth + 1)))
        skip_close(&n);
    return n;
}

static struct skip *compile_name(const char *name, struct names *names, int depth)
{
    int p = primitive(name);
    if (p >= 0)
        return node(primitives[p].kind, primitives[p].size, 0);
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->name[i], name) == 0)
            return compile(names->schema[i], names, depth + 1);
    return NULL;
}

static struct skip *compile(const json_t *s, struct names *names, int depth)
{
    if (depth > DEPTH)
        return NULL;
    if (json_is_string(s))
        return compile_name(json_string_value(s), names, depth);
    if (json_is_array(s))
        return compile_list(UNION, s, names, depth);
    const char *type = json_string_value(json_object_get(s, "type"));
    const char *name = json_string_value(json_object_get(s, "name"));
    if (!type)
        return NULL;
    if (name && names->count < NAMES) {
        names->name[names->count] = name;
        names->schema[names->count++] = s;
    }
    if (strcmp(type, "record") == 0)
        return compile_list(RECORD, json_object_get(s, "fields"), names, depth);
    if (strcmp(type, "enum") == 0)
        return node(VARINT, 0, 0);
    if (strcmp(type, "fixed") == 0)
        return node(FIXED, json_integer_value(json_object_get(s, "size")), 0);
    if (strcmp(type, "array") == 0)
        return compile_items(ARRAY, json_object_get(s, "items"), names, depth);
    return strcmp(type, "map") == 0 ? compile_items(MAP, json_object_get(s, "values"), names, depth) : NULL;
}

struct skip *skip_open(const char *canonical)
{
    struct names names = {.count = 0};
    json_t *s = json_loads(canonical, JSON_DECODE_ANY, NULL);
    struct skip *n = s ? compile(s, &names, 0) : NULL;
    json_decref(s);
    return n;
}

void skip_close(struct skip **s)
{
    if (!*s)
        return;
    for (struct skip **c = (*s)->child; *c; c++)
        skip_close(c);
    free((*s)->child);
    free(*s);
    *s = NULL;
}

/* ---- the walk ---- */

struct walk {
    const unsigned char *at, *end;
    enum fail_code broken; /* sticky: the loops end by themselves */
};

static int64_t walk_stop(struct walk *w, enum fail_code code)
{
    if (!w->broken)
        w->broken = code;
    return 0;
}

static int64_t walk_long(struct walk *w)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (w->broken || w->at == w->end)
            return walk_stop(w, E_TRUNCATED);
        unsigned char b = *w->at++;
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128)
            return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
    }
    return walk_stop(w, E_BAD_AVRO);
}

static void walk_bytes(struct walk *w, int64_t size)
{
    if (size < 0)
        walk_stop(w, E_BAD_AVRO);
    else if (size > w->end - w->at)
        walk_stop(w, E_TRUNCATED);
    else if (!w->broken)
        w->at += size;
}

static void walk_datum(struct walk *w, const struct skip *s);

/* Blocks of items, each with its count; a negative count is followed by the block's bytes. */
static void walk_blocks(struct walk *w, const struct skip *s)
{
    for (int64_t count; !w->broken && (count = walk_long(w)) != 0;) {
        if (count < 0) {
            walk_bytes(w, walk_long(w));
            continue;
        }
        if (count > w->end - w->at) /* our items have at least one byte each */
            walk_stop(w, E_TRUNCATED);
        for (; !w->broken && count > 0; count--) {
            if (s->kind == MAP)
                walk_bytes(w, walk_long(w));
            walk_datum(w, s->child[0]);
        }
    }
}

static void walk_datum(struct walk *w, const struct skip *s)
{
    int64_t which;
    if (w->broken)
        return;
    switch (s->kind) {
    case NOTHING:
        break;
    case BOOLEAN:
        walk_bytes(w, 1);
        break;
    case VARINT:
        walk_long(w);
        break;
    case FIXED:
        walk_bytes(w, s->size);
        break;
    case SIZED:
        walk_bytes(w, walk_long(w));
        break;
    case ARRAY:
    case MAP:
        walk_blocks(w, s);
        break;
    case RECORD:
        for (int64_t i = 0; i < s->size; i++)
            walk_datum(w, s->child[i]);
        break;
    case UNION:
        which = walk_long(w);
        if (which < 0 || which >= s->size)
            walk_stop(w, E_BAD_AVRO);
        else
            walk_datum(w, s->child[which]);
        break;
    }
}

int skip_datum(const struct skip *s, const unsigned char **at, const unsigned char *end, struct fail *why)
{
    struct walk w = {.at = *at, .end = end};
    walk_datum(&w, s);
    *at = w.at;
    if (w.broken == E_TRUNCATED)
        return fail(why, E_TRUNCATED, "the datum runs past the end of its block");
    return w.broken ? fail(why, w.broken, "no datum of this schema") : 0;
}
