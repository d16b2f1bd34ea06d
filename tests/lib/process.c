/* Children of a test program: spawned with their output in a file or in memory, killed when the program ends.
 * Leaves brokers and workers to broker.c. Read process.h first.
 * The writable globals here are the list of what the exit and signal handlers have to end. */
#include "tests/lib/process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

enum { CHILDREN_MAX = 64, ARGUMENTS_MAX = 64, POLL_MS = 10 };

static char folder[200];
static volatile pid_t children[CHILDREN_MAX];

/* ---- the end of the program ---- */

static void child_add(pid_t pid)
{
    for (int i = 0; i < CHILDREN_MAX; i++)
        if (children[i] == 0) {
            children[i] = pid;
            return;
        }
}

static void child_remove(pid_t pid)
{
    for (int i = 0; i < CHILDREN_MAX; i++)
        if (children[i] == pid)
            children[i] = 0;
}

/* Async-signal-safe, because the signal handler calls it. */
static void remove_everything(void)
{
    for (int i = 0; i < CHILDREN_MAX; i++)
        if (children[i] > 0) {
            kill(-children[i], SIGKILL);
            waitpid(children[i], NULL, 0);
        }
    if (!folder[0] || getenv("MILLRACE_TEST_KEEP"))
        return;
    pid_t pid = fork();
    if (pid == 0) {
        /* Brokers first: one whose folder is gone could not be found any more (broker.c names them broker<n>). */
        execlp("sh", "sh", "-c",
               "for d in \"$0\"/broker*; do [ ! -d \"$d\" ] || compose/kafka/kafka down --data \"$d\"; done;"
               "rm -rf -- \"$0\"",
               folder, (char *)NULL);
        _exit(127);
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

static void on_signal(int signal)
{
    remove_everything();
    folder[0] = 0;
    _exit(128 + signal);
}

static void on_exit_remove(void)
{
    if (folder[0] && getenv("MILLRACE_TEST_KEEP"))
        fprintf(stderr, "kept: %s\n", folder);
    remove_everything();
}

const char *test_dir(void)
{
    if (folder[0])
        return folder;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%.150s/millrace-test.XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder))
        fail_msg("mkdtemp %s: %s", folder, strerror(errno));
    atexit(on_exit_remove);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    return folder;
}

/* ---- files, names, time ---- */

const char *test_keep(char *text)
{
    static char **kept;
    static size_t count;
    char **more = realloc(kept, (count + 1) * sizeof *more);
    if (!more)
        fail_msg("out of memory");
    kept = more;
    return kept[count++] = text;
}

const char *test_path(const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", test_dir(), name) < 0)
        fail_msg("out of memory");
    return test_keep(path);
}

const char *test_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        fail_msg("%s: %s", path, strerror(errno));
    return path;
}

const char *test_millrace(void)
{
    static char path[512];
    const char *given = getenv("MILLRACE");
    if (given && *given)
        return given;
    if (path[0])
        return path;
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 16);
    path[n > 0 ? n : 0] = 0;
    char *tests = strstr(path, "/tests/");
    if (!tests)
        fail_msg("%s is not below build/<flavour>/tests: set MILLRACE to the binary", path);
    strcpy(tests, "/millrace");
    return path;
}

int test_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        fail_msg("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(address.sin_port);
}

long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool wait_until(bool (*condition)(void *context), void *context, int timeout_ms)
{
    long deadline = now_ms() + timeout_ms;
    for (;;) {
        bool last = now_ms() >= deadline;
        if (condition(context))
            return true;
        if (last)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
}

/* ---- spawning ---- */

/* The child leads its own process group, so that what it starts goes with it, and dies with this program. */
static pid_t spawn(const char *const argv[], int in, int out, int err)
{
    pid_t parent = getpid();
    test_dir(); /* installs the handlers */
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        fail_msg("fork: %s", strerror(errno));
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(127);
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        dup2(in, 0);
        dup2(out, 1);
        dup2(err, 2);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        dprintf(2, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    setpgid(pid, pid);
    child_add(pid);
    return pid;
}

static int code_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Waits for the end of pid: its code, or -1 at the deadline. */
static int await(pid_t pid, int timeout_ms)
{
    int status, fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    long deadline = now_ms() + timeout_ms;
    if (fd < 0)
        fail_msg("pidfd_open: %s", strerror(errno));
    for (;;) {
        long left = deadline - now_ms();
        int n = poll(&ended, 1, left > 0 ? (int)left : 0);
        if (n > 0 || (n == 0 && left <= 0))
            break;
    }
    close(fd);
    if (waitpid(pid, &status, WNOHANG) != pid)
        return -1;
    child_remove(pid);
    return code_of(status);
}

/* ---- commands ---- */

static int memory_file(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    size_t size = text ? strlen(text) : 0;
    if (fd < 0 || write(fd, text, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) != 0)
        fail_msg("memfd: %s", strerror(errno));
    return fd;
}

static char *file_text(int fd, size_t *size)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        fail_msg("fstat: %s", strerror(errno));
    char *text = malloc((size_t)st.st_size + 1);
    size_t n = 0;
    while (text && n < (size_t)st.st_size) {
        ssize_t got = pread(fd, text + n, (size_t)st.st_size - n, (off_t)n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    if (!text)
        fail_msg("out of memory");
    text[n] = 0;
    *size = n;
    return text;
}

int result_run(struct result *r, int timeout_ms, const char *input, const char *const argv[])
{
    size_t err_size;
    result_free(r);
    int in = memory_file(input), out = memory_file(NULL), err = memory_file(NULL);
    long start = now_ms();
    pid_t pid = spawn(argv, in, out, err);
    r->code = await(pid, timeout_ms);
    if (r->code < 0) {
        kill(-pid, SIGKILL);
        await(pid, 10000);
    }
    r->seconds = (double)(now_ms() - start) / 1000.0;
    r->out = file_text(out, &r->out_size);
    r->err = file_text(err, &err_size);
    close(in);
    close(out);
    close(err);
    return r->code;
}

int result_runl(struct result *r, int timeout_ms, const char *program, ...)
{
    const char *argv[ARGUMENTS_MAX] = {program};
    va_list args;
    va_start(args, program);
    for (int i = 1; i < ARGUMENTS_MAX - 1; i++) {
        argv[i] = va_arg(args, const char *);
        if (!argv[i])
            break;
    }
    va_end(args);
    return result_run(r, timeout_ms, NULL, argv);
}

static const char *tail_of(const char *text)
{
    size_t n = text ? strlen(text) : 0;
    return !text ? "" : n > 4000 ? text + n - 4000 : text;
}

void result_print(const struct result *r)
{
    fprintf(stderr, "exit code %d after %.2f s\n--- stdout\n%s--- stderr\n%s---\n", r->code, r->seconds,
            tail_of(r->out), tail_of(r->err));
}

void result_expect(const struct result *r, int code)
{
    if (r->code == code)
        return;
    result_print(r);
    fail_msg("exit code %d, expected %d", r->code, code);
}

void result_free(struct result *r)
{
    free(r->out);
    free(r->err);
    *r = (struct result){0};
}

/* ---- servers ---- */

void process_start(struct process *p, const char *log, const char *const argv[])
{
    snprintf(p->log, sizeof(p->log), "%s/%s", test_dir(), log);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = open(p->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (in < 0 || out < 0)
        fail_msg("%s: %s", p->log, strerror(errno));
    p->code = -1;
    p->pid = spawn(argv, in, out, out);
    close(in);
    close(out);
}

bool process_alive(struct process *p)
{
    if (p->pid == 0)
        return false;
    int code = await(p->pid, 0);
    if (code < 0)
        return true;
    p->pid = 0;
    p->code = code;
    return false;
}

int process_count_text(const struct process *p, const char *text)
{
    size_t size;
    int count = 0, fd = open(p->log, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    char *log = file_text(fd, &size);
    close(fd);
    for (const char *at = log; (at = strstr(at, text)); at += strlen(text))
        count++;
    free(log);
    return count;
}

bool process_wait_text(struct process *p, const char *text, int times, int timeout_ms)
{
    long deadline = now_ms() + timeout_ms;
    for (;;) {
        /* Asked before the log is read: a process that said it and ended has said it. */
        bool over = !process_alive(p) || now_ms() >= deadline;
        if (process_count_text(p, text) >= times)
            return true;
        if (over) {
            fprintf(stderr, "%s: no \"%s\" (%d times) within %d ms; %s\n", p->log, text, times, timeout_ms,
                    p->pid ? "it runs" : "it has ended");
            process_print_log(p);
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
}

void process_signal(struct process *p, int signal)
{
    if (p->pid > 0)
        kill(p->pid, signal);
}

int process_wait(struct process *p, int timeout_ms)
{
    if (p->pid == 0)
        return p->code;
    int code = await(p->pid, timeout_ms);
    if (code < 0) {
        fprintf(stderr, "%s: still running after %d ms\n", p->log, timeout_ms);
        process_print_log(p);
        return -1;
    }
    p->pid = 0;
    p->code = code;
    return code;
}

void process_kill(struct process *p)
{
    if (p->pid == 0)
        return;
    kill(-p->pid, SIGKILL);
    if (process_wait(p, 10000) < 0)
        fail_msg("%s: SIGKILL did not end it", p->log);
}

void process_print_log(const struct process *p)
{
    size_t size;
    int fd = open(p->log, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    char *log = file_text(fd, &size);
    close(fd);
    fprintf(stderr, "--- %s\n%s---\n", p->log, tail_of(log));
    free(log);
}
