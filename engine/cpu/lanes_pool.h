/* Max and average pools at sixteen lanes. Windows that tile the map, as those of stride 2 and size 2 or of a whole
 * map do, write each value of dx once; others add to zeros. Rules for equals and NaN: formula.h. Included before
 * lanes_other.h. */

/* The part of output pixel (p, q)'s window that lies in the input: rows h0..h1-1, columns w0..w1-1. */
struct part {
    int h0, h1, w0, w1;
};

static struct part part_of(const struct window *win, int p, int q)
{
    int h = p * win->stride_h - win->pad_top, w = q * win->stride_w - win->pad_left;
    return (struct part){h > 0 ? h : 0, h + win->R < win->H ? h + win->R : win->H, w > 0 ? w : 0,
                         w + win->S < win->W ? w + win->S : win->W};
}

/* Every pixel of the input lies in one window. */
static bool windows_tile(const struct window *win)
{
    bool apart = (win->stride_h == win->R || win->P == 1) && (win->stride_w == win->S || win->Q == 1);
    return apart && win->P * win->R == win->H && win->Q * win->S == win->W && !win->pad_top && !win->pad_left;
}

INLINE const float *pixel_of(const struct window *win, const float *x, int h, int w)
{
    return x + ((ptrdiff_t)h * win->W + w) * LANES;
}

/* Items are channels, block after block. */
static int64_t lanes_pool_items(const struct call *c)
{
    return (int64_t)lanes_blocks(c->rows) * c->g->window.C;
}

/* ---- max ---- */

/* Largest value of a window, and which pixel it is, PyTorch's rule for equals and NaN. */
struct largest {
    vec value;
    ivec at;
};

INLINE struct largest find_largest(const struct window *win, const float *x, struct part in)
{
    struct largest m = {*(const vec *)pixel_of(win, x, in.h0, in.w0), (ivec){0} + (in.h0 * win->W + in.w0)};
    for (int h = in.h0; h < in.h1; h++)
        for (int w = in.w0; w < in.w1; w++) {
            vec v = *(const vec *)pixel_of(win, x, h, w);
            ivec mask = takes(v, m.value);
            m.value = choose(mask, v, m.value);
            m.at = (((ivec){0} + (h * win->W + w)) & mask) | (m.at & ~mask);
        }
    return m;
}

static void lanes_maxpool(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    (void)scratch;
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)c->in[0] + i * win->H * win->W * LANES;
        float *y = (float *)c->out[0] + i * win->P * win->Q * LANES;
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++, y += LANES) {
                struct part in = part_of(win, p, q);
                for (int part = 0; part < LANES; part += LANES_WIDTH) {
                    vec m = find_largest(win, x + part, in).value;
                    *(vec *)(y + part) = c->add ? *(vec *)(y + part) + m : m + 0;
                }
            }
    }
}

/* One channel of a block. `assign`: each dx is written once. */
INLINE void max_back(const struct window *win, const float *dy, const float *x, float *dx, const bool assign)
{
    for (int p = 0; p < win->P; p++)
        for (int q = 0; q < win->Q; q++, dy += LANES) {
            struct part in = part_of(win, p, q);
            for (int part = 0; part < LANES; part += LANES_WIDTH) {
                struct largest m = find_largest(win, x + part, in);
                ivec v = *(const ivec *)(dy + part);
                for (int h = in.h0; h < in.h1; h++)
                    for (int w = in.w0; w < in.w1; w++) {
                        vec *at = (vec *)(dx + ((ptrdiff_t)h * win->W + w) * LANES + part);
                        vec mine = (vec)(v & (m.at == h * win->W + w));
                        if (!assign)
                            mine += *at;
                        *at = mine;
                    }
            }
        }
}

static void lanes_maxpool_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    int64_t pixels = (int64_t)win->H * win->W;
    bool assign = !c->add && windows_tile(win);
    (void)scratch;
    for (int64_t i = begin; i < end; i++) {
        const float *dy = (const float *)c->in[0] + i * win->P * win->Q * LANES;
        const float *x = (const float *)c->in[1] + i * pixels * LANES;
        float *dx = (float *)c->out[0] + i * pixels * LANES;
        if (assign) {
            max_back(win, dy, x, dx, true);
            continue;
        }
        if (!c->add)
            memset(dx, 0, (size_t)pixels * LANES * sizeof *dx);
        max_back(win, dy, x, dx, false);
    }
}

/* ---- average ---- */

static void lanes_avgpool(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    (void)scratch;
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)c->in[0] + i * win->H * win->W * LANES;
        float *y = (float *)c->out[0] + i * win->P * win->Q * LANES;
        for (int p = 0; p < win->P; p++)
            for (int q = 0; q < win->Q; q++, y += LANES) {
                struct part in = part_of(win, p, q);
                float divisor = (float)formula_pool_divisor(win, p, q);
                for (int part = 0; part < LANES; part += LANES_WIDTH) {
                    vec sum = {0};
                    for (int h = in.h0; h < in.h1; h++)
                        for (int w = in.w0; w < in.w1; w++)
                            sum += *(const vec *)(pixel_of(win, x, h, w) + part);
                    sum /= divisor;
                    if (c->add)
                        sum += *(vec *)(y + part);
                    *(vec *)(y + part) = sum;
                }
            }
    }
}

INLINE void average_back(const struct window *win, const float *dy, float *dx, const bool assign)
{
    for (int p = 0; p < win->P; p++)
        for (int q = 0; q < win->Q; q++, dy += LANES) {
            struct part in = part_of(win, p, q);
            float divisor = (float)formula_pool_divisor(win, p, q);
            for (int part = 0; part < LANES; part += LANES_WIDTH) {
                vec share = *(const vec *)(dy + part) / divisor;
                for (int h = in.h0; h < in.h1; h++)
                    for (int w = in.w0; w < in.w1; w++) {
                        vec *at = (vec *)(dx + ((ptrdiff_t)h * win->W + w) * LANES + part);
                        if (assign)
                            *at = share;
                        else
                            *at += share;
                    }
            }
        }
}

static void lanes_avgpool_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    int64_t pixels = (int64_t)win->H * win->W;
    bool assign = !c->add && windows_tile(win);
    (void)scratch;
    for (int64_t i = begin; i < end; i++) {
        const float *dy = (const float *)c->in[0] + i * win->P * win->Q * LANES;
        float *dx = (float *)c->out[0] + i * pixels * LANES;
        if (assign) {
            average_back(win, dy, dx, true);
            continue;
        }
        if (!c->add)
            memset(dx, 0, (size_t)pixels * LANES * sizeof *dx);
        average_back(win, dy, dx, false);
    }
}
