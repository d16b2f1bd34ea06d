/* Brokers through compose/kafka/kafka, stages, workers and the checker for test programs.
 * Leaves spawning and waiting to process.c; what a test may ask is in broker.h. */
#include "tests/lib/broker.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

enum { START_MS = 180000, ARGUMENTS_MAX = 64 };

#define SCRIPT "compose/kafka/kafka"

/* ---- brokers ---- */

/* Runs the script; copies the first line of its stdout to `address` where that is not NULL. */
static void script(char *address, size_t size, const char *const argv[])
{
    struct result r = {0};
    if (access(SCRIPT, X_OK) != 0)
        fail_msg(SCRIPT ": %s: run tests from the repository's root", strerror(errno));
    if (result_run(&r, START_MS, NULL, argv) != 0) {
        result_print(&r);
        fail_msg(SCRIPT " %s failed", argv[1]);
    }
    if (address)
        snprintf(address, size, "%.*s", (int)strcspn(r.out, "\n"), r.out);
    result_free(&r);
}

static void up(struct broker *b, int nodes, const char *more)
{
    static int count;
    char owner[16], brokers[16];
    snprintf(b->dir, sizeof(b->dir), "%s/broker%d", test_dir(), ++count);
    snprintf(owner, sizeof(owner), "%d", getpid());
    snprintf(brokers, sizeof(brokers), "%d", nodes);
    script(
        b->bootstrap, sizeof(b->bootstrap),
        (const char *[]){SCRIPT, "up", "--data", b->dir, "--brokers", brokers, "--owner", owner, more, NULL});
}

void broker_up(struct broker *b, int nodes)
{
    up(b, nodes, NULL);
}

void broker_up_secure(struct broker *b)
{
    up(b, 1, "--secure");
}

static void broker_do(struct broker *b, const char *command, int node)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", node);
    script(NULL, 0,
           node ? (const char *[]){SCRIPT, command, "--data", b->dir, "--node", number, NULL}
                : (const char *[]){SCRIPT, command, "--data", b->dir, NULL});
}

void broker_down(struct broker *b)
{
    if (b->dir[0])
        broker_do(b, "down", 0);
    b->dir[0] = 0;
}

void broker_kill(struct broker *b, int node)
{
    broker_do(b, "kill", node);
}

void broker_stop(struct broker *b, int node)
{
    broker_do(b, "stop", node);
}

void broker_start(struct broker *b, int node)
{
    broker_do(b, "start", node);
}

const char *broker_shared(void)
{
    static struct broker shared;
    const char *given = getenv("MILLRACE_TEST_BROKER");
    if (given && *given)
        return given;
    if (!shared.bootstrap[0])
        broker_up(&shared, 1);
    return shared.bootstrap;
}

/* ---- stages ---- */

void stage_open(struct stage *s, const char *bootstrap)
{
    static int count;
    *s = (struct stage){0};
    snprintf(s->group, sizeof(s->group), "t%d-%d", getpid(), ++count);
    snprintf(s->prefix, sizeof(s->prefix), "%s.", s->group);
    snprintf(s->dir, sizeof(s->dir), "%s/%s", test_dir(), s->group);
    snprintf(s->bootstrap, sizeof(s->bootstrap), "%s", bootstrap);
    if (mkdir(s->dir, 0700) != 0)
        fail_msg("%s: %s", s->dir, strerror(errno));
    snprintf(s->config, sizeof(s->config), "%s", stage_config(s, &(struct stage_settings){0}));
}

static const char * or (const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

const char *stage_config(struct stage *s, const struct stage_settings *settings)
{
    char *path, *text, engine[64] = "";
    const char *backend = getenv("TEST_BACKEND");
    if (backend && !strstr(or (settings->rest, ""), "engine:"))
        snprintf(engine, sizeof engine, "engine: {backend: %s}\n", backend);
    int n = asprintf(&path, "%s/millrace-%d.yaml", s->dir, ++s->configs);
    int m = asprintf(&text,
                     "worker:\n  slot: %s\n  group: %s\n  roles: %s\n  state_dir: %s/state\n%s"
                     "kafka:\n  bootstrap.servers: %s\n%s"
                     "topics: {prefix: %s}\n"
                     "models: {store: 'file://%s/store'}\n"
                     "http: {listen: '%s'}\n"
                     "%s%s",
                     or (settings->slot, "a"), s->group, or (settings->roles, "[infer, train]"), s->dir,
                     or (settings->worker, ""), s->bootstrap, or (settings->kafka, ""), s->prefix, s->dir,
                     or (settings->listen, ""), or (settings->rest, ""), engine);
    if (n < 0 || m < 0)
        fail_msg("out of memory");
    test_write(path, text);
    free(text);
    return test_keep(path);
}

/* argv[count..] from the arguments, NULL at the end. */
static void gather(const char *argv[ARGUMENTS_MAX], int count, va_list args)
{
    const char *next;
    while ((next = va_arg(args, const char *))) {
        if (count == ARGUMENTS_MAX - 1)
            fail_msg("more than %d arguments", ARGUMENTS_MAX);
        argv[count++] = next;
    }
    argv[count] = NULL;
}

int stage_run(struct stage *s, struct result *r, int timeout_ms, const char *command, ...)
{
    const char *argv[ARGUMENTS_MAX] = {test_millrace(), command};
    int count = 2;
    va_list args;
    va_start(args, command);
    /* `topics create`, `models import`: the second word belongs to the command. */
    const char *first = va_arg(args, const char *);
    if (first && first[0] != '-')
        argv[count++] = first;
    argv[count++] = "-c";
    argv[count++] = s->config;
    if (first && first[0] == '-')
        argv[count++] = first;
    if (first)
        gather(argv, count, args);
    va_end(args);
    return result_run(r, timeout_ms, NULL, argv);
}

void stage_worker(struct stage *s, struct process *p, const char *config)
{
    static int count;
    char log[64];
    (void)s;
    snprintf(log, sizeof(log), "worker-%d.log", ++count);
    process_start(p, log, (const char *[]){test_millrace(), "worker", "-c", config, NULL});
}

static int checker(struct stage *s, struct result *r, int timeout_s, const char *mode, va_list args)
{
    char seconds[16];
    snprintf(seconds, sizeof(seconds), "%d", timeout_s);
    const char *argv[ARGUMENTS_MAX] = {"tests/broker/check", mode,      "--bootstrap", s->bootstrap,
                                       "--prefix",           s->prefix, "--group",     s->group,
                                       "--timeout",          seconds};
    gather(argv, 10, args);
    /* Its own timeout ends it; this one is for a JVM that hangs (compiling included). */
    return result_run(r, (timeout_s + 60) * 1000, NULL, argv);
}

int stage_check(struct stage *s, struct result *r, int timeout_s, ...)
{
    va_list args;
    va_start(args, timeout_s);
    int code = checker(s, r, timeout_s, "answers", args);
    va_end(args);
    return code;
}

int stage_checker(struct stage *s, struct result *r, int timeout_s, const char *mode, ...)
{
    va_list args;
    va_start(args, mode);
    int code = checker(s, r, timeout_s, mode, args);
    va_end(args);
    return code;
}
