/* Settings from YAML mappings and from single keys on a command line; every error has its place and the nearest
 * key. The YAML tree is files/yaml.c, values are setting.c. */
#include <string.h>

#include "engine/setting_inside.h"

static const struct setting *find(const struct setting *table, const char *key)
{
    for (const struct setting *s = table; s->key; s++)
        if (!strcmp(s->key, key))
            return s;
    return NULL;
}

static const char *nearest_key(const struct setting *table, const char *key)
{
    const char *words[512];
    int n = 0;
    for (; table[n].key && n < 512; n++)
        words[n] = table[n].key;
    return n ? setting_nearest(key, words, n) : "(none)";
}

int setting_set(const struct setting *table, void *into, const char *key, const char *value,
                const char *where, struct fail *why)
{
    const struct setting *s = find(table, key);
    int rc;
    if (!s) {
        for (s = table; s->key; s++) {
            size_t length = strlen(s->key);
            if (s->type == SETTING_MAP && !strncmp(key, s->key, length) && key[length] == '.' &&
                key[length + 1])
                return setting_map_set(setting_field(s, into), key + length + 1, value, 0, 0, why);
        }
        return fail(why, E_CONFIG, "%s: unknown key %.120s, nearest is %s", where, key,
                    nearest_key(table, key));
    }
    if ((rc = setting_assign_text(s, into, value, why)))
        rc = why ? fail_prefix(why, "%s", where) : rc;
    return rc;
}

/* ---- YAML ---- */

static int assign_map(const struct setting *s, void *into, const struct yaml_doc *doc,
                      const struct yaml_node *n, struct fail *why)
{
    int rc = 0;
    const char *text = yaml_scalar(n);
    if (text && !*text) /* "kafka:" and nothing under it */
        return 0;
    if (yaml_kind(n) != YAML_MAPPING)
        return yaml_fail(doc, n, why, "%s: expected a mapping of names to values", s->key);
    for (int i = 0; !rc && i < yaml_count(n); i++) {
        const struct yaml_node *item = yaml_item(n, i), *key = yaml_key_node(n, i);
        if (!yaml_scalar(item))
            return yaml_fail(doc, item, why, "%s.%s: expected one value", s->key, yaml_key(n, i));
        rc = setting_map_set(setting_field(s, into), yaml_key(n, i), yaml_scalar(item), yaml_line(key),
                             yaml_column(key), why);
    }
    return rc;
}

static int assign_node(const struct setting *s, void *into, const struct yaml_doc *doc,
                       const struct yaml_node *n, struct fail *why)
{
    struct setting_words w = {.list = yaml_kind(n) == YAML_LIST};
    struct fail inner;
    if (s->type == SETTING_MAP)
        return assign_map(s, into, doc, n, why);
    if (yaml_kind(n) == YAML_MAPPING)
        return yaml_fail(doc, n, why, "%s: expected a value, found a mapping", s->key);
    if (yaml_count(n) > WORDS_MOST)
        return yaml_fail(doc, n, why, "%s: more than %d items", s->key, WORDS_MOST);
    if (!w.list)
        w.v[w.n++] = yaml_scalar(n);
    for (int i = 0; w.list && i < yaml_count(n); i++) {
        if (!(w.v[w.n++] = yaml_scalar(yaml_item(n, i))))
            return yaml_fail(doc, yaml_item(n, i), why, "%s: expected a list of plain values", s->key);
    }
    int rc = setting_assign(s, into, &w, &inner);
    if (rc == -E_MEMORY) /* no fault of the file's */
        return fail(why, E_MEMORY, "%s", inner.text);
    return rc ? yaml_fail(doc, n, why, "%s", inner.text) : 0;
}

static bool is_section(const struct setting *table, const char *key)
{
    size_t length = strlen(key);
    for (const struct setting *s = table; s->key; s++)
        if (!strncmp(s->key, key, length) && s->key[length] == '.')
            return true;
    return false;
}

static int read_section(const struct setting *table, void *into, const struct yaml_doc *doc,
                        const struct yaml_node *mapping, const char *prefix, struct fail *why)
{
    const char *text = yaml_scalar(mapping);
    int rc = 0;
    if (text && !*text) /* a section with nothing under it */
        return 0;
    if (yaml_kind(mapping) != YAML_MAPPING)
        return yaml_fail(doc, mapping, why, "%s: expected a mapping of keys", *prefix ? prefix : "settings");
    for (int i = 0; !rc && i < yaml_count(mapping); i++) {
        char key[KEY_MOST];
        int n = snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", yaml_key(mapping, i));
        const struct setting *s = n < KEY_MOST ? find(table, key) : NULL;
        if (s)
            rc = assign_node(s, into, doc, yaml_item(mapping, i), why);
        else if (n < KEY_MOST && is_section(table, key))
            rc = read_section(table, into, doc, yaml_item(mapping, i), key, why);
        else
            rc = yaml_fail(doc, yaml_key_node(mapping, i), why, "unknown key %.120s, nearest is %s", key,
                           nearest_key(table, key));
    }
    return rc;
}

/* Is "a.b" there, as {a: {b: ...}} or {a.b: ...}? */
static bool is_given(const struct yaml_node *mapping, const char *key)
{
    if (!mapping || yaml_kind(mapping) != YAML_MAPPING)
        return false;
    if (yaml_get(mapping, key))
        return true;
    for (int i = 0; i < yaml_count(mapping); i++) {
        size_t length = strlen(yaml_key(mapping, i));
        if (!strncmp(key, yaml_key(mapping, i), length) && key[length] == '.')
            return is_given(yaml_item(mapping, i), key + length + 1);
    }
    return false;
}

int setting_read(const struct setting *table, void *into, const struct yaml_doc *doc,
                 const struct yaml_node *mapping, struct fail *why)
{
    int rc = read_section(table, into, doc, mapping, "", why);
    for (const struct setting *s = table; !rc && s->key; s++)
        if (!s->fallback && !is_given(mapping, s->key))
            rc = yaml_fail(doc, mapping, why, "key %s is missing: %s", s->key, s->help);
    return rc;
}
