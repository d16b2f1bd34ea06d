/* Weight gradients of convolutions at sixteen lanes: filters x taps in registers, summed over the pixels of a band of
 * rows; between bands and blocks the sums wait in scratch, and their lanes are added at the end. Included after
 * lanes_conv.h. */

/* Filters of an item, and how many taps at most unless a single channel has more. */
enum { TAPS = LANES_PIXELS, GRADIENT_FILTERS = 12, GRADIENT_TAPS = 36, GRADIENT_PIXELS = 128 };

/* Windows of many taps over few channels, the usual first layer: all channels go at once, so that dy is read once; and where
 * that makes fewer than so many items, an item is a part of their taps. */
enum { GRADIENT_PART = 12, GRADIENT_TAPS_MOST = 96, GRADIENT_ITEMS = 8 };

struct gradient_tile {
    const float *dy, *x[TAPS]; /* of the first block and row */
    float *sum;                /* [taps][GRADIENT_FILTERS][LANES_WIDTH] */
    int blocks, rows, Q;
    ptrdiff_t block_dy, block_x, filter_dy, row_x, pixel_x;
};

INLINE void gradient_run(const int filters, const int taps, const struct gradient_tile *t)
{
    vec sum[FILTERS * TAPS];
    const float *x[TAPS];
    EACH (k, filters)
        EACH (i, taps)
            sum[k * taps + i] = load(t->sum + (i * GRADIENT_FILTERS + k) * LANES_WIDTH);
    for (int part = 0; part < LANES; part += LANES_WIDTH)
        for (int n = 0; n < t->blocks; n++)
            for (int p = 0; p < t->rows; p++) {
                const float *dy = t->dy + n * t->block_dy + (ptrdiff_t)p * t->Q * LANES + part;
                EACH (i, taps)
                    x[i] = t->x[i] + n * t->block_x + p * t->row_x + part;
                ptrdiff_t at = 0;
                for (int q = 0; q < t->Q; q++, dy += LANES, at += t->pixel_x) {
                    vec v[TAPS];
                    EACH (i, taps)
                        v[i] = load(x[i] + at);
                    EACH (k, filters)
                        EACH (i, taps)
                            sum[k * taps + i] += v[i] * load(dy + k * t->filter_dy);
                }
            }
    EACH (k, filters)
        EACH (i, taps)
            store(t->sum + (i * GRADIENT_FILTERS + k) * LANES_WIDTH, sum[k * taps + i]);
}

#define GRADIENT_CODE(filters, taps)                                                                 \
    static __attribute__((noinline)) void gradient_##filters##x##taps(const struct gradient_tile *t) \
    {                                                                                                \
        gradient_run(filters, taps, t);                                                              \
    }
GRADIENT_CODE(6, 2)
GRADIENT_CODE(6, 1)
GRADIENT_CODE(4, 2)
GRADIENT_CODE(4, 1)
GRADIENT_CODE(2, 2)
GRADIENT_CODE(2, 1)
GRADIENT_CODE(1, 2)
GRADIENT_CODE(1, 1)
#if LANES_PIXELS == 4
GRADIENT_CODE(6, 4)
GRADIENT_CODE(4, 4)
GRADIENT_CODE(2, 4)
GRADIENT_CODE(1, 4)
#endif

#define GRADIENT(filters, taps)         \
    case (filters)*8 + (taps):          \
        gradient_##filters##x##taps(t); \
        break;

static void gradient_dispatch(int filters, int taps, const struct gradient_tile *t)
{
    switch (filters * 8 + taps) {
        GRADIENT(6, 2)
        GRADIENT(6, 1)
        GRADIENT(4, 2)
        GRADIENT(4, 1)
        GRADIENT(2, 2)
        GRADIENT(2, 1)
        GRADIENT(1, 2)
        GRADIENT(1, 1)
#if LANES_PIXELS == 4
        GRADIENT(6, 4)
        GRADIENT(4, 4)
        GRADIENT(2, 4)
        GRADIENT(1, 4)
#endif
    }
}

static int lower(int a, int b)
{
    return a < b ? a : b;
}

/* ---- to the biases: sums of dy, in the order of blocks and pixels ---- */

enum { BIASES = 4 }; /* side by side: one sum would wait for itself */

/* Adds so many pixels of BIASES filters, one part of their lanes, to v. */
INLINE void bias_pixels(const float *const *dy, int64_t pixels, vec *v)
{
    for (int64_t i = 0; i < pixels * LANES; i += LANES)
        EACH (b, BIASES)
            v[b] += load(dy[b] + i);
}

/* Adds the pixels of t to sums [filters][LANES]. */
static void bias_band(const struct gradient_tile *t, int filters, float *sums)
{
    for (int f = 0; f < filters; f += BIASES)
        for (int part = 0; part < LANES; part += LANES_WIDTH) {
            vec v[BIASES];
            const float *dy[BIASES];
            EACH (b, BIASES) /* beyond the last filter that one again, unkept */
                v[b] = load(sums + lower(f + b, filters - 1) * LANES + part);
            for (int n = 0; n < t->blocks; n++) {
                EACH (b, BIASES)
                    dy[b] = t->dy + n * t->block_dy + lower(f + b, filters - 1) * t->filter_dy + part;
                bias_pixels(dy, (int64_t)t->rows * t->Q, v);
            }
            EACH (b, BIASES)
                if (f + b < filters)
                    store(sums + (f + b) * LANES + part, v[b]);
        }
}

static void bias_add(const float *sums, int filters, float *db)
{
    for (int f = 0; f < filters; f++) {
        float sum = 0;
        for (int part = 0; part < LANES; part += LANES_WIDTH)
            sum += sum_lanes(load(sums + f * LANES + part));
        db[f] += sum;
    }
}

/* Filters k.. of K, each a plane of so many pixels, in a sweep of their own. */
static void bias_gradient(const struct call *c, int k, int filters, int64_t plane, int64_t K)
{
    for (int f = 0; f < filters; f += GRADIENT_FILTERS) {
        int count = lower(filters - f, GRADIENT_FILTERS);
        __attribute__((aligned(64))) float sums[GRADIENT_FILTERS * LANES] = {0};
        struct gradient_tile t = {.dy = (const float *)c->in[0] + (k + f) * plane * LANES,
                                  .blocks = lanes_blocks(c->rows),
                                  .rows = 1,
                                  .Q = (int)plane,
                                  .block_dy = K * plane * LANES,
                                  .filter_dy = plane * LANES};
        bias_band(&t, count, sums);
        bias_add(sums, count, (float *)c->out[1] + k + f);
    }
}

/* ---- items: some filters by some channels of a group, or by a part of their taps; each sum over all blocks in their
 * order ---- */

static bool has_parts(const struct window *win)
{
    int area = win->R * win->S;
    return area >= 2 * GRADIENT_PART && area * (win->C / win->groups) <= GRADIENT_TAPS_MOST;
}

static int channels_at_once(const struct window *win)
{
    int some = GRADIENT_TAPS / (win->R * win->S), all = win->C / win->groups;
    return has_parts(win) ? all : lower(some > 0 ? some : 1, all);
}

static int gradient_chunks(const struct window *win)
{
    int some = channels_at_once(win);
    return (win->C / win->groups + some - 1) / some;
}

static int filter_slices(const struct window *win)
{
    return (win->K / win->groups + GRADIENT_FILTERS - 1) / GRADIENT_FILTERS;
}

static int gradient_parts(const struct window *win)
{
    bool few = win->groups * filter_slices(win) * gradient_chunks(win) < GRADIENT_ITEMS;
    return few && has_parts(win) ? win->R * win->S * channels_at_once(win) / GRADIENT_PART : 1;
}

static int64_t lanes_conv_dw_items(const struct call *c)
{
    const struct window *win = &c->g->window;
    return (int64_t)win->groups * filter_slices(win) * gradient_chunks(win) * gradient_parts(win);
}

/* Rows of a band, and blocks where a band is the whole map. */
static int gradient_rows(const struct window *win)
{
    int rows = (GRADIENT_PIXELS + win->Q - 1) / win->Q;
    return lower(rows, win->P);
}

static int gradient_blocks(const struct window *win)
{
    int pixels = win->P * win->Q;
    return pixels >= GRADIENT_PIXELS ? 1 : GRADIENT_PIXELS / pixels;
}

struct gradient_item {
    int group, filter, filters, channel, channels;
    int tap, tap_end, parts; /* taps counted over all channels */
};

/* Item number `item`; with the parts of the same filters and channels behind it, so many in all at most. */
static struct gradient_item gradient_item_of(const struct window *win, int64_t item, int64_t most)
{
    int some = channels_at_once(win), per_group = filter_slices(win) * gradient_chunks(win);
    int parts = gradient_parts(win), part = (int)(item % parts);
    int slice = (int)(item / parts % filter_slices(win)),
        chunk = (int)(item / parts % per_group) / filter_slices(win);
    struct gradient_item g = {.group = (int)(item / parts / per_group),
                              .filter = slice * GRADIENT_FILTERS,
                              .channel = chunk * some};
    g.filters = lower(win->K / win->groups - g.filter, GRADIENT_FILTERS);
    g.channels = lower(win->C / win->groups - g.channel, some);
    g.tap = part * GRADIENT_PART;
    g.parts = most < parts - part ? (int)most : parts - part;
    g.tap_end = part + g.parts < parts ? g.tap + g.parts * GRADIENT_PART : g.channels * win->R * win->S;
    return g;
}

/* All filters and taps of an item over one band; t has dy and the distances. */
static void gradient_band(const struct window *win, const struct gradient_item *item, const struct band *b,
                          struct gradient_tile t, float *sums)
{
    int area = win->R * win->S;
    const float *dy = t.dy;
    for (int k = 0, kt; k < item->filters; k += kt) {
        kt = next_size(item->filters - k, FILTERS);
        t.dy = dy + k * t.filter_dy;
        for (int i = item->tap, taps; i < item->tap_end; i += taps) {
            taps = next_size(item->tap_end - i, TAPS);
            for (int a = i; a < i + taps; a++)
                t.x[a - i] = b->x + a / area * b->channel + a % area / win->S * win->dilation_h * b->line +
                             a % win->S * win->dilation_w * LANES;
            t.sum = sums + (i * GRADIENT_FILTERS + k) * LANES_WIDTH;
            gradient_dispatch(kt, taps, &t);
        }
    }
}

/* Blocks n.. of an item, band by band. biases: NULL where others make them. */
static void gradient_blocks_of(const struct call *c, const struct gradient_item *item, int n, int blocks,
                               float *sums, float *biases, float *scratch)
{
    const struct window *win = &c->g->window;
    struct sweep s = forward_sweep(c->g);
    ptrdiff_t image = (ptrdiff_t)win->C * win->H * win->W * LANES;
    int rows = gradient_rows(win), first_channel = item->group * s.C + item->channel;
    bool copied = crosses_border(&s);
    s.C = item->channels;
    s.x = (const float *)c->in[1] + n * image + (ptrdiff_t)first_channel * s.H * s.W * LANES;
    struct gradient_tile t = {.blocks = blocks,
                              .Q = win->Q,
                              .block_dy = (ptrdiff_t)win->K * win->P * win->Q * LANES,
                              .filter_dy = (ptrdiff_t)win->P * win->Q * LANES,
                              .block_x = image,
                              .pixel_x = win->stride_w * LANES};
    t.dy = (const float *)c->in[0] + n * t.block_dy +
           ((ptrdiff_t)item->group * (win->K / win->groups) + item->filter) * t.filter_dy;
    struct band b = {s.x, (ptrdiff_t)s.H * s.W * LANES, (ptrdiff_t)s.W * LANES, 0, rows, false};
    for (; b.row < win->P; b.row += rows, t.dy += (ptrdiff_t)rows * win->Q * LANES) {
        t.rows = lower(win->P - b.row, rows);
        if (copied) {
            b = (struct band){
                scratch, band_channel(&s, t.rows), (ptrdiff_t)band_width(&s) * LANES, b.row, rows, false};
            t.block_x = b.channel * item->channels;
            for (int i = 0; i < blocks; i++) {
                struct sweep one = s;
                one.x += i * image;
                copy_band(&one, b.row * win->stride_h - win->pad_top, t.rows, scratch + i * t.block_x);
            }
        } else {
            b.x = s.x + b.row * win->stride_h * b.line;
        }
        t.row_x = win->stride_h * b.line;
        gradient_band(win, item, &b, t, sums);
        if (biases)
            bias_band(&t, item->filters, biases);
    }
}

static void gradient_add(const struct window *win, const struct gradient_item *item, const float *sums,
                         float *dw)
{
    int area = win->R * win->S;
    ptrdiff_t depth = (ptrdiff_t)(win->C / win->groups) * area;
    dw += ((ptrdiff_t)item->group * (win->K / win->groups) + item->filter) * depth +
          (ptrdiff_t)item->channel * area;
    for (int k = 0; k < item->filters; k++)
        for (int i = item->tap; i < item->tap_end; i++)
            dw[k * depth + i] += sum_lanes(load(sums + (i * GRADIENT_FILTERS + k) * LANES_WIDTH));
}

static size_t gradient_sum_floats(const struct window *win)
{
    return (size_t)(channels_at_once(win) * win->R * win->S) * GRADIENT_FILTERS * LANES_WIDTH;
}

static void gradient_of_item(const struct call *c, const struct gradient_item *item, float *scratch)
{
    const struct window *win = &c->g->window;
    int blocks = lanes_blocks(c->rows), at_once = gradient_blocks(win);
    bool biased = c->out[1] && item->channel == 0 && item->tap == 0;
    __attribute__((aligned(64))) float biases[GRADIENT_FILTERS * LANES] = {0};
    float *sums = scratch, *copies = sums + gradient_sum_floats(win);
    memset(sums, 0, gradient_sum_floats(win) * sizeof *sums);
    for (int n = 0; n < blocks; n += at_once)
        gradient_blocks_of(c, item, n, lower(blocks - n, at_once), sums, biased ? biases : NULL, copies);
    gradient_add(win, item, sums, c->out[0]);
    if (biased)
        bias_add(biases, item->filters,
                 (float *)c->out[1] + item->group * (win->K / win->groups) + item->filter);
}

static void lanes_conv_dw(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    for (struct gradient_item item; begin < end; begin += item.parts) {
        item = gradient_item_of(win, begin, end - begin);
        if (c->out[0] && !has_depth_gradient(win)) {
            gradient_of_item(c, &item, scratch);
            continue;
        }
        if (c->out[1] && item.channel == 0 && item.tap == 0)
            bias_gradient(c, item.group * (win->K / win->groups) + item.filter, item.filters,
                          (int64_t)win->P * win->Q, win->K);
        if (c->out[0])
            depth_gradient(c, item.group, (float *)c->out[0] + item.group * 9);
    }
}

static size_t lanes_conv_dw_scratch(const struct geometry *g)
{
    const struct window *win = &g->window;
    struct sweep s = forward_sweep(g);
    size_t copies = 0;
    if (crosses_border(&s))
        copies = (size_t)band_channel(&s, gradient_rows(win)) * (size_t)channels_at_once(win) *
                 (size_t)gradient_blocks(win);
    return (gradient_sum_floats(win) + copies) * sizeof(float);
}
