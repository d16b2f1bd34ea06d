/* Small matrix products and transposes in registers, for the Winograd kernels. Included after lanes_tile.h.
 * Next to read: lanes_winograd.h. */

/* y[k][v] = sum over d of w[k * filter_w + d * depth_w] x[d][v] for vectors v, added to y when `add`. Distances in
 * floats; every sum is one chain in the order of d, whatever the tile. */
struct product {
    const float *w, *x;
    float *y;
    int depth;
    ptrdiff_t filter_w, depth_w, filter_y;
    bool add;
};

INLINE void product_run(const int filters, const int vectors, const struct product *t)
{
    vec sum[FILTERS][LANES_PIXELS];
    const float *w = t->w, *x = t->x;
    static const float zeros[LANES_PIXELS * LANES_WIDTH];
    const float *start =
        t->add ? t->y : zeros; /* read either way: a choice for each sum would go through memory */
    ptrdiff_t filter_start = t->add ? t->filter_y : 0;
    EACH (k, filters)
        EACH (v, vectors)
            sum[k][v] = load(start + k * filter_start + v * LANES_WIDTH);
    for (int d = 0; d < t->depth; d++, x += vectors * LANES_WIDTH, w += t->depth_w)
        EACH (k, filters)
            EACH (v, vectors)
                sum[k][v] += w[k * t->filter_w] * load(x + v * LANES_WIDTH);
    EACH (k, filters)
        EACH (v, vectors)
            store(t->y + k * t->filter_y + v * LANES_WIDTH, sum[k][v]);
}

#define PRODUCT_CODE(filters, vectors)                                                           \
    static __attribute__((noinline)) void product_##filters##x##vectors(const struct product *t) \
    {                                                                                            \
        product_run(filters, vectors, t);                                                        \
    }
PRODUCT_CODE(6, 1)
PRODUCT_CODE(6, 2)
PRODUCT_CODE(4, 1)
PRODUCT_CODE(4, 2)
PRODUCT_CODE(2, 1)
PRODUCT_CODE(2, 2)
PRODUCT_CODE(1, 1)
PRODUCT_CODE(1, 2)
#if LANES_PIXELS == 4
PRODUCT_CODE(6, 4)
PRODUCT_CODE(4, 4)
PRODUCT_CODE(2, 4)
PRODUCT_CODE(1, 4)
#endif

#define PRODUCT(filters, vectors)         \
    case (filters)*8 + (vectors):         \
        product_##filters##x##vectors(t); \
        break;

static void product_dispatch(int filters, int vectors, const struct product *t)
{
    switch (filters * 8 + vectors) {
        PRODUCT(6, 1)
        PRODUCT(6, 2)
        PRODUCT(4, 1)
        PRODUCT(4, 2)
        PRODUCT(2, 1)
        PRODUCT(2, 2)
        PRODUCT(1, 1)
        PRODUCT(1, 2)
#if LANES_PIXELS == 4
        PRODUCT(6, 4)
        PRODUCT(4, 4)
        PRODUCT(2, 4)
        PRODUCT(1, 4)
#endif
    }
}

/* x is [groups][depth][LANES_PIXELS vectors]; in the last group only as many vectors as there is code for. */
static int group_vectors(int left)
{
    return left >= LANES_PIXELS ? LANES_PIXELS : left == 3 ? 4 : left;
}

static int whole_groups(int vectors)
{
    int last = vectors % LANES_PIXELS;
    return vectors - last + (last ? group_vectors(last) : 0);
}

/* `filters` rows of y, each of `vectors`. */
static void product_rows(struct product t, int filters, int vectors)
{
    const float *w = t.w, *x = t.x;
    float *y = t.y;
    for (int v = 0, vt; v < vectors; v += vt, x += (ptrdiff_t)vt * t.depth * LANES_WIDTH) {
        vt = group_vectors(vectors - v);
        t.x = x;
        for (int k = 0, kt; k < filters; k += kt) {
            kt = filters - k >= FILTERS ? FILTERS : next_size(filters - k, 4);
            t.w = w + k * t.filter_w;
            t.y = y + k * t.filter_y + v * LANES_WIDTH;
            product_dispatch(kt, vt, &t);
        }
    }
}

/* ---- rows and columns change places ---- */

#if LANES_WIDTH == 16
#define ZIP_LOW  0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES_WIDTH == 8
#define ZIP_LOW  0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define ZIP_LOW  0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#endif

/* One of log2(LANES_WIDTH) equal rounds: row i and row i + half become rows 2 i and 2 i + 1, their values in turns. */
INLINE void zip_rows(const vec *a, vec *b)
{
    for (int i = 0; i < LANES_WIDTH / 2; i++) {
        b[2 * i] = __builtin_shufflevector(a[i], a[i + LANES_WIDTH / 2], ZIP_LOW);
        b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + LANES_WIDTH / 2], ZIP_HIGH);
    }
}

/* a[i][j] becomes a[j][i]. */
INLINE void transpose(vec a[LANES_WIDTH])
{
    __attribute__((aligned(64))) vec b[LANES_WIDTH];
    zip_rows(a, b);
    zip_rows(b, a);
    if (LANES_WIDTH > 4)
        zip_rows(a, b);
    if (LANES_WIDTH == 16)
        zip_rows(b, a);
    if (LANES_WIDTH == 8)
        memcpy(a, b, sizeof b);
}
