/* Settings by table: defaults, reading, bounds and errors with their place. The YAML tree is files/yaml.c,
 * printing and help are setting_print.c. */
#include "engine/setting.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MOST = 256, KEY_MOST = 256 };

/* A value as it was written: one word, or the items of a list. */
struct words {
    int n;
    bool list;
    const char *v[WORDS_MOST];
};

/* ---- nearest word ---- */

int setting_distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    int row[MOST + 1], la = (int)strlen(a), lb = (int)strlen(b);
    if (la > MOST || lb > MOST)
        return 2 * MOST;
    for (int j = 0; j <= lb; j++)
        row[j] = j;
    for (int i = 1; i <= la; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= lb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[lb];
}

const char *setting_nearest(const char *written, const char *const *words, int n)
{
    const char *best = NULL;
    int least = 0;
    for (int i = 0; i < n; i++) {
        int d = setting_distance(written, words[i]);
        if (!best || d < least) {
            best = words[i];
            least = d;
        }
    }
    return best;
}

/* ---- one value ---- */

static void *field(const struct setting *s, const void *of)
{
    return (char *)of + s->offset;
}

static bool bounded(const struct setting *s)
{
    return s->min != 0 || s->max != 0;
}

static int check_bounds(const struct setting *s, double v, const char *word, struct fail *why)
{
    if (bounded(s) && !(v >= s->min && v <= s->max))
        return fail(why, E_CONFIG, "%s: %s is not in %.15g..%.15g", s->key, word, s->min, s->max);
    return 0;
}

static int parse_int(const struct setting *s, const char *word, int64_t *out, struct fail *why)
{
    char *end;
    errno = 0;
    long long v = strtoll(word, &end, 10);
    if (end == word || *end || strchr(" \t\n", word[0]))
        return fail(why, E_CONFIG, "%s: expected a whole number, found \"%.80s\"", s->key, word);
    if (errno == ERANGE)
        return fail(why, E_CONFIG, "%s: %.80s is too large", s->key, word);
    *out = v;
    return check_bounds(s, (double)v, word, why);
}

static int parse_real(const struct setting *s, const char *word, double *out, struct fail *why)
{
    char *end;
    double v = strtod(word, &end);
    if (end == word || *end || !isfinite(v) || strchr(" \t\n", word[0]))
        return fail(why, E_CONFIG, "%s: expected a number, found \"%.80s\"", s->key, word);
    *out = v;
    return check_bounds(s, v, word, why);
}

static int parse_bool(const struct setting *s, const char *word, bool *out, struct fail *why)
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(word, yes[i]) || !strcmp(word, no[i])) {
            *out = !strcmp(word, yes[i]);
            return 0;
        }
    return fail(why, E_CONFIG, "%s: expected true or false, found \"%.80s\"", s->key, word);
}

/* Index of the word in "a|b|c". */
static int parse_choice(const struct setting *s, const char *word, int *out, struct fail *why)
{
    char copy[512], *save = NULL;
    const char *words[64];
    int n = 0;
    snprintf(copy, sizeof copy, "%s", s->choices);
    for (char *w = strtok_r(copy, "|", &save); w && n < 64; w = strtok_r(NULL, "|", &save)) {
        if (!strcmp(w, word)) {
            *out = n;
            return 0;
        }
        words[n++] = w;
    }
    return fail(why, E_CONFIG, "%s: \"%.80s\" is unknown, nearest is %s; expected one of %s", s->key, word,
                setting_nearest(word, words, n), s->choices);
}

static int parse_string(const struct setting *s, const char *word, char **out, struct fail *why)
{
    size_t length = strlen(word);
    if (bounded(s) && ((double)length < s->min || (double)length > s->max))
        return fail(why, E_CONFIG, "%s: %zu characters, expected %.15g to %.15g", s->key, length, s->min,
                    s->max);
    char *copy = strdup(word);
    if (!copy)
        return fail(why, E_MEMORY, "no memory for %s", s->key);
    free(*out);
    *out = copy;
    return 0;
}

static void strings_free(struct setting_strings *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->v[i]);
    free(list->v);
    *list = (struct setting_strings){0};
}

static int parse_strings(const struct setting *s, const struct words *w, struct setting_strings *out,
                         struct fail *why)
{
    struct setting_strings list = {.v = calloc((size_t)w->n + 1, sizeof *list.v)};
    int rc = list.v ? 0 : fail(why, E_MEMORY, "no memory for %s", s->key);
    for (int i = 0; !rc && i < w->n; i++)
        if (!(rc = parse_string(s, w->v[i], &list.v[i], why)))
            list.count++;
    if (rc) {
        strings_free(&list);
        return rc;
    }
    strings_free(out);
    *out = list;
    return 0;
}

static int parse_ints(const struct setting *s, const struct words *w, struct setting_ints *out,
                      struct fail *why)
{
    struct setting_ints list = {0};
    int rc;
    if (w->n > 8)
        return fail(why, E_CONFIG, "%s: %d numbers, expected at most 8", s->key, w->n);
    for (; list.count < w->n; list.count++)
        if ((rc = parse_int(s, w->v[list.count], &list.v[list.count], why)))
            return rc;
    *out = list;
    return 0;
}

static int parse_set(const struct setting *s, const struct words *w, unsigned *out, struct fail *why)
{
    unsigned set = 0;
    for (int i = 0, bit, rc; i < w->n; i++) {
        if ((rc = parse_choice(s, w->v[i], &bit, why)))
            return rc;
        set |= 1u << bit;
    }
    *out = set;
    return 0;
}

static int assign(const struct setting *s, void *into, const struct words *w, struct fail *why)
{
    void *at = field(s, into);
    bool takes_list = s->type == SETTING_SET || s->type == SETTING_INTS || s->type == SETTING_STRINGS;
    if (!takes_list && w->list)
        return fail(why, E_CONFIG, "%s: expected one value, found a list", s->key);
    switch (s->type) {
    case SETTING_INT:
        return parse_int(s, w->v[0], at, why);
    case SETTING_REAL:
        return parse_real(s, w->v[0], at, why);
    case SETTING_BOOL:
        return parse_bool(s, w->v[0], at, why);
    case SETTING_STRING:
        return parse_string(s, w->v[0], at, why);
    case SETTING_CHOICE:
        return parse_choice(s, w->v[0], at, why);
    case SETTING_SET:
        return parse_set(s, w, at, why);
    case SETTING_INTS:
        return parse_ints(s, w, at, why);
    case SETTING_STRINGS:
        return parse_strings(s, w, at, why);
    case SETTING_MAP:
        break;
    }
    return fail(why, E_CONFIG, "%s: expected a mapping of names to values", s->key);
}

/* ---- maps ---- */

static int map_set(struct setting_map *m, const char *key, const char *value, int line, int column,
                   struct fail *why)
{
    int at = 0;
    char *copy = strdup(value), *name = NULL;
    while (at < m->count && strcmp(m->pairs[at].key, key))
        at++;
    if (copy && at == m->count) {
        struct setting_pair *pairs = realloc(m->pairs, (size_t)(at + 1) * sizeof *pairs);
        if (pairs)
            m->pairs = pairs;
        if (pairs && (name = strdup(key)))
            m->pairs[m->count++] = (struct setting_pair){.key = name};
    }
    if (!copy || at == m->count) {
        free(copy);
        return fail(why, E_MEMORY, "no memory for %s", key);
    }
    free(m->pairs[at].value);
    m->pairs[at].value = copy;
    m->pairs[at].line = line;
    m->pairs[at].column = column;
    return 0;
}

static void map_free(struct setting_map *m)
{
    for (int i = 0; i < m->count; i++) {
        free(m->pairs[i].key);
        free(m->pairs[i].value);
    }
    free(m->pairs);
    *m = (struct setting_map){0};
}

const char *setting_map_get(const struct setting_map *m, const char *key)
{
    for (int i = 0; i < m->count; i++)
        if (!strcmp(m->pairs[i].key, key))
            return m->pairs[i].value;
    return NULL;
}

/* ---- text: "64", "[a, b]", "a, b" ---- */

/* Cuts `text` into words in place. */
static void split(char *text, struct words *w)
{
    size_t length = strlen(text);
    char *save = NULL;
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text[length - 1] = 0;
        text++;
    }
    w->list = true;
    for (char *word = strtok_r(text, ",", &save); word && w->n < WORDS_MOST;
         word = strtok_r(NULL, ",", &save)) {
        word += strspn(word, " ");
        for (char *end = word + strlen(word); end > word && end[-1] == ' ';)
            *--end = 0;
        if (*word)
            w->v[w->n++] = word;
    }
}

static int assign_text(const struct setting *s, void *into, const char *text, struct fail *why)
{
    struct words w = {0};
    if (s->type != SETTING_SET && s->type != SETTING_INTS && s->type != SETTING_STRINGS) {
        w.n = 1;
        w.v[0] = text;
        return assign(s, into, &w, why);
    }
    char *copy = strdup(text);
    if (!copy)
        return fail(why, E_MEMORY, "no memory for %s", s->key);
    split(copy, &w);
    int rc = assign(s, into, &w, why);
    free(copy);
    return rc;
}

static size_t field_size(enum setting_type type)
{
    static const size_t sizes[] = {[SETTING_INT] = sizeof(int64_t),
                                   [SETTING_REAL] = sizeof(double),
                                   [SETTING_BOOL] = sizeof(bool),
                                   [SETTING_STRING] = sizeof(char *),
                                   [SETTING_CHOICE] = sizeof(int),
                                   [SETTING_SET] = sizeof(unsigned),
                                   [SETTING_INTS] = sizeof(struct setting_ints),
                                   [SETTING_STRINGS] = sizeof(struct setting_strings),
                                   [SETTING_MAP] = sizeof(struct setting_map)};
    return sizes[type];
}

int setting_defaults(const struct setting *table, void *into, struct fail *why)
{
    int rc = 0;
    for (const struct setting *s = table; s->key; s++)
        memset(field(s, into), 0, field_size(s->type));
    for (const struct setting *s = table; !rc && s->key; s++) {
        if (s->type == SETTING_STRING && !s->fallback) { /* never NULL, and its length is not checked */
            struct setting free_length = *s;
            free_length.min = free_length.max = 0;
            rc = assign_text(&free_length, into, "", why);
        } else if (s->fallback && s->type != SETTING_MAP)
            rc = assign_text(s, into, s->fallback, why);
    }
    if (rc)
        setting_free(table, into);
    return rc;
}

void setting_free(const struct setting *table, void *what)
{
    for (const struct setting *s = table; s->key; s++) {
        void *at = field(s, what);
        if (s->type == SETTING_STRING)
            free(*(char **)at);
        else if (s->type == SETTING_STRINGS)
            strings_free(at);
        else if (s->type == SETTING_MAP)
            map_free(at);
        memset(at, 0, field_size(s->type));
    }
}

static int copy_field(const struct setting *s, void *to, const void *from, struct fail *why)
{
    struct setting unbounded = *s;
    struct words w = {0};
    int rc = 0;
    unbounded.min = unbounded.max = 0;
    if (s->type == SETTING_STRING)
        return *(char *const *)from ? parse_string(&unbounded, *(char *const *)from, to, why) : 0;
    if (s->type == SETTING_STRINGS) {
        const struct setting_strings *list = from;
        for (; w.n < list->count && w.n < WORDS_MOST; w.n++)
            w.v[w.n] = list->v[w.n];
        return parse_strings(&unbounded, &w, to, why);
    }
    if (s->type != SETTING_MAP) {
        memcpy(to, from, field_size(s->type));
        return 0;
    }
    const struct setting_map *m = from;
    for (int i = 0; !rc && i < m->count; i++)
        rc = map_set(to, m->pairs[i].key, m->pairs[i].value, m->pairs[i].line, m->pairs[i].column, why);
    return rc;
}

int setting_copy(const struct setting *table, void *to, const void *from, struct fail *why)
{
    int rc = 0;
    setting_free(table, to);
    for (const struct setting *s = table; !rc && s->key; s++)
        rc = copy_field(s, field(s, to), field(s, from), why);
    return rc;
}

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
                return map_set(field(s, into), key + length + 1, value, 0, 0, why);
        }
        return fail(why, E_CONFIG, "%s: unknown key %.120s, nearest is %s", where, key,
                    nearest_key(table, key));
    }
    if ((rc = assign_text(s, into, value, why)))
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
        rc =
            map_set(field(s, into), yaml_key(n, i), yaml_scalar(item), yaml_line(key), yaml_column(key), why);
    }
    return rc;
}

static int assign_node(const struct setting *s, void *into, const struct yaml_doc *doc,
                       const struct yaml_node *n, struct fail *why)
{
    struct words w = {.list = yaml_kind(n) == YAML_LIST};
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
    int rc = assign(s, into, &w, &inner);
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
