/* Convolution to the input at sixteen lanes. dx falls into stride_h x stride_w phases; within one all pixels meet the
 * same taps, so each is a convolution of dy at stride 1 with the taps of its phase in reverse. Taps that meet no dy are
 * left out: a NaN filter touches only what it was multiplied with. Included after lanes_forward.h. */

static int common_divisor(int a, int b)
{
    while (b) {
        int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* One axis of a phase: dx positions first, first + stride..., `count` of them, are met by taps tap, tap + step...
 * `taps` of them; position i and tap j read dy at i + base - j * dilation. */
struct phase {
    int first, count, tap, step, taps, base, dilation;
};

static struct phase phase_of(int phase, int size, int stride, int before, int dilation, int taps)
{
    int common = common_divisor(dilation, stride);
    struct phase f = {.step = stride / common, .dilation = dilation / common};
    f.first = ((phase - before) % stride + stride) % stride; /* h + before = phase modulo stride */
    f.count = f.first < size ? (size - f.first + stride - 1) / stride : 0;
    while (f.tap < f.step && (f.tap * dilation - phase) % stride != 0)
        f.tap++;
    if (f.tap < f.step && f.tap < taps)
        f.taps = (taps - f.tap + f.step - 1) / f.step;
    f.base = f.taps ? (f.first + before - f.tap * dilation) / stride : 0;
    return f;
}

/* Of group 0 and block 0, w as it lies. Taps run backwards through w. */
static struct sweep phase_sweep(const struct window *win, struct phase h, struct phase w)
{
    int channels = win->C / win->groups, area = win->R * win->S;
    struct tile t = {.filter_w = area,
                     .channel_w = (ptrdiff_t)channels * area,
                     .row_w = -(ptrdiff_t)h.step * win->S,
                     .tap_w = -(ptrdiff_t)w.step,
                     .filter_y = (ptrdiff_t)win->H * win->W * LANES};
    return (struct sweep){.C = win->K / win->groups,
                          .H = win->P,
                          .W = win->Q,
                          .R = h.taps,
                          .S = w.taps,
                          .K = channels,
                          .P = h.count,
                          .Q = w.count,
                          .stride_h = 1,
                          .stride_w = 1,
                          .dilation_h = h.dilation,
                          .dilation_w = w.dilation,
                          .top = (h.taps - 1) * h.dilation - h.base,
                          .left = (w.taps - 1) * w.dilation - w.base,
                          .line_y = (ptrdiff_t)win->stride_h * win->W * LANES,
                          .pixel_y = (ptrdiff_t)win->stride_w * LANES,
                          .clip = true,
                          .tile = t};
}

/* Phase number i of stride_h x stride_w; where no tap meets it, nothing to read. */
static struct sweep back_sweep(const struct window *win, int i, struct phase *h, struct phase *w)
{
    *h = phase_of(i / win->stride_w, win->H, win->stride_h, win->pad_top, win->dilation_h, win->R);
    *w = phase_of(i % win->stride_w, win->W, win->stride_w, win->pad_left, win->dilation_w, win->S);
    struct sweep s = phase_sweep(win, *h, *w);
    if (!h->taps || !w->taps) {
        s.R = s.S = s.H = s.W = 1;
        s.C = s.top = s.left = 0;
        s.clip = false;
    }
    return s;
}

/* The sweep of phase number `phase` for group i % groups of block i / groups. */
static struct sweep placed_sweep(const struct call *c, int64_t i, int phase)
{
    const struct window *win = &c->g->window;
    int filters = win->K / win->groups, channels = win->C / win->groups, area = win->R * win->S;
    struct phase h, w;
    struct sweep s = back_sweep(win, phase, &h, &w);
    int last =
        (h.taps ? h.tap + (h.taps - 1) * h.step : 0) * win->S + (w.taps ? w.tap + (w.taps - 1) * w.step : 0);
    s.tile.end.add = c->add;
    s.tile.w = (const float *)c->in[1] + i % win->groups * filters * channels * area + last;
    s.x = (const float *)c->in[0] + i * filters * win->P * win->Q * LANES;
    s.y =
        (float *)c->out[0] + i * channels * s.tile.filter_y + ((ptrdiff_t)h.first * win->W + w.first) * LANES;
    return s;
}

enum { DEPTH_PHASES = 4 };

/* Lines from..to-1 in all phases of a depthwise convolution row by row, so that dx is written in its order: lines that are
 * asked for one row ahead. False: not for it. */
static bool depth_back(const struct call *c, int64_t i, int from, int to)
{
    const struct window *win = &c->g->window;
    int phases = win->stride_h * win->stride_w;
    struct sweep s[DEPTH_PHASES];
    struct depth d[DEPTH_PHASES];
    if (win->groups != win->C || win->K != win->C || phases > DEPTH_PHASES)
        return false;
    for (int k = 0; k < phases; k++) {
        s[k] = placed_sweep(c, i, k);
        if (!is_depthwise(&s[k]))
            return false;
        depth_weights(&d[k], &s[k]);
    }
    for (int p = from; p < to; p++)
        for (int k = 0; k < phases; k++) {
            if (k % win->stride_w == 0 && p + 1 < s[k].P)
                for (int w = 0; w < win->W; w++)
                    __builtin_prefetch(s[k].y + (p + 1) * s[k].line_y + w * LANES, 1);
            if (p < s[k].P && s[k].Q)
                depth_run(&d[k], depth_choose(&s[k]), p);
        }
    return true;
}

/* Of a block of dx; a line is one of each phase. */
static struct cut back_cut(const struct window *win)
{
    return (struct cut){win->groups, win->C / win->groups, (win->H + win->stride_h - 1) / win->stride_h};
}

static int64_t lanes_conv_dx_items(const struct call *c)
{
    return (int64_t)lanes_blocks(c->rows) * cut_units(back_cut(&c->g->window));
}

static void back_stretch(const struct call *c, struct stretch at, float *scratch)
{
    const struct window *win = &c->g->window;
    struct extent e = extent_of(back_cut(win), at);
    for (int group = e.from.groups; group < e.to.groups; group++) {
        int64_t i = at.block * win->groups + group;
        if (depth_back(c, i, e.from.lines, e.to.lines))
            continue;
        for (int phase = 0; phase < win->stride_h * win->stride_w; phase++) {
            struct sweep s = placed_sweep(c, i, phase);
            sweep_filters(&s, e.from.filters, e.to.filters);
            if (s.Q)
                run(&s, e.from.lines, e.to.lines < s.P ? e.to.lines : s.P, scratch);
        }
    }
}

static void lanes_conv_dx(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int units = cut_units(back_cut(&c->g->window));
    while (begin < end)
        back_stretch(c, stretch_next(&begin, end, units), scratch);
}

static size_t lanes_conv_dx_scratch(const struct geometry *g)
{
    const struct window *win = &g->window;
    size_t most = 0;
    for (int i = 0; i < win->stride_h * win->stride_w; i++) {
        struct phase h, w;
        struct sweep s = back_sweep(win, i, &h, &w);
        size_t floats = s.P && s.Q ? band_floats(&s) : 0;
        most = floats > most ? floats : most;
    }
    return most * sizeof(float);
}
