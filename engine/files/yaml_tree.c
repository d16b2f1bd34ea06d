/* Trees of YAML: looking at them, and copies with names filled in. Reading text is yaml.c. */
#include "engine/files/yaml_inside.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void yaml_node_free(struct yaml_node *n)
{
    if (!n)
        return;
    for (int i = 0; i < n->count; i++) {
        yaml_node_free(n->items[i]);
        if (n->keys)
            yaml_node_free(n->keys[i]);
    }
    free(n->items);
    free(n->keys);
    free(n->text);
    free(n);
}

void yaml_doc_free(struct yaml_doc **docp)
{
    struct yaml_doc *doc = *docp;
    if (!doc)
        return;
    yaml_node_free(doc->root);
    free(doc->name);
    free(doc);
    *docp = NULL;
}

int yaml_fail(const struct yaml_doc *doc, const struct yaml_node *n, struct fail *why, const char *format,
              ...)
{
    char text[sizeof why->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(why, E_CONFIG, "%s:%d:%d: %s", doc->name, n ? n->line : 1, n ? n->column : 1, text);
}

/* ---- looking at the tree ---- */

const struct yaml_node *yaml_root(const struct yaml_doc *doc)
{
    return doc->root;
}

enum yaml_kind yaml_kind(const struct yaml_node *n)
{
    return n->kind;
}

const char *yaml_scalar(const struct yaml_node *n)
{
    return n->text;
}

int yaml_count(const struct yaml_node *n)
{
    return n->count;
}

const struct yaml_node *yaml_item(const struct yaml_node *n, int i)
{
    return i >= 0 && i < n->count ? n->items[i] : NULL;
}

const char *yaml_key(const struct yaml_node *n, int i)
{
    return n->keys && i >= 0 && i < n->count ? n->keys[i]->text : NULL;
}

const struct yaml_node *yaml_key_node(const struct yaml_node *n, int i)
{
    return n->keys && i >= 0 && i < n->count ? n->keys[i] : NULL;
}

const struct yaml_node *yaml_get(const struct yaml_node *n, const char *key)
{
    for (int i = 0; n->keys && i < n->count; i++)
        if (!strcmp(n->keys[i]->text, key))
            return n->items[i];
    return NULL;
}

int yaml_line(const struct yaml_node *n)
{
    return n->line;
}

int yaml_column(const struct yaml_node *n)
{
    return n->column;
}

/* ---- copies ---- */

/* "$filters" -> "filters"; NULL for anything else. */
static const char *blank_name(const struct yaml_node *n)
{
    return n->kind == YAML_SCALAR && n->text[0] == '$' && n->text[1] ? n->text + 1 : NULL;
}

static int copy_items(struct yaml_node *copy, const struct yaml_doc *doc, const struct yaml_node *n,
                      const struct yaml_node *values, struct fail *why)
{
    int rc = 0;
    copy->items = calloc((size_t)n->count + 1, sizeof *copy->items);
    copy->keys = n->keys ? calloc((size_t)n->count + 1, sizeof *copy->keys) : NULL;
    if (!copy->items || (n->keys && !copy->keys))
        return fail(why, E_MEMORY, "no memory for %s", doc->name);
    copy->capacity = n->count + 1;
    for (int i = 0; !rc && i < n->count; i++) {
        copy->count++;
        rc = yaml_fill(&copy->items[i], doc, n->items[i], values, why);
        if (!rc && n->keys)
            rc = yaml_fill(&copy->keys[i], doc, n->keys[i], NULL, why);
    }
    return rc;
}

int yaml_fill(struct yaml_node **out, const struct yaml_doc *doc, const struct yaml_node *n,
              const struct yaml_node *values, struct fail *why)
{
    const char *name = values ? blank_name(n) : NULL;
    const struct yaml_node *value = name ? yaml_get(values, name) : NULL;
    if (name && !value)
        return yaml_fail(doc, values, why, "key %s is missing, line %d wants it", name, n->line);
    if (value)
        return yaml_fill(out, doc, value, NULL, why);
    struct yaml_node *copy = calloc(1, sizeof *copy);
    int rc = 0;
    if (!copy)
        return fail(why, E_MEMORY, "no memory for %s", doc->name);
    *copy = (struct yaml_node){.kind = n->kind, .line = n->line, .column = n->column};
    if (n->text && !(copy->text = strdup(n->text)))
        rc = fail(why, E_MEMORY, "no memory for %s", doc->name);
    if (!rc)
        rc = copy_items(copy, doc, n, values, why);
    if (rc)
        yaml_node_free(copy);
    else
        *out = copy;
    return rc;
}

bool yaml_has_blank(const struct yaml_node *n, const char *name)
{
    bool found = blank_name(n) && !strcmp(blank_name(n), name);
    for (int i = 0; !found && i < n->count; i++)
        found = yaml_has_blank(n->items[i], name);
    return found;
}
