/* Bytes that only grow: in memory as long as they are few, beyond that in a file that is mapped, so that a data
 * set may be larger than memory. The file has no name (it is unlinked as soon as it is open): whatever becomes of
 * the process, nothing is left behind. Its blocks are taken before they are written, so a full disk is an error of
 * cache_append and not a SIGBUS. One thread at a time. */
#ifndef WORKER_TRAIN_CACHE_H
#define WORKER_TRAIN_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/fail.h"

struct cache_limits {
    int64_t memory_bytes; /* kept in memory up to here; 0: no limit, never a file */
    int64_t file_bytes;   /* the file is no larger than this */
    const char *dir;      /* where it lies */
};

struct cache {
    struct cache_limits limits;
    unsigned char *base; /* moves when it grows */
    size_t used, capacity;
    int fd; /* of the file; -1: memory */
};

void cache_open(struct cache *c, const struct cache_limits *limits);
void cache_close(struct cache *c);
/* Room for so many bytes behind the last; c->base + c->used is where they go. E_JOB: more than the limit;
 * E_IO: the file cannot be made or the disk is full; E_MEMORY. */
int cache_reserve(struct cache *c, size_t bytes, struct fail *why);

#endif
