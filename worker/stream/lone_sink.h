/* A sink without a group: every batch is one transaction, begun and committed by the caller's thread in sink_put. For commands
 * that add records which belong together with nothing they consumed (`rescore`, `replay`). */
#ifndef WORKER_STREAM_LONE_SINK_H
#define WORKER_STREAM_LONE_SINK_H

#include <signal.h>

#include "worker/stream/sink.h"

struct lone_sink;

/* transactional.id is <prefix><name>; outputs: the topics it writes to, 1 << enum topic each. When this returns, no earlier holder of the name can commit any more, and what it had
 * committed is in the topics; its last transaction is decided (a reader sees it after topic_settle). E_UNREACHABLE: not within
 * timeout_ms. */
int lone_sink_open(struct lone_sink **out, const struct settings *s, const char *name, unsigned outputs,
                   int timeout_ms, struct fail *why);
void lone_sink_close(struct lone_sink **k); /* NULL inside is fine */
/* sink_put's errors: E_ABORT: nothing of the batch was written; E_REBUILD: its fate is not known. After both the sink is of no
 * use: close it, open another, look what is there. E_SLOT_TAKEN: another process opened the name. */
struct sink *lone_sink_base(struct lone_sink *k);
/* An attempt opens a sink, looks at what is written, adds what is missing and closes the sink. After a transaction that did not
 * end well it all begins anew, five times at most: then E_RESTART. `stop` non-zero: not again. */
int lone_sink_insist(int (*attempt)(void *arg, struct fail *why), void *arg,
                     const volatile sig_atomic_t *stop, struct fail *why);

#endif
