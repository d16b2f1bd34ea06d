/* A device that is open: its streams, libraries, descriptors, workspace, and the first error since the last sync.
 * Uploads, computing and downloads are queued on a stream each, so that rows come and go while others are computed.
 * What is computed waits for the uploads queued before it, a download for what was queued to be computed; an upload
 * waits for nothing: until device_sync it may not touch what is still to be read. One thread at a time.
 * Next to read: backend.c. */
#ifndef GPU_DEVICE_H
#define GPU_DEVICE_H

#include "engine/backend_ops.h"
#include "gpu/library.h"

struct graphs; /* graphs.h */

struct device {
    struct libraries lib;
    int index;    /* among those that CUDA_VISIBLE_DEVICES leaves */
    char bus[32]; /* PCI bus id, by which NVML knows it */
    char name[96];
    cudaStream_t stream, up, down; /* computing, uploads, downloads */
    cudaEvent_t uploaded, computed;
    cublasHandle_t blas;
    cudnnHandle_t dnn;
    /* Filled in anew for each convolution: setting them costs less than looking them up. */
    cudnnTensorDescriptor_t x, y, b;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    cudnnActivationDescriptor_t relu, identity;
    void *workspace; /* of cuDNN and cuBLAS in turn: what is on one stream does not meet */
    size_t workspace_bytes;
    bool tf32;
    struct graphs *graphs;
    struct nvml_api nvml;
    nvmlDevice_t watched; /* NULL: NVML does not know the device */
    struct fail first;    /* code E_OK: none */
};

/* The first device that CUDA shows. E_UNSUPPORTED: there is none, its driver is too old or a library is missing. */
int device_open(struct device **out, const struct backend_options *o, struct fail *why);
void device_close(struct device **d);

/* NULL and E_MEMORY when the device has no room; that is no error of the device. Zeroed. */
void *device_alloc(struct device *d, size_t bytes, struct fail *why);

/* Each keeps the first error, with what was being done. */
void device_check(struct device *d, cudaError_t error, const char *doing);
void device_check_blas(struct device *d, cublasStatus_t status, const char *doing);
void device_check_dnn(struct device *d, cudnnStatus_t status, const char *doing);

/* n bytes to the device or from it; plain host memory makes them wait. */
void device_upload(struct device *d, void *to, const void *from, size_t bytes);
void device_download(struct device *d, void *to, const void *from, size_t bytes);

/* What NVML says of the device; false: nothing. Any thread. */
bool device_use(const struct device *d, struct backend_use *use);

/* Waits for all that is queued. E_RESTART for errors of the device: CUDA gives them again for every later call of
 * the process, so nothing of the batch may be committed and a new process must read it again. */
int device_sync(struct device *d, struct fail *why);

#endif
