/* Nets of promoted versions, opened beside the runner: when an alias is given to another version of a model that requests have
 * been coming for, the follower's thread opens what the runner will want, so that it swaps between two batches and waits for
 * nothing. Whatever was not opened in time the runner opens itself. */
#ifndef WORKER_INFER_WARM_H
#define WORKER_INFER_WARM_H

#include "engine/net.h"
#include "worker/models/model.h"

/* How rows come: as bytes (UINT8, images), which a net takes as they are, or as floats. */
enum intake_kind { INTAKE_BYTES, INTAKE_FLOATS, INTAKES };

struct warm;

/* Nets are opened on `be` for max_rows rows, for fewer where memory is short (net_max_rows). */
int warm_open(struct warm **out, struct backend *be, int max_rows, struct fail *why);
void warm_close(struct warm **w);

/* Any thread: opens the model's nets for the kinds of rows that have come for its name, and keeps them for warm_take. A net that
 * cannot be opened is the runner's to complain of. `warm` is a struct warm: this is a follower_prepare (follower.h). */
void warm_prepare(void *warm, struct model *m);
/* The runner: a net for rows of this kind, the prepared one (*beside: true) or a new one; whose name is noted. */
int warm_take(struct warm *w, struct model *m, enum intake_kind kind, struct net **out, bool *beside,
              struct fail *why);

#endif
