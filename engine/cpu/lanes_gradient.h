/* Weight gradients at sixteen lanes. Included after lanes_conv.h. */

/* ---- to the weights: filters x taps in registers, summed over pixels and blocks, then over lanes ---- */

INLINE float sum_lanes(vec v)
{
    float s = 0;
    for (int l = 0; l < LANES_WIDTH; l++)
        s += v[l];
    return s;
}

struct gradient_tile {
    const float *dy, *x[TAPS]; /* of the first block */
    float *dw;
    int blocks, P, Q;
    ptrdiff_t block_dy, block_x, filter_dy, row_x, pixel_x, filter_dw;
};

INLINE void gradient_run(const int filters, const int taps, const struct gradient_tile *t)
{
    vec sum[FILTERS][TAPS];
    for (int k = 0; k < filters; k++)
        for (int i = 0; i < taps; i++)
            sum[k][i] = (vec){0};
    for (int part = 0; part < LANES; part += LANES_WIDTH)
        for (int n = 0; n < t->blocks; n++)
            for (int p = 0; p < t->P; p++) {
                const float *dy = t->dy + n * t->block_dy + (ptrdiff_t)p * t->Q * LANES + part;
                ptrdiff_t at = n * t->block_x + p * t->row_x + part;
                for (int q = 0; q < t->Q; q++, dy += LANES, at += t->pixel_x)
                    for (int i = 0; i < taps; i++) {
                        vec x = *(const vec *)(t->x[i] + at);
                        for (int k = 0; k < filters; k++)
                            sum[k][i] += x * *(const vec *)(dy + k * t->filter_dy);
                    }
            }
    for (int k = 0; k < filters; k++)
        for (int i = 0; i < taps; i++)
            t->dw[k * t->filter_dw + i] += sum_lanes(sum[k][i]);
}

#define GRADIENT_CODE(filters, taps)                                                                 \
    static __attribute__((noinline)) void gradient_##filters##x##taps(const struct gradient_tile *t) \
    {                                                                                                \
        gradient_run(filters, taps, t);                                                              \
    }
GRADIENT_CODE(6, 4)
GRADIENT_CODE(6, 2)
GRADIENT_CODE(6, 1)
GRADIENT_CODE(4, 4)
GRADIENT_CODE(4, 2)
GRADIENT_CODE(4, 1)
GRADIENT_CODE(2, 4)
GRADIENT_CODE(2, 2)
GRADIENT_CODE(2, 1)
GRADIENT_CODE(1, 4)
GRADIENT_CODE(1, 2)
GRADIENT_CODE(1, 1)

#define GRADIENT(filters, taps)         \
    case (filters)*8 + (taps):          \
        gradient_##filters##x##taps(t); \
        break;

static void gradient_dispatch(int filters, int taps, const struct gradient_tile *t)
{
    switch (filters * 8 + taps) {
        GRADIENT(6, 4)
        GRADIENT(6, 2)
        GRADIENT(6, 1)
        GRADIENT(4, 4)
        GRADIENT(4, 2)
        GRADIENT(4, 1)
        GRADIENT(2, 4)
        GRADIENT(2, 2)
        GRADIENT(2, 1)
        GRADIENT(1, 4)
        GRADIENT(1, 2)
        GRADIENT(1, 1)
    }
}

/* Blocks that are summed in registers before their lanes are: enough that summing lanes costs little. */
static int blocks_at_once(const struct window *win)
{
    int pixels = win->P * win->Q;
    return pixels >= 64 || needs_border(win) ? 1 : 64 / pixels;
}

/* Filters k.. of a group by taps i.. of its list of channels x R x S, over blocks n.. */
static void gradient_taps(const struct call *c, int group, int k, int filters, int i, int taps, int n,
                          int blocks, float *scratch)
{
    const struct window *win = &c->g->window;
    int channels = win->C / win->groups, area = win->R * win->S, depth = channels * area, last = -1;
    size_t first = (size_t)(group * (win->K / win->groups) + k);
    const float *image = (const float *)c->in[1] + (ptrdiff_t)n * win->C * win->H * win->W * LANES;
    struct padded in = {0};
    struct gradient_tile t = {.dy = (const float *)c->in[0] +
                                    ((ptrdiff_t)n * win->K + (ptrdiff_t)first) * win->P * win->Q * LANES,
                              .dw = (float *)c->out[0] + first * (size_t)depth + (size_t)i,
                              .blocks = blocks,
                              .P = win->P,
                              .Q = win->Q,
                              .block_dy = (ptrdiff_t)win->K * win->P * win->Q * LANES,
                              .block_x = (ptrdiff_t)win->C * win->H * win->W * LANES,
                              .filter_dy = (ptrdiff_t)win->P * win->Q * LANES,
                              .pixel_x = win->stride_w * LANES,
                              .filter_dw = depth};
    for (int a = 0; a < taps; a++) {
        int channel = (i + a) / area, r = (i + a) % area / win->S, s = (i + a) % area % win->S;
        if (channel != last) {
            in = pad_channels(win, image, group * channels + channel, 1, scratch);
            scratch += (ptrdiff_t)in.H * in.W * LANES;
            last = channel;
        }
        t.x[a] = in.x + ((ptrdiff_t)r * win->dilation_h * in.W + s * win->dilation_w) * LANES;
        t.row_x = (ptrdiff_t)win->stride_h * in.W * LANES;
    }
    gradient_dispatch(filters, taps, &t);
}

static void bias_gradient(const struct call *c, int k, int filters, int blocks)
{
    const struct window *win = &c->g->window;
    ptrdiff_t plane = (ptrdiff_t)win->P * win->Q;
    for (int f = k; f < k + filters; f++) {
        float sum = 0;
        for (int part = 0; part < LANES; part += LANES_WIDTH) {
            vec v = {0};
            for (int n = 0; n < blocks; n++) {
                const float *dy =
                    (const float *)c->in[0] + ((ptrdiff_t)n * win->K + f) * plane * LANES + part;
                for (ptrdiff_t i = 0; i < plane; i++)
                    v += *(const vec *)(dy + i * LANES);
            }
            sum += sum_lanes(v);
        }
        ((float *)c->out[1])[f] += sum;
    }
}

/* Items are tiles of filters by chunks of taps: independent sums, each over the blocks in their order. */
enum { CHUNK_TAPS = 24 };

static int chunks(const struct window *win)
{
    return (win->C / win->groups * win->R * win->S + CHUNK_TAPS - 1) / CHUNK_TAPS;
}

static int filter_tiles(const struct window *win)
{
    return (win->K / win->groups + FILTERS - 1) / FILTERS;
}

static int64_t lanes_conv_dw_items(const struct call *c)
{
    const struct window *win = &c->g->window;
    return (int64_t)win->groups * filter_tiles(win) * chunks(win);
}

static void gradient_chunk(const struct call *c, int group, int k, int count, int chunk, float *scratch)
{
    const struct window *win = &c->g->window;
    int blocks = lanes_blocks(c->rows), at_once = blocks_at_once(win),
        depth = win->C / win->groups * win->R * win->S;
    int to = (chunk + 1) * CHUNK_TAPS < depth ? (chunk + 1) * CHUNK_TAPS : depth;
    for (int n = 0; n < blocks; n += at_once) {
        int some = blocks - n < at_once ? blocks - n : at_once;
        for (int f = 0, kt; f < count; f += kt) {
            kt = next_size(count - f, FILTERS);
            for (int i = chunk * CHUNK_TAPS, taps; i < to; i += taps) {
                taps = next_size(to - i, TAPS);
                gradient_taps(c, group, k + f, kt, i, taps, n, some, scratch);
            }
        }
    }
}

static void lanes_conv_dw(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    int tiles = filter_tiles(win), filters = win->K / win->groups;
    for (int64_t item = begin; item < end; item++) {
        int chunk = (int)(item % chunks(win)), tile = (int)(item / chunks(win));
        int group = tile / tiles, k = tile % tiles * FILTERS;
        int count = filters - k < FILTERS ? filters - k : FILTERS;
        if (c->out[0])
            gradient_chunk(c, group, k, count, chunk, scratch);
        if (c->out[1] && chunk == 0)
            bias_gradient(c, group * filters + k, count, lanes_blocks(c->rows));
    }
}

static size_t lanes_conv_dw_scratch(const struct geometry *g)
{
    return needs_border(&g->window) ? padded_floats(&g->window, TAPS) * sizeof(float) : 0;
}
