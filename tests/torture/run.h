/* One run of the torture: a stage with workers, a foreign producer and a reader downstream, and what faults need of
 * them. What strikes is in strikes.h; the order of a run is in torture.c. */
#ifndef TESTS_TORTURE_RUN_H
#define TESTS_TORTURE_RUN_H

#include "engine/rng.h"
#include "tests/lib/broker.h"
#include "tests/torture/watch.h"

enum { RUN_WORKERS = 3, RUN_PREFIX = 8, SESSION_MS = 6000 };

struct amount {
    int strikes;
    long records;
};

struct run;

struct fault {
    const char *name, *text;
    int brokers; /* of its own; 0: the shared one, which nobody hurts */
    int workers;
    struct amount ci, full;
    int strike_ms; /* what one strike takes, about: the producer's rate is made of it */
    void (*strike)(struct run *r);
    int poison_every;             /* 0: no poison */
    int resume_ms;                /* the p95 of recovery must not be longer; 0: it is told, not judged */
    void (*open)(struct run *r);  /* before topics are made and workers start; NULL */
    void (*close)(struct run *r); /* at the end, and what it makes sure of; NULL */
};

/* What a worker holds of the machine. */
struct level {
    long rss_mb;
    int descriptors;
};

struct run {
    const struct fault *fault;
    struct amount amount;
    struct rng rng;
    struct broker broker;
    struct stage stage;
    struct watch *watch;
    struct process workers[RUN_WORKERS], producer;
    const char *configs[RUN_WORKERS][2];
    int strikes;
    const char *poison_file, *hurry_file;
    struct level first, last;
    long peak_mb;

    /* A fault's `open` may set these. */
    const char *prefix[RUN_PREFIX]; /* words before the worker's program: env, ip netns exec ... */
    const char *program;            /* NULL: millrace */
    const char *bootstrap;          /* the workers' way to the broker; NULL: the stage's */
    const char *listen;             /* where the first worker's pages are; NULL: nowhere */
    const char *rest;               /* more of their configuration */
    const char *roles;              /* NULL: [infer] */
    int crash_every;                /* one record in so many crashes the program built for it */
    bool crashes;                   /* workers may end by a crash signal */
    void *tools;                    /* the fault's own */
    char note[160];                 /* more to tell on the line */
};

/* A number of the schedule: low..high, both included. */
int run_between(struct run *r, int low, int high);
void run_pause(long ms);

/* A program beside millrace that does to itself what tests ask for: "millrace-hooks", "bugs/none/millrace". */
const char *run_program(const char *name);
/* Starts worker i (slots a, b, c); dynamic membership where asked, else static. */
void run_worker(struct run *r, int i, bool dynamic);
/* Starts the foreign producer, at a rate that outlasts the strikes; run_hurry lets it send the rest at once. */
void run_produce(struct run *r);
void run_hurry(struct run *r);
/* Starts again the workers that ended, each of which must have ended with a code that says so. */
void run_revive(struct run *r);
/* The fault is over: measures until all partitions are answered again, and three times in four waits for that, so that
 * the others strike into the recovery. */
void run_recover(struct run *r);
/* Looks at what the living workers hold. */
struct level run_look(struct run *r);

#endif
