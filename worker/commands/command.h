/* A command: one file in this folder and one row in table.c. Help, completion and option parsing come from
 * the row; options are rows of a settings table (engine/setting.h) whose key is the option's name:
 * "rows-per-record" is --rows-per-record N, "n" is -n N; a SETTING_BOOL takes no value. A row whose fallback
 * is NULL must be given. */
#ifndef WORKER_COMMANDS_COMMAND_H
#define WORKER_COMMANDS_COMMAND_H

#include <signal.h>

#include "worker/service/settings.h"
#include "worker/stream/source.h"

struct context {
    struct settings settings; /* loaded unless the command's needs_settings is false */
    const void *options;      /* the struct that the command's options table describes */
    int argc;                 /* operands: what is left after options */
    char **argv;
    bool json;      /* --json */
    bool terminal;  /* stdout is a terminal */
    bool color;     /* ... and NO_COLOR is not set */
    int timeout_ms; /* --timeout, 10 000 by default */
};

struct command {
    const char *name;               /* "send" */
    const char *operands;           /* "FILE..." for help */
    int min_operands, max_operands; /* max -1: any number */
    const char *summary;            /* one line */
    const char *text;               /* paragraphs for `help COMMAND`; may be NULL */
    const struct setting *options;  /* NULL: none of its own */
    size_t options_size;
    bool needs_settings; /* -c, -X and --timeout are accepted, settings are loaded */
    bool service;        /* logs as log.level says; other commands log warnings and errors, or debug */
    int (*run)(const struct context *cx, struct fail *why);
};

extern const struct command *const command_table[]; /* ends with NULL */

const struct command *command_find(const char *name); /* NULL: unknown */
/* E_USAGE: unknown command, with the nearest one. */
int command_unknown(const char *name, struct fail *why);
/* E_USAGE: an unknown first operand of a command that has subcommands ("create|list"), with the nearest. */
int command_unknown_word(const char *what, const char *word, const char *words, struct fail *why);
/* `help`, `help COMMAND`, and the few lines that a bare `millrace` prints. */
void command_print_list(FILE *out);
void command_print_help(const struct command *c, FILE *out);
void command_print_json(const struct command *c, FILE *out);
/* True when nobody reads stdout any more: `| head` is a way to end a command, not an error. A command that
 * goes on for long looks at it after a write. */
bool command_output_closed(void);

/* A record without its frame; a schema registry that is away is waited for until --timeout. RECORD codes are verdicts on the record,
 * others end the command: E_UNREACHABLE, E_INTERRUPTED. */
int command_payload(const struct context *cx, const struct record *r, const char *type, struct span *payload,
                    struct fail *why);

/* Set by SIGINT and SIGTERM (main.c installs the handlers; a second SIGINT ends the process at once).
 * Commands look at it in every wait of more than 100 ms and return E_INTERRUPTED. */
extern volatile sig_atomic_t command_stop;

#endif
