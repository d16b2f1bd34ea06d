/* cuBLAS, cuDNN and NVML, found and loaded when a device is opened. They stay loaded until the process ends: none of
 * them can be unloaded safely. */
#ifndef GPU_LIBRARY_H
#define GPU_LIBRARY_H

#include <stdbool.h>

#include "engine/fail.h"
#include "gpu/api.h"

struct libraries {
    struct cublas_api blas;
    struct cudnn_api dnn;
    int dnn_version; /* 91002: 9.10.2 */
};

/* Looks for each library in CUBLAS_HOME or CUDNN_HOME, in CUDA_HOME, in the Python wheels of VIRTUAL_ENV, in /usr/local/cuda and the
 * system's folders; the first folder that has it is taken, and all its parts come from there. E_UNSUPPORTED says
 * which library or version is wrong, where it was looked for and what would help. */
int libraries_open(struct libraries *l, struct fail *why);

/* Of the driver's libnvidia-ml.so.1. false: it is not there; only figures of use are lost. */
bool library_nvml(struct nvml_api *nvml);

#endif
