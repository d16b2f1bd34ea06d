/* Between the layouts: [N][size], and [N/16][size][16] with zeros for rows beyond N. Squares of LANES_WIDTH x
 * LANES_WIDTH values are transposed in registers. Included by lanes_*.c before lanes_other.h. */

/* Element j of what the lower (bit s of the index clear) and the upper of two rows become when bit s of the row's index
 * and of the column's change places; a comes before b in a shuffle's numbering. */
#define LOWER(j, s)    ((j) & (s) ? LANES_WIDTH + ((j) ^ (s)) : (j))
#define UPPER(j, s)    ((j) & (s) ? LANES_WIDTH + (j) : (j) ^ (s))
#define FOUR(of, j, s) of((j), s), of((j) + 1, s), of((j) + 2, s), of((j) + 3, s)
#if LANES_WIDTH == 16
#define ALL(of, s) FOUR(of, 0, s), FOUR(of, 4, s), FOUR(of, 8, s), FOUR(of, 12, s)
#elif LANES_WIDTH == 8
#define ALL(of, s) FOUR(of, 0, s), FOUR(of, 4, s)
#else
#define ALL(of, s) FOUR(of, 0, s)
#endif

/* One bit of the indices: pairs of rows s apart. */
#define SWAP_BIT(v, s)                                                             \
    for (int i = 0; i < LANES_WIDTH; i++)                                          \
        if (!(i & (s))) {                                                          \
            vec low = __builtin_shufflevector(v[i], v[i | (s)], ALL(LOWER, s));    \
            v[i | (s)] = __builtin_shufflevector(v[i], v[i | (s)], ALL(UPPER, s)); \
            v[i] = low;                                                            \
        }

INLINE void transpose(vec v[LANES_WIDTH])
{
    SWAP_BIT(v, 1)
    SWAP_BIT(v, 2)
#if LANES_WIDTH >= 8
    SWAP_BIT(v, 4)
#endif
#if LANES_WIDTH >= 16
    SWAP_BIT(v, 8)
#endif
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
