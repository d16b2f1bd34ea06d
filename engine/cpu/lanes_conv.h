/* Convolution at sixteen lanes, forward and to the input, as sweeps: tiles (lanes_tile.h) over the pixels of one block
 * and group. Where taps reach over the border, the rows that a band of output rows reads are copied, with their
 * border, into scratch that stays in the cache; else the input is read where it lies.
 * Next to read: lanes_depthwise.h, lanes_gradient.h, lanes_dense.h, lanes_other.h. */

/* A convolution of one block and group. Output pixel (p, q) and tap (r, s) read input pixel
 *   h = p * stride_h - top + r * dilation_h,   w = q * stride_w - left + s * dilation_w */
struct sweep {
    const float *x;
    float *y;
    int C, H, W, R, S, K, P, Q;
    int stride_h, stride_w, dilation_h, dilation_w, top, left;
    ptrdiff_t line_y, pixel_y; /* in y; filters are tile.filter_y apart */
    bool clip;                 /* taps in the border are left out, else they read zeros */
    struct tile tile;          /* w and its distances, b, filter_y, end */
};

/* Bytes of a copied band, so that it stays in L2 beside weights and outputs; pixels of a band where nothing is
 * copied, so that all filters find them there. */
enum { BAND_BYTES = 384 << 10, BAND_PIXELS_LEAST = 16 };

static int reach_h(const struct sweep *s)
{
    return s->dilation_h * (s->R - 1) + 1;
}

static int reach_w(const struct sweep *s)
{
    return s->dilation_w * (s->S - 1) + 1;
}

static bool crosses_border(const struct sweep *s)
{
    return s->top || s->left || (s->P - 1) * s->stride_h + reach_h(s) > s->H ||
           (s->Q - 1) * s->stride_w + reach_w(s) > s->W;
}

static int band_width(const struct sweep *s)
{
    return (s->Q - 1) * s->stride_w + reach_w(s);
}

static int band_lines(const struct sweep *s, int rows)
{
    return (rows - 1) * s->stride_h + reach_h(s);
}

/* Floats from channel to channel of a band: an odd number of pixels, so that channels do not meet in the cache. */
static ptrdiff_t band_channel(const struct sweep *s, int rows)
{
    return (((ptrdiff_t)band_lines(s, rows) * band_width(s)) | 1) * LANES;
}

/* Output rows of a copied band; even ones where pairs are pooled. */
static int band_rows(const struct sweep *s)
{
    int rows = 1, step = s->tile.end.pool ? 2 : 1;
    for (rows = step; rows < s->P; rows += step)
        if ((ptrdiff_t)s->C * band_channel(s, rows + step) * (ptrdiff_t)sizeof(float) > BAND_BYTES)
            break;
    return rows < s->P ? rows : s->P;
}

static size_t band_floats(const struct sweep *s)
{
    return crosses_border(s) ? (size_t)s->C * (size_t)band_channel(s, band_rows(s)) : 0;
}

/* Input rows from h on, columns from -left on, zeros outside. */
static void copy_band(const struct sweep *s, int h, int rows, float *to)
{
    int width = band_width(s), lines = band_lines(s, rows);
    int before = s->left < 0 ? 0 : s->left < width ? s->left : width, skip = s->left < 0 ? -s->left : 0;
    int inside = s->W - skip < width - before ? s->W - skip : width - before;
    inside = inside < 0 ? 0 : inside;
    for (int c = 0; c < s->C; c++, to += band_channel(s, rows))
        for (int i = 0; i < lines; i++) {
            float *line = to + (ptrdiff_t)i * width * LANES;
            int from = h + i;
            if (from < 0 || from >= s->H) {
                memset(line, 0, (size_t)width * LANES * sizeof *line);
                continue;
            }
            memset(line, 0, (size_t)before * LANES * sizeof *line);
            memcpy(line + before * LANES, s->x + (((ptrdiff_t)c * s->H + from) * s->W + skip) * LANES,
                   (size_t)inside * LANES * sizeof *line);
            memset(line + (before + inside) * LANES, 0,
                   (size_t)(width - before - inside) * LANES * sizeof *line);
        }
}

/* An input as tiles read it: pixel (line, column) of channel 0, line 0 what the band's first row reads first. */
struct band {
    const float *x;
    ptrdiff_t channel, line;
    int row, rows; /* output rows */
    bool ahead;    /* not in a near cache yet */
};

/* Taps lo..hi-1 that lie inside for output position i. */
struct reach {
    int lo, hi;
};

static struct reach reach_at(int i, int stride, int before, int dilation, int taps, int size)
{
    int first = i * stride - before, last = size - 1 - first;
    int lo = first >= 0 ? 0 : (-first + dilation - 1) / dilation, hi = last < 0 ? 0 : last / dilation + 1;
    hi = hi < taps ? hi : taps;
    return lo < hi ? (struct reach){lo, hi} : (struct reach){0, 0};
}

static struct reach row_reach(const struct sweep *s, int p)
{
    if (!s->clip)
        return (struct reach){0, s->R};
    return reach_at(p, s->stride_h, s->top, s->dilation_h, s->R, s->H);
}

static struct reach column_reach(const struct sweep *s, int q)
{
    if (!s->clip)
        return (struct reach){0, s->S};
    return reach_at(q, s->stride_w, s->left, s->dilation_w, s->S, s->W);
}

static bool same_reach(struct reach a, struct reach b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

/* Pixels that share their taps r, s: rows p.. by columns q.. of a band. */
struct patch {
    struct reach r, s;
    int p, p_end, q, q_end;
};

static void run_list(const struct sweep *s, const struct band *b, const struct patch *at, struct list *l)
{
    struct tile t = s->tile;
    ptrdiff_t row = s->dilation_h * b->line, tap = (ptrdiff_t)s->dilation_w * LANES;
    t.C = s->C;
    t.R = at->r.hi - at->r.lo;
    t.S = at->s.hi - at->s.lo;
    t.channel = b->channel;
    t.row = row;
    t.tap = tap;
    t.w += at->r.lo * t.row_w + at->s.lo * t.tap_w;
    if (t.R == 1 && t.S == 1) { /* channels as taps: one loop */
        t.S = t.C;
        t.C = 1;
        t.tap = t.channel;
        t.tap_w = t.channel_w;
        t.ahead = b->ahead ? (ptrdiff_t)l->count / PARTS * s->stride_w * LANES : 0;
    }
    if (l->count)
        tile_filters(t, b->x + at->r.lo * row + at->s.lo * tap, s->y, l, s->K);
    l->count = 0;
}

static void run_patch(const struct sweep *s, const struct band *b, const struct patch *at, int most)
{
    struct list l;
    l.count = 0;
    for (int p = at->p; p < at->p_end; p++)
        for (int q = at->q; q < at->q_end; q++) {
            list_add(&l, (p - b->row) * s->stride_h * b->line + (ptrdiff_t)q * s->stride_w * LANES,
                     p * s->line_y + q * s->pixel_y);
            if (l.count + PARTS > most)
                run_list(s, b, at, &l);
        }
    run_list(s, b, at, &l);
}

/* The windows of a 2x2 pool: their four pixels one behind another for each part. */
static void run_pooled(const struct sweep *s, const struct band *b, const struct patch *at, int most)
{
    struct list l;
    l.count = 0;
    for (int p = at->p; p + 1 < at->p_end; p += 2)
        for (int q = at->q; q + 1 < at->q_end; q += 2) {
            ptrdiff_t x = (p - b->row) * s->stride_h * b->line + (ptrdiff_t)q * s->stride_w * LANES;
            ptrdiff_t y = p / 2 * s->line_y + q / 2 * s->pixel_y;
            for (int part = 0; part < LANES; part += LANES_WIDTH)
                for (int i = 0; i < 4; i++, l.count++) {
                    l.x[l.count] = x + i / 2 * s->stride_h * b->line + i % 2 * s->stride_w * LANES + part;
                    l.y[l.count] = y + part;
                }
            if (l.count + 4 * PARTS > most)
                run_list(s, b, at, &l);
        }
    run_list(s, b, at, &l);
}

static void run_band(const struct sweep *s, const struct band *b, int most)
{
    struct patch at = {.p = b->row};
    for (; at.p < b->row + b->rows; at.p = at.p_end) {
        at.r = row_reach(s, at.p);
        for (at.p_end = at.p + 1; at.p_end < b->row + b->rows; at.p_end++)
            if (!same_reach(at.r, row_reach(s, at.p_end)))
                break;
        for (at.q = 0; at.q < s->Q; at.q = at.q_end) {
            at.s = column_reach(s, at.q);
            for (at.q_end = at.q + 1; at.q_end < s->Q; at.q_end++)
                if (!same_reach(at.s, column_reach(s, at.q_end)))
                    break;
            if (s->tile.end.pool)
                run_pooled(s, b, &at, most);
            else
                run_patch(s, b, &at, most);
        }
    }
}

/* Vectors of a list whose pixels, read where they lie, stay in L2 for all filters. */
static int list_most(const struct sweep *s)
{
    int most = BAND_BYTES / (int)sizeof(float) / LANES_WIDTH / (s->C > 0 ? s->C : 1) / PARTS * PARTS;
    most = most < BAND_PIXELS_LEAST * PARTS ? BAND_PIXELS_LEAST * PARTS : most;
    return most < LIST ? most : LIST;
}

/* The input of `rows` output rows from p on, its row 0 being p: where it lies, or a copy with its border. */
static struct band band_at(const struct sweep *s, int p, int rows, float *copy)
{
    if (!crosses_border(s))
        return (struct band){.x = s->x + (ptrdiff_t)p * s->stride_h * s->W * LANES,
                             .channel = (ptrdiff_t)s->H * s->W * LANES,
                             .line = (ptrdiff_t)s->W * LANES,
                             .rows = rows,
                             .ahead = true};
    copy_band(s, p * s->stride_h - s->top, rows, copy);
    return (struct band){
        .x = copy, .channel = band_channel(s, rows), .line = (ptrdiff_t)band_width(s) * LANES, .rows = rows};
}

/* Output rows from..to-1. */
static void run_sweep(const struct sweep *s, int from, int to, float *scratch)
{
    bool copies = crosses_border(s);
    int rows = copies ? band_rows(s) : s->P;
    for (int p = from; p < to; p += rows) {
        struct band b = band_at(s, p, to - p < rows ? to - p : rows, scratch);
        b.row = p;
        run_band(s, &b, copies ? LIST : list_most(s));
    }
}

/* ---- what a block is cut into ---- */

/* Units are lines of the output where there are enough of them. Else the channels of the output: then a line would leave
 * tiles half empty and want all weights anew. Or whole groups where there are many. */
enum { CUT_GROUPS = 8, CUT_LINES = 16, CUT_FILTERS = 48 };

/* Of a convolution's output: `groups` groups, each of `filters` channels with `lines` lines. */
struct cut {
    int groups, filters, lines;
};

static bool cuts_groups(struct cut all)
{
    return all.groups >= CUT_GROUPS;
}

static bool cuts_filters(struct cut all)
{
    return all.groups == 1 && all.lines < CUT_LINES && all.filters >= CUT_FILTERS;
}

static int cut_units(struct cut all)
{
    return cuts_groups(all)    ? all.groups
           : cuts_filters(all) ? (all.filters + FILTERS - 1) / FILTERS
                               : all.lines;
}

/* What a stretch of units is of it: from `from` up to `to`. */
struct extent {
    struct cut from, to;
};

static struct extent extent_of(struct cut all, struct stretch at)
{
    struct extent e = {.to = all};
    if (cuts_groups(all)) {
        e.from.groups = at.from;
        e.to.groups = at.to;
    } else if (cuts_filters(all)) {
        e.from.filters = at.from * FILTERS;
        e.to.filters = at.to * FILTERS < all.filters ? at.to * FILTERS : all.filters;
    } else {
        e.from.lines = at.from;
        e.to.lines = at.to;
    }
    return e;
}

/* The sweep of filters from..to-1 alone. */
static void sweep_filters(struct sweep *s, int from, int to)
{
    s->y += from * s->tile.filter_y;
    s->tile.w += from * s->tile.filter_w;
    s->tile.b = s->tile.b ? s->tile.b + from : NULL;
    s->tile.end.other = s->tile.end.other ? s->tile.end.other + from * s->tile.filter_y : NULL;
    s->K = to - from;
}

/* ---- forward ---- */

/* Of group 0 and block 0. */
static struct sweep forward_sweep(const struct geometry *g)
{
    const struct window *win = &g->window;
    int channels = win->C / win->groups, taps = win->R * win->S;
    struct tile t = {.filter_w = (ptrdiff_t)channels * taps,
                     .channel_w = taps,
                     .row_w = win->S,
                     .tap_w = 1,
                     .filter_y = (ptrdiff_t)win->P * win->Q * LANES,
                     .end = {.map = g->map}};
    return (struct sweep){.C = channels,
                          .H = win->H,
                          .W = win->W,
                          .R = win->R,
                          .S = win->S,
                          .K = win->K / win->groups,
                          .P = win->P,
                          .Q = win->Q,
                          .stride_h = win->stride_h,
                          .stride_w = win->stride_w,
                          .dilation_h = win->dilation_h,
                          .dilation_w = win->dilation_w,
                          .top = win->pad_top,
                          .left = win->pad_left,
                          .line_y = (ptrdiff_t)win->Q * LANES,
                          .pixel_y = LANES,
                          .tile = t};
}
