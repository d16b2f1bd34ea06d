/* Takes a command line apart by the command's table. Values are parsed by engine/setting.c.
 * Next to read: command.h, table.c. */
#include "worker/commands/invocation.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "worker/service/log.h"

enum { LOG_LINES_A_SECOND = 20 }; /* of one event, in a service */

struct common {
    bool json, help;
    char *config, *override;
    double timeout;
};

#define AT(field) offsetof(struct common, field)
const struct setting common_options[] = {
    {"json", SETTING_BOOL, AT(json), "false", 0, 0, NULL, "print JSON", false},
    {"help", SETTING_BOOL, AT(help), "false", 0, 0, NULL, "this text (-h too)", false},
    {0},
};
const struct setting settings_options[] = {
    {"c", SETTING_STRING, AT(config), "", 0, 0, NULL,
     "the configuration file; else config/millrace.yaml, then /etc/millrace/millrace.yaml", false},
    {"X", SETTING_STRING, AT(override), "", 0, 0, NULL,
     "sets one key over the file; a key that is none of millrace's goes to librdkafka", false},
    {"timeout", SETTING_REAL, AT(timeout), "10", 0.1, 86400, NULL, "seconds to wait for a server", false},
    {0},
};

struct parser {
    struct invocation *in;
    struct common common;
    unsigned char *given; /* a flag for each row of the command's own table */
    int argc, next;
    char **argv;
};

static const struct setting *row_find(const struct setting *table, const char *name, size_t size)
{
    for (const struct setting *row = table; row && row->key; row++)
        if (strlen(row->key) == size && memcmp(row->key, name, size) == 0)
            return row;
    return NULL;
}

static void row_nearest(const struct setting *table, const char *name, const char **best, int *distance)
{
    for (const struct setting *row = table; row && row->key; row++) {
        int d = setting_distance(name, row->key);
        if (d < *distance && row->key[1]) {
            *distance = d;
            *best = row->key;
        }
    }
}

static int option_unknown(const struct parser *p, const char *text, const char *name, struct fail *why)
{
    const struct command *c = p->in->command;
    const char *best = NULL;
    int distance = 4;
    if (!c->needs_settings && row_find(settings_options, name, strlen(name)))
        return fail(why, E_USAGE, "%s: this command reads no configuration and talks to no server", text);
    row_nearest(c->options, name, &best, &distance);
    row_nearest(common_options, name, &best, &distance);
    if (c->needs_settings)
        row_nearest(settings_options, name, &best, &distance);
    if (best)
        return fail(why, E_USAGE, "unknown option %s; did you mean --%s?", text, best);
    return fail(why, E_USAGE, "unknown option %s; `millrace help %s` lists the options", text, c->name);
}

static int override_add(struct invocation *in, const char *text, struct fail *why)
{
    const char **more =
        realloc(in->overrides, sizeof *more * ((size_t)in->override_count + 1)); /* few, and at start only */
    if (!more)
        return fail(why, E_MEMORY, "out of memory");
    in->overrides = more;
    in->overrides[in->override_count++] = text;
    return 0;
}

/* Sets one row of one of the three tables. */
static int option_set(struct parser *p, const struct setting *table, const struct setting *row, void *into,
                      const char *shown, const char *value, struct fail *why)
{
    int rc;
    if (row == &settings_options[0]) {
        p->in->config = value;
        rc = 0;
    } else if (row == &settings_options[1]) {
        rc = override_add(p->in, value, why);
    } else {
        rc = setting_set(table, into, row->key, value, shown, why);
    }
    if (rc && why && rc == -E_CONFIG)
        rc = -(int)(why->code = E_USAGE);
    if (!rc && table == p->in->command->options)
        p->given[row - table] = 1;
    return rc;
}

/* `name` of `size` bytes is the option's name; attached is the value written in the same word, or NULL. */
static int option_take(struct parser *p, const char *text, const char *name, size_t size,
                       const char *attached, struct fail *why)
{
    const struct command *c = p->in->command;
    const struct setting *table = c->options, *row = row_find(table, name, size);
    void *into = p->in->options;
    char shown[80];
    snprintf(shown, sizeof shown, "%s%.*s", size == 1 ? "-" : "--", (int)size, name);
    if (!row) {
        into = &p->common;
        row = row_find(table = common_options, name, size);
    }
    if (!row && c->needs_settings)
        row = row_find(table = settings_options, name, size);
    if (!row) {
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)(size < 63 ? size : 63), name);
        return option_unknown(p, text, word, why);
    }
    if (row->type == SETTING_BOOL)
        return option_set(p, table, row, into, shown, attached ? attached : "true", why);
    if (!attached && p->next >= p->argc)
        return fail(why, E_USAGE, "%s wants a value: %s", shown, row->help);
    return option_set(p, table, row, into, shown, attached ? attached : p->argv[p->next++], why);
}

static int word_take(struct parser *p, char *word, bool *operands_only, struct fail *why)
{
    if (*operands_only || word[0] != '-' || !word[1]) {
        p->in->operands[p->in->cx.argc++] = word;
        return 0;
    }
    if (strcmp(word, "--") == 0) {
        *operands_only = true;
        return 0;
    }
    if (strcmp(word, "-h") == 0)
        return option_take(p, word, "help", 4, NULL, why);
    if (word[1] != '-')
        return option_take(p, word, word + 1, 1, word[2] ? word + 2 + (word[2] == '=') : NULL, why);
    const char *name = word + 2, *equal = strchr(name, '=');
    size_t size = equal ? (size_t)(equal - name) : strlen(name);
    if (size == 1) /* --n is not -n */
        return option_unknown(p, word, name, why);
    return option_take(p, word, name, size, equal ? equal + 1 : NULL, why);
}

static int check_complete(const struct parser *p, struct fail *why)
{
    const struct command *c = p->in->command;
    int n = p->in->cx.argc;
    if (n < c->min_operands)
        return fail(why, E_USAGE, "expected %s; usage: millrace %s %s [options]", c->operands, c->name,
                    c->operands);
    if (c->max_operands >= 0 && n > c->max_operands)
        return fail(why, E_USAGE, "unexpected '%s'; usage: millrace %s %s [options]",
                    p->in->operands[c->max_operands], c->name, c->operands ? c->operands : "");
    for (const struct setting *row = c->options; row && row->key; row++)
        if (!row->fallback && !p->given[row - c->options])
            return fail(why, E_USAGE, "%s%s is needed: %s", row->key[1] ? "--" : "-", row->key, row->help);
    return 0;
}

static size_t rows_of(const struct setting *table)
{
    size_t n = 0;
    while (table && table[n].key)
        n++;
    return n;
}

static int parse(struct parser *p, struct fail *why)
{
    bool operands_only = false;
    const struct command *c = p->in->command;
    int rc = c->options ? setting_defaults(c->options, p->in->options, why) : 0;
    p->common.timeout = 10;
    while (!rc && p->next < p->argc) {
        char *word = p->argv[p->next++];
        rc = word_take(p, word, &operands_only, why);
    }
    p->in->help = p->common.help;
    p->in->cx.json = p->common.json;
    p->in->cx.timeout_ms = (int)(p->common.timeout * 1000);
    return rc || p->in->help ? rc : check_complete(p, why);
}

int invocation_parse(struct invocation *in, const struct command *c, int argc, char **argv, struct fail *why)
{
    *in = (struct invocation){.command = c};
    in->options = calloc(1, c->options_size + 1);
    in->operands = calloc((size_t)argc + 1, sizeof *in->operands);
    struct parser p = {.in = in, .argc = argc, .argv = argv, .given = calloc(rows_of(c->options) + 1, 1)};
    int rc;
    if (in->options && in->operands && p.given)
        rc = parse(&p, why);
    else
        rc = fail(why, E_MEMORY, "out of memory");
    free(p.given);
    in->cx.options = in->options;
    in->cx.argv = in->operands;
    in->cx.terminal = isatty(STDOUT_FILENO);
    const char *no_color = getenv("NO_COLOR");
    in->cx.color = in->cx.terminal && !(no_color && *no_color);
    if (rc)
        invocation_free(in);
    return rc;
}

int invocation_load(struct invocation *in, struct fail *why)
{
    if (!in->command->needs_settings)
        return 0;
    int rc = settings_load(&in->cx.settings, in->config, in->overrides, in->override_count, why);
    if (rc)
        return rc;
    in->settings_open = true;
    if (settings_hold_secrets(&in->cx.settings))
        prctl(PR_SET_DUMPABLE,
              0); /* no core file, and nobody attaches: librdkafka and libcurl keep copies of secrets */
    enum log_level level = (enum log_level)in->cx.settings.log_level;
    if (!in->command->service && level == LOG_INFO)
        level = LOG_WARN; /* what a command has to say it says itself */
    log_open((enum log_format)in->cx.settings.log_format, level);
    log_limit(in->command->service ? LOG_LINES_A_SECOND : 0);
    return 0;
}

void invocation_free(struct invocation *in)
{
    if (in->settings_open)
        settings_free(&in->cx.settings);
    if (in->options && in->command->options)
        setting_free(in->command->options, in->options);
    free(in->options);
    free(in->operands);
    free(in->overrides);
    *in = (struct invocation){0};
}
