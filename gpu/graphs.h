/* Forward passes as CUDA graphs: one launch for a whole plan, where a small network would otherwise wait for the host
 * to queue its steps. A graph holds addresses and the number of rows: it is made when a plan runs a second time for
 * the same rows, and dropped with all others when memory of the device is freed. */
#ifndef GPU_GRAPHS_H
#define GPU_GRAPHS_H

#include "engine/plan.h"
#include "gpu/device.h"

struct graphs;

int graphs_open(struct graphs **out, struct fail *why);
void graphs_close(struct graphs **g);
void graphs_drop(struct graphs *g);

/* Runs steps s->begin..s->end-1 of an inference plan, by its graph if there is one. */
void graphs_run(struct backend *be, const struct plan *p, const struct memory *m, const struct span *s);

#endif
