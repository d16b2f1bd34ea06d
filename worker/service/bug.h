/* Bugs on purpose, to prove that the independent checker sees them: `make teeth` builds the program once with each, and its run
 * must fail (tests/teeth). -DMILLRACE_BUG=bug_NAME chooses one; in every other build has_bug is the constant 0, and lint looks
 * for the mark that a program with a bug carries. */
#ifndef WORKER_SERVICE_BUG_H
#define WORKER_SERVICE_BUG_H

#ifdef MILLRACE_BUG
enum bug {
    bug_none,          /* none: what bug_aborts does, alone */
    bug_auto_commit,   /* offsets by the consumer's timer instead of the transaction */
    bug_position,      /* the consumer's position instead of the batch's own offsets */
    bug_late_metadata, /* group metadata of the moment of the commit, and no epoch check */
    bug_unsynced,      /* a checkpoint's record is committed before its file is on the disk */
    bug_verdict,       /* a record that is refused gets no dead letter */
    bug_behind_abort,  /* an abort leaves the batches behind it */
};
static const char bug_mark[] __attribute__((used)) = "millrace: built with a bug on purpose";
#define has_bug(name) (MILLRACE_BUG == bug_##name)
/* What bug_behind_abort needs, and its control run has too: one transaction in three is aborted, by the clock's microseconds, so
 * that no batch meets it for ever. */
#define bug_aborts(now_us) ((has_bug(none) || has_bug(behind_abort)) && (now_us) % 3 == 0)
#else
#define has_bug(name)      0
#define bug_aborts(now_us) 0
#endif

#endif
