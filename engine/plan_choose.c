/* A pass over recorded steps: which convolutions go by Winograd (op.h), by a cost that is a pure function of shapes,
 * rows and what the backend has. Measured on Zen 4 (tests/bench/kernels.c); it need only be right where the two ways
 * differ much. Next to read: plan.c for the other passes. */
#include "engine/plan.h"

/* Cycles of one core at sixteen lanes, for a vector over images. */
static const struct {
    double multiply; /* a multiply-add of the direct kernel, loads and all */
    double product;  /* one of Winograd's products of points */
    double input;    /* a tile of one channel to points */
    double output;   /* a tile of one filter from points, and to memory */
    double weight;   /* a filter's channel to points, once for each turn */
} cost = {1.3, 1.2, 300, 300, 20};

static enum op winograd_op(enum op op)
{
    return op == OP_CONV      ? OP_WINOGRAD
           : op == OP_CONV_DX ? OP_WINOGRAD_DX
           : op == OP_CONV_DW ? OP_WINOGRAD_DW
                              : OPS;
}

/* Three by three taps, a pixel apart, each filter over all channels. */
static bool has_form(const struct window *win)
{
    return win->R == 3 && win->S == 3 && win->stride_h == 1 && win->stride_w == 1 && win->dilation_h == 1 &&
           win->dilation_w == 1 && win->groups == 1 && win->pad_top <= 2 && win->pad_left <= 2;
}

/* Whether Winograd takes less for `blocks` blocks at a time. To weights, products go over vectors of channels. */
static bool pays(enum op op, const struct window *win, int blocks)
{
    bool back = op == OP_WINOGRAD_DX;
    int P = back ? win->H : win->P, Q = back ? win->W : win->Q, in = back ? win->K : win->C,
        out = back ? win->C : win->K, channels = op == OP_WINOGRAD_DW ? (in + 15) / 16 * 16 : in;
    double tiles = (double)blocks * ((P + 3) / 4) * ((Q + 3) / 4), pairs = (double)channels * out;
    double direct = cost.multiply * 9 * in * out * blocks * P * Q;
    return tiles * (cost.product * 36 * pairs + cost.input * channels + cost.output * out) +
               cost.weight * pairs <
           direct;
}

void plan_choose(struct plan *p, const struct backend *be)
{
    const struct kernel *kernels = plan_kernels(p, be);
    int blocks = (p->rows + p->lanes - 1) / p->lanes;
    for (int i = 0; p->lanes > 1 && i < p->count; i++) {
        struct step *s = &p->steps[i];
        enum op op = winograd_op(s->op);
        if (op != OPS && kernels[op].run && has_form(&s->g.window) && pays(op, &s->g.window, blocks))
            s->op = op;
    }
}
