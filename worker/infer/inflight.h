/* Which records are being worked on, kept where a crash leaves it: a small file of the slot, mapped into memory. A record that
 * kills the process leaves no trace in Kafka, so the next process finds it here and narrows it down.
 *
 * While a batch is built its records are noted, as ranges of offsets. The handler of a crash signal (SEGV, BUS, FPE, ILL, ABRT)
 * marks the file; SIGKILL and power loss mark nothing. After a crash the noted records are suspects: a batch with one of them
 * begins with it, holds at most half as many records and is committed before the next begins; records that nobody suspects go
 * by in batches of any size. Each further crash leaves at most half of the suspects; one that was alone in two crashes is
 * condemned: it becomes a dead letter, unread.
 *
 * A crash of another thread (a trainer's) suspects what is in flight as well; such records pass when they are tried again.
 * Every function takes NULL for "nothing is noted". The runner's own, but for open, arm and close. */
#ifndef WORKER_INFER_INFLIGHT_H
#define WORKER_INFER_INFLIGHT_H

#include "worker/stream/source.h"

struct inflight;

/* Maps the file, makes it when it is missing or not ours, and takes over what the last process left in it. E_CONFIG: it cannot
 * be made. */
int inflight_open(struct inflight **out, const char *path, struct fail *why);
void inflight_close(struct inflight **f);
/* From now on a crash of this process marks the file. One at a time in a process. */
void inflight_arm(struct inflight *f);

/* Before anything is done with a record. */
void inflight_add(struct inflight *f, const struct record *r);
/* The batch is sealed or dropped: nothing is in flight. */
void inflight_clear(struct inflight *f);
/* True: this record is to begin a batch, unless the batch at hand is held small already. */
bool inflight_is_suspect(const struct inflight *f, const struct record *r);
/* How many records the batch at hand may hold; INT_MAX: as many as it likes. */
int inflight_limit(const struct inflight *f);
/* True: the batch at hand is held small because of suspects. To be asked before inflight_clear. */
bool inflight_is_careful(const struct inflight *f);
/* All that was handed out is committed: suspects behind the source's positions are cleared of suspicion. */
void inflight_passed(struct inflight *f, struct source *src);
/* How often the process crashed with this record alone in flight, when that is often enough to give it up; else 0. */
int inflight_condemned(const struct inflight *f, const struct record *r);

#endif
