/* Settings by table: values of every type from words, bounds, defaults, copies. Reading YAML and single keys is
 * setting_read.c, printing and help setting_print.c. */
#include "engine/setting_inside.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

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

void *setting_field(const struct setting *s, const void *of)
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

static int parse_strings(const struct setting *s, const struct setting_words *w, struct setting_strings *out,
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

static int parse_ints(const struct setting *s, const struct setting_words *w, struct setting_ints *out,
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

static int parse_set(const struct setting *s, const struct setting_words *w, unsigned *out, struct fail *why)
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

int setting_assign(const struct setting *s, void *into, const struct setting_words *w, struct fail *why)
{
    void *at = setting_field(s, into);
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

int setting_map_set(struct setting_map *m, const char *key, const char *value, int line, int column,
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
static void split(char *text, struct setting_words *w)
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

int setting_assign_text(const struct setting *s, void *into, const char *text, struct fail *why)
{
    struct setting_words w = {0};
    if (s->type != SETTING_SET && s->type != SETTING_INTS && s->type != SETTING_STRINGS) {
        w.n = 1;
        w.v[0] = text;
        return setting_assign(s, into, &w, why);
    }
    char *copy = strdup(text);
    if (!copy)
        return fail(why, E_MEMORY, "no memory for %s", s->key);
    split(copy, &w);
    int rc = setting_assign(s, into, &w, why);
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
        memset(setting_field(s, into), 0, field_size(s->type));
    for (const struct setting *s = table; !rc && s->key; s++) {
        if (s->type == SETTING_STRING && !s->fallback) { /* never NULL, and its length is not checked */
            struct setting free_length = *s;
            free_length.min = free_length.max = 0;
            rc = setting_assign_text(&free_length, into, "", why);
        } else if (s->fallback && s->type != SETTING_MAP)
            rc = setting_assign_text(s, into, s->fallback, why);
    }
    if (rc)
        setting_free(table, into);
    return rc;
}

void setting_free(const struct setting *table, void *what)
{
    for (const struct setting *s = table; s->key; s++) {
        void *at = setting_field(s, what);
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
    struct setting_words w = {0};
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
        rc = setting_map_set(to, m->pairs[i].key, m->pairs[i].value, m->pairs[i].line, m->pairs[i].column,
                             why);
    return rc;
}

int setting_copy(const struct setting *table, void *to, const void *from, struct fail *why)
{
    int rc = 0;
    setting_free(table, to);
    for (const struct setting *s = table; !rc && s->key; s++)
        rc = copy_field(s, setting_field(s, to), setting_field(s, from), why);
    return rc;
}
