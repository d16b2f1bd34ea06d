/* A command: one file in this folder and one row in table.c. Help, completion and option parsing come from
 * the row; options are rows of a settings table (engine/setting.h) whose key is the option's name:
 * "rows-per-record" is
 * --rows-per-record N; a SETTING_BOOL takes no value. */
#ifndef WORKER_COMMANDS_COMMAND_H
#define WORKER_COMMANDS_COMMAND_H

#include <signal.h>

#include "worker/service/settings.h"

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
    int (*run)(const struct context *cx, struct fail *why);
};

extern const struct command *const command_table[]; /* ends with NULL */

/* Set by SIGINT and SIGTERM (main.c installs the handlers; a second SIGINT ends the process at once).
 * Commands look at it in every wait of more than 100 ms and return E_INTERRUPTED. */
extern volatile sig_atomic_t command_stop;

#endif
