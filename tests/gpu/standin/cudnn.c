/* cuDNN of the stand-in: convolutions by naive loops, from the descriptors alone; shapes that do not fit each other are
 * refused, as the real one does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/api.h"
#include "tests/gpu/standin/standin.h"

enum { BAD_PARAMETER = 2000 };

struct cudnnContext {
    cudaStream_t stream;
};
struct cudnnTensorStruct {
    int n, c, h, w;
};
struct cudnnFilterStruct {
    int k, c, h, w;
};
struct cudnnConvolutionStruct {
    int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, groups, math;
};
struct cudnnActivationStruct {
    int mode;
};

#define DESCRIPTOR(Name, type)                                          \
    cudnnStatus_t cudnnCreate##Name##Descriptor(type *made)             \
    {                                                                   \
        int rc = standin_enter("cudnnCreate" #Name "Descriptor", NULL); \
        if (rc || !(*made = calloc(1, sizeof **made)))                  \
            return rc ? rc : BAD_PARAMETER;                             \
        standin_opened(1);                                              \
        return 0;                                                       \
    }                                                                   \
    cudnnStatus_t cudnnDestroy##Name##Descriptor(type made)             \
    {                                                                   \
        free(made);                                                     \
        standin_opened(-1);                                             \
        return 0;                                                       \
    }
DESCRIPTOR(Tensor, cudnnTensorDescriptor_t)
DESCRIPTOR(Filter, cudnnFilterDescriptor_t)
DESCRIPTOR(Convolution, cudnnConvolutionDescriptor_t)
DESCRIPTOR(Activation, cudnnActivationDescriptor_t)

size_t cudnnGetVersion(void)
{
    const char *set = getenv("MILLRACE_STANDIN_CUDNN");
    return set ? (size_t)atoi(set) : 91002;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    return status == CUDNN_STATUS_NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED"
                                                : "CUDNN_STATUS_OF_THE_STANDIN";
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    int rc = standin_enter("cudnnCreate", NULL);
    if (rc || !(*handle = calloc(1, sizeof **handle)))
        return rc ? rc : BAD_PARAMETER;
    standin_opened(1);
    return 0;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    free(handle);
    standin_opened(-1);
    return 0;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return standin_enter("cudnnSetStream", stream);
}

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t t, cudnnTensorFormat_t format,
                                         cudnnDataType_t type, int n, int c, int h, int w)
{
    *t = (struct cudnnTensorStruct){n, c, h, w};
    return format || type || n < 1 || c < 1 || h < 1 || w < 1 ? BAD_PARAMETER : 0;
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t f, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int k, int c, int h, int w)
{
    *f = (struct cudnnFilterStruct){k, c, h, w};
    return format || type || k < 1 || c < 1 || h < 1 || w < 1 ? BAD_PARAMETER : 0;
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t conv, int pad_h, int pad_w,
                                              int stride_h, int stride_w, int dilation_h, int dilation_w,
                                              cudnnConvolutionMode_t mode, cudnnDataType_t type)
{
    *conv = (struct cudnnConvolutionStruct){pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, 1, 0};
    return mode != CUDNN_CROSS_CORRELATION || type || pad_h < 0 || pad_w < 0 ? BAD_PARAMETER : 0;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t conv, int groups)
{
    conv->groups = groups;
    return 0;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t conv, cudnnMathType_t type)
{
    conv->math = type;
    return standin_enter(
        type == CUDNN_FMA_MATH ? "cudnnSetConvolutionMathType" : "cudnnSetConvolutionMathType TF32", NULL);
}

cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t a, cudnnActivationMode_t mode,
                                           cudnnNanPropagation_t nan, double coefficient)
{
    (void)coefficient;
    a->mode = mode;
    return nan == CUDNN_PROPAGATE_NAN ? 0 : BAD_PARAMETER;
}

/* ---- convolutions ---- */

struct conv {
    struct cudnnTensorStruct x, y;
    struct cudnnFilterStruct w;
    struct cudnnConvolutionStruct c;
    int activation;
    float alpha, beta; /* beta: of what is there, or of z */
    const float *in, *weights, *dy, *z, *b;
    float *out;
};

static int length(int size, int taps, int stride, int pad, int dilation)
{
    return (size + 2 * pad - (taps - 1) * dilation - 1) / stride + 1;
}

static bool fits(const struct conv *v)
{
    return v->x.n == v->y.n && v->w.k == v->y.c && v->w.c * v->c.groups == v->x.c &&
           !(v->w.k % v->c.groups) &&
           v->y.h == length(v->x.h, v->w.h, v->c.stride_h, v->c.pad_h, v->c.dilation_h) &&
           v->y.w == length(v->x.w, v->w.w, v->c.stride_w, v->c.pad_w, v->c.dilation_w);
}

/* A pair of an output and a tap, and what it touches; xi -1: padding. */
struct pair {
    size_t yi, wi;
    long xi;
};

static struct pair pair_at(const struct conv *v, int n, int k, int c, int p, int q, int r, int s)
{
    int h = p * v->c.stride_h - v->c.pad_h + r * v->c.dilation_h,
        w = q * v->c.stride_w - v->c.pad_w + s * v->c.dilation_w,
        channel = k / (v->w.k / v->c.groups) * v->w.c + c;
    struct pair pair = {(((size_t)n * v->y.c + k) * v->y.h + p) * v->y.w + q,
                        (((size_t)k * v->w.c + c) * v->w.h + r) * v->w.w + s, -1};
    if (h >= 0 && h < v->x.h && w >= 0 && w < v->x.w)
        pair.xi = (((long)n * v->x.c + channel) * v->x.h + h) * v->x.w + w;
    return pair;
}

typedef void (*visitor)(const struct conv *v, double *sums, const struct pair *pair);

static void each_pair(const struct conv *v, double *sums, visitor visit)
{
    for (int n = 0; n < v->y.n; n++)
        for (int k = 0; k < v->y.c; k++)
            for (int p = 0; p < v->y.h; p++)
                for (int q = 0; q < v->y.w; q++)
                    for (int i = 0; i < v->w.c * v->w.h * v->w.w; i++) {
                        struct pair pair =
                            pair_at(v, n, k, i / (v->w.h * v->w.w), p, q, i / v->w.w % v->w.h, i % v->w.w);
                        visit(v, sums, &pair);
                    }
}

static void to_y(const struct conv *v, double *sums, const struct pair *at)
{
    float w = v->weights[at->wi], x = at->xi < 0 ? 0 : v->in[at->xi];
    sums[at->yi] += v->c.math == CUDNN_FMA_MATH ? (double)w * (double)x : standin_tf32(w) * standin_tf32(x);
}

static void to_x(const struct conv *v, double *sums, const struct pair *at)
{
    if (at->xi >= 0)
        sums[at->xi] += (double)v->weights[at->wi] * (double)v->dy[at->yi];
}

static void to_w(const struct conv *v, double *sums, const struct pair *at)
{
    sums[at->wi] += (double)v->dy[at->yi] * (at->xi < 0 ? 0 : (double)v->in[at->xi]);
}

static void compute(const struct conv *v, size_t n, visitor visit)
{
    double *sums = calloc(n, sizeof *sums);
    if (!sums)
        abort();
    each_pair(v, sums, visit);
    for (size_t i = 0; i < n; i++) {
        size_t channel = i / ((size_t)v->y.h * v->y.w) % v->y.c;
        double y = (double)v->alpha * sums[i] + (v->b ? (double)v->b[channel] : 0);
        if (v->beta != 0)
            y += (double)v->beta * (double)(v->z ? v->z[i] : v->out[i]);
        v->out[i] = (float)(v->activation == CUDNN_ACTIVATION_RELU && y < 0 ? 0 : y);
    }
    free(sums);
}

static void run_forward(const void *work)
{
    const struct conv *v = work;
    compute(v, (size_t)v->y.n * v->y.c * v->y.h * v->y.w, to_y);
}

static void run_data(const void *work)
{
    const struct conv *v = work;
    compute(v, (size_t)v->x.n * v->x.c * v->x.h * v->x.w, to_x);
}

static void run_filter(const void *work)
{
    const struct conv *v = work;
    compute(v, (size_t)v->w.k * v->w.c * v->w.h * v->w.w, to_w);
}

/* Workspace: a byte for each number of the output, so that limits can be tested. */
static cudnnStatus_t room(const char *function, const struct conv *v, int algorithm, size_t *bytes)
{
    int rc = standin_enter(function, NULL);
    *bytes = (size_t)v->y.n * v->y.c * v->y.h * v->y.w;
    return rc ? rc : fits(v) && algorithm == 1 ? 0 : CUDNN_STATUS_NOT_SUPPORTED;
}

static cudnnStatus_t queue(const char *function, cudnnHandle_t handle, const struct conv *v, int algorithm,
                           void *workspace, size_t bytes, void (*run)(const void *work))
{
    int rc = standin_enter(function, handle->stream);
    if (!fits(v) || algorithm != 1 || !workspace || bytes < (size_t)v->y.n * v->y.c * v->y.h * v->y.w)
        return BAD_PARAMETER;
    if (!rc)
        standin_queue(handle->stream, run, v, sizeof *v);
    return rc;
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                      const cudnnFilterDescriptor_t w,
                                                      const cudnnConvolutionDescriptor_t conv,
                                                      const cudnnTensorDescriptor_t y,
                                                      cudnnConvolutionFwdAlgo_t algo, size_t *bytes)
{
    (void)handle;
    return room(__func__, &(struct conv){.x = *x, .y = *y, .w = *w, .c = *conv}, algo, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t handle,
                                                           const cudnnFilterDescriptor_t w,
                                                           const cudnnTensorDescriptor_t dy,
                                                           const cudnnConvolutionDescriptor_t conv,
                                                           const cudnnTensorDescriptor_t dx,
                                                           cudnnConvolutionBwdDataAlgo_t algo, size_t *bytes)
{
    (void)handle;
    return room(__func__, &(struct conv){.x = *dx, .y = *dy, .w = *w, .c = *conv}, algo, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t dy,
    const cudnnConvolutionDescriptor_t conv, const cudnnFilterDescriptor_t dw,
    cudnnConvolutionBwdFilterAlgo_t algo, size_t *bytes)
{
    (void)handle;
    return room(__func__, &(struct conv){.x = *x, .y = *dy, .w = *dw, .c = *conv}, algo, bytes);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha,
                                      const cudnnTensorDescriptor_t x_is, const void *x,
                                      const cudnnFilterDescriptor_t w_is, const void *w,
                                      const cudnnConvolutionDescriptor_t conv, cudnnConvolutionFwdAlgo_t algo,
                                      void *workspace, size_t bytes, const void *beta,
                                      const cudnnTensorDescriptor_t y_is, void *y)
{
    const struct conv v = {.x = *x_is,
                           .y = *y_is,
                           .w = *w_is,
                           .c = *conv,
                           .alpha = *(const float *)alpha,
                           .beta = *(const float *)beta,
                           .in = x,
                           .weights = w,
                           .out = y};
    return queue(__func__, handle, &v, algo, workspace, bytes, run_forward);
}

cudnnStatus_t cudnnConvolutionBiasActivationForward(
    cudnnHandle_t handle, const void *alpha1, const cudnnTensorDescriptor_t x_is, const void *x,
    const cudnnFilterDescriptor_t w_is, const void *w, const cudnnConvolutionDescriptor_t conv,
    cudnnConvolutionFwdAlgo_t algo, void *workspace, size_t bytes, const void *alpha2,
    const cudnnTensorDescriptor_t z_is, const void *z, const cudnnTensorDescriptor_t b_is, const void *b,
    const cudnnActivationDescriptor_t activation, const cudnnTensorDescriptor_t y_is, void *y)
{
    const struct conv v = {.x = *x_is,
                           .y = *y_is,
                           .w = *w_is,
                           .c = *conv,
                           .activation = activation->mode,
                           .alpha = *(const float *)alpha1,
                           .beta = *(const float *)alpha2,
                           .in = x,
                           .weights = w,
                           .z = z,
                           .b = b,
                           .out = y};
    if (!b || !z || b_is->c != y_is->c || b_is->n != 1 || memcmp(z_is, y_is, sizeof *z_is) != 0)
        return BAD_PARAMETER;
    return queue(__func__, handle, &v, algo, workspace, bytes, run_forward);
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha,
                                           const cudnnFilterDescriptor_t w_is, const void *w,
                                           const cudnnTensorDescriptor_t dy_is, const void *dy,
                                           const cudnnConvolutionDescriptor_t conv,
                                           cudnnConvolutionBwdDataAlgo_t algo, void *workspace, size_t bytes,
                                           const void *beta, const cudnnTensorDescriptor_t dx_is, void *dx)
{
    const struct conv v = {.x = *dx_is,
                           .y = *dy_is,
                           .w = *w_is,
                           .c = *conv,
                           .alpha = *(const float *)alpha,
                           .beta = *(const float *)beta,
                           .weights = w,
                           .dy = dy,
                           .out = dx};
    return queue(__func__, handle, &v, algo, workspace, bytes, run_data);
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha,
                                             const cudnnTensorDescriptor_t x_is, const void *x,
                                             const cudnnTensorDescriptor_t dy_is, const void *dy,
                                             const cudnnConvolutionDescriptor_t conv,
                                             cudnnConvolutionBwdFilterAlgo_t algo, void *workspace,
                                             size_t bytes, const void *beta,
                                             const cudnnFilterDescriptor_t dw_is, void *dw)
{
    const struct conv v = {.x = *x_is,
                           .y = *dy_is,
                           .w = *dw_is,
                           .c = *conv,
                           .alpha = *(const float *)alpha,
                           .beta = *(const float *)beta,
                           .in = x,
                           .dy = dy,
                           .out = dw};
    return queue(__func__, handle, &v, algo, workspace, bytes, run_filter);
}
