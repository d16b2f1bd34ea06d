/* The weight gradient of 3x3 convolutions of stride 1 by Winograd, the transpose of lanes_winograd.h:
 *   dw = G^T [ sum over tiles and images of (A dy A^T) * (B^T x B) ] G
 * The sum is a product for each of 36 elements, over depth = tiles x 16 images, vectors over channels: so the points
 * of x are transposed, those of dy are broadcast, and no lanes are summed. Threads split the channels, or the filters where
 * channels are few; every sum goes through the tiles in their order, whatever the chunks and the threads. Included after
 * lanes_winograd.h. */

enum { GRADIENT_CHUNK = 48, WHOLE_SUMS = 5 << 19 }; /* filters at a time; bytes */

/* Distances in floats: x points v [36][depth][channels] as products take them, dy points d [36][filters][depth], sums s
 * [36][filters][channels]. Tiles are those of dy. */
struct winograd_dw {
    struct tiling in; /* how pieces of x are found */
    int K, vectors;   /* of channels */
    bool whole;       /* sums of all filters are kept while tiles go by */
    int tiles;        /* of a chunk, at most */
    ptrdiff_t row_s, v, d, s;
};

static struct winograd_dw winograd_dw_of(const struct window *win)
{
    struct winograd_dw wg = {.in = tiling_of(win, false), .K = win->K};
    wg.vectors = (win->C + LANES_WIDTH - 1) / LANES_WIDTH;
    wg.row_s = (ptrdiff_t)whole_groups(wg.vectors) * LANES_WIDTH;
    wg.whole = (ptrdiff_t)ELEMENTS * wg.row_s * wg.K * (ptrdiff_t)sizeof(float) <= WHOLE_SUMS;
    wg.tiles = tiles_within(wg.whole ? CHUNK_V : LARGE_V, (int)wg.row_s);
    wg.v = wg.row_s * wg.tiles * LANES + LANES;
    wg.d = (ptrdiff_t)GRADIENT_CHUNK * wg.tiles * LANES + LANES;
    wg.s = (ptrdiff_t)(wg.whole ? wg.K : GRADIENT_CHUNK) * wg.row_s + LANES;
    return wg;
}

/* ---- points of x: vectors over channels ---- */

/* One tile, one vector of channels from c on, one part of the images. */
static __attribute__((noinline)) void transpose_points(const struct tiling *in, const struct piece *p, int c,
                                                       int part, float *v, ptrdiff_t element, ptrdiff_t row)
{
    ALIGNED vec points[ELEMENTS][LANES_WIDTH];
    int channels = in->in - c < LANES_WIDTH ? in->in - c : LANES_WIDTH;
    if (channels < LANES_WIDTH)
        memset(points, 0, sizeof points);
    for (int i = 0; i < channels; i++) {
        if (c + i + 1 < in->in)
            piece_fetch(in, p, c + i + 1);
        piece_points(POINTS, in, p, c + i, part, (float *)&points[0][i], POINTS * LANES_WIDTH * LANES_WIDTH,
                     LANES_WIDTH * LANES_WIDTH);
    }
    for (int e = 0; e < ELEMENTS; e++) {
        transpose(points[e]);
        for (int i = 0; i < LANES_WIDTH; i++)
            store(v + e * element + i * row, points[e][i]);
    }
}

/* Channels c.., wg->vectors vectors of them. */
static void transform_transposed(const struct winograd_dw *wg, const float *x, int c, int64_t first,
                                 int tiles, float *v)
{
    for (int t = 0; t < tiles; t++) {
        struct piece p = piece_at(POINTS, &wg->in, x, first + t);
        for (int i = 0; i < wg->vectors; i++)
            for (int part = 0; part < LANES; part += LANES_WIDTH) {
                int depth = tiles * LANES, group = i / LANES_PIXELS * LANES_PIXELS;
                transpose_points(&wg->in, &p, c + i * LANES_WIDTH, part,
                                 v + product_at(depth, wg->vectors, t * LANES + part, i), wg->v,
                                 group_vectors(wg->vectors - group) * LANES_WIDTH);
            }
    }
}

/* ---- points of dy ---- */

INLINE void gradient_points(const vec d[TILE], vec v[POINTS])
{
    vec s = d[0] + d[2], t = d[1] + d[3], a = d[0] + 4 * d[2], b = d[1] + 4 * d[3];
    v[0] = d[0];
    v[1] = s + t;
    v[2] = s - t;
    v[3] = a + 2 * b;
    v[4] = a - 2 * b;
    v[5] = d[3];
}

/* A dy A^T of rows x columns pixels, zeros beyond them, to every `element` floats. */
INLINE void gradient_tile_points(const float *dy, ptrdiff_t line, int rows, int columns, float *d,
                                 ptrdiff_t element)
{
    ALIGNED vec half[POINTS][TILE], column[TILE], to[POINTS];
    for (int j = 0; j < TILE; j++) {
        for (int i = 0; i < TILE; i++)
            column[i] = i < rows && j < columns ? load(dy + i * line + j * LANES) : (vec){0};
        gradient_points(column, to);
        for (int i = 0; i < POINTS; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < POINTS; i++) {
        gradient_points(half[i], to);
        for (int j = 0; j < POINTS; j++)
            store(d + (i * POINTS + j) * element, to[j]);
    }
}

static __attribute__((noinline)) void transform_gradient(const struct winograd_dw *wg, const float *dy, int k,
                                                         int filters, int64_t first, int tiles, float *d)
{
    const struct tiling *in = &wg->in;
    int per_block = in->tiles_h * in->tiles_w;
    for (int i = 0; i < filters; i++)
        for (int t = 0; t < tiles; t++) {
            int at = (int)((first + t) % per_block), p = at / in->tiles_w * TILE, q = at % in->tiles_w * TILE;
            int64_t plane = (first + t) / per_block * wg->K + k + i;
            for (int part = 0; part < LANES; part += LANES_WIDTH)
                gradient_tile_points(dy + ((plane * in->P + p) * in->Q + q) * LANES + part,
                                     (ptrdiff_t)in->Q * LANES, clamped(in->P - p, TILE),
                                     clamped(in->Q - q, TILE), d + ((ptrdiff_t)i * tiles + t) * LANES + part,
                                     wg->d);
        }
}

/* ---- sums to weights ---- */

INLINE void gradient_taps(const vec s[POINTS], vec g[3])
{
    vec p = s[1] + s[2], q = s[2] - s[1], r = s[3] + s[4], t = s[3] - s[4], a = r * (1 / 24.f),
        b = t * (1 / 12.f);
    vec ends = a - p * (1 / 6.f);
    g[0] = ends + s[0] * .25f;
    g[1] = b + q * (1 / 6.f);
    g[2] = s[5] + (r - p) * (1 / 6.f);
}

/* Adds nine taps of `count` channels, vectors over channels, to dw [channels][9]. */
INLINE void add_taps(const vec g[9], int count, float *dw)
{
    ALIGNED float taps[(LANES_WIDTH + 2) * 9];
#if LANES_WIDTH == 16
    ALIGNED vec rows[LANES_WIDTH];
    for (int i = 0; i < LANES_WIDTH; i++)
        rows[i] = i < 9 ? g[i] : (vec){0};
    transpose(rows);
    for (int i = 0; i < LANES_WIDTH; i++) /* the next one's taps go over the zeros behind */
        store(taps + i * 9, rows[i]);
#else
    for (int l = 0; l < LANES_WIDTH; l++)
        for (int i = 0; i < 9; i++)
            taps[l * 9 + i] = g[i][l];
#endif
    if (count >= LANES_WIDTH)
        for (int i = 0; i < 9 * LANES_WIDTH; i += LANES_WIDTH)
            store(dw + i, load(dw + i) + load(taps + i));
    else
        for (int i = 0; i < 9 * count; i++)
            dw[i] += taps[i];
}

static __attribute__((noinline)) void add_sums(const struct winograd_dw *wg, const float *s, int first, int k,
                                               int filters, float *dw)
{
    ALIGNED vec half[3][POINTS], column[POINTS], to[3], g[9];
    for (int f = 0; f < filters; f++)
        for (int i = 0, c = first; i < wg->vectors; i++, c += LANES_WIDTH) {
            const float *from = s + f * wg->row_s + i * LANES_WIDTH;
            for (int j = 0; j < POINTS; j++) {
                for (int p = 0; p < POINTS; p++)
                    column[p] = load(from + (p * POINTS + j) * wg->s);
                gradient_taps(column, to);
                for (int p = 0; p < 3; p++)
                    half[p][j] = to[p];
            }
            for (int p = 0; p < 3; p++)
                gradient_taps(half[p], g + p * 3);
            add_taps(g, wg->in.in - c, dw + ((ptrdiff_t)(k + f) * wg->in.in + c) * 9);
        }
}

/* ---- the whole ---- */

/* One chunk of filters over one chunk of tiles. */
static void gradient_products(const struct winograd_dw *wg, const float *d, const float *v, float *s,
                              int filters, int tiles, bool add)
{
    for (int e = 0; e < ELEMENTS; e++) {
        struct product t = {.w = d + e * wg->d,
                            .x = v + e * wg->v,
                            .y = s + e * wg->s,
                            .depth = tiles * LANES,
                            .filter_w = (ptrdiff_t)tiles * LANES,
                            .depth_w = 1,
                            .filter_y = wg->row_s,
                            .add = add};
        product_rows(t, filters, wg->vectors);
    }
}

/* What a run computes: filters k..k_end-1 by channels from `channel` on, as many as `vectors` of its winograd_dw hold. */
struct winograd_dw_part {
    int k, k_end, channel;
};

static void winograd_dw_run(const struct winograd_dw *wg, const struct call *c, struct winograd_dw_part part,
                            float *scratch)
{
    float *v = scratch, *d = v + wg->v * ELEMENTS, *s = d + wg->d * ELEMENTS;
    int64_t all = (int64_t)lanes_blocks(c->rows) * wg->in.tiles_h * wg->in.tiles_w;
    int tiles, filters;
    for (int64_t t = 0; t < all; t += tiles) {
        tiles = all - t < wg->tiles ? (int)(all - t) : wg->tiles;
        transform_transposed(wg, c->in[1], part.channel, t, tiles, v);
        for (int k = part.k; k < part.k_end; k += filters) {
            float *sums = wg->whole ? s + (k - part.k) * wg->row_s : s;
            filters = part.k_end - k < GRADIENT_CHUNK ? part.k_end - k : GRADIENT_CHUNK;
            transform_gradient(wg, c->in[0], k, filters, t, tiles, d);
            gradient_products(wg, d, v, sums, filters, tiles, wg->whole && t);
            if (!wg->whole || t + tiles == all)
                add_sums(wg, sums, part.channel, k, filters, c->out[0]);
        }
    }
}

/* Items are channels, sixteen each: points of x, which cost more than those of dy, are then made once. */
enum { CHANNELS_ENOUGH = 64 };

static bool cuts_channels(const struct window *win)
{
    return win->C >= CHANNELS_ENOUGH;
}

static int64_t lanes_winograd_dw_items(const struct call *c)
{
    const struct window *win = &c->g->window;
    return cuts_channels(win) ? (win->C + LANES - 1) / LANES : (win->K + FILTERS - 1) / FILTERS;
}

static void lanes_winograd_dw(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct window *win = &c->g->window;
    struct winograd_dw wg = winograd_dw_of(win);
    struct winograd_dw_part part = {0, win->K, 0};
    bool biased = true;
    if (cuts_channels(win)) {
        part.channel = (int)begin * LANES;
        wg.vectors = lower(wg.vectors - (int)begin * PARTS, (int)(end - begin) * PARTS);
        wg.row_s = (ptrdiff_t)whole_groups(wg.vectors) * LANES_WIDTH;
        biased = begin == 0;
    } else {
        part.k = (int)begin * FILTERS;
        part.k_end = lower((int)end * FILTERS, win->K);
    }
    if (c->out[1] && biased)
        bias_gradient(c, part.k, part.k_end - part.k, (int64_t)win->P * win->Q, win->K);
    if (c->out[0])
        winograd_dw_run(&wg, c, part, scratch);
}

static size_t lanes_winograd_dw_scratch(const struct geometry *g)
{
    struct winograd_dw wg = winograd_dw_of(&g->window);
    return (size_t)(wg.v + wg.d + wg.s) * ELEMENTS * sizeof(float);
}
