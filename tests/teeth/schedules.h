/* The schedules of teeth.c: each opens a stage, lets workers score or train under faults, and ends with the independent checker's
 * result. MILLRACE names the program of the workers. A run takes 60 s at most on two idle cores; what it waits for is a condition. */
#ifndef TESTS_TEETH_SCHEDULES_H
#define TESTS_TEETH_SCHEDULES_H

#include "tests/lib/broker.h"

typedef void schedule(struct result *checked);

schedule schedule_kills;      /* one worker, SIGKILL again and again under load */
schedule schedule_rebalances; /* two slow workers, a third joins and leaves, one sleeps past its session */
schedule schedule_stream;     /* one worker, nothing strikes: what happens is in the program */
schedule schedule_poison;     /* the same, one record in ten must become a dead letter */
schedule schedule_powerloss;  /* a trainer is killed, and what it had not synced is cut off */

/* Takes from the files of a killed process what powerloss.so's log does not call synced. Returns how many files lost bytes. */
int power_loss(const char *log);

#endif
