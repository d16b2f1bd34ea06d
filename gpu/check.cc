// Holds types.h and api.h against NVIDIA's own headers, those that the Makefile finds: CUDA's with nvcc, cuBLAS's,
// cuDNN's and NVML's with their packages or the Python wheels. Compiled, never linked.
#if __has_include(<cuda_runtime_api.h>)
#include <cuda_runtime_api.h>
#define GPU_REAL_CUDA
#endif
#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#define GPU_REAL_CUBLAS
#endif
#if __has_include(<cudnn.h>)
#include <cudnn.h>
#define GPU_REAL_CUDNN
#endif
#if __has_include(<nvml.h>)
#include <nvml.h>
#define GPU_REAL_NVML
#endif

#include <type_traits>

#include "gpu/api.h"

#define FUNCTION(returns, name, arguments)                                                          \
    static_assert(std::is_same<decltype(&name), returns(*) arguments>::value, #name " is declared " \
                                                                                    "otherwise");
#define VALUE(name, value) static_assert((int)name == (value), #name " has another value");

#ifdef GPU_REAL_CUDA
CUDA_TABLE(FUNCTION)
CUDA_VALUES(VALUE)
#endif
#ifdef GPU_REAL_CUBLAS
CUBLAS_TABLE(FUNCTION)
CUBLAS_VALUES(VALUE)
#endif
#ifdef GPU_REAL_CUDNN
CUDNN_TABLE(FUNCTION)
CUDNN_VALUES(VALUE)
#endif
#ifdef GPU_REAL_NVML
NVML_TABLE(FUNCTION)
#endif
