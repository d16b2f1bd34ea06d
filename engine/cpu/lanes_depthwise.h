/* Depthwise convolution at sixteen lanes: one channel, one filter. QUAD pixels of a row at a time, so that what taps
 * share is read once; a check for the border only where there is one. Bound by memory beyond small maps. Included after
 * lanes_conv.h. */

enum { QUAD = 4, DEPTH_TAPS = 64 };

/* A row of outputs: lines that its tap rows read, those outside the input NULL; weights R x S; where it is written. */
struct depth {
    const struct sweep *s;
    const float *lines[DEPTH_TAPS];
    float w[DEPTH_TAPS], *y;
    bool careful; /* a line is missing */
};

static const float border[LANES] = {0};

/* A load from nowhere under a mask costs hundreds of cycles: outside, zeros are read. */
INLINE vec pixel_at(const float *line, int column, int W, const bool careful)
{
    const float *at = border;
    if (!careful || (line && column >= 0 && column < W))
        at = line + (ptrdiff_t)column * LANES;
    return load(at);
}

/* sum[q] += w[r][s] x: columns that several pixels read are read once. */
INLINE void depth_fixed(const int R, const int S, const int stride, const struct depth *d, const vec *w,
                        int column, int part, const bool careful, vec *sum)
{
    int W = d->s->W;
    for (int r = 0; r < R; r++, w += S) {
        const float *line = d->lines[r] ? d->lines[r] + part : NULL;
        vec v[(QUAD - 1) * 2 + 5];
        EACH (i, (QUAD - 1) * stride + S)
            v[i] = pixel_at(line, column + i, W, careful);
        EACH (s, S)
            EACH (q, QUAD)
                sum[q] += w[s] * v[q * stride + s];
    }
}

INLINE void depth_loop(const struct depth *d, int column, int part, const bool careful, vec *sum)
{
    int S = d->s->S, W = d->s->W, stride = d->s->stride_w, dilation = d->s->dilation_w;
    for (int r = 0; r < d->s->R; r++) {
        const float *line = d->lines[r] ? d->lines[r] + part : NULL, *w = d->w + r * S;
        for (int i = 0; i < S; i++)
            for (int q = 0; q < QUAD; q++)
                sum[q] += w[i] * pixel_at(line, column + q * stride + i * dilation, W, careful);
    }
}

static __attribute__((noinline)) void depth_store(const struct sweep *s, const vec *sum, int count, float *y)
{
    const struct ending *e = &s->tile.end;
    for (int q = 0; q < count; q++, y += s->pixel_y) {
        vec v = sum[q];
        if (e->other)
            v += load(e->other + (y - s->y));
        v = vec_map(&e->map, v);
        if (e->add)
            v += load(y);
        store(y, v);
    }
}

/* The least and the greatest that a plain end lets through: it is none, relu or relu6, and sums go straight there. */
static bool depth_plain(const struct ending *e, float *low, float *high)
{
    *low = e->map.fn == MAP_IDENTITY ? -INFINITY : 0;
    *high = e->map.fn == MAP_RELU6 ? 6 : INFINITY;
    return !e->add && !e->other && (e->map.fn <= MAP_RELU || e->map.fn == MAP_RELU6);
}

INLINE vec depth_bias(const struct depth *d)
{
    return (vec){0} + (d->s->tile.b ? *d->s->tile.b : 0);
}

/* sum = b + all taps of QUAD pixels. R 0: any size. */
INLINE void depth_sums(const int R, const int S, const int stride, const struct depth *d, const vec *w, vec b,
                       int column, int part, const bool careful, vec *sum)
{
    EACH (i, QUAD)
        sum[i] = b;
    if (R)
        depth_fixed(R, S, stride, d, w, column, part, careful, sum);
    else
        depth_loop(d, column, part, careful, sum);
}

INLINE void depth_weight(const int R, const int S, const struct depth *d, vec *w)
{
    EACH (i, R * S)
        w[i] = (vec){0} + d->w[i];
}

/* Pixels q..end-1, checking what is there: at the border, or with an end that is not plain. */
INLINE void depth_slowly(const int R, const int S, const int stride, const struct depth *d, int part, int q,
                         int end)
{
    const struct sweep *s = d->s;
    vec sum[QUAD] __attribute__((aligned(64))), w[5 * 5], b = depth_bias(d);
    depth_weight(R, S, d, w);
    for (; q < end; q += QUAD) {
        depth_sums(R, S, stride, d, w, b, q * s->stride_w - s->left, part, true, sum);
        depth_store(s, sum, end - q < QUAD ? end - q : QUAD, d->y + q * s->pixel_y + part);
    }
}

/* Whole QUADs q..end-1 that lie inside, with a plain end. No call in here: weights stay in registers. */
INLINE void depth_quickly(const int R, const int S, const int stride, const struct depth *d, int part, int q,
                          int end)
{
    const struct sweep *s = d->s;
    ptrdiff_t pixel = s->pixel_y;
    float low, high;
    depth_plain(&s->tile.end, &low, &high);
    vec b = depth_bias(d), least = low - (vec){0}, most = high - (vec){0}, w[5 * 5], sum[QUAD];
    depth_weight(R, S, d, w);
    for (; q < end; q += QUAD) {
        float *y = d->y + q * pixel + part;
        depth_sums(R, S, stride, d, w, b, q * s->stride_w - s->left, part, false, sum);
        EACH (i, QUAD)
            store(y + i * pixel, vec_smaller(most, vec_larger(least, sum[i])));
    }
}

INLINE void depth_row(const int R, const int S, const int stride, const struct depth *d)
{
    const struct sweep *s = d->s;
    int step = s->stride_w, span = (QUAD - 1) * step + reach_w(s), from = 0, to;
    float low, high;
    while (from < s->Q && from * step < s->left)
        from += QUAD;
    for (to = from; s->Q - to >= QUAD && to * step - s->left + span <= s->W; to += QUAD) {
    }
    if (d->careful || !depth_plain(&s->tile.end, &low, &high))
        from = to = 0;
    for (int part = 0; part < LANES; part += LANES_WIDTH) {
        depth_slowly(R, S, stride, d, part, 0, from < s->Q ? from : s->Q);
        depth_quickly(R, S, stride, d, part, from, to);
        depth_slowly(R, S, stride, d, part, to > from ? to : from, s->Q);
    }
}

#define DEPTH_CODE(name, R, S, stride)                                        \
    static __attribute__((noinline)) void depth_##name(const struct depth *d) \
    {                                                                         \
        depth_row(R, S, stride, d);                                           \
    }
DEPTH_CODE(3_1, 3, 3, 1)
DEPTH_CODE(3_2, 3, 3, 2)
DEPTH_CODE(5_1, 5, 5, 1)
DEPTH_CODE(5_2, 5, 5, 2)
DEPTH_CODE(any, 0, 0, 0)

typedef void (*depth_code)(const struct depth *d);

static depth_code depth_choose(const struct sweep *s)
{
    bool square = s->R == s->S && s->dilation_w == 1;
    if (square && s->R == 3 && s->stride_w <= 2)
        return s->stride_w == 1 ? depth_3_1 : depth_3_2;
    if (square && s->R == 5 && s->stride_w <= 2)
        return s->stride_w == 1 ? depth_5_1 : depth_5_2;
    return depth_any;
}

/* Lines that output row p reads. */
static void depth_lines(struct depth *d, int p)
{
    const struct sweep *s = d->s;
    d->careful = false;
    for (int r = 0; r < s->R; r++) {
        int h = p * s->stride_h - s->top + r * s->dilation_h;
        bool inside = h >= 0 && h < s->H;
        d->lines[r] = inside ? s->x + (ptrdiff_t)h * s->W * LANES : NULL;
        d->careful = d->careful || !inside;
    }
}

static void depth_weights(struct depth *d, const struct sweep *s)
{
    d->s = s;
    for (int r = 0; r < s->R; r++)
        for (int i = 0; i < s->S; i++)
            d->w[r * s->S + i] = s->tile.w[r * s->tile.row_w + i * s->tile.tap_w];
}

static void depth_run(struct depth *d, depth_code code, int p)
{
    d->y = d->s->y + p * d->s->line_y;
    depth_lines(d, p);
    code(d);
}

/* Output rows from..to-1. */
static void run_depthwise(const struct sweep *s, int from, int to)
{
    struct depth d;
    depth_code code = depth_choose(s);
    depth_weights(&d, s);
    for (int p = from; p < to; p++)
        depth_run(&d, code, p);
}

/* May this sweep go here? To the input only where no filter is NaN or infinite: border taps are multiplied. */
static bool is_depthwise(const struct sweep *s)
{
    bool finite = true;
    if (s->C != 1 || s->K != 1 || s->R * s->S > DEPTH_TAPS || s->tile.end.pool)
        return false;
    for (int r = 0; s->clip && r < s->R; r++)
        for (int i = 0; i < s->S; i++)
            finite = finite && isfinite(s->tile.w[r * s->tile.row_w + i * s->tile.tap_w]);
    return finite;
}

/* ---- to the weights: 3x3 sums in registers ---- */

INLINE void depth_gradient_quad(const int stride, const struct depth *d, const float *dy, int column,
                                int part, int count, const bool careful, vec *sum)
{
    int W = d->s->W;
    vec g[QUAD];
    EACH (q, QUAD)
        g[q] = pixel_at(dy + part, q, careful ? count : QUAD, careful);
    EACH (r, 3) {
        const float *line = d->lines[r] ? d->lines[r] + part : NULL;
        vec v[(QUAD - 1) * 2 + 3];
        EACH (i, (QUAD - 1) * stride + 3)
            v[i] = pixel_at(line, column + i, W, careful);
        EACH (s, 3)
            EACH (q, QUAD)
                sum[r * 3 + s] += g[q] * v[q * stride + s];
    }
}

/* One row of dy. */
INLINE void depth_gradient_row(const int stride, const struct depth *d, const float *dy, vec *sums)
{
    int Q = d->s->Q;
    vec sum[9];
    EACH (i, 9)
        sum[i] = sums[i];
    for (int part = 0; part < LANES; part += LANES_WIDTH)
        for (int q = 0; q < Q; q += QUAD) {
            int column = q * stride - d->s->left;
            if (d->careful || Q - q < QUAD || column < 0 || column + (QUAD - 1) * stride + 3 > d->s->W)
                depth_gradient_quad(stride, d, dy + q * LANES, column, part, Q - q, true, sum);
            else
                depth_gradient_quad(stride, d, dy + q * LANES, column, part, QUAD, false, sum);
        }
    EACH (i, 9)
        sums[i] = sum[i];
}

static __attribute__((noinline)) void depth_gradient_1(const struct depth *d, const float *dy, vec *sums)
{
    depth_gradient_row(1, d, dy, sums);
}

static __attribute__((noinline)) void depth_gradient_2(const struct depth *d, const float *dy, vec *sums)
{
    depth_gradient_row(2, d, dy, sums);
}

static bool has_depth_gradient(const struct window *win)
{
    return win->groups == win->C && win->K == win->C && win->R == 3 && win->S == 3 && win->dilation_w == 1 &&
           win->stride_w <= 2;
}

/* dw of one channel over all blocks: dw[9]. */
static void depth_gradient(const struct call *c, int channel, float *dw)
{
    const struct window *win = &c->g->window;
    struct sweep s = forward_sweep(c->g);
    struct depth d = {.s = &s};
    vec sums[9] = {{0}};
    for (int64_t n = 0; n < lanes_blocks(c->rows); n++) {
        int64_t i = n * win->C + channel;
        const float *dy = (const float *)c->in[0] + i * win->P * win->Q * LANES;
        s.x = (const float *)c->in[1] + i * win->H * win->W * LANES;
        for (int p = 0; p < win->P; p++, dy += win->Q * LANES) {
            depth_lines(&d, p);
            (win->stride_w == 1 ? depth_gradient_1 : depth_gradient_2)(&d, dy, sums);
        }
    }
    for (int i = 0; i < 9; i++)
        dw[i] += sum_lanes(sums[i]);
}
