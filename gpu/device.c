/* Opening a device, and what becomes of its errors. device.h says the rules; library.c finds the libraries. */
#include "gpu/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/graphs.h"

enum { STREAM_NON_BLOCKING = 1, EVENT_NO_TIMING = 2, MB = 1 << 20 };

/* ---- errors ---- */

void device_check(struct device *d, cudaError_t error, const char *doing)
{
    if (error != cudaSuccess && !d->first.code)
        fail(
            &d->first, E_RESTART,
            "cuda: %s: %s (error %d); the device cannot be used again by this process, a new one starts over",
            doing, cudaGetErrorString(error), error);
}

void device_check_blas(struct device *d, cublasStatus_t status, const char *doing)
{
    if (status != CUBLAS_STATUS_SUCCESS && !d->first.code)
        fail(&d->first, E_RESTART, "cuda: %s: cuBLAS status %d", doing, status);
}

void device_check_dnn(struct device *d, cudnnStatus_t status, const char *doing)
{
    if (status == CUDNN_STATUS_SUCCESS || d->first.code)
        return;
    bool unsupported = status / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000;
    fail(&d->first, unsupported ? E_UNSUPPORTED : E_RESTART, "cuda: %s: %s (cuDNN status %d)", doing,
         d->lib.dnn.cudnnGetErrorString(status), status);
}

int device_sync(struct device *d, struct fail *why)
{
    const cudaStream_t streams[] = {d->up, d->stream, d->down};
    for (int i = 0; i < 3; i++)
        device_check(d, cudaStreamSynchronize(streams[i]), "waiting for the batch");
    if (!d->first.code)
        return 0;
    int rc = fail(why, d->first.code, "%s", d->first.text);
    if (d->first.code != E_RESTART) /* the others pass */
        d->first = (struct fail){0};
    return rc;
}

/* ---- copies ---- */

/* What is queued on `later` from now on waits for what is on `earlier`. */
static void follow(struct device *d, cudaStream_t later, cudaEvent_t event, cudaStream_t earlier)
{
    if (!d->first.code)
        device_check(d, cudaEventRecord(event, earlier), "marking a place on a stream");
    if (!d->first.code)
        device_check(d, cudaStreamWaitEvent(later, event, 0), "waiting for another stream");
}

void device_upload(struct device *d, void *to, const void *from, size_t bytes)
{
    if (!bytes || d->first.code)
        return;
    device_check(d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, d->up), "an upload");
    follow(d, d->stream, d->uploaded, d->up);
}

void device_download(struct device *d, void *to, const void *from, size_t bytes)
{
    if (!bytes || d->first.code)
        return;
    follow(d, d->down, d->computed, d->stream);
    device_check(d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, d->down), "a download");
}

void *device_alloc(struct device *d, size_t bytes, struct fail *why)
{
    void *memory = NULL;
    cudaError_t error = cudaMalloc(&memory, bytes + TENSOR_ALIGN);
    if (error == cudaErrorMemoryAllocation) {
        size_t free_bytes = 0, total = 0;
        cudaGetLastError(); /* it passes */
        cudaMemGetInfo(&free_bytes, &total);
        fail(why, E_MEMORY,
             "cuda: no room for %.1f MB on the device (%.1f of %.1f MB are free): lower the batch size or "
             "engine.cuda_workspace_mb",
             (double)bytes / 1e6, (double)free_bytes / 1e6, (double)total / 1e6);
        return NULL;
    }
    device_check(d, error, "allocating");
    if (!d->first.code)
        device_check(d, cudaMemsetAsync(memory, 0, bytes + TENSOR_ALIGN, d->up), "zeroing memory");
    follow(d, d->stream, d->uploaded, d->up);
    if (d->first.code) {
        fail(why, d->first.code, "%s", d->first.text);
        return NULL;
    }
    return memory;
}

/* ---- opening ---- */

static int refused(struct fail *why, cudaError_t error)
{
    int driver = 0, runtime = 0;
    if (error == cudaErrorNoDevice)
        return fail(why, E_UNSUPPORTED, "no CUDA device (CUDA_VISIBLE_DEVICES may hide it)");
    if (error != cudaErrorInsufficientDriver)
        return fail(why, E_UNSUPPORTED, "no CUDA device: %s", cudaGetErrorString(error));
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (!driver)
        return fail(why, E_UNSUPPORTED, "no CUDA device: NVIDIA's driver is not installed");
    return fail(why, E_UNSUPPORTED,
                "NVIDIA's driver is for CUDA %d.%d, this build needs %d.%d: install a newer driver",
                driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

static int find_device(struct device *d, struct fail *why)
{
    int count = 0, major = 0, minor = 0, units = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count < 1)
        return refused(why, error == cudaSuccess ? cudaErrorNoDevice : error);
    if ((error = cudaSetDevice(d->index)) != cudaSuccess ||
        (error = cudaDeviceGetPCIBusId(d->bus, sizeof d->bus, d->index)) != cudaSuccess ||
        (error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->index)) !=
            cudaSuccess ||
        (error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, d->index)) !=
            cudaSuccess ||
        (error = cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount, d->index)) != cudaSuccess)
        return refused(why, error);
    if (major < 8)
        return fail(why, E_UNSUPPORTED,
                    "the CUDA device has compute capability %d.%d: 8.0 or newer is needed", major, minor);
    snprintf(d->name, sizeof d->name, "%s, compute %d.%d, %d multiprocessors", d->bus, major, minor, units);
    return 0;
}

static void open_streams(struct device *d)
{
    cudaStream_t *const streams[] = {&d->stream, &d->up, &d->down};
    cudaEvent_t *const events[] = {&d->uploaded, &d->computed};
    for (int i = 0; i < 3 && !d->first.code; i++)
        device_check(d, cudaStreamCreateWithFlags(streams[i], STREAM_NON_BLOCKING), "making a stream");
    for (int i = 0; i < 2 && !d->first.code; i++)
        device_check(d, cudaEventCreateWithFlags(events[i], EVENT_NO_TIMING), "making an event");
}

static void open_blas(struct device *d)
{
    const struct cublas_api *blas = &d->lib.blas;
    device_check_blas(d, blas->cublasCreate_v2(&d->blas), "opening cuBLAS");
    if (d->first.code)
        return;
    device_check_blas(d, blas->cublasSetStream_v2(d->blas, d->stream), "opening cuBLAS");
    device_check_blas(d, blas->cublasSetWorkspace_v2(d->blas, d->workspace, d->workspace_bytes),
                      "giving cuBLAS its workspace");
    device_check_blas(
        d, blas->cublasSetMathMode(d->blas, d->tf32 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_PEDANTIC_MATH),
        "choosing cuBLAS's arithmetic");
}

static void open_dnn(struct device *d)
{
    const struct cudnn_api *dnn = &d->lib.dnn;
    device_check_dnn(d, dnn->cudnnCreate(&d->dnn), "opening cuDNN");
    if (d->first.code)
        return;
    device_check_dnn(d, dnn->cudnnSetStream(d->dnn, d->stream), "opening cuDNN");
    device_check_dnn(d, dnn->cudnnCreateTensorDescriptor(&d->x), "a tensor's descriptor");
    device_check_dnn(d, dnn->cudnnCreateTensorDescriptor(&d->y), "a tensor's descriptor");
    device_check_dnn(d, dnn->cudnnCreateTensorDescriptor(&d->b), "a tensor's descriptor");
    device_check_dnn(d, dnn->cudnnCreateFilterDescriptor(&d->w), "a filter's descriptor");
    device_check_dnn(d, dnn->cudnnCreateConvolutionDescriptor(&d->conv), "a convolution's descriptor");
    device_check_dnn(d, dnn->cudnnCreateActivationDescriptor(&d->relu), "relu's descriptor");
    device_check_dnn(d, dnn->cudnnCreateActivationDescriptor(&d->identity), "the identity's descriptor");
    if (d->first.code)
        return;
    device_check_dnn(
        d, dnn->cudnnSetActivationDescriptor(d->relu, CUDNN_ACTIVATION_RELU, CUDNN_PROPAGATE_NAN, 0),
        "relu's descriptor");
    device_check_dnn(
        d, dnn->cudnnSetActivationDescriptor(d->identity, CUDNN_ACTIVATION_IDENTITY, CUDNN_PROPAGATE_NAN, 0),
        "the identity's descriptor");
}

/* NVML counts devices without CUDA_VISIBLE_DEVICES: by bus id there is no mistake. */
static void watch(struct device *d)
{
    if (!library_nvml(&d->nvml))
        d->nvml = (struct nvml_api){0};
    else if (d->nvml.nvmlDeviceGetHandleByPciBusId_v2(d->bus, &d->watched))
        d->watched = NULL;
}

bool device_use(const struct device *d, struct backend_use *use)
{
    nvmlUtilization_t busy;
    nvmlMemory_t memory;
    if (!d->watched || d->nvml.nvmlDeviceGetUtilizationRates(d->watched, &busy) ||
        d->nvml.nvmlDeviceGetMemoryInfo(d->watched, &memory))
        return false;
    *use = (struct backend_use){busy.gpu / 100.0, memory.used, memory.total};
    return true;
}

int device_open(struct device **out, const struct backend_options *o, struct fail *why)
{
    struct device *d = calloc(1, sizeof *d);
    int rc = d ? 0 : fail(why, E_MEMORY, "no memory for a device");
    if (rc || (rc = find_device(d, why)) || (rc = libraries_open(&d->lib, why)) ||
        (rc = graphs_open(&d->graphs, why)))
        goto out;
    watch(d);
    d->tf32 = o->cuda_tf32;
    d->workspace_bytes = (size_t)o->cuda_workspace_mb * MB;
    open_streams(d);
    if (!d->first.code && !(d->workspace = device_alloc(d, d->workspace_bytes, why))) {
        rc = -(int)why->code;
        goto out;
    }
    if (!d->first.code)
        open_blas(d);
    if (!d->first.code)
        open_dnn(d);
    if (d->first.code) /* not E_RESTART: a new process would meet the same */
        rc = fail(why, E_UNSUPPORTED, "%s", d->first.text);
    else
        *out = d;
out:
    if (rc)
        device_close(&d);
    return rc;
}

static void close_dnn(struct device *d)
{
    const struct cudnn_api *dnn = &d->lib.dnn;
    cudnnTensorDescriptor_t tensors[] = {d->x, d->y, d->b};
    for (int i = 0; i < 3; i++)
        if (tensors[i])
            dnn->cudnnDestroyTensorDescriptor(tensors[i]);
    if (d->w)
        dnn->cudnnDestroyFilterDescriptor(d->w);
    if (d->conv)
        dnn->cudnnDestroyConvolutionDescriptor(d->conv);
    if (d->relu)
        dnn->cudnnDestroyActivationDescriptor(d->relu);
    if (d->identity)
        dnn->cudnnDestroyActivationDescriptor(d->identity);
    dnn->cudnnDestroy(d->dnn);
}

void device_close(struct device **dp)
{
    struct device *d = *dp;
    if (!d)
        return;
    graphs_close(&d->graphs);
    if (d->nvml.nvmlShutdown)
        d->nvml.nvmlShutdown();
    if (d->dnn)
        close_dnn(d);
    if (d->blas)
        d->lib.blas.cublasDestroy_v2(d->blas);
    if (d->workspace)
        cudaFree(d->workspace);
    const cudaStream_t streams[] = {d->stream, d->up, d->down};
    const cudaEvent_t events[] = {d->uploaded, d->computed};
    for (int i = 0; i < 3; i++)
        if (streams[i])
            cudaStreamDestroy(streams[i]);
    for (int i = 0; i < 2; i++)
        if (events[i])
            cudaEventDestroy(events[i]);
    free(d);
    *dp = NULL;
}
