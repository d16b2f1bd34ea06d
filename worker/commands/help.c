/* `help`: everything it says is printed from the tables. Shell completion and the man page too.
 * Next to read: table.c. */
#include <stdio.h>
#include <string.h>

#include "worker/commands/invocation.h"
#include "worker/service/text.h"
#include "worker/service/version.h"
#include "worker/train/job.h"

enum { WIDTH = 100, INDENT = 28 };

struct options {
    bool yaml, man;
    int completion;
};

static const struct setting options[] = {
    {"yaml", SETTING_BOOL, offsetof(struct options, yaml), "false", 0, 0, NULL,
     "with config: the reference file, config/millrace.yaml", false},
    {"completion", SETTING_CHOICE, offsetof(struct options, completion), "none", 0, 0, "none|bash",
     "a completion script, for `source <(millrace help --completion bash)`", false},
    {"man", SETTING_BOOL, offsetof(struct options, man), "false", 0, 0, NULL, "a page for man(1)", false},
    {0},
};

void command_print_list(FILE *out)
{
    fprintf(out,
            "millrace %s: batch inference and training of image networks off Kafka topics\n\n"
            "usage: millrace COMMAND [options]\n\n",
            MILLRACE_VERSION);
    for (const struct command *const *c = command_table; *c; c++)
        fprintf(out, "  %-10s %s\n", (*c)->name, (*c)->summary);
    fprintf(out, "\n`millrace help COMMAND` says more; `millrace help config` lists the settings, `millrace "
                 "help job` what a job may say.\n");
}

static const char *value_word(const struct setting *row)
{
    if (row == &settings_options[0])
        return "FILE";
    if (row == &settings_options[1])
        return "key=value";
    switch (row->type) {
    case SETTING_BOOL:
        return "";
    case SETTING_INT:
        return "N";
    case SETTING_REAL:
        return "X";
    case SETTING_CHOICE:
    case SETTING_SET:
        return row->choices;
    case SETTING_INTS:
        return "N[,N]";
    default:
        return "TEXT";
    }
}

/* Words up to WIDTH columns a line, further lines indented. Newlines of the text stay. */
static void print_wrapped(const char *text, int column, int indent, FILE *out)
{
    bool space = false;
    while (*text) {
        int n = (int)strcspn(text, " \n");
        if (space && column + 1 + n > WIDTH) {
            column = fprintf(out, "\n%*s", indent, "") - 1;
            space = false;
        }
        column += fprintf(out, "%s%.*s", space ? " " : "", n, text);
        text += n;
        space = *text == ' ';
        if (*text == '\n')
            column = fprintf(out, "\n%*s", indent, "") - 1;
        text += *text != 0;
    }
    putc('\n', out);
}

static void print_option(const struct setting *row, FILE *out)
{
    char head[120], text[600];
    bool shown =
        row->fallback && row->type != SETTING_BOOL && *row->fallback && strcmp(row->fallback, "[]") != 0;
    snprintf(head, sizeof head, "%s%s %s", row->key[1] ? "--" : "-", row->key, value_word(row));
    snprintf(text, sizeof text, "%s%s%s%s", row->help,
             !row->fallback ? " (needed)"
             : shown        ? " (default "
                            : "",
             shown ? row->fallback : "", shown ? ")" : "");
    int column = fprintf(out, "  %-*s", INDENT - 3, head);
    if (column > INDENT - 1)
        column = fprintf(out, "\n%*s", INDENT - 1, "") - 1;
    putc(' ', out);
    print_wrapped(text, column + 1, INDENT, out);
}

static void print_options(const struct setting *table, FILE *out)
{
    for (const struct setting *row = table; row && row->key; row++)
        print_option(row, out);
}

void command_print_help(const struct command *c, FILE *out)
{
    fprintf(out, "millrace %s: %s\n\nusage: millrace %s %s%s[options]\n", c->name, c->summary, c->name,
            c->operands ? c->operands : "", c->operands ? " " : "");
    if (c->text) {
        putc('\n', out);
        print_wrapped(c->text, 0, 0, out);
    }
    fputs("\noptions:\n", out);
    print_options(c->options, out);
    if (c->needs_settings)
        print_options(settings_options, out);
    print_options(common_options, out);
}

static void print_json_text(const char *name, const char *value, FILE *out)
{
    fprintf(out, "\"%s\":", name);
    if (value)
        text_print_json(value, strlen(value), out);
    else
        fputs("null", out);
}

static void print_json_rows(const struct setting *table, FILE *out)
{
    static const char *const types[] = {"int", "real", "bool",    "string", "choice",
                                        "set", "ints", "strings", "map"};
    putc('[', out);
    for (const struct setting *row = table; row && row->key; row++) {
        fputs(row == table ? "{" : ",{", out);
        print_json_text("key", row->key, out);
        fprintf(out, ",\"type\":\"%s\",", types[row->type]);
        print_json_text("default", row->fallback, out);
        if (row->min != 0 || row->max != 0)
            fprintf(out, ",\"min\":%.17g,\"max\":%.17g", row->min, row->max);
        putc(',', out);
        print_json_text("choices", row->choices, out);
        putc(',', out);
        print_json_text("help", row->help, out);
        putc('}', out);
    }
    putc(']', out);
}

void command_print_json(const struct command *c, FILE *out)
{
    putc('{', out);
    print_json_text("command", c->name, out);
    putc(',', out);
    print_json_text("operands", c->operands, out);
    putc(',', out);
    print_json_text("summary", c->summary, out);
    fputs(",\"options\":", out);
    print_json_rows(c->options, out);
    fprintf(out, ",\"settings\":%s}", c->needs_settings ? "true" : "false");
}

static int print_config(const struct context *cx, FILE *out, struct fail *why)
{
    const struct options *o = cx->options;
    if (o->yaml)
        return settings_print_reference(out, why);
    if (cx->json) {
        print_json_rows(settings_table, out);
        putc('\n', out);
    } else {
        setting_help(settings_table, out);
    }
    return 0;
}

static int print_job(const struct context *cx, FILE *out)
{
    if (cx->json) {
        fputs("{\"keys\":", out);
        print_json_rows(job_file_keys, out);
        fputs(",\"hyperparameters\":", out);
        print_json_rows(job_hyperparameters, out);
        fputs("}\n", out);
        return 0;
    }
    fputs("A job file (YAML), for `millrace train`:\n", out);
    setting_help(job_file_keys, out);
    fputs("  dataset: list of {topic, partition, start_offset, end_offset}\n"
          "      partition: all without it; offsets: numbers, earliest, latest\n"
          "  labels: list of texts\n      names of the classes\n"
          "  hyperparameters: mapping of\n",
          out);
    setting_help(job_hyperparameters, out);
    return 0;
}

static void print_words(const struct setting *table, FILE *out)
{
    for (const struct setting *row = table; row && row->key; row++)
        fprintf(out, " %s%s", row->key[1] ? "--" : "-", row->key);
}

static void print_completion(FILE *out)
{
    fputs("# bash completion of millrace, from its command table\n_millrace() {\n"
          "  local word=${COMP_WORDS[COMP_CWORD]} words=\n"
          "  if [ \"$COMP_CWORD\" = 1 ]; then words=\"--version",
          out);
    for (const struct command *const *c = command_table; *c; c++)
        fprintf(out, " %s", (*c)->name);
    fputs("\"\n  else case ${COMP_WORDS[1]} in\n", out);
    for (const struct command *const *c = command_table; *c; c++) {
        fprintf(out, "    %s) words=\"", (*c)->name);
        print_words((*c)->options, out);
        print_words((*c)->needs_settings ? settings_options : NULL, out);
        print_words(common_options, out);
        fputs("\" ;;\n", out);
    }
    fputs("  esac; fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
          "  case $word in -*) ;; *) [ \"$COMP_CWORD\" = 1 ] || COMPREPLY=($(compgen -f -- \"$word\")) ;; "
          "esac\n"
          "}\ncomplete -o filenames -F _millrace millrace\n",
          out);
}

/* Text of roff: a leading dot or quote, and every backslash and minus, would mean something. */
static void print_roff(const char *text, FILE *out)
{
    bool begin = true;
    for (const char *c = text; *c; c++) {
        if (begin && (*c == '.' || *c == '\''))
            fputs("\\&", out);
        fputs(*c == '\\' ? "\\e" : *c == '-' ? "\\-" : (char[]){*c, 0}, out);
        begin = *c == '\n';
    }
}

static void print_man(FILE *out)
{
    fprintf(out,
            ".TH MILLRACE 1 \"\" \"millrace %s\"\n.SH NAME\nmillrace \\- batch inference and training "
            "of image networks off Kafka topics\n.SH SYNOPSIS\nmillrace COMMAND [options]\n.SH COMMANDS\n",
            MILLRACE_VERSION);
    for (const struct command *const *c = command_table; *c; c++) {
        fprintf(out, ".SS %s %s\n", (*c)->name, (*c)->operands ? (*c)->operands : "");
        print_roff((*c)->summary, out);
        fputs(".\n", out);
        if ((*c)->text) {
            fputs(".P\n", out);
            print_roff((*c)->text, out);
            putc('\n', out);
        }
        for (const struct setting *row = (*c)->options; row && row->key; row++) {
            fprintf(out, ".TP\n.B %s%s %s\n", row->key[1] ? "\\-\\-" : "\\-", row->key, value_word(row));
            print_roff(row->help, out);
            putc('\n', out);
        }
    }
    fputs(".SH EXIT STATUS\n0 done; 1 failed; 2 usage; 3 configuration, input file or permission; 4 a server "
          "cannot be reached; 64 interrupted, state saved; 75 try again; 78 another live worker owns this "
          "slot.\n",
          out);
}

static int help_commands(const struct context *cx)
{
    if (!cx->json) {
        command_print_list(stdout);
        return 0;
    }
    for (const struct command *const *c = command_table; *c; c++) {
        putchar(c == command_table ? '[' : ',');
        command_print_json(*c, stdout);
    }
    puts("]");
    return 0;
}

static int run(const struct context *cx, struct fail *why)
{
    const struct options *o = cx->options;
    const char *topic = cx->argc ? cx->argv[0] : NULL;
    if (o->yaml && (!topic || strcmp(topic, "config") != 0))
        return fail(why, E_USAGE, "--yaml goes with config: millrace help config --yaml");
    if (o->completion)
        return print_completion(stdout), 0;
    if (o->man)
        return print_man(stdout), 0;
    if (!topic)
        return help_commands(cx);
    if (strcmp(topic, "config") == 0)
        return print_config(cx, stdout, why);
    if (strcmp(topic, "job") == 0)
        return print_job(cx, stdout);
    const struct command *c = command_find(topic);
    if (!c)
        return command_unknown(topic, why);
    if (cx->json) {
        command_print_json(c, stdout);
        putchar('\n');
    } else {
        command_print_help(c, stdout);
    }
    return 0;
}

const struct command command_help = {
    .name = "help",
    .operands = "[COMMAND|config|job]",
    .max_operands = 1,
    .summary = "what the commands do; `help config`: every setting; `help job`: every key of a job file",
    .options = options,
    .options_size = sizeof(struct options),
    .run = run,
};
