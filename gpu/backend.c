/* Backend "cuda": the table of operations, and memory. Layout is NCHW, each step takes all rows; products are
 * conv.c's and dense.c's, all else kernels.cu's. Nothing is waited for but in sync, and in copies of plain memory.
 * Next to read: device.h. */
#include <stdio.h>
#include <string.h>

#include "gpu/graphs.h"
#include "gpu/kernels.h"
#include "gpu/products.h"

/* A kernel of this backend takes all rows, and its device where others take scratch. */
#define OWN(op)                                                                          \
    static void run_##op(const struct call *c, int64_t begin, int64_t end, void *device) \
    {                                                                                    \
        (void)begin;                                                                     \
        (void)end;                                                                       \
        kernel_launch(OP_##op, c, ((struct device *)device)->stream);                    \
    }
#define PRODUCT(op, name)                                                                \
    static void run_##op(const struct call *c, int64_t begin, int64_t end, void *device) \
    {                                                                                    \
        (void)begin;                                                                     \
        (void)end;                                                                       \
        product_##name(device, c);                                                       \
    }
#define ENTRY(op, ...) [OP_##op] = {run_##op, NULL, NULL},

/* To add an operation: a row here, and in kernels.cu or products.h. Lanes, Winograd and joined residuals are the cpu's. */
#define OWN_KERNELS(X) \
    X(MAXPOOL)         \
    X(MAXPOOL_BACK)    \
    X(AVGPOOL)         \
    X(AVGPOOL_BACK)    \
    X(NORM)            \
    X(NORM_TRAIN)      \
    X(NORM_BACK)       \
    X(MAP)             \
    X(MAP_BACK)        \
    X(COPY)            \
    X(BYTES)           \
    X(ZIP)             \
    X(ZIP_BACK)        \
    X(ZIP_DW)          \
    X(VIEW)            \
    X(REDUCE)          \
    X(REDUCE_BACK)     \
    X(LRN)             \
    X(LRN_BACK)        \
    X(DROPOUT)         \
    X(SOFTMAX)         \
    X(SOFTMAX_BACK)    \
    X(PICK)            \
    X(CROSS_ENTROPY)   \
    X(MSE)             \
    X(LOG_LOSS)        \
    X(SGD)             \
    X(ADAM)            \
    X(ADAMW)           \
    X(RMSPROP)         \
    X(ADAGRAD)         \
    X(SQUARES)
#define PRODUCTS(X)       \
    X(CONV, conv)         \
    X(CONV_DX, conv_dx)   \
    X(CONV_DW, conv_dw)   \
    X(DENSE, dense)       \
    X(DENSE_DX, dense_dx) \
    X(DENSE_DW, dense_dw)

OWN_KERNELS(OWN)
PRODUCTS(PRODUCT)

static const struct kernel kernels[OPS] = {OWN_KERNELS(ENTRY) PRODUCTS(ENTRY)};

/* ---- opening ---- */

static int cuda_open(struct backend *be, const struct backend_options *o, struct fail *why)
{
    struct device *d = NULL;
    int driver = 0, blas = 0, rc = device_open(&d, o, why);
    if (rc)
        return rc;
    cudaDriverGetVersion(&driver);
    d->lib.blas.cublasGetVersion_v2(d->blas, &blas);
    be->context = d;
    be->threads = 1;
    snprintf(be->text, sizeof be->text, "cuda: device %s, driver for CUDA %d.%d, cuDNN %d, cuBLAS %d, %s",
             d->name, driver / 1000, driver % 1000 / 10, d->lib.dnn_version, blas,
             d->tf32 ? "TF32" : "float32");
    /* The device's bus id does not decide bits; what it can, does. */
    snprintf(be->arithmetic, sizeof be->arithmetic, "cuda, %s, cuDNN %d, cuBLAS %d, %s",
             strchr(d->name, ',') + 2, d->lib.dnn_version, blas, d->tf32 ? "TF32" : "float32");
    return 0;
}

static void cuda_close(struct backend *be)
{
    struct device *d = be->context;
    device_close(&d);
    be->context = NULL;
}

/* ---- memory ---- */

static void *cuda_alloc(struct backend *be, size_t elements, struct fail *why)
{
    if (elements > SIZE_MAX / 8) {
        fail(why, E_MEMORY, "no memory for %zu values", elements);
        return NULL;
    }
    return device_alloc(be->context, elements * sizeof(float), why);
}

/* What is queued may still use it, and graphs may have its address: cudaFree waits, graphs go. */
static void cuda_free(struct backend *be, void *memory)
{
    struct device *d = be->context;
    if (!memory)
        return;
    graphs_drop(d->graphs);
    device_check(d, cudaFree(memory), "freeing memory");
}

static void *cuda_host_alloc(struct backend *be, size_t bytes, struct fail *why)
{
    void *memory = NULL;
    (void)be;
    if (cudaMallocHost(&memory, bytes + 1) != cudaSuccess) {
        cudaGetLastError();
        fail(why, E_MEMORY, "cuda: no page-locked memory for %.1f MB: lower the batch size",
             (double)bytes / 1e6);
        return NULL;
    }
    memset(memory, 0, bytes);
    return memory;
}

static void cuda_host_free(struct backend *be, void *memory)
{
    (void)be;
    if (memory)
        cudaFreeHost(memory);
}

static void cuda_upload(struct backend *be, void *to, const float *from, int64_t n)
{
    device_upload(be->context, to, from, n > 0 ? (size_t)n * sizeof *from : 0);
}

static void cuda_upload_bytes(struct backend *be, void *to, const unsigned char *from, int64_t n)
{
    device_upload(be->context, to, from, n > 0 ? (size_t)n : 0);
}

static void cuda_download(struct backend *be, float *to, const void *from, int64_t n)
{
    device_download(be->context, to, from, n > 0 ? (size_t)n * sizeof *to : 0);
}

static void cuda_zero(struct backend *be, void *at, int64_t elements)
{
    struct device *d = be->context;
    if (elements > 0 && !d->first.code)
        device_check(d, cudaMemsetAsync(at, 0, (size_t)elements * sizeof(float), d->stream),
                     "zeroing memory");
}

/* ---- running ---- */

/* Behind an error nothing more is queued: it could only hide the first. */
static void cuda_run(struct backend *be, enum op op, const struct call *c, void *scratch)
{
    struct device *d = be->context;
    (void)scratch;
    if (d->first.code)
        return;
    kernels[op].run(c, 0, c->rows, d);
    device_check(d, cudaGetLastError(), op_name(op));
}

/* Inference by graph; training's dropout has another seed in every step, so its steps are queued one by one. */
static void cuda_steps(struct backend *be, const struct plan *plan, const struct memory *m,
                       const struct span *s)
{
    if (plan->doutput.id)
        plan_run(be, plan, m, s);
    else
        graphs_run(be, plan, m, s);
}

static int cuda_sync(struct backend *be, struct fail *why)
{
    return device_sync(be->context, why);
}

static bool cuda_use(const struct backend *be, struct backend_use *use)
{
    return device_use(be->context, use);
}

static const struct backend_ops cuda_backend = {
    .name = "cuda",
    .element = sizeof(float),
    .joins = true,
    .open = cuda_open,
    .close = cuda_close,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .host_alloc = cuda_host_alloc,
    .host_free = cuda_host_free,
    .upload = cuda_upload,
    .upload_bytes = cuda_upload_bytes,
    .download = cuda_download,
    .zero = cuda_zero,
    .kernels = kernels,
    .run = cuda_run,
    .steps = cuda_steps,
    .sync = cuda_sync,
    .use = cuda_use,
};

__attribute__((visibility("default"))) backend_entry millrace_backend;

const struct backend_ops *millrace_backend(uint64_t abi)
{
    return abi == backend_abi() ? &cuda_backend : NULL;
}
