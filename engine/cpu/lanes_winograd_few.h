/* 5x5 convolutions of few channels and stride 1 by Winograd's F(4x4, 5x5): eight by eight input pixels give four by four
 * output pixels by 64 products instead of 400. The points of one tile lie in the nearest cache, and the products are
 * summed in registers, a column of points at a time, on the way into the output's transform: nothing else goes through
 * memory. Which of the two ways a convolution takes is its taps' affair. Included after lanes_winograd.h. */

/* FEW_FILTERS columns fill the registers. Beyond some channels the points of a tile would leave the cache. */
enum { FEW_FILTERS = LANES_WIDTH == 16 ? 2 : 1, FEW_TAPS = 5 };

/* Floats of a tile's points v [column][channel][line] of vectors, and of u [groups of filters][column][channel][line]
 * [FEW_FILTERS]. */
static ptrdiff_t few_v(const struct tiling *t)
{
    return (ptrdiff_t)t->in * ELEMENTS_5 * LANES_WIDTH;
}

static ptrdiff_t few_u(const struct tiling *t)
{
    return (ptrdiff_t)t->in * ELEMENTS_5 * FEW_FILTERS;
}

static int few_groups(const struct tiling *t)
{
    return (t->out + FEW_FILTERS - 1) / FEW_FILTERS;
}

/* G w G^T of one channel of up to LANES_WIDTH filters from w on; zeros beyond `count`. */
INLINE void few_filter_points(const float *w, ptrdiff_t filter, int count, vec u[ELEMENTS_5])
{
    ALIGNED float taps[FEW_TAPS * FEW_TAPS][LANES_WIDTH];
    ALIGNED vec half[POINTS_5][FEW_TAPS], column[FEW_TAPS], to[POINTS_5];
    memset(taps, 0, sizeof taps);
    for (int k = 0; k < count; k++)
        for (int i = 0; i < FEW_TAPS * FEW_TAPS; i++)
            taps[i][k] = w[k * filter + i];
    for (int j = 0; j < FEW_TAPS; j++) {
        for (int i = 0; i < FEW_TAPS; i++)
            column[i] = load(taps[i * FEW_TAPS + j]);
        weight_points(POINTS_5, column, to);
        for (int i = 0; i < POINTS_5; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < POINTS_5; i++)
        weight_points(POINTS_5, half[i], u + i * POINTS_5);
}

static __attribute__((noinline)) void few_weights(const struct tiling *t, const float *w, float *u)
{
    ALIGNED vec points[ELEMENTS_5];
    ptrdiff_t filter = (ptrdiff_t)t->in * FEW_TAPS * FEW_TAPS;
    memset(u, 0, (size_t)(few_groups(t) * few_u(t)) * sizeof *u); /* a last filter may have no partner */
    for (int k = 0; k < t->out; k += LANES_WIDTH)
        for (int c = 0; c < t->in; c++) {
            int count = t->out - k < LANES_WIDTH ? t->out - k : LANES_WIDTH;
            few_filter_points(w + k * filter + c * FEW_TAPS * FEW_TAPS, filter, count, points);
            for (int e = 0; e < ELEMENTS_5; e++) {
                int i = e / POINTS_5, j = e % POINTS_5;
                const float *from = (const float *)&points[e];
                float *to = u + ((ptrdiff_t)(j * t->in + c) * POINTS_5 + i) * FEW_FILTERS;
                for (int f = 0; f < count; f++)
                    to[(k + f) / FEW_FILTERS * few_u(t) + (k + f) % FEW_FILTERS] = from[f];
            }
        }
}

/* Column j of A^T [sum over channels of u v] for each of a group's filters. */
INLINE void few_column(int in, const float *u, const float *v, int j, vec half[FEW_FILTERS][TILE][POINTS_5])
{
    vec sum[FEW_FILTERS][POINTS_5], to[TILE];
    EACH (i, POINTS_5)
        EACH (k, FEW_FILTERS)
            sum[k][i] = u[i * FEW_FILTERS + k] * load(v + i * LANES_WIDTH);
    for (int c = 1; c < in; c++) {
        u += POINTS_5 * FEW_FILTERS;
        v += POINTS_5 * LANES_WIDTH;
        EACH (i, POINTS_5)
            EACH (k, FEW_FILTERS)
                sum[k][i] += u[i * FEW_FILTERS + k] * load(v + i * LANES_WIDTH);
    }
    EACH (k, FEW_FILTERS) {
        output_pixels(POINTS_5, sum[k], to);
        EACH (i, TILE)
            half[k][i][j] = to[i];
    }
}

/* Where a tile's results go: y of the first filter, and how many pixels of it there are. */
struct few_output {
    float *y;
    ptrdiff_t filter;
    int rows, columns;
};

static __attribute__((noinline)) void few_products(const struct tiling *t, const float *u, const float *v,
                                                   const struct few_output *o, const struct finish *f)
{
    ALIGNED vec half[FEW_FILTERS][TILE][POINTS_5];
    for (int k = 0; k < t->out; k += FEW_FILTERS, u += few_u(t)) {
        for (int j = 0; j < POINTS_5; j++)
            few_column(t->in, u + j * (few_u(t) / POINTS_5), v + j * (few_v(t) / POINTS_5), j, half);
        for (int i = 0; i < FEW_FILTERS && k + i < t->out; i++)
            output_rows(POINTS_5, t, half[i], o->y + (k + i) * o->filter, o->rows, o->columns,
                        (vec){0} + (f->b ? f->b[k + i] : 0), f);
    }
}

static __attribute__((noinline)) void few_input(const struct tiling *t, const struct piece *p, int part,
                                                float *v)
{
    ptrdiff_t column = few_v(t) / POINTS_5;
    for (int c = 0; c < t->in; c++)
        piece_points(POINTS_5, t, p, c, part, v + (ptrdiff_t)c * POINTS_5 * LANES_WIDTH, LANES_WIDTH, column);
}

static void few_tile(const struct tiling *t, const float *x, int64_t tile, const float *u, float *v, float *y,
                     const struct finish *f)
{
    struct piece piece = piece_at(POINTS_5, t, x, tile);
    int per_block = t->tiles_h * t->tiles_w, at = (int)(tile % per_block);
    int p = at / t->tiles_w * TILE, q = at % t->tiles_w * TILE, by = f->halve ? 2 : 1;
    ptrdiff_t filter = (ptrdiff_t)(t->P / by) * (t->Q / by) * LANES;
    struct few_output o = {
        .filter = filter, .rows = clamped(t->P - p, TILE), .columns = clamped(t->Q - q, TILE)};
    y += tile / per_block * t->out * filter + ((ptrdiff_t)(p / by) * (t->Q / by) + q / by) * LANES;
    for (int part = 0; part < LANES; part += LANES_WIDTH) {
        few_input(t, &piece, part, v);
        o.y = y + part;
        few_products(t, u, v, &o, f);
    }
}

static void few_run(const struct call *c, int64_t begin, int64_t end, float *scratch)
{
    struct tiling t = tiling_of(&c->g->window, false);
    struct finish f = finish_of(c);
    float *v = scratch, *u = v + few_v(&t);
    few_weights(&t, c->in[1], u);
    for (int64_t tile = begin; tile < end; tile++)
        few_tile(&t, c->in[0], tile, u, v, c->out[0], &f);
}

/* ---- forward, either way ---- */

static int64_t lanes_winograd_items(const struct call *c)
{
    struct tiling t = tiling_of(&c->g->window, false);
    return c->g->window.R == FEW_TAPS ? tiles_of(c, &t) : winograd_items(c, false);
}

static void lanes_winograd(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    if (c->g->window.R == FEW_TAPS) {
        few_run(c, begin, end, scratch);
        return;
    }
    struct finish f = finish_of(c);
    winograd_either(c, &f, false, begin, end, scratch);
}

static size_t lanes_winograd_scratch(const struct geometry *g)
{
    if (g->window.R == FEW_TAPS) {
        struct tiling t = tiling_of(&g->window, false);
        return (size_t)(few_v(&t) + few_groups(&t) * few_u(&t)) * sizeof(float);
    }
    struct winograd wg = winograd_of(&g->window, false);
    return winograd_scratch(&wg);
}
