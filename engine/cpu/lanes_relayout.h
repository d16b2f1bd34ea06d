/* Between the layouts: [N][size], and [N/16][size][16] with zeros for rows beyond N. Squares of LANES_WIDTH x
 * LANES_WIDTH values are transposed in registers. Included by lanes_*.c after
 * lanes_product.h. */

/* Values of a row to an item: a whole number of squares. */
enum { VALUES = 1024 };

static int64_t value_units(const struct call *c)
{
    return (c->row + VALUES - 1) / VALUES;
}

static int64_t lanes_values_items(const struct call *c)
{
    return lanes_blocks(c->rows) * value_units(c);
}

/* A square from rows `from_row` floats apart to rows `to_row` apart. */
INLINE void transpose_square(const float *from, int64_t from_row, float *to, int64_t to_row)
{
    vec v[LANES_WIDTH];
    for (int i = 0; i < LANES_WIDTH; i++)
        v[i] = *(const vec *)(from + i * from_row);
    transpose(v);
    for (int i = 0; i < LANES_WIDTH; i++)
        *(vec *)(to + i * to_row) = v[i];
}

/* Where the values of a stretch's last item end. */
static int64_t value_end(const struct call *c, struct stretch at)
{
    return (int64_t)at.to * VALUES < c->row ? (int64_t)at.to * VALUES : c->row;
}

/* Rows of the block that there are. */
static int rows_live(const struct call *c, int64_t block)
{
    int64_t live = c->rows - block * LANES;
    return live < LANES ? (int)live : LANES;
}

/* Values from..to-1 of a block's rows; of which those before `whole` go by squares. */
struct relayout {
    const float *x;
    float *y;
    int live;
    int64_t from, to, whole;
};

static struct relayout relayout_of(const struct call *c, struct stretch at)
{
    int64_t base = at.block * LANES * c->row;
    struct relayout r = {.x = (const float *)c->in[0] + base,
                         .y = (float *)c->out[0] + base,
                         .live = rows_live(c, at.block),
                         .from = (int64_t)at.from * VALUES,
                         .to = value_end(c, at)};
    r.whole = r.live == LANES ? r.to / LANES_WIDTH * LANES_WIDTH : r.from;
    return r;
}

static void lanes_to(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    while (begin < end) {
        struct relayout r = relayout_of(c, stretch_next(&begin, end, value_units(c)));
        if (r.live < LANES)
            memset(r.y + r.from * LANES, 0, (size_t)(r.to - r.from) * LANES * sizeof *r.y);
        for (int64_t i = r.from; i < r.whole; i += LANES_WIDTH)
            for (int l = 0; l < LANES; l += LANES_WIDTH)
                transpose_square(r.x + l * c->row + i, c->row, r.y + i * LANES + l, LANES);
        for (int64_t i = r.whole; i < r.to; i++)
            for (int l = 0; l < r.live; l++)
                r.y[i * LANES + l] = r.x[l * c->row + i];
    }
}

/* Eight bytes of each row at a time; lanes without a row become zeros. */
static void lanes_bytes_plane(const unsigned char *x, int64_t row, int64_t plane, int live,
                              const float *restrict table, float *restrict y)
{
    int64_t whole = plane / 8 * 8;
    if (live < LANES)
        memset(y, 0, (size_t)plane * LANES * sizeof *y);
    for (int64_t i = 0; i < whole; i += 8)
        for (int l = 0; l < live; l++) {
            uint64_t eight;
            memcpy(&eight, x + l * row + i, sizeof eight);
            for (int k = 0; k < 8; k++)
                y[(i + k) * LANES + l] = table[eight >> 8 * k & 255];
        }
    for (int64_t i = whole; i < plane; i++)
        for (int l = 0; l < live; l++)
            y[i * LANES + l] = table[x[l * row + i]];
}

static void lanes_bytes(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    const struct byte_rows *g = &c->g->bytes;
    const float *table = c->in[1];
    (void)scratch;
    while (begin < end) {
        struct stretch at = stretch_next(&begin, end, value_units(c));
        int64_t base = at.block * LANES * c->row, to = value_end(c, at), next;
        for (int64_t i = (int64_t)at.from * VALUES; i < to; i = next) {
            int64_t channel = i / g->plane;
            next = (channel + 1) * g->plane < to ? (channel + 1) * g->plane : to;
            lanes_bytes_plane((const unsigned char *)c->in[0] + base + i, c->row, next - i,
                              rows_live(c, at.block), table + (g->one ? 0 : channel * 256),
                              (float *)c->out[0] + base + i * LANES);
        }
    }
}

static void lanes_from(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    while (begin < end) {
        struct relayout r = relayout_of(c, stretch_next(&begin, end, value_units(c)));
        for (int64_t i = r.from; i < r.whole; i += LANES_WIDTH)
            for (int l = 0; l < LANES; l += LANES_WIDTH)
                transpose_square(r.x + i * LANES + l, LANES, r.y + l * c->row + i, c->row);
        for (int64_t i = r.whole; i < r.to; i++)
            for (int l = 0; l < r.live; l++)
                r.y[l * c->row + i] = r.x[i * LANES + l];
    }
}
