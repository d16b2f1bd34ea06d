/* Devices and memory of the stand-in: a device's memory is the host's. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/api.h"
#include "tests/gpu/standin/inside.h"

enum { BLOCKS = 4096 };

/* Memory given out: of the device, or of the host and page-locked. */
struct block {
    char *at;
    size_t bytes;
    bool pinned;
};

static struct block blocks[BLOCKS];
static size_t room, used;

void standin_memory(size_t bytes)
{
    room = bytes;
}

static cudaError_t give(void **memory, size_t bytes, bool pinned)
{
    struct block *b = blocks;
    while (b < blocks + BLOCKS && b->at)
        b++;
    if (b == blocks + BLOCKS || (!pinned && room && used + bytes > room))
        return cudaErrorMemoryAllocation;
    if (!(*memory = aligned_alloc(256, (bytes + 255) / 256 * 256)))
        return cudaErrorMemoryAllocation;
    memset(*memory, pinned ? 0 : 0x7f, bytes); /* numbers of the device begin as large ones, not as zeros */
    *b = (struct block){*memory, bytes, pinned};
    used += pinned ? 0 : bytes;
    standin_opened(1);
    return 0;
}

static void take(void *memory)
{
    struct block *b = blocks;
    if (!memory)
        return;
    while (b->at != memory)
        b++;
    used -= b->pinned ? 0 : b->bytes;
    b->at = NULL;
    free(memory);
    standin_opened(-1);
}

static bool is_pinned(const void *at)
{
    for (struct block *b = blocks; b < blocks + BLOCKS; b++)
        if (b->at && b->pinned && (const char *)at >= b->at && (const char *)at < b->at + b->bytes)
            return true;
    return false;
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    int rc = standin_enter("cudaMalloc", NULL);
    return rc ? rc : give(memory, bytes, false);
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    int rc = standin_enter("cudaMallocHost", NULL);
    return rc ? rc : give(memory, bytes, true);
}

/* Waits for the device, as the real one does. */
cudaError_t cudaFree(void *memory)
{
    stream_drain(NULL);
    take(memory);
    return standin_enter("cudaFree", NULL);
}

cudaError_t cudaFreeHost(void *memory)
{
    stream_drain(NULL);
    take(memory);
    return standin_enter("cudaFreeHost", NULL);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *total = room;
    *free_bytes = room - used;
    return standin_enter("cudaMemGetInfo", NULL);
}

/* ---- copies ---- */

struct copied {
    void *to;
    const void *from; /* NULL: the bytes lie behind */
    size_t bytes;
};

static void run_copy(const void *work)
{
    const struct copied *c = work;
    memcpy(c->to, c->from ? c->from : c + 1, c->bytes);
}

/* Plain memory is read at once, and written to before the call returns. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    int rc = standin_enter("cudaMemcpyAsync", stream);
    bool upload = kind == cudaMemcpyHostToDevice, pinned = is_pinned(upload ? from : to);
    bool staged = upload && !pinned;
    struct copied *c = malloc(sizeof *c + (staged ? bytes : 0));
    if (rc || !c) {
        free(c);
        return rc ? rc : cudaErrorMemoryAllocation;
    }
    *c = (struct copied){to, staged ? NULL : from, bytes};
    if (staged)
        memcpy(c + 1, from, bytes);
    stream_add(stream, WORK_RUN, NULL, run_copy, c, sizeof *c + (staged ? bytes : 0));
    free(c);
    if (!pinned && !upload)
        stream_drain(stream);
    return 0;
}

struct set {
    void *at;
    int value;
    size_t bytes;
};

static void run_set(const void *work)
{
    const struct set *s = work;
    memset(s->at, s->value, s->bytes);
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream)
{
    int rc = standin_enter("cudaMemsetAsync", stream);
    const struct set s = {at, value, bytes};
    if (!rc)
        stream_add(stream, WORK_RUN, NULL, run_set, &s, sizeof s);
    return rc;
}

/* ---- devices ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return standin_enter("cudaGetDeviceCount", NULL);
}

cudaError_t cudaSetDevice(int device)
{
    (void)device;
    return standin_enter("cudaSetDevice", NULL);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return standin_enter("cudaDriverGetVersion", NULL);
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return standin_enter("cudaRuntimeGetVersion", NULL);
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int size, int device)
{
    snprintf(id, (size_t)size, "0000:%02x:00.0", device + 1);
    return standin_enter("cudaDeviceGetPCIBusId", NULL);
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    (void)device;
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9
             : attribute == cudaDevAttrMultiProcessorCount  ? 132
                                                            : 0;
    return standin_enter("cudaDeviceGetAttribute", NULL);
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == 700 ? "an illegal memory access was encountered" : "an error of the stand-in";
}

cudaError_t cudaGetLastError(void)
{
    return standin_enter("cudaGetLastError", NULL);
}
