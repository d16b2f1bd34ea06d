/* A command line taken apart: the command's own options by its table, the ones all commands know, operands.
 */
#ifndef WORKER_COMMANDS_INVOCATION_H
#define WORKER_COMMANDS_INVOCATION_H

#include "worker/commands/command.h"

struct invocation {
    const struct command *command;
    struct context cx; /* cx.options points to `options`, cx.argv to `operands` */
    void *options;
    const char *config;     /* -c; NULL: not given */
    const char **overrides; /* -X, in order */
    int override_count;
    char **operands;
    bool help;          /* -h or --help: nothing was checked */
    bool settings_open; /* cx.settings is loaded */
};

/* argv begins behind the command's name. E_USAGE: unknown or incomplete option (with the nearest), a value of
 * the wrong kind, number of operands; nothing of the settings is read yet. On failure *in is freed. */
int invocation_parse(struct invocation *in, const struct command *c, int argc, char **argv, struct fail *why);
/* Loads the settings where the command needs them, opens the log. */
int invocation_load(struct invocation *in, struct fail *why);
void invocation_free(struct invocation *in);

/* What every command accepts, and what those with settings accept besides, for help. */
extern const struct setting common_options[], settings_options[];

#endif
