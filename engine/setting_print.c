/* Settings back to text: values, help and reference YAML, from the rows that also parse them (setting.c). */
#include <string.h>

#include "engine/setting.h"

static const void *field(const struct setting *s, const void *of)
{
    return (const char *)of + s->offset;
}

/* Nothing but visible ASCII, and nothing that means something in YAML: "127.0.0.1:9092". */
static bool is_plain(const char *text)
{
    size_t length = strlen(text);
    if (!length || strchr("-.?:", text[0]) || text[length - 1] == ':' || strpbrk(text, "\"\\{}[],#&*!|>'%@`"))
        return false;
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return true;
}

/* The code point at p when YAML takes it as an escape alone, with its bytes in *n; 0: as it is. */
static unsigned escaped(const unsigned char *p, int *n)
{
    *n = p[0] == 0xc2 ? 2 : p[0] == 0xef ? 3 : 1;
    if (p[0] < 0x20 || p[0] == 0x7f)
        return p[0];
    if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) /* the other controls */
        return p[1];
    if (p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe) /* U+FFFE, U+FFFF */
        return 0xff40u + p[2];
    if (p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) /* a mark of byte order */
        return 0xfeff;
    return 0;
}

/* Text that YAML reads back as the same string: plain where that is safe, else in double quotes. */
static void print_text(const char *text, FILE *out)
{
    int n;
    if (is_plain(text)) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p; p += n) {
        unsigned code = escaped(p, &n);
        if (code) {
            fprintf(out, "\\u%04X", code);
            continue;
        }
        n = 1;
        fprintf(out, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    }
    fputc('"', out);
}

static void print_word(const char *choices, int index, FILE *out)
{
    while (index-- > 0 && (choices = strchr(choices, '|')))
        choices++;
    if (choices)
        fprintf(out, "%.*s", (int)strcspn(choices, "|"), choices);
}

static void print_set(const struct setting *s, unsigned set, FILE *out)
{
    const char *comma = "";
    fputc('[', out);
    for (int i = 0; i < 32; i++)
        if (set & 1u << i) {
            fputs(comma, out);
            print_word(s->choices, i, out);
            comma = ", ";
        }
    fputc(']', out);
}

static void print_ints(const struct setting_ints *list, FILE *out)
{
    if (list->count == 1) {
        fprintf(out, "%lld", (long long)list->v[0]);
        return;
    }
    fputc('[', out);
    for (int i = 0; i < list->count; i++)
        fprintf(out, "%s%lld", i ? ", " : "", (long long)list->v[i]);
    fputc(']', out);
}

static void print_strings(const struct setting_strings *list, FILE *out)
{
    fputc('[', out);
    for (int i = 0; i < list->count; i++) {
        fputs(i ? ", " : "", out);
        print_text(list->v[i], out);
    }
    fputc(']', out);
}

/* Keys of a free mapping whose values nobody should read in a log: librdkafka's names for them. */
static bool is_secret_pair(const struct setting *s, const char *key)
{
    return s->secret || strstr(key, "password") || strstr(key, "secret") || strstr(key, ".pem") ||
           strstr(key, "token") || strstr(key, "sasl.oauthbearer.config") || strstr(key, "sasl.jaas");
}

static void print_pair(const struct setting *s, const struct setting_pair *p, bool show_secrets, FILE *out)
{
    print_text(p->key, out);
    fputs(": ", out);
    if (!show_secrets && *p->value && is_secret_pair(s, p->key))
        fputs("\"***\"", out);
    else
        print_text(p->value, out);
}

static void print_map(const struct setting *s, const struct setting_map *m, bool show_secrets, FILE *out)
{
    fputc('{', out);
    for (int i = 0; i < m->count; i++) {
        fputs(i ? ", " : "", out);
        print_pair(s, &m->pairs[i], show_secrets, out);
    }
    fputc('}', out);
}

/* The shortest decimal that reads back as the same double. */
static void print_real(double v, FILE *out)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        double back;
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (sscanf(text, "%lf", &back) == 1 && back == v)
            break;
    }
    fputs(text, out);
}

bool setting_holds_secret(const struct setting *s, const void *from)
{
    const void *at = field(s, from);
    if (s->type == SETTING_STRING)
        return s->secret && **(char *const *)at;
    const struct setting_map *m = at;
    for (int i = 0; s->type == SETTING_MAP && i < m->count; i++)
        if (*m->pairs[i].value && is_secret_pair(s, m->pairs[i].key))
            return true;
    return false;
}

void setting_print(const struct setting *s, const void *from, bool show_secrets, FILE *out)
{
    const void *at = field(s, from);
    switch (s->type) {
    case SETTING_INT:
        fprintf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case SETTING_REAL:
        print_real(*(const double *)at, out);
        break;
    case SETTING_BOOL:
        fputs(*(const bool *)at ? "true" : "false", out);
        break;
    case SETTING_STRING: {
        const char *text = *(char *const *)at ? *(char *const *)at : "";
        print_text(s->secret && !show_secrets && *text ? "***" : text, out);
        break;
    }
    case SETTING_CHOICE:
        print_word(s->choices, *(const int *)at, out);
        break;
    case SETTING_SET:
        print_set(s, *(const unsigned *)at, out);
        break;
    case SETTING_INTS:
        print_ints(at, out);
        break;
    case SETTING_STRINGS:
        print_strings(at, out);
        break;
    case SETTING_MAP:
        print_map(s, at, show_secrets, out);
        break;
    }
}

/* ---- help ---- */

static const char *type_text(enum setting_type type)
{
    static const char *const texts[] = {
        [SETTING_INT] = "whole number",   [SETTING_REAL] = "number",   [SETTING_BOOL] = "true or false",
        [SETTING_STRING] = "text",        [SETTING_CHOICE] = "one of", [SETTING_SET] = "list of",
        [SETTING_INTS] = "whole numbers", [SETTING_STRINGS] = "texts", [SETTING_MAP] = "names and values"};
    return texts[type];
}

void setting_help(const struct setting *table, FILE *out)
{
    for (const struct setting *s = table; s->key; s++) {
        fprintf(out, "  %s: %s", s->key, type_text(s->type));
        if (s->choices)
            fprintf(out, " %s", s->choices);
        if (s->min != 0 || s->max != 0)
            fprintf(out,
                    s->type == SETTING_STRING || s->type == SETTING_STRINGS ? " of %.15g to %.15g characters"
                                                                            : " in %.15g..%.15g",
                    s->min, s->max);
        if (!s->fallback)
            fputs(", must be given", out);
        else if (s->type != SETTING_MAP)
            fprintf(out, ", default %s", *s->fallback ? s->fallback : "\"\"");
        fprintf(out, "%s\n      %s\n", s->secret ? ", secret" : "", s->help);
    }
}

/* ---- YAML ---- */

static void indent(int depth, FILE *out)
{
    fprintf(out, "%*s", 2 * depth, "");
}

/* Length of the common sections of two keys: of "a.b.c" and "a.b.d" it is 4, "a.b.". */
static size_t common_sections(const char *a, const char *b)
{
    size_t common = 0;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++)
        if (a[i] == '.')
            common = i + 1;
    return common;
}

/* Opens the sections of `key` that `before` was not in; returns where the last word begins. */
static const char *open_sections(const char *key, const char *before, int *depth, FILE *out)
{
    size_t common = common_sections(key, before);
    const char *word = key, *dot;
    for (*depth = 0; (dot = strchr(word, '.')); word = dot + 1, ++*depth)
        if ((size_t)(word - key) >= common) {
            indent(*depth, out);
            fprintf(out, "%.*s:\n", (int)(dot - word), word);
        }
    return word;
}

void setting_write(const struct setting *table, const void *from, bool comments, FILE *out)
{
    const char *before = "";
    for (const struct setting *s = table; s->key; before = s->key, s++) {
        int depth;
        const char *word = open_sections(s->key, before, &depth, out);
        if (comments) {
            indent(depth, out);
            fprintf(out, "# %s\n", s->help);
        }
        indent(depth, out);
        fprintf(out, "%s:", word);
        const struct setting_map *m = s->type == SETTING_MAP ? field(s, from) : NULL;
        if (!m || !m->count) {
            fputc(' ', out);
            setting_print(s, from, false, out);
            fputc('\n', out);
            continue;
        }
        fputc('\n', out);
        for (int i = 0; i < m->count; i++) {
            indent(depth + 1, out);
            print_pair(s, &m->pairs[i], false, out);
            fputc('\n', out);
        }
    }
}
