/* What can happen to a run: each fault strikes once and returns when its part is over. */
#ifndef TESTS_TORTURE_STRIKES_H
#define TESTS_TORTURE_STRIKES_H

#include "tests/torture/run.h"

void strike_kill_worker(struct run *r);
void strike_kill_broker(struct run *r);
/* A zombie: stopped for longer than its session, another takes its partitions, then it wakes with its batches. */
void strike_stop_worker(struct run *r);
/* One more worker joins and leaves, static and dynamic in turns. */
void strike_come_and_go(struct run *r);
/* SIGTERM; it must be out in time; and another start, static or dynamic. */
void strike_term_worker(struct run *r);
/* Nothing but time: the records themselves are the fault. */
void strike_wait(struct run *r);
/* One of the others. */
void strike_any(struct run *r);

/* crash.c: until one more record that crashes the program is a dead letter. */
void crash_open(struct run *r);
void strike_crash(struct run *r);

/* abort.c: the program aborts one transaction in three by itself. */
void abort_open(struct run *r);
void abort_close(struct run *r);

/* disk.c: what the workers write to. */
void disk_open(struct run *r);
void disk_close(struct run *r);
void strike_disk(struct run *r);

/* network.c: between workers and broker. */
void network_open(struct run *r);
void network_close(struct run *r);
void strike_network(struct run *r);

#endif
