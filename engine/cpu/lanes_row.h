/* Convolution of single rows (one lane, NCHW) with the tiles of lanes_tile.h: here a vector holds neighbours of one
 * image. The image is copied with its border; its lines then lie one behind another, so that a vector may begin
 * anywhere and outputs are computed for whole lines, the border's places too. Included last, once for each instruction
 * set; conv.c chooses what goes here. */

enum { ROW_FILTERS = 12, ROW_SLACK = 64 };

/* ---- from a result to memory: y = f(b + result + residual), the largest of 2x2, added or put ---- */

INLINE vec line_result(const struct map *map, vec b, vec v, const float *other)
{
    v += b;
    if (other)
        v += load(other);
    return vec_map(map, v);
}

/* n results. Where `room` floats may be written (and are written again later), whole vectors are. */
INLINE void finish_line(const struct map *map, float bias, const float *from, const float *other, float *to,
                        int64_t n, int64_t room)
{
    float in[LANES_WIDTH] = {0}, beside[LANES_WIDTH] = {0}, out[LANES_WIDTH];
    vec b = (vec){0} + bias;
    int64_t i = 0;
    for (; i < n && i + LANES_WIDTH <= room; i += LANES_WIDTH)
        store(to + i, line_result(map, b, load(from + i), other ? other + i : NULL));
    if (i >= n)
        return;
    for (int k = 0; k < n - i; k++) {
        in[k] = from[i + k];
        beside[k] = other ? other[i + k] : 0;
    }
    store(out, line_result(map, b, load(in), other ? beside : NULL));
    for (int k = 0; k < n - i; k++)
        to[i + k] = out[k];
}

/* One function there is vector code for at a time, so that the loop does not choose. */
static __attribute__((noinline)) void finish(const struct map *map, float bias, const float *from,
                                             const float *other, float *to, int64_t n, int64_t room)
{
    if (map->fn == MAP_IDENTITY)
        finish_line(&(struct map){.fn = MAP_IDENTITY}, bias, from, other, to, n, room);
    else if (map->fn == MAP_RELU)
        finish_line(&(struct map){.fn = MAP_RELU}, bias, from, other, to, n, room);
    else if (map->fn == MAP_RELU6)
        finish_line(&(struct map){.fn = MAP_RELU6}, bias, from, other, to, n, room);
    else
        finish_line(map, bias, from, other, to, n, room);
}

static float later(float x, float most)
{
    return formula_max_takes(x, most) ? x : most;
}

static void finish_pooled(const float *a, const float *b, float *y, int n)
{
    for (int q = 0; q < n; q++)
        y[q] = later(b[2 * q + 1], later(b[2 * q], later(a[2 * q + 1], a[2 * q])));
}

/* Filter k of row n, output rows p..p + rows - 1, whose results lie `pitch` floats apart in `from`, with
 * ROW_SLACK behind them where that is more than Q. Results that are pooled or added are overwritten; pooled: p is even. */
static void row_finish(const struct call *c, int64_t n, int k, int p, int rows, float *from, ptrdiff_t pitch)
{
    const struct window *win = &c->g->window;
    int64_t plane = n * win->K + k, area = (int64_t)win->P * win->Q, at = plane * area + (int64_t)p * win->Q;
    const float *other = c->in[3] ? (const float *)c->in[3] + at : NULL;
    float bias = c->in[2] ? ((const float *)c->in[2])[k] : 0, *y = c->out[0];
    bool kept = !win->halve && !c->add; /* as they are */
    bool whole = !kept && !other && pitch > win->Q;
    int lines = pitch == win->Q ? 1 : rows, width = pitch == win->Q ? rows * win->Q : win->Q;
    if (whole) /* border's places too: they are looked at no more */
        finish(&c->g->map, bias, from, NULL, from, (rows - 1) * pitch + win->Q, rows * pitch + LANES_WIDTH);
    for (int i = 0; i < lines; i++) {
        float *line = from + i * pitch;
        int64_t before = (int64_t)i * win->Q;
        if (!whole)
            finish(&c->g->map, bias, line, other ? other + before : NULL, kept ? y + at + before : line,
                   width, kept ? area - (int64_t)p * win->Q - before : width);
        for (int q = 0; c->add && q < width; q++)
            y[at + before + q] += line[q];
    }
    for (int i = 0; win->halve && i + 1 < rows; i += 2)
        finish_pooled(from + i * pitch, from + (i + 1) * pitch,
                      y + (plane * (win->P / 2) + (p + i) / 2) * (win->Q / 2), win->Q / 2);
}

/* ---- convolution ---- */

/* Taps and pixels one to one. */
static bool is_single(const struct window *win)
{
    return win->R == 1 && win->S == 1 && win->stride_h == 1 && win->stride_w == 1 && !win->pad_top &&
           !win->pad_left && win->P == win->H && win->Q == win->W && !win->halve;
}

/* Distances of the copied image and of results, in floats. */
struct row_plan {
    struct sweep s;
    int lines, pitch, rows; /* rows of a band */
    ptrdiff_t channel, filter;
};

static int row_width(const struct row_plan *r) /* columns computed of a line */
{
    return (r->s.Q - 1) * r->s.stride_w + 1;
}

static struct row_plan row_plan_of(const struct geometry *g)
{
    struct row_plan r = {.s = forward_sweep(g)};
    r.lines = band_lines(&r.s, r.s.P);
    r.pitch = band_width(&r.s);
    r.channel = (ptrdiff_t)r.lines * r.pitch;
    r.channel += r.channel % 1024 ? 0 : 16; /* channels must not meet in the cache */
    int most = (LIST - 1) * 16 / r.pitch / 2 * 2;
    r.rows = most < 2 ? 2 : most < r.s.P ? most : r.s.P;
    r.filter = (ptrdiff_t)r.rows * r.pitch + ROW_SLACK;
    return r;
}

static size_t row_conv_scratch(const struct geometry *g)
{
    const struct window *win = &g->window;
    if (is_single(win))
        return (size_t)(win->C + win->K) / (size_t)win->groups * LANES * sizeof(float);
    struct row_plan r = row_plan_of(g);
    return ((size_t)r.s.C * (size_t)r.channel + ROW_SLACK + ROW_FILTERS * (size_t)r.filter) * sizeof(float);
}

/* Lines of the image that lie inside, between borders of zeros which are there already. */
static void copy_image(const struct row_plan *r, const float *x, float *to)
{
    const struct sweep *s = &r->s;
    int before = lower(s->left, r->pitch), inside = lower(s->W, r->pitch - before);
    int first = lower(s->top, r->lines), last = lower(s->top + s->H, r->lines);
    for (int c = 0; c < s->C; c++)
        for (int i = first; i < last; i++) {
            const float *line = x + ((ptrdiff_t)c * s->H + i - s->top) * s->W;
            float *copy = to + c * r->channel + (ptrdiff_t)i * r->pitch + before;
            int w = 0;
            for (; w + LANES_WIDTH <= inside; w += LANES_WIDTH)
                store(copy + w, load(line + w));
            if (w < inside && inside >= LANES_WIDTH)
                store(copy + inside - LANES_WIDTH, load(line + inside - LANES_WIDTH));
            else
                for (; w < inside; w++)
                    copy[w] = line[w];
        }
}

/* `filters` filters over output rows p..p + rows - 1 to `results`. */
static void row_tiles(const struct row_plan *r, struct tile t, const float *image, int p, int rows,
                      int filters, float *results)
{
    struct list l;
    bool whole = r->s.stride_h == 1; /* lines are one long line */
    int lines = whole ? 1 : rows, width = whole ? (rows - 1) * r->pitch + row_width(r) : row_width(r);
    l.count = 0;
    for (int i = 0; i < lines; i++)
        for (int q = 0; q < width; q += LANES_WIDTH) {
            l.x[l.count] = (ptrdiff_t)(p + i) * r->s.stride_h * r->pitch + q;
            l.y[l.count++] = (ptrdiff_t)i * r->pitch + q;
            if (l.count == LIST) {
                tile_filters(t, image, results, &l, filters);
                l.count = 0;
            }
        }
    if (l.count)
        tile_filters(t, image, results, &l, filters);
}

static void row_group(const struct call *c, const struct row_plan *r, int64_t n, int group, float *image)
{
    const struct sweep *s = &r->s;
    float *results = image + s->C * r->channel + ROW_SLACK;
    struct tile t = s->tile;
    t.end = (struct ending){.other = NULL};
    t.C = s->C;
    t.R = s->R;
    t.S = s->S;
    t.channel = r->channel;
    t.row = (ptrdiff_t)s->dilation_h * r->pitch;
    t.tap = s->dilation_w;
    t.filter_y = r->filter;
    copy_image(r, (const float *)c->in[0] + (n * c->g->window.groups + group) * s->C * s->H * s->W, image);
    for (int p = 0; p < s->P; p += r->rows)
        for (int k = 0; k < s->K; k += ROW_FILTERS) {
            int rows = lower(s->P - p, r->rows), filters = lower(s->K - k, ROW_FILTERS);
            t.w = (const float *)c->in[1] + ((ptrdiff_t)group * s->K + k) * t.filter_w;
            row_tiles(r, t, image, p, rows, filters, results);
            for (int f = 0; f < filters; f++) {
                float *from = results + f * r->filter;
                for (int i = 0; s->stride_w > 1 && i < rows; i++)
                    for (int q = 0; q < s->Q; q++)
                        from[i * r->pitch + q] = from[i * r->pitch + q * s->stride_w];
                row_finish(c, n, group * s->K + k + f, p, rows, from, r->pitch);
            }
        }
}

/* One group of a convolution of single taps: whole vectors where they lie; what is left of the pixels by way of
 * scratch. */
static void single_group(const struct call *c, int64_t n, int group, float *scratch)
{
    const struct window *win = &c->g->window;
    int C = win->C / win->groups, K = win->K / win->groups, area = win->P * win->Q,
        whole = area - area % LANES_WIDTH;
    int64_t at = (n * win->K + group * K) * area;
    int most = BAND_BYTES / (int)sizeof(float) / LANES_WIDTH / C;
    const float *x = (const float *)c->in[0] + (n * win->C + group * C) * area,
                *other = c->in[3] ? (const float *)c->in[3] + at : NULL;
    float *y = (float *)c->out[0] + at, *results = scratch + C * LANES_WIDTH;
    struct tile t = {.w = (const float *)c->in[1] + (ptrdiff_t)group * K * C,
                     .b = c->in[2] ? (const float *)c->in[2] + group * K : NULL,
                     .C = 1,
                     .R = 1,
                     .S = C,
                     .tap = area,
                     .tap_w = 1,
                     .filter_w = C,
                     .filter_y = area,
                     .end = {.map = c->g->map, .other = other, .add = c->add}};
    struct list l;
    most = most < BAND_PIXELS_LEAST ? BAND_PIXELS_LEAST : most < LIST ? most : LIST;
    for (int i = 0; i < whole;) {
        for (l.count = 0; i < whole && l.count < most; i += LANES_WIDTH, l.count++)
            l.x[l.count] = l.y[l.count] = i;
        tile_filters(t, x, y, &l, K);
    }
    if (whole == area)
        return;
    for (int k = 0; k < C; k++)
        for (int i = 0; i < LANES_WIDTH; i++)
            scratch[k * LANES_WIDTH + i] = i < area - whole ? x[(ptrdiff_t)k * area + whole + i] : 0;
    t.tap = t.filter_y = LANES_WIDTH;
    t.end = (struct ending){.other = NULL};
    l.count = 1;
    l.x[0] = l.y[0] = 0;
    tile_filters(t, scratch, results, &l, K);
    for (int k = 0; k < K; k++) {
        float *from = results + k * LANES_WIDTH, *to = y + (ptrdiff_t)k * area + whole;
        finish(&c->g->map, 0, from, other ? other + (ptrdiff_t)k * area + whole : NULL, from, area - whole,
               area - whole);
        for (int i = 0; i < area - whole; i++)
            to[i] = (c->add ? to[i] : 0) + from[i];
    }
}

static void row_conv(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int groups = c->g->window.groups;
    if (is_single(&c->g->window)) {
        for (int64_t i = begin * groups; i < end * groups; i++)
            single_group(c, i / groups, (int)(i % groups), scratch);
        return;
    }
    struct row_plan r = row_plan_of(c->g);
    memset(scratch, 0, ((size_t)r.s.C * (size_t)r.channel + ROW_SLACK) * sizeof(float));
    for (int64_t i = begin * groups; i < end * groups; i++)
        row_group(c, &r, i / groups, (int)(i % groups), scratch);
}

const struct row_code LANES_ROWS = {row_conv, row_finish, row_conv_scratch};
