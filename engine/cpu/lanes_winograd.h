/* 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3): Lavin and Gray, arXiv:1509.09308. Six by six input pixels
 * give four by four output pixels by 36 products of a filter's and a channel's points instead of 144:
 *   y = A^T [ sum over channels of (G w G^T) * (B^T x B) ] A
 * At sixteen lanes every element of a tile is a vector over images. Weights become points while the kernel runs, a
 * chunk of filters at a time: that costs little, and points in memory would take four times the weights.
 * The gradient to the input is the same with turned filters. Every sum has a fixed order, whatever the chunks.
 * Included after lanes_product.h. Next to read: lanes_winograd_dw.h. */

/* Local arrays: vec itself may lie anywhere, and what crosses cache lines is slow. */
#define ALIGNED __attribute__((aligned(64)))

enum {
    TILE = 4,          /* pixels of output on a side */
    POINTS = TILE + 2, /* pixels of input on a side */
    ELEMENTS = POINTS * POINTS,
    CHUNK_TILES = 16, /* at most in a chunk */
    CHUNK_FILTERS = 24,
};

/* One convolution [in][H][W] -> [out][P][Q] in one direction, and how it is cut into chunks. Distances in floats:
 * points lie as u [chunks][36][filters][channels] (turned: [..][channels][filters]), v [36][channels][tiles],
 * m [36][filters][tiles], tiles of vectors as products take them. */
struct winograd {
    int in, out, H, W, P, Q, top, left, tiles_h, tiles_w;
    bool turned, whole; /* whole: all filters' points are kept while tiles go by */
    int tiles, filters; /* of a chunk, at most */
    int row_u;
    ptrdiff_t u, v, m; /* from one element to the next */
};

/* ---- the three transforms, on the six or three values of a row or column ---- */

INLINE void input_points(const vec d[POINTS], vec v[POINTS])
{
    vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = d[3] - d[1];
    vec first = d[4] - 5 * d[2], last = d[5] - 5 * d[3];
    v[0] = first + 4 * d[0];
    v[1] = a + b;
    v[2] = a - b;
    v[3] = c + 2 * e;
    v[4] = c - 2 * e;
    v[5] = last + 4 * d[1];
}

INLINE void weight_points(const vec g[3], vec u[POINTS])
{
    vec ends = g[0] + g[2], some = g[2] * (1 / 6.f), a = some + g[0] * (1 / 24.f), b = g[1] * (1 / 12.f);
    u[0] = g[0] * .25f;
    u[1] = (ends + g[1]) * (-1 / 6.f);
    u[2] = (ends - g[1]) * (-1 / 6.f);
    u[3] = a + b;
    u[4] = a - b;
    u[5] = g[2];
}

INLINE void output_pixels(const vec m[POINTS], vec y[TILE])
{
    vec s = m[1] + m[2], d = m[1] - m[2], t = m[3] + m[4], e = m[3] - m[4];
    y[0] = m[0] + s + t;
    y[1] = d + 2 * e;
    y[2] = s + 4 * t;
    y[3] = d + 8 * e + m[5];
}

/* ---- input ---- */

/* A tile of one block: where its first pixel would be, and which of its pixels are there. */
struct piece {
    const float *image;
    int h, w, from_h, to_h, from_w, to_w;
};

static int clamped(int v, int most)
{
    return v < 0 ? 0 : v > most ? most : v;
}

static struct piece piece_at(const struct winograd *wg, const float *x, int64_t tile)
{
    int per_block = wg->tiles_h * wg->tiles_w, i = (int)(tile % per_block);
    struct piece p = {.image = x + tile / per_block * wg->in * wg->H * wg->W * LANES,
                      .h = i / wg->tiles_w * TILE - wg->top,
                      .w = i % wg->tiles_w * TILE - wg->left};
    p.from_h = clamped(-p.h, POINTS);
    p.to_h = clamped(wg->H - p.h, POINTS);
    p.from_w = clamped(-p.w, POINTS);
    p.to_w = clamped(wg->W - p.w, POINTS);
    return p;
}

/* Asks for the columns of a piece that its left neighbour has not read. Tiles come from everywhere in a map: the
 * processor does not see by itself what is next. */
INLINE void piece_fetch(const struct winograd *wg, const struct piece *p, int channel)
{
    int first = p->from_w < 2 && p->to_w > 2 ? 2 : p->from_w;
    for (int i = p->from_h; i < p->to_h; i++) {
        const float *row = p->image + (((ptrdiff_t)channel * wg->H + p->h + i) * wg->W + p->w) * LANES;
        for (int j = first; j < p->to_w; j++)
            __builtin_prefetch(row + j * LANES);
    }
}

/* B^T x B of one part of a piece of one channel, to every `element` floats. */
INLINE void piece_points(const struct winograd *wg, const struct piece *p, int channel, int part, float *v,
                         ptrdiff_t element)
{
    static const float nothing[POINTS * LANES];
    const float *row[POINTS];
    ALIGNED vec half[POINTS][POINTS], d[POINTS], to[POINTS];
    for (int i = 0; i < POINTS; i++)
        row[i] = i < p->from_h || i >= p->to_h
                     ? nothing
                     : p->image +
                           (((ptrdiff_t)channel * wg->H + p->h + i) * wg->W + p->w + p->from_w) * LANES +
                           part;
    for (int j = 0; j < POINTS; j++) {
        if (j < p->from_w || j >= p->to_w) {
            for (int i = 0; i < POINTS; i++)
                half[i][j] = (vec){0};
            continue;
        }
        for (int i = 0; i < POINTS; i++)
            d[i] = load(row[i] + (j - p->from_w) * LANES);
        input_points(d, to);
        for (int i = 0; i < POINTS; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < POINTS; i++) {
        input_points(half[i], to);
        for (int j = 0; j < POINTS; j++)
            store(v + (i * POINTS + j) * element, to[j]);
    }
}

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
        pieces[t] = piece_at(wg, x, first + t);
    for (int c = 0; c < wg->in; c++)
        for (int t = 0; t < tiles; t++) {
            if (c + 1 < wg->in)
                piece_fetch(wg, &pieces[t], c + 1);
            for (int part = 0; part < PARTS; part++)
                piece_points(wg, &pieces[t], c, part * LANES_WIDTH,
                             v + product_at(wg->in, tiles * PARTS, c, t * PARTS + part), wg->v);
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
        weight_points(from, to);
        for (int i = 0; i < POINTS; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < POINTS; i++) {
        weight_points(half[i], to);
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
                            .depth = wg->in,
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

/* The largest of two lines' results, pair by pair, as a max pool finds it. */
INLINE void finish_pairs(const struct finish *f, float *at, const vec *upper, const vec *lower, int columns,
                         vec b)
{
    for (int j = 0; j + 1 < columns; j += 2, at += LANES) {
        vec most = finish_map(f, upper[j] + b);
        const vec rest[3] = {upper[j + 1], lower[j], lower[j + 1]};
        for (int i = 0; i < 3; i++) {
            vec v = finish_map(f, rest[i] + b);
            most = choose(takes(v, most), v, most);
        }
        store(at, most);
    }
}

/* y = f(b + A^T m A) of one part of a tile of one filter. */
INLINE void output_tile(const struct winograd *wg, const float *m, float *y, int rows, int columns, vec b,
                        const struct finish *f)
{
    ALIGNED vec half[TILE][POINTS], column[POINTS], to[TILE], next[TILE];
    for (int j = 0; j < POINTS; j++) {
        for (int i = 0; i < POINTS; i++)
            column[i] = load(m + (i * POINTS + j) * wg->m);
        output_pixels(column, to);
        for (int i = 0; i < TILE; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; f->halve && i + 1 < rows; i += 2) {
        output_pixels(half[i], to);
        output_pixels(half[i + 1], next);
        finish_pairs(f, y + (ptrdiff_t)i / 2 * (wg->Q / 2) * LANES, to, next, columns, b);
    }
    for (int i = 0; !f->halve && i < rows; i++) {
        output_pixels(half[i], to);
        for (int j = 0; j < columns; j++)
            finish_store(f, y + ((ptrdiff_t)i * wg->Q + j) * LANES, to[j] + b);
    }
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
    int per_block = wg->tiles_h * wg->tiles_w, row_m = whole_groups(tiles * PARTS) * LANES_WIDTH;
    int by = f->halve ? 2 : 1, P = wg->P / by, Q = wg->Q / by;
    for (int i = 0; i < filters; i++)
        for (int t = 0; t < tiles; t++) {
            int at = (int)((first + t) % per_block), p = at / wg->tiles_w * TILE, q = at % wg->tiles_w * TILE;
            int64_t plane = (first + t) / per_block * wg->out + k + i;
            float *to = y + ((plane * P + p / by) * Q + q / by) * LANES;
            int rows = clamped(wg->P - p, TILE), columns = clamped(wg->Q - q, TILE);
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
    struct winograd wg = {.in = turned ? win->K : win->C,
                          .out = turned ? win->C : win->K,
                          .H = turned ? win->P : win->H,
                          .W = turned ? win->Q : win->W,
                          .P = turned ? win->H : win->P,
                          .Q = turned ? win->W : win->Q,
                          .top = turned ? 2 - win->pad_top : win->pad_top,
                          .left = turned ? 2 - win->pad_left : win->pad_left,
                          .turned = turned};
    int out = (wg.out + LANES - 1) / LANES * LANES, in = (wg.in + LANES - 1) / LANES * LANES;
    wg.tiles_h = (wg.P + TILE - 1) / TILE;
    wg.tiles_w = (wg.Q + TILE - 1) / TILE;
    wg.whole = (int64_t)ELEMENTS * in * out * (int)sizeof(float) <= WHOLE_U;
    wg.tiles = tiles_within(wg.in <= 64 ? CHUNK_V : LARGE_V, wg.in);
    wg.filters = CHUNK_FILTERS < out ? CHUNK_FILTERS : out;
    wg.row_u = turned ? wg.filters : in;
    wg.u = (ptrdiff_t)wg.row_u * (turned ? wg.in : wg.filters) + LANES;
    wg.v = (ptrdiff_t)wg.in * wg.tiles * LANES + LANES;
    wg.m = (ptrdiff_t)wg.filters * wg.tiles * LANES + LANES;
    return wg;
}

static int chunks_of(const struct winograd *wg)
{
    return (wg->out + wg->filters - 1) / wg->filters;
}

static size_t winograd_scratch(const struct winograd *wg)
{
    return (size_t)(wg->u * (wg->whole ? chunks_of(wg) : 1) + wg->v + wg->m) * ELEMENTS * sizeof(float);
}

/* Filters k.. of one chunk: their points, unless they are kept and there already. */
static const float *chunk_weights(const struct winograd *wg, const float *w, int k, int filters, bool first,
                                  float *u)
{
    if (wg->whole)
        u += k / wg->filters * wg->u * ELEMENTS;
    if (!wg->whole || first) {
        if (wg->turned)
            transform_weights(wg, w, wg->out, 0, wg->in, k, filters, u);
        else
            transform_weights(wg, w, wg->in, k, filters, 0, wg->in, u);
    }
    return u;
}

/* Blocks begin..end-1. */
static void winograd_run(const struct winograd *wg, const float *x, const float *w, float *y,
                         const struct finish *f, int64_t begin, int64_t end, float *scratch)
{
    float *v = scratch, *m = v + wg->v * ELEMENTS, *u = m + wg->m * ELEMENTS;
    int per_block = wg->tiles_h * wg->tiles_w, filters, tiles;
    for (int64_t t = begin * per_block; t < end * per_block; t += tiles) {
        tiles = end * per_block - t < wg->tiles ? (int)(end * per_block - t) : wg->tiles;
        transform_input(wg, x, t, tiles, v);
        for (int k = 0; k < wg->out; k += filters) {
            filters = wg->out - k < wg->filters ? wg->out - k : wg->filters;
            const float *points = chunk_weights(wg, w, k, filters, t == begin * per_block, u);
            multiply(wg, points, v, m, filters, tiles);
            transform_output(wg, m, y, k, filters, t, tiles, f);
        }
    }
}

static void lanes_winograd(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct winograd wg = winograd_of(&c->g->window, false);
    struct finish f = {c->in[2], c->in[3], c->out[0], &c->g->map, c->add, c->g->window.halve};
    winograd_run(&wg, c->in[0], c->in[1], c->out[0], &f, begin, end, scratch);
}

static void lanes_winograd_dx(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct winograd wg = winograd_of(&c->g->window, true);
    struct finish f = {NULL, NULL, c->out[0], &c->g->map, c->add, false};
    winograd_run(&wg, c->in[0], c->in[1], c->out[0], &f, begin, end, scratch);
}

static size_t lanes_winograd_scratch(const struct geometry *g)
{
    struct winograd wg = winograd_of(&g->window, false);
    return winograd_scratch(&wg);
}

static size_t lanes_winograd_dx_scratch(const struct geometry *g)
{
    struct winograd wg = winograd_of(&g->window, true);
    return winograd_scratch(&wg);
}
