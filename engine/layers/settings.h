/* The settings structs of the layers, for those who build graphs in code (the ONNX reader, tests). What a
 * key means, its default and its bounds are in the setting tables of the layers' files. */
#ifndef ENGINE_LAYERS_SETTINGS_H
#define ENGINE_LAYERS_SETTINGS_H

#include "engine/op.h"
#include "engine/setting.h"

enum { INIT_AUTO, INIT_HE, INIT_XAVIER }; /* auto: He where relu follows, else Xavier */
#define INIT_CHOICES "auto|he|xavier"

/* Lists of one number hold for both directions; two are [height, width]; a padding of four is
 * [top, left, bottom, right], the order of ONNX `pads`. */
struct conv_settings { /* "conv": weight [filters, C / groups, R, S], bias [filters] */
    int64_t filters;
    struct setting_ints kernel, stride, padding, dilation;
    int64_t groups;
    int activation; /* enum map_fn */
    bool bias;
    int init;
};

struct dense_settings { /* "dense": weight [units, inputs], bias [units]; the input is taken flat */
    int64_t units;
    int activation; /* enum map_fn */
    bool bias;
    int init;
};

struct pool_settings {                         /* "maxpool", "avgpool" */
    struct setting_ints size, stride, padding; /* stride of no numbers: the size */
    bool ceil;                                 /* sizes round up (ONNX ceil_mode) */
    bool count_padding; /* avgpool: padding counts in the divisor (count_include_pad) */
};

/* "batchnorm": weight, bias, running_mean, running_var [C]; the latter two are states */
struct batchnorm_settings {
    double momentum; /* PyTorch's: running = (1 - momentum) running + momentum batch; ONNX has 1 - momentum */
    double epsilon;
    int activation; /* enum map_fn */
};

struct dropout_settings { /* "dropout" */
    double rate;
};

struct alpha_settings { /* "leaky_relu", "elu" */
    double alpha;
};

struct hard_sigmoid_settings { /* "hard_sigmoid" */
    double alpha, beta;
};

struct clip_settings { /* "clip"; the largest float and what is beyond: no bound */
    double min, max;
};

/* "add", "sub", "mul", "div", "prelu": of two inputs, or of one and a parameter of this shape */
struct zip_settings {
    struct setting_ints shape;
    bool fixed; /* the parameter is not trained: a state */
    bool first; /* sub, div: the parameter is the first operand */
};

/* Axes count the dimensions of a row from 0, negative ones from its end. */
struct transpose_settings { /* "transpose": ONNX perm without the rows' dimension */
    struct setting_ints perm;
};

struct slice_settings { /* "slice", as ONNX Slice */
    struct setting_ints starts, ends, axes, steps;
};

struct gather_settings { /* "gather": constant indices; scalar: one, whose dimension goes */
    int64_t axis;
    struct setting_ints indices;
    bool scalar;
};

struct concat_settings { /* "concat" */
    int64_t axis;
};

enum { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE };
#define PAD_CHOICES "constant|reflect|edge"

struct pad_settings { /* "pad": before each dimension of a row, then after each */
    struct setting_ints pads;
    int mode;
    double value;
};

struct reshape_settings { /* "reshape": 0 keeps the input's dimension, one -1 is what is left */
    struct setting_ints shape;
};

struct axes_settings { /* "squeeze" (none: all of 1), "unsqueeze" (of the output) */
    struct setting_ints axes;
};

struct reduce_settings { /* "reduce_mean", "reduce_sum", "reduce_max", "reduce_min"; no axes: all */
    struct setting_ints axes;
    bool keepdims;
};

struct arg_settings { /* "argmax", "argmin" */
    int64_t axis;
    bool keepdims, select_last_index;
};

struct softmax_settings { /* "softmax", "log_softmax" */
    int64_t axis;
};

struct lrn_settings { /* "lrn", as ONNX LRN */
    int64_t size;
    double alpha, beta, bias;
};

enum { GELU_ERF, GELU_TANH };
#define GELU_CHOICES "none|tanh"

struct gelu_settings { /* "gelu" */
    int approximate;
};

/* Without settings: "relu", "tanh", "sigmoid", "relu6", "hard_swish", "softplus", "silu", "exp", "log", "sqrt", "abs",
 * "neg"; "global_avgpool" and "global_maxpool" (to [C, 1, 1]); "flatten" (to [C * H * W]). */

#endif
