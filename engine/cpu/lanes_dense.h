/* Dense layers at sixteen lanes: the tiles of lanes_tile.h with blocks as pixels. Items are tiles' worth of what is
 * computed; a run takes a slice of several at once, so that one reading of its weights serves all blocks. Included after
 * lanes_gradient.h. */

enum { DENSE_UNITS = 12, DENSE_SLICE = 48, DENSE_TURN = 16, DENSE_COLUMNS = 64, DENSE_BLOCKS = 16 };

static int64_t slices(int64_t size, int64_t slice)
{
    return (size + slice - 1) / slice;
}

/* Of `size`, `count` from `first` on. */
struct slice {
    int64_t first, count;
};

/* The first of items *begin..end-1, `unit` each of `size`: `most` at most. */
static struct slice slice_next(int64_t *begin, int64_t end, int64_t unit, int64_t most, int64_t size)
{
    struct slice s = {*begin * unit, (end - *begin) * unit};
    s.count = s.count < most ? s.count : most;
    *begin += s.count / unit;
    s.count = s.count < size - s.first ? s.count : size - s.first;
    return s;
}

/* Runs a tile over all blocks: a block's x and y are row_x and row_y floats long. */
static void over_blocks(const struct tile *t, const float *x, float *y, int64_t row_x, int64_t row_y,
                        int blocks, int filters)
{
    struct list l;
    for (int n = 0; n < blocks;) {
        for (l.count = 0; n < blocks && l.count < LANES_PIXELS * PARTS; n++)
            list_add(&l, n * row_x, n * row_y);
        tile_filters(*t, x, y, &l, filters);
    }
}

static int64_t lanes_dense_items(const struct call *c)
{
    return slices(c->g->dense.out, DENSE_UNITS);
}

static void lanes_dense(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t in = c->g->dense.in, out = c->g->dense.out;
    (void)scratch;
    while (begin < end) {
        struct slice s = slice_next(&begin, end, DENSE_UNITS, DENSE_SLICE, out);
        struct tile t = {.w = (const float *)c->in[1] + s.first * in,
                         .b = c->in[2] ? (const float *)c->in[2] + s.first : NULL,
                         .C = 1,
                         .R = 1,
                         .S = (int)in,
                         .tap = LANES,
                         .tap_w = 1,
                         .filter_w = in,
                         .filter_y = LANES,
                         .end = {.map = c->g->map,
                                 .other = c->in[3] ? (const float *)c->in[3] + s.first * LANES : NULL,
                                 .add = c->add}};
        over_blocks(&t, c->in[0], (float *)c->out[0] + s.first * LANES, in * LANES, out * LANES,
                    lanes_blocks(c->rows), (int)s.count);
    }
}

static int64_t lanes_dense_dx_items(const struct call *c)
{
    return slices(c->g->dense.in, DENSE_UNITS);
}

/* dx[i] = sum over o of w[o][i] dy[o]; a slice's weights are copied side by side. */
static void lanes_dense_dx(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t in = c->g->dense.in, out = c->g->dense.out;
    float *w = scratch;
    while (begin < end) {
        struct slice s = slice_next(&begin, end, DENSE_UNITS, DENSE_SLICE, in);
        for (int64_t o = 0; o < out; o++)
            memcpy(w + o * DENSE_SLICE, (const float *)c->in[1] + o * in + s.first,
                   (size_t)s.count * sizeof *w);
        struct tile t = {.w = w,
                         .C = 1,
                         .R = 1,
                         .S = (int)out,
                         .tap = LANES,
                         .tap_w = DENSE_SLICE,
                         .filter_w = 1,
                         .filter_y = LANES,
                         .end = {.add = c->add}};
        over_blocks(&t, c->in[0], (float *)c->out[0] + s.first * LANES, out * LANES, in * LANES,
                    lanes_blocks(c->rows), (int)s.count);
    }
}

static size_t lanes_dense_dx_scratch(const struct geometry *g)
{
    return (size_t)g->dense.out * DENSE_SLICE * sizeof(float);
}

static int64_t lanes_dense_dw_items(const struct call *c)
{
    return slices(c->g->dense.in, DENSE_TURN);
}

/* x of blocks n.. as [row][DENSE_COLUMNS], zeros beyond rows and columns. */
static void turn_columns(const struct call *c, int n, int blocks, int64_t first, int count, float *to)
{
    int64_t in = c->g->dense.in;
    memset(to, 0, (size_t)blocks * LANES * DENSE_COLUMNS * sizeof *to);
    for (int b = 0; b < blocks; b++) {
        int live = lower(c->rows - (n + b) * LANES, LANES);
        const float *x = (const float *)c->in[1] + ((n + b) * in + first) * LANES;
        for (int i = 0; i < count; i++)
            for (int l = 0; l < live; l++)
                to[(b * LANES + l) * DENSE_COLUMNS + i] = x[i * LANES + l];
    }
}

/* dw[o][i] += sum over n of dy[n][o] x[n][i]: inputs are the vector, rows the taps, dy what is broadcast. */
static void dense_dw_columns(const struct call *c, int n, int blocks, int64_t first, int count,
                             float *scratch)
{
    int64_t in = c->g->dense.in, out = c->g->dense.out;
    float *turned = scratch, *last = scratch + DENSE_BLOCKS * LANES * DENSE_COLUMNS;
    struct list l;
    struct tile t = {.w = (const float *)c->in[0] + n * out * LANES,
                     .C = blocks,
                     .R = 1,
                     .S = LANES,
                     .channel = LANES * DENSE_COLUMNS,
                     .channel_w = out * LANES,
                     .tap = DENSE_COLUMNS,
                     .tap_w = 1,
                     .filter_w = LANES,
                     .filter_y = in,
                     .end = {.add = true}};
    turn_columns(c, n, blocks, first, count, turned);
    l.count = 0;
    for (int i = 0; i + LANES_WIDTH <= count; i += LANES_WIDTH, l.count++)
        l.x[l.count] = l.y[l.count] = i;
    float *dw = (float *)c->out[0] + first;
    if (l.count)
        tile_filters(t, turned, dw, &l, (int)out);
    int rest = count % LANES_WIDTH, from = count - rest;
    if (!rest)
        return;
    t.filter_y = LANES_WIDTH; /* the last columns are no whole vector: by way of scratch */
    t.end.add = false;
    l.count = 1;
    l.x[0] = from;
    l.y[0] = 0;
    tile_filters(t, turned, last, &l, (int)out);
    for (int64_t o = 0; o < out; o++)
        for (int i = 0; i < rest; i++)
            dw[o * in + from + i] += last[o * LANES_WIDTH + i];
}

static void lanes_dense_dw(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t in = c->g->dense.in;
    int blocks = lanes_blocks(c->rows);
    if (c->out[1] && begin == 0)
        bias_gradient(c, 0, (int)c->g->dense.out, 1, c->g->dense.out);
    while (begin < end) {
        struct slice s = slice_next(&begin, end, DENSE_TURN, DENSE_COLUMNS, in);
        for (int n = 0; c->out[0] && n < blocks; n += DENSE_BLOCKS)
            dense_dw_columns(c, n, lower(blocks - n, DENSE_BLOCKS), s.first, (int)s.count, scratch);
    }
}

static size_t lanes_dense_dw_scratch(const struct geometry *g)
{
    return ((size_t)DENSE_BLOCKS * LANES * DENSE_COLUMNS + (size_t)g->dense.out * LANES_WIDTH) *
           sizeof(float);
}
