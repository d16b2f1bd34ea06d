/* One table-driven settings parser for layers, optimisers, jobs and the worker. A row of a
 * `struct setting` table gives a key its type, place in a struct, default, bounds and meaning;
 * parser, help, reference YAML and masking come from the row. YAML is read with libyaml, here only. */
#ifndef ENGINE_SETTING_H
#define ENGINE_SETTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/fail.h"

enum setting_type {
    SETTING_INT,     /* int64_t */
    SETTING_REAL,    /* double */
    SETTING_BOOL,    /* bool */
    SETTING_STRING,  /* char *, owned by the struct, never NULL once defaults are set */
    SETTING_CHOICE,  /* int: index into the words of `choices` ("sgd|adam") */
    SETTING_SET,     /* unsigned: bit per word of `choices`, written as a YAML list [infer, train] */
    SETTING_INTS,    /* struct setting_ints: one number or a list of at most 8 */
    SETTING_STRINGS, /* struct setting_strings: a YAML list of strings; as text "[a, b]" or "a, b" */
    SETTING_MAP,     /* struct setting_map: a free mapping of strings, for `kafka:` and hyperparameters */
};

struct setting_ints {
    int count;
    int64_t v[8];
};

struct setting_strings {
    int count;
    char **v; /* owned */
};

struct setting_pair {
    char *key, *value;
    int line, column;
};

struct setting_map {
    struct setting_pair *pairs; /* owned */
    int count;
};

struct setting {
    const char *key; /* "batch.max_rows": dots are nested mappings */
    enum setting_type type;
    size_t offset;        /* offsetof in the struct that the table describes */
    const char *fallback; /* the default, as it would be written; NULL: the key must be given */
    double min, max;      /* of numbers and of each number of a list; both 0: no bounds. Of strings: length */
    const char *choices;
    const char *help; /* one line: meaning and unit */
    bool secret;      /* masked wherever it is printed */
};

struct yaml_node; /* a parsed document with line and column on every node */
struct yaml_doc;

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAPPING };

/* Parses one YAML document. `name` is the file's name for messages. Aliases, tags and duplicate keys are
 * errors; depth at most 16; text at most 4 MiB. ${VAR}, ${VAR:-default} and ${VAR:?message} in scalar
 * values are replaced when `expand`. */
int yaml_parse(struct yaml_doc **out, const char *name, const char *text, size_t size, bool expand,
               struct fail *why);
int yaml_read(struct yaml_doc **out, const char *path, bool expand, struct fail *why);
/* Not "yaml_free": libyaml exports that name, and ours would take its place inside libyaml. */
void yaml_doc_free(struct yaml_doc **doc);
const struct yaml_node *yaml_root(const struct yaml_doc *doc);
enum yaml_kind yaml_kind(const struct yaml_node *n);
const char *yaml_scalar(const struct yaml_node *n); /* NULL unless a scalar */
int yaml_count(const struct yaml_node *n);          /* items of a list or pairs of a mapping */
const struct yaml_node *yaml_item(const struct yaml_node *n, int i); /* item of a list, value of a mapping */
const char *yaml_key(const struct yaml_node *n, int i);              /* key of pair i */
const struct yaml_node *yaml_key_node(const struct yaml_node *n, int i);      /* for its line and column */
const struct yaml_node *yaml_get(const struct yaml_node *n, const char *key); /* NULL when absent */
int yaml_line(const struct yaml_node *n), yaml_column(const struct yaml_node *n);
/* A copy of n in which each value "$name" is that of the mapping `values`; one it lacks is an error. The caller
 * frees it with yaml_node_free. values NULL: a plain copy. */
int yaml_fill(struct yaml_node **out, const struct yaml_doc *doc, const struct yaml_node *n,
              const struct yaml_node *values, struct fail *why);
bool yaml_has_blank(const struct yaml_node *n, const char *name); /* is there a value "$name" under n? */
void yaml_node_free(struct yaml_node *n);
/* Writes "name:line:column: text" as E_CONFIG and returns it. */
int yaml_fail(const struct yaml_doc *doc, const struct yaml_node *n, struct fail *why, const char *format,
              ...) __attribute__((format(printf, 4, 5)));

/* Fills the struct with the table's defaults (strings are copied). Table ends with a NULL key. */
int setting_defaults(const struct setting *table, void *into, struct fail *why);
/* Reads a mapping over what is there. An unknown key, a wrong type, a value out of bounds is E_CONFIG with
 * file:line:column and the nearest known key. A key without fallback that is missing is an error. */
int setting_read(const struct setting *table, void *into, const struct yaml_doc *doc,
                 const struct yaml_node *mapping, struct fail *why);
/* Sets one key from text ("batch.max_rows", "64"), as -X on the command line and hyperparameters do. For a
 * SETTING_MAP row "kafka" the key "kafka.bootstrap.servers" sets its pair. `where` begins the message. */
int setting_set(const struct setting *table, void *into, const char *key, const char *value,
                const char *where, struct fail *why);
/* One value as it would be written in YAML, "***" for a secret that is set (show_secrets: false). */
void setting_print(const struct setting *s, const void *from, bool show_secrets, FILE *out);
/* True when a secret of this row is set. */
bool setting_holds_secret(const struct setting *s, const void *from);
/* Every key with type, default, bounds and meaning, for `help`. */
void setting_help(const struct setting *table, FILE *out);
/* The struct as a YAML file, nested by the dots, each key under its help as a comment. */
void setting_write(const struct setting *table, const void *from, bool comments, FILE *out);
void setting_free(const struct setting *table, void *what);
/* A deep copy over `to`, whose strings and maps are freed first (so `to` is zeroed or holds settings). */
int setting_copy(const struct setting *table, void *to, const void *from, struct fail *why);
/* The word that differs least from what was written (Levenshtein), for messages; NULL when n is 0. */
const char *setting_nearest(const char *written, const char *const *words, int n);
const char *setting_map_get(const struct setting_map *m, const char *key); /* NULL when absent */
/* Edits that make one word of the other; over 100 for words of more than 64 characters. */
int setting_distance(const char *a, const char *b);

#endif
