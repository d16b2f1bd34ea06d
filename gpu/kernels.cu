// The table of the backend's own kernels and their launch. The loops are elements.h's and sums.h's, how they spread
// over the device grid.h's. Compiled by nvcc, and for tests by a C++ compiler for the host.
#include "gpu/kernels.h"

#include "gpu/elements.h"
#include "gpu/sums.h"

// How many elements or sums a call has.
static int64_t elements(const struct call *c)
{
    return c->row * c->rows;
}
static int64_t rows(const struct call *c)
{
    return c->rows;
}
static int64_t pixels(const struct call *c)
{
    return (int64_t)c->rows * c->g->window.C * c->g->window.H * c->g->window.W;
}
static int64_t weights(const struct call *c)
{
    const struct window *win = &c->g->window;
    return c->out[0] ? (int64_t)win->K * (win->C / win->groups) * win->R * win->S : 0;
}
static int64_t conv_biases(const struct call *c)
{
    return c->out[1] ? c->g->window.K : 0;
}
static int64_t dense_biases(const struct call *c)
{
    return c->out[1] ? c->g->dense.out : 0;
}
static int64_t zipped(const struct call *c)
{
    return c->rows * kept_of(&c->g->zip.nest);
}
static int64_t zip_weights(const struct call *c)
{
    return kept_of(&c->g->zip.nest);
}
static int64_t viewed(const struct call *c)
{
    return c->rows * kept_of(&c->g->view.nest);
}
static int64_t reduced(const struct call *c)
{
    return c->rows * kept_of(&c->g->reduce.nest);
}
static int64_t channels(const struct call *c)
{
    return c->g->norm.channels;
}
static int64_t places(const struct call *c)
{
    return c->row / c->g->softmax.classes * c->rows;
}
static int64_t parameters(const struct call *c)
{
    return c->g->update.count;
}

struct own_kernel {
    int kernel;
    void (*launch)(const struct call *c, int64_t n, cudaStream_t stream);
    int64_t (*count)(const struct call *c);
};

static const struct own_kernel own[] = {
    {OP_CONV, over_elements<conv>, elements},
    {OP_CONV_DX, over_elements<conv_dx>, pixels},
    {OP_CONV_DW, over_blocks<conv_dw>, weights},
    {OP_DENSE, over_elements<dense>, elements},
    {OP_MAXPOOL, over_elements<maxpool>, elements},
    {OP_MAXPOOL_BACK, over_elements<maxpool_back>, pixels},
    {OP_AVGPOOL, over_elements<avgpool>, elements},
    {OP_AVGPOOL_BACK, over_elements<avgpool_back>, pixels},
    {OP_NORM, over_elements<norm>, elements},
    {OP_NORM_TRAIN, over_blocks<norm_train>, channels},
    {OP_NORM_BACK, over_blocks<norm_back>, channels},
    {OP_MAP, over_elements<map>, elements},
    {OP_MAP_BACK, over_elements<map_back>, elements},
    {OP_BYTES, over_elements<bytes>, elements},
    {OP_COPY, over_elements<copy>, elements},
    {OP_ZIP, over_elements<zip>, zipped},
    {OP_ZIP_BACK, over_elements<zip_back>, zipped},
    {OP_ZIP_DW, over_blocks<zip_dw>, zip_weights},
    {OP_VIEW, over_elements<view>, viewed},
    {OP_REDUCE, over_elements<reduce>, reduced},
    {OP_REDUCE_BACK, over_elements<reduce_back>, reduced},
    {OP_LRN, over_elements<lrn>, elements},
    {OP_LRN_BACK, over_elements<lrn_back>, elements},
    {OP_DROPOUT, over_elements<dropout>, elements},
    {OP_SOFTMAX, over_elements<softmax>, places},
    {OP_SOFTMAX_BACK, over_elements<softmax_back>, places},
    {OP_PICK, over_elements<pick>, rows},
    {OP_CROSS_ENTROPY, over_elements<cross_entropy>, rows},
    {OP_MSE, over_elements<mse>, rows},
    {OP_LOG_LOSS, over_elements<log_loss>, rows},
    {OP_SGD, over_elements<sgd>, parameters},
    {OP_ADAM, over_elements<adam>, parameters},
    {OP_ADAMW, over_elements<adamw>, parameters},
    {OP_RMSPROP, over_elements<rmsprop>, parameters},
    {OP_ADAGRAD, over_elements<adagrad>, parameters},
    {OP_SQUARES, over_blocks<squares>, update_slices},
    {KERNEL_FINISH_CONV, over_elements<finish_conv>, elements},
    {KERNEL_FINISH_DENSE, over_elements<finish_dense>, elements},
    {KERNEL_CONV_BIAS, over_blocks<conv_bias>, conv_biases},
    {KERNEL_DENSE_BIAS, over_blocks<dense_bias>, dense_biases},
};

static const struct own_kernel *find(int kernel)
{
    for (const struct own_kernel &k : own)
        if (k.kernel == kernel)
            return &k;
    return NULL;
}

bool kernel_exists(int kernel)
{
    return find(kernel) != NULL;
}

static void launch(const struct own_kernel *k, const struct call *c, cudaStream_t stream)
{
    int64_t n = k->count(c);
    if (n > 0)
        k->launch(c, n, stream);
}

void kernel_launch(int kernel, const struct call *c, cudaStream_t stream)
{
    static const struct own_kernel fill = {OP_VIEW, over_elements<view_fill>, elements},
                                   sum = {OP_VIEW, over_elements<view_sum>, rows};
    if (kernel == OP_VIEW && view_fills(c))
        launch(&fill, c, stream);
    launch(kernel == OP_VIEW && c->g->view.cover == VIEW_SUM ? &sum : find(kernel), c, stream);
}
