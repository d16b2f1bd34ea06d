/* Which partition of a topic a key belongs to, as Kafka's own clients and our writers (murmur2_random) choose
 * it. */
#ifndef WORKER_TRAIN_PARTITION_H
#define WORKER_TRAIN_PARTITION_H

#include <stddef.h>
#include <stdint.h>

uint32_t murmur2(const void *key, size_t size);
/* 0 .. count-1 */
int32_t partition_of(const char *key, int count);

#endif
