/* What tests cause on purpose: a request that crashes the process. There is nothing of it in a program that is not compiled with
 * MILLRACE_HOOKS (`make build/release/millrace-hooks`); releases never are.
 *
 *   an id that begins with "hook-crash-take"       crashes when the request is taken
 *   an id that begins with "hook-crash-compute"    crashes when rows of its batch are computed */
#ifndef WORKER_INFER_HOOK_H
#define WORKER_INFER_HOOK_H

#ifdef MILLRACE_HOOKS
#include <stdlib.h>
#include <string.h>

#include "worker/codec/record.h"

struct hook {
    bool armed;
};

static inline bool hook_is(const struct inference *q, const char *name)
{
    return q->id.size >= strlen(name) && memcmp(q->id.data, name, strlen(name)) == 0;
}

static inline void hook_request(struct hook *h, const struct inference *q)
{
    if (hook_is(q, "hook-crash-take"))
        __builtin_trap();
    h->armed |= hook_is(q, "hook-crash-compute");
}

static inline void hook_compute(struct hook *h)
{
    if (h->armed)
        abort();
}
#else
struct hook {
    char none;
};
#define hook_request(h, q) ((void)(h))
#define hook_compute(h)    ((void)(h))
#endif

#endif
