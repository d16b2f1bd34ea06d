/* Convolutions by cuDNN and dense layers by cuBLAS, for backend.c: kernels of backend_ops.h over all rows. What the
 * libraries do not have is left to the kernels of kernels.h, by geometry alone. */
#ifndef GPU_PRODUCTS_H
#define GPU_PRODUCTS_H

#include "gpu/device.h"

void product_conv(struct device *d, const struct call *c); /* conv.c */
void product_conv_dx(struct device *d, const struct call *c);
void product_conv_dw(struct device *d, const struct call *c);
void product_dense(struct device *d, const struct call *c); /* dense.c */
void product_dense_dx(struct device *d, const struct call *c);
void product_dense_dw(struct device *d, const struct call *c);

#endif
