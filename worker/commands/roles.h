/* What the roles of a worker read and write: the worker runs them, `check` looks whether it may. compose/README.md lists the
 * same as ACLs. */
#ifndef WORKER_COMMANDS_ROLES_H
#define WORKER_COMMANDS_ROLES_H

#include "worker/stream/session.h"

extern const struct session_role role_infer, role_train; /* without metrics */

#endif
