/* 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3). Six by six input pixels
 * give four by four output pixels by 36 products of a filter's and a channel's points instead of 144:
 *   y = A^T [ sum over channels of (G w G^T) * (B^T x B) ] A
 * At sixteen lanes every element of a tile is a vector over images. Weights become points while the kernel runs, a
 * chunk of filters at a time: that costs little, and points in memory would take four times the weights.
 * The gradient to the input is the same with turned filters. Every sum has a fixed order, whatever the chunks.
 * Included after lanes_points.h. Next to read: lanes_winograd_few.h, lanes_winograd_dw.h. */

/* How a convolution is cut into chunks. Distances in floats:
 * points lie as u [chunks][36][filters][channels] (turned: [..][channels][filters]), v [36][channels][tiles],
 * m [36][filters][tiles], tiles of vectors as products take them. */
struct winograd {
    struct tiling t;
    bool turned, whole; /* whole: all filters' points are kept while tiles go by */
    int tiles, filters; /* of a chunk, at most */
    int row_u;
    ptrdiff_t u, v, m; /* from one element to the next */
};

enum { CHUNK_TILES = 16, CHUNK_FILTERS = 24 }; /* at most in a chunk */

/* Vector `at` of row d of a product's x. */
static ptrdiff_t product_at(int depth, int vectors, int d, int at)
{
    int group = at / LANES_PIXELS * LANES_PIXELS;
    return ((ptrdiff_t)group * depth + d * group_vectors(vectors - group) + at - group) * LANES_WIDTH;
}

static __attribute__((noinline)) void transform_input(const struct winograd *wg, const float *x,
                                                      int64_t first, int tiles, float *v)
{
    struct piece pieces[CHUNK_TILES];
    for (int t = 0; t < tiles; t++)
        pieces[t] = piece_at(POINTS, &wg->t, x, first + t);
    for (int c = 0; c < wg->t.in; c++)
        for (int t = 0; t < tiles; t++) {
            if (c + 1 < wg->t.in)
                piece_fetch(&wg->t, &pieces[t], c + 1);
            for (int part = 0; part < PARTS; part++)
                piece_points(POINTS, &wg->t, &pieces[t], c, part * LANES_WIDTH,
                             v + product_at(wg->t.in, tiles * PARTS, c, t * PARTS + part), POINTS * wg->v,
                             wg->v);
        }
}

/* ---- weights ---- */

/* The taps of `count` channels, nine to a channel, as nine vectors over channels; zeros beyond `count`. */
INLINE void load_taps(const float *w, int count, vec g[9])
{
    ALIGNED float padded[LANES_WIDTH * 9 + 16];
    ALIGNED vec rows[LANES_WIDTH];
    if (count <= LANES_WIDTH) { /* what is read behind the last channel may not be there */
        memset(padded, 0, sizeof padded);
        memcpy(padded, w, (size_t)count * 9 * sizeof *w);
        w = padded;
    }
#if LANES_WIDTH == 16
    for (int i = 0; i < LANES_WIDTH; i++)
        rows[i] = *(const vec *)(w + i * 9);
    transpose(rows);
    for (int i = 0; i < 9; i++)
        g[i] = rows[i];
#else
    for (int l = 0; l < LANES_WIDTH; l++)
        for (int i = 0; i < 9; i++)
            g[i][l] = w[l * 9 + i];
    (void)rows;
#endif
}

/* G w G^T for vectors over channels, to every `element` floats. */
INLINE void filter_points(const vec g[9], bool turned, float *u, ptrdiff_t element)
{
    ALIGNED vec half[POINTS][3], to[POINTS], from[3];
    for (int j = 0; j < 3; j++) {
        for (int i = 0; i < 3; i++)
            from[i] = g[turned ? 8 - i * 3 - j : i * 3 + j];
        weight_points(POINTS, from, to);
        for (int i = 0; i < POINTS; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < POINTS; i++) {
        weight_points(POINTS, half[i], to);
        for (int j = 0; j < POINTS; j++)
            store(u + (i * POINTS + j) * element, to[j]);
    }
}

/* Points of w [K][C][3][3] for filters k.. and channels c..c + channels - 1, to u [36][..][row_u]. */
static __attribute__((noinline)) void transform_weights(const struct winograd *wg, const float *w, int C,
                                                        int k, int filters, int c, int channels, float *u)
{
    ALIGNED vec g[9];
    for (int i = 0; i < filters; i++)
        for (int j = 0; j < channels; j += LANES_WIDTH) {
            load_taps(w + ((ptrdiff_t)(k + i) * C + c + j) * 9, channels - j, g);
            filter_points(g, wg->turned, u + (ptrdiff_t)i * wg->row_u + j, wg->u);
        }
}

/* ---- products, and output ---- */

static void multiply(const struct winograd *wg, const float *u, const float *v, float *m, int filters,
                     int tiles)
{
    int vectors = tiles * PARTS;
    for (int e = 0; e < ELEMENTS; e++) {
        struct product t = {.w = u + e * wg->u,
                            .x = v + e * wg->v,
                            .y = m + e * wg->m,
                            .depth = wg->t.in,
                            .filter_w = wg->turned ? 1 : wg->row_u,
                            .depth_w = wg->turned ? wg->row_u : 1,
                            .filter_y = (ptrdiff_t)whole_groups(vectors) * LANES_WIDTH};
        product_rows(t, filters, vectors);
    }
}

/* What happens to results on their way to memory: y = f(b + result + other), added to what is there or put there; or the
 * largest of 2x2 results put there. */
struct finish {
    const float *b, *other; /* NULL: none; other lies as y does, from y_base on */
    const float *y_base;
    const struct map *map;
    bool add, halve;
};

INLINE vec finish_map(const struct finish *f, vec sum)
{
    return f->map->fn == MAP_RELU ? vec_relu(sum) : f->map->fn ? vec_map(f->map, sum) : sum;
}

INLINE void finish_store(const struct finish *f, float *at, vec sum)
{
    if (f->other)
        sum += load(f->other + (at - f->y_base));
    sum = finish_map(f, sum);
    if (f->add)
        sum += load(at);
    store(at, sum);
}

/* The largest of each 2x2 of two lines' results, as a max pool finds it. */
INLINE void finish_pairs(const struct finish *f, float *at, const vec *upper, const vec *lower, int columns,
                         vec b)
{
    for (int j = 0; j + 1 < columns; j += 2, at += LANES) {
        vec v[4] = {upper[j] + b, upper[j + 1] + b, lower[j] + b, lower[j + 1] + b};
        if (f->map->fn <= MAP_RELU) { /* which never falls: once is enough */
            store(at, finish_map(f, largest_of_4(v)));
            continue;
        }
        vec most = finish_map(f, v[0]);
        for (int i = 1; i < 4; i++) {
            vec next = finish_map(f, v[i]);
            most = choose(takes(next, most), next, most);
        }
        store(at, most);
    }
}

/* y = f(b + half A) of one part of a tile of one filter: half, A^T m, has been made column by column. */
INLINE void output_rows(const int points, const struct tiling *t, vec half[TILE][POINTS_5], float *y,
                        int rows, int columns, vec b, const struct finish *f)
{
    ALIGNED vec to[TILE], next[TILE];
    for (int i = 0; f->halve && i + 1 < rows; i += 2) {
        output_pixels(points, half[i], to);
        output_pixels(points, half[i + 1], next);
        finish_pairs(f, y + (ptrdiff_t)i / 2 * (t->Q / 2) * LANES, to, next, columns, b);
    }
    for (int i = 0; !f->halve && i < rows; i++) {
        output_pixels(points, half[i], to);
        for (int j = 0; j < columns; j++)
            finish_store(f, y + ((ptrdiff_t)i * t->Q + j) * LANES, to[j] + b);
    }
}

/* y = f(b + A^T m A) of one part of a tile of one filter. */
INLINE void output_tile(const struct winograd *wg, const float *m, float *y, int rows, int columns, vec b,
                        const struct finish *f)
{
    ALIGNED vec half[TILE][POINTS_5], column[POINTS], to[TILE];
    for (int j = 0; j < POINTS; j++) {
        for (int i = 0; i < POINTS; i++)
            column[i] = load(m + (i * POINTS + j) * wg->m);
        output_pixels(POINTS, column, to);
        for (int i = 0; i < TILE; i++)
            half[i][j] = to[i];
    }
    output_rows(POINTS, &wg->t, half, y, rows, columns, b, f);
}

/* Asks for the pixels of a tile before they are written. */
INLINE void output_fetch(const float *y, ptrdiff_t line, int rows, int columns)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++)
            __builtin_prefetch(y + i * line + j * LANES, 1);
}

static __attribute__((noinline)) void transform_output(const struct winograd *wg, const float *m, float *y,
                                                       int k, int filters, int64_t first, int tiles,
                                                       const struct finish *f)
{
    int per_block = wg->t.tiles_h * wg->t.tiles_w, row_m = whole_groups(tiles * PARTS) * LANES_WIDTH;
    int by = f->halve ? 2 : 1, P = wg->t.P / by, Q = wg->t.Q / by;
    for (int i = 0; i < filters; i++)
        for (int t = 0; t < tiles; t++) {
            int at = (int)((first + t) % per_block), p = at / wg->t.tiles_w * TILE,
                q = at % wg->t.tiles_w * TILE;
            int64_t plane = (first + t) / per_block * wg->t.out + k + i;
            float *to = y + ((plane * P + p / by) * Q + q / by) * LANES;
            int rows = clamped(wg->t.P - p, TILE), columns = clamped(wg->t.Q - q, TILE);
            vec b = (vec){0} + (f->b ? f->b[k + i] : 0);
            if (i + 1 < filters)
                output_fetch(to + (ptrdiff_t)P * Q * LANES, (ptrdiff_t)Q * LANES, rows / by, columns / by);
            for (int part = 0; part < LANES; part += LANES_WIDTH)
                output_tile(wg, m + (ptrdiff_t)i * row_m + t * LANES + part, to + part, rows, columns, b, f);
        }
}

/* ---- the whole ---- */

enum { WHOLE_U = 2 << 20, CHUNK_V = 640 << 10, LARGE_V = 19 << 18 }; /* bytes */

static int tiles_within(int bytes, int in)
{
    int tiles = bytes / (ELEMENTS * LANES * (int)sizeof(float)) / in / 4 * 4;
    return tiles < 4 ? 4 : tiles > CHUNK_TILES ? CHUNK_TILES : tiles;
}

/* Elements are one cache line more than a power of two may be apart, so that they do not meet in the same lines. */
static struct winograd winograd_of(const struct window *win, bool turned)
{
    struct winograd wg = {.t = tiling_of(win, turned), .turned = turned};
    int out = (wg.t.out + LANES - 1) / LANES * LANES, in = (wg.t.in + LANES - 1) / LANES * LANES;
    wg.whole = (int64_t)ELEMENTS * in * out * (int)sizeof(float) <= WHOLE_U;
    wg.tiles = tiles_within(wg.t.in <= 64 ? CHUNK_V : LARGE_V, wg.t.in);
    wg.filters = CHUNK_FILTERS < out ? CHUNK_FILTERS : out;
    wg.row_u = turned ? wg.filters : in;
    wg.u = (ptrdiff_t)wg.row_u * (turned ? wg.t.in : wg.filters) + LANES;
    wg.v = (ptrdiff_t)wg.t.in * wg.tiles * LANES + LANES;
    wg.m = (ptrdiff_t)wg.filters * wg.tiles * LANES + LANES;
    return wg;
}

static int chunks_of(const struct winograd *wg)
{
    return (wg->t.out + wg->filters - 1) / wg->filters;
}

static size_t winograd_scratch(const struct winograd *wg)
{
    return (size_t)(wg->u * (wg->whole ? chunks_of(wg) : 1) + wg->v + wg->m) * ELEMENTS * sizeof(float);
}

/* Filters k.. of one chunk: their points, unless they are kept, as chunk number `chunk`, and there already. */
static const float *chunk_weights(const struct winograd *wg, const float *w, int k, int filters, int chunk,
                                  bool first, float *u)
{
    if (wg->whole)
        u += chunk * wg->u * ELEMENTS;
    if (!wg->whole || first) {
        if (wg->turned)
            transform_weights(wg, w, wg->t.out, 0, wg->t.in, k, filters, u);
        else
            transform_weights(wg, w, wg->t.in, k, filters, 0, wg->t.in, u);
    }
    return u;
}

/* What a run computes: filters k..k_end-1 of tiles begin..end-1, which are counted through all blocks. */
struct winograd_part {
    int k, k_end;
    int64_t begin, end;
};

static void winograd_run(const struct winograd *wg, const struct call *c, const struct finish *f,
                         struct winograd_part part, float *scratch)
{
    float *v = scratch, *m = v + wg->v * ELEMENTS, *u = m + wg->m * ELEMENTS;
    int filters, tiles;
    for (int64_t t = part.begin; t < part.end; t += tiles) {
        tiles = part.end - t < wg->tiles ? (int)(part.end - t) : wg->tiles;
        transform_input(wg, c->in[0], t, tiles, v);
        for (int k = part.k; k < part.k_end; k += filters) {
            filters = part.k_end - k < wg->filters ? part.k_end - k : wg->filters;
            const float *points =
                chunk_weights(wg, c->in[1], k, filters, (k - part.k) / wg->filters, t == part.begin, u);
            multiply(wg, points, v, m, filters, tiles);
            transform_output(wg, m, c->out[0], k, filters, t, tiles, f);
        }
    }
}

/* Items are tiles where a block has enough of them, else filters: few tiles in a run would leave products short and make
 * the weights' points again for each. */
enum { TILES_ENOUGH = 16 };

static bool cuts_tiles(const struct tiling *t)
{
    return t->tiles_h * t->tiles_w >= TILES_ENOUGH;
}

static int64_t tiles_of(const struct call *c, const struct tiling *t)
{
    return (int64_t)lanes_blocks(c->rows) * t->tiles_h * t->tiles_w;
}

static int64_t winograd_items(const struct call *c, bool turned)
{
    struct tiling t = tiling_of(&c->g->window, turned);
    return cuts_tiles(&t) ? tiles_of(c, &t) : (t.out + FILTERS - 1) / FILTERS;
}

static void winograd_either(const struct call *c, const struct finish *f, bool turned, int64_t begin,
                            int64_t end, float *scratch)
{
    struct winograd wg = winograd_of(&c->g->window, turned);
    struct winograd_part part = {0, wg.t.out, begin, end};
    if (!cuts_tiles(&wg.t))
        part = (struct winograd_part){(int)begin * FILTERS, clamped((int)end * FILTERS, wg.t.out), 0,
                                      tiles_of(c, &wg.t)};
    winograd_run(&wg, c, f, part, scratch);
}

static struct finish finish_of(const struct call *c)
{
    return (struct finish){c->in[2], c->in[3], c->out[0], &c->g->map, c->add, c->g->window.halve};
}

static int64_t lanes_winograd_dx_items(const struct call *c)
{
    return winograd_items(c, true);
}

static void lanes_winograd_dx(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct finish f = {NULL, NULL, c->out[0], &c->g->map, c->add, false};
    winograd_either(c, &f, true, begin, end, scratch);
}

static size_t lanes_winograd_dx_scratch(const struct geometry *g)
{
    struct winograd wg = winograd_of(&g->window, true);
    return winograd_scratch(&wg);
}
