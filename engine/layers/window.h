/* From the settings of convolutions and pools to where their windows lie. Shared by conv.c and pool.c. */
#ifndef ENGINE_LAYERS_WINDOW_H
#define ENGINE_LAYERS_WINDOW_H

#include "engine/layers/settings.h"

struct window_settings { /* borrowed lists; an empty one means 1s (stride, dilation) or 0s (padding) */
    const struct setting_ints *size, *stride, *padding, *dilation;
    int64_t filters, groups;
    bool ceil;
};

/* Fills *win from settings and the input's shape [C, H, W]; checks everything, for shape rules. */
int window_make(struct window *win, const struct window_settings *s, struct shape in, struct fail *why);
/* The same for settings and shapes that a shape rule has accepted. */
struct window window_of(const struct window_settings *s, struct shape in);

#endif
