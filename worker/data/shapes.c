/* Ten classes of coloured shapes on textured ground. A shape is its signed distance, negative inside: circles
 * directly, the rest as polygons, combined with min and max (I. Quilez, "2D distance functions"). Next to
 * read: canvas.h. */
#include "worker/data/canvas.h"

#include <math.h>

enum { CORNERS_MOST = 12, WAVES = 3 };

enum shape_class { DISC, RING, SQUARE, FRAME, TRIANGLE, CROSS, STAR, CRESCENT, BAR, HALF_DISC };

struct polygon {
    int corners;
    struct point at[CORNERS_MOST]; /* in a circle of radius 1 */
};

static const struct polygon square = {4, {{-.78, -.78}, {.78, -.78}, {.78, .78}, {-.78, .78}}};
static const struct polygon triangle = {3, {{0, -1}, {.866, .5}, {-.866, .5}}};
static const struct polygon bar = {4, {{-1, -.28}, {1, -.28}, {1, .28}, {-1, .28}}};
static const struct polygon cross = {12,
                                     {{-.3, -1},
                                      {.3, -1},
                                      {.3, -.3},
                                      {1, -.3},
                                      {1, .3},
                                      {.3, .3},
                                      {.3, 1},
                                      {-.3, 1},
                                      {-.3, .3},
                                      {-1, .3},
                                      {-1, -.3},
                                      {-.3, -.3}}};
static const struct polygon star = {10,
                                    {{0, -1},
                                     {.259, -.356},
                                     {.951, -.309},
                                     {.419, .136},
                                     {.588, .809},
                                     {0, .44},
                                     {-.588, .809},
                                     {-.419, .136},
                                     {-.951, -.309},
                                     {-.259, -.356}}};

/* Distance to the nearest edge; the sign by counting the edges that a ray to the right crosses. */
static double polygon_distance(const struct polygon *g, struct point p)
{
    double nearest = 1e9;
    bool inside = false;
    for (int i = 0, j = g->corners - 1; i < g->corners; j = i++) {
        struct point a = g->at[i], b = g->at[j];
        double ux = b.x - a.x, uy = b.y - a.y, px = p.x - a.x, py = p.y - a.y;
        double t = (px * ux + py * uy) / (ux * ux + uy * uy);
        t = t < 0 ? 0 : t > 1 ? 1 : t;
        double dx = px - t * ux, dy = py - t * uy, d2 = dx * dx + dy * dy;
        nearest = d2 < nearest ? d2 : nearest;
        if ((a.y > p.y) != (b.y > p.y) && px < ux * py / uy)
            inside = !inside;
    }
    return inside ? -sqrt(nearest) : sqrt(nearest);
}

static double disc_distance(struct point p, double x, double radius)
{
    return sqrt((p.x - x) * (p.x - x) + p.y * p.y) - radius;
}

static double distance(enum shape_class shape, struct point p)
{
    switch (shape) {
    case DISC:
        return disc_distance(p, 0, 0.9);
    case RING:
        return fabs(disc_distance(p, 0, 0.76)) - 0.2;
    case SQUARE:
        return polygon_distance(&square, p);
    case FRAME:
        return fabs(polygon_distance(&square, p) + 0.2) - 0.2;
    case TRIANGLE:
        return polygon_distance(&triangle, p);
    case CROSS:
        return polygon_distance(&cross, p);
    case STAR:
        return polygon_distance(&star, p);
    case CRESCENT:
        return fmax(disc_distance(p, 0, 0.95), -disc_distance(p, 0.5, 0.75));
    case BAR:
        return polygon_distance(&bar, p);
    case HALF_DISC:
        return fmax(disc_distance(p, -0.3, 0.95), -0.3 - p.x);
    }
    return 1;
}

bool shapes_draws(struct shape s)
{
    return shape_equal(s, SHAPE(3, CANVAS_SIDE, CANVAS_SIDE));
}

static void draw_shape(double *cover, enum shape_class shape, struct rng *r)
{
    double radius = rng_between(r, 7, 12.5), room = CANVAS_SIDE / 2.0 - radius,
           turn = rng_between(r, 0, 2 * M_PI);
    double x0 = CANVAS_SIDE / 2.0 + rng_between(r, -room, room),
           y0 = CANVAS_SIDE / 2.0 + rng_between(r, -room, room);
    double stretch = rng_between(r, 0.85, 1), c = cos(turn) / radius, s = sin(turn) / radius;
    struct affine a = {c, s, -(c * x0 + s * y0), -s / stretch, c / stretch, (s * x0 - c * y0) / stretch};
    for (int y = 0; y < CANVAS_SIDE; y++)
        for (int x = 0; x < CANVAS_SIDE; x++) {
            struct point p = affine_apply(&a, (struct point){x + 0.5, y + 0.5});
            double v = p.x * p.x + p.y * p.y < 1.6 ? 0.5 - radius * distance(shape, p) : 0;
            cover[y * CANVAS_SIDE + x] = v < 0 ? 0 : v > 1 ? 1 : v;
        }
}

/* wave[y][x] = sin(fx x + fy y + phase): one sine a row and column, the rest by turning (sin, cos) by the
 * step. */
static void add_wave(double *plane, double height, double fx, double fy, double phase)
{
    double sx = sin(fx), cx = cos(fx);
    for (int y = 0; y < CANVAS_SIDE; y++) {
        double s = sin(fy * y + phase), c = cos(fy * y + phase);
        for (int x = 0; x < CANVAS_SIDE; x++) {
            plane[y * CANVAS_SIDE + x] += height * s;
            double t = s * cx + c * sx;
            c = c * cx - s * sx;
            s = t;
        }
    }
}

/* Ground and ink differ by at least 50 levels in two channels, one way or the other. */
static void random_colours(double *ground, double *ink, struct rng *r)
{
    double texture[CANVAS_PIXELS] = {0};
    for (int i = 0; i < WAVES; i++) {
        double turn = rng_between(r, 0, 2 * M_PI), f = rng_between(r, 0.3, 1.6);
        double height = rng_between(r, 3, 14), phase = rng_between(r, 0, 2 * M_PI);
        add_wave(texture, height, f * cos(turn), f * sin(turn), phase);
    }
    uint32_t free_channel = rng_below(r, CANVAS_CHANNELS);
    for (int c = 0; c < CANVAS_CHANNELS; c++) {
        double base = rng_between(r, 30, 225), strength = rng_between(r, 0.3, 1.2);
        double step = rng_between(r, c == (int)free_channel ? 0 : 50, 110);
        bool brighter = base < 80 || (base < 175 && rng_below(r, 2));
        ink[c] = fmin(fmax(brighter ? base + step : base - step, 0), 255);
        for (int i = 0; i < CANVAS_PIXELS; i++)
            ground[c * CANVAS_PIXELS + i] = base + strength * texture[i];
    }
}

int32_t shapes_draw(struct shape s, uint64_t seed, int64_t row, uint8_t *pixels)
{
    double ground[CANVAS_CHANNELS * CANVAS_PIXELS], cover[CANVAS_PIXELS], ink[CANVAS_CHANNELS];
    struct rng r = canvas_rng("shapes", s, seed, row);
    int32_t label = (int32_t)rng_below(&r, 10);
    draw_shape(cover, (enum shape_class)label, &r);
    random_colours(ground, ink, &r);
    canvas_finish(pixels, CANVAS_CHANNELS, CANVAS_SIDE, ground, cover, ink, rng_between(&r, 3, 14), &r);
    return label;
}
