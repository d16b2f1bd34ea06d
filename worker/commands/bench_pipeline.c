/* What `bench --stream` measures: workers of this very program, or a command. Their costs: bench_cost.c. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "worker/commands/bench_stream.h"
#include "worker/service/log.h"

enum { LEAVE_MS = 6000, LOG_END = 600 };

/* A port that nobody listens on at the moment; 0: none. */
static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&at, size) == 0 &&
              getsockname(fd, (struct sockaddr *)&at, &size) == 0;
    if (fd >= 0)
        close(fd);
    return ok ? ntohs(at.sin_port) : 0;
}

/* Waits until the parent says go; false: it is gone. */
static bool wait_for_go(int fd)
{
    char nothing;
    ssize_t n;
    while ((n = read(fd, &nothing, 1)) < 0 && errno == EINTR && !command_stop)
        ;
    close(fd);
    return n == 0 && !command_stop && getppid() != 1;
}

static _Noreturn void run_command(const char *command, const struct settings *s, const char *folder)
{
    char line[4200], model[400];
    const char *servers = setting_map_get(&s->kafka, "bootstrap.servers");
    snprintf(line, sizeof line, "exec %s", command);
    snprintf(model, sizeof model, "%s/model.onnx", folder);
    setenv("BENCH_BOOTSTRAP", servers ? servers : "", 1);
    setenv("BENCH_PREFIX", s->topics_prefix, 1);
    setenv("BENCH_GROUP", s->worker_group, 1);
    setenv("BENCH_MODEL", model, 1);
    execl("/bin/sh", "sh", "-c", line, (char *)NULL);
    _exit(127);
}

/* A worker of its own slot. The settings' strings are this process's to lend. */
static _Noreturn void run_worker(const struct context *cx, const struct settings *s, int number, int port)
{
    struct context mine = *cx;
    struct fail why = {0};
    char slot[120], listen[40];
    mine.settings = *s;
    snprintf(slot, sizeof slot, "%s-%d", s->worker_slot, number);
    snprintf(listen, sizeof listen, "127.0.0.1:%d", port);
    mine.settings.worker_slot = slot;
    mine.settings.http_listen = listen;
    log_open((enum log_format)s->log_format, (enum log_level)s->log_level);
    int rc = command_find("worker")->run(&mine, &why);
    if (rc)
        fprintf(stderr, "%s\n", why.text);
    _exit(rc ? 1 : 0);
}

static int start_one(struct pipeline *p, const struct context *cx, const struct stream_options *o,
                     const struct settings *s, const char *folder, int go, struct fail *why)
{
    int port = *o->pipeline ? 0 : free_port();
    pid_t pid = fork();
    if (pid < 0)
        return fail(why, E_MEMORY, "a process to be measured: %s", strerror(errno));
    if (pid == 0) {
        int log = open(p->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(p->go); /* else nobody would ever see it closed */
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        if (!wait_for_go(go))
            _exit(0);
        if (*o->pipeline)
            run_command(o->pipeline, s, folder);
        run_worker(cx, s, p->count, port);
    }
    p->ports[p->count] = port;
    p->pids[p->count++] = pid;
    return 0;
}

int pipeline_open(struct pipeline *p, const struct context *cx, const struct stream_options *o,
                  const struct settings *s, const char *folder, struct fail *why)
{
    int ends[2], rc = 0;
    *p = (struct pipeline){.go = -1};
    if (o->running)
        return 0;
    if (pipe2(ends, O_CLOEXEC))
        return fail(why, E_FAILED, "a pipe: %s", strerror(errno));
    p->go = ends[1];
    snprintf(p->log, sizeof p->log, "%s/log", folder);
    for (int i = 0; !rc && i < (*o->pipeline ? 1 : (int)o->workers); i++)
        rc = start_one(p, cx, o, s, folder, ends[0], why);
    close(ends[0]);
    return rc;
}

void pipeline_go(struct pipeline *p)
{
    if (p->go >= 0)
        close(p->go);
    p->go = -1;
}

int pipeline_check(struct pipeline *p, struct fail *why)
{
    char end[LOG_END + 1] = "";
    for (int i = 0; i < p->count; i++) {
        int status;
        if (!p->pids[i] || waitpid(p->pids[i], &status, WNOHANG) != p->pids[i])
            continue;
        p->pids[i] = 0;
        FILE *f = fopen(p->log, "re");
        if (f && (fseek(f, -LOG_END, SEEK_END) == 0 || fseek(f, 0, SEEK_SET) == 0))
            end[fread(end, 1, LOG_END, f)] = 0;
        if (f)
            fclose(f);
        return fail(why, E_FAILED, "what is measured ended with status %d: ...%s",
                    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), end);
    }
    return 0;
}

static bool are_gone(struct pipeline *p)
{
    int alive = 0;
    for (int i = 0; i < p->count; i++) {
        if (p->pids[i] && waitpid(p->pids[i], NULL, WNOHANG) == p->pids[i])
            p->pids[i] = 0;
        alive += p->pids[i] != 0;
    }
    return !alive;
}

static void tell(const struct pipeline *p, int number)
{
    for (int i = 0; i < p->count; i++)
        if (p->pids[i])
            kill(p->pids[i], number);
}

void pipeline_close(struct pipeline *p)
{
    pipeline_go(p); /* one that waits ends where it is told to */
    tell(p, SIGTERM);
    for (int ms = 0; !are_gone(p) && ms < LEAVE_MS; ms += 20)
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    tell(p, SIGKILL);
    while (!are_gone(p))
        nanosleep(&(struct timespec){0, 5000000}, NULL);
}
