/* The heart of convolution and dense layers at sixteen lanes: a tile of filters x pixels in registers. Memory is
 * [N/16][C][H][W][16], a vector holds one value of up to sixteen images, weights are broadcast. Included once for each
 * instruction set by lanes_*.c, which define LANES_WIDTH (floats of a vector) and LANES_PIXELS (vectors of a register
 * tile). Every output is one chain of multiply-adds over channels, tap rows and taps in this order, whatever the tile,
 * so bits depend on nothing but the instruction set.
 * Next to read: lanes_conv.h. */
#include "engine/cpu/lanes_map.h"

/* FILTERS x LANES_PIXELS accumulators fill the registers; so do UNITS of a single pixel. Wider pixels than a vector
 * are PARTS neighbours. */
enum { FILTERS = 6, UNITS = 12, PARTS = LANES / LANES_WIDTH, LIST = 256 };

/* What becomes of a sum: y = f(sum + other), then, where pixels are pooled, the largest of all pixels in y[0]; added
 * to what is there or put there. */
struct ending {
    struct map map;
    const float *other; /* lies as y does; NULL: none */
    bool add;
    bool pool;  /* all pixels of a tile go to one place */
    bool again; /* pool: which has a value from an earlier tile of the same window */
};

/* Distances in floats. x and y: the first tap's input and the output of the tile's pixels. */
struct tile {
    const float *x[LANES_PIXELS], *w, *b; /* b NULL: none */
    float *y[LANES_PIXELS];
    int C, R, S;
    ptrdiff_t channel, row, tap;                 /* in x */
    ptrdiff_t filter_w, channel_w, row_w, tap_w; /* in w */
    ptrdiff_t filter_y;
    const float *y_base; /* ending.other lies there */
    ptrdiff_t ahead;     /* one tap row: how far ahead of x lies what will be read next; 0: nowhere */
    const float *next;   /* a pixel of it */
    struct ending end;
    bool plain; /* the end can be done in registers */
};

static __attribute__((noinline)) void tile_end(const int filters, const int pixels, const struct tile *t,
                                               vec *sum)
{
    const struct ending *e = &t->end;
    for (int k = 0; k < filters; k++) {
        vec most = e->again ? load(t->y[0] + k * t->filter_y) : (vec){0};
        for (int q = 0; q < pixels; q++) {
            float *y = t->y[q] + k * t->filter_y;
            vec v = sum[k * pixels + q];
            if (e->other)
                v += load(e->other + (y - t->y_base));
            v = vec_map(&e->map, v);
            if (e->add)
                v += load(y);
            if (e->pool && (q || e->again))
                most = choose(takes(v, most), v, most);
            else if (e->pool)
                most = v;
            else
                store(y, v);
        }
        if (e->pool)
            store(t->y[0] + k * t->filter_y, most);
    }
}

INLINE void tile_tap(const int filters, const int pixels, const float *const *x, ptrdiff_t at, const float *w,
                     ptrdiff_t filter_w, vec *sum)
{
    vec v[LANES_PIXELS];
    EACH (q, pixels)
        v[q] = load(x[q] + at);
    EACH (k, filters)
        EACH (q, pixels)
            sum[k * pixels + q] += w[k * filter_w] * v[q];
}

/* The taps of one row of one channel. */
INLINE void tile_taps(const int filters, const int pixels, const struct tile *t, ptrdiff_t at, const float *w,
                      vec *sum)
{
    const float *x[LANES_PIXELS];
    EACH (q, pixels)
        x[q] = t->x[q];
    for (int s = 0; s < t->S; s++, at += t->tap, w += t->tap_w)
        tile_tap(filters, pixels, x, at, w, t->filter_w, sum);
}

/* The same for the only row, asking for what comes next. */
INLINE void tile_taps_ahead(const int filters, const int pixels, const struct tile *t, vec *sum)
{
    const float *x[LANES_PIXELS], *w = t->w, *next = t->next;
    ptrdiff_t at = 0;
    EACH (q, pixels)
        x[q] = t->x[q];
    EACH (k, filters)
        EACH (q, pixels)
            __builtin_prefetch(t->y[q] + k * t->filter_y, 1);
    for (int s = 0; s < t->S; s++, at += t->tap, w += t->tap_w) {
        __builtin_prefetch(next + at, 0, 2);
        tile_tap(filters, pixels, x, at, w, t->filter_w, sum);
    }
}

/* Of a pool's window: NaN wins, as in formula_max_takes. */
INLINE vec largest_of_4(const vec *v)
{
    vec most = vec_larger(vec_larger(v[0], v[1]), vec_larger(v[2], v[3]));
    return vec_unless_nan(vec_unless_nan(most, v[0], v[1]), v[2], v[3]);
}

INLINE void tile_run(const int filters, const int pixels, const struct tile *t)
{
    vec sum[UNITS * LANES_PIXELS];
    EACH (k, filters)
        EACH (q, pixels)
            sum[k * pixels + q] = (vec){0} + (t->b ? t->b[k] : 0);
    if (t->next)
        tile_taps_ahead(filters, pixels, t, sum);
    else
        for (int c = 0; c < t->C; c++)
            for (int r = 0; r < t->R; r++)
                tile_taps(filters, pixels, t, c * t->channel + r * t->row,
                          t->w + c * t->channel_w + r * t->row_w, sum);
    if (!t->plain) {
        vec copy[UNITS * LANES_PIXELS] __attribute__((aligned(64)));
        EACH (i, filters * pixels) /* one by one, or sums would live in memory */
            copy[i] = sum[i];
        tile_end(filters, pixels, t, copy);
        return;
    }
    if (t->end.other)
        EACH (k, filters)
            EACH (q, pixels)
                sum[k * pixels + q] += load(t->end.other + (t->y[q] - t->y_base) + k * t->filter_y);
    int count = filters * pixels;
    if (pixels == 4 && t->end.pool) { /* before the function, which never falls: a quarter of the work */
        count = filters;
        EACH (k, filters)
            sum[k] = largest_of_4(sum + k * pixels);
    }
    if (t->end.map.fn == MAP_RELU)
        EACH (i, count)
            sum[i] = vec_relu(sum[i]);
    if (t->end.map.fn == MAP_RELU6)
        EACH (i, count)
            sum[i] = vec_clip(sum[i], 0, 6);
    if (t->end.pool) {
        EACH (k, filters)
            store(t->y[0] + k * t->filter_y, sum[k]);
        return;
    }
    EACH (k, filters)
        EACH (q, pixels)
            store(t->y[q] + k * t->filter_y, sum[k * pixels + q]);
}

/* The sizes there is code for: filters 12 (one pixel), 6, 4, 2, 1 by vectors 4, 2, 1. */
static int next_size(int left, int most)
{
    return left >= most ? most : left >= 4 && most >= 4 ? 4 : left >= 2 ? 2 : 1;
}

#define TILE_CODE(filters, pixels)                                                        \
    static __attribute__((noinline)) void tile_##filters##x##pixels(const struct tile *t) \
    {                                                                                     \
        tile_run(filters, pixels, t);                                                     \
    }
TILE_CODE(12, 1)
TILE_CODE(6, 1)
TILE_CODE(6, 2)
TILE_CODE(4, 1)
TILE_CODE(4, 2)
TILE_CODE(2, 1)
TILE_CODE(2, 2)
TILE_CODE(1, 1)
TILE_CODE(1, 2)
#if LANES_PIXELS == 4
TILE_CODE(6, 4)
TILE_CODE(4, 4)
TILE_CODE(2, 4)
TILE_CODE(1, 4)
#endif

#define TILE(filters, pixels)         \
    case (filters)*8 + (pixels):      \
        tile_##filters##x##pixels(t); \
        break;

static void tile_dispatch(int filters, int pixels, const struct tile *t)
{
    switch (filters * 8 + pixels) {
        TILE(12, 1)
        TILE(6, 1)
        TILE(6, 2)
        TILE(4, 1)
        TILE(4, 2)
        TILE(2, 1)
        TILE(2, 2)
        TILE(1, 1)
        TILE(1, 2)
#if LANES_PIXELS == 4
        TILE(6, 4)
        TILE(4, 4)
        TILE(2, 4)
        TILE(1, 4)
#endif
    }
}

/* Pixels that share their taps: where each reads its first one and where it is written, from x and y on. */
struct list {
    int count; /* vectors: PARTS for each pixel */
    ptrdiff_t x[LIST], y[LIST];
};

static void list_add(struct list *l, ptrdiff_t x, ptrdiff_t y)
{
    for (int part = 0; part < LANES; part += LANES_WIDTH, l->count++) {
        l->x[l->count] = x + part;
        l->y[l->count] = y + part;
    }
}

/* Filters in tiles over all pixels of a list. Pooled: a list's pixels come in fours of one window, whose parts lie
 * PARTS apart. */
static void tile_filters(struct tile t, const float *x, float *y, const struct list *l, int filters)
{
    int most = l->count == 1 ? UNITS : FILTERS;
    t.y_base = y;
    t.plain = !t.end.add && (!t.end.pool || LANES_PIXELS == 4) && /* a window to a tile */
              (t.end.map.fn <= MAP_RELU || t.end.map.fn == MAP_RELU6);
    for (int k = 0, kt; k < filters; k += kt, y += kt * t.filter_y) {
        kt = next_size(filters - k, most);
        if (kt == 4 && filters - k >= FILTERS)
            kt = FILTERS;
        for (int i = 0, it; i < l->count; i += it) {
            it = next_size(l->count - i, LANES_PIXELS);
            for (int q = 0; q < it; q++) {
                t.x[q] = x + l->x[i + q];
                t.y[q] = y + l->y[i + q];
            }
            t.next = t.ahead ? x + l->x[i + k / FILTERS % it] + t.ahead : NULL;
            t.end.again = t.end.pool && i > 0 && l->y[i] == l->y[i - 1];
            tile_dispatch(kt, it, &t);
        }
        t.w += kt * t.filter_w;
        t.b = t.b ? t.b + kt : NULL;
    }
}
