/* A plan, between resolver.c that makes it and resolver_run.c that runs it. */
#ifndef WORKER_CODEC_RESOLVER_PLAN_H
#define WORKER_CODEC_RESOLVER_PLAN_H

#include "worker/codec/resolver.h"
#include "worker/codec/schema_tree.h"

enum plan_op {
    PLAN_PLAIN,  /* a number, boolean or null, promoted where the kinds differ */
    PLAN_SIZED,  /* string or bytes to string or bytes */
    PLAN_FLOATS, /* array<float> to bytes */
    PLAN_ENUM,
    PLAN_ITEMS, /* array to array, map to map */
    PLAN_RECORD,
    PLAN_UNION, /* by the writer's branch */
    PLAN_WRAP,  /* into a branch of our union */
};

struct plan {
    enum plan_op op;
    enum schema_kind to;
    const struct schema_node *from;
    const char **name;   /* RECORD: our fields */
    int count;           /* RECORD: our fields; UNION: the writer's branches */
    struct plan **child; /* RECORD: NULL takes the default; UNION: NULL has no place; else [0] */
    int *
        source; /* RECORD: the writer's field for each of ours; ENUM: our symbol for each of the writer's, -1: none */
    struct span *fallback; /* RECORD: the defaults' binary */
    int branch;            /* WRAP */
};

struct resolver {
    struct region mem;
    struct plan *plan;                   /* NULL: nothing to be done */
    struct schema_tree *writer, *reader; /* names and nodes are theirs */
    char gap[160];
};

#endif
