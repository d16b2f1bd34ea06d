/* Inverted residuals at sixteen lanes, by rows: a convolution (most often of one tap, to more channels), the depthwise one
 * that alone reads its results, and the one of one tap behind that. The rows that the next depthwise rows read lie in a
 * ring, their results in a buffer, so that the wide maps in the middle never reach memory. Sums are those of the three
 * kernels apart, in the same order. (Narrower strips, so that the ring stays in L2, were slower.) Included after
 * lanes_forward.h. */

/* Pixels of a turn, so that tiles are full. */
enum { TURN_PIXELS = 48 };

/* Line h of an expanded channel lies at h % lines of its part of the ring, between columns of zeros. */
struct inverted {
    struct sweep expand, depth,
        project;        /* of block 0; depth of one channel, whose lines are those of the ring */
    int H, left, lines; /* of the expanded map; columns of zeros before it; lines of the ring */
    int rows;           /* of the depthwise result in a turn */
    bool projects;
    ptrdiff_t ring, line,
        buffer; /* floats of a channel in the ring, of its line, of a channel in the buffer */
};

/* Columns of the ring: as far as whole QUADs read, so that they need not look where the border is. */
static int ring_width(const struct window *depth)
{
    int read =
        ((depth->Q + QUAD - 1) / QUAD * QUAD - 1) * depth->stride_w + depth->dilation_w * (depth->S - 1) + 1;
    return read < depth->pad_left + depth->W ? depth->pad_left + depth->W : read;
}

static struct inverted inverted_of(const struct geometry *g, bool projects)
{
    const struct window *d = &g->inverted.depth;
    struct geometry first = {.window = g->inverted.window, .map = g->inverted.expanded};
    struct geometry second = {.window = *d, .map = projects ? g->inverted.filtered : g->map};
    struct geometry third = {.window = g->inverted.project, .map = g->map};
    struct inverted v = {.expand = forward_sweep(&first),
                         .depth = forward_sweep(&second),
                         .H = d->H,
                         .left = d->pad_left,
                         .rows = 1,
                         .projects = projects};
    if (projects)
        v.project = forward_sweep(&third);
    while (v.rows < d->P && (v.rows * d->stride_h * d->W < TURN_PIXELS || v.rows * d->Q < TURN_PIXELS))
        v.rows++;
    int lines = (v.rows - 1) * d->stride_h + reach_h(&v.depth);
    v.lines = lines < d->H ? lines : d->H;
    v.depth.W = ring_width(d);
    v.depth.left = 0;
    v.line = (ptrdiff_t)v.depth.W * LANES;
    v.ring = (v.lines * v.depth.W | 1) * LANES; /* odd numbers of pixels: channels do not meet in the cache */
    v.buffer = (v.rows * d->Q | 1) * LANES;
    v.expand.line_y = v.line;
    v.expand.tile.filter_y = v.ring;
    return v;
}

/* Where things lie in scratch: ring, a line of zeros, the buffer, a copy of what reaches over the border. */
static ptrdiff_t inverted_zeros(const struct inverted *v)
{
    return v->expand.K * v->ring;
}

static ptrdiff_t inverted_buffer(const struct inverted *v)
{
    return inverted_zeros(v) + v->line;
}

static ptrdiff_t inverted_copy(const struct inverted *v)
{
    return inverted_buffer(v) + (v->projects ? v->expand.K * v->buffer : 0);
}

/* `count` lines of the expansion from line h on, into the ring. */
static void inverted_expand(const struct inverted *v, int h, int count, float *scratch)
{
    struct sweep s = v->expand;
    struct band b = band_at(&s, h, count, scratch + inverted_copy(v));
    s.y = scratch + h % v->lines * v->line + v->left * LANES;
    run_band(&s, &b, list_most(&s));
}

/* Depthwise rows p..end-1 of one channel, to y. */
static void inverted_depth(const struct inverted *v, const struct sweep *s, const float *ring,
                           const float *zeros, int p, int end, float *y)
{
    struct depth d = {.careful = false};
    depth_code code = depth_choose(s);
    depth_weights(&d, s);
    for (d.y = y; p < end; p++, d.y += s->line_y) {
        for (int r = 0; r < s->R; r++) {
            int h = p * s->stride_h - s->top + r * s->dilation_h;
            d.lines[r] = h < 0 || h >= v->H ? zeros : ring + h % v->lines * v->line;
        }
        code(&d);
    }
}

static void inverted_project(const struct inverted *v, const float *buffer, int p, int end)
{
    struct sweep s = v->project;
    struct band b = {.x = buffer, .channel = v->buffer, .line = s.line_y, .rows = end - p};
    s.y += p * s.line_y;
    if (s.tile.end.other)
        s.tile.end.other += p * s.line_y;
    run_band(&s, &b, list_most(&s));
}

/* Rows p..end-1 of a block whose lines are in the ring. */
static void inverted_turn(const struct inverted *v, const struct call *c, int p, int end, float *scratch)
{
    const float *wd = c->in[3], *bd = c->in[4], *ring = scratch, *zeros = scratch + inverted_zeros(v);
    float *buffer = scratch + inverted_buffer(v);
    for (int k = 0; k < v->expand.K; k++, ring += v->ring) {
        struct sweep s = v->depth;
        s.tile.w = wd + k * s.tile.filter_w;
        s.tile.b = bd ? bd + k : NULL;
        inverted_depth(v, &s, ring, zeros, p, end,
                       v->projects ? buffer + k * v->buffer : s.y + k * s.tile.filter_y + p * s.line_y);
    }
    if (v->projects)
        inverted_project(v, buffer, p, end);
}

/* Output rows from..to-1 of one block. */
static void inverted_turns(const struct inverted *v, const struct call *c, int from, int to, float *scratch)
{
    int made = from * v->depth.stride_h - v->depth.top;
    made = made < 0 ? 0 : made;
    for (int p = from, end, count; p < to; p = end) {
        end = p + v->rows < to ? p + v->rows : to;
        int last = (end - 1) * v->depth.stride_h - v->depth.top + reach_h(&v->depth);
        for (last = last < v->H ? last : v->H; made < last; made += count) {
            count = v->lines - made % v->lines;
            count = count < last - made ? count : last - made;
            inverted_expand(v, made, count, scratch);
        }
        inverted_turn(v, c, p, end, scratch);
    }
}

static int64_t lanes_inverted_items(const struct call *c)
{
    return (int64_t)lanes_blocks(c->rows) * c->g->inverted.depth.P;
}

static void lanes_inverted(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct inverted v = inverted_of(c->g, c->in[5] != NULL);
    struct sweep *last = v.projects ? &v.project : &v.depth;
    memset(scratch, 0, (size_t)inverted_buffer(&v) * sizeof(float)); /* the columns of zeros stay */
    v.expand.tile.w = c->in[1];
    v.expand.tile.b = c->in[2];
    v.project.tile.w = c->in[5];
    v.project.tile.b = c->in[6];
    last->tile.end.add = c->add;
    while (begin < end) {
        struct stretch at = stretch_next(&begin, end, v.depth.P);
        ptrdiff_t y = at.block * c->row * LANES;
        v.expand.x = (const float *)c->in[0] + at.block * v.expand.C * v.expand.H * v.expand.W * LANES;
        last->y = (float *)c->out[0] + y;
        last->tile.end.other = c->in[7] ? (const float *)c->in[7] + y : NULL;
        inverted_turns(&v, c, at.from, at.to, scratch);
    }
}

static size_t lanes_inverted_scratch(const struct geometry *g)
{
    struct inverted v = inverted_of(g, g->inverted.project.K > 0);
    const struct sweep *s = &v.expand;
    ptrdiff_t copy = crosses_border(s) ? s->C * band_channel(s, v.lines) : 0;
    return (size_t)(inverted_copy(&v) + copy) * sizeof(float);
}
