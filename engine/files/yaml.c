/* YAML text to a tree of nodes with line and column, over libyaml's events. Strict: no aliases, tags,
 * duplicate keys or second document. What keys mean is setting.c's and network.c's business.
 * Next to read: yaml_tree.c. */
#include <yaml.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/yaml_inside.h"

enum { DEPTH_MOST = 16, NODES_MOST = 1 << 20 };
#define TEXT_MOST ((size_t)4 << 20)

struct reader {
    yaml_parser_t parser;
    struct yaml_doc *doc;
    bool expand;
    int nodes;
    struct fail *why;
};

static int fail_at(struct reader *r, yaml_mark_t mark, const char *text)
{
    return fail(r->why, E_CONFIG, "%s:%zu:%zu: %s", r->doc->name, mark.line + 1, mark.column + 1, text);
}

static int next(struct reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event))
        return 0;
    yaml_mark_t mark = r->parser.problem_mark;
    const char *problem = r->parser.problem ? r->parser.problem : "not YAML";
    if (r->parser.error == YAML_MEMORY_ERROR)
        return fail(r->why, E_MEMORY, "no memory for %s", r->doc->name);
    if (r->parser.error == YAML_READER_ERROR)
        return fail(r->why, E_CONFIG, "%s: byte %zu: %s", r->doc->name, r->parser.problem_offset, problem);
    return fail_at(r, mark, problem);
}

static struct yaml_node *node_new(struct reader *r, enum yaml_kind kind, yaml_mark_t mark)
{
    struct yaml_node *n = ++r->nodes > NODES_MOST ? NULL : calloc(1, sizeof *n);
    if (!n) {
        fail(r->why, E_MEMORY, "no memory for %s, or more than %d values", r->doc->name, NODES_MOST);
        return NULL;
    }
    n->kind = kind;
    n->line = (int)mark.line + 1;
    n->column = (int)mark.column + 1;
    return n;
}

/* Takes key and item over, whatever comes of it. */
static int node_add(struct reader *r, struct yaml_node *n, struct yaml_node *key, struct yaml_node *item)
{
    if (n->count == n->capacity) {
        int capacity = n->capacity ? 2 * n->capacity : 8;
        struct yaml_node **items = realloc(n->items, (size_t)capacity * sizeof *items);
        if (items)
            n->items = items;
        struct yaml_node **keys = key ? realloc(n->keys, (size_t)capacity * sizeof *keys) : n->keys;
        if (keys)
            n->keys = keys;
        if (!items || (key && !keys)) {
            yaml_node_free(key);
            yaml_node_free(item);
            return fail(r->why, E_MEMORY, "no memory for %s", r->doc->name);
        }
        n->capacity = capacity;
    }
    if (key)
        n->keys[n->count] = key;
    n->items[n->count++] = item;
    return 0;
}

/* ---- ${VAR}, ${VAR:-default}, ${VAR:?message} ---- */

static int expand_one(struct reader *r, const struct yaml_node *n, char *inside, FILE *out)
{
    char *otherwise = strstr(inside, ":-"), *message = strstr(inside, ":?");
    if (otherwise && message) /* whichever comes first is the operator */
        *(otherwise < message ? &message : &otherwise) = NULL;
    char *rest = otherwise ? otherwise : message;
    if (rest) {
        *rest = 0;
        rest += 2;
    }
    if (!*inside ||
        strspn(inside, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != strlen(inside))
        return yaml_fail(r->doc, n, r->why, "${%s}: expected ${VAR}, ${VAR:-default} or ${VAR:?message}",
                         inside);
    const char *value = getenv(inside);
    if (message && (!value || !*value))
        return yaml_fail(r->doc, n, r->why, "%s: %s", inside, *rest ? rest : "must be set");
    if (otherwise && (!value || !*value))
        value = rest;
    if (!value)
        return yaml_fail(r->doc, n, r->why, "environment variable %s is not set; ${%s:-...} gives a default",
                         inside, inside);
    fputs(value, out);
    return 0;
}

static int expand(struct reader *r, struct yaml_node *n)
{
    char *result = NULL, *at = n->text;
    size_t size = 0;
    int rc = 0;
    if (!strstr(n->text, "${"))
        return 0;
    FILE *out = open_memstream(&result, &size);
    if (!out)
        return fail(r->why, E_MEMORY, "no memory for %s", r->doc->name);
    for (char *from; !rc && (from = strstr(at, "${"));) {
        char *end = strchr(from, '}');
        fwrite(at, 1, (size_t)(from - at), out);
        if (!end) {
            rc = yaml_fail(r->doc, n, r->why, "\"${\" without \"}\"");
            break;
        }
        *end = 0;
        rc = expand_one(r, n, from + 2, out);
        at = end + 1;
    }
    fputs(at, out);
    if (fclose(out) && !rc)
        rc = fail(r->why, E_MEMORY, "no memory for %s", r->doc->name);
    if (rc) {
        free(result);
        return rc;
    }
    free(n->text);
    n->text = result;
    return 0;
}

/* ---- events to nodes ---- */

static int read_node(struct reader *r, yaml_event_t *event, int depth, struct yaml_node **out);

static int read_scalar(struct reader *r, yaml_event_t *event, bool value, struct yaml_node **out)
{
    struct yaml_node *n;
    if (event->data.scalar.anchor || event->data.scalar.tag)
        return fail_at(r, event->start_mark, "anchors and tags are not taken");
    if (strlen((char *)event->data.scalar.value) != event->data.scalar.length)
        return fail_at(r, event->start_mark, "a zero byte in text");
    if (!(n = node_new(r, YAML_SCALAR, event->start_mark)))
        return -E_MEMORY;
    if (!(n->text = strdup((char *)event->data.scalar.value))) {
        yaml_node_free(n);
        return fail(r->why, E_MEMORY, "no memory for %s", r->doc->name);
    }
    int rc = value && r->expand ? expand(r, n) : 0;
    if (rc)
        yaml_node_free(n);
    else
        *out = n;
    return rc;
}

static int read_key(struct reader *r, yaml_event_t *event, const struct yaml_node *mapping,
                    struct yaml_node **key)
{
    int rc;
    if (event->type != YAML_SCALAR_EVENT)
        return fail_at(r, event->start_mark, "a key must be a plain word");
    if ((rc = read_scalar(r, event, false, key)))
        return rc;
    for (int i = 0; i < mapping->count; i++)
        if (!strcmp(mapping->keys[i]->text, (*key)->text)) {
            rc = yaml_fail(r->doc, *key, r->why, "key %s is there twice, first in line %d", (*key)->text,
                           mapping->keys[i]->line);
            yaml_node_free(*key);
            *key = NULL;
            return rc;
        }
    return 0;
}

/* Items of a list or pairs of a mapping until its end. */
static int read_items(struct reader *r, struct yaml_node *n, int depth)
{
    yaml_event_type_t end = n->kind == YAML_LIST ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT;
    for (;;) {
        yaml_event_t event;
        struct yaml_node *key = NULL, *item = NULL;
        int rc = next(r, &event);
        if (rc)
            return rc;
        if (event.type == end) {
            yaml_event_delete(&event);
            return 0;
        }
        if (n->kind == YAML_MAPPING) {
            rc = read_key(r, &event, n, &key);
            yaml_event_delete(&event);
            if (rc || (rc = next(r, &event))) {
                yaml_node_free(key);
                return rc;
            }
        }
        rc = read_node(r, &event, depth, &item);
        yaml_event_delete(&event);
        if (rc) {
            yaml_node_free(key);
            return rc;
        }
        if ((rc = node_add(r, n, key, item)))
            return rc;
    }
}

static int read_node(struct reader *r, yaml_event_t *event, int depth, struct yaml_node **out)
{
    struct yaml_node *n;
    bool list = event->type == YAML_SEQUENCE_START_EVENT;
    if (event->type == YAML_ALIAS_EVENT)
        return fail_at(r, event->start_mark, "aliases are not taken");
    if (event->type == YAML_SCALAR_EVENT)
        return read_scalar(r, event, true, out);
    if (!list && event->type != YAML_MAPPING_START_EVENT)
        return fail_at(r, event->start_mark, "expected a value, a list or a mapping");
    if (list ? event->data.sequence_start.anchor || event->data.sequence_start.tag
             : event->data.mapping_start.anchor || event->data.mapping_start.tag)
        return fail_at(r, event->start_mark, "anchors and tags are not taken");
    if (depth >= DEPTH_MOST)
        return fail_at(r, event->start_mark, "nested deeper than 16");
    if (!(n = node_new(r, list ? YAML_LIST : YAML_MAPPING, event->start_mark)))
        return -E_MEMORY;
    int rc = read_items(r, n, depth + 1);
    if (rc)
        yaml_node_free(n);
    else
        *out = n;
    return rc;
}

/* Reads the one document of the stream; an empty one is an empty mapping. */
static int read_document(struct reader *r)
{
    yaml_event_t event;
    int rc;
    while (!(rc = next(r, &event))) {
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT && r->doc->root)
            rc = fail_at(r, event.start_mark, "a second document; expected one");
        else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
                 type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT)
            rc = read_node(r, &event, 0, &r->doc->root);
        yaml_event_delete(&event);
        if (rc || type == YAML_STREAM_END_EVENT)
            break;
    }
    if (!rc && !r->doc->root && !(r->doc->root = node_new(r, YAML_MAPPING, (yaml_mark_t){0})))
        rc = -E_MEMORY;
    return rc;
}

int yaml_parse(struct yaml_doc **out, const char *name, const char *text, size_t size, bool expand_values,
               struct fail *why)
{
    struct reader r = {.expand = expand_values, .why = why};
    int rc;
    if (size > TEXT_MOST)
        return fail(why, E_CONFIG, "%s: %zu bytes, expected at most %zu", name, size, TEXT_MOST);
    if (!(r.doc = calloc(1, sizeof *r.doc)) || !(r.doc->name = strdup(name)) ||
        !yaml_parser_initialize(&r.parser)) {
        yaml_doc_free(&r.doc);
        return fail(why, E_MEMORY, "no memory for %s", name);
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    rc = read_document(&r);
    yaml_parser_delete(&r.parser);
    if (rc)
        yaml_doc_free(&r.doc);
    else
        *out = r.doc;
    return rc;
}

int yaml_read(struct yaml_doc **out, const char *path, bool expand_values, struct fail *why)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(TEXT_MOST + 1);
    size_t size = 0;
    int rc = 0;
    if (!file)
        rc = fail(why, E_CONFIG, "%s: %s", path, strerror(errno));
    else if (!text)
        rc = fail(why, E_MEMORY, "no memory for %s", path);
    else {
        size = fread(text, 1, TEXT_MOST + 1, file);
        if (ferror(file))
            rc = fail(why, E_CONFIG, "%s: %s", path, strerror(errno));
    }
    if (!rc)
        rc = yaml_parse(out, path, text, size, expand_values, why);
    if (file)
        fclose(file);
    free(text);
    return rc;
}
