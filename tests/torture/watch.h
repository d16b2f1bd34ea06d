/* Watches a stage's answers as a consumer downstream would see them (read_committed), in a thread of its own, and
 * measures how long after a fault every partition was answered again. It reads without a group: a group would have to
 * recover from the same fault, and its recovery would be measured for the worker's. */
#ifndef TESTS_TORTURE_WATCH_H
#define TESTS_TORTURE_WATCH_H

#include "tests/lib/broker.h"

struct watch;

struct watch *watch_open(struct stage *s);
void watch_close(struct watch **w);
/* The fault is over (the worker is started again, the broker answers): times how long it takes until every partition of
 * the predictions has an answer that was made from now on. A mark that is still open is given up for the new one;
 * after more than 2 s it counts as one that took as long, or only the quick ones would be counted where faults follow fast. */
void watch_mark(struct watch *w);
/* True when no mark is open. */
bool watch_is_settled(struct watch *w);
/* What was seen so far: answers with dead letters, and dead letters alone. */
long watch_answers(struct watch *w);
long watch_dead_letters(struct watch *w);
/* How many marks were met, and the q-th quantile (0..1) of the milliseconds they took; -1 when there are none. */
int watch_recoveries(struct watch *w);
long watch_recovery_ms(struct watch *w, double q);

#endif
