/* The ten digits, drawn from stroke outlines as a person would write them: a style, a wobble of every point,
 * one affine map (scale, shear, rotation, shift), a pen's width. Smooth strokes are Catmull-Rom splines
 * through their points (E. Catmull, R. Rom, "A class of local interpolating splines", 1974). Next to read:
 * canvas.h. */
#include "worker/data/canvas.h"

#include <math.h>

enum { STROKE_POINTS = 14, STYLE_STROKES = 3, DIGIT_STYLES = 3, CURVE_STEPS = 4 };
enum curve { CORNERS, SMOOTH, LOOP }; /* LOOP: smooth, and the last point joins the first */

struct stroke {
    enum curve curve;
    int points;                  /* 0: no stroke */
    int8_t at[STROKE_POINTS][2]; /* x, y in percent of a box that is 60 wide, 100 high; y goes down */
};

struct style {
    struct stroke stroke[STYLE_STROKES];
};

#define STROKE(curve, ...)                                    \
    {                                                         \
        curve, (int)(sizeof((int8_t[][2]){__VA_ARGS__}) / 2), \
        {                                                     \
            __VA_ARGS__                                       \
        }                                                     \
    }

/* clang-format off */
static const struct style digits[10][DIGIT_STYLES] = {
    { /* 0: round, narrow, leaning */
        {{STROKE(LOOP, {30, 0}, {10, 14}, {2, 50}, {10, 86}, {30, 100}, {50, 86}, {58, 50}, {50, 14})}},
        {{STROKE(LOOP, {30, 0}, {16, 20}, {12, 50}, {16, 80}, {30, 100}, {44, 80}, {48, 50}, {44, 20})}},
        {{STROKE(LOOP, {38, 2}, {16, 18}, {4, 54}, {10, 90}, {28, 98}, {48, 80}, {57, 44}, {52, 12})}},
    },
    { /* 1: a bar, with a flag, with a flag and a foot */
        {{STROKE(CORNERS, {31, 0}, {30, 100})}},
        {{STROKE(CORNERS, {12, 24}, {34, 0}, {33, 100})}},
        {{STROKE(CORNERS, {14, 20}, {32, 0}, {32, 100}), STROKE(CORNERS, {12, 100}, {52, 100})}},
    },
    { /* 2: round with a flat foot, angular, with a loop at the foot */
        {{STROKE(SMOOTH, {6, 24}, {14, 6}, {32, 0}, {50, 8}, {54, 28}, {42, 52}, {22, 76}, {4, 98}), STROKE(CORNERS, {4, 99}, {57, 98})}},
        {{STROKE(SMOOTH, {4, 14}, {26, 1}, {48, 10}, {50, 32}, {28, 66}, {6, 97}), STROKE(CORNERS, {6, 98}, {54, 94})}},
        {{STROKE(SMOOTH, {8, 20}, {22, 2}, {44, 4}, {52, 24}, {40, 54}, {18, 86}, {6, 92}, {8, 80}, {22, 84}, {40, 97}, {58, 90})}},
    },
    { /* 3: two bows, flat top, small upper bow */
        {{STROKE(SMOOTH, {6, 14}, {22, 0}, {44, 6}, {50, 24}, {40, 42}, {24, 47}), STROKE(SMOOTH, {24, 47}, {46, 54}, {56, 74}, {44, 94}, {22, 100}, {2, 88})}},
        {{STROKE(CORNERS, {6, 2}, {52, 2}, {26, 40}), STROKE(SMOOTH, {26, 40}, {48, 48}, {56, 70}, {46, 92}, {24, 100}, {4, 90})}},
        {{STROKE(SMOOTH, {10, 8}, {30, 0}, {44, 12}, {40, 32}, {22, 42}), STROKE(SMOOTH, {22, 42}, {50, 50}, {57, 74}, {40, 98}, {6, 94})}},
    },
    { /* 4: open, closed, closed with a short stem */
        {{STROKE(CORNERS, {12, 2}, {6, 58}, {56, 58}), STROKE(CORNERS, {44, 22}, {42, 100})}},
        {{STROKE(CORNERS, {58, 68}, {2, 68}, {42, 0}, {42, 100})}},
        {{STROKE(CORNERS, {18, 0}, {2, 52}, {58, 50}), STROKE(CORNERS, {46, 4}, {38, 100})}},
    },
    { /* 5: angular shoulder, leaning, one sweep */
        {{STROKE(CORNERS, {54, 2}, {12, 2}, {8, 42}), STROKE(SMOOTH, {8, 42}, {28, 36}, {50, 46}, {56, 68}, {44, 92}, {22, 100}, {2, 88})}},
        {{STROKE(CORNERS, {57, 0}, {20, 4}, {12, 46}), STROKE(SMOOTH, {12, 46}, {34, 42}, {50, 56}, {48, 80}, {30, 98}, {4, 94})}},
        {{STROKE(SMOOTH, {54, 2}, {24, 4}, {10, 24}, {20, 42}, {42, 50}, {52, 72}, {38, 96}, {6, 94})}},
    },
    { /* 6: round, straight back, small bowl */
        {{STROKE(SMOOTH, {48, 4}, {24, 14}, {8, 44}, {6, 76}, {22, 98}, {44, 94}, {56, 74}, {46, 54}, {26, 52}, {8, 68})}},
        {{STROKE(SMOOTH, {36, 0}, {16, 36}, {6, 66}, {12, 92}, {32, 100}, {52, 86}, {52, 62}, {34, 52}, {10, 66})}},
        {{STROKE(SMOOTH, {50, 10}, {34, 0}, {14, 18}, {6, 54}, {12, 88}, {30, 100}, {48, 88}, {46, 66}, {28, 60}, {8, 74})}},
    },
    { /* 7: plain, with a bar, with a curved leg */
        {{STROKE(CORNERS, {4, 2}, {56, 2}, {22, 100})}},
        {{STROKE(CORNERS, {4, 4}, {54, 2}, {24, 100}), STROKE(CORNERS, {16, 50}, {52, 48})}},
        {{STROKE(CORNERS, {2, 16}, {4, 3}, {56, 3}), STROKE(SMOOTH, {56, 3}, {38, 34}, {28, 66}, {26, 100})}},
    },
    { /* 8: two rings, one sweep, small upper ring */
        {{STROKE(LOOP, {30, 0}, {12, 10}, {10, 32}, {30, 46}, {50, 32}, {48, 10}), STROKE(LOOP, {30, 46}, {6, 60}, {6, 86}, {30, 100}, {54, 86}, {54, 60})}},
        {{STROKE(LOOP, {50, 8}, {26, 1}, {8, 18}, {22, 42}, {46, 60}, {54, 82}, {30, 100}, {6, 84}, {16, 60}, {42, 40}, {52, 20})}},
        {{STROKE(LOOP, {32, 2}, {18, 12}, {18, 30}, {32, 40}, {46, 30}, {46, 12}), STROKE(LOOP, {30, 40}, {4, 58}, {4, 88}, {30, 100}, {56, 88}, {54, 58})}},
    },
    { /* 9: straight stem, curved stem, open hook */
        {{STROKE(LOOP, {32, 0}, {10, 10}, {6, 32}, {22, 50}, {44, 42}, {52, 20}), STROKE(CORNERS, {53, 8}, {50, 100})}},
        {{STROKE(SMOOTH, {52, 26}, {34, 50}, {12, 44}, {6, 20}, {22, 2}, {44, 4}, {53, 26}, {50, 62}, {36, 90}, {12, 99})}},
        {{STROKE(SMOOTH, {50, 14}, {30, 0}, {10, 14}, {10, 38}, {30, 50}, {48, 36}, {50, 14}), STROKE(SMOOTH, {52, 4}, {52, 44}, {42, 84}, {20, 100}, {6, 90})}},
    },
};
/* clang-format on */

bool digits_draws(struct shape s)
{
    return shape_equal(s, SHAPE(1, 28, 28)) || shape_equal(s, SHAPE(3, 32, 32));
}

/* From percent of the box around its centre to pixels: scale, then shear, rotation and shift. */
static struct affine random_affine(struct rng *r, int side)
{
    double height = side * rng_between(r, 0.52, 0.76) / 100, width = height * rng_between(r, 0.75, 1.25);
    double shear = rng_between(r, -0.26, 0.26), turn = rng_between(r, -0.26, 0.26);
    double c = cos(turn), s = sin(turn), room = side * 0.12;
    struct affine a = {
        .xx = c * width, .xy = (-c * shear - s) * height, .yx = s * width, .yy = (-s * shear + c) * height};
    struct point centre = affine_apply(&a, (struct point){30, 50});
    a.x0 = side / 2.0 + rng_between(r, -room, room) - centre.x;
    a.y0 = side / 2.0 + rng_between(r, -room, room) - centre.y;
    return a;
}

/* p(t) between b and c:  b + t/2 (c - a + t (2a - 5b + 4c - d + t (3 (b - c) + d - a))) */
static double spline(double a, double b, double c, double d, double t)
{
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
}

/* The point before the first and behind the last is the end itself, or the other end of a loop. */
static struct point neighbour(const struct point *p, int n, enum curve curve, int i)
{
    if (curve == LOOP)
        return p[(i + n) % n];
    return p[i < 0 ? 0 : i >= n ? n - 1 : i];
}

static void draw_stroke(double *near, int side, const struct point *p, int n, enum curve curve, double reach)
{
    int spans = curve == LOOP ? n : n - 1, steps = curve == CORNERS ? 1 : CURVE_STEPS;
    struct point from = p[0];
    for (int i = 0; i < spans; i++) {
        struct point a = neighbour(p, n, curve, i - 1), b = p[i], c = neighbour(p, n, curve, i + 1),
                     d = neighbour(p, n, curve, i + 2);
        for (int k = 1; k <= steps; k++) {
            double t = (double)k / steps;
            struct point to =
                k == steps ? c : (struct point){spline(a.x, b.x, c.x, d.x, t), spline(a.y, b.y, c.y, d.y, t)};
            canvas_segment(near, side, from, to, reach);
            from = to;
        }
    }
}

/* cover = how much of a pixel a pen of radius `pen` covers, from the distance to its centre. */
static void draw_strokes(double *cover, int side, const struct style *style, double pen, struct rng *r)
{
    double near[CANVAS_PIXELS], reach = pen + 0.5;
    struct affine a = random_affine(r, side);
    for (int i = 0; i < side * side; i++)
        near[i] = reach * reach;
    for (int k = 0; k < STYLE_STROKES && style->stroke[k].points; k++) {
        const struct stroke *s = &style->stroke[k];
        struct point p[STROKE_POINTS];
        for (int i = 0; i < s->points; i++) {
            double x = s->at[i][0] + rng_between(r, -5, 5), y = s->at[i][1] + rng_between(r, -5, 5);
            p[i] = affine_apply(&a, (struct point){x, y});
        }
        draw_stroke(near, side, p, s->points, s->curve, reach);
    }
    for (int i = 0; i < side * side; i++) {
        double v = near[i] < reach * reach ? reach - sqrt(near[i]) : 0;
        cover[i] = v > 1 ? 1 : v;
    }
}

/* A ground that brightens to one side, and an ink that is brighter than it in every channel. */
static void random_colours(double *ground, double *ink, int channels, int side, struct rng *r)
{
    double contrast = rng_between(r, 70, 160);
    for (int c = 0; c < channels; c++) {
        double base = rng_between(r, 5, 90), dx = rng_between(r, -24, 24) / side,
               dy = rng_between(r, -24, 24) / side;
        ink[c] = base + 24 + contrast * (channels == 1 ? 1 : rng_between(r, 0.3, 1));
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++)
                ground[(c * side + y) * side + x] = base + dx * (x - side / 2) + dy * (y - side / 2);
    }
}

int32_t digits_draw(struct shape s, uint64_t seed, int64_t row, uint8_t *pixels)
{
    double ground[CANVAS_CHANNELS * CANVAS_PIXELS], cover[CANVAS_PIXELS], ink[CANVAS_CHANNELS];
    int channels = (int)s.dim[0], side = (int)s.dim[1];
    struct rng r = canvas_rng("digits", s, seed, row);
    int32_t label = (int32_t)rng_below(&r, 10);
    const struct style *style = &digits[label][rng_below(&r, DIGIT_STYLES)];
    double pen = side * rng_between(&r, 0.026, 0.062);
    draw_strokes(cover, side, style, pen, &r);
    random_colours(ground, ink, channels, side, &r);
    canvas_finish(pixels, channels, side, ground, cover, ink, rng_between(&r, 3, 16), &r);
    return label;
}
