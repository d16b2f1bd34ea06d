/* The operations: what layers record and what backends compute. One row of OP_TABLE is one operation; a
 * backend fills a table of functions by it (backend_ops.h), the recorder checks against it, optest demands a
 * case for it. Outputs come first, then inputs, then geometry; a missing tensor is one that is not wanted.
 * Next to read: layer.h for how layers call them, plan.h for what becomes of the calls. */
#ifndef ENGINE_OP_H
#define ENGINE_OP_H

#include "engine/nest.h"
#include "engine/tensor.h"

enum { OP_OUT = 4, OP_IN = 8, LOSS_SUMS = 4 };

/*    name           text             outputs     inputs */
#define OP_TABLE(X)                                                                                     \
    X(CONV, "conv")                   /* y              x w [b] [residual] */                           \
    X(CONV_DX, "conv_dx")             /* dx             dy w */                                         \
    X(CONV_DW, "conv_dw")             /* dw [db]        dy x */                                         \
    X(WINOGRAD, "winograd")           /* y              x w [b] [residual] (a conv by another way) */   \
    X(WINOGRAD_DX, "winograd_dx")     /* dx             dy w */                                         \
    X(WINOGRAD_DW, "winograd_dw")     /* dw [db]        dy x */                                         \
    X(INVERTED, "inverted_residual")  /* y              x w [b] wd [bd] [wp] [bp] [residual] */         \
    X(DENSE, "dense")                 /* y              x w [b] [residual] */                           \
    X(DENSE_DX, "dense_dx")           /* dx             dy w */                                         \
    X(DENSE_DW, "dense_dw")           /* dw [db]        dy x */                                         \
    X(MAXPOOL, "maxpool")             /* y              x */                                            \
    X(MAXPOOL_BACK, "maxpool_back")   /* dx             dy x y */                                       \
    X(AVGPOOL, "avgpool")             /* y              x */                                            \
    X(AVGPOOL_BACK, "avgpool_back")   /* dx             dy */                                           \
    X(NORM, "batchnorm")              /* y              x w [b] [mean] var [residual] */                \
    X(NORM_TRAIN, "batchnorm_train")  /* y stats [mean] [var]  x w b - - [residual] */                  \
    X(NORM_BACK, "batchnorm_back")    /* [dx] [dw] [db] dy x w b stats */                               \
    X(MAP, "map")                     /* y              x */                                            \
    X(MAP_BACK, "map_back")           /* dx             dy [x] [y]: map_slope says which */             \
    X(COPY, "copy")                   /* y              x */                                            \
    X(ZIP, "zip")                     /* y              a b */                                          \
    X(ZIP_BACK, "zip_back")           /* da or db       dy [a] [b] */                                   \
    X(ZIP_DW, "zip_dw")               /* the same, of a parameter: summed over rows too */              \
    X(VIEW, "view")                   /* y              x */                                            \
    X(REDUCE, "reduce")               /* y              x */                                            \
    X(REDUCE_BACK, "reduce_back")     /* dx             dy x: of a greatest or least value */           \
    X(LRN, "lrn")                     /* y              x */                                            \
    X(LRN_BACK, "lrn_back")           /* dx             dy x */                                         \
    X(DROPOUT, "dropout")             /* y              x            (and dx from dy: the same mask) */ \
    X(SOFTMAX, "softmax")             /* y              x */                                            \
    X(SOFTMAX_BACK, "softmax_back")   /* dx             dy y */                                         \
    X(TO_LANES, "to_lanes")           /* y x: [N][size] to [N/lanes][size][lanes] */                    \
    X(FROM_LANES, "from_lanes")       /* y x: back */                                                   \
    X(BYTES, "bytes")                 /* y              x table: what the bytes of x stand for */       \
    X(PICK, "pick")                   /* dx             y choice: 1 at that output, else 0 */           \
    X(CROSS_ENTROPY, "cross_entropy") /* [dx] sums      x targets [weights] */                          \
    X(MSE, "mse")                     /* [dx] sums      x targets */                                    \
    X(LOG_LOSS, "log_loss")           /* [dx] sums      x targets [weights] */                          \
    X(SGD, "sgd")                     /* w [moments] dw (read, then zeroed), as the four below */       \
    X(ADAM, "adam")                                                                                     \
    X(ADAMW, "adamw")                                                                                   \
    X(RMSPROP, "rmsprop")                                                                               \
    X(ADAGRAD, "adagrad")                                                                               \
    X(SQUARES, "squares") /* sums           dw: of its squares, one a slice (ref/updates.h) */

enum op {
#define X(name, text) OP_##name,
    OP_TABLE(X)
#undef X
        OPS
};

/* Unary functions of `map` and of the activation that conv and dense apply at the end; formula.h has them. Those
 * without numbers of their own come first: they are the words of the `activation` setting, in this order. */
enum map_fn {
    MAP_IDENTITY,
    MAP_RELU,
    MAP_TANH,
    MAP_SIGMOID,
    MAP_RELU6,
    MAP_HARD_SWISH,
    MAP_GELU,
    MAP_GELU_TANH, /* gelu by its tanh approximation */
    MAP_SOFTPLUS,
    MAP_SILU,         /* x sigmoid(x) */
    MAP_LEAKY_RELU,   /* a: slope below 0 */
    MAP_ELU,          /* a: alpha */
    MAP_CLIP,         /* a, b: least and greatest result */
    MAP_HARD_SIGMOID, /* a x + b between 0 and 1 */
    MAP_EXP,
    MAP_LOG,
    MAP_SQRT,
    MAP_ABS,
    MAP_NEG,
    MAP_FNS
};
#define MAP_CHOICES "none|relu|tanh|sigmoid|relu6|hard_swish|gelu|gelu_tanh|softplus|silu"

struct map {
    enum map_fn fn;
    float a, b; /* what the function's row of enum map_fn says */
};

/* What a function's slope is computed from: its result, where that is enough, so that x need not be kept. */
enum map_slope { SLOPE_OF_Y, SLOPE_OF_X };

/* Functions of two values; formula.h has them. */
enum zip_fn {
    ZIP_ADD,
    ZIP_SUB,
    ZIP_MUL,
    ZIP_DIV,
    ZIP_PRELU, /* a, below 0 a b */
    ZIP_FNS
};

struct zip {
    enum zip_fn fn;
    int side;         /* *_BACK, *_DW: 0 da, 1 db */
    struct nest nest; /* in: a b, or dy a b */
};

/* A strided copy, y = scale * x. */
enum view_cover {
    VIEW_WHOLE, /* writes every element of a row of y */
    VIEW_FILL,  /* the rest of the row becomes `fill`, unless adding */
    VIEW_SUM,   /* the row begins as zeros, unless adding; elements written more than once add up */
    VIEW_PART   /* the rest stays: other steps write it */
};

struct view {
    enum view_cover cover;
    float fill, scale;
    struct nest nest;
};

/* arg*: the index of the first of the greatest or least, counted over the dimensions that go. */
enum reduce_fn { REDUCE_SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_ARGMAX, REDUCE_ARGMIN };

struct reduce {
    enum reduce_fn fn;
    float scale;      /* sum: 1 / n makes it the mean */
    bool last;        /* arg*: the last of equals instead */
    struct nest nest; /* out: y or dx; in: x, or dy x */
};

/* Local response normalisation over `size` neighbouring channels; a row is [channels][inner]. */
struct lrn {
    int64_t channels, inner, size;
    double alpha, beta, bias;
};

/* Where the windows of a convolution or a pool lie. Output pixel (p, q) and tap (r, s) read input pixel
 *   h = p * stride_h - pad_top + r * dilation_h,   w = q * stride_w - pad_left + s * dilation_w
 * and nothing where that is outside. Filter k reads the C / groups channels of its group. Pools: K = C. */
struct window {
    int C, H, W, K, R, S, P, Q;
    int stride_h, stride_w, pad_top, pad_left, pad_bottom, pad_right, dilation_h, dilation_w, groups;
    bool count_padding; /* average pool: padding counts in the divisor */
    bool halve; /* conv: y is [K][P / 2][Q / 2], the largest of 2x2 results as a max pool gives it; assigned,
                 * without a residual */
};

/* Three convolutions one behind another: one without groups, a depthwise one, and one of one tap at stride 1. Without wp
 * the last is not there (project.K 0), and what would follow it follows the depthwise one. g.window is the first. */
enum { DEPTHWISE_TAPS = 64 }; /* at most */
struct inverted_residual {
    struct window window;
    struct map expanded; /* applied to the first's results */
    struct window depth;
    struct map filtered; /* applied to the depthwise one's, where it is not the last */
    struct window project;
};

/* Batch norm: a row is [channels][inner]. Its mean and var are the running ones, stats those of the micro-batch:
 * [2][channels], mean and 1 / sqrt(variance + epsilon). The residual is added before the function. */
struct norm {
    int64_t channels, inner;
    double epsilon, momentum;
};

/* Parameters of a slice: what a thread takes of an update, and what OP_SQUARES gives one sum for. */
enum { UPDATE_SLICE = 16384 };

/* A step of an optimiser over all parameters at once: `count` of them, moments lie `count` apart. What the
 * formulas of ref/updates.h do not use is not looked at. */
struct update {
    int64_t count;
    double lr, scale;        /* a gradient is dw * scale; decay comes after */
    double momentum, l1, l2; /* decay: l1 * sign(w) + l2 * w */
    double beta1, beta2;     /* what is kept of a first and a second moment; rmsprop's alpha is beta2 */
    double epsilon;
    double correction1, correction2; /* 1 - beta^t */
    bool nesterov, centered;
};

/* The input as UINT8: a row is [channels][plane] bytes. */
struct byte_rows {
    int64_t channels, plane;
    bool one; /* table is [256], for every channel; else [channels][256] */
};

/* What an operation needs to know beside its tensors. */
struct geometry {
    union {
        struct window window; /* conv*, maxpool*, avgpool* */
        struct inverted_residual inverted;
        struct norm norm; /* batchnorm* */
        struct {
            int64_t in, out;
        } dense;
        struct {
            int64_t classes, inner; /* a row is [any][classes][inner] */
            bool log;               /* the logarithm of softmax */
        } softmax;
        struct byte_rows bytes; /* always assigned */
        struct {
            int64_t outputs; /* `choice` is [rows]: an output's index, or -1: the largest */
        } pick;
        struct zip zip;
        struct view view;
        struct reduce reduce;
        struct lrn lrn;
        struct {
            double rate;
            int layer; /* hashed into the mask */
        } dropout;
        struct {
            int64_t outputs;
            bool labels;  /* targets are [rows] class indices (one output: values), else [rows][outputs] */
            bool ignores; /* rows whose label is `ignored` do not count */
            int32_t ignored;
            double smoothing;
        } loss;               /* `sums` is [rows][LOSS_SUMS]: loss, weight, correct, counted */
        struct update update; /* optimisers, squares; `rows` is not looked at */
    };
    struct map map; /* map*: the function; conv, dense, batchnorm*: what is applied to result + residual */
};

const char *op_name(enum op op); /* "conv_dx" */
enum map_slope map_slope(const struct map *map);

#endif
