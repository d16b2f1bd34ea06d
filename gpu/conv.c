/* Convolutions by cuDNN's legacy API, NCHW. Algorithms are fixed by number: forward 1 (implicit GEMM with what it
 * needs made ready), back to data 1 and back to filter 1, those of cuDNN's that give the same bits every time.
 * cuDNN pads both ends of a side alike; a convolution that does not is left to the direct kernels.
 * The place of cuDNN's graph API and of NHWC: behind these three functions, chosen by geometry as the ways here. */
#include "gpu/kernels.h"
#include "gpu/products.h"

/* What a padding of `pad` at both ends would give. */
static int outputs(int size, int taps, int stride, int pad, int dilation)
{
    int room = size + 2 * pad - (taps - 1) * dilation - 1;
    return room < 0 ? 0 : room / stride + 1;
}

static bool has_cudnn(const struct window *win)
{
    return win->P == outputs(win->H, win->R, win->stride_h, win->pad_top, win->dilation_h) &&
           win->Q == outputs(win->W, win->S, win->stride_w, win->pad_left, win->dilation_w);
}

/* Shapes into the device's descriptors; false: an error is kept. */
static bool describe(struct device *d, const struct window *win, int rows)
{
    const struct cudnn_api *dnn = &d->lib.dnn;
    const char *doing = "describing a convolution";
    device_check_dnn(d,
                     dnn->cudnnSetTensor4dDescriptor(d->x, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, rows, win->C,
                                                     win->H, win->W),
                     doing);
    device_check_dnn(d,
                     dnn->cudnnSetTensor4dDescriptor(d->y, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, rows, win->K,
                                                     win->P, win->Q),
                     doing);
    device_check_dnn(
        d, dnn->cudnnSetTensor4dDescriptor(d->b, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, win->K, 1, 1),
        doing);
    device_check_dnn(d,
                     dnn->cudnnSetFilter4dDescriptor(d->w, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, win->K,
                                                     win->C / win->groups, win->R, win->S),
                     doing);
    device_check_dnn(d,
                     dnn->cudnnSetConvolution2dDescriptor(d->conv, win->pad_top, win->pad_left, win->stride_h,
                                                          win->stride_w, win->dilation_h, win->dilation_w,
                                                          CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
                     doing);
    device_check_dnn(d, dnn->cudnnSetConvolutionGroupCount(d->conv, win->groups), doing);
    device_check_dnn(
        d, dnn->cudnnSetConvolutionMathType(d->conv, d->tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH), doing);
    return !d->first.code;
}

/* Is there so much workspace? What was asked, `status`, says whether cuDNN has such a convolution at all. */
static bool has_room(struct device *d, cudnnStatus_t status, const size_t *bytes, const char *doing)
{
    device_check_dnn(d, status, doing);
    if (!d->first.code && *bytes > d->workspace_bytes)
        fail(&d->first, E_UNSUPPORTED,
             "cuda: %s needs a workspace of %.1f MB, engine.cuda_workspace_mb allows %.1f: raise it, or "
             "lower the "
             "batch size",
             doing, (double)*bytes / 1048576, (double)d->workspace_bytes / 1048576);
    return !d->first.code;
}

/* Bias, residual and function in cuDNN's one call: what it has them for. */
static bool fuses(const struct call *c)
{
    return c->in[2] && !c->add && (c->g->map.fn == MAP_RELU || c->g->map.fn == MAP_IDENTITY);
}

static void forward_fused(struct device *d, const struct call *c, size_t bytes)
{
    const float one = 1, zero = 0;
    const void *z = c->in[3] ? c->in[3] : c->out[0];
    device_check_dnn(d,
                     d->lib.dnn.cudnnConvolutionBiasActivationForward(
                         d->dnn, &one, d->x, c->in[0], d->w, c->in[1], d->conv,
                         CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, d->workspace, bytes,
                         c->in[3] ? &one : &zero, d->y, z, d->b, c->in[2],
                         c->g->map.fn == MAP_RELU ? d->relu : d->identity, d->y, c->out[0]),
                     "a convolution");
}

static void forward_plain(struct device *d, const struct call *c, size_t bytes)
{
    const float one = 1, zero = 0;
    device_check_dnn(d,
                     d->lib.dnn.cudnnConvolutionForward(d->dnn, &one, d->x, c->in[0], d->w, c->in[1], d->conv,
                                                        CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
                                                        d->workspace, bytes, c->add ? &one : &zero, d->y,
                                                        c->out[0]),
                     "a convolution");
    if (!d->first.code && (c->g->map.fn != MAP_IDENTITY || c->in[2] || c->in[3]))
        kernel_launch(KERNEL_FINISH_CONV, c, d->stream);
}

void product_conv(struct device *d, const struct call *c)
{
    const struct window *win = &c->g->window;
    size_t bytes = 0;
    if (!has_cudnn(win) || (c->add && c->g->map.fn != MAP_IDENTITY)) { /* y + f(...) is not f(y + ...) */
        kernel_launch(OP_CONV, c, d->stream);
        return;
    }
    if (!describe(d, win, c->rows) || !has_room(d,
                                                d->lib.dnn.cudnnGetConvolutionForwardWorkspaceSize(
                                                    d->dnn, d->x, d->w, d->conv, d->y,
                                                    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, &bytes),
                                                &bytes, "a convolution"))
        return;
    if (fuses(c))
        forward_fused(d, c, bytes);
    else
        forward_plain(d, c, bytes);
}

void product_conv_dx(struct device *d, const struct call *c)
{
    const float one = 1, zero = 0;
    const char *doing = "a convolution's way back to its input";
    size_t bytes = 0;
    if (!has_cudnn(&c->g->window)) {
        kernel_launch(OP_CONV_DX, c, d->stream);
        return;
    }
    if (!describe(d, &c->g->window, c->rows) ||
        !has_room(d,
                  d->lib.dnn.cudnnGetConvolutionBackwardDataWorkspaceSize(
                      d->dnn, d->w, d->y, d->conv, d->x, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, &bytes),
                  &bytes, doing))
        return;
    device_check_dnn(d,
                     d->lib.dnn.cudnnConvolutionBackwardData(d->dnn, &one, d->w, c->in[1], d->y, c->in[0],
                                                             d->conv, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
                                                             d->workspace, bytes, c->add ? &one : &zero, d->x,
                                                             c->out[0]),
                     doing);
}

/* dw by cuDNN, added to what is there. */
static void weights(struct device *d, const struct call *c)
{
    const float one = 1;
    const char *doing = "a convolution's way back to its weights";
    size_t bytes = 0;
    if (!describe(d, &c->g->window, c->rows) ||
        !has_room(d,
                  d->lib.dnn.cudnnGetConvolutionBackwardFilterWorkspaceSize(
                      d->dnn, d->x, d->y, d->conv, d->w, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, &bytes),
                  &bytes, doing))
        return;
    device_check_dnn(d,
                     d->lib.dnn.cudnnConvolutionBackwardFilter(d->dnn, &one, d->x, c->in[1], d->y, c->in[0],
                                                               d->conv, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
                                                               d->workspace, bytes, &one, d->w, c->out[0]),
                     doing);
}

void product_conv_dw(struct device *d, const struct call *c)
{
    if (!has_cudnn(&c->g->window))
        kernel_launch(OP_CONV_DW, c, d->stream);
    else if (c->out[0])
        weights(d, c);
    kernel_launch(KERNEL_CONV_BIAS, c, d->stream);
}
