/* A stand-in for NVIDIA's libraries, for machines that have none: it takes the calls of gpu/api.h, remembers them in
 * their order, refuses the ones it is told to, and runs what is queued on streams no earlier than it must, so that a
 * missing wait shows. Nothing is computed (all results are zeros) unless a test wants the arithmetic of the kernels:
 * then they run on the host, and products by naive loops.
 * It is a library of its own, which the plugin of the tests, the libraries beside it and the tests share. */
#ifndef TESTS_GPU_STANDIN_H
#define TESTS_GPU_STANDIN_H

#include <stdbool.h>
#include <stddef.h>

#include "gpu/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- for tests ---- */

/* Forgets calls and orders given; what is open stays. MILLRACE_STANDIN, "call:nth:error,...", gives orders to a
 * program that a test starts. */
void standin_reset(void);
void standin_compute(bool on);
/* When somebody waits, the oldest stream goes first, as far as its waits let it; else the newest. */
void standin_oldest_first(bool on);
/* The nth call (from 1) of this function from now on returns `error`. */
void standin_refuse(const char *function, int nth, int error);
/* From the nth call on every call of the runtime returns `error`, as after a bad address on a device. */
void standin_break(const char *function, int nth, int error);
/* Memory of the device; 0: no bound. */
void standin_memory(size_t bytes);
int standin_count(const char *function);
/* What was called, a line each: name, then the number of the stream: "cudaMemcpyAsync 2\n". The caller frees it. */
char *standin_calls(void);
/* Memory, streams, events, descriptors and handles that are open. */
int standin_open(void);

/* ---- for the libraries ---- */

/* Remembers the call. What it must return: 0 unless there is an order. */
int standin_enter(const char *function, cudaStream_t stream);
void standin_opened(int n); /* -1: closed */
/* A factor as TF32 has it: 10 bits of mantissa. */
static inline double standin_tf32(float v)
{
    union {
        float number;
        unsigned int bits;
    } u = {v};
    u.bits &= 0xffffe000u;
    return (double)u.number;
}
/* Queues run(work), of which a copy is taken. */
void standin_queue(cudaStream_t stream, void (*run)(const void *work), const void *work, size_t size);

#ifdef __cplusplus
}
#endif

#endif
