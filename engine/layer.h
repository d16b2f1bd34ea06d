/* The contract of a layer. A layer is written once, for every backend: it declares its settings, its shape
 * rule and its parameters, and writes forward and backward as calls of operations (op.h) on a recorder.
 * `net_open` runs each layer once; what it recorded is the plan (plan.h).
 * To add one: a file in layers/, a row in layers/table.c, a case in tests/engine/optest. */
#ifndef ENGINE_LAYER_H
#define ENGINE_LAYER_H

#include "engine/graph.h"
#include "engine/op.h"
#include "engine/setting.h"

struct recorder;

/* A tensor of the plan being recorded; it gets an address when the plan is placed. {0}: none. */
struct value {
    int id;
};

enum param_role { PARAM_WEIGHT, PARAM_BIAS, PARAM_STATE };

/* What a layer type says of one of its parameters. */
struct layer_param {
    const char *suffix; /* "weight": the parameter is called "conv1.weight" */
    struct shape shape;
    enum param_role role;
    int init;                /* of weights: INIT_AUTO, INIT_HE, INIT_XAVIER (layers/settings.h) */
    int64_t fan_in, fan_out; /* of weights */
    float fill;              /* what everything else begins with */
};

/* One node while it is recorded. In forward the d* are none. In backward dx[i] is none when nobody wants the
 * input's gradient, dw[i] when the parameter is not trained. Recording with an output of none does nothing,
 * so layers need not look. */
struct layer {
    const void *settings;
    int node;                           /* index in the graph, for dropout's mask and messages */
    int inputs;                         /* how many of x, in, dx count */
    struct shape in[GRAPH_INPUTS], out; /* of one row */
    struct value x[GRAPH_INPUTS], y, w[GRAPH_PARAMS];
    struct value dx[GRAPH_INPUTS], dy, dw[GRAPH_PARAMS];
    struct value saved[4]; /* forward may leave values here for backward */
};

struct layer_type {
    const char *name;               /* "conv": the key in network files and graph_add's `type` */
    const char *help;               /* one line */
    const struct setting *settings; /* NULL: none */
    size_t settings_size;
    int min_inputs, max_inputs;
    /* Checks the settings and the inputs' shapes, writes the output's. The text of a failure begins after
     * the node's name: "input has 3 channels, groups want a multiple of 2". */
    int (*shape)(const void *settings, const struct shape *in, int inputs, struct shape *out,
                 struct fail *why);
    /* Fills at most GRAPH_PARAMS descriptions and returns how many; runs after `shape` succeeded. NULL: no
     * parameters. */
    int (*params)(const void *settings, const struct shape *in, struct layer_param *p);
    /* Multiplications and additions of one row's forward pass, counted apart. NULL: too few to count. */
    double (*flops)(const void *settings, const struct shape *in, struct shape out);
    void (*forward)(struct recorder *r, struct layer *l);
    void (*backward)(struct recorder *r, struct layer *l);
    /* enum map_fn that the layer ends in, for the choice of initialisation and of the score; NULL: none. */
    enum map_fn (*activation)(const void *settings);
};

extern const struct layer_type *const layer_types[];   /* ends with NULL */
const struct layer_type *layer_find(const char *name); /* NULL: unknown */
/* The known name nearest to what was written, for messages; never NULL. */
const char *layer_nearest(const char *name);

/* ---- the recorder: one function an operation; `y` and `dx` are written or, for a gradient that another
 * step has written before, added to. Parameter gradients are always added to. ---- */

bool record_training(const struct recorder *r); /* false: inference behaviour */
/* A value of max_rows rows of this shape, for what lies between two operations. */
struct value record_temp(struct recorder *r, struct shape row);

void record_conv(struct recorder *r, struct value y, struct value x, struct value w, struct value b,
                 const struct window *win);
void record_conv_dx(struct recorder *r, struct value dx, struct value dy, struct value w,
                    const struct window *win);
void record_conv_dw(struct recorder *r, struct value dw, struct value db, struct value dy, struct value x,
                    const struct window *win);
void record_dense(struct recorder *r, struct value y, struct value x, struct value w, struct value b,
                  int64_t in, int64_t out);
void record_dense_dx(struct recorder *r, struct value dx, struct value dy, struct value w, int64_t in,
                     int64_t out);
void record_dense_dw(struct recorder *r, struct value dw, struct value db, struct value dy, struct value x,
                     int64_t in, int64_t out);
void record_maxpool(struct recorder *r, struct value y, struct value x, const struct window *win);
void record_maxpool_back(struct recorder *r, struct value dx, struct value dy, struct value x, struct value y,
                         const struct window *win);
void record_avgpool(struct recorder *r, struct value y, struct value x, const struct window *win);
void record_avgpool_back(struct recorder *r, struct value dx, struct value dy, const struct window *win);
/* Batch norm with w[0..3] weight, bias, running mean and variance. Training: `stats` is a value of shape
 * [2, channels] that the backward reads, and the running ones move. Where training is off, `back` takes the
 * running ones for constants and gives dx alone. */
void record_batchnorm(struct recorder *r, struct value y, struct value stats, struct value x,
                      const struct value *w, const struct norm *norm);
void record_batchnorm_back(struct recorder *r, struct value dx, const struct value *dw, struct value dy,
                           struct value stats, struct value x, const struct value *w,
                           const struct norm *norm);
/* Between the layouts of one lane and the plan's lanes (plan.h); net_open.c records them, layers do not. */
void record_to_lanes(struct recorder *r, struct value y, struct value x);
void record_from_lanes(struct recorder *r, struct value y, struct value x);
/* From rows of UINT8 in one lane's layout to floats in the plan's; net_open.c records it where rows come as bytes. */
void record_bytes(struct recorder *r, struct value y, struct value x, struct value table,
                  const struct byte_rows *bytes);
/* The gradient of one output of a row to all outputs; net_open.c records it where a net explains. */
void record_pick(struct recorder *r, struct value dx, struct value y, struct value choice, int64_t outputs);
/* MAP_IDENTITY records a copy, which placing makes free where it can. */
void record_map(struct recorder *r, struct value y, struct value x, const struct map *map);
/* Keeps x or y, whichever the slope is computed from (map_slope). */
void record_map_back(struct recorder *r, struct value dx, struct value dy, struct value x, struct value y,
                     const struct map *map);
void record_copy(struct recorder *r, struct value y, struct value x);
/* Of two values that broadcast to y's shape; one may be a parameter. */
void record_zip(struct recorder *r, struct value y, struct value a, struct value b, enum zip_fn fn);
/* d: the gradient of a (side 0) or of b (side 1), summed over what was repeated. Keeps of a and b only what the
 * slope is computed from. */
void record_zip_back(struct recorder *r, struct value d, int side, struct value dy, struct value a,
                     struct value b, enum zip_fn fn);
/* A strided copy; of the nest `row` need not be set. VIEW_PART: one of several steps that together write y. */
void record_view(struct recorder *r, struct value y, struct value x, const struct view *view);
/* Turns a view around, for its gradient: x is written from y. */
void view_turn(struct view *v, enum view_cover cover, float fill);
/* Over the dimensions of x's row for which axes[] is set; y's other dimensions are x's, in their order. */
void record_reduce(struct recorder *r, struct value y, struct value x, const bool *axes, enum reduce_fn fn,
                   float scale, bool last);
/* Of sums, and of greatest and least values: the first of equals takes the gradient. */
void record_reduce_back(struct recorder *r, struct value dx, struct value dy, struct value x,
                        const bool *axes, enum reduce_fn fn, float scale);
/* Keeps an element with probability 1 - rate and divides it by that. The same call makes dx of dy. */
void record_dropout(struct recorder *r, struct value y, struct value x, double rate, int layer);
void record_lrn(struct recorder *r, struct value y, struct value x, const struct lrn *lrn);
void record_lrn_back(struct recorder *r, struct value dx, struct value dy, struct value x,
                     const struct lrn *lrn);
/* Over classes that lie `inner` apart; or the logarithm of that. */
void record_softmax(struct recorder *r, struct value y, struct value x, int64_t classes, int64_t inner,
                    bool log);
void record_softmax_back(struct recorder *r, struct value dx, struct value dy, struct value y,
                         int64_t classes, int64_t inner, bool log);

#endif
