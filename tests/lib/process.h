/* Programs that tests run: a command whose output is looked at, or a server that lives for a while.
 *
 * Every child dies with the test program, however that ends, and what a child says goes to files or memory,
 * never to the terminal. Waiting is always for a condition with a deadline. Not for use in several threads.
 * Read broker.h next: it builds brokers and workers out of these. */
#ifndef TESTS_LIB_PROCESS_H
#define TESTS_LIB_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* ---- a folder for this test program ---- */

/* mkdtemp'd at first use under TMPDIR, removed at exit and on SIGINT, SIGTERM, SIGHUP (MILLRACE_TEST_KEEP=1
 * keeps it and prints where). */
const char *test_dir(void);
/* "<test_dir>/<name>"; a new string that lives as long as the program. */
const char *test_path(const char *name);
/* Holds a malloc'd string for as long as the program lives, so that a leak checker sees whose it is. */
const char *test_keep(char *text);
/* Writes a file (text, 0-terminated); the test fails where that is not possible. Returns path. */
const char *test_write(const char *path, const char *text);
/* The millrace binary: MILLRACE, else the one beside this program's build folder (build/<flavour>/millrace).
 */
const char *test_millrace(void);
/* A loopback port that nobody listened on a moment ago. */
int test_free_port(void);

/* ---- waiting ---- */

long now_ms(void); /* monotonic */
/* Asks every few ms until condition(context) or the deadline; returns what it said last. */
bool wait_until(bool (*condition)(void *context), void *context, int timeout_ms);

/* ---- a command: run it, wait, look at code and output ---- */

struct result {
    int code;  /* exit status; 128 + signal; -1: ran past timeout_ms and was killed with its group */
    char *out; /* stdout, 0-terminated */
    size_t out_size;
    char *err; /* stderr, 0-terminated */
    double seconds;
};

/* argv ends with NULL; argv[0] is looked up in PATH. input NULL: empty stdin. r may be zeroed or used before
 * (it is freed first). Returns r->code. */
int result_run(struct result *r, int timeout_ms, const char *input, const char *const argv[]);
/* The same, with the arguments written out: result_runl(&r, 10000, "millrace", "help", NULL). */
int result_runl(struct result *r, int timeout_ms, const char *program, ...) __attribute__((sentinel));
/* Prints command, code and the end of both outputs to stderr; for the test that is about to fail. */
void result_print(const struct result *r);
/* Fails the cmocka test with that print unless the code is `code`. */
void result_expect(const struct result *r, int code);
void result_free(struct result *r);

/* ---- a server: start it, wait for a line, kill it ---- */

struct process {
    pid_t pid;     /* 0: not started, or waited for */
    int code;      /* once it ended: exit status or 128 + signal */
    char log[256]; /* file with its stdout and stderr; several starts append to it */
};

/* log: a file name in test_dir(). The test fails where the program cannot be started. */
void process_start(struct process *p, const char *log, const char *const argv[]);
bool process_alive(struct process *p);
/* True once the log holds `text` (a fixed string) `times` times; false when the process ends first or at the
 * deadline, with the end of the log on stderr. */
bool process_wait_text(struct process *p, const char *text, int times, int timeout_ms);
int process_count_text(const struct process *p, const char *text);
void process_signal(struct process *p, int signal);
/* Waits for its end: exit status or 128 + signal; -1 at the deadline, with the end of the log on stderr; the
 * process lives on then. */
int process_wait(struct process *p, int timeout_ms);
/* SIGKILL and wait. Fine on a process that has ended. */
void process_kill(struct process *p);
void process_print_log(const struct process *p);

#endif
