/* A real Kafka for a test program, and millrace commands and workers on it.
 *
 * A test that only uses topics takes broker_shared(): one broker for the whole program (or, under `make
 * test`, for all programs). A test that stops or kills brokers takes its own with broker_up(). Each test
 * opens a stage: its own topic prefix, consumer group, state and store, so that tests never see each other's
 * records.
 *
 *     static void test_answers_everything(void **state)
 *     {
 *         struct stage s;
 *         struct process worker = {0};
 *         struct result r = {0};
 *         stage_open(&s, broker_shared());
 *         result_expect((stage_run(&s, &r, 30000, "topics", "create", NULL), &r), 0);
 *         stage_worker(&s, &worker, stage_config(&s, &(struct stage_settings){.slot = "a"}));
 *         ...
 *         process_kill(&worker);
 *         stage_check(&s, &r, 60, "--inputs", "1000", NULL);
 *         result_expect(&r, 0);
 *     }
 *
 * Everything here fails the running cmocka test when it cannot do its work, and says why. */
#ifndef TESTS_LIB_BROKER_H
#define TESTS_LIB_BROKER_H

#include "tests/lib/process.h"

struct broker {
    char dir[256];
    char bootstrap[256]; /* comma list; the same after a restart */
};

/* Starts `nodes` brokers (1 or 3) in a folder of test_dir(); they are taken down at exit, even after SIGKILL.
 */
void broker_up(struct broker *b, int nodes);
/* One that asks who comes: secure.h. */
void broker_up_secure(struct broker *b);
void broker_down(struct broker *b);
/* node 0: all. kill is SIGKILL; start returns when it answers, with the data it had. */
void broker_kill(struct broker *b, int node);
void broker_stop(struct broker *b, int node);
void broker_start(struct broker *b, int node);

/* Bootstrap address of the program's shared broker: MILLRACE_TEST_BROKER where set, else started at first
 * use. */
const char *broker_shared(void);

/* ---- a stage ---- */

struct stage {
    char dir[256];
    char bootstrap[256];
    char prefix[66];  /* of topics: "t<pid>-<n>." */
    char group[64];   /* "t<pid>-<n>"; consumer groups <group>.infer and <group>.train */
    char config[280]; /* the file that stage_run gives with -c; stage_open writes one with default settings */
    int configs;
};

void stage_open(struct stage *s, const char *bootstrap);

struct stage_settings {
    const char *slot;   /* NULL: "a" */
    const char *roles;  /* NULL: "[infer, train]" */
    const char *worker; /* further lines of `worker:`, e.g. "  membership: dynamic\n" */
    const char *kafka;  /* further lines of `kafka:`, e.g. "  session.timeout.ms: 6000\n" */
    const char *listen; /* of http; NULL: off */
    const char *rest;   /* whole sections but worker, kafka, topics, models, http */
};

/* Writes a configuration for this stage, with engine.backend as TEST_BACKEND says where that is set and
 * `rest` has no engine, and returns its path (lives as long as the program). */
const char *stage_config(struct stage *s, const struct stage_settings *settings);
/* millrace COMMAND -c s->config REST...: stage_run(&s, &r, 30000, "send", "x.npy", "--model", "m", NULL). */
int stage_run(struct stage *s, struct result *r, int timeout_ms, const char *command, ...)
    __attribute__((sentinel));
/* Starts `millrace worker -c config`; log file worker-<n>.log in test_dir(). Does not wait. */
void stage_worker(struct stage *s, struct process *p, const char *config);
/* The independent checker (tests/broker/check answers --bootstrap --prefix --group of this stage, --timeout
 * timeout_s, then the given arguments; tests/broker/README.md lists them). Returns its code: 0, or 1 with the
 * violations in r->out. */
int stage_check(struct stage *s, struct result *r, int timeout_s, ...) __attribute__((sentinel));
/* Another mode of it: "metrics", "models", "produce". */
int stage_checker(struct stage *s, struct result *r, int timeout_s, const char *mode, ...)
    __attribute__((sentinel));

#endif
