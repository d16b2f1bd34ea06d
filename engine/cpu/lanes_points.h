/* What Winograd's convolutions share (Lavin and Gray, arXiv:1509.09308): transforms of rows and columns, and the tiles of
 * input. An output tile is four by four pixels. Three taps on a side take six points a side, five take eight: the points
 * are 0, 1, -1, 2, -2, then 1/2, -1/2 for eight, and infinity. `points` is a constant wherever these are inlined.
 * Included after lanes_product.h. Next to read: lanes_winograd.h. */

/* Local arrays: vec itself may lie anywhere, and what crosses cache lines is slow. */
#define ALIGNED __attribute__((aligned(64)))

enum {
    TILE = 4,          /* pixels of output on a side */
    POINTS = TILE + 2, /* pixels of input on a side, for three taps */
    ELEMENTS = POINTS * POINTS,
    POINTS_5 = TILE + 4, /* for five taps */
    ELEMENTS_5 = POINTS_5 * POINTS_5,
};

/* One convolution [in][H][W] -> [out][P][Q] of stride 1 in tiles. */
struct tiling {
    int in, out, H, W, P, Q, top, left, tiles_h, tiles_w;
};

/* Taps turned: from the gradient of the output to that of the input. */
static struct tiling tiling_of(const struct window *win, bool turned)
{
    struct tiling t = {.in = turned ? win->K : win->C,
                       .out = turned ? win->C : win->K,
                       .H = turned ? win->P : win->H,
                       .W = turned ? win->Q : win->W,
                       .P = turned ? win->H : win->P,
                       .Q = turned ? win->W : win->Q,
                       .top = turned ? win->R - 1 - win->pad_top : win->pad_top,
                       .left = turned ? win->S - 1 - win->pad_left : win->pad_left};
    t.tiles_h = (t.P + TILE - 1) / TILE;
    t.tiles_w = (t.Q + TILE - 1) / TILE;
    return t;
}

/* ---- the three transforms, on the values of a row or column ---- */

/* B^T d */
INLINE void input_points(const int points, const vec *d, vec *v)
{
    if (points == POINTS) {
        vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = d[3] - d[1];
        vec first = d[4] - 5 * d[2], last = d[5] - 5 * d[3];
        v[0] = first + 4 * d[0];
        v[1] = a + b;
        v[2] = a - b;
        v[3] = c + 2 * e;
        v[4] = c - 2 * e;
        v[5] = last + 4 * d[1];
        return;
    }
    vec a = d[2] + d[6] - 4.25f * d[4], b = d[1] + d[5] - 4.25f * d[3];
    vec c = d[6] + .25f * d[2] - 1.25f * d[4], e = 2 * d[5] + .5f * d[1] - 2.5f * d[3];
    vec f = d[6] + 4 * d[2] - 5 * d[4], g = 2 * d[1] + .5f * d[5] - 2.5f * d[3];
    v[0] = d[0] - d[6] + 5.25f * (d[4] - d[2]);
    v[1] = a + b;
    v[2] = a - b;
    v[3] = c + e;
    v[4] = c - e;
    v[5] = f + g;
    v[6] = f - g;
    v[7] = d[7] - d[1] + 5.25f * (d[3] - d[5]);
}

/* G g */
INLINE void weight_points(const int points, const vec *g, vec *u)
{
    if (points == POINTS) {
        vec ends = g[0] + g[2], some = g[2] * (1 / 6.f), a = some + g[0] * (1 / 24.f), b = g[1] * (1 / 12.f);
        u[0] = g[0] * .25f;
        u[1] = (ends + g[1]) * (-1 / 6.f);
        u[2] = (ends - g[1]) * (-1 / 6.f);
        u[3] = a + b;
        u[4] = a - b;
        u[5] = g[2];
        return;
    }
    vec a = (g[0] + g[2] + g[4]) * (-2 / 9.f), b = (g[1] + g[3]) * (-2 / 9.f);
    vec c = g[0] * (1 / 90.f) + g[2] * (4 / 90.f) + g[4] * (16 / 90.f),
        e = g[1] * (2 / 90.f) + g[3] * (8 / 90.f);
    vec f = g[0] * (32 / 45.f) + g[2] * (8 / 45.f) + g[4] * (2 / 45.f),
        h = g[1] * (16 / 45.f) + g[3] * (4 / 45.f);
    u[0] = g[0];
    u[1] = a + b;
    u[2] = a - b;
    u[3] = c + e;
    u[4] = c - e;
    u[5] = f + h;
    u[6] = f - h;
    u[7] = g[4];
}

/* A^T m */
INLINE void output_pixels(const int points, const vec *m, vec *y)
{
    vec s = m[1] + m[2], d = m[1] - m[2], t = m[3] + m[4], e = m[3] - m[4];
    y[0] = m[0] + s + t;
    y[1] = d + 2 * e;
    y[2] = s + 4 * t;
    y[3] = d + 8 * e + m[points - 1];
    if (points == POINTS_5) {
        vec p = m[5] + m[6], q = m[5] - m[6];
        y[0] += p;
        y[1] += .5f * q;
        y[2] += .25f * p;
        y[3] += .125f * q;
    }
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

INLINE struct piece piece_at(const int points, const struct tiling *t, const float *x, int64_t tile)
{
    int per_block = t->tiles_h * t->tiles_w, i = (int)(tile % per_block);
    struct piece p = {.image = x + tile / per_block * t->in * t->H * t->W * LANES,
                      .h = i / t->tiles_w * TILE - t->top,
                      .w = i % t->tiles_w * TILE - t->left};
    p.from_h = clamped(-p.h, points);
    p.to_h = clamped(t->H - p.h, points);
    p.from_w = clamped(-p.w, points);
    p.to_w = clamped(t->W - p.w, points);
    return p;
}

/* Asks for the columns of a piece that its left neighbour has not read. Tiles come from everywhere in a map: the
 * processor does not see by itself what is next. */
INLINE void piece_fetch(const struct tiling *t, const struct piece *p, int channel)
{
    int first = p->from_w < 2 && p->to_w > 2 ? 2 : p->from_w;
    for (int i = p->from_h; i < p->to_h; i++) {
        const float *row = p->image + (((ptrdiff_t)channel * t->H + p->h + i) * t->W + p->w) * LANES;
        for (int j = first; j < p->to_w; j++)
            __builtin_prefetch(row + j * LANES);
    }
}

/* B^T x B of one part of a piece of one channel: point i, j to v + i * line + j * element. */
INLINE void piece_points(const int points, const struct tiling *t, const struct piece *p, int channel,
                         int part, float *v, ptrdiff_t line, ptrdiff_t element)
{
    static const float nothing[POINTS_5 * LANES];
    const float *row[POINTS_5];
    ALIGNED vec half[POINTS_5][POINTS_5], d[POINTS_5], to[POINTS_5];
    for (int i = 0; i < points; i++)
        row[i] = i < p->from_h || i >= p->to_h
                     ? nothing
                     : p->image + (((ptrdiff_t)channel * t->H + p->h + i) * t->W + p->w + p->from_w) * LANES +
                           part;
    for (int j = 0; j < points; j++) {
        if (j < p->from_w || j >= p->to_w) {
            for (int i = 0; i < points; i++)
                half[i][j] = (vec){0};
            continue;
        }
        for (int i = 0; i < points; i++)
            d[i] = load(row[i] + (j - p->from_w) * LANES);
        input_points(points, d, to);
        for (int i = 0; i < points; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < points; i++) {
        input_points(points, half[i], to);
        for (int j = 0; j < points; j++)
            store(v + i * line + j * element, to[j]);
    }
}
