/* Convolution forward at sixteen lanes: which sweep goes which way. Included after lanes_depthwise.h. */

static void run(const struct sweep *s, int from, int to, float *scratch)
{
    if (is_depthwise(s))
        run_depthwise(s, from, to);
    else
        run_sweep(s, from, to, scratch);
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

/* Of a block; lines that are pooled count in pairs. */
static struct cut conv_cut(const struct window *win)
{
    return (struct cut){win->groups, win->K / win->groups, win->halve ? win->P / 2 : win->P};
}

static int64_t lanes_conv_items(const struct call *c)
{
    return (int64_t)lanes_blocks(c->rows) * cut_units(conv_cut(&c->g->window));
}

static void conv_stretch(const struct call *c, const struct sweep *all, struct stretch at, float *scratch)
{
    const struct window *win = &c->g->window;
    struct extent e = extent_of(conv_cut(win), at);
    int lines = win->halve ? 2 : 1;
    for (int group = e.from.groups; group < e.to.groups; group++) {
        struct sweep s = *all;
        int64_t i = at.block * win->groups + group;
        ptrdiff_t y = i * s.K * s.tile.filter_y;
        s.x = (const float *)c->in[0] + i * s.C * s.H * s.W * LANES;
        s.y = (float *)c->out[0] + y;
        s.tile.w = (const float *)c->in[1] + group * s.K * s.tile.filter_w;
        s.tile.b = c->in[2] ? (const float *)c->in[2] + group * s.K : NULL;
        s.tile.end.other = c->in[3] ? (const float *)c->in[3] + y : NULL;
        sweep_filters(&s, e.from.filters, e.to.filters);
        run(&s, e.from.lines * lines, e.to.lines * lines, scratch);
    }
}

static void lanes_conv(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct sweep s = conv_sweep(c->g);
    int units = cut_units(conv_cut(&c->g->window));
    s.tile.end.add = c->add;
    while (begin < end)
        conv_stretch(c, &s, stretch_next(&begin, end, units), scratch);
}

static size_t lanes_conv_scratch(const struct geometry *g)
{
    struct sweep s = conv_sweep(g);
    return band_floats(&s) * sizeof(float);
}
