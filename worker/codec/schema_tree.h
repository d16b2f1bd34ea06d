/* An Avro schema as a tree, from the JSON text that a schema registry gives. Such a text is trusted no further than that: what
 * makes other readers loop or crash (a type inside itself, negative sizes, arrays of items without bytes, nesting without
 * end) is refused here, so that whoever walks the tree and its data needs no limit of his own.
 * For our own schemas see skip.h, which obeys more and checks less. */
#ifndef WORKER_CODEC_SCHEMA_TREE_H
#define WORKER_CODEC_SCHEMA_TREE_H

#include <jansson.h>

#include "worker/codec/record.h"

enum schema_kind {
    SCHEMA_NULL,
    SCHEMA_BOOLEAN,
    SCHEMA_INT,
    SCHEMA_LONG,
    SCHEMA_FLOAT,
    SCHEMA_DOUBLE,
    SCHEMA_BYTES,
    SCHEMA_STRING,
    SCHEMA_FIXED,
    SCHEMA_ENUM,
    SCHEMA_ARRAY,
    SCHEMA_MAP,
    SCHEMA_RECORD,
    SCHEMA_UNION
};

enum { SCHEMA_FIELDS = 128, SCHEMA_BRANCHES = 64 }; /* at most */

/* A named type that is used twice is one node with two parents; there are no circles. */
struct schema_node {
    enum schema_kind kind;
    int64_t fixed; /* bytes of every datum; -1: they differ, and the smallest has at least one */
    int count;     /* fields, branches or symbols; ARRAY and MAP: 1 */
    const struct schema_node **child; /* of fields, branches, items */
    const char **name;                /* of fields, or the symbols */
    const json_t **field;             /* RECORD: each field's JSON, for aliases and default */
    const char *other; /* ENUM: the symbol for those that the reader does not know; NULL: none */
};

struct schema_tree {
    json_t *json;
    const struct schema_node *root;
    struct region mem;
};

/* E_UNKNOWN_SCHEMA says what is wrong with it; E_MEMORY. */
int schema_tree_open(struct schema_tree **out, const char *text, size_t size, struct fail *why);
void schema_tree_close(struct schema_tree **t);
const char *schema_kind_name(enum schema_kind k); /* "record" */

/* The smallest datum's bytes, for bounding counts of items. */
static inline size_t schema_smallest(const struct schema_node *n)
{
    return n->fixed > 0 ? (size_t)n->fixed : 1;
}

/* Appends the Avro binary of a JSON value (a field's default) by a type inside `schema`. In json_parse.c. */
int schema_put_json(struct bytes *to, json_t *schema, const json_t *type, json_t *v, struct fail *why);

#endif
