/* The tree that yaml.c makes and yaml_tree.c looks at. */
#ifndef ENGINE_FILES_YAML_INSIDE_H
#define ENGINE_FILES_YAML_INSIDE_H

#include "engine/setting.h"

struct yaml_node {
    enum yaml_kind kind;
    char *text; /* of a scalar */
    struct yaml_node **items, **keys;
    int count, capacity;
    int line, column; /* from 1 */
};

struct yaml_doc {
    char *name;
    struct yaml_node *root;
};

#endif
