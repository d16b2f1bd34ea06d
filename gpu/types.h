/* The names of CUDA's, cuBLAS's, cuDNN's and NVML's types and values, as far as this backend uses them: their headers
 * are not needed to build. Where they are there, check.cc holds this page and the tables of api.h against them.
 * Enumerations of theirs are ints here. Next to read: api.h. */
#ifndef GPU_TYPES_H
#define GPU_TYPES_H

#include <stddef.h>

#ifdef __CUDACC__ /* nvcc has its own */
#define GPU_REAL_CUDA
#endif

/* ---- the runtime ---- */
#ifndef GPU_REAL_CUDA
typedef int cudaError_t;
typedef int cudaMemcpyKind;
typedef int cudaStreamCaptureMode;
typedef int cudaDeviceAttr;
typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
#endif

/* ---- cuBLAS ---- */
#ifndef GPU_REAL_CUBLAS
typedef int cublasStatus_t;
typedef int cublasOperation_t;
typedef int cublasMath_t;
typedef struct cublasContext *cublasHandle_t;
#endif

/* ---- cuDNN, the legacy API of version 9 ---- */
#ifndef GPU_REAL_CUDNN
typedef int cudnnStatus_t;
typedef int cudnnDataType_t;
typedef int cudnnTensorFormat_t;
typedef int cudnnConvolutionMode_t;
typedef int cudnnConvolutionFwdAlgo_t;
typedef int cudnnConvolutionBwdDataAlgo_t;
typedef int cudnnConvolutionBwdFilterAlgo_t;
typedef int cudnnMathType_t;
typedef int cudnnActivationMode_t;
typedef int cudnnNanPropagation_t;
typedef struct cudnnContext *cudnnHandle_t;
typedef struct cudnnTensorStruct *cudnnTensorDescriptor_t;
typedef struct cudnnFilterStruct *cudnnFilterDescriptor_t;
typedef struct cudnnConvolutionStruct *cudnnConvolutionDescriptor_t;
typedef struct cudnnActivationStruct *cudnnActivationDescriptor_t;
#endif

/* ---- NVML ---- */
#ifndef GPU_REAL_NVML
typedef int nvmlReturn_t;
typedef struct nvmlDevice_st *nvmlDevice_t;
typedef struct nvmlUtilization_st {
    unsigned int gpu, memory; /* percent */
} nvmlUtilization_t;
typedef struct nvmlMemory_st {
    unsigned long long total, free, used; /* bytes */
} nvmlMemory_t;
#endif

/* Values: X(name, value). */
#define CUDA_VALUES(X)                       \
    X(cudaSuccess, 0)                        \
    X(cudaErrorMemoryAllocation, 2)          \
    X(cudaErrorInsufficientDriver, 35)       \
    X(cudaErrorNoDevice, 100)                \
    X(cudaMemcpyHostToDevice, 1)             \
    X(cudaMemcpyDeviceToHost, 2)             \
    X(cudaStreamCaptureModeThreadLocal, 1)   \
    X(cudaDevAttrComputeCapabilityMajor, 75) \
    X(cudaDevAttrComputeCapabilityMinor, 76) \
    X(cudaDevAttrMultiProcessorCount, 16)

#define CUBLAS_VALUES(X)        \
    X(CUBLAS_STATUS_SUCCESS, 0) \
    X(CUBLAS_OP_N, 0)           \
    X(CUBLAS_OP_T, 1)           \
    X(CUBLAS_PEDANTIC_MATH, 2)  \
    X(CUBLAS_TF32_TENSOR_OP_MATH, 3)

#define CUDNN_VALUES(X)                                    \
    X(CUDNN_STATUS_SUCCESS, 0)                             \
    X(CUDNN_STATUS_NOT_SUPPORTED, 3000)                    \
    X(CUDNN_DATA_FLOAT, 0)                                 \
    X(CUDNN_TENSOR_NCHW, 0)                                \
    X(CUDNN_CROSS_CORRELATION, 1)                          \
    X(CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, 1) \
    X(CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, 1)                \
    X(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, 1)              \
    X(CUDNN_DEFAULT_MATH, 0)                               \
    X(CUDNN_FMA_MATH, 3)                                   \
    X(CUDNN_ACTIVATION_RELU, 1)                            \
    X(CUDNN_ACTIVATION_IDENTITY, 5)                        \
    X(CUDNN_PROPAGATE_NAN, 1)

#define X(name, value) name = value,
#ifndef GPU_REAL_CUDA
enum cuda_values { CUDA_VALUES(X) };
#endif
#ifndef GPU_REAL_CUBLAS
enum cublas_values { CUBLAS_VALUES(X) };
#endif
#ifndef GPU_REAL_CUDNN
enum cudnn_values { CUDNN_VALUES(X) };
#endif
#undef X

#endif
