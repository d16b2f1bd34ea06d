/* Between the layouts: [N][size], and [N/16][size][16] with zeros for rows beyond N. Squares of LANES_WIDTH x
 * LANES_WIDTH values are transposed in registers. Included by lanes_*.c after
 * lanes_product.h. */

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

/* Rows of the block that there are. */
static int rows_live(const struct call *c, int64_t block)
{
    int64_t live = c->rows - block * LANES;
    return live < LANES ? (int)live : LANES;
}

static void lanes_to(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        const float *x = (const float *)c->in[0] + n * LANES * c->row;
        float *y = (float *)c->out[0] + n * LANES * c->row;
        int live = rows_live(c, n);
        int64_t whole = live == LANES ? c->row / LANES_WIDTH * LANES_WIDTH : 0;
        if (live < LANES)
            memset(y, 0, (size_t)c->row * LANES * sizeof *y);
        for (int64_t i = 0; i < whole; i += LANES_WIDTH)
            for (int l = 0; l < LANES; l += LANES_WIDTH)
                transpose_square(x + l * c->row + i, c->row, y + i * LANES + l, LANES);
        for (int64_t i = whole; i < c->row; i++)
            for (int l = 0; l < live; l++)
                y[i * LANES + l] = x[l * c->row + i];
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
    for (int64_t n = begin; n < end; n++)
        for (int64_t k = 0; k < g->channels; k++)
            lanes_bytes_plane((const unsigned char *)c->in[0] + n * LANES * c->row + k * g->plane, c->row,
                              g->plane, rows_live(c, n), table + (g->one ? 0 : k * 256),
                              (float *)c->out[0] + (n * c->row + k * g->plane) * LANES);
}

static void lanes_from(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t n = begin; n < end; n++) {
        const float *x = (const float *)c->in[0] + n * LANES * c->row;
        float *y = (float *)c->out[0] + n * LANES * c->row;
        int live = rows_live(c, n);
        int64_t whole = live == LANES ? c->row / LANES_WIDTH * LANES_WIDTH : 0;
        for (int64_t i = 0; i < whole; i += LANES_WIDTH)
            for (int l = 0; l < LANES; l += LANES_WIDTH)
                transpose_square(x + i * LANES + l, LANES, y + l * c->row + i, c->row);
        for (int64_t i = whole; i < c->row; i++)
            for (int l = 0; l < live; l++)
                y[l * c->row + i] = x[i * LANES + l];
    }
}
