/* The backend's own kernels: all operations but convolution and dense layers, which cuDNN and cuBLAS compute, and of
 * those what the libraries leave: the direct ways of conv.c and dense.c, what comes behind a product, and sums for
 * biases. What an element is, formula.h and engine/ref's headers say, for all backends; the loops are here.
 * Deterministic: no atomics, every sum in one fixed order. */
#ifndef GPU_KERNELS_H
#define GPU_KERNELS_H

#include "engine/backend_ops.h"
#include "gpu/types.h"

enum {
    KERNEL_FINISH_CONV = OPS, /* y = f(y + [b] + [residual]), the call being conv's */
    KERNEL_FINISH_DENSE,
    KERNEL_CONV_BIAS, /* db of conv_dw's call */
    KERNEL_DENSE_BIAS,
    KERNELS
};

#ifdef __cplusplus
extern "C" {
#endif

/* kernel: an operation or one of the above. false: there is none. */
bool kernel_exists(int kernel);
/* Queues it; the call is copied. What the launch returns is for cudaGetLastError to say. */
void kernel_launch(int kernel, const struct call *c, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
