/* How kernels spread over the device: one thread an element, or one block of threads a sum. The same loops compile for
 * the host, where a grid is a loop over its threads, one after another: so that tests can hold every kernel against
 * ref where there is no device (tests/gpu/README.md). */
#ifndef GPU_GRID_H
#define GPU_GRID_H

#include "engine/backend_ops.h"
#include "gpu/types.h"

enum { THREADS = 256, BLOCKS_MOST = 1 << 20 };

typedef void (*element)(const struct call *c, int64_t i); /* element i */
typedef void (*block)(const struct call *c, int64_t i);   /* sum i, by all threads of a block */

#ifdef __CUDACC__

#define DEVICE static __device__ inline
#define SHARED __shared__
/* What each thread of a block does between two meetings. */
#define EACH_THREAD(t) for (int t = (int)threadIdx.x, once = 1; once; once = 0)
#define MEET()         __syncthreads()

/* A call as the device gets it: its geometry travels along. */
struct task {
    struct call call;
    struct geometry geometry;
};

template <element run> __global__ void each_element(const __grid_constant__ task t, int64_t n)
{
    struct call c = t.call;
    c.g = &t.geometry;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS)
        run(&c, i);
}

template <block run> __global__ void each_block(const __grid_constant__ task t, int64_t n)
{
    struct call c = t.call;
    c.g = &t.geometry;
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x)
        run(&c, i);
}

static unsigned blocks_for(int64_t n)
{
    return (unsigned)(n < (int64_t)BLOCKS_MOST ? n : (int64_t)BLOCKS_MOST);
}

template <element run> static void over_elements(const struct call *c, int64_t n, cudaStream_t stream)
{
    task t = {*c, *c->g};
    each_element<run><<<blocks_for((n + THREADS - 1) / THREADS), THREADS, 0, stream>>>(t, n);
}

template <block run> static void over_blocks(const struct call *c, int64_t n, cudaStream_t stream)
{
    task t = {*c, *c->g};
    each_block<run><<<blocks_for(n), THREADS, 0, stream>>>(t, n);
}

#else

#define DEVICE static inline
#define SHARED
#define EACH_THREAD(t) for (int t = 0; t < THREADS; t++)
#define MEET()         ((void)0)

/* What the stand-in of the tests does when the stream comes to it. */
extern "C" void standin_queue(cudaStream_t stream, void (*run)(const void *work), const void *work,
                              size_t size);

struct task {
    struct call call;
    struct geometry geometry;
    int64_t n;
};

template <element run> static void run_grid(const void *work)
{
    const struct task *t = (const struct task *)work;
    struct call c = t->call;
    c.g = &t->geometry;
    for (int64_t i = 0; i < t->n; i++)
        run(&c, i);
}

template <element run> static void over_elements(const struct call *c, int64_t n, cudaStream_t stream)
{
    struct task t = {*c, *c->g, n};
    standin_queue(stream, run_grid<run>, &t, sizeof t);
}

template <block run> static void over_blocks(const struct call *c, int64_t n, cudaStream_t stream)
{
    over_elements<run>(c, n, stream);
}

#endif

/* The sum of part(t, ...) over a block's threads, in the order of a tree; the same for all threads. */
template <class Part> DEVICE double block_sum(double *sums, Part part)
{
    EACH_THREAD(t)
    {
        sums[t] = part(t);
    }
    MEET();
    for (int half = THREADS / 2; half; half /= 2) {
        EACH_THREAD(t)
        {
            if (t < half)
                sums[t] += sums[t + half];
        }
        MEET();
    }
    double sum = sums[0];
    MEET();
    return sum;
}

#endif
