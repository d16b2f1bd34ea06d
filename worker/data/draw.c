/* The table of what make-data draws. Next to read: canvas.h, digits.c, shapes.c. */
#include "worker/data/draw.h"

#include <string.h>

#include "worker/data/canvas.h"

static const struct draw_kind kinds[] = {
    {"digits",
     "the ten digits in many hands, strokes brighter than their ground",
     "1x28x28 or 3x32x32",
     {3, {3, 32, 32}},
     digits_draws,
     digits_draw},
    {"shapes",
     "ten coloured shapes (disc, ring, square, frame, triangle, cross, star, crescent, bar, half disc)",
     "3x32x32",
     {3, {3, 32, 32}},
     shapes_draws,
     shapes_draw},
};

const struct draw_kind *draw_at(int i)
{
    return i >= 0 && i < (int)(sizeof kinds / sizeof kinds[0]) ? &kinds[i] : NULL;
}

const struct draw_kind *draw_find(const char *name)
{
    for (int i = 0; draw_at(i); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

int draw_rows(const struct draw_kind *kind, struct shape s, uint64_t seed, int64_t first, int64_t count,
              uint8_t *pixels, int32_t *labels, struct fail *why)
{
    char text[64];
    if (!kind->draws(s))
        return fail(why, E_USAGE, "%s: images of shape %s are not drawn, use %s", kind->name,
                    shape_text(s, text, sizeof text), kind->shapes);
    int64_t size = shape_size(s);
    for (int64_t i = 0; i < count; i++)
        labels[i] = kind->draw(s, seed, first + i, pixels + i * size);
    return 0;
}
