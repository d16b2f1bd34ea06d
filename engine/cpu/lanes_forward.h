/* Convolution forward at sixteen lanes: which sweep goes which way. Included after lanes_depthwise.h. */

static void run(const struct sweep *s, float *scratch)
{
    if (is_depthwise(s))
        run_depthwise(s);
    else
        run_sweep(s, scratch);
}

/* Of group 0 and block 0, with what is kept of its results. */
static struct sweep conv_sweep(const struct geometry *g)
{
    const struct window *win = &g->window;
    struct sweep s = forward_sweep(g);
    if (win->halve) {
        s.tile.end.pool = true;
        s.tile.filter_y = (ptrdiff_t)(win->P / 2) * (win->Q / 2) * LANES;
        s.line_y = (ptrdiff_t)(win->Q / 2) * LANES;
    }
    return s;
}

static void lanes_conv(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    struct sweep s = conv_sweep(c->g);
    s.tile.end.add = c->add;
    for (int64_t i = begin * win->groups; i < end * win->groups; i++) {
        int group = (int)(i % win->groups);
        ptrdiff_t y = i * s.K * s.tile.filter_y;
        s.x = (const float *)c->in[0] + i * s.C * s.H * s.W * LANES;
        s.y = (float *)c->out[0] + y;
        s.tile.w = (const float *)c->in[1] + group * s.K * s.tile.filter_w;
        s.tile.b = c->in[2] ? (const float *)c->in[2] + group * s.K : NULL;
        s.tile.end.other = c->in[3] ? (const float *)c->in[3] + y : NULL;
        run(&s, scratch);
    }
}

static size_t lanes_conv_scratch(const struct geometry *g)
{
    struct sweep s = conv_sweep(g);
    return band_floats(&s) * sizeof(float);
}
