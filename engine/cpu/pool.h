/* Threads that share the items of one operation. Which thread computes an item never changes its bits
 * (backend_ops.h), so items go to whoever is free; but each begins with its own share of them, so that what it wrote in one
 * operation is in its cache where the next one reads it. */
#ifndef ENGINE_CPU_POOL_H
#define ENGINE_CPU_POOL_H

#include <stdint.h>

#include "engine/fail.h"

struct pool;

/* threads counts the caller's: 1 starts none. */
int pool_open(struct pool **out, int threads, struct fail *why);
void pool_close(struct pool **pool);
/* Runs work(context, thread, begin, end) over 0..items-1 in pieces of `piece` at most; the caller works too, as thread
 * 0. Returns when all is done. */
typedef void (*pool_work)(void *context, int thread, int64_t begin, int64_t end);
void pool_run(struct pool *pool, int64_t items, int64_t piece, pool_work work, void *context);

#endif
