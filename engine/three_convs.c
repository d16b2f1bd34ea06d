/* inverted_residual, one row at a time, as the convolutions that it joins: for backends that do one after the other. */
#include "engine/backend_ops.h"

static size_t elements_in(const struct window *win)
{
    return (size_t)win->C * (size_t)win->H * (size_t)win->W;
}

static size_t elements_out(const struct window *win)
{
    return (size_t)win->K * (size_t)win->P * (size_t)win->Q;
}

size_t three_convs_scratch(const struct geometry *g)
{
    return elements_out(&g->inverted.window) + elements_out(&g->inverted.depth);
}

/* Convolution i from x to y. */
static void one_conv(struct three_convs *three, int i, const void *x, const void *w, const void *b, void *y)
{
    three->call[i] = (struct call){.out = {y},
                                   .in = {x, w, b},
                                   .g = &three->g[i],
                                   .row = (int64_t)elements_out(&three->g[i].window),
                                   .rows = 1};
}

void three_convs(struct three_convs *three, const struct call *c, int64_t n, void *scratch, size_t element)
{
    const struct inverted_residual *v = &c->g->inverted;
    bool projects = c->in[5] != NULL;
    size_t y = (size_t)n * (size_t)c->row * element;
    const void *x = (const char *)c->in[0] + (size_t)n * elements_in(&v->window) * element;
    void *expanded = scratch, *to = (char *)c->out[0] + y,
         *filtered = projects ? (char *)scratch + elements_out(&v->window) * element : to;
    three->count = projects ? 3 : 2;
    three->g[0] = (struct geometry){.window = v->window, .map = v->expanded};
    three->g[1] = (struct geometry){.window = v->depth, .map = projects ? v->filtered : c->g->map};
    three->g[2] = (struct geometry){.window = v->project, .map = c->g->map};
    one_conv(three, 0, x, c->in[1], c->in[2], expanded);
    one_conv(three, 1, expanded, c->in[3], c->in[4], filtered);
    if (projects)
        one_conv(three, 2, filtered, c->in[5], c->in[6], to);
    struct call *last = &three->call[three->count - 1];
    last->add = c->add;
    last->in[3] = c->in[7] ? (const char *)c->in[7] + y : NULL;
}
