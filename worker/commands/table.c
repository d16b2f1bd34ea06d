/* The table of commands, and what is asked of it. A new command is its file and its two lines here.
 * Next to read: command.h, then any command's file. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/commands/command.h"
#include "worker/stream/payload.h"

extern const struct command command_bench;
extern const struct command command_check;
extern const struct command command_help;
extern const struct command command_inspect;
extern const struct command command_jobs;
extern const struct command command_make_data;
extern const struct command command_models;
extern const struct command command_replay;
extern const struct command command_rescore;
extern const struct command command_schemas;
extern const struct command command_score;
extern const struct command command_send;
extern const struct command command_tail;
extern const struct command command_topics;
extern const struct command command_train;
extern const struct command command_worker;

/* A line each, in the order of `millrace help`. */
/* clang-format off */
const struct command *const command_table[] = {
    &command_worker,
    &command_topics,
    &command_send,
    &command_train,
    &command_jobs,
    &command_models,
    &command_tail,
    &command_score,
    &command_rescore,
    &command_replay,
    &command_bench,
    &command_inspect,
    &command_check,
    &command_schemas,
    &command_make_data,
    &command_help,
    NULL,
};
/* clang-format on */

/* The one thing that signal handlers write. */
volatile sig_atomic_t command_stop;

const struct command *command_find(const char *name)
{
    for (const struct command *const *c = command_table; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

int command_unknown(const char *name, struct fail *why)
{
    const char *best = NULL;
    int distance = 3;
    for (const struct command *const *c = command_table; *c; c++) {
        int d = setting_distance(name, (*c)->name);
        if (d < distance) {
            distance = d;
            best = (*c)->name;
        }
    }
    if (best)
        return fail(why, E_USAGE, "unknown command '%s'; did you mean '%s'?", name, best);
    return fail(why, E_USAGE, "unknown command '%s'; `millrace help` lists them", name);
}

int command_unknown_word(const char *what, const char *word, const char *words, struct fail *why)
{
    char best[32] = "";
    int distance = 4;
    for (const char *w = words; *w; w += strcspn(w, "|"), w += *w == '|') {
        char one[32];
        snprintf(one, sizeof one, "%.*s", (int)strcspn(w, "|"), w);
        int d = setting_distance(word, one);
        if (d < distance) {
            distance = d;
            memcpy(best, one, sizeof best);
        }
    }
    if (*best)
        return fail(why, E_USAGE, "unknown %s '%s'; did you mean '%s'?", what, word, best);
    return fail(why, E_USAGE, "unknown %s '%s'; expected %s", what, word, words);
}

bool command_output_closed(void)
{
    /* The pipe is asked, not errno: that may be of another call by now. */
    struct pollfd out = {.fd = STDOUT_FILENO};
    return ferror(stdout) && poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP));
}

static bool stop_asked(void *arg)
{
    (void)arg;
    return command_stop != 0;
}

int command_payload(const struct context *cx, const struct record *r, const char *type, struct span *payload,
                    struct fail *why)
{
    const struct payload_wait wait = {{stop_asked, NULL}, cx->timeout_ms};
    return record_payload_wait(r, record_type_find(type), &wait, payload, why);
}
