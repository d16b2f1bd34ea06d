/* A pass over recorded steps: which convolutions go by Winograd (op.h), by a cost that is a pure function of shapes,
 * rows and what the backend has. Measured on Zen 4 (tests/bench/kernels.c); it need only be right where the two ways
 * differ much. Next to read: plan.c for the other passes. */
#include "engine/plan.h"

/* Cycles of one core at sixteen lanes, for a vector over images: a multiply-add of the direct kernel, loads and all. */
static const double multiply = 1.3;

/* The same for Winograd's two kernels: a product of points; a tile of one channel to points; a tile of one filter from
 * points, and to memory; a filter's channel to points, once for each turn. */
static const struct way {
    int points;
    double product, input, output, weight;
} three_taps = {6, 1.2, 300, 300, 20}, five_taps = {8, 1.3, 650, 220, 60};

enum { FEW_CHANNELS = 8 }; /* beyond, the five-tap kernel's points would not stay near */

static enum op winograd_op(enum op op)
{
    return op == OP_CONV      ? OP_WINOGRAD
           : op == OP_CONV_DX ? OP_WINOGRAD_DX
           : op == OP_CONV_DW ? OP_WINOGRAD_DW
                              : OPS;
}

/* Three by three taps, or five by five of few channels forward; a pixel apart, each filter over all channels. */
static const struct way *way_of(enum op op, const struct window *win)
{
    if (win->R != win->S || win->stride_h != 1 || win->stride_w != 1 || win->dilation_h != 1 ||
        win->dilation_w != 1 || win->groups != 1 || win->pad_top >= win->R || win->pad_left >= win->S)
        return NULL;
    if (win->R == 3)
        return &three_taps;
    return win->R == 5 && op == OP_WINOGRAD && win->C <= FEW_CHANNELS ? &five_taps : NULL;
}

/* Whether Winograd takes less for `blocks` blocks at a time. To weights, products go over vectors of channels. */
static bool pays(enum op op, const struct window *win, const struct way *way, int blocks)
{
    bool back = op == OP_WINOGRAD_DX;
    int P = back ? win->H : win->P, Q = back ? win->W : win->Q, in = back ? win->K : win->C,
        out = back ? win->C : win->K, channels = op == OP_WINOGRAD_DW ? (in + 15) / 16 * 16 : in;
    double tiles = (double)blocks * ((P + 3) / 4) * ((Q + 3) / 4), pairs = (double)channels * out;
    double direct = multiply * win->R * win->S * in * out * blocks * P * Q;
    return tiles * (way->product * way->points * way->points * pairs + way->input * channels +
                    way->output * out) +
               way->weight * pairs <
           direct;
}

void plan_choose(struct plan *p, const struct backend *be)
{
    const struct kernel *kernels = plan_kernels(p, be);
    int blocks = (p->rows + p->lanes - 1) / p->lanes;
    for (int i = 0; p->lanes > 1 && i < p->count; i++) {
        struct step *s = &p->steps[i];
        enum op op = winograd_op(s->op);
        const struct way *way = op == OPS ? NULL : way_of(op, &s->g.window);
        if (way && kernels[op].run && pays(op, &s->g.window, way, blocks))
            s->op = op;
    }
}
