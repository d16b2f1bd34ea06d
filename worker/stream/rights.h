/* Whether the broker lets this user do what a role does, by doing it: no broker says it to a user who may not ask for ACLs.
 * E_DENIED names the right that is missing first. */
#ifndef WORKER_STREAM_RIGHTS_H
#define WORKER_STREAM_RIGHTS_H

#include "worker/stream/session.h"

/* Read: fetches from the end of partition 0. */
int rights_read(const struct settings *s, enum topic t, int timeout_ms, struct fail *why);
/* Write to the role's outputs, Read of its group and input: a transaction that is aborted. Its transactional.id is
 * "<prefix><slot>.check", so that no worker is fenced; partitions: of every topic. */
int rights_write(const struct settings *s, const struct session_role *role, const int partitions[TOPICS],
                 int timeout_ms, struct fail *why);

#endif
