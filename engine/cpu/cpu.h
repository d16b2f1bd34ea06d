/* Backend "cpu" and its kernels, one file a family. Included by engine/cpu and backend.c. */
#ifndef ENGINE_CPU_CPU_H
#define ENGINE_CPU_CPU_H

#include "engine/backend_ops.h"

extern const struct backend_ops cpu_backend, cpu1_backend;

#define CPU_KERNEL(name) void name(const struct call *c, int64_t begin, int64_t end, void *scratch)

CPU_KERNEL(cpu_conv);
CPU_KERNEL(cpu_inverted);
CPU_KERNEL(cpu_conv_dx);
CPU_KERNEL(cpu_conv_dw);
CPU_KERNEL(cpu_dense);
CPU_KERNEL(cpu_dense_dx);
CPU_KERNEL(cpu_dense_dw);
CPU_KERNEL(cpu_maxpool);
CPU_KERNEL(cpu_maxpool_back);
CPU_KERNEL(cpu_avgpool);
CPU_KERNEL(cpu_avgpool_back);
CPU_KERNEL(cpu_batchnorm);
CPU_KERNEL(cpu_batchnorm_train);
CPU_KERNEL(cpu_batchnorm_back);
CPU_KERNEL(cpu_map);
CPU_KERNEL(cpu_map_back);
CPU_KERNEL(cpu_bytes);
CPU_KERNEL(cpu_copy);
CPU_KERNEL(cpu_lrn);
CPU_KERNEL(cpu_lrn_back);
CPU_KERNEL(cpu_zip);
CPU_KERNEL(cpu_zip_back);
CPU_KERNEL(cpu_zip_dw);
CPU_KERNEL(cpu_view);
CPU_KERNEL(cpu_reduce);
CPU_KERNEL(cpu_reduce_back);
CPU_KERNEL(cpu_dropout);
CPU_KERNEL(cpu_pick);
CPU_KERNEL(cpu_softmax);
CPU_KERNEL(cpu_softmax_back);
CPU_KERNEL(cpu_cross_entropy);
CPU_KERNEL(cpu_mse);
CPU_KERNEL(cpu_log_loss);

/* Slices of fixed size: never by the number of threads, which would change bits. */
int64_t cpu_channels(const struct call *c); /* of batch norm */
int64_t cpu_conv_slices(const struct call *c);
int64_t cpu_dense_slices(const struct call *c);
int64_t cpu_zip_slices(const struct call *c);
size_t cpu_lrn_back_scratch(const struct geometry *g);
size_t cpu_conv_scratch(const struct geometry *g);
size_t cpu_conv_forward_scratch(const struct geometry *g);
size_t cpu_inverted_scratch(const struct geometry *g);
size_t cpu_dense_scratch(const struct geometry *g);

/* y = f(y) over n values, in place. */
void cpu_apply(const struct map *map, float *y, int64_t n);

#endif
