/* Every function of NVIDIA's that the backend calls, once: X(returns, name, arguments). The runtime is linked (its
 * static library is part of the plugin); cuBLAS, cuDNN and NVML are found by library.c, which fills a struct of
 * pointers from the same rows. What a call returns other than 0 is an error in all four.
 * check.cc holds the rows against NVIDIA's headers, where they are. Next to read: library.h. */
#ifndef GPU_API_H
#define GPU_API_H

#include "gpu/types.h"

#define CUDA_TABLE(X)                                                                                 \
    X(cudaError_t, cudaGetDeviceCount, (int *count))                                                  \
    X(cudaError_t, cudaSetDevice, (int device))                                                       \
    X(cudaError_t, cudaDriverGetVersion, (int *version))                                              \
    X(cudaError_t, cudaRuntimeGetVersion, (int *version))                                             \
    X(cudaError_t, cudaDeviceGetPCIBusId, (char *id, int size, int device))                           \
    X(const char *, cudaGetErrorString, (cudaError_t error))                                          \
    X(cudaError_t, cudaGetLastError, (void))                                                          \
    X(cudaError_t, cudaMemGetInfo, (size_t * free, size_t * total))                                   \
    X(cudaError_t, cudaDeviceGetAttribute, (int *value, cudaDeviceAttr attribute, int device))        \
    X(cudaError_t, cudaMalloc, (void **memory, size_t bytes))                                         \
    X(cudaError_t, cudaMallocHost, (void **memory, size_t bytes))                                     \
    X(cudaError_t, cudaStreamCreateWithFlags, (cudaStream_t * stream, unsigned int flags))            \
    X(cudaError_t, cudaMemcpyAsync,                                                                   \
      (void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream))           \
    X(cudaError_t, cudaEventCreateWithFlags, (cudaEvent_t * event, unsigned int flags))               \
    X(cudaError_t, cudaEventDestroy, (cudaEvent_t event))                                             \
    X(cudaError_t, cudaEventRecord, (cudaEvent_t event, cudaStream_t stream))                         \
    X(cudaError_t, cudaStreamWaitEvent, (cudaStream_t stream, cudaEvent_t event, unsigned int flags)) \
    X(cudaError_t, cudaStreamBeginCapture, (cudaStream_t stream, cudaStreamCaptureMode mode))         \
    X(cudaError_t, cudaGraphInstantiate,                                                              \
      (cudaGraphExec_t * exec, cudaGraph_t graph, unsigned long long flags))                          \
    X(cudaError_t, cudaFree, (void *memory))                                                          \
    X(cudaError_t, cudaFreeHost, (void *memory))                                                      \
    X(cudaError_t, cudaMemsetAsync, (void *at, int value, size_t bytes, cudaStream_t stream))         \
    X(cudaError_t, cudaStreamSynchronize, (cudaStream_t stream))                                      \
    X(cudaError_t, cudaStreamDestroy, (cudaStream_t stream))                                          \
    X(cudaError_t, cudaStreamEndCapture, (cudaStream_t stream, cudaGraph_t * graph))                  \
    X(cudaError_t, cudaGraphLaunch, (cudaGraphExec_t graph, cudaStream_t stream))                     \
    X(cudaError_t, cudaGraphDestroy, (cudaGraph_t graph))                                             \
    X(cudaError_t, cudaGraphExecDestroy, (cudaGraphExec_t graph))

#define CUBLAS_TABLE(X)                                                                                   \
    X(cublasStatus_t, cublasCreate_v2, (cublasHandle_t * handle))                                         \
    X(cublasStatus_t, cublasDestroy_v2, (cublasHandle_t handle))                                          \
    X(cublasStatus_t, cublasGetVersion_v2, (cublasHandle_t handle, int *version))                         \
    X(cublasStatus_t, cublasSetStream_v2, (cublasHandle_t handle, cudaStream_t stream))                   \
    X(cublasStatus_t, cublasSetWorkspace_v2, (cublasHandle_t handle, void *workspace, size_t bytes))      \
    X(cublasStatus_t, cublasSetMathMode, (cublasHandle_t handle, cublasMath_t mode))                      \
    X(cublasStatus_t, cublasSgemm_v2,                                                                     \
      (cublasHandle_t handle, cublasOperation_t a_is, cublasOperation_t b_is, int m, int n, int k,        \
       const float *alpha, const float *a, int lda, const float *b, int ldb, const float *beta, float *c, \
       int ldc))

#define CUDNN_TABLE(X)                                                                                       \
    X(size_t, cudnnGetVersion, (void))                                                                       \
    X(const char *, cudnnGetErrorString, (cudnnStatus_t status))                                             \
    X(cudnnStatus_t, cudnnCreate, (cudnnHandle_t * handle))                                                  \
    X(cudnnStatus_t, cudnnDestroy, (cudnnHandle_t handle))                                                   \
    X(cudnnStatus_t, cudnnSetStream, (cudnnHandle_t handle, cudaStream_t stream))                            \
    X(cudnnStatus_t, cudnnCreateTensorDescriptor, (cudnnTensorDescriptor_t * tensor))                        \
    X(cudnnStatus_t, cudnnDestroyTensorDescriptor, (cudnnTensorDescriptor_t tensor))                         \
    X(cudnnStatus_t, cudnnSetTensor4dDescriptor,                                                             \
      (cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format, cudnnDataType_t type, int n, int c,       \
       int h, int w))                                                                                        \
    X(cudnnStatus_t, cudnnCreateFilterDescriptor, (cudnnFilterDescriptor_t * filter))                        \
    X(cudnnStatus_t, cudnnDestroyFilterDescriptor, (cudnnFilterDescriptor_t filter))                         \
    X(cudnnStatus_t, cudnnSetFilter4dDescriptor,                                                             \
      (cudnnFilterDescriptor_t filter, cudnnDataType_t type, cudnnTensorFormat_t format, int k, int c,       \
       int h, int w))                                                                                        \
    X(cudnnStatus_t, cudnnCreateConvolutionDescriptor, (cudnnConvolutionDescriptor_t * conv))                \
    X(cudnnStatus_t, cudnnDestroyConvolutionDescriptor, (cudnnConvolutionDescriptor_t conv))                 \
    X(cudnnStatus_t, cudnnSetConvolution2dDescriptor,                                                        \
      (cudnnConvolutionDescriptor_t conv, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,  \
       int dilation_w, cudnnConvolutionMode_t mode, cudnnDataType_t type))                                   \
    X(cudnnStatus_t, cudnnSetConvolutionGroupCount, (cudnnConvolutionDescriptor_t conv, int groups))         \
    X(cudnnStatus_t, cudnnSetConvolutionMathType, (cudnnConvolutionDescriptor_t conv, cudnnMathType_t type)) \
    X(cudnnStatus_t, cudnnCreateActivationDescriptor, (cudnnActivationDescriptor_t * activation))            \
    X(cudnnStatus_t, cudnnDestroyActivationDescriptor, (cudnnActivationDescriptor_t activation))             \
    X(cudnnStatus_t, cudnnSetActivationDescriptor,                                                           \
      (cudnnActivationDescriptor_t activation, cudnnActivationMode_t mode, cudnnNanPropagation_t nan,        \
       double coefficient))                                                                                  \
    X(cudnnStatus_t, cudnnGetConvolutionForwardWorkspaceSize,                                                \
      (cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,               \
       const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t y,                             \
       cudnnConvolutionFwdAlgo_t algo, size_t *bytes))                                                       \
    X(cudnnStatus_t, cudnnGetConvolutionBackwardDataWorkspaceSize,                                           \
      (cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t dy,              \
       const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t dx,                            \
       cudnnConvolutionBwdDataAlgo_t algo, size_t *bytes))                                                   \
    X(cudnnStatus_t, cudnnGetConvolutionBackwardFilterWorkspaceSize,                                         \
      (cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t dy,              \
       const cudnnConvolutionDescriptor_t conv, const cudnnFilterDescriptor_t dw,                            \
       cudnnConvolutionBwdFilterAlgo_t algo, size_t *bytes))                                                 \
    X(cudnnStatus_t, cudnnConvolutionForward,                                                                \
      (cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t x_is, const void *x,           \
       const cudnnFilterDescriptor_t w_is, const void *w, const cudnnConvolutionDescriptor_t conv,           \
       cudnnConvolutionFwdAlgo_t algo, void *workspace, size_t bytes, const void *beta,                      \
       const cudnnTensorDescriptor_t y_is, void *y))                                                         \
    X(cudnnStatus_t, cudnnConvolutionBiasActivationForward,                                                  \
      (cudnnHandle_t handle, const void *alpha1, const cudnnTensorDescriptor_t x_is, const void *x,          \
       const cudnnFilterDescriptor_t w_is, const void *w, const cudnnConvolutionDescriptor_t conv,           \
       cudnnConvolutionFwdAlgo_t algo, void *workspace, size_t bytes, const void *alpha2,                    \
       const cudnnTensorDescriptor_t z_is, const void *z, const cudnnTensorDescriptor_t b_is, const void *b, \
       const cudnnActivationDescriptor_t activation, const cudnnTensorDescriptor_t y_is, void *y))           \
    X(cudnnStatus_t, cudnnConvolutionBackwardData,                                                           \
      (cudnnHandle_t handle, const void *alpha, const cudnnFilterDescriptor_t w_is, const void *w,           \
       const cudnnTensorDescriptor_t dy_is, const void *dy, const cudnnConvolutionDescriptor_t conv,         \
       cudnnConvolutionBwdDataAlgo_t algo, void *workspace, size_t bytes, const void *beta,                  \
       const cudnnTensorDescriptor_t dx_is, void *dx))                                                       \
    X(cudnnStatus_t, cudnnConvolutionBackwardFilter,                                                         \
      (cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t x_is, const void *x,           \
       const cudnnTensorDescriptor_t dy_is, const void *dy, const cudnnConvolutionDescriptor_t conv,         \
       cudnnConvolutionBwdFilterAlgo_t algo, void *workspace, size_t bytes, const void *beta,                \
       const cudnnFilterDescriptor_t dw_is, void *dw))

#define NVML_TABLE(X)                                                                              \
    X(nvmlReturn_t, nvmlInit_v2, (void))                                                           \
    X(nvmlReturn_t, nvmlShutdown, (void))                                                          \
    X(nvmlReturn_t, nvmlDeviceGetHandleByPciBusId_v2, (const char *id, nvmlDevice_t *device))      \
    X(nvmlReturn_t, nvmlDeviceGetUtilizationRates, (nvmlDevice_t device, nvmlUtilization_t * use)) \
    X(nvmlReturn_t, nvmlDeviceGetMemoryInfo, (nvmlDevice_t device, nvmlMemory_t * memory))

/* Pointers by the functions' own names: struct cublas_api has cublasSgemm_v2, and so on. */
#define GPU_POINTER(returns, name, arguments) returns(*name) arguments;
struct cublas_api {
    CUBLAS_TABLE(GPU_POINTER)
};
struct cudnn_api {
    CUDNN_TABLE(GPU_POINTER)
};
struct nvml_api {
    NVML_TABLE(GPU_POINTER)
};
#undef GPU_POINTER

#ifdef __cplusplus
extern "C" {
#endif
#ifndef __CUDACC__
#define GPU_DECLARATION(returns, name, arguments) returns name arguments;
CUDA_TABLE(GPU_DECLARATION)
#undef GPU_DECLARATION
#endif
#ifdef __cplusplus
}
#endif

#endif
