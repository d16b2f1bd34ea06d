/* What can happen to a run: the faults, and the helpers they share. */
#ifndef TESTS_TORTURE_STRIKES_H
#define TESTS_TORTURE_STRIKES_H

#include "engine/rng.h"
#include "tests/lib/broker.h"
#include "tests/torture/watch.h"

enum { RUN_WORKERS = 3 };

struct amount {
    int strikes;
    long records;
};

struct run;

struct fault {
    const char *name, *text;
    int brokers, workers;
    struct amount ci, full;
    int poison_every; /* 0: no poison */
    void (*strike)(struct run *r);
};

struct run {
    const struct fault *fault;
    struct amount amount;
    struct rng rng;
    struct broker broker;
    struct stage stage;
    const char *configs[RUN_WORKERS];
    struct process workers[RUN_WORKERS], producer;
    struct watch *watch;
    const char *poison_file;
    int strikes;
};

/* Starts worker i (slots a, b, c); dynamic membership where asked, else static. */
void run_worker(struct run *r, int i, bool dynamic);
/* Starts the foreign producer: the records spread over the time the strikes will take. */
void run_produce(struct run *r);
/* Starts again the workers that ended, each of which must have ended with a code that says so. */
void run_revive(struct run *r);

void strike_kill_worker(struct run *r);
void strike_kill_broker(struct run *r);
void strike_stop_worker(struct run *r);
void strike_come_and_go(struct run *r);
void strike_term_worker(struct run *r);
void strike_wait(struct run *r);
void strike_any(struct run *r);

#endif
