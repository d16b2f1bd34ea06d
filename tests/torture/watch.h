/* Watches a stage's answers as a consumer downstream would see them (read_committed), in a thread of its own, and
 * measures how long after a fault the first new answer came. */
#ifndef TESTS_TORTURE_WATCH_H
#define TESTS_TORTURE_WATCH_H

#include "tests/lib/broker.h"

struct watch;

struct watch *watch_open(struct stage *s);
void watch_close(struct watch **w);
/* The fault is over (the worker is started again, the broker answers): times the next answer that is produced from
 * now on. A mark that no answer followed before the next one counts from the first. */
void watch_mark(struct watch *w);
/* Answers and dead letters seen so far. */
long watch_answers(struct watch *w);
/* Milliseconds from marks to answers: the q-th quantile (0..1) of those there are, -1 when there are none. */
long watch_recovery_ms(struct watch *w, double q);

#endif
