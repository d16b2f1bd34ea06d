/* MurmurHash2 as in org.apache.kafka.common.utils.Utils, which every murmur2 partitioner follows. */
#include "worker/train/partition.h"

#include <string.h>

uint32_t murmur2(const void *key, size_t size)
{
    const uint32_t m = 0x5bd1e995;
    const unsigned char *at = key;
    uint32_t h = 0x9747b28cu ^ (uint32_t)size;
    for (; size >= 4; size -= 4, at += 4) {
        uint32_t k = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        k *= m;
        k ^= k >> 24;
        h = (h * m) ^ (k * m);
    }
    for (size_t i = size; i > 0; i--)
        h ^= (uint32_t)at[i - 1] << (8 * (i - 1));
    if (size)
        h *= m;
    h ^= h >> 13;
    h *= m;
    return h ^ (h >> 15);
}

int32_t partition_of(const char *key, int count)
{
    return (int32_t)((murmur2(key, strlen(key)) & 0x7fffffff) % (uint32_t)count);
}
