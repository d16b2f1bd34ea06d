/* argv -> command table: finds the command, parses its line, runs it, turns what it returns into an exit
 * status. Commands are in worker/commands/.
 * Next to read: commands/command.h, commands/invocation.c. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/commands/invocation.h"
#include "worker/service/version.h"

static void on_signal(int number)
{
    if (command_stop && number == SIGINT)
        _exit(128 + SIGINT); /* asked twice: now */
    command_stop = 1;
}

static void install_signals(void)
{
    struct sigaction stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&stop.sa_mask);
    sigaction(SIGINT, &stop, NULL); /* no SA_RESTART: waits return and see command_stop */
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL); /* a closed pipe is an error of the write, which is looked at */
}

static int report(const char *command, const struct fail *why)
{
    fflush(stdout);
    fprintf(stderr, "millrace: %s%s%s\n", command ? command : "", command ? ": " : "", why->text);
    return fail_exit(why->code);
}

/* Nobody reading stdout any more is a way to end (`| head`); a full disk is not. */
static int finish_output(int status)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    if (command_output_closed())
        return status;
    fprintf(stderr, "millrace: stdout: %s\n", errno ? strerror(errno) : "could not be written");
    return status ? status : 1;
}

static int run(const struct command *c, int argc, char **argv)
{
    struct fail why = {0};
    struct invocation in;
    if (invocation_parse(&in, c, argc, argv, &why))
        return report(c->name, &why);
    if (in.help) {
        command_print_help(c, stdout);
        invocation_free(&in);
        return finish_output(0);
    }
    int rc = invocation_load(&in, &why);
    if (!rc)
        rc = c->run(&in.cx, &why);
    int status = rc && !command_output_closed() ? report(c->name, &why) : 0;
    invocation_free(&in);
    return finish_output(status);
}

int main(int argc, char **argv)
{
    struct fail why = {0};
    install_signals();
    if (argc < 2) {
        command_print_list(stderr);
        return fail_exit(E_USAGE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("millrace " MILLRACE_VERSION);
        return finish_output(0);
    }
    const char *name = argv[1];
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
        name = "help";
    const struct command *c = command_find(name);
    if (!c) {
        if (*name == '-')
            fail(&why, E_USAGE, "%s: the command comes first, as in `millrace check -c FILE`", name);
        else
            command_unknown(name, &why);
        return report(NULL, &why);
    }
    return run(c, argc - 2, argv + 2);
}
