/* Passes over steps that join some into one, so that values go through memory once. Conv, dense and batch norm take the
 * residual that is added to their result and the function applied to that; batch norm's backward takes the function's; a
 * convolution keeps the largest of 2x2 results. A value that anything else reads stays. The other passes are plan.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/plan.h"

/* The one step among begin..end-1 that reads value id, under any name; -1: none or several reads. */
static int only_reader(const struct plan *p, int id, int begin, int end)
{
    if (plan_readers(p, id) != 1)
        return -1;
    for (int i = begin; i < end; i++)
        for (int k = 0; k < OP_IN; k++)
            if (p->steps[i].in[k].id && plan_root(p, p->steps[i].in[k]) == id)
                return i;
    return -1;
}

/* Where a step takes what is added to its result before the function; -1: it takes nothing. */
static int residual_slot(enum op op)
{
    switch (op) {
    case OP_NORM:
    case OP_NORM_TRAIN:
        return 5;
    case OP_CONV:
    case OP_DENSE:
        return 3;
    default:
        return -1;
    }
}

static bool may_join(const struct step *s)
{
    return residual_slot(s->op) >= 0 && !s->add && s->out[0].id;
}

/* The other of the two copies that make the sum which step `one` writes: "s = a; s += b". -1: it is no such sum. */
static int other_half(const struct plan *p, int one)
{
    struct value sum = p->steps[one].out[0];
    if (p->steps[one].op != OP_COPY || p->values[sum.id].writers != 2)
        return -1;
    for (int i = 0; i < p->forward; i++)
        if (i != one && p->steps[i].op == OP_COPY && p->steps[i].out[0].id == sum.id)
            return i;
    return -1;
}

/* What a pass begins with, for plan_keep in the end; NULL, and the plan starved, when there is no memory. */
static bool *keep_all(struct plan *p)
{
    bool *keep = malloc((size_t)p->count + 1);
    if (keep)
        memset(keep, true, (size_t)p->count);
    else
        p->starved = true;
    return keep;
}

/* A step that goes reads nothing from now on. */
static void drop(struct plan *p, bool *keep, int i)
{
    p->steps[i] = (struct step){0};
    keep[i] = false;
}

/* Step i moves to where its result is read: nothing in between wants it. */
static void move(struct plan *p, bool *keep, int i, int to, struct value y)
{
    p->steps[to] = p->steps[i];
    p->steps[to].out[0] = y;
    drop(p, keep, i);
}

static void join_forward(struct plan *p, bool *keep, int i)
{
    const struct step *s = &p->steps[i];
    int at = only_reader(p, s->out[0].id, i + 1, p->forward);
    if (at < 0 || s->g.map.fn != MAP_IDENTITY)
        return;
    struct step reader = p->steps[at];
    /* exp, log and sqrt clear the lanes without a row themselves: their infinities would reach weight gradients */
    if (reader.op == OP_MAP && !reader.add && reader.g.map.fn < MAP_EXP) {
        move(p, keep, i, at, reader.out[0]);
        p->steps[at].g.map = reader.g.map;
        return;
    }
    int slot = residual_slot(s->op), other = s->in[slot].id ? -1 : other_half(p, at);
    if (other < 0)
        return;
    struct value residual = p->steps[other].in[0];
    int last = at > other ? at : other;
    drop(p, keep, at);
    drop(p, keep, other);
    move(p, keep, i, last, reader.out[0]);
    p->steps[last].in[slot] = residual;
    keep[last] = true;
    p->values[reader.out[0].id].writers = 1;
}

/* Does step i make the gradient before the function that the batch norm of step `back` ended in? The batch norm
 * makes the function's argument again from its input, which is as cheap as reading the result. */
static bool ends_norm(const struct plan *p, int i, int back)
{
    const struct step *s = &p->steps[i];
    if (s->g.map.fn != MAP_RELU && s->g.map.fn != MAP_RELU6)
        return false;
    for (int f = 0; f < p->forward; f++)
        if (p->steps[f].op == OP_NORM_TRAIN && p->steps[f].out[1].id == p->steps[back].in[4].id)
            return !p->steps[f].in[5].id && p->steps[f].g.map.fn == s->g.map.fn &&
                   plan_root(p, p->steps[f].out[0]) == plan_root(p, s->in[2]);
    return false;
}

static void join_backward(struct plan *p, bool *keep, int i)
{
    const struct step *s = &p->steps[i];
    int at = only_reader(p, s->out[0].id, i + 1, p->count);
    if (at < 0 || p->steps[at].op != OP_NORM_BACK || plan_root(p, p->steps[at].in[0]) != s->out[0].id ||
        !ends_norm(p, i, at))
        return;
    p->steps[at].in[0] = s->in[0];
    p->steps[at].g.map = s->g.map;
    drop(p, keep, i);
}

void plan_join(struct plan *p)
{
    bool *keep = keep_all(p);
    if (!keep)
        return;
    for (int i = 0; i < p->forward; i++)
        if (keep[i] && may_join(&p->steps[i]))
            join_forward(p, keep, i);
    for (int i = p->forward; i < p->count; i++)
        if (p->steps[i].op == OP_MAP_BACK && !p->steps[i].add)
            join_backward(p, keep, i);
    plan_keep(p, keep);
    free(keep);
}

/* ---- inverted residuals ---- */

/* A convolution that costs nothing more row by row: it reads no row twice, or few channels. */
static bool expands(const struct step *s)
{
    const struct window *win = &s->g.window;
    return s->op == OP_CONV && !s->add && !s->in[3].id && !win->halve && win->groups == 1 &&
           ((win->R == 1 && !win->pad_top && !win->pad_bottom) || win->C <= 4);
}

static bool is_depthwise(const struct step *s)
{
    const struct window *win = &s->g.window;
    return s->op == OP_CONV && !win->halve && win->groups == win->C && win->K == win->C &&
           win->R * win->S <= DEPTHWISE_TAPS;
}

static bool projects(const struct step *s)
{
    const struct window *win = &s->g.window;
    return s->op == OP_CONV && !win->halve && win->groups == 1 && win->R == 1 && win->S == 1 &&
           win->stride_h == 1 && win->stride_w == 1 && !win->pad_top && !win->pad_left && win->P == win->H &&
           win->Q == win->W;
}

/* Whether the step that alone reads what step i writes is one of `kind`; where, or -1. */
static int followed(const struct plan *p, int i, bool (*kind)(const struct step *s))
{
    int at = only_reader(p, plan_root(p, p->steps[i].out[0]), i + 1, p->forward);
    return at >= 0 && kind(&p->steps[at]) ? at : -1;
}

/* Step `last` does what steps i, depth and itself (or depth itself, where nothing projects) did. */
static void join_inverted(struct plan *p, bool *keep, int i, int depth, int last)
{
    const struct step first = p->steps[i], second = p->steps[depth];
    struct step *s = &p->steps[last];
    struct step third = *s;
    s->op = OP_INVERTED;
    s->g.inverted = (struct inverted_residual){
        .window = first.g.window, .expanded = first.g.map, .depth = second.g.window};
    memset(s->in, 0, sizeof s->in);
    memcpy(s->in, first.in, 3 * sizeof *s->in);
    s->in[3] = second.in[1];
    s->in[4] = second.in[2];
    s->in[7] = third.in[3]; /* the last one's residual */
    drop(p, keep, i);
    if (last == depth)
        return;
    s->g.inverted.filtered = second.g.map;
    s->g.inverted.project = third.g.window;
    s->in[5] = third.in[1];
    s->in[6] = third.in[2];
    drop(p, keep, depth);
}

void plan_join_inverted(struct plan *p)
{
    bool *keep = keep_all(p);
    if (!keep)
        return;
    for (int i = 0; i < p->forward; i++) {
        int depth = keep[i] && expands(&p->steps[i]) ? followed(p, i, is_depthwise) : -1;
        if (depth < 0)
            continue;
        const struct step *s = &p->steps[depth];
        int last = s->add || s->in[3].id ? -1 : followed(p, depth, projects);
        join_inverted(p, keep, i, depth, last < 0 ? depth : last);
    }
    plan_keep(p, keep);
    free(keep);
}

/* ---- convolutions that keep the largest of 2x2 results ---- */

static bool halves(const struct window *conv, const struct window *pool)
{
    return pool->R == 2 && pool->S == 2 && pool->stride_h == 2 && pool->stride_w == 2 && !pool->pad_top &&
           !pool->pad_left && !pool->pad_bottom && !pool->pad_right && pool->P == conv->P / 2 &&
           pool->Q == conv->Q / 2;
}

void plan_join_pools(struct plan *p)
{
    bool *keep = keep_all(p);
    if (!keep)
        return;
    for (int i = 0; i < p->forward; i++) {
        struct step *s = &p->steps[i];
        int at = (s->op != OP_CONV && s->op != OP_WINOGRAD) || s->add || s->in[3].id
                     ? -1
                     : only_reader(p, plan_root(p, s->out[0]), i + 1, p->forward);
        if (at < 0 || p->steps[at].op != OP_MAXPOOL || p->steps[at].add ||
            !halves(&s->g.window, &p->steps[at].g.window))
            continue;
        s->g.window.halve = true;
        s->row = p->steps[at].row;
        move(p, keep, i, at, p->steps[at].out[0]);
    }
    plan_keep(p, keep);
    free(keep);
}
